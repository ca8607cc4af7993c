"""Gaussian fits of log y against log x, of cells with intervals and of cells of which a bound alone is known."""

from typing import NamedTuple

import numpy as np
import scipy

_SCATTERS = np.concatenate([[0.0], np.geomspace(0.1, 100.0, 40)])
"""Intrinsic scatters that are tried, over the median standard deviation of a cell."""
_PRIOR = 1.5
"""Scale of the prior of the scatter, over the median standard deviation of a cell."""
_TURNS = 4
"""How often it is looked up which bounds a fit violates."""


class Points(NamedTuple):
    """Cells of a series: x, y and the standard deviation of y, all of logarithms; `side` says what y is.

    side: 0, an estimate; -1, y is at most this; 1, it is at least this. Of a bound sigma is the median of the others.
    """

    x: np.ndarray
    y: np.ndarray
    sigma: np.ndarray
    side: np.ndarray

    @property
    def n_estimates(self) -> int:
        """Number of cells that are no bounds."""
        return int((self.side == 0).sum())


class Line(NamedTuple):
    """y = intercept + slope x, with the scatter of cells about it: the posterior's mean line, and draws of it."""

    mean: np.ndarray  # (2,)
    lines: np.ndarray  # (n_draws, 2)
    scatters: np.ndarray  # (n_draws,)


def line_posterior(points: Points, n_draws: int, rng: np.random.Generator) -> Line:
    """The line that the cells of a series lie on.

    y of a cell is normal about the line with the variance sigma^2 + scatter^2. The prior is flat in the line and
    half-Cauchy in the scatter, at 1.5 times the cells' own median error, so that three cells that lie on a line do
    not leave everything open, and three that do not are believed. Bounds weight the draws by their probability; those
    that the line of the others violates are first taken for estimates, so that some draws come near them.
    """
    known = points.side == 0
    slope, intercept = np.polyfit(points.x[known], points.y[known], 1)
    taken = known | ((intercept + slope * points.x - points.y) * -points.side > 0)
    x, y, sigma = points.x[taken], points.y[taken], points.sigma[taken]
    design, scale = np.stack([np.ones_like(x), x], axis=1), _PRIOR * max(float(np.median(points.sigma[known])), 1e-9)
    scatters = _SCATTERS * scale
    width = np.gradient(_SCATTERS)
    log_weight, centers, factors = [], [], []
    for scatter in scatters:
        weight = 1 / np.maximum(sigma**2 + scatter**2, 1e-18)
        information = design.T @ (weight[:, None] * design)
        center = np.linalg.solve(information, design.T @ (weight * y))
        cost = float((weight * (y - design @ center) ** 2).sum())
        log_weight.append((np.log(weight).sum() - np.linalg.slogdet(information)[1] - cost) / 2)
        centers.append(center)
        factors.append(np.linalg.cholesky(np.linalg.inv(information)))
    log_prior = np.log(width) - np.log1p(_SCATTERS**2)
    log_posterior = np.array(log_weight) + log_prior
    chance = np.exp(log_posterior - log_posterior.max())
    which = rng.choice(len(scatters), n_draws, p=chance / chance.sum())
    normal = rng.standard_normal((n_draws, 2, 1))
    lines = np.array(centers)[which] + (np.array(factors)[which] @ normal)[:, :, 0]
    if known.all():
        return Line(chance @ np.array(centers) / chance.sum(), lines, scatters[which])
    spread = np.sqrt(points.sigma**2 + scatters[which, None] ** 2)
    away = (points.y - lines[:, :1] - lines[:, 1:] * points.x) / spread
    likelihood = scipy.special.log_ndtr(away * -points.side)[:, ~known].sum(axis=1)
    likelihood += (away**2 / 2 + np.log(spread))[:, taken & ~known].sum(axis=1)
    chance = np.exp(likelihood - likelihood.max())
    kept = rng.choice(n_draws, n_draws, p=chance / chance.sum())
    return Line(lines[kept].mean(axis=0), lines[kept], scatters[which][kept])


class Curvature(NamedTuple):
    """Whether log y against log x is bent: the test of one power law, and what it would have noticed."""

    curvature: float
    """d exponent / d log x of the best parabola."""
    p: float
    """Chance of a bend as strong under one power law."""
    power_knee: float
    """Chance that the test at 5% rejects where the exponent changes by one in the middle of the cells."""
    power_exponential: float
    """The same where y falls or rises exponentially by as much as it does."""


def curvature(points: Points, n_draws: int, rng: np.random.Generator) -> Curvature:
    """Likelihood-ratio test of a straight line against a parabola, its distribution drawn on these very cells.

    Four estimates or more are needed, else NaN.
    """
    if points.n_estimates < 4 or np.ptp(points.x[points.side == 0]) == 0:
        return Curvature(np.nan, np.nan, np.nan, np.nan)
    x = points.x - points.x.mean()
    line, parabola = np.stack([np.ones_like(x), x], axis=1), np.stack([np.ones_like(x), x, x * x], axis=1)
    observed, straight, bent = _ratio(points, points.y[None], line, parabola)

    def ratios(center: np.ndarray, scatter: np.ndarray) -> np.ndarray:
        noise = np.sqrt(points.sigma**2 + scatter[:, None] ** 2) * rng.standard_normal((n_draws, len(x)))
        drawn = np.where(points.side == 0, center + noise, points.y)
        return _ratio(points, drawn, line, parabola)[0]

    null_line = line @ straight.coefficients[0]
    # The likeliest scatter of few cells is too small, so that the test would reject too often: all that are likely.
    # Bounds are no measure of it: one that a line violates would count as scatter.
    known = points.side == 0
    estimated = Points(*(values[known] for values in points))
    null = ratios(null_line, line_posterior(estimated, n_draws, rng).scatters)
    p = float((1 + (null >= observed[0]).sum()) / (n_draws + 1))
    # Power at the scatter that a parabola leaves: what a straight line leaves may be the bend itself.
    left = estimated._replace(y=(points.y - parabola @ bent.coefficients[0] + null_line)[known])
    scatter = line_posterior(left, n_draws, rng).scatters
    limit = float(np.quantile(ratios(null_line, scatter), 0.95))
    knee = null_line - np.abs(x) / 2
    grown = np.exp(points.x)
    exponential = null_line[0] + (null_line[-1] - null_line[0]) * (grown - grown[0]) / (grown[-1] - grown[0])
    power = [float((ratios(center, scatter) > limit).mean()) for center in (knee, exponential)]
    return Curvature(2 * float(bent.coefficients[0, 2]), p, *power)


class _Fitted(NamedTuple):
    coefficients: np.ndarray  # (samples, k)
    deviance: np.ndarray  # (samples,)


def _ratio(
    points: Points, y: np.ndarray, line: np.ndarray, parabola: np.ndarray
) -> tuple[np.ndarray, _Fitted, _Fitted]:
    straight, bent = _maximum(points, y, line), _maximum(points, y, parabola)
    return np.maximum(straight.deviance - bent.deviance, 0.0), straight, bent


def _maximum(points: Points, y: np.ndarray, design: np.ndarray) -> _Fitted:
    """The likeliest coefficients, at the likeliest scatter, of every sample of y (samples, n) by design (n, k).

    Bounds count where the fit violates them.
    """
    known = points.side == 0
    fits = []
    for scatter in _SCATTERS[::2] * max(float(np.median(points.sigma[known])), 1e-9):
        variance = np.maximum(points.sigma**2 + scatter**2, 1e-18)
        active = np.broadcast_to(known, y.shape).astype(float)
        for _ in range(1 if known.all() else _TURNS):
            weight = active / variance
            information = np.einsum("sn,ni,nj->sij", weight, design, design)
            toward = np.einsum("sn,ni,sn->si", weight, design, y)
            coefficients = np.linalg.solve(information, toward[..., None])[..., 0]
            away = coefficients @ design.T - y
            active = np.where(known, 1.0, (away * -points.side > 0).astype(float))
        fits.append((coefficients, (active * away**2 / variance).sum(axis=1) + np.log(variance[known]).sum()))
    coefficients, deviance = (np.array(values) for values in zip(*fits, strict=True))
    best, sample = deviance.argmin(axis=0), np.arange(len(y))
    return _Fitted(coefficients[best, sample], deviance[best, sample])


def bracket_sigma(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Standard deviation of the logarithm of what lies evenly between two rates."""
    result: np.ndarray = np.abs(high - low) / np.sqrt(12)
    return result


def interval_sigma(middle: np.ndarray, low: np.ndarray, high: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Standard deviation of a normal with this central interval; where one end is open, from the other alone."""
    sides = np.stack([middle - low, high - middle])
    closed = np.isfinite(sides)
    counted = np.where(closed.any(axis=0), closed.sum(axis=0), np.nan)
    result: np.ndarray = np.where(closed, sides, 0.0).sum(axis=0) / (counted * scipy.special.ndtri(0.5 + level / 2))
    return result
