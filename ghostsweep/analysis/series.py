"""Series of cells along a field: what a scaling law is fitted to."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ghostsweep.analysis import laws
from ghostsweep.analysis.critical import ESTIMATES
from ghostsweep.analysis.outcomes import numbers, require_columns
from ghostsweep.errors import UsageError

_GROUP_ALWAYS = ("model", "boundary", "share")
_BRACKET = ("lr_below", "lr_above")
FIT_NEEDS = 3
"""Estimates of the shortest series that can be fitted; two leave no scatter to judge the fit by."""


def scales(critical: pd.DataFrame) -> list[str]:
    """Return the fields along which a law can be fitted: positive, with FIT_NEEDS usable cells in some series.

    A field that merely goes along with an earlier one, as epochs may with the timescale, is left out.
    """
    found: list[str] = []
    for field in (column for column in critical.columns if column not in (*ESTIMATES, *_GROUP_ALWAYS)):
        values = critical[field]
        if not is_numeric_dtype(values) or is_bool_dtype(values) or not (values.dropna() > 0).all():
            continue
        # Cells without the earlier field are cells too: there it does not go along with it.
        new = all((critical.groupby(earlier, dropna=False)[field].nunique() > 1).any() for earlier in found)
        if new and any(points(cells, field).n_estimates >= FIT_NEEDS for _, cells in series_along(critical, field)):
            found.append(field)
    return found


def series_along(
    critical: pd.DataFrame, x: str, y: str = "lr_critical"
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield (fields, rows) of every series of cells along x, cells without x left out.

    A series is one model, boundary and share, and one value of every other field that takes several values at
    the same x; a field that merely follows x, as epochs may, does not split it. Raises UsageError for missing
    columns, and for an x that is not positive.
    """
    require_columns(critical, (*_GROUP_ALWAYS, x, y, "ci_low", "ci_high", "censored", "level"), "a scaling law")
    critical = critical[critical[x].notna()]
    if not is_numeric_dtype(critical[x]) or is_bool_dtype(critical[x]):
        raise UsageError(f"{x} is {critical[x].iloc[0]!r} in a cell: a scaling law along it needs positive numbers")
    if (critical[x] <= 0).any():
        raise UsageError(f"{x} is {critical[x].min()} in a cell: a scaling law along it needs positive numbers")
    fields = [column for column in critical.columns if column not in (*ESTIMATES, *_GROUP_ALWAYS, x, y)]
    at_same_x = critical.groupby([*_GROUP_ALWAYS, x], dropna=False, observed=True)
    split = [field for field in fields if (at_same_x[field].nunique(dropna=False) > 1).any()]
    keys = [*_GROUP_ALWAYS, *split]
    for key, rows in critical.groupby(keys, sort=True, dropna=False, observed=True):
        yield dict(zip(keys, key, strict=True)), rows


def points(rows: pd.DataFrame, x: str, y: str = "lr_critical") -> laws.Points:
    """The logarithms of a series' cells, ascending in x: estimates, and the bounds that are known of the others.

    ci_low..ci_high of an estimate is read as the central interval, at the row's level, of a log-normal; where one end
    is open (0 or inf) the other side gives the width, and without any (one seed) its bracket does. A censored cell is
    a bound: at most ci_high, or at least ci_low. Cells of which nothing is known are left out.
    """
    rows = rows.sort_values(x)
    with np.errstate(divide="ignore"):
        log_x, log_y, low, high = (np.log(numbers(rows, column)) for column in (x, y, "ci_low", "ci_high"))
        bracket = [np.log(numbers(rows, end)) if end in rows else np.full(len(rows), np.nan) for end in _BRACKET]
    censored = (rows["censored"] != "").to_numpy()
    sigma = laws.interval_sigma(log_y, low, high, numbers(rows, "level"))
    sigma = np.where(np.isnan(low) & np.isnan(high), laws.bracket_sigma(*bracket), sigma)
    estimated = ~censored & np.isfinite(log_y) & np.isfinite(sigma)
    side = np.where(estimated, 0, np.where(np.isfinite(high), -1, 1))
    value = np.where(estimated, log_y, np.where(side < 0, high, low))
    kept = estimated | (censored & np.isfinite(value) & (y == "lr_critical"))
    usual = float(np.median(sigma[estimated])) if estimated.any() else np.nan
    return laws.Points(log_x[kept], value[kept], np.where(side == 0, sigma, usual)[kept], side[kept])


def estimates(rows: pd.DataFrame, x: str, y: str = "lr_critical") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log x, log y and the standard deviation of log y of the cells with an estimate, ascending in x."""
    found = points(rows, x, y)
    known = found.side == 0
    return found.x[known], found.y[known], found.sigma[known]
