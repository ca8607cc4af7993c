"""Minima of the speed of many networks at once: batched damped Newton searches, merged a network at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ghostsweep.dynamics.programs import Array, Networks

SPEED_TOLERANCE = 1e-9
"""1/tau; a place at most so fast is a fixed point."""
MERGE_DISTANCE = 1e-3
"""Of two places closer than this the slower one is kept."""
SAME = 1e-5
"""Of two searches that are so close, one goes on."""
FIRST_DAMPING, MAX_CALLS = 0.1, 60
SETTLED = 1e-7  # 1/tau; minima of what is slower are rounding's
SLOPE_TOLERANCE = 1e-6  # 1/tau; a minimum that is no zero has a slope below it


class Places(NamedTuple):
    """Minima of the speed, those of a network together, its fixed points first, then by speed.

    at (P,): the network; points (P, D); speed (P,), 1/tau; slope (P,), the size of the gradient of the speed; fixed
    (P,); n_starts (P,): searches that ended there. n_dropped (B,): searches of each network that ended at no minimum.
    """

    at: NDArray[np.intp]
    points: Array
    speed: Array
    slope: Array
    fixed: NDArray[np.bool_]
    n_starts: NDArray[np.int64]
    n_dropped: NDArray[np.int64]


def search(networks: Networks, at: NDArray[np.intp], starts: Array, u: float) -> Array:
    """The ends (L, D) of a damped Newton search of network at[i] from each of starts (L, D).

    All go on side by side; those that are at their end leave after every call, as do those that have come to where
    another search of the same network is, in the same cell of SAME: they end where it does.
    """
    y, damping = starts.copy(), np.full(len(starts), FIRST_DAMPING)
    leader, active = np.arange(len(starts)), np.arange(len(starts))
    for _ in range(MAX_CALLS):
        if not len(active):
            break
        found = networks.lanes("search", at[active], np.array(u), y[active], damping[active])
        y[active], damping[active], ended = found
        cells = np.column_stack([at[active], np.rint(y[active] / SAME).astype(np.int64)])
        _, first, which = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        leader[active] = active[first][which.ravel()]
        active = active[~ended.astype(bool)]
        active = active[leader[active] == active]
    while (leader != leader[leader]).any():
        leader = leader[leader]
    return np.asarray(y[leader])


def places(
    networks: Networks,
    at: NDArray[np.intp],
    starts: Array,
    u: float = 0.0,
    *,
    speed_tolerance: float = SPEED_TOLERANCE,
    merge_distance: float = MERGE_DISTANCE,
) -> Places:
    """The minima of the speed that searches from starts (L, D), in networks at (L,), lead to.

    Where a search starts on a ridge of the speed, as a symmetric one may, it can end at a saddle; such ends count as
    dropped.
    """
    ends = search(networks, at, starts, u)
    speed, slope, minimum = networks.lanes("minimum", at, np.array(u), ends)
    fixed = speed <= speed_tolerance
    found = fixed | ((slope <= SLOPE_TOLERANCE) & minimum.astype(bool))
    kept, counts = list[int](), list[int]()
    order = np.lexsort((speed, at))
    order = order[found[order]]
    bounds = np.searchsorted(at[order], np.arange(len(networks) + 1))
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        left, of_network = order[low:high], list[tuple[bool, float, int, int]]()
        while len(left):
            same = np.linalg.norm(ends[left] - ends[left[0]], axis=1) < merge_distance
            first, count = int(left[0]), int(same.sum())
            # Fixed points by how many lead there, not by what rounding leaves of a zero.
            of_network.append((not fixed[first], 0.0 if fixed[first] else float(speed[first]), -count, first))
            left = left[~same]
        kept += [one[3] for one in sorted(of_network)]
        counts += [-one[2] for one in sorted(of_network)]
    rows = np.array(kept, np.intp)
    everywhere, ended = (np.bincount(some, minlength=len(networks)) for some in (at, at[found]))
    return Places(
        at[rows], ends[rows], speed[rows], slope[rows], fixed[rows], np.array(counts, np.int64), everywhere - ended
    )


def chosen(states: Array, speed: Array, n_starts: int) -> Array:
    """The states (B, n, D) from which searches begin, of those visited (B, steps, trials, D) with their speed.

    First where the speed is least along a trajectory, its ends included, the slowest first; then states spread over all
    others. States that an earlier trial has too come last, and those of a trajectory that has settled, but for its end.
    """
    count, n_steps, n_trials = speed.shape
    padded = np.pad(speed, ((0, 0), (1, 1), (0, 0)), constant_values=np.inf)
    least = (speed <= padded[:, :-2]) & (speed <= padded[:, 2:])
    again = speed <= SETTLED
    again[:, -1] = False
    for trial in range(1, n_trials):
        apart = np.abs(states[:, :, :trial] - states[:, :, trial : trial + 1]).max(axis=-1).min(axis=-1)
        again[:, :, trial] |= apart < MERGE_DISTANCE
    spread = (np.arange(n_steps * n_trials) * (np.sqrt(5) - 1) / 2) % 1
    rank = np.where(least, speed / (1 + speed), 1 + spread.reshape(n_steps, n_trials)) + 2.0 * again
    first = np.argsort(rank.reshape(count, -1), axis=1)[:, :n_starts]
    return np.take_along_axis(states.reshape(count, n_steps * n_trials, -1), first[:, :, None], axis=1)
