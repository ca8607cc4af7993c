"""Power laws through critical learning rates: one exponent a series of cells, or one a pair of neighbours."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ghostsweep import theory
from ghostsweep.analysis.critical import ESTIMATES
from ghostsweep.analysis.outcomes import numbers, require_columns
from ghostsweep.errors import UsageError

_GROUP_ALWAYS = ("model", "boundary", "share")
_FIT_NEEDS = 3  # points; two leave no scatter to judge the fit by


def _groups(critical: pd.DataFrame, x: str, y: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield (fields, rows) of every series of cells along x.

    A series is one model, boundary and share, and one value of every other field that takes several values at
    the same x; a field that merely follows x, as epochs may, does not split it.
    """
    require_columns(critical, (*_GROUP_ALWAYS, x, y, "ci_low", "ci_high", "censored", "level"), "a power law")
    fields = [column for column in critical.columns if column not in (*ESTIMATES, *_GROUP_ALWAYS, x, y)]
    at_same_x = critical.groupby([*_GROUP_ALWAYS, x], dropna=False, observed=True)
    split = [field for field in fields if (at_same_x[field].nunique(dropna=False) > 1).any()]
    keys = [*_GROUP_ALWAYS, *split]
    for key, rows in critical.groupby(keys, sort=True, dropna=False, observed=True):
        yield dict(zip(keys, key, strict=True)), rows


def _points(rows: pd.DataFrame, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _least_squares(log_x: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and intercept along the last axis, NaN where there are fewer than two distinct x."""
    middle = log_x.mean(axis=-1, keepdims=True)
    spread = np.where(np.ptp(log_x, axis=-1) > 0, ((log_x - middle) ** 2).sum(axis=-1), np.nan)
    slope = ((log_x - middle) * log_y).sum(axis=-1) / spread
    return slope, log_y.mean(axis=-1) - slope * middle[..., 0]


def _fit(
    log_x: np.ndarray, log_y: np.ndarray, sigma: np.ndarray, n_boot: int, level: float, seed: int
) -> dict[str, float]:
    """Return exponent and prefactor with their intervals, and r_squared; all NaN below _FIT_NEEDS points."""
    names = [f"{name}{end}" for name in ("exponent", "prefactor") for end in ("", "_low", "_high")]
    if len(log_x) < _FIT_NEEDS:
        return dict.fromkeys([*names, "r_squared"], np.nan)
    slope, intercept = _least_squares(log_x, log_y)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(log_x), size=(n_boot, len(log_x)))
    noise = sigma[drawn] * rng.standard_normal(drawn.shape)
    slopes, intercepts = _least_squares(log_x[drawn], log_y[drawn] + noise)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    exponents = [slope, *np.nanquantile(slopes, tails)]
    prefactors = np.exp([intercept, *np.nanquantile(intercepts, tails)])
    residual = log_y - (slope * log_x + intercept)
    r_squared = 1.0 - float(np.sum(residual**2) / np.sum((log_y - log_y.mean()) ** 2))
    return dict(zip(names, [*exponents, *prefactors], strict=True)) | {"r_squared": r_squared}


def fit_power_law(
    critical: pd.DataFrame,
    *,
    x: str = "timescale",
    y: str = "lr_critical",
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit y = prefactor * x^exponent by least squares in log-log, a row for each series of cells along x.

    critical: as `critical_lr` returns it; ci_low, ci_high belong to y. A series is one model, boundary and
    share, and one value of every other field that takes several values at the same x. Columns: the series'
    fields; exponent and prefactor with _low and _high; n_used; n_censored (cells without a usable estimate);
    r_squared; level; theory_exponent and theory_prefactor (upper boundary of the canonical model against
    timescale, else NaN).

    The interval at `level` is a bootstrap that draws cells with replacement and each cell's value anew from
    the log-normal of its own interval. It is on the wide side, since scatter that comes from those intervals
    enters twice. With fewer than three points the fit is NaN. Raises UsageError for missing columns, and when
    no series has two points.
    """
    rows = []
    for fields, cells in _groups(critical, x, y):
        points = _points(cells, x, y)
        n_used = len(points[0])
        known = (fields["model"], fields["boundary"]) == ("canonical", "upper")
        known = known and (x, y) == ("timescale", "lr_critical")
        counts = {"n_used": n_used, "n_censored": len(cells) - n_used, "level": level}
        expected = {
            "theory_exponent": theory.CRITICAL_EXPONENT if known else np.nan,
            "theory_prefactor": theory.CRITICAL_PREFACTOR if known else np.nan,
        }
        rows.append(fields | _fit(*points, n_boot, level, seed) | counts | expected)
    if all(row["n_used"] < 2 for row in rows):
        n_below, n_above = ((critical["censored"] == side).sum() for side in ("below", "above"))
        raise UsageError(
            f"no series has two cells with an estimate of {y}: of {len(critical)} cells {n_below} have "
            f"collapsed even at their lowest learning rate and {n_above} have not at their highest; widen "
            "the learning rates that way"
        )
    return pd.DataFrame(rows)


def local_exponent(critical: pd.DataFrame, x: str = "timescale", y: str = "lr_critical") -> pd.DataFrame:
    """Return the exponent d log y / d log x between neighbouring cells, a row for each pair along x.

    Columns: the series' fields (see `fit_power_law`); x, the geometric middle of the pair; exponent;
    exponent_low and exponent_high, from the two cells' intervals taken as independent log-normals; level,
    that of those intervals. Raises UsageError for missing columns.
    """
    tables = []
    for fields, cells in _groups(critical, x, y):
        log_x, log_y, sigma = _points(cells, x, y)
        step = np.diff(log_x)
        exponent = np.diff(log_y) / step
        level = float(cells["level"].iloc[0])
        margin = norm.ppf(0.5 + level / 2.0) * np.hypot(sigma[1:], sigma[:-1]) / step
        table = pd.DataFrame({x: np.exp(log_x[:-1] + step / 2.0), "exponent": exponent})
        table["exponent_low"], table["exponent_high"] = exponent - margin, exponent + margin
        table["level"] = level
        for position, (field, value) in enumerate(fields.items()):
            table.insert(position, field, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
