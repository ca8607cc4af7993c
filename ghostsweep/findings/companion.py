"""What the sweeps of the companion paper show (arXiv 2502.17433). A function per row."""

from ghostsweep.analysis.count_law import count_law
from ghostsweep.analysis.failing import CONTROL, CONTROL_RATE, PUBLISHED, critical_rates, law, rate_law
from ghostsweep.analysis.mechanisms import agreement, by_index, mechanisms
from ghostsweep.analysis.outcomes import own_outcomes
from ghostsweep.findings.evidence import SweepTables
from ghostsweep.findings.words import between, exponent, listed, measured, part, several

PHASES = {"slow_point_manifold": "slow points", "no_solution": "no solution"}
TOLD = 10
"""A critical rate is told where its interval spans less than this factor."""


def phases(sweep: SweepTables) -> str:
    """Shares of the phases at a few delays, all rates together."""
    judged = by_index(sweep.found.runs)
    delays = sorted(judged["delay_ms"].unique())
    some = [delays[round(k * (len(delays) - 1) / 4)] for k in range(5)]
    shares = {
        phase: (judged["outcome"] == phase).groupby(judged["delay_ms"]).mean() for phase in judged["outcome"].unique()
    }
    said = []
    for phase, name in {**PHASES, "limit_cycle": "limit cycles"}.items():
        if phase in shares:
            said.append(f"{name} {listed(f'{shares[phase][delay]:.0%}' for delay in some)}")
    return f"{'; '.join(said)} of all runs at {listed(f'{delay:g}' for delay in some)} ms"


def exponents(sweep: SweepTables) -> str:
    """Both boundaries, of all runs at once and by the paper's fits, beside what is published."""
    judged, said = by_index(sweep.found.runs), []
    for phase, name in PHASES.items():
        line, fits = count_law(judged, phase), law(judged, phase)
        power = between(line.beta, line.ci_low, line.ci_high, exponent)
        by_fits = "none" if fits is None else between(fits.beta, fits.ci_low, fits.ci_high, exponent)
        published, error = PUBLISHED[phase]
        said.append(f"{name} {power}, by the paper's fits {by_fits}, published {published} ± {error}")
    return f"rate as delay to the minus: {'; '.join(said)}; {sweep.n_seeds} seeds here, 100 there"


def rates(sweep: SweepTables) -> str:
    """The critical rate of each delay at which it is told."""
    judged, said = by_index(sweep.found.runs), []
    for phase, name in PHASES.items():
        table = critical_rates(judged, phase)
        inside = table[table["ci_high"] < TOLD * table["ci_low"]]
        row = listed(
            f"{between(one['learning_rate'], one['ci_low'], one['ci_high'], measured)} at {one['delay_ms']:g} ms"
            for _, one in inside.iterrows()
        )
        said.append(f"half of the seeds find {name} at {row}" if row else f"of {name} none is told")
    return f"{'; '.join(said)}; those of other delays are not told within a factor of {TOLD}"


def index(sweep: SweepTables) -> str:
    """How far the index, its other sign, and the motion of the free network agree."""
    pairs = agreement(mechanisms(sweep.found.runs))
    differ = {(row["verdict"], row["other"]): int(row["n_differ"]) for _, row in pairs.iterrows()}
    n = int(pairs["n_runs"].iloc[0])
    return (
        f"of {n:,} runs that learned, it differs in {differ['mechanism', 'own_mechanism']} from whether the network, "
        "left alone, goes round in the end; the sign of a principal component, which is arbitrary, changes it in "
        f"{differ['mechanism', 'mechanism_flipped']}"
    )


def without_memory(sweep: SweepTables) -> str:
    """Which networks fail at which rate where the cue need not be kept: critical rates by window, and their power."""
    judged = own_outcomes(sweep.found.runs)
    assert judged is not None  # a sweep of one task
    fails, table = judged["outcome"] == "no_solution", critical_rates(judged, "no_solution", x="reaction_ms")
    said = listed(
        f"{between(one['learning_rate'], one['ci_low'], one['ci_high'], measured)} at {one['reaction_ms']:g} ms"
        for _, one in table[table["censored"] == ""].iterrows()
    )
    law = rate_law(judged, "no_solution", x="reaction_ms")
    power, (published, error), (window, rate) = (
        between(law.beta, law.ci_low, law.ci_high, exponent),
        CONTROL,
        CONTROL_RATE,
    )
    return (
        f"half of the networks fail at {said} (published {rate} at {window:g} ms), as the window to the minus {power} "
        f"(published {published} ± {error}); {part(int(fails.sum()), len(judged))} fail; {sweep.n_seeds} seeds"
    )


def with_post(sweep: SweepTables) -> str:
    """Which mechanisms are found where the answer is to end."""
    judged = by_index(sweep.found.runs)
    learned = judged[judged["outcome"] != "no_solution"]
    cycles = int((learned["outcome"] == "limit_cycle").sum())
    lost = judged["outcome"] == "no_solution"
    shares, line = lost.groupby(judged["delay_ms"]).mean(), count_law(judged, "no_solution")
    power = between(line.beta, line.ci_low, line.ci_high, exponent)
    failing = listed(f"{share:.0%} at {delay:g}" for delay, share in shares.items() if share)
    return (
        f"limit cycles in {part(cycles, len(learned))} runs that learned; no solution in {failing} ms; the "
        f"boundary goes as rate as delay to the minus {power}, published 2.65 ± 0.23; "
        f"{several(judged['learning_rate'].nunique(), 'rate')}, {sweep.n_seeds} seeds"
    )
