"""Which runs of a refined sweep to train: a coarse grid of learning rates first, then only around boundaries."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.critical import COLLAPSED, TOO_SLOW, critical_lr
from ghostsweep.analysis.outcomes import outcomes
from ghostsweep.tables import among

PARTS = 4
"""Pieces into which the interval of a boundary is cut at least; finer ones would tell no more about it."""


def refined(planned: pd.DataFrame, runs: pd.DataFrame, *, levels: int, share: float = 0.5) -> pd.Series:
    """The planned runs that are to be trained, given those that have been; booleans along `planned`.

    In each cell of the plan (all fields but learning rate and seed), every 2^levels-th learning rate of its grid and
    the last one come first. Then, level by level, the rate in the middle of some pairs of neighbours: of those
    between which a boundary lies, since the share of seeds that have collapsed, or that are too slow, is above
    `share` at one of the two alone; and of those within the 95% interval of a boundary (see `critical_lr`) that are
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
    outcome = cell["outcome"]
    n_runs = np.bincount(index)
    trained = np.bincount(index[outcome.notna()], minlength=len(rates)) == n_runs
    above: Any = [np.bincount(index[outcome.isin(names)], minlength=len(rates)) for names in (COLLAPSED, TOO_SLOW)]
    is_above = np.array(above) > share * n_runs
    log_lr = np.log(rates)
    chosen = first_rates(len(rates), levels)
    for _ in range(levels):
        if not trained[chosen].all():
            break
        found = critical_lr(cell[chosen[index]].drop(columns="outcome"), share=share, n_boot=200)
        with np.errstate(divide="ignore"):
            ends = np.log(found.loc[found["censored"] == "", ["ci_low", "ci_high"]].to_numpy())
        ends = np.clip(ends, log_lr[0], log_lr[-1])
        for low, high in itertools.pairwise(np.flatnonzero(chosen)):
            within = (log_lr[low] < ends[:, 1]) & (log_lr[high] > ends[:, 0])
            wide = PARTS * (log_lr[high] - log_lr[low]) > ends[:, 1] - ends[:, 0]
            if (is_above[:, low] != is_above[:, high]).any() or (within & wide).any():
                chosen[(low + high) // 2] = True
    return chosen
