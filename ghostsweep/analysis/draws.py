"""Intervals from draws of few seeds with replacement."""

import numpy as np
import scipy


def interval(draws: np.ndarray, n_seeds: int, level: float = 0.95) -> tuple[float, float]:
    """The ends of an interval at `level`, of a statistic in each draw (n,) of n_seeds seeds; NaN without any.

    Percentiles of draws are too close for few seeds: their variance is short by (n - 1) / n, and it is an estimate. So
    the tails are those that make the interval of a mean the one of Student's t, sqrt(n / (n - 1)) t standard deviations
    of a normal number away (Hesterberg 2015, the expanded percentile). Infinite draws count as such.
    """
    kept = draws[~np.isnan(draws)]
    if n_seeds < 2 or not len(kept):
        return np.nan, np.nan
    away = np.sqrt(n_seeds / (n_seeds - 1)) * scipy.special.stdtrit(n_seeds - 1, 0.5 + level / 2)
    tail = float(scipy.special.ndtr(-away))
    low, high = np.quantile(kept, [tail, 1 - tail], method="nearest")
    return float(low), float(high)


def jackknife(value: float, without: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The ends of an interval at `level` of a statistic, from its values without each seed in turn (n,).

    Student's t of n - 1 times the jackknife's standard error. NaN with fewer than two seeds.
    """
    n = len(without)
    if n < 2:
        return np.nan, np.nan
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    away = scipy.special.stdtrit(n - 1, 0.5 + level / 2) * error
    return float(value - away), float(value + away)
