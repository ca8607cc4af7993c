"""Which runs of a refined sweep to train: a coarse grid of learning rates first, then only around boundaries."""

import itertools

import numpy as np
import pandas as pd

from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.critical import COLLAPSED, TOO_SLOW
from ghostsweep.analysis.crossing import central, find, resample
from ghostsweep.analysis.outcomes import outcomes
from ghostsweep.store.tables import among

PARTS = 4
"""Pieces into which the interval of a boundary is cut at least; finer ones would tell no more about it."""
_SAMPLES = 200


def refined(planned: pd.DataFrame, runs: pd.DataFrame, *, levels: int, share: float = 0.5) -> pd.Series:
    """The planned runs that are to be trained, given those that have been; booleans along `planned`.

    In each cell of the plan (all fields but learning rate and seed), every 2^levels-th learning rate of its grid and
    the last one come first. Then, level by level, the rate in the middle of some pairs of neighbours: of those
    between which a boundary lies, since the share of seeds that have collapsed, or that are too slow, is above
    `share` at one of the two alone; and of those within the interval of a boundary (see `_ends`) that are
    wider than a quarter of it. The last level is that of the grid itself. A level is only looked at once all before
    it are trained, and only through its own runs, so that the same runs are chosen however often a sweep is
    interrupted. `runs` is a table of finished runs, with others or without.
    """
    result = pd.Series(False, index=planned.index)
    finished = outcomes(runs[among(runs["run_id"], planned["run_id"])]).drop(columns=cell_fields(planned))
    measured = finished[["run_id", *finished.columns.difference(planned.columns)]]
    table = planned.merge(measured, on="run_id", how="left").set_index(planned.index)
    for _, cell in table.groupby(cell_fields(planned), dropna=False, observed=True):
        rates, index = np.unique(cell["learning_rate"].to_numpy(), return_inverse=True)
        result[cell.index] = _chosen(cell, rates, index, levels, share)[index]
    return result


def first_rates(n_rates: int, levels: int) -> np.ndarray:
    """Which of a grid's learning rates, in order, come first: every 2^levels-th and the last."""
    chosen = np.zeros(n_rates, bool)
    chosen[:: 2**levels] = chosen[-1] = True
    return chosen


def _chosen(cell: pd.DataFrame, rates: np.ndarray, index: np.ndarray, levels: int, share: float) -> np.ndarray:
    """Which rates of one cell are wanted; `outcome` of its runs, at rate `index`, is null where not trained."""
    outcome, (seeds, of_seed) = cell["outcome"], np.unique(cell["seed"].to_numpy(), return_inverse=True)
    told = np.zeros((3, len(seeds), len(rates)))
    told[:, of_seed, index] = outcome.notna(), outcome.isin(COLLAPSED), outcome.isin(TOO_SLOW)
    n_runs = np.bincount(index)
    trained = told[0].sum(axis=0) == n_runs
    is_above = told[1:].sum(axis=1) > share * n_runs
    log_lr = np.log(rates)
    chosen = first_rates(len(rates), levels)
    for _ in range(levels):
        if not trained[chosen].all():
            break
        known = told[0][:, chosen].any(axis=1)
        ends = np.clip(_ends(log_lr[chosen], told[:, known][:, :, chosen], share), log_lr[0], log_lr[-1])
        for low, high in itertools.pairwise(np.flatnonzero(chosen)):
            within = (log_lr[low] < ends[:, 1]) & (log_lr[high] > ends[:, 0])
            wide = PARTS * (log_lr[high] - log_lr[low]) > ends[:, 1] - ends[:, 0]
            if (is_above[:, low] != is_above[:, high]).any() or (within & wide).any():
                chosen[(low + high) // 2] = True
    return chosen


def _ends(log_lr: np.ndarray, told: np.ndarray, share: float) -> np.ndarray:
    """Where each boundary of a cell that is on its grid may lie, in log rates, (boundaries, 2).

    told: which runs there are, which of them have collapsed, and which are too slow, (3, n_seeds, n_rates) of 0 and 1.
    By resampled seeds, whose boundary is drawn within its own bracket. Not by `critical_lr`: which runs a sweep
    consists of must not change with the estimate of a boundary.
    """
    seen, collapsed, too_slow = told
    found = []
    upper = _resampled(log_lr, collapsed, seen, share)
    n = len(log_lr) if upper is None else min(upper[1] + 1, len(log_lr))
    lower = _resampled(-log_lr[n - 1 :: -1], too_slow[:, n - 1 :: -1], seen[:, n - 1 :: -1], share)
    if upper is not None:
        found.append(upper[0])
    if lower is not None:
        found.append((-lower[0][1], -lower[0][0]))
    return np.array(found).reshape(-1, 2)


def _resampled(
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float
) -> tuple[tuple[float, float], int] | None:
    """Interval of the crossing and the index above it; None where it lies outside u."""
    rng = np.random.default_rng(0)
    n, counts = len(u), (bad.sum(axis=0), seen.sum(axis=0))
    below, above = (int(index) for index in find(*counts, share))
    if below < 0 or above == n:
        return None
    if len(seen) == 1:
        return (u[below], u[above]), above
    drawn = resample(len(seen), _SAMPLES, rng)
    below_each, above_each = find(drawn @ bad, drawn @ seen, share)
    low = u[np.maximum(below_each - (share == 0), 0)]
    draws = low + rng.random(_SAMPLES) * (u[np.minimum(above_each, n - 1)] - low)
    draws[below_each < 0], draws[above_each == n] = -np.inf, np.inf
    return central(draws, 0.95), above
