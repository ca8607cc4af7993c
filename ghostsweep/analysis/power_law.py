"""Power laws through critical learning rates: one exponent a series of cells, or one a pair of neighbours."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from ghostsweep import theory
from ghostsweep.analysis.cells import is_closed_form
from ghostsweep.analysis.series import FIT_NEEDS, points, series_along
from ghostsweep.errors import UsageError


def _least_squares(log_x: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and intercept along the last axis, NaN where there are fewer than two distinct x."""
    middle = log_x.mean(axis=-1, keepdims=True)
    spread = np.where(np.ptp(log_x, axis=-1) > 0, ((log_x - middle) ** 2).sum(axis=-1), np.nan)
    slope = ((log_x - middle) * log_y).sum(axis=-1) / spread
    return slope, log_y.mean(axis=-1) - slope * middle[..., 0]


def _fit(
    log_x: np.ndarray, log_y: np.ndarray, sigma: np.ndarray, n_boot: int, level: float, seed: int
) -> dict[str, float]:
    """Return exponent and prefactor with their intervals and so on; all NaN below FIT_NEEDS points."""
    names = [f"{name}{end}" for name in ("exponent", "prefactor") for end in ("", "_low", "_high")]
    if len(log_x) < FIT_NEEDS:
        return dict.fromkeys([*names, "r_squared", "exponent_se"], np.nan)
    slope, intercept = _least_squares(log_x, log_y)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(log_x), size=(n_boot, len(log_x)))
    noise = sigma[drawn] * rng.standard_normal(drawn.shape)
    slopes, intercepts = _least_squares(log_x[drawn], log_y[drawn] + noise)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    exponents = [slope, *np.nanquantile(slopes, tails)]
    prefactors = np.exp([intercept, *np.nanquantile(intercepts, tails)])
    residual = log_y - (slope * log_x + intercept)
    r_squared = 1.0 - _ratio(float(np.sum(residual**2)), float(np.sum((log_y - log_y.mean()) ** 2)))
    error = (exponents[2] - exponents[1]) / (2 * norm.ppf(0.5 + level / 2))
    return dict(zip(names, [*exponents, *prefactors], strict=True)) | {"r_squared": r_squared, "exponent_se": error}


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
    share, and one value of every other field that takes several values at the same x. Columns: along, which is
    x; the series' fields; exponent and prefactor with _low and _high; r_squared; exponent_se, the standard
    error, the width of the exponent's interval in those of a normal; n_used; n_censored (cells without a
    usable estimate); level.

    Of the upper boundary against the timescale, else NaN: se_from_TL and se_from_L, by how many standard
    errors the exponent lies above those of the canonical theory, -5 for the gradient of T*L and -4 for that of
    L (networks take the gradient of L; +-inf where there is no error); and, for the canonical form,
    theory_exponent and theory_prefactor.

    The interval at `level` is a bootstrap that draws cells with replacement and each cell's value anew from
    the log-normal of its own interval. It is on the wide side, since scatter that comes from those intervals
    enters twice. With fewer than three points the fit is NaN. Raises UsageError for missing columns, for an x
    that is not positive, and when no series has two points.
    """
    rows = []
    for fields, cells in series_along(critical, x, y):
        log_x, log_y, sigma = points(cells, x, y)
        found = _fit(log_x, log_y, sigma, n_boot, level, seed)
        n_used = len(log_x)
        counts = {"n_used": n_used, "n_censored": len(cells) - n_used, "level": level}
        comparable = fields["boundary"] == "upper" and (x, y) == ("timescale", "lr_critical")
        canonical = comparable and is_closed_form(cells)
        away = {
            f"se_from_{name}": _ratio(found["exponent"] - exponent, found["exponent_se"]) if comparable else np.nan
            for name, exponent in theory.CRITICAL_EXPONENTS.items()
        }
        expected = {
            "theory_exponent": theory.CRITICAL_EXPONENTS["TL"] if canonical else np.nan,
            "theory_prefactor": theory.CRITICAL_PREFACTOR if canonical else np.nan,
        }
        rows.append({"along": x} | fields | found | counts | away | expected)
    if all(row["n_used"] < 2 for row in rows):
        n_below, n_above = ((critical["censored"] == side).sum() for side in ("below", "above"))
        raise UsageError(
            f"no series has two cells with an estimate of {y}: of {len(critical)} boundaries {n_below} lie below "
            f"the lowest learning rate of their cell and {n_above} above the highest; widen the learning rates "
            "that way"
        )
    return pd.DataFrame(rows)


def _ratio(difference: float, error: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(difference, error))


def local_exponent(critical: pd.DataFrame, x: str = "timescale", y: str = "lr_critical") -> pd.DataFrame:
    """Return the exponent d log y / d log x between neighbouring cells, a row for each pair along x.

    Columns: along, which is x; the series' fields (see `fit_power_law`); at, the geometric middle of the pair;
    exponent; exponent_low and exponent_high, from the two cells' intervals taken as independent log-normals;
    level, that of those intervals. Raises UsageError for missing columns, and for an x that is not positive.
    """
    tables = []
    for fields, cells in series_along(critical, x, y):
        log_x, log_y, sigma = points(cells, x, y)
        step = np.diff(log_x)
        exponent = np.diff(log_y) / step
        level = float(cells["level"].iloc[0])
        margin = norm.ppf(0.5 + level / 2.0) * np.hypot(sigma[1:], sigma[:-1]) / step
        table = pd.DataFrame({"at": np.exp(log_x[:-1] + step / 2.0), "exponent": exponent})
        table["exponent_low"], table["exponent_high"] = exponent - margin, exponent + margin
        table["level"] = level
        for position, (field, value) in enumerate(({"along": x} | fields).items()):
            table.insert(position, field, value)
        tables.append(table)
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
