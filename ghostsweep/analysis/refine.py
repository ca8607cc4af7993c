"""Which runs of a refined sweep to train: a coarse grid of learning rates first, then only around boundaries."""

import itertools

import numpy as np
import pandas as pd

from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.critical import COLLAPSED, TOO_SLOW
from ghostsweep.analysis.outcomes import outcomes


def refined(planned: pd.DataFrame, runs: pd.DataFrame, *, levels: int, share: float = 0.5) -> pd.Series:
    """The planned runs that are to be trained, given those that have been; booleans along `planned`.

    In each cell of the plan (all fields but learning rate and seed), every 2^levels-th learning rate of its grid and
    the last one come first. Then, level by level, the rate in the middle of each pair of neighbours between which a
    boundary lies: the share of seeds that have collapsed, or that are too slow, is above `share` at one of the two
    alone. The last level is that of the grid itself. A level is only looked at once all before it is trained, so
    that the same runs are chosen however often a sweep is interrupted. `runs` is a table of finished runs, with
    others or without; see `critical_lr` for the outcomes.
    """
    result = pd.Series(False, index=planned.index)
    finished = runs[runs["run_id"].isin(planned["run_id"])]
    judged = outcomes(finished).set_index("run_id")["outcome"].astype(str)
    table = planned.assign(outcome=planned["run_id"].map(judged))
    for _, cell in table.groupby(cell_fields(planned), dropna=False, observed=True):
        rates, index = np.unique(cell["learning_rate"].to_numpy(), return_inverse=True)
        result[cell.index] = _chosen(cell["outcome"], index, len(rates), levels, share)[index]
    return result


def _chosen(outcome: pd.Series, index: np.ndarray, n_rates: int, levels: int, share: float) -> np.ndarray:
    """Which rates of one cell are wanted; `outcome` of its runs, at rate `index`, is null where not trained."""
    n_runs = np.bincount(index, minlength=n_rates)
    trained = np.bincount(index[outcome.notna()], minlength=n_rates) == n_runs
    is_above = np.array(
        [np.bincount(index[outcome.isin(names)], minlength=n_rates) > share * n_runs for names in (COLLAPSED, TOO_SLOW)]
    )
    chosen = np.zeros(n_rates, bool)
    chosen[:: 2**levels] = chosen[-1] = True
    for _ in range(levels):
        if not trained[chosen].all():
            break
        for low, high in itertools.pairwise(np.flatnonzero(chosen)):
            if (is_above[:, low] != is_above[:, high]).any():
                chosen[(low + high) // 2] = True
    return chosen
