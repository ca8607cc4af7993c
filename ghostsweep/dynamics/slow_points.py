"""Fixed points and slow points (ghosts) of a stored network in any number of dimensions (paper, Fig. 4 and 5).

Both are local minima of q = |dy/dt|^2 / 2: with q = 0 a fixed point, with q > 0 a slow point. At the latter
J^T dy/dt = 0, so that its Jacobian J has an eigenvalue that is exactly 0: the direction in which the speed is least.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from ghostsweep.dynamics.flow import Array, Flow, Params, any_flow
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

SPEED_TOLERANCE = 1e-9
MERGE_DISTANCE = 1e-3
NEUTRAL_TOLERANCE = 1e-6

_STEPS, _FIRST_DAMPING, _LARGEST_DAMPING = 200, 0.1, 1e9
_END_SLOPE, _END_SPEED = 1e-9, 1e-14  # 1/tau; a search ends where either is reached, or where rounding ends it
_BLOCK = 4_000_000  # numbers in the Hessians held at once: 32 MB
_SLOPE_TOLERANCE = 1e-6  # 1/tau; a minimum that is no zero has a slope below it


@dataclass(frozen=True, repr=False)
class SlowPoints:
    """The points found, a row of the table each: fixed points by number of searches, then slow points by speed.

    points (P, D), in the coordinates of `flow_of`. eigenvalues (P, D) and eigenvectors (P, D, D) of the Jacobian of
    the flow, in 1/tau, the eigenvalue nearest to 0 first; eigenvectors[p, :, k] belongs to eigenvalues[p, k].

    table: speed, |dy/dt| in 1/tau; slope, the size of the gradient of the speed, in 1/tau (NaN at a fixed point);
    kind, "fixed point" where the speed is at most speed_tolerance, else "slow point"; stability, "stable" where no
    eigenvalue has a positive real part, "unstable" where none has a negative one, else "saddle", real parts within
    neutral_tolerance of 0 left out; n_unstable, with positive real part; n_neutral, left out; n_starts, the states
    whose search ended here; speed_tolerance and merge_distance. These two, neutral_tolerance, n_starts (all) and
    n_dropped (searches that ended at no minimum) stand in `table.attrs` too.
    """

    points: Array
    eigenvalues: NDArray[np.complex128]
    eigenvectors: NDArray[np.complex128]
    table: pd.DataFrame

    def __repr__(self) -> str:
        return f"SlowPoints of {self.points.shape[1]} coordinates\n{self.table}"

    @property
    def slow_directions(self) -> Array:
        """Unit vectors (P, D) along the eigenvalue nearest to 0, largest component positive; NaN if it is complex."""
        first = self.eigenvectors[:, :, 0].real
        largest = np.take_along_axis(first, np.abs(first).argmax(axis=1)[:, None], axis=1)
        return np.where(self.eigenvalues[:, :1].imag == 0, first * np.sign(largest), np.nan)

    def distances(self, states: ArrayLike) -> Array:
        """Distance (P,) of each point from the nearest of the states (..., D)."""
        return np.asarray(cdist(self.points, _rows(states, self.points.shape[1])).min(axis=1))


def slow_points(
    params: "Params | StepFlow",
    states: ArrayLike,
    *,
    u: float = 0.0,
    speed_tolerance: float = SPEED_TOLERANCE,
    merge_distance: float = MERGE_DISTANCE,
    neutral_tolerance: float = NEUTRAL_TOLERANCE,
) -> SlowPoints:
    """Minima of the speed that a search from every visited state leads to, at constant input u (paper, Fig. 5).

    params: as `flow_of` takes them, or a `step_flow`. states (..., D): for instance `trajectories(...)`. Each search is
    a damped Newton search on q from the state itself. Of points closer than merge_distance (Euclidean, in units of y)
    the slowest is kept. speed_tolerance in 1/tau separates fixed from slow points; neutral_tolerance in 1/tau is the
    size below which the real part of an eigenvalue counts as 0.

    Stability is that of the flow in continuous time. Steps of leak a keep it as long as |1 + a lambda| < 1 for its
    stable eigenvalues lambda. Raises UsageError for states of another dimension or not finite, tolerances that are
    not positive, and parameters that `flow_of` refuses.

    300 states of 100 units take a few seconds; one BLAS thread (OPENBLAS_NUM_THREADS=1) is fastest, small as they are.
    """
    flow = any_flow(params)
    return minima_of_speed(
        flow,
        _rows(states, flow.dimension),
        u,
        speed_tolerance=speed_tolerance,
        merge_distance=merge_distance,
        neutral_tolerance=neutral_tolerance,
    )


def _rows(states: ArrayLike, dimension: int) -> Array:
    """The states as (number, D)."""
    states = np.asarray(states, np.float64)
    if states.ndim == 0 or states.shape[-1] != dimension or states.size == 0 or not np.isfinite(states).all():
        raise UsageError(f"states: found shape {states.shape}; allowed: (..., {dimension}), finite and not empty")
    return states.reshape(-1, dimension)


def minima_of_speed(
    flow: "Flow | StepFlow",
    starts: Array,
    u: float,
    *,
    speed_tolerance: float,
    merge_distance: float,
    neutral_tolerance: float,
) -> SlowPoints:
    """The minima of the speed at the end of a Newton search from each of starts (number, D): merged and classified."""
    if not min(speed_tolerance, merge_distance, neutral_tolerance) > 0:
        raise UsageError(
            f"tolerances: found speed {speed_tolerance}, merge {merge_distance}, neutral {neutral_tolerance}; allowed: "
            "all above 0"
        )
    block = max(1, _BLOCK // flow.dimension**2)
    ends = np.concatenate([_newton(flow, starts[i : i + block], u) for i in range(0, max(1, len(starts)), block)])
    speed, slope = _speed_and_slope(flow, ends, u)
    found = np.flatnonzero((speed <= speed_tolerance) | (slope <= _SLOPE_TOLERANCE))
    points, n_starts = _merged(ends[found], speed[found], merge_distance)
    # Where a search starts on a ridge of q, as a symmetric one may, it can end at a saddle of q.
    speed, slope = _speed_and_slope(flow, points, u)
    lowest = np.linalg.eigvalsh(flow.curvature(points, u))[:, 0]
    minimum = (speed <= speed_tolerance) | (lowest >= -neutral_tolerance)
    fixed = speed <= speed_tolerance
    order = np.lexsort((-n_starts, np.where(fixed, 0.0, speed)))  # not by what rounding leaves of a zero
    order = order[minimum[order]]
    points, n_starts, speed, slope, fixed = points[order], n_starts[order], speed[order], slope[order], fixed[order]

    spectrum = np.linalg.eig(flow.jacobian(points, u))
    eigenvalues, eigenvectors = (part.astype(np.complex128) for part in spectrum)
    nearest = np.abs(eigenvalues).argsort(axis=1)
    eigenvalues = np.take_along_axis(eigenvalues, nearest, axis=1)
    eigenvectors = np.take_along_axis(eigenvectors, nearest[:, None], axis=2)
    neutral = np.abs(eigenvalues.real) <= neutral_tolerance
    up = ((eigenvalues.real > 0) & ~neutral).sum(axis=1)
    down = ((eigenvalues.real < 0) & ~neutral).sum(axis=1)
    table = pd.DataFrame(
        {
            "speed": speed,
            "slope": np.where(fixed, np.nan, slope),
            "kind": np.where(fixed, "fixed point", "slow point"),
            "stability": np.select([up == 0, down == 0], ["stable", "unstable"], "saddle"),
            "n_unstable": up,
            "n_neutral": neutral.sum(axis=1),
            "n_starts": n_starts,
            "speed_tolerance": speed_tolerance,
            "merge_distance": merge_distance,
        }
    )
    table.attrs = {
        "speed_tolerance": speed_tolerance,
        "merge_distance": merge_distance,
        "neutral_tolerance": neutral_tolerance,
        "n_starts": len(starts),
        "n_dropped": len(starts) - int(n_starts.sum()),
    }
    return SlowPoints(points, eigenvalues, eigenvectors, table)


def _speed_and_slope(flow: "Flow | StepFlow", y: Array, u: float) -> tuple[Array, Array]:
    """|dy/dt| and the size of its gradient, |J^T dy/dt| / |dy/dt|, NaN where the speed is 0."""
    q, gradient = flow.half_squared_speed(y, u)
    speed = np.sqrt(2.0 * q)
    slope = np.full_like(speed, np.nan)
    np.divide(np.linalg.norm(gradient, axis=-1), speed, out=slope, where=speed > 0)
    return speed, slope


def _newton(flow: "Flow | StepFlow", starts: Array, u: float) -> Array:
    """The ends (number, D) of a damped Newton search on q from each start.

    The searches go on side by side, for `Flow.curvature` to take all their Hessians at once, and each ends by itself.
    No first-order search goes before: its line searches leap from valley to valley of q (from 60 starts L-BFGS missed
    two of nine known points, this search none), and it took as long as it saved.
    """
    y = starts.copy()
    q, gradient = flow.half_squared_speed(y, u)
    damping = np.full(len(y), _FIRST_DAMPING)
    active = np.arange(len(y))
    for _ in range(_STEPS):
        speed = np.sqrt(2.0 * q[active])
        slow = np.linalg.norm(gradient[active], axis=1) <= _END_SLOPE * speed
        active = active[~slow & (speed > _END_SPEED) & (damping[active] < _LARGEST_DAMPING)]
        if not len(active):
            break
        for i, curvature in zip(active, flow.curvature(y[active], u), strict=True):
            y[i], q[i], gradient[i], damping[i] = _step(flow, y[i], q[i], gradient[i], damping[i], curvature, u)
    return y


def _step(
    flow: "Flow | StepFlow", y: Array, q: float, gradient: Array, damping: float, curvature: Array, u: float
) -> tuple[Array, float, Array, float]:
    """(y, q, gradient, damping) after one step that lowers q, or as given with _LARGEST_DAMPING where none does.

    The step is -(H + damping)^-1 grad q, the Hessian H with a damping that makes the sum positive definite, so that it
    goes downhill. The damping falls tenfold with a step that lowers q and rises tenfold with one that does not; where
    none lowers q, the search is at the end of its precision.
    """
    while damping < _LARGEST_DAMPING:
        try:
            factor = cho_factor(curvature + damping * np.eye(len(y)), check_finite=False)
        except np.linalg.LinAlgError:  # not positive definite
            damping *= 10.0
            continue
        tried = y - cho_solve(factor, gradient, check_finite=False)
        tried_q, tried_gradient = flow.half_squared_speed(tried, u)
        if tried_q < q:
            return tried, float(tried_q), tried_gradient, 0.1 * damping
        damping *= 10.0
    return y, q, gradient, damping


def _merged(points: Array, speed: Array, distance: float) -> tuple[Array, NDArray[np.int64]]:
    """The points that no slower one is closer to than `distance`, slowest first, and how many each stands for."""
    kept: list[int] = []
    counts: list[int] = []
    left = speed.argsort(kind="stable")
    while len(left):
        same = np.linalg.norm(points[left] - points[left[0]], axis=1) < distance
        kept.append(int(left[0]))
        counts.append(int(same.sum()))
        left = left[~same]
    return points[kept], np.array(counts, np.int64)
