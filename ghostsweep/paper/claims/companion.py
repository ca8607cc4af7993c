"""Claims of the companion paper (arXiv 2502.17433), tested on the sweep of learning rate and delay."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, spearmanr

from ghostsweep import theory
from ghostsweep.analysis.count_law import CountLaw, count_law
from ghostsweep.analysis.draws import jackknife
from ghostsweep.analysis.failing import CONTROL, CONTROL_RATE, PUBLISHED, Exponent, critical_rates, law, rate_law
from ghostsweep.analysis.mechanisms import agreement, by_index, mechanisms
from ghostsweep.analysis.outcomes import own_outcomes
from ghostsweep.errors import UsageError
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, p_text
from ghostsweep.store.tables import Tables

AGREE = 0.9
"""Share of runs that learned in which two verdicts on the mechanism must be the same."""
TOLD = 1.0
"""How far another exponent must be for its difference to matter: an interval that reaches one decides nothing."""


TOLD_RATE = 3.0
"""Factor that the interval of a critical rate may span at most, to decide anything."""


def companion(narrow: Tables, control: Tables) -> list[Claim]:
    """Phases along the delay, exponents of their boundaries, whether the index is right, the control, toy models."""
    runs = by_index(narrow.runs)
    laws = {phase: _law(runs, phase) for phase in PUBLISHED}
    return [
        _falls(runs, "slow_point_manifold", "slow points are learned less often at longer delays"),
        _rises(runs),
        *(_exponent(phase, laws[phase], law(runs, phase), *PUBLISHED[phase]) for phase in PUBLISHED),
        _steeper(laws["slow_point_manifold"], laws["no_solution"]),
        _agree(narrow.runs, "own_mechanism", "the index and the motion of the free network tell the same mechanism"),
        _agree(narrow.runs, "mechanism_flipped", "the index does not depend on the sign of a principal component"),
        *_control(control),
        _toys(),
    ]


def _along(runs: pd.DataFrame, is_phase: pd.Series) -> tuple[float, float]:
    """Rank correlation over delays of the share of runs that are so, with its p-value."""
    shares = is_phase.groupby(runs["delay_ms"]).mean()
    if len(shares) < 3 or shares.nunique() < 2:
        return 0.0, 1.0
    rho, p = spearmanr(shares.index.to_numpy(float), shares.to_numpy(float))
    return float(rho), float(p)


def _falls(runs: pd.DataFrame, phase: str, claim: str) -> Claim:
    rho, p = _along(runs, runs["outcome"] == phase)
    said = f"rank correlation of their share of all runs with the delay {rho:.2f} ({p_text(p)})"
    return Claim("companion", claim, said, rho, rho < 0 and p < SIGNIFICANT, p_value=p, n_seeds=runs["seed"].nunique())


def _rises(runs: pd.DataFrame) -> Claim:
    learned = runs[runs["outcome"] != "no_solution"]
    rho, p = _along(learned, learned["outcome"] == "limit_cycle")
    said = f"rank correlation of their share of runs that learned with the delay {rho:.2f} ({p_text(p)})"
    claim = "of what is learned, more are limit cycles at longer delays"
    return Claim("companion", claim, said, rho, rho > 0 and p < SIGNIFICANT, p_value=p, n_seeds=runs["seed"].nunique())


def _law(runs: pd.DataFrame, phase: str) -> CountLaw | None:
    try:
        return count_law(runs, phase)
    except UsageError:
        return None


def _exponent(phase: str, found: CountLaw | None, fits: Exponent | None, published: float, error: float) -> Claim:
    """An exponent as published, give or take two errors; decided where it is told from those TOLD away."""
    claim = f"the boundary of {_named(phase)} falls with the delay to the power {published}"
    if found is None:
        return Claim("companion", claim, "no run is in that phase, or every one", np.nan, False)
    by_fits = f"{fits.beta:.2f} of {fits.n_rates} rates" if fits else "none"
    said = f"{found.beta:.2f} ({found.ci_low:.2f} to {found.ci_high:.2f}); by the paper's fits, biased here, {by_fits}"
    holds: bool | None = found.ci_low <= published + 2 * error and found.ci_high >= published - 2 * error
    if holds and not published - TOLD < found.ci_low < found.ci_high < published + TOLD:
        holds = None
    return Claim("companion", claim, said, found.beta, holds, low=found.ci_low, high=found.ci_high)


def _steeper(slow: CountLaw | None, none: CountLaw | None) -> Claim:
    """The difference of 1 / beta, with the same seeds left out of each."""
    claim = "the boundary of slow points is steeper than that of no solution"
    if slow is None or none is None:
        return Claim("companion", claim, "no run is in one of the phases, or every one", np.nan, False)
    less = none.inverse - slow.inverse
    low, high = jackknife(less, none.without - slow.without)
    holds = low > 0 or (None if high > 0 else False)
    said = f"1 / exponent less by {less:.2f} ({low:.2f} to {high:.2f})"
    return Claim("companion", claim, said, less, holds, low=low, high=high)


def _named(phase: str) -> str:
    return phase.replace("_", " ")


def _agree(runs: pd.DataFrame, other: str, claim: str) -> Claim:
    """Two verdicts on every run that learned: the exact interval of the share that is the same lies above AGREE."""
    table = mechanisms(runs)
    if not table["learned"].any():
        return Claim("companion", claim, "no run learned", np.nan, False)
    pairs = agreement(table)
    row = pairs[(pairs["verdict"] == "mechanism") & (pairs["other"] == other)]
    n = int(row["n_runs"].iloc[0])
    same = n - int(row["n_differ"].iloc[0])
    interval = binomtest(same, n).proportion_ci(0.95)
    said = f"the same in {same} of {n} runs that learned ({interval.low:.2f} to {interval.high:.2f})"
    low, high = float(interval.low), float(interval.high)
    return Claim("companion", claim, said, same / n, low > AGREE, low=low, high=high)


def _control(found: Tables) -> list[Claim]:
    """Without memory: the critical rate at one window, and its power of the window."""
    runs = own_outcomes(found.runs)
    if runs is None:
        raise UsageError(f"{found.name}: found runs of several tasks; allowed: those of onehot_control")
    (beta, error), (window, rate) = CONTROL, CONTROL_RATE
    names = (
        f"without memory half of the networks fail at a rate of {rate} at a window of {window:g} ms",
        f"without memory the critical rate falls with the window to the power {beta}",
    )
    kept: dict[str, Any] = {"tables": (1,), "n_seeds": runs["seed"].nunique()}
    try:
        rates, law = (
            critical_rates(runs, "no_solution", x="reaction_ms"),
            rate_law(runs, "no_solution", x="reaction_ms"),
        )
    except UsageError as error_:
        return [Claim("companion", name, str(error_), np.nan, None, **kept) for name in names]
    here = rates[rates["reaction_ms"] == window]
    at, low, high = (
        float(here[name].iloc[0]) if len(here) else np.nan for name in ("learning_rate", "ci_low", "ci_high")
    )
    holds: bool | None = low <= rate <= high
    if np.isnan(at) or (holds and high > TOLD_RATE * low):
        holds = None
    one = Claim("companion", names[0], f"{at:.3f} ({low:.3f} to {high:.3f})", at, holds, low=low, high=high, **kept)
    reaches: bool | None = law.ci_low <= beta + 2 * error and law.ci_high >= beta - 2 * error
    if reaches and not 0 < law.ci_low < law.ci_high < 2 * beta:
        reaches = None
    said = f"{law.beta:.2f} ({law.ci_low:.2f} to {law.ci_high:.2f}) through {law.n_rates} windows"
    return [one, Claim("companion", names[1], said, law.beta, reaches, low=law.ci_low, high=law.ci_high, **kept)]


def _toys() -> Claim:
    """The exponents of the toy models, from their exact critical rates at two delays."""
    wanted = {("slow_point", 1.0): 4, ("limit_cycle", 1.0): 2, ("slow_point", 0.0): 5, ("limit_cycle", 0.0): 3}
    found = []
    for kind, share in wanted:
        rates = [theory.toy_critical_lr(kind, d, d if share else 1e-6) for d in (10.0, 1000.0)]
        found.append(float(np.log(rates[0] / rates[1]) / np.log(100)))
    holds = np.allclose(found, list(wanted.values()), atol=1e-3)
    long, short = (f"{slow:.3f} and {cycle:.3f}" for slow, cycle in (found[:2], found[2:]))
    said = f"exponents of slow point and limit cycle {long} (response = delay), {short} (a short response)"
    return Claim("companion", "the toy models' critical rates are power laws", said, found[0], holds, (), "check")
