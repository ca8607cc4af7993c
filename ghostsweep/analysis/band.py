"""The learnable band: the range of learning rates at which enough seeds learn, a row a cell."""

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from ghostsweep.analysis.cells import Cell, cell_fields, cells
from ghostsweep.analysis.crossing import central, crossing, resample
from ghostsweep.analysis.outcomes import CRITERIA, DEFAULT_CRITERIA, Criteria, with_criteria
from ghostsweep.errors import UsageError

BAND_ESTIMATES = (
    "share", "lr_low", "lr_high", "width_decades", "width_low", "width_high", "censored", "contiguous", "n_rates",
    "n_seeds", "level", *CRITERIA,
)  # fmt: skip
"""The columns of a table of bands that are not the cell's fields."""
_FEW = 3
"""Rates of a band above which it is not asked whether it is there at all."""


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
    it in two.

    Columns: the cell's fields; share; lr_low and lr_high, the ends (NaN where the band is empty);
    width_decades, log10(lr_high / lr_low), 0 where empty; width_low, width_high; censored ("below", "above",
    "both": the band reaches that end of the grid, and its width is a lower bound; else ""); contiguous (False:
    some rate inside falls short of `share`, or one outside reaches it); n_rates; n_seeds; level; the criteria.

    Each end is found as the boundaries of `critical_lr` are, from the rate of the band at which most learn; the
    intervals of both, taken as independent, make that of the width; where so few learn even there that this cannot
    tell, it lies where the share of all seeds is met. It is NaN with one seed, and ends at inf where
    an end may lie outside the grid. Of an empty band it is a bootstrap over seeds.

    Raises UsageError for missing columns and for values out of range.
    """
    if not 0 < share <= 1 or not 0 < level < 1:
        raise UsageError(f"share is {share} and level {level}: 0 < share <= 1 and 0 < level < 1 are allowed")
    rows = [_row(cell, share, n_boot, level, seed) for cell in cells(runs, criteria, "learnable_band")]
    columns = [*cell_fields(runs), *(column for column in BAND_ESTIMATES if column not in CRITERIA)]
    return with_criteria(pd.DataFrame(rows, columns=columns), asdict(criteria))


def _row(cell: Cell, share: float, n_boot: int, level: float, seed: int) -> dict[str, Any]:
    log_lr, learned, seen = np.log10(cell.rates), cell.having(["learned"]), cell.seen
    n_seeds, n = seen.shape
    counts = learned.sum(axis=0), seen.sum(axis=0)
    p = counts[0] / counts[1]
    first, last = (int(index) for index in _widest(*counts, share))
    inside = (np.arange(n) >= first) & (np.arange(n) <= last)
    low = high = np.nan
    width, width_low, width_high, censored = 0.0, 0.0, np.nan, ""
    if last >= first:
        # From the rate at which most learn, upwards and downwards.
        best = first + int(
            np.argmax(np.where(p[first : last + 1] == p[first : last + 1].max(), counts[1][first : last + 1], 0))
        )
        failed = seen - learned
        met = [_met(log_lr, p, *pair, share) for pair in ((last, last + 1), (first, first - 1))]
        up = _end(log_lr[best:], failed[:, best:], seen[:, best:], 1 - share, met[0], n_boot, level, seed)
        down = _end(-log_lr[best::-1], failed[:, best::-1], seen[:, best::-1], 1 - share, -met[1], n_boot, level, seed)
        high, low, width = up.middle, -down.middle, up.middle + down.middle
        width_low = max(width - float(np.hypot(up.middle - up.low, down.middle - down.low)), 0.0)
        chance = scipy.special.bdtrc(counts[0][best] - 1, int(counts[1][best]), share)  # of as many that learn, or more
        if last - first < _FEW and chance > 0.05:
            width_low = 0.0  # that it is there at all may be chance
        width_high = width + float(np.hypot(up.high - up.middle, down.high - down.middle))
        reached = [side for side, found in (("below", down), ("above", up)) if found.is_beyond]
        censored = "both" if len(reached) == 2 else "".join(reached)
    elif n_seeds > 1:
        width_high = _empty(log_lr, learned, seen, share, n_boot, level, np.random.default_rng(seed))
    if n_seeds == 1:
        width_low = width_high = np.nan
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


class _End(NamedTuple):
    """Where the share that failed exceeds its level: estimate and interval, and whether that is beyond the grid."""

    middle: float
    low: float
    high: float
    is_beyond: bool


def _end(
    u: np.ndarray, failed: np.ndarray, seen: np.ndarray, share: float, met: float, n_draws: int, level: float, seed: int
) -> _End:
    """The end of a band along ascending u, from a position in it; met: where the share of all seeds is just met."""
    found = crossing(u, failed, seen, share, n_draws, level, seed)
    if found.above == len(u):
        return _End(u[-1], max(found.low, u[0]), np.inf, True)
    if np.isnan(found.middle):  # so many fail at the position already that the seeds' own thresholds do not tell
        return _End(met, u[0], max(found.high, met), False)
    return _End(found.middle, max(found.low, u[0]), found.high, False)


def _met(log_lr: np.ndarray, p: np.ndarray, inner: int, outer: int, share: float) -> float:
    """The log rate between the rates inner (in the band) and outer (not) where the share that learned is `share`."""
    if not 0 <= outer < len(log_lr):
        return float(log_lr[inner])
    weight = np.clip((p[inner] - share) / (p[inner] - p[outer]), 0.0, 1.0)
    return float(log_lr[inner] + weight * (log_lr[outer] - log_lr[inner]))


def _empty(
    log_lr: np.ndarray, learned: np.ndarray, seen: np.ndarray, share: float, n_boot: int, level: float,
    rng: np.random.Generator,
) -> float:  # fmt: skip
    """Upper end of the interval of the width of a band that is empty, from samples of the seeds."""
    drawn = resample(len(seen), n_boot, rng)
    firsts, lasts = _widest(drawn @ learned, drawn @ seen, share)
    widths = log_lr[np.minimum(lasts + 1, len(log_lr) - 1)] - log_lr[np.maximum(firsts - 1, 0)]
    return central(np.where(lasts < firsts, 0.0, widths), level)[1]


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
