"""Boundaries of phases along the delay, and exponents through them, by the procedure of arXiv 2502.17433 and beside it.

For each learning rate the share of seeds in a phase is fitted against the delay T. No solution: 0 below x0, 1 -
exp(-a (T - x0)) beyond, T_c = x0. Slow points among all runs: logistic, T_c its middle. Then ln rate = ln C - beta ln
T_c by ordinary least squares. What the paper's procedure leaves out or does not say is counted: rates of which the
boundary lies outside of the delays are censored, and intervals are those of seeds drawn anew.

With ten seeds this is biased towards 0: x0 is where the first few runs happen to fail, and ln T_c, which stands where a
regressor should, has errors as large as its spread. So there is beside it the likelihood of the counts themselves: the
same curves, with a boundary that is a power of the rate, fitted to all cells at once (`count_law.py`).
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from ghostsweep.analysis.draws import interval
from ghostsweep.analysis.outcomes import require_columns
from ghostsweep.errors import UsageError

LEAST_SHARE = 0.1
"""Largest share of a rate below which the paper leaves it out of the fit of no solution."""
PUBLISHED = {"no_solution": (2.72, 0.07), "slow_point_manifold": (4.05, 0.10)}
"""Exponents of the paper's boundaries and their standard errors, of learning rate against delay, no post-reaction."""
FASTEST = {"no_solution": None, "slow_point_manifold": 25}
"""How many of the largest rates the paper takes for each."""
CONTROL = (0.38, 0.02)
"""Exponent of the control without memory, of critical learning rate against window, and its standard error."""
CONTROL_RATE = 200.0, 0.078
"""A window in ms, and the published critical rate there."""
N_DRAWS = 1000
SEED = 0
AT_ONCE = 16
"""Draws whose shares are held against all curves of the grid at a time: some 50 MB."""
NEWTON_STEPS = 100
"""Steps at most of a fit of a logistic function; some eight are usual, and more where runs are told apart."""


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
    return _fitted("no_solution", delays, shares)


def middle(delays: np.ndarray, shares: np.ndarray) -> float:
    """Delay at which a falling logistic is 1/2, by least squares; NaN where shares are all on one side of that."""
    return _fitted("slow_point_manifold", delays, shares)


def _curve(phase: str, delays: np.ndarray, at: Any, log_a: Any) -> np.ndarray:
    """The share of a phase against the delay; `at` and `log_a` broadcast to delays, `a` in 1 / delay."""
    past = np.exp(log_a) * (delays - at)
    return np.asarray(1 - np.exp(-np.clip(past, 0, None)) if phase == "no_solution" else special.expit(-past))


def _nearest(phase: str, delays: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boundary and logarithm of the slope of the nearest curve of a grid, for each row of shares (rows, delays).

    NaN where the paper leaves a row out, or where it has no middle.
    """
    at, log_a, curves, squares = _grid(phase, tuple(delays.tolist()))
    best = (squares - 2 * shares @ curves.T).argmin(axis=1)
    most, least = shares.max(axis=1), shares.min(axis=1)
    told = most >= LEAST_SHARE if phase == "no_solution" else (most >= 0.5) & (least <= 0.5)
    return np.where(told, at[best], np.nan), log_a[best]


@functools.lru_cache(maxsize=8)
def _grid(phase: str, delays: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boundaries, a 400th of the delays apart, and logarithms of slopes; the curve of each pair, and its square."""
    t, span = np.array(delays), delays[-1] - delays[0]
    starts, slopes = np.linspace(t[0] - span / 4, t[-1] + span / 4, 601), np.log(np.geomspace(0.3, 300, 40) / span)
    at, log_a = (each.ravel() for each in np.meshgrid(starts, slopes, indexing="ij"))
    curves = _curve(phase, t, at[:, None], log_a[:, None])
    return at, log_a, curves, (curves**2).sum(axis=1)


def _fitted(phase: str, delays: np.ndarray, shares: np.ndarray) -> float:
    """The boundary by least squares, from the nearest curve of the grid on."""
    (at,), (log_a,) = _nearest(phase, delays, shares[None])
    if np.isnan(at):
        return float(at)

    def off(p: np.ndarray) -> np.ndarray:
        found: np.ndarray = _curve(phase, delays, p[0], p[1]) - shares
        return found

    return float(optimize.least_squares(off, [at, log_a]).x[0])


def boundaries(judged: pd.DataFrame, phase: str, *, x: str = "delay_ms") -> pd.DataFrame:
    """The delay at which each learning rate passes into a phase: a row per rate, of runs with a column `outcome`.

    Columns: learning_rate, at (NaN where censored), censored: "" or "outside" of the delays. Raises UsageError for
    missing columns and other phases.
    """
    if phase not in PUBLISHED:
        raise UsageError(f"phase: found {phase!r}; allowed: one of {', '.join(map(repr, PUBLISHED))}")
    require_columns(judged, ("learning_rate", "seed", "outcome", x), "boundaries")
    return _boundaries(_shares(judged, phase, x), phase)


def _shares(judged: pd.DataFrame, phase: str, x: str) -> pd.DataFrame:
    """Share of a phase, a row a rate and a column a delay."""
    is_phase = (judged["outcome"] == phase).astype(float)
    return is_phase.groupby([judged["learning_rate"], judged[x]]).mean().unstack()


def _boundaries(shares: pd.DataFrame, phase: str) -> pd.DataFrame:
    """As `boundaries`."""
    delays = shares.columns.to_numpy(float)
    at = _inside(np.array([_fitted(phase, delays, row) for row in shares.to_numpy(float)]), delays)
    censored = np.where(np.isnan(at), "outside", "")
    return pd.DataFrame({"learning_rate": shares.index, "at": at, "censored": censored})


def _inside(at: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Boundaries, NaN where they lie outside of the delays."""
    return np.where((at > delays[0]) & (at <= delays[-1]), at, np.nan)


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
    beta, error = _law(found["at"].to_numpy(float), found["learning_rate"].to_numpy(float))
    is_phase, cells = cube(judged, phase, ["learning_rate", x])
    rows, delays = (np.unique(column, return_inverse=True) for column in cells.T)
    shares = np.full((N_DRAWS, len(rows[0]), len(delays[0])), np.nan)
    for drawn, pick in zip(shares, _picks(len(is_phase), np.random.default_rng(SEED))[1:], strict=True):
        drawn[rows[1], delays[1]] = np.nanmean(is_phase[pick], axis=0)
    betas = np.full(N_DRAWS, np.nan)
    for first in range(0, N_DRAWS, AT_ONCE):
        some = shares[first : first + AT_ONCE]
        at = _inside(_nearest(phase, delays[0], some.reshape(-1, some.shape[2]))[0], delays[0]).reshape(some.shape[:2])
        for i, each in enumerate(at):
            if np.isfinite(each).sum() >= 3:
                betas[first + i] = _law(each, rows[0])[0]
    low, high = interval(betas, len(is_phase))
    return Exponent(beta, error, low, high, len(inside), len(found) - len(inside))


def law(judged: pd.DataFrame, phase: str) -> Exponent | None:
    """The exponent by the paper's choice of rates; None with fewer than three boundaries inside of the delays."""
    try:
        return exponent(judged, phase, fastest=FASTEST[phase])
    except UsageError:
        return None


def _law(at: np.ndarray, rates: np.ndarray) -> tuple[float, float]:
    """beta and its standard error by ordinary least squares of ln rate on ln T_c, of boundaries that are known."""
    known = np.isfinite(at)
    x, y = np.log(at[known]), np.log(rates[known])
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    rest = y - y.mean() - slope * centred
    return -slope, float(np.sqrt((rest**2).sum() / max(len(x) - 2, 1) / (centred**2).sum()))


def critical_rates(judged: pd.DataFrame, phase: str, *, x: str = "delay_ms") -> pd.DataFrame:
    """The learning rate at which half of the seeds pass into a phase, for each delay: a row each.

    Columns: x, learning_rate, ci_low and ci_high of 95% over draws of seeds, of a logistic function of ln rate;
    censored: "" or, where it lies beyond the rates of the sweep, "outside" with NaN. Raises UsageError for missing
    columns.
    """
    require_columns(judged, ("learning_rate", "seed", "outcome", x), "critical_rates")
    rows, rng = [], np.random.default_rng(SEED)
    for value, runs in judged.groupby(x):
        is_phase, cells = cube(runs, phase, ["learning_rate"])
        rates = np.log(cells)
        middles = _middle_rates(is_phase, _picks(len(is_phase), rng), rates)
        low, high = interval(middles[1:], len(is_phase))
        inside = rates.min() <= middles[0] <= rates.max()
        with np.errstate(over="ignore"):  # of an interval that has no end
            at, ends = np.exp(middles[0]) if inside else np.nan, np.exp([low, high])
        rows.append((value, at, *(ends if inside else (np.nan, np.nan)), "" if inside else "outside"))
    return pd.DataFrame(rows, columns=[x, "learning_rate", "ci_low", "ci_high", "censored"])


def rate_law(judged: pd.DataFrame, phase: str, *, x: str) -> Exponent:
    """The exponent beta of rate = C x^-beta through the critical rates of `critical_rates`, as the paper's control has.

    Ordinary least squares; the interval is of N_DRAWS draws of the seeds, the same for all x. Counted are the x with a
    critical rate inside of the rates. Raises UsageError for missing columns, and with fewer than three of them.
    """
    require_columns(judged, ("learning_rate", "seed", "outcome", x), "rate_law")
    middles, at = [], np.sort(judged[x].unique()).astype(float)
    for value in at:
        is_phase, cells = cube(judged[judged[x] == value], phase, ["learning_rate"])
        rates = np.log(cells)
        found = _middle_rates(is_phase, _picks(len(is_phase), np.random.default_rng(SEED)), rates)
        middles.append(np.where((found >= rates.min()) & (found <= rates.max()), np.exp(found), np.nan))
    lines = np.array(middles).T  # a row a draw of seeds, the first that of all
    if (n_inside := int(np.isfinite(lines[0]).sum())) < 3:
        raise UsageError(f"rate_law: found {n_inside} critical rates inside of the rates; allowed: 3 or more")
    beta, error = _law(np.where(np.isfinite(lines[0]), at, np.nan), lines[0])
    betas = np.full(N_DRAWS, np.nan)
    for i, line in enumerate(lines[1:]):
        if np.isfinite(line).sum() >= 3:
            betas[i] = _law(np.where(np.isfinite(line), at, np.nan), line)[0]
    low, high = interval(betas, judged["seed"].nunique())
    return Exponent(beta, error, low, high, n_inside, len(at) - n_inside)


def _picks(n_seeds: int, rng: np.random.Generator) -> np.ndarray:
    """All seeds once, then N_DRAWS draws of as many with replacement: (1 + N_DRAWS, n_seeds)."""
    return np.stack([np.arange(n_seeds), *(rng.integers(n_seeds, size=n_seeds) for _ in range(N_DRAWS))])


def cube(judged: pd.DataFrame, phase: str, by: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each seed is in a phase, (seeds, cells), NaN where it was not run, and the values of `by`, (cells, n)."""
    is_phase = (judged["outcome"] == phase).astype(float)
    table = (
        is_phase.groupby([judged["seed"], *(judged[name] for name in by)]).mean().unstack(list(range(1, 1 + len(by))))
    )
    return table.to_numpy(float), np.array([np.atleast_1d(column) for column in table.columns], float)


def _logistic(is_phase: np.ndarray, picks: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Coefficients (draws, 1 + n) of a logistic function of x (cells, n), of largest likelihood, for draws of seeds.

    is_phase: (seeds, cells). picks: (draws, seeds), the seeds of each. Slopes are held back by a millionth of their
    square, so that runs that are told apart without a fault have some. By Newton's method, of all draws at once.
    """
    design = np.column_stack([np.ones(len(x)), x - x.mean(axis=0)])
    times = np.stack([np.bincount(pick, minlength=len(is_phase)) for pick in picks]).astype(float)
    count, hits = times @ np.isfinite(is_phase), times @ np.nan_to_num(is_phase)
    held = np.array([0.0, *[1e-6] * x.shape[1]])

    def loss(b: np.ndarray) -> np.ndarray:
        z = b @ design.T
        return np.asarray((count * np.logaddexp(0, z) - hits * z).sum(axis=1) + (held * b**2).sum(axis=1))

    b = np.zeros((len(picks), design.shape[1]))
    now = loss(b)
    for _ in range(NEWTON_STEPS):
        chance = special.expit(b @ design.T)
        slope = (count * chance - hits) @ design + 2 * held * b
        bend = np.einsum("dc,ci,cj->dij", count * chance * (1 - chance), design, design)
        bend += np.diag(2 * held + 1e-9)
        step, length = np.linalg.solve(bend, slope[..., None])[..., 0], np.ones(len(b))
        for _ in range(30):  # halved where it leads too far
            after = loss(b - length[:, None] * step)
            if not (worse := ~(after <= now)).any():
                break
            length[worse] /= 2
        better = after < now
        b[better] -= (length[:, None] * step)[better]
        if np.allclose(after[better], now[better], rtol=1e-13, atol=1e-13):
            break
        now = np.where(better, after, now)
    return np.column_stack([b[:, 0] - b[:, 1:] @ x.mean(axis=0), b[:, 1:]])


def _middle_rates(is_phase: np.ndarray, picks: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """ln rate at which the chance of a phase passes 1/2, for draws of seeds; infinite where nothing of it shows."""
    b = _logistic(is_phase, picks, rates)
    share = np.nanmean(is_phase[picks], axis=(1, 2))
    told = (share > 0) & (share < 1) & (b[:, 1] != 0)
    return np.where(told, -b[:, 0] / np.where(told, b[:, 1], 1.0), np.inf)
