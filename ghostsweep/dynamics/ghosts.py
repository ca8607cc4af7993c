"""Which slow places are ghosts: reachable, passed by the task's own trajectories, and slow for how long they take.

At a minimum y0 of the speed of dy/dt = F(y) that is no zero, the Jacobian J has a right and a left null vector, J v = 0
and w J = 0, and along v the flow is ds/dt = r + a s^2 to second order (paper, section 1), with

    r = w . F / (w . v)        a = w . D2F(v, v) / (2 w . v)

Where r a > 0 that is a bottleneck: passing it takes pi / sqrt(r a), most of it within its half-width sqrt(r / a) of y0.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ghostsweep.dynamics.fixed_points import fixed_points_of_all
from ghostsweep.dynamics.flow import THRESHOLD, Array, Params, any_flow
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

SEPARATION = 3.0
"""The least ratio of a ghost's passage time to the next time scale of the network there."""
X_START = -0.3
"""State of every unit before the first step of delayed activation (paper, section 2)."""
GHOST_FIELDS = (
    "speed", "r", "a", "half_width", "passage", "next_time", "distance", "reachable", "passed", "lasting", "ghost",
)  # fmt: skip


def ghosts(
    params: "Params | StepFlow",
    points: ArrayLike,
    paths: ArrayLike,
    *,
    u: float = 0.0,
    along: ArrayLike | None = None,
    separation: float = SEPARATION,
) -> pd.DataFrame:
    """Say of each slow place whether it is a ghost, a row each.

    params: as `flow_of` takes them, or a `step_flow`. points (P, D): minima of the speed that are no zeros, at constant
    input u. paths (steps + 1, trials, D): the task's own trajectories. along (steps, trials): which of their steps are
    taken at that input, all if left out; a step at another input is one in another flow.

    Columns: speed, 1/tau; r and a, of the reduction along the slow direction, 1/tau; half_width, sqrt(r / a), in units
    of y; passage, pi / sqrt(r a), tau (both NaN where r a <= 0: the place holds no bottleneck); next_time, tau, one
    over the size of the eigenvalue second nearest to 0 of the whole network, whose N - D other ones are -1; distance
    of the nearest trajectory; reachable: tanh rates can be such that y is at either end of the half-width; passed: a
    trajectory comes within the half-width; lasting: passage is at least `separation` next_times; ghost: all three.
    separation stands in `.attrs`. Raises UsageError for shapes that do not fit.

    Both ends must be reachable, since a bottleneck wider than the space of the state slows nothing in it: where one is
    not, trajectories "within the half-width" were up to 17 times faster than the place, and a state sent through it
    took up to six times the time that the reduction predicts (Fig. 5). The reduction can fail elsewhere too, by a
    factor of 2 to 6 at two places that no trajectory passed; at the ghosts of seeds 0 and 3 it was right within 7%.
    """
    flow = any_flow(params)
    points, paths = np.asarray(points, np.float64), np.asarray(paths, np.float64)
    if points.ndim != 2 or points.shape[1] != flow.dimension or paths.ndim != 3 or paths.shape[2] != flow.dimension:
        raise UsageError(
            f"points, paths: found shapes {points.shape} and {paths.shape}; allowed: (points, {flow.dimension}) and "
            f"(steps + 1, trials, {flow.dimension})"
        )
    steps = np.ones((len(paths) - 1, paths.shape[1]), bool) if along is None else np.asarray(along, bool)
    if steps.shape != (len(paths) - 1, paths.shape[1]):
        raise UsageError(f"along: found shape {steps.shape}; allowed: {(len(paths) - 1, paths.shape[1])}")
    velocity, jacobian = flow.velocity(points, u), flow.jacobian(points, u)
    left, _, right = np.linalg.svd(jacobian)
    w, v = left[:, :, -1], right[:, -1, :]
    overlap = (w * v).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (w * velocity).sum(axis=1) / overlap
        a = (w * flow.bend(points, v, u)).sum(axis=1) / (2.0 * overlap)
        bottleneck = r * a > 0
        half_width = np.where(bottleneck, np.sqrt(np.abs(r / a)), np.nan)
        passage = np.where(bottleneck, np.pi / np.sqrt(np.abs(r * a)), np.nan)
    sizes = np.abs(np.linalg.eigvals(jacobian))
    if flow.dimension < max(flow.n_units, 2):  # a single unit is held against tau
        sizes = np.concatenate([sizes, np.ones((len(points), 1))], axis=1)
    next_time = 1.0 / np.sort(sizes, axis=1)[:, 1]
    distance = _distances(points, paths, steps)
    reach = np.where(bottleneck, half_width, 0.0)[:, None] * v
    both_ends = zip(points - reach, points + reach, strict=True)
    reachable = np.array([flow.reachable(low) and flow.reachable(high) for low, high in both_ends])
    table = pd.DataFrame(
        {
            "speed": np.linalg.norm(velocity, axis=1),
            "r": r,
            "a": a,
            "half_width": half_width,
            "passage": passage,
            "next_time": next_time,
            "distance": distance,
            "reachable": reachable.astype(bool),
            "passed": distance <= half_width,  # False where that is NaN
            "lasting": passage >= separation * next_time,
        }
    )
    table["ghost"] = table["reachable"] & table["passed"] & table["lasting"]
    table.attrs = {"separation": separation}
    return table


def _distances(points: Array, paths: Array, steps: NDArray[np.bool_]) -> Array:
    """Distance (P,) of each point from the nearest of the straight steps of the paths; inf without any."""
    begin = paths[:-1][steps]
    move = paths[1:][steps] - begin
    if not len(begin):
        return np.full(len(points), np.inf)
    length = (move**2).sum(axis=1)
    found = []
    for point in points:
        away = point - begin
        share = np.clip((away * move).sum(axis=1) / np.where(length > 0, length, 1.0), 0.0, 1.0)
        found.append(np.linalg.norm(away - share[:, None] * move, axis=1).min())
    return np.array(found, np.float64)


def ghosts_over_training(
    snapshots: Mapping[str, np.ndarray], *, timescale: int, leak: float, separation: float = SEPARATION
) -> pd.DataFrame:
    """Fixed points and ghosts of a rank-one network at each of its snapshots, by epoch (paper, Fig. 3).

    snapshots: epochs (S,) and m, n, b (S, N). timescale, T, and leak, dt / tau, of the task, delayed activation, whose
    trajectory is the one of the paper: 2 T steps from x = -0.3. Columns: epoch; fixed_points; slow_points, all minima
    of the speed that are no zeros; ghosts, those of `ghosts`; passage, tau, and kappa of the one that is slowest to
    pass (NaN without one); stable, kappa of the stable fixed point that the trajectory ends nearest to (NaN without
    one). Raises UsageError as `fixed_points_of_all` does.
    """
    stored = {name: np.asarray(snapshots[name], np.float64) for name in ("m", "n", "b")}
    found = fixed_points_of_all(stored)
    kappas = [X_START * stored["n"].sum(axis=1)]
    for _ in range(2 * timescale):
        rates = np.tanh(stored["m"] * kappas[-1][:, None] + stored["b"])
        kappas.append((1.0 - leak) * kappas[-1] + leak * (stored["n"] * rates).sum(axis=1))
    paths = np.stack(kappas)
    places = dict(list(found.groupby("snapshot")))
    rows: list[dict[str, Any]] = []
    for index in np.argsort(snapshots["epochs"]):
        here = places.get(index, found.iloc[:0])
        slow = here.loc[here["kind"] == "ghost", "kappa"].to_numpy()
        stable = here.loc[here["stability"] == "stable", "kappa"].to_numpy()
        kept, passage, kappa = 0, np.nan, np.nan
        if len(slow):
            params = {name: values[index] for name, values in stored.items()}
            judged = ghosts(params, slow[:, None], paths[:, index, None, None], separation=separation)
            kept = int(judged["ghost"].sum())
            if kept:
                slowest = int(judged["passage"].where(judged["ghost"]).to_numpy().argsort()[kept - 1])
                passage, kappa = float(judged["passage"].iloc[slowest]), float(slow[slowest])
        rows.append(
            {
                "epoch": int(snapshots["epochs"][index]),
                "fixed_points": int((here["kind"] == "fixed point").sum()),
                "slow_points": len(slow),
                "ghosts": kept,
                "passage": passage,
                "kappa": kappa,
                "stable": stable[np.abs(stable - paths[-1, index]).argmin()] if len(stable) else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    table.attrs = {"separation": separation, "threshold": THRESHOLD}
    return table
