"""Which law a critical learning rate follows along a field: power, exponential, or a power that changes."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.analysis import laws
from ghostsweep.analysis.series import estimates, points, series_along

LAWS = {
    "power": "prefactor * x^exponent",
    "exponential": "prefactor * exp(rate * x)",
    "broken_power": "prefactor * x^exponent below the knee, x^exponent_above beyond it, continuous",
}
"""The laws that are compared, in their order."""
DECISIVE = 2.0
"""How much higher than the lowest, in both AICc and BIC, every other law must be for the lowest to be decisive."""
_SIGNIFICANT = 0.05
"""Below this p one power law is rejected."""
_KNEES = 60
_LOG_SCATTER = (np.log(1e-6), np.log(10.0))


class _Fitted(NamedTuple):
    """A least-squares fit of log y: its coefficients, intrinsic scatter, and twice the negative log likelihood."""

    coefficients: np.ndarray
    scatter: float
    deviance: float


def compare_scaling(
    critical: pd.DataFrame, *, x: str = "timescale", y: str = "lr_critical", n_draws: int = 400, seed: int = 0
) -> pd.DataFrame:
    """Compare the laws of `LAWS` for y against x, a row for each series of cells along x and law.

    critical: as `critical_lr` returns it; series as in `fit_power_law`. log y of each cell is taken as normal
    about the law, with the variance of the cell's own interval plus an intrinsic scatter that is fitted with
    the law by maximum likelihood: so a cell known to a decade counts less than one known to 5%, and cells
    that scatter by more than their intervals say do not feign a structure. A knee lies so that two cells at
    least are on either side.

    Columns: along, which is x; the series' fields; law; prefactor; exponent (of the broken law below the
    knee); exponent_above; knee, in x; rate, per unit of x; scatter, the intrinsic one, standard deviation of
    log y; n_used; n_censored; n_parameters, with the scatter; aicc; bic; delta_aicc and delta_bic, how much
    higher than the series' lowest; best (lowest aicc); decisive (said of the series: all laws could be fitted,
    and aicc and bic agree on the best by DECISIVE at least: BIC, lenient with few cells, favours the knee
    there, and AICc, strict, the others). A law needs two cells more than it has parameters,
    five for the first two and seven for the broken one; with fewer its numbers are NaN.

    And of the series, the test of one power law against a bent one, in which bounds of censored cells take part:
    curvature, d exponent / d log x; curvature_p, the chance of such a bend under one power law, by the likelihood
    ratio of `n_draws` tables drawn on these cells; rejected (p below 0.05); power_knee and power_exponential, the
    chance that this test rejects, on these cells, where the exponent changes by one in their middle and where the law
    is an exponential. A power law that is not rejected says little where the power is low.

    Raises UsageError for missing columns, and for an x that is not positive.
    """
    tables = []
    for fields, cells in series_along(critical, x, y):
        told = points(cells, x, y)
        log_x, log_y, sigma = estimates(cells, x, y)
        rows = [_row(law, log_x, log_y, sigma) for law in LAWS]
        table = pd.DataFrame(rows).assign(n_used=len(log_x), n_censored=len(cells) - len(log_x))
        for criterion in ("aicc", "bic"):
            table[f"delta_{criterion}"] = table[criterion] - table[criterion].min()
        table["best"] = table["delta_aicc"] == 0
        others = table.loc[~table["best"], ["delta_aicc", "delta_bic"]]
        table["decisive"] = len(others) == len(LAWS) - 1 and bool((others >= DECISIVE).all(axis=None))
        test = laws.curvature(told, n_draws, np.random.default_rng(seed))
        table = table.assign(
            curvature=test.curvature,
            curvature_p=test.p,
            rejected=test.p < _SIGNIFICANT,
            power_knee=test.power_knee,
            power_exponential=test.power_exponential,
        )
        for position, (field, value) in enumerate(({"along": x} | fields).items()):
            table.insert(position, field, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _row(law: str, log_x: np.ndarray, log_y: np.ndarray, sigma: np.ndarray) -> dict[str, float | str]:
    n, n_parameters = len(log_x), 5 if law == "broken_power" else 3
    names = ("prefactor", "exponent", "exponent_above", "knee", "rate", "scatter", "aicc", "bic")
    row: dict[str, float | str] = {"law": law} | dict.fromkeys(names, np.nan) | {"n_parameters": n_parameters}
    if n < n_parameters + 2:
        return row
    one = np.ones(n)
    if law == "power":
        fitted = _fit(np.stack([one, log_x], axis=1), log_y, sigma)
        row["exponent"] = fitted.coefficients[1]
    elif law == "exponential":
        fitted = _fit(np.stack([one, np.exp(log_x)], axis=1), log_y, sigma)
        row["rate"] = fitted.coefficients[1]
    else:
        fits = {
            knee: _fit(np.stack([one, np.minimum(log_x, knee), np.maximum(log_x - knee, 0)], axis=1), log_y, sigma)
            for knee in np.linspace(log_x[1], log_x[-2], _KNEES)
        }
        knee, fitted = min(fits.items(), key=lambda item: item[1].deviance)
        row["exponent"], row["exponent_above"] = fitted.coefficients[1:]
        row["knee"] = np.exp(knee)
    return row | {
        "prefactor": np.exp(fitted.coefficients[0]),
        "scatter": fitted.scatter,
        "aicc": fitted.deviance + 2 * n_parameters * n / (n - n_parameters - 1),
        "bic": fitted.deviance + n_parameters * np.log(n),
    }


def _fit(design: np.ndarray, log_y: np.ndarray, sigma: np.ndarray) -> _Fitted:
    """Fit log_y (n) by the columns of design (n, k), with the scatter that makes log_y most likely."""
    from scipy.optimize import minimize_scalar  # here, since commands that fit nothing need not wait for it

    def weighted(log_scatter: float) -> tuple[np.ndarray, float]:
        variance = sigma**2 + np.exp(2 * log_scatter)
        weight = 1 / np.sqrt(variance)
        coefficients = np.linalg.lstsq(design * weight[:, None], log_y * weight)[0]
        residual = weight * (log_y - design @ coefficients)
        return coefficients, float(np.sum(residual**2 + np.log(2 * np.pi * variance)))

    found = minimize_scalar(lambda log_scatter: weighted(log_scatter)[1], bounds=_LOG_SCATTER, method="bounded").x
    return _Fitted(weighted(found)[0], float(np.exp(found)), weighted(found)[1])
