"""Slow places and what they are: ghosts, fixed points, places that nothing passes, places that no state can be at.

A ghost is a slow place that (a) states can be at, with its whole bottleneck, (b) a trajectory of the task comes to
within the half-width of, and (c) takes at least `separation` times the next time scale to pass. The numbers are those
of `reduction`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ghostsweep.declare import Shape
from ghostsweep.dynamics import reduction, visits
from ghostsweep.dynamics.fixed_points import fixed_points_of_all
from ghostsweep.dynamics.flow import THRESHOLD, Flow, Params, any_flow, flow_of
from ghostsweep.dynamics.programs import TAU, Array, Networks, closed_form
from ghostsweep.dynamics.search import Places, chosen, places
from ghostsweep.dynamics.slow_points import NEUTRAL_TOLERANCE, stability
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

SEPARATION = 3.0
"""The least ratio of a ghost's passage time to the next time scale of the network there."""
N_STARTS = 16
"""Searches in a network, where it has more coordinates than SMALL; else one from every state visited."""
SMALL = 3
X_START = -0.3
"""State of every unit before the first step of delayed activation (paper, section 2)."""
VERDICTS = ("ghost", "fixed point", "passed at once", "slow but not passed", "out of reach")


class Trajectories(NamedTuple):
    """Of a network: states (steps + 1, trials, D), steps that count (steps, trials), answers (steps + 1, trials, n)."""

    states: Array
    along: NDArray[np.bool_]
    answers: NDArray[np.int64] | None = None


def judge(
    networks: Networks,
    found: Places,
    visited: "Mapping[int, Trajectories] | list[Trajectories]",
    *,
    u: float = 0.0,
    separation: float = SEPARATION,
) -> pd.DataFrame:
    """A row for each place, with a column `network`, its number, before those of `ghostsweep.ghosts`."""
    reduced = reduction.reduce(networks, found.at, found.points, u)
    tau = networks.traced[TAU][found.at]
    slow = ~found.fixed
    sizes, nexts = _next(reduced.eigenvalues, networks)
    half_width, passage = reduced.half_width, reduced.passage
    steps = reduced.residue(1 / tau)
    passage_bent = reduced.residue()
    r_bent, a_bent = reduced.bent
    reach = np.where(np.isfinite(half_width), half_width, 0.0)[:, None] * reduced.v * slow[:, None]
    reachable = _reachable(networks, found.at, np.stack([found.points - reach, found.points + reach], axis=1))
    rows = [
        _along(visited[int(i)], point, v, w, width if is_slow else 0.0, centre)
        for i, point, v, w, width, centre, is_slow in zip(
            found.at, found.points, reduced.v, reduced.w, half_width, reduced.centre, slow, strict=True
        )
    ]
    way = _Way(*(np.array(each) for each in zip(*rows, strict=True))) if rows else _Way(*[np.empty(0)] * 7)
    passed = np.where(slow, way.distance <= half_width, False)
    lasting = slow & (passage >= separation * nexts)
    conditions = (found.fixed, ~reachable, ~passed, ~lasting)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns: dict[str, Any] = {
            "network": found.at,
            "place": np.arange(len(found.at)) - np.searchsorted(found.at, found.at),
            "verdict": np.select(
                conditions, ["fixed point", "out of reach", "slow but not passed", "passed at once"], default="ghost"
            ),
            "stability": stability(reduced.eigenvalues, NEUTRAL_TOLERANCE)[0],
            "position": list(found.points),
            "speed": found.speed,
            "reachable": reachable,
            "passed": passed,
            "lasting": lasting,
            "distance": way.distance,
            "trial": way.trial.astype(np.int64),
            "eigenvalue": reduced.eigenvalues[:, 0].real,
            "next_eigenvalue": sizes,
            "next_time": nexts,
            "v": list(reduced.v),
            "w": list(reduced.w),
        }
        with np.errstate(over="ignore"):  # of passages that round to none
            discrete = steps / (passage_bent * tau) - 1
        of_slow = {
            "r": reduced.r,
            "a": reduced.a,
            "half_width": half_width,
            "passage": passage,
            "r_bent": r_bent,
            "a_bent": a_bent,
            "cubic": reduced.g[:, 3],
            "bend": np.linalg.norm(reduced.bend, axis=1) * half_width / 2,
            "passage_bent": passage_bent,
            "passage_steps": steps,
            "discrete": discrete,
            "enters": way.enters / half_width,
            "leaves": way.leaves / half_width,
            "crossing": way.steps,
            "crossing_canonical": _forward(reduction.crossing(reduced.r, reduced.a, way.enters, way.leaves) * tau),
            "crossing_bent": _forward(reduction.crossing_steps(reduced.g, 1 / tau, way.enters, way.leaves, half_width)),
            "to_switch": way.to_switch,
            "to_switch_canonical": _forward(reduction.crossing(reduced.r, reduced.a, way.enters, way.switches) * tau),
        }
    columns |= {name: np.where(slow, values, np.nan) for name, values in of_slow.items()}
    table = pd.DataFrame(columns)
    table.attrs = {"separation": separation, "u": u}
    return table


def _forward(steps: Array) -> Array:
    """Times that are none, since the trajectory goes against the flow of the reduction, as NaN."""
    return np.where(steps > 0, steps, np.nan)


def _next(eigenvalues: NDArray[np.complex128], networks: Networks) -> tuple[Array, Array]:
    """The real part of the second eigenvalue of the whole network, nearest to 0 first, and one over its size.

    The other N - D ones of a network of N units that lives on D numbers are -1; a single number is held against tau.
    """
    if networks.dimension < max(networks.n_units, 2):
        rest = np.full((len(eigenvalues), 1), -1.0 + 0j)
        eigenvalues = np.concatenate([eigenvalues, rest], axis=1)
        order = np.abs(eigenvalues).argsort(axis=1)
        eigenvalues = np.take_along_axis(eigenvalues, order, axis=1)
    second = eigenvalues[:, 1]
    with np.errstate(divide="ignore"):
        return second.real, 1.0 / np.abs(second)


def _reachable(networks: Networks, at: NDArray[np.intp], ends: Array) -> NDArray[np.bool_]:
    """Whether rates of tanh can make both of the states ends (P, 2, D); True for a model of which that is not known."""
    found = np.ones(len(at), bool)
    closed = networks.kind is closed_form
    built_in = isinstance(networks.kind, Shape) and networks.kind.model in ("rank_one", "low_rank", "full_rank")
    if not closed and not built_in:
        return found
    for i in np.unique(at):
        params = {name: values[i] for name, values in networks.params.items()}
        if built_in and "w_in" in params:  # of any number of inputs, on which it does not depend
            params["w_in"] = np.zeros_like(params["b_in"])
        flow = Flow(**{"into": None, "w_in": None} | params) if closed else flow_of(params)
        for row in np.flatnonzero(at == i):
            found[row] = all(flow.reachable(end[: flow.dimension]) for end in ends[row])
    return found


class _Way(NamedTuple):
    """How the trajectory nearest to a place goes by it; enters, leaves and switches by s."""

    distance: Any
    trial: Any
    enters: Any
    leaves: Any
    steps: Any
    switches: Any
    to_switch: Any


def _along(visited: Trajectories, point: Array, v: Array, w: Array, width: float, centre: float) -> _Way:
    """How the trajectory nearest to a place goes by it.

    It is in the bottleneck while s, by w, is within a half-width of the centre and the rest of the state within one of
    the line along v.
    """
    states, along = visited.states, visited.along
    begin, move = states[:-1], states[1:] - states[:-1]
    length, away = (move**2).sum(axis=-1), point - begin
    share = np.clip((away * move).sum(axis=-1) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    apart = np.where(along, np.linalg.norm(away - share[..., None] * move, axis=-1), np.inf)
    step, trial = np.unravel_index(apart.argmin(), apart.shape)
    none = _Way(float(apart[step, trial]), int(trial), *[np.nan] * 5)
    if not none.distance <= width:
        return none
    offset = states[:, trial] - point
    s = offset @ w
    inside = (np.abs(s - centre) <= width) & (np.linalg.norm(offset - s[:, None] * v, axis=1) <= width)
    near = step + int(share[step, trial] > 0.5)
    if not inside[near]:
        return none
    # The stretch of states about that one which are inside, by steps at the same input.
    goes_on = inside[:-1] & inside[1:] & along[:, trial]
    first = last = int(near)
    while first > 0 and goes_on[first - 1]:
        first -= 1
    while last < len(goes_on) and goes_on[last]:
        last += 1
    if first == last:
        return none
    switches = to_switch = np.nan
    if visited.answers is not None:
        answer = visited.answers[:, trial]
        changed = np.flatnonzero((answer[first + 1 :] != answer[first]).any(axis=1))
        if len(changed) and along[first : first + 1 + changed[0], trial].all():
            to_switch = float(changed[0] + 1)
            switches = s[first + 1 + changed[0]]
    return none._replace(
        enters=s[first], leaves=s[last], steps=float(last - first), switches=switches, to_switch=to_switch
    )


def ghosts_of(
    networks: Networks, *, u: float = 0.0, n_starts: int = N_STARTS, separation: float = SEPARATION
) -> pd.DataFrame:
    """The places of B networks of a model with steps, found from where its task takes it: `judge` of each."""
    visited = visits.visits(networks, u)
    count, n_steps, n_trials, dimension = visited.states.shape
    at = np.repeat(np.arange(count), n_steps * n_trials)
    (velocity,) = networks.lanes("velocity", at, np.array(u), visited.states.reshape(-1, dimension))
    speed = np.linalg.norm(velocity, axis=1).reshape(count, n_steps, n_trials)
    wanted = n_steps * n_trials if dimension <= SMALL else min(n_starts, n_steps * n_trials)
    starts = chosen(visited.states, speed, wanted)
    found = places(networks, np.repeat(np.arange(count), wanted), starts.reshape(-1, dimension), u)
    return judge(
        networks,
        found,
        [Trajectories(*one) for one in zip(*visited, strict=True)],
        u=u,
        separation=separation,
    )


def ghosts(
    params: "Params | StepFlow",
    points: ArrayLike,
    paths: ArrayLike,
    *,
    u: float = 0.0,
    along: ArrayLike | None = None,
    separation: float = SEPARATION,
) -> pd.DataFrame:
    """Say of each slow place of one network what it is: a row each, with `ghost`, true or false.

    The other columns are those of `ghostsweep.ghosts`, less run_id and epoch.

    params: as `flow_of` takes them, or a `step_flow`, whose time is in steps. points (P, D): minima of the speed that
    are no zeros, at constant input u. paths (steps + 1, trials, D): the task's own trajectories. along (steps, trials):
    which of their steps are taken at that input, all if left out; a step at another input is one in another flow.
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
    table = judge(
        flow.networks(),
        slow_places(points, flow.velocity(points, u)),
        [Trajectories(paths, steps)],
        u=u,
        separation=separation,
    )
    return table.drop(columns="network").assign(ghost=table["verdict"] == "ghost")


def slow_places(points: Array, velocity: Array, at: NDArray[np.intp] | None = None) -> Places:
    """Points (P, D) that are minima of the speed and no zeros, of networks at (P,) or of one."""
    count = len(points)
    at = np.zeros(count, np.intp) if at is None else at
    nothing = np.zeros(count, np.int64)
    return Places(at, points, np.linalg.norm(velocity, axis=1), np.zeros(count), nothing > 0, nothing, nothing)


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
    paths = np.stack(kappas, axis=1)
    count, units = stored["m"].shape
    networks = Networks(
        closed_form,
        {"back": stored["m"][:, None], "into": stored["n"][:, :, None], "bias": stored["b"]},
        {TAU: np.full(count, 1.0)},
        1,
        0,
        units,
    )
    slow = found[found["kind"] == "ghost"].reset_index(drop=True)
    places = slow_places(slow[["kappa"]].to_numpy(), slow[["speed"]].to_numpy(), slow["snapshot"].to_numpy(np.intp))
    along = np.ones((2 * timescale, 1), bool)
    judged = judge(
        networks, places, [Trajectories(path[:, None, None], along) for path in paths], separation=separation
    )
    kept = judged.assign(kappa=slow["kappa"])[judged["verdict"] == "ghost"]
    slowest = kept.sort_values("passage").drop_duplicates("network", keep="last").set_index("network")
    each = pd.RangeIndex(count)
    stable = found[found["stability"] == "stable"]
    away = (stable["kappa"] - paths[stable["snapshot"], -1]).abs()
    nearest = stable.loc[away.sort_values(kind="stable").index].drop_duplicates("snapshot").set_index("snapshot")
    table = pd.DataFrame(
        {
            "epoch": np.asarray(snapshots["epochs"], np.int64),
            "fixed_points": np.bincount(found.loc[found["kind"] == "fixed point", "snapshot"], minlength=count),
            "slow_points": np.bincount(slow["snapshot"], minlength=count),
            "ghosts": np.bincount(kept["network"], minlength=count),
            "passage": slowest["passage"].reindex(each).to_numpy(),
            "kappa": slowest["kappa"].reindex(each).to_numpy(),
            "stable": nearest["kappa"].reindex(each).to_numpy(),
        }
    ).sort_values("epoch", kind="stable", ignore_index=True)
    table.attrs = {"separation": separation, "threshold": THRESHOLD}
    return table
