"""Fixed points and slow points (ghosts) of a stored network in any number of dimensions (paper, Fig. 4 and 5).

Both are local minima of q = |dy/dt|^2 / 2: with q = 0 a fixed point, with q > 0 a slow point. At the latter
J^T dy/dt = 0, so that its Jacobian J has an eigenvalue that is exactly 0: the direction in which the speed is least.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from ghostsweep.dynamics.flow import Flow, Params, any_flow
from ghostsweep.dynamics.programs import Array
from ghostsweep.dynamics.search import MERGE_DISTANCE, SPEED_TOLERANCE, places
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

NEUTRAL_TOLERANCE = 1e-6


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
    at = np.zeros(len(starts), np.intp)
    found = places(flow.networks(), at, starts, u, speed_tolerance=speed_tolerance, merge_distance=merge_distance)
    spectrum = np.linalg.eig(flow.jacobian(found.points, u))
    eigenvalues, eigenvectors = (part.astype(np.complex128) for part in spectrum)
    nearest = np.abs(eigenvalues).argsort(axis=1)
    eigenvalues = np.take_along_axis(eigenvalues, nearest, axis=1)
    eigenvectors = np.take_along_axis(eigenvectors, nearest[:, None], axis=2)
    kinds, up, neutral = stability(eigenvalues, neutral_tolerance)
    table = pd.DataFrame(
        {
            "speed": found.speed,
            "slope": np.where(found.fixed, np.nan, found.slope),
            "kind": np.where(found.fixed, "fixed point", "slow point"),
            "stability": kinds,
            "n_unstable": up,
            "n_neutral": neutral,
            "n_starts": found.n_starts,
            "speed_tolerance": speed_tolerance,
            "merge_distance": merge_distance,
        }
    )
    table.attrs = {
        "speed_tolerance": speed_tolerance,
        "merge_distance": merge_distance,
        "neutral_tolerance": neutral_tolerance,
        "n_starts": len(starts),
        "n_dropped": int(found.n_dropped.sum()),
    }
    return SlowPoints(found.points, eigenvalues, eigenvectors, table)


def stability(
    eigenvalues: NDArray[np.complex128], neutral_tolerance: float
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """What eigenvalues (P, D) make of points: stability, how many are positive, and how many neutral, by real part."""
    neutral = np.abs(eigenvalues.real) <= neutral_tolerance
    up = ((eigenvalues.real > 0) & ~neutral).sum(axis=1)
    down = ((eigenvalues.real < 0) & ~neutral).sum(axis=1)
    return np.select([up == 0, down == 0], ["stable", "unstable"], "saddle"), up, neutral.sum(axis=1)
