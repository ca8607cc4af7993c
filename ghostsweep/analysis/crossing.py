"""Where a share of seeds that rises along an axis first exceeds a level: estimate, bracket and interval."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit, logit


class Crossing(NamedTuple):
    """Where the share crosses its level along ascending positions u, shape (n,).

    below, above: indices around the crossing, -1 or n where it lies outside. middle, low, high: the estimate
    and its interval, in u; NaN outside. method: bracket, logistic or isotonic, "" outside. monotone: False if
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
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float, n_boot: int, level: float, seed: int
) -> Crossing:
    """Return where the share of bad seeds exceeds `share`; bad and seen are (n_seeds, n) of 0 and 1.

    The bracket is where the rising (isotonic) fit of the shares does so, and the interval is of that bracket:
    see `_interval`. The estimate in it: for the onset, share 0, the middle of the bracket. Else, where the
    shares rise, a logistic regression on u (`_logistic`) over the transition, from the last position below
    the bracket where no seed is bad to the first above it where all are, so that nothing far away can pull
    it. Where nothing lies between these two, the seeds are separated and the estimate is the middle of the
    bracket. Where the shares fall again, or never become 0 or 1, or the logistic crossing lies outside the
    interval, which assumes no shape, it is interpolated in the isotonic fit.
    """
    rng = np.random.default_rng(seed)
    n_seeds, n = seen.shape
    n_bad, n_seen = bad.sum(axis=0), seen.sum(axis=0)
    p = n_bad / n_seen
    below, above = (int(index) for index in find(n_bad, n_seen, share))
    monotone = is_monotone(p, n_seen, rng)
    if below < 0 or above == n:
        return Crossing(below, above, np.nan, np.nan, np.nan, "", monotone)
    if n_seeds == 1:
        low, high = u[below], u[above]
    else:
        low, high = _interval(u, bad, seen, share, n_boot, level, rng)
    none, every = np.flatnonzero(p[: below + 1] == 0), above + np.flatnonzero(p[above:] == 1)
    complete = monotone and len(none) > 0 and len(every) > 0
    if share == 0 or (complete and (none[-1], every[0]) == (below, above)):
        method, middle = "bracket", (u[below] + u[above]) / 2
    else:
        rising = isotonic_regression(p, weights=n_seen).x
        weight = np.clip((share - rising[below]) / (rising[above] - rising[below]), 0.0, 1.0)
        method, middle = "isotonic", u[below] + weight * (u[above] - u[below])
        if complete:
            part = slice(none[-1], every[0] + 1)
            logistic = _logistic(u[part], n_bad[part], n_seen[part], share)
            if low <= logistic <= high:
                method, middle = "logistic", logistic
    return Crossing(below, above, middle, min(low, middle), max(high, middle), method, monotone)


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

    def lead(p: np.ndarray) -> float:
        return float(np.cumsum(seen * (p - isotonic_regression(p, weights=seen).x)).max())

    rising = np.clip(isotonic_regression(p, weights=seen).x, 0.0, 1.0)
    noise = [lead(draw) for draw in rng.binomial(seen.astype(int), rising, (200, len(p))) / seen]
    return lead(p) <= float(np.quantile(noise, 0.99))


def _logistic(u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float) -> float:
    """Return where the logistic regression of bad/seen on u crosses `share`, within u.

    Firth's penalised likelihood (half the log determinant of the information is added), which stays finite
    when all but one position are unanimous. Source: D. Firth, Biometrika 80 (1993) 27.
    """
    x = (u - u[0]) / (u[-1] - u[0])

    def cost(parameters: np.ndarray) -> float:
        middle, log_slope = parameters
        odds = np.exp(log_slope) * (x - middle)
        weight = seen * expit(odds) * expit(-odds)
        information = weight.sum() * (weight * x * x).sum() - (weight * x).sum() ** 2
        likelihood = (bad * log_expit(odds) + (seen - bad) * log_expit(-odds)).sum()
        return float(-likelihood - 0.5 * np.log(max(information, 1e-300)))

    middle, log_slope = minimize(cost, [0.5, np.log(8.0)], method="Nelder-Mead").x
    crossed = np.clip(middle + logit(share) / np.exp(log_slope), 0.0, 1.0)
    return float(u[0] + crossed * (u[-1] - u[0]))


def resample(n_seeds: int, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """How often each seed is drawn in each bootstrap sample, (n_boot, n_seeds)."""
    return rng.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), size=n_boot).astype(float)


def central(draws: np.ndarray, level: float) -> tuple[float, float]:
    """The central interval of draws at `level`; an end is infinite where too many draws are."""
    draws = np.sort(draws)
    tail = (1.0 - level) / 2.0 * (len(draws) - 1)
    return float(draws[int(np.floor(tail))]), float(draws[int(np.ceil(len(draws) - 1 - tail))])


def _interval(
    u: np.ndarray, bad: np.ndarray, seen: np.ndarray, share: float, n_boot: int, level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the bootstrap interval of the crossing; an end is infinite where too many samples have none on u.

    Seeds are drawn with replacement, each with all its runs; the crossing of a sample is drawn uniformly within
    its own bracket.
    """
    n = len(u)
    drawn = resample(len(seen), n_boot, rng)
    below, above = find(drawn @ bad, drawn @ seen, share)
    # No bad run among few seeds does not exclude a small share of them: an onset may lie one position before.
    reach = 1 if share == 0 else 0
    low, high = u[np.maximum(below - reach, 0)], u[np.minimum(above, n - 1)]
    draws = low + rng.random(n_boot) * (high - low)
    draws[below < 0] = -np.inf
    draws[above == n] = np.inf
    return central(draws, level)
