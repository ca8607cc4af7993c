"""The exponent along the boundary of a phase from the counts of all cells at once (models of arXiv 2502.17433).

The paper's procedure (`failing.py`) fits a boundary T_c to each learning rate and then ln rate against ln T_c. With few
seeds T_c has errors as large as its spread, which pulls that slope towards 0, and no bootstrap says so. Here the curves
are the same, but the boundary is a power of the rate, and the counts of all cells are fitted by maximum likelihood.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from ghostsweep.analysis.draws import jackknife
from ghostsweep.analysis.failing import NEWTON_STEPS, PUBLISHED, cube
from ghostsweep.analysis.outcomes import require_columns
from ghostsweep.errors import UsageError

ROUNDED = 0.25
"""The corner of a curve, as a share of the distance between delays: less, and the likelihood hangs on single delays.

Where the phase begins within less than that distance, exponents come out up to a tenth too large.
"""
LEAST_CHANCE = 1e-4
"""No run is held to be surer than this: one that fails before its boundary is not the end of the law."""
HELD = np.array([0.0, 1e-3, 1e-3, 0.1])
"""How firmly each parameter is held, in units of log likelihood: hardly, but for how the slope goes with the rate."""
START = np.array([0.0, 0.3, 0.0, 0.0])
"""Where parameters of `count_law` that no run tells of are held, with delays over their median."""


class CountLaw(NamedTuple):
    """rate = C T_c^-beta along the boundary of a phase, from the counts of all cells: see `count_law`."""

    beta: float
    ci_low: float
    ci_high: float
    """Infinite where the interval of 1 / beta reaches 0."""
    log_c: float
    """ln C, with T in the unit of the delays."""
    inverse: float
    """1 / beta, which is what is estimated."""
    without: np.ndarray
    """1 / beta without each seed in turn, (n_seeds,), the same seeds for every phase of a table."""


def count_law(judged: pd.DataFrame, phase: str, *, x: str = "delay_ms") -> CountLaw:
    """The exponent beta of rate = C T_c^-beta along a phase's boundary, by the likelihood of all runs at once.

    The chance of the phase is the paper's curve of each rate, with ln T_c = (ln C - ln rate) / beta and ln a linear in
    ln rate; the corner at T_c is rounded by ROUNDED of the distance between delays. The 95% interval is of 1 / beta, by
    leaving out each seed in turn, so that seeds may differ. judged: with a column `outcome`. Raises UsageError for
    missing columns, other phases, fewer than two seeds, rates or delays, and where no run or every one is in the phase.
    """
    if phase not in PUBLISHED:
        raise UsageError(f"phase: found {phase!r}; allowed: one of {', '.join(map(repr, PUBLISHED))}")
    require_columns(judged, ("learning_rate", "seed", "outcome", x), "count_law")
    for name in ("learning_rate", "seed", x):
        if judged[name].nunique() < 2:
            raise UsageError(f"count_law: found one value of {name}; allowed: two or more")
    is_phase, cells = cube(judged, phase, ["learning_rate", x])
    if not 0 < np.nanmean(is_phase) < 1:
        raise UsageError(f"count_law: found no or all runs in {phase}; allowed: some")
    delays, log_rates = cells[:, 1], np.log(cells[:, 0])
    unit, middle_rate = float(np.median(delays[delays > 0])), float(log_rates.mean())
    t, rates = delays / unit, log_rates - middle_rate
    corner = ROUNDED * float(np.median(np.diff(np.unique(t))))
    keep = np.concatenate([np.ones((1, len(is_phase))), 1 - np.eye(len(is_phase))])
    hits, counts = keep @ np.nan_to_num(is_phase), keep @ np.isfinite(is_phase)

    def fitted(rows: slice, start: Any) -> tuple[np.ndarray, np.ndarray]:
        return _likeliest(phase, t, rates, corner, hits[rows], counts[rows], np.asarray(start, float))

    tried = [fitted(slice(0, 1), [np.log(at), inverse, 0, 0]) for at in (0.3, 0.7) for inverse in (0.2, 0.5)]
    best = min(tried, key=lambda found: found[1][0])[0][0]
    without = fitted(slice(1, None), best)[0][:, 1]
    low, high = jackknife(best[1], without)
    inverses = np.array([high, best[1], low])
    ends = np.divide(1, inverses, out=np.full(3, np.inf), where=inverses > 0)
    log_c = middle_rate + (best[0] + np.log(unit)) / best[1]
    return CountLaw(float(ends[1]), float(ends[0]), float(ends[2]), float(log_c), float(best[1]), without)


def _likeliest(
    phase: str, t: np.ndarray, rates: np.ndarray, corner: float, hits: np.ndarray, counts: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (tables, 4) of largest likelihood and what is left of it, for tables of counts (tables, cells).

    Parameters: ln T_c at the mean ln rate, 1 / beta, ln a there, and how ln a goes with ln rate, all but the first held
    back by HELD of their squares from START. By Fisher's scoring, of all tables at once.
    """
    p = np.tile(start, (len(hits), 1))

    def left(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chance, slopes = _chance(phase, p, t, rates, corner)
        of_counts = hits * np.log(chance) + (counts - hits) * np.log1p(-chance)
        return (HELD * (p - START) ** 2).sum(axis=1) - of_counts.sum(axis=1), chance, slopes

    now, chance, slopes = left(p)
    for _ in range(NEWTON_STEPS):
        weight = 1 / (chance * (1 - chance))
        slope = np.einsum("dc,dci->di", (hits - counts * chance) * weight, slopes) - 2 * HELD * (p - START)
        bend = np.einsum("dc,dci,dcj->dij", counts * weight, slopes, slopes) + np.diag(2 * HELD + 1e-9)
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        length = np.minimum(1, 1 / np.abs(step).max(axis=1))
        for _ in range(12):  # halved where it leads too far
            after = left(p + length[:, None] * step)[0]
            if not (worse := ~(after <= now)).any():
                break
            length[worse] /= 2
        better = after < now
        p[better] += (length[:, None] * step)[better]
        before = now
        now, chance, slopes = left(p)
        if np.allclose(now, before, rtol=1e-10, atol=1e-10):
            break
    return p, now


def _chance(
    phase: str, p: np.ndarray, t: np.ndarray, rates: np.ndarray, corner: float
) -> tuple[np.ndarray, np.ndarray]:
    """Chance of a phase in each cell (tables, cells), and its slopes along the parameters (tables, cells, 4)."""
    at, a = np.exp(p[:, :1] - p[:, 1:2] * rates), np.exp(p[:, 2:3] + p[:, 3:] * rates)
    past, along = t - at, np.asarray(1.0)
    if phase == "no_solution":
        along, past = special.expit(past / corner), corner * np.logaddexp(0, past / corner)
        rest = np.exp(-a * past)
        chance, slope = 1 - rest, rest
    else:
        chance = special.expit(-a * past)
        slope = -chance * (1 - chance)
    by_at, by_a = -slope * a * along * at, slope * a * past
    return np.clip(chance, LEAST_CHANCE, 1 - LEAST_CHANCE), np.stack([by_at, -by_at * rates, by_a, by_a * rates], -1)
