"""Where a share of seeds that rises along an axis first exceeds a level: estimate, bracket and interval."""

from typing import NamedTuple

import numpy as np
import scipy

from ghostsweep.analysis import thresholds


class Crossing(NamedTuple):
    """Where the share crosses its level along ascending positions u, shape (n,).

    below, above: indices around the crossing, -1 or n where it lies outside or where too few seeds were seen on that
    side to tell. middle, low, high: the estimate and its interval, in u; outside, NaN and what is known: at most high
    (low is -inf), or at least low. method: bracket, quantile or onset, "" outside. monotone: False if
    the share falls again by more than sampling noise.
    """

    below: int
    above: int
    middle: float
    low: float
    high: float
    method: str
    monotone: bool


def crossing(
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float, n_draws: int, level: float, seed: int
) -> Crossing:
    """Return where the share of bad seeds exceeds `share`; bad and seen are (n_seeds, n) of 0 and 1.

    The bracket is where the rising (isotonic) fit of the shares does so. Estimate and interval come from the
    distribution of the seeds' own thresholds, `thresholds.quantile` and, for share 0, `thresholds.onset`. One seed
    says nothing of the others: its estimate is the middle of its bracket, without an interval.
    """
    rng = np.random.default_rng(seed)
    n_bad, n_seen = bad.sum(axis=0), seen.sum(axis=0)
    below, above = (int(index) for index in find(n_bad, n_seen, share))
    some = n_seen > 0
    monotone = is_monotone(n_bad[some] / n_seen[some], n_seen[some], rng) if some.any() else True
    least, most = _bounds(u, n_bad, n_seen, below, above, share, level)
    if below < 0:
        return Crossing(below, above, np.nan, -np.inf, most, "", monotone)
    if above == len(u):
        return Crossing(below, above, np.nan, least, np.inf, "", monotone)
    known = seen.any(axis=1)
    if known.sum() == 1:
        return Crossing(below, above, (u[below] + u[above]) / 2, np.nan, np.nan, "bracket", monotone)
    told = u[some], bad[np.ix_(known, some)], seen[np.ix_(known, some)]
    if share == 0:
        return Crossing(below, above, *thresholds.onset(*told, level, rng, n_draws), "onset", monotone)
    middle, low, high = thresholds.quantile(*told, share, level)
    # Where one side is open, how far the prior goes there would decide the other.
    low, high = (low if np.isfinite(high) else min(low, least)), (high if np.isfinite(low) else max(high, most))
    if middle < told[0][0]:
        return Crossing(-1, above, np.nan, -np.inf, high, "", monotone)
    if middle > told[0][-1]:
        return Crossing(below, len(u), np.nan, low, np.inf, "", monotone)
    return Crossing(below, above, middle, low, high, "quantile", monotone)


def _bounds(
    u: np.ndarray, n_bad: np.ndarray, n_seen: np.ndarray, below: int, above: int, share: float, level: float
) -> tuple[float, float]:
    """What the crossing is at least and at most: where fewer seeds are bad, or more, than chance has at `share`.

    One-sided at `level`; -inf and inf where that many seeds cannot tell.
    """
    fewer = np.flatnonzero(scipy.special.bdtr(n_bad, n_seen.astype(int), share)[: below + 1] <= 1 - level)
    more = above + np.flatnonzero(scipy.special.bdtrc(n_bad - 1, n_seen.astype(int), share)[above:] <= 1 - level)
    return float(u[fewer[-1]]) if len(fewer) else -np.inf, float(u[more[0]]) if len(more) else np.inf


def find(bad: np.ndarray, seen: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (below, above): indices around the crossing of the rising fit of bad/seen.

    bad, seen: (..., n) counts of runs. above: first index where the isotonic fit, weighted by `seen`, exceeds
    `share` (n if none). below: last index before it that was seen (-1 if none). The set where an isotonic fit
    exceeds a level begins at the last minimum of the running sum of excesses over that level, which spares
    fitting every bootstrap sample.
    """
    n = seen.shape[-1]
    excess = np.zeros((*seen.shape[:-1], n + 1))
    np.cumsum(bad - share * seen, axis=-1, out=excess[..., 1:])
    above = n - np.argmin(np.round(excess[..., ::-1], 9), axis=-1)  # rounded: equal shares must tie
    last_seen = np.full(excess.shape, -1)
    last_seen[..., 1:] = np.maximum.accumulate(np.where(seen > 0, np.arange(n), -1), axis=-1)
    below = np.take_along_axis(last_seen, above[..., None], axis=-1)[..., 0]
    return below, above


def is_monotone(p: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> bool:
    """Return False if the share p (n) falls by more than sampling noise along the axis.

    Both must hold to be flagged. (1) The largest fall of p between any two positions exceeds
    min(1/2, sqrt(2/k)), k the median seeds at one: two standard errors of a difference of two shares, so that
    no single seed's island counts. (2) The number of bad runs, summed from the start, gets further ahead of
    its rising fit than in 99% of 200 tables drawn from that fit with independent binomial noise, so that
    scatter in a wide transition does not count.
    """
    fall = (np.maximum.accumulate(p) - p).max()
    if fall <= min(0.5, np.sqrt(2.0 / np.median(seen))):
        return True
    from scipy.optimize import isotonic_regression  # here, since few tables need it and it is slow to import

    def lead(p: np.ndarray) -> float:
        return float(np.cumsum(seen * (p - isotonic_regression(p, weights=seen).x)).max())

    rising = np.clip(isotonic_regression(p, weights=seen).x, 0.0, 1.0)
    noise = [lead(draw) for draw in rng.binomial(seen.astype(int), rising, (200, len(p))) / seen]
    return lead(p) <= float(np.quantile(noise, 0.99))


def resample(n_seeds: int, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """How often each seed is drawn in each bootstrap sample, (n_boot, n_seeds)."""
    return rng.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), size=n_boot).astype(float)


def central(draws: np.ndarray, level: float) -> tuple[float, float]:
    """The central interval of draws at `level`; an end is infinite where too many draws are."""
    draws = np.sort(draws)
    tail = (1.0 - level) / 2.0 * (len(draws) - 1)
    return float(draws[int(np.floor(tail))]), float(draws[int(np.ceil(len(draws) - 1 - tail))])
