"""Series of cells along a field: what a scaling law is fitted to."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from scipy.stats import norm

from ghostsweep.analysis.critical import ESTIMATES
from ghostsweep.analysis.outcomes import numbers, require_columns
from ghostsweep.errors import UsageError

_GROUP_ALWAYS = ("model", "boundary", "share")
FIT_NEEDS = 3
"""Points of the shortest series that can be fitted; two leave no scatter to judge the fit by."""


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
        if new and any(len(points(cells, field)[0]) >= FIT_NEEDS for _, cells in series_along(critical, field)):
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
    if (critical[x] <= 0).any():
        raise UsageError(f"{x} is {critical[x].min()} in a cell: a scaling law along it needs positive numbers")
    fields = [column for column in critical.columns if column not in (*ESTIMATES, *_GROUP_ALWAYS, x, y)]
    at_same_x = critical.groupby([*_GROUP_ALWAYS, x], dropna=False, observed=True)
    split = [field for field in fields if (at_same_x[field].nunique(dropna=False) > 1).any()]
    keys = [*_GROUP_ALWAYS, *split]
    for key, rows in critical.groupby(keys, sort=True, dropna=False, observed=True):
        yield dict(zip(keys, key, strict=True)), rows


def points(rows: pd.DataFrame, x: str, y: str = "lr_critical") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log x, log y and the standard deviation of log y of the usable rows, ascending in x.

    ci_low..ci_high is read as the central interval, at the row's level, of a log-normal; where one end is
    open (0 or inf) the other side gives the width. Usable: estimate not null, not censored, at least one end
    finite.
    """
    rows = rows[(rows["censored"] == "").to_numpy()].sort_values(x)
    with np.errstate(divide="ignore"):
        log_x, log_y, low, high = (np.log(numbers(rows, column)) for column in (x, y, "ci_low", "ci_high"))
    sides = np.stack([log_y - low, high - log_y])
    closed = np.isfinite(sides)
    usable = np.isfinite(log_y) & closed.any(axis=0)
    z = norm.ppf(0.5 + numbers(rows, "level") / 2.0)
    sigma = np.where(closed, sides, 0.0).sum(axis=0) / (np.maximum(closed.sum(axis=0), 1) * z)
    return log_x[usable], log_y[usable], sigma[usable]
