"""Power laws through critical learning rates: one exponent a series of cells, or one a pair of neighbours."""

import numpy as np
import pandas as pd
import scipy

from ghostsweep import theory
from ghostsweep.analysis import laws
from ghostsweep.analysis.cells import is_closed_form
from ghostsweep.analysis.series import FIT_NEEDS, estimates, points, series_along
from ghostsweep.errors import UsageError


def _fit(found: laws.Points, n_draws: int, level: float, seed: int) -> dict[str, float]:
    """Return exponent and prefactor with their intervals and so on; all NaN below FIT_NEEDS estimates."""
    names = [f"{name}{end}" for name in ("exponent", "prefactor") for end in ("", "_low", "_high")]
    if found.n_estimates < FIT_NEEDS or np.ptp(found.x[found.side == 0]) == 0:
        return dict.fromkeys([*names, "r_squared", "exponent_se", "scatter"], np.nan)
    mean, lines, scatters = laws.line_posterior(found, n_draws, np.random.default_rng(seed))
    tails = np.quantile(lines, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    intercepts, exponents = np.concatenate([mean[None], tails]).T
    known = found.side == 0
    log_y = found.y[known]
    residual = log_y - (intercepts[0] + exponents[0] * found.x[known])
    r_squared = 1.0 - _ratio(float(np.sum(residual**2)), float(np.sum((log_y - log_y.mean()) ** 2)))
    error = (exponents[2] - exponents[1]) / (2 * scipy.special.ndtri(0.5 + level / 2))
    values = dict(zip(names, [*exponents, *np.exp(intercepts)], strict=True))
    return values | {"r_squared": r_squared, "exponent_se": error, "scatter": float(np.median(scatters))}


def fit_power_law(
    critical: pd.DataFrame,
    *,
    x: str = "timescale",
    y: str = "lr_critical",
    n_draws: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit y = prefactor * x^exponent in log-log, a row for each series of cells along x.

    critical: as `critical_lr` returns it; ci_low, ci_high belong to y. A series is one model, boundary and
    share, and one value of every other field that takes several values at the same x. Columns: along, which is
    x; the series' fields; exponent and prefactor with _low and _high; r_squared; exponent_se, the standard
    error, the width of the exponent's interval in those of a normal; scatter, of the cells about the law beyond
    their own intervals, standard deviation of log y; n_used, cells with an estimate; n_censored, those without, of
    which bounds that are known enter the fit as bounds; level.

    Of the upper boundary against the timescale, else NaN: se_from_TL and se_from_L, by how many standard
    errors the exponent lies above those of the canonical theory, -5 for the gradient of T*L and -4 for that of
    L (networks take the gradient of L; +-inf where there is no error); and, for the canonical form,
    theory_exponent and theory_prefactor.

    The interval at `level` is that of the line's posterior, in which each cell has the error of its own interval
    and all a scatter about the law that the cells tell (see `laws.line_posterior`). With fewer than three estimates
    the fit is NaN. Raises UsageError for missing columns, for an x that is not positive, and when no series has two
    estimates.
    """
    rows = []
    for fields, cells in series_along(critical, x, y):
        told = points(cells, x, y)
        found, n_used = _fit(told, n_draws, level, seed), told.n_estimates
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
        n_below, n_above, n_late = ((critical["censored"] == side).sum() for side in ("below", "above", "epochs"))
        raise UsageError(
            f"no series has two cells with an estimate of {y}: of {len(critical)} boundaries {n_below} lie below "
            f"the lowest learning rate of their cell and {n_above} above the highest: widen the rates that way; "
            f"{n_late} are hidden by too few epochs"
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
        log_x, log_y, sigma = estimates(cells, x, y)
        step = np.diff(log_x)
        exponent = np.diff(log_y) / step
        level = float(cells["level"].iloc[0])
        margin = scipy.special.ndtri(0.5 + level / 2.0) * np.hypot(sigma[1:], sigma[:-1]) / step
        table = pd.DataFrame({"at": np.exp(log_x[:-1] + step / 2.0), "exponent": exponent})
        table["exponent_low"], table["exponent_high"] = exponent - margin, exponent + margin
        table["level"] = level
        for position, (field, value) in enumerate(({"along": x} | fields).items()):
            table.insert(position, field, value)
        tables.append(table)
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
