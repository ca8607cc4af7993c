"""The learnable band: the range of learning rates at which enough seeds learn, a row a cell."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.analysis.cells import Cell, cell_fields, cells
from ghostsweep.analysis.crossing import central, resample
from ghostsweep.analysis.outcomes import CRITERIA, DEFAULT_CRITERIA, Criteria, with_criteria
from ghostsweep.errors import UsageError

BAND_ESTIMATES = (
    "share", "lr_low", "lr_high", "width_decades", "width_low", "width_high", "censored", "contiguous", "n_rates",
    "n_seeds", "level", *CRITERIA,
)  # fmt: skip
"""The columns of a table of bands that are not the cell's fields."""


def learnable_band(
    runs: pd.DataFrame,
    share: float = 0.5,
    *,
    criteria: Criteria = DEFAULT_CRITERIA,
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the range of learning rates at which at least `share` of seeds learned, a row for each cell.

    A cell is as in `critical_lr`. The band is the range of rates with the largest excess of seeds that learned
    over `share` of all seeds there (of equal ones the longest), so that chance at a single rate does not cut
    it in two. Its ends lie between its outermost rates and their neighbours outside, interpolated in log rate
    to where the learned share is `share`.

    Columns: the cell's fields; share; lr_low and lr_high, the ends (NaN where the band is empty);
    width_decades, log10(lr_high / lr_low), 0 where empty; width_low, width_high; censored ("below", "above",
    "both": the band reaches that end of the grid, and its width is a lower bound; else ""); contiguous (False:
    some rate inside falls short of `share`, or one outside reaches it); n_rates; n_seeds; level; the criteria.

    The interval of the width at `level` is a bootstrap over seeds; in each sample both ends are drawn
    log-uniformly within their own brackets, so it holds seeds and grid resolution. width_high is inf where too
    many samples reach an end of the grid.

    Raises UsageError for missing columns and for values out of range.
    """
    if not 0 < share <= 1 or not 0 < level < 1:
        raise UsageError(f"share is {share} and level {level}: 0 < share <= 1 and 0 < level < 1 are allowed")
    rows = [_row(cell, share, n_boot, level, seed) for cell in cells(runs, criteria, "learnable_band")]
    columns = [*cell_fields(runs), *(column for column in BAND_ESTIMATES if column not in CRITERIA)]
    return with_criteria(pd.DataFrame(rows, columns=columns), asdict(criteria))


def _row(cell: Cell, share: float, n_boot: int, level: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    log_lr, learned, seen = np.log10(cell.rates), cell.having(["learned"]), cell.seen
    n_seeds, n = seen.shape
    p = learned.sum(axis=0) / seen.sum(axis=0)
    first, last = (int(index) for index in _widest(learned.sum(axis=0), seen.sum(axis=0), share))
    inside = (np.arange(n) >= first) & (np.arange(n) <= last)
    low = high = np.nan
    width, censored = 0.0, ""
    if last >= first:
        low, high = _end(log_lr, p, first, first - 1, share), _end(log_lr, p, last, last + 1, share)
        width = high - low
        reached = [side for side, reaches in (("below", first == 0), ("above", last == n - 1)) if reaches]
        censored = "both" if len(reached) == 2 else "".join(reached)

    drawn = resample(n_seeds, n_boot, rng)
    firsts, lasts = _widest(drawn @ learned, drawn @ seen, share)
    starts = _within(log_lr[np.maximum(firsts - 1, 0)], log_lr[np.minimum(firsts, n - 1)], rng)
    ends = _within(log_lr[np.maximum(lasts, 0)], log_lr[np.minimum(lasts + 1, n - 1)], rng)
    empty, open_end = lasts < firsts, (firsts == 0) | (lasts == n - 1)
    width_low = min(central(np.where(empty, 0.0, ends - starts), level)[0], width)
    width_high = max(central(np.where(empty, 0.0, np.where(open_end, np.inf, ends - starts)), level)[1], width)
    return cell.fields | {
        "share": share,
        "lr_low": 10**low,
        "lr_high": 10**high,
        "width_decades": width,
        "width_low": width_low,
        "width_high": width_high,
        "censored": censored,
        "contiguous": bool(((p >= share) == inside).all()),
        "n_rates": n,
        "n_seeds": n_seeds,
        "level": level,
    }


def _widest(learned: np.ndarray, seen: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last index of the range with the largest sum of learned - share * seen; last < first if empty.

    learned, seen: (..., n) counts. Kadane's maximum-sum range, by running sums; a bonus of 1e-9 a rate makes
    the longest of equal ranges win, and takes in rates where the share is met exactly.
    """
    n = seen.shape[-1]
    total = np.zeros((*seen.shape[:-1], n + 1))
    np.cumsum(np.where(seen > 0, learned - share * seen + 1e-9, 0.0), axis=-1, out=total[..., 1:])
    lowest = np.minimum.accumulate(total, axis=-1)
    end = np.argmax(total - lowest, axis=-1)
    reached = np.take_along_axis(lowest, end[..., None], axis=-1)
    return np.argmax(total == reached, axis=-1), end - 1


def _end(log_lr: np.ndarray, p: np.ndarray, inner: int, outer: int, share: float) -> float:
    """Return the log rate between the rates inner (in the band) and outer (not) where the share is met."""
    if not 0 <= outer < len(log_lr):
        return float(log_lr[inner])
    weight = np.clip((p[inner] - share) / (p[inner] - p[outer]), 0.0, 1.0)
    return float(log_lr[inner] + weight * (log_lr[outer] - log_lr[inner]))


def _within(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn: np.ndarray = low + rng.random(low.shape) * (high - low)
    return drawn
