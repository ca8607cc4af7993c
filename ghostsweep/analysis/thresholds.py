"""What the outcomes of common seeds tell of where a share of all seeds has crossed from one outcome to another.

Each seed has a threshold, the position along the axis above which its runs are `bad`. A grid shows it up to a bracket;
few seeds show the distribution of thresholds up to sampling. Both go into one interval.
"""

import numpy as np
import scipy

MISFIT = 0.02
"""Likelihood of a run on the wrong side of its seed's threshold (an island), against one on the right side."""
SKEW = 0.6
"""Standard deviation, in the prior, of the log ratio of the scales of thresholds above and below the quantile."""
WIDEST = 8.0
"""Largest scale of the distribution of thresholds, over the range of those seen."""
_REACH = 6
"""Positions beyond the outermost thresholds that are looked at one by one."""
_POSITIONS = 30 * np.sinh(np.linspace(-7, 7, 131)) / np.sinh(7)
"""Where the posterior is computed, over the range of thresholds: dense at its middle, so that hundreds of seeds, of
which it is narrow, are resolved."""
_SKEWS = np.linspace(-1.5, 1.5, 5)
_SHARP, _SCALES = 0.1, 40
"""Below this part of a step scales look alike, and few are taken; above, so many."""


def likelihoods(bad: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Relative likelihood that a seed's threshold lies in each gap of the axis, (n_seeds, n + 1), its largest 1.

    bad, seen: (n_seeds, n) of 0 and 1. Gap k lies below position k; the first and the last are open. Every run on the
    wrong side costs a factor MISFIT; positions at which a seed was not seen do not tell its gaps apart.
    """
    n_seeds, n = seen.shape
    misfits = np.zeros((n_seeds, n + 1))
    np.cumsum(seen * bad, axis=1, out=misfits[:, 1:])
    misfits[:, :-1] += np.cumsum((seen * (1 - bad))[:, ::-1], axis=1)[:, ::-1]
    result: np.ndarray = MISFIT ** (misfits - misfits.min(axis=1, keepdims=True))
    return result


def quantile(
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float, level: float
) -> tuple[float, float, float]:
    """Median and central interval at `level` of the position u that `share` of all seeds' thresholds lie below.

    u: (n,), ascending; bad, seen: (n_seeds, n) of 0 and 1, two seeds or more; 0 < share < 1. Ends outside u are
    infinite. Thresholds are taken to be distributed about the quantile like a logistic with two scales, s exp(-k/2)
    below it and s exp(k/2) above, so that a skew k does not move it. The interval is Bayesian, with priors flat in the
    quantile and in log s and normal in k, which with two seeds gives about Student's t of one degree of freedom, and
    with many about the ideal. How sharp a transition can be is bounded by step / n_seeds^4: that two seeds share a
    bracket says little of the others, that twenty do says that all do.
    """
    n_seeds = len(seen)
    weights = likelihoods(bad, seen)
    best = weights.argmax(axis=1)
    kept = _telling(best, len(u))
    inner, weights = u[kept], np.maximum.reduceat(weights, np.concatenate([[0], kept + 1]), axis=1)
    step = float(np.median(np.diff(u)))
    edges = np.concatenate([[u[0]], u, [u[-1]]])
    middles = (edges[best] + edges[best + 1]) / 2
    extent = float(np.ptp(middles)) + step
    positions = float(np.quantile(middles, share)) + _POSITIONS * extent
    sharp = np.geomspace(step / n_seeds**4, _SHARP * step, 6)[:-1]
    scales = np.concatenate([sharp, np.geomspace(_SHARP * step, WIDEST * extent, _SCALES)])
    middle, scale, skew = (axis.ravel() for axis in np.meshgrid(positions, scales, _SKEWS, indexing="ij"))
    away = inner - middle[:, None]
    # The two halves meet with equal densities where there is no skew.
    is_below = away < 0
    sides = [2 * part * scale * np.exp(sign * skew / 2) for part, sign in ((share, -1), (1 - share, 1))]
    half = scipy.special.expit(away / np.where(is_below, *(side[:, None] for side in sides)))
    cumulative = np.where(is_below, 2 * share * half, share + (1 - share) * (2 * half - 1))
    mass = np.diff(cumulative, axis=1, prepend=0.0, append=1.0)
    patterns, count = np.unique(weights, axis=0, return_counts=True)
    log_prior = np.log(np.gradient(np.log(scales)))[None, :, None] - (_SKEWS / SKEW) ** 2 / 2
    log_density = np.log(np.maximum(mass @ patterns.T, 1e-300)) @ count
    log_density += np.broadcast_to(log_prior, (len(positions), len(scales), len(_SKEWS))).ravel()
    density = np.exp(log_density - log_density.max()).reshape(len(positions), -1).sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(positions))])
    found = np.interp([0.5, (1 - level) / 2, (1 + level) / 2], total / total[-1], positions)
    middle_of, low, high = (float(value) for value in found)
    return middle_of, low if low >= u[0] else -np.inf, high if high <= u[-1] else np.inf


def _telling(best: np.ndarray, n: int) -> np.ndarray:
    """Indices of positions that tell thresholds apart: near some seed's gap, and some in between. Others cost time."""
    near = (best[:, None] + np.arange(-2, 2)).ravel()
    between = np.linspace(best.min() - _REACH, best.max() + _REACH, 40).round().astype(int)
    found = np.unique(np.concatenate([near, between]))
    return found[(found >= 0) & (found < n)]


def onset(
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, level: float, rng: np.random.Generator, n_draws: int
) -> tuple[float, float, float]:
    """Median and interval at `level` of the position below which no seed's threshold lies, of all seeds.

    u, bad, seen: as in `quantile`. The lowest threshold of few seeds lies above that position, by an amount that the
    others tell where thresholds are spread evenly from it on: with R the range of n thresholds, the lowest lies above
    it by R x, and P(x > y) = (1 + y)^(1 - n). Of seeds that share a bracket it is not known how much of it they take:
    the logarithm of that is taken to be spread evenly from 1 / n^4 on. The interval ends where the lowest threshold
    can lie at most, and leaves 1 - level below it.
    """
    best = likelihoods(bad, seen).argmax(axis=1)
    edges = np.concatenate([[-np.inf], u, [np.inf]])
    n_seeds, lowest, highest = len(seen), best.min(), best.max()

    def drawn(gap: int) -> np.ndarray:
        low, high = np.clip(edges[[gap, gap + 1]], u[0], u[-1])
        values: np.ndarray = low + rng.random(n_draws) * (high - low)
        return values

    if highest > lowest:
        first = drawn(lowest)
        extent = np.maximum(drawn(highest) - first, 0)
        draws = first - extent * (rng.random(n_draws) ** (-1 / (n_seeds - 1)) - 1)
    else:
        bracket = float(np.diff(np.clip(edges[[lowest, lowest + 1]], u[0], u[-1]))[0])
        parts = np.geomspace(n_seeds**-4.0, 100.0, 400)  # of a bracket
        chance = np.minimum(1.0, parts ** (1.0 - n_seeds))
        part = rng.choice(parts, n_draws, p=chance / chance.sum())
        draws = float(np.clip(edges[lowest], u[0], u[-1])) + bracket * (1 - part) * rng.random(n_draws)
    middle, low, high = (float(value) for value in np.quantile(draws, [0.5, 1 - level, 1.0]))
    return middle, low if low >= u[0] else -np.inf, high
