"""The learning rates between which training works: it collapses above the upper, is too slow below the lower."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.analysis.cells import Cell, cell_fields, cells, check_outcomes
from ghostsweep.analysis.crossing import Crossing, crossing
from ghostsweep.analysis.outcomes import CRITERIA, DEFAULT_CRITERIA, Criteria, with_criteria
from ghostsweep.errors import UsageError

COLLAPSED = ("fallen_back", "unstable", "trapped", "trapped_at_start", "diverged")
TOO_SLOW = ("plateau",)
ESTIMATES = (
    "boundary", "share", "lr_below", "lr_above", "lr_critical", "ci_low", "ci_high", "method", "censored", "n_rates",
    "n_seeds", "monotone", "level", "counted", *CRITERIA,
)  # fmt: skip
"""The columns of a critical table that are not the cell's fields."""


def critical_lr(
    runs: pd.DataFrame,
    *,
    share: float = 0.5,
    criteria: Criteria = DEFAULT_CRITERIA,
    collapsed: Sequence[str] = COLLAPSED,
    too_slow: Sequence[str] = TOO_SLOW,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return two rows for each cell: the rate above which learning collapses, and that below which it is too slow.

    A cell is a combination of model, timescale and every other run field that varies in the table,
    learning_rate and seed apart. The UPPER boundary is the rate above which more than `share` of the seeds have an
    outcome in `collapsed`; at share 0 it is the ONSET, where the first of all seeds would collapse. The canonical
    theory gives the onset, eta = 3/4; the collapsed share climbs from 0 there to 1 near eta = 0.772, since some
    starts settle on a cycle, so the 50% boundary lies about 1.7% above the onset. A run whose outcome is in
    `too_slow` had not the time to show whether it would collapse: it is not looked at. The LOWER boundary mirrors the
    upper: the rate below which more than `share` of the seeds have an outcome in `too_slow` (for the epochs they were
    given). It is looked for up to the upper boundary only: beyond, a plateau is not a matter of patience.

    Columns: the cell's fields; boundary (upper, lower); share; lr_below and lr_above, the rates on either
    side of where the share, made rising by isotonic regression, exceeds `share`; lr_critical, the estimate;
    ci_low, ci_high; method, how it was estimated: quantile of the seeds' thresholds, onset (see `thresholds`), or
    bracket, the geometric middle of lr_below and lr_above, of one seed; censored: where the boundary lies if it was
    not seen, "below" the grid, "above" it, or, the upper one, below lr_above by an amount that the "epochs" hide,
    since too few runs had the time to collapse at lower rates; else "" (where it is not, lr_critical is NaN, and
    ci_low to ci_high is what is known: at most ci_high, or at least ci_low); n_rates that were looked at; n_seeds that
    had the time; monotone (False: the share turns back by more than sampling noise, see `is_monotone`); level;
    counted, the outcomes; the criteria.

    Estimate and interval are those of the seeds' thresholds: where runs of one seed scatter independently of each
    other, over a range as wide as that of the seeds, they are right at share 0.5 alone.

    The interval at `level` holds what few seeds and a coarse grid leave open, of all seeds that could be drawn; see
    `thresholds`; that of the onset takes `n_draws` draws, from `seed`. With one seed there is none (NaN). An end is 0
    or inf where it lies outside the grid.

    Raises UsageError for missing columns and for values out of range.
    """
    if not 0 <= share < 1 or not 0 < level < 1:
        raise UsageError(f"share is {share} and level {level}: 0 <= share < 1 and 0 < level < 1 are allowed")
    check_outcomes(collapsed, "collapsed")
    check_outcomes(too_slow, "too_slow")
    rows = []
    for cell in cells(runs, criteria, "critical_lr"):
        log_lr = np.log(cell.rates)
        # A cell's interval depends on that cell alone: every crossing starts from the same seed.
        slow = cell.having(too_slow)
        timely = cell.seen * (1 - cell.having([name for name in too_slow if name not in collapsed]))
        upper = crossing(log_lr, cell.having(collapsed), timely, share, n_draws, level, seed)
        hidden = upper.below < 0 and bool(slow[:, : upper.above].sum() > 0)
        n = min(upper.above + 1, len(log_lr))
        slow, seen = slow[:, :n], cell.seen[:, :n]
        mirrored = crossing(-log_lr[n - 1 :: -1], slow[:, ::-1], seen[:, ::-1], share, n_draws, level, seed)
        lower = mirrored._replace(
            below=n - 1 - mirrored.above, above=n - 1 - mirrored.below,
            middle=-mirrored.middle, low=-mirrored.high, high=-mirrored.low,
        )  # fmt: skip
        for name, counted, found, rates in (
            ("upper", collapsed, upper, cell.rates),
            ("lower", too_slow, lower, cell.rates[:n]),
        ):
            shared = {"boundary": name, "share": share, "level": level, "counted": " ".join(counted)}
            row = shared | _row(cell, found, rates)
            if name == "upper":
                row["n_seeds"] = int(timely.any(axis=1).sum())
                row["censored"] = "epochs" if hidden else row["censored"]
            rows.append(row)
    columns = [*cell_fields(runs), *(column for column in ESTIMATES if column not in CRITERIA)]
    return with_criteria(pd.DataFrame(rows, columns=columns), asdict(criteria))


def _row(cell: Cell, found: Crossing, rates: np.ndarray) -> dict[str, Any]:
    return cell.fields | {
        "lr_below": rates[found.below] if found.below >= 0 else np.nan,
        "lr_above": rates[found.above] if found.above < len(rates) else np.nan,
        "lr_critical": np.exp(found.middle),
        "ci_low": np.exp(found.low),
        "ci_high": np.exp(found.high),
        "method": found.method,
        "censored": "below" if found.below < 0 else "above" if found.above == len(rates) else "",
        "n_rates": len(rates),
        "n_seeds": len(cell.seen),
        "monotone": found.monotone,
    }
