"""The learning rate above which learning collapses, a row a cell of the sweep."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from ghostsweep.analysis.outcomes import (
    DEFAULT_CRITERIA,
    OUTCOMES,
    Criteria,
    numbers,
    outcomes,
    require_columns,
)
from ghostsweep.errors import UsageError
from ghostsweep.tables import RESULTS

# A field that is not listed must split cells, never be pooled in silence: hence the list of what is NOT one.
_NOT_FIELDS = ("run_id", "learning_rate", "seed", "outcome", *(column.name for column in RESULTS))
_ALWAYS_FIELDS = ("model", "timescale")
ESTIMATES = (
    "boundary", "share", "lr_below", "lr_above", "lr_critical", "ci_low", "ci_high", "censored", "n_rates",
    "n_seeds", "monotone", "level",
)  # fmt: skip
"""The columns of a critical table that are not the cell's fields."""


def cell_fields(runs: pd.DataFrame) -> list[str]:
    """Fields that tell the cells of a table apart: model, timescale, and all else that varies but rate and seed."""
    others = [column for column in runs.columns if column not in (*_NOT_FIELDS, *_ALWAYS_FIELDS)]
    return [*_ALWAYS_FIELDS, *(field for field in others if runs[field].nunique(dropna=False) > 1)]


def _crossing(collapsed: np.ndarray, seen: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (below, above): indices of the rates around the crossing of the rising fit of collapsed/seen.

    collapsed, seen: (..., n_rates) counts of runs. above: first rate where the isotonic fit, weighted by
    `seen`, exceeds `share` (n_rates if none). below: last rate before it that was seen (-1 if none). The set
    where an isotonic fit exceeds a level begins at the last minimum of the running sum of excesses over that
    level, which spares fitting every bootstrap sample.
    """
    n_rates = seen.shape[-1]
    excess = np.zeros((*seen.shape[:-1], n_rates + 1))
    np.cumsum(collapsed - share * seen, axis=-1, out=excess[..., 1:])
    above = n_rates - np.argmin(np.round(excess[..., ::-1], 9), axis=-1)  # rounded: equal shares must tie
    last_seen = np.full(excess.shape, -1)
    last_seen[..., 1:] = np.maximum.accumulate(np.where(seen > 0, np.arange(n_rates), -1), axis=-1)
    below = np.take_along_axis(last_seen, above[..., None], axis=-1)[..., 0]
    return below, above


def _is_monotone(p: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> bool:
    """Return False if the share p (n_rates) falls by more than sampling noise as the rate grows.

    Both must hold to be flagged. (1) The largest fall of p between any two rates exceeds min(1/2, sqrt(2/n)),
    n the median seeds a rate: two standard errors of a difference of two shares, so that no single seed's
    island counts. (2) The number of collapsed runs, summed from the lowest rate, gets further ahead of its
    rising fit than in 99% of 200 tables drawn from that fit with independent binomial noise, so that scatter
    in a wide transition does not count.
    """
    fall = (np.maximum.accumulate(p) - p).max()
    if fall <= min(0.5, np.sqrt(2.0 / np.median(seen))):
        return True

    def lead(p: np.ndarray) -> float:
        return float(np.cumsum(seen * (p - isotonic_regression(p, weights=seen).x)).max())

    rising = np.clip(isotonic_regression(p, weights=seen).x, 0.0, 1.0)
    noise = [lead(draw) for draw in rng.binomial(seen.astype(int), rising, (200, len(p))) / seen]
    return lead(p) <= float(np.quantile(noise, 0.99))


def _interval(
    log_lr: np.ndarray, collapsed: np.ndarray, seen: np.ndarray, share: float, n_boot: int, level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:  # fmt: skip
    """Return the bootstrap interval of the log boundary; collapsed, seen: (n_seeds, n_rates) of 0 and 1.

    An end is infinite where too many samples have no crossing on the grid.
    """
    n_seeds, n_rates = seen.shape
    times_drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), size=n_boot).astype(float)
    below, above = _crossing(times_drawn @ collapsed, times_drawn @ seen, share)
    # No collapse among few seeds does not exclude a small share of it: an onset may lie one rate further down.
    reach = 1 if share == 0 else 0
    low, high = log_lr[np.maximum(below - reach, 0)], log_lr[np.minimum(above, n_rates - 1)]
    draws = low + rng.random(n_boot) * (high - low)
    draws[below < 0] = -np.inf
    draws[above == n_rates] = np.inf
    draws.sort()
    tail = (1.0 - level) / 2.0 * (n_boot - 1)
    return float(draws[int(np.floor(tail))]), float(draws[int(np.ceil(n_boot - 1 - tail))])


def _upper_boundary(
    rates: np.ndarray,
    collapsed: np.ndarray,
    seen: np.ndarray,
    share: float,
    n_boot: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Return the estimates of one cell; rates ascending, collapsed and seen (n_seeds, n_rates) of 0 and 1."""
    rng = np.random.default_rng(seed)  # a cell's interval depends on that cell alone
    n_seeds, n_rates = seen.shape
    per_rate, log_lr = seen.sum(axis=0), np.log(rates)
    p = collapsed.sum(axis=0) / per_rate
    below, above = (int(index) for index in _crossing(collapsed.sum(axis=0), per_rate, share))
    censored = "above" if above == n_rates else "below" if below < 0 else ""
    critical = low = high = np.nan
    if not censored:
        weight = 0.5
        if share > 0:
            rising = isotonic_regression(p, weights=per_rate).x
            weight = np.clip((share - rising[below]) / (rising[above] - rising[below]), 0.0, 1.0)
        critical = log_lr[below] + weight * (log_lr[above] - log_lr[below])
        if n_seeds == 1:
            low, high = log_lr[below], log_lr[above]
        else:
            low, high = _interval(log_lr, collapsed, seen, share, n_boot, level, rng)
            low, high = min(low, critical), max(high, critical)
    return {
        "boundary": "upper",
        "share": share,
        "lr_below": rates[below] if below >= 0 else np.nan,
        "lr_above": rates[above] if above < n_rates else np.nan,
        "lr_critical": np.exp(critical),
        "ci_low": np.exp(low),
        "ci_high": np.exp(high),
        "censored": censored,
        "n_rates": n_rates,
        "n_seeds": n_seeds,
        "monotone": _is_monotone(p, per_rate, rng),
        "level": level,
    }


def critical_lr(
    runs: pd.DataFrame,
    *,
    share: float = 0.5,
    criteria: Criteria = DEFAULT_CRITERIA,
    collapsed: Sequence[str] = ("trapped", "diverged"),
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the learning rate above which learning collapses, a row for each cell.

    A cell is a combination of model, timescale and every other run field that varies in the table,
    learning_rate and seed apart. A run has collapsed when its outcome is in `collapsed`. The boundary is the
    lowest rate where the collapsed share of seeds, made rising by isotonic regression, exceeds `share`. At
    share 0 it is the ONSET, the lowest rate where any seed has collapsed. The canonical theory gives the
    onset, eta = 3/4; the collapsed share climbs from 0 there to 1 near eta = 0.7725, since some starts settle
    on a cycle, so the 50% boundary lies about 1.7% above the onset.

    Columns: the cell's fields; boundary ("upper"); share; lr_below and lr_above, the rates on either side;
    lr_critical, interpolated in log lr between them at `share` (their geometric middle for the onset);
    ci_low, ci_high; censored ("below": even the lowest rate has collapsed, "above": no rate has, else ""; the
    estimates are NaN then); n_rates; n_seeds; monotone (False: the share falls again by more than sampling
    noise, see `_is_monotone`); level.

    The interval at `level` is a bootstrap over seeds, common to all rates of the cell since a seed's start is
    too; in each sample the boundary is drawn log-uniformly within its own bracket, so it holds seeds and grid
    resolution. With one seed it is the bracket. An end is 0 or inf where too many samples cross outside the
    grid. The onset is a minimum over the seeds at hand, which more seeds can lower and no resampling of them shows:
    its draws, and so its interval, therefore begin one rate below the bracket.

    Raises UsageError for missing columns and for values out of range.
    """
    require_columns(runs, (*_ALWAYS_FIELDS, "learning_rate", "seed"), "critical_lr")
    if not 0 <= share < 1 or not 0 < level < 1:
        raise UsageError(f"share is {share} and level {level}: 0 <= share < 1 and 0 < level < 1 are allowed")
    if unknown := sorted(set(collapsed) - set(OUTCOMES)):
        raise UsageError(f"collapsed names {', '.join(unknown)}: the outcomes are {', '.join(OUTCOMES)}")
    if runs.empty:
        raise UsageError("critical_lr: the table has no runs")
    fields = cell_fields(runs)
    judged = outcomes(runs, criteria)
    judged["outcome"] = judged["outcome"].isin(list(collapsed))
    rows = []
    for key, cell in judged.groupby(fields, sort=True, dropna=False, observed=True):
        rates, rate_index = np.unique(numbers(cell, "learning_rate"), return_inverse=True)
        seeds, seed_index = np.unique(cell["seed"].to_numpy(), return_inverse=True)
        seen, bad = np.zeros((2, len(seeds), len(rates)))
        seen[seed_index, rate_index] = 1.0
        bad[seed_index, rate_index] = cell["outcome"].to_numpy(dtype=float)
        estimates = _upper_boundary(rates, bad, seen, share, n_boot, level, seed)
        rows.append(dict(zip(fields, key, strict=True)) | estimates)
    table = pd.DataFrame(rows, columns=[*fields, *ESTIMATES])
    table.attrs["criteria"] = judged.attrs["criteria"]
    return table
