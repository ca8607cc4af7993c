"""Boundaries of phases along the delay, and exponents through them, by the procedure of arXiv 2502.17433 and beside it.

For each learning rate the share of seeds in a phase is fitted against the delay T. No solution: 0 below x0, 1 -
exp(-a (T - x0)) beyond, T_c = x0. Slow points among all runs: logistic, T_c its middle. Then ln rate = ln C - beta ln
T_c by ordinary least squares. What the paper's procedure leaves out or does not say is counted: rates of which the
boundary lies outside of the delays are censored, and intervals are those of seeds drawn anew.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from ghostsweep.analysis.outcomes import require_columns
from ghostsweep.errors import UsageError

LEAST_SHARE = 0.1
"""Largest share of a rate below which the paper leaves it out of the fit of no solution."""
N_DRAWS = 200
SEED = 0


class Exponent(NamedTuple):
    """rate = C T^-beta: the estimate with its standard error by least squares, and the 95% interval over seeds."""

    beta: float
    error: float
    ci_low: float
    ci_high: float
    n_rates: int
    n_censored: int


def onset(delays: np.ndarray, shares: np.ndarray) -> float:
    """x0 of 1 - exp(-a (T - x0)) beyond x0 and 0 below, by least squares; NaN where no share reaches LEAST_SHARE."""
    if shares.max() < LEAST_SHARE:
        return np.nan
    starts = np.linspace(delays[0], delays[-1], 101)

    def best(x0: float) -> tuple[float, float]:
        past = np.clip(delays - x0, 0, None)
        found = optimize.minimize_scalar(
            lambda log_a: ((1 - np.exp(-np.exp(log_a) * past) - shares) ** 2).sum(),
            bounds=(-9.0, 2.0),
            method="bounded",
        )
        return float(found.fun), x0

    _, near = min(best(x0) for x0 in starts)
    step = starts[1] - starts[0]
    found = optimize.minimize_scalar(lambda x0: best(x0)[0], bounds=(near - step, near + step), method="bounded")
    return float(found.x)


def middle(delays: np.ndarray, shares: np.ndarray) -> float:
    """Delay at which a logistic through the shares is 1/2, by least squares; NaN where shares are all on one side."""
    if shares.max() < 0.5 or shares.min() > 0.5:
        return np.nan
    span = delays[-1] - delays[0]

    def off(at: np.ndarray) -> np.ndarray:
        found: np.ndarray = special.expit((delays - at[0]) * at[1] / span) - shares
        return found

    slope = 10.0 if shares[-1] >= shares[0] else -10.0
    first = delays[int(np.argmin(np.abs(shares - 0.5)))]
    found = optimize.least_squares(off, [first, slope], bounds=([delays[0] - span, -1e4], [delays[-1] + span, 1e4]))
    return float(found.x[0])


FITS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"no_solution": onset, "slow_point_manifold": middle}
"""How the boundary of each phase is found."""


def boundaries(judged: pd.DataFrame, phase: str, *, x: str = "delay_ms") -> pd.DataFrame:
    """The delay at which each learning rate passes into a phase: a row per rate, of runs with a column `outcome`.

    Columns: learning_rate, at (NaN where censored), censored: "" or "outside" of the delays. Raises UsageError for
    missing columns and other phases.
    """
    if phase not in FITS:
        raise UsageError(f"phase: found {phase!r}; allowed: one of {', '.join(map(repr, FITS))}")
    require_columns(judged, ("learning_rate", "seed", "outcome", x), "boundaries")
    return _boundaries(_shares(judged, phase, x), phase)


def _shares(judged: pd.DataFrame, phase: str, x: str) -> pd.DataFrame:
    """Share of a phase, a row a rate and a column a delay."""
    is_phase = (judged["outcome"] == phase).astype(float)
    return is_phase.groupby([judged["learning_rate"], judged[x]]).mean().unstack()


def _boundaries(shares: pd.DataFrame, phase: str) -> pd.DataFrame:
    delays = shares.columns.to_numpy(float)
    at = np.array([FITS[phase](delays, row) for row in shares.to_numpy(float)])
    inside = (at > delays[0]) & (at <= delays[-1])
    return pd.DataFrame(
        {"learning_rate": shares.index, "at": np.where(inside, at, np.nan), "censored": np.where(inside, "", "outside")}
    )


def exponent(judged: pd.DataFrame, phase: str, *, x: str = "delay_ms", fastest: int | None = None) -> Exponent:
    """The exponent beta of rate = C T_c^-beta along a phase's boundary, by the procedure of the paper.

    fastest: of that many largest rates alone. The interval is of N_DRAWS draws of the seeds with replacement, the
    same for all cells. Raises UsageError with fewer than three boundaries inside of the delays.
    """
    rates = np.sort(judged["learning_rate"].unique())[-(fastest or 10**9) :]
    judged = judged[judged["learning_rate"].isin(rates)]
    found = boundaries(judged, phase, x=x)
    inside = found[found["censored"] == ""]
    if len(inside) < 3:
        raise UsageError(
            f"exponent: found {len(inside)} boundaries of {phase} inside of the delays; allowed: 3 or more"
        )
    beta, error = _law(inside)
    rng, drawn = np.random.default_rng(SEED), list[float]()
    is_phase = (judged["outcome"] == phase).astype(float)
    cube = (
        is_phase.groupby([judged["seed"], judged["learning_rate"], judged[x]]).mean().unstack([1, 2]).sort_index(axis=1)
    )
    for _ in range(N_DRAWS):
        shares = cube.iloc[rng.integers(len(cube), size=len(cube))].mean().unstack()
        again = _boundaries(shares, phase)
        again = again[again["censored"] == ""]
        if len(again) >= 3:
            drawn.append(_law(again)[0])
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return Exponent(beta, error, float(low), float(high), len(inside), len(found) - len(inside))


def _law(inside: pd.DataFrame) -> tuple[float, float]:
    """beta and its standard error by ordinary least squares of ln rate on ln T_c."""
    x, y = np.log(inside["at"].to_numpy(float)), np.log(inside["learning_rate"].to_numpy(float))
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    rest = y - y.mean() - slope * centred
    return -slope, float(np.sqrt((rest**2).sum() / max(len(x) - 2, 1) / (centred**2).sum()))
