"""What the reduction to the canonical form predicts of networks, held against what they do. A function per row."""

from functools import partial

import pandas as pd

from ghostsweep import theory
from ghostsweep.analysis import at_the_end, compare_predicted, flattening, highest_kept, predicted
from ghostsweep.findings.evidence import SweepTables
from ghostsweep.findings.words import at, between, exponent, listed, measured, part, place

SLOW, MANY = "rank_one_lr_timescale_reduction", "rank_one_lr_reduction"
CONFIDENCES, RANKS = "rank_one_lr_confidence_reduction", "rank_lr_reduction"
"""Sweeps of the networks of others, reduced: at a low rate all along; and at many rates at the end."""


SEES = 0.05
"""Norm of the loss's gradient over that of the canonical one from which on the loss sees s."""


def _shown(row: "pd.Series[float]", name: str, digits: int = 2) -> str:
    return between(row[name], row[f"{name}_low"], row[f"{name}_high"], partial(measured, digits=digits))


def _compared(sweep: SweepTables, predictor: str = "highest") -> tuple[pd.DataFrame, "pd.Series[float]"]:
    """What is predicted against what is observed, a row per timescale, and all of them together."""
    found = compare_predicted(predicted(sweep.reduction(SLOW)), sweep.found.runs, predictors=(predictor,))
    return found[found["timescale"].notna()], found[found["timescale"].isna()].iloc[0]


def predictions(sweep: SweepTables, predictor: str = "highest") -> str:
    """Observed over predicted at each timescale."""
    rows, _ = _compared(sweep, predictor)
    apart = (rows["ratio_low"] > 1) | (rows["ratio_high"] < 1)
    which = {"highest": "the highest rate at which η is 3/4 after", "first": "that just after"}[predictor]
    return (
        f"observed over predicted, {which} learning at a low rate, is "
        f"{at(rows, 'timescale', partial(_shown, name='ratio'))}, "
        f"apart from 1 at {apart.sum()} of {len(rows)}; {rows['n_seeds'].min()} seeds"
    )


def prediction_law(sweep: SweepTables) -> str:
    """The powers of T of both, and what is left within a timescale."""
    rows, whole = _compared(sweep)
    powers = (between(whole[n], whole[f"{n}_low"], whole[f"{n}_high"], exponent) for n in _POWERS)
    return (
        "predicted as T to the {}, observed to the {}; the logarithms correlate by ".format(*powers)
        + f"{_shown(whole, 'correlation')} over all {int(whole['n_seeds'])} networks, by {_shown(whole, 'within')} "
        f"among the "
        f"seeds of one T ({measured(rows['correlation'].min())} to {measured(rows['correlation'].max())})"
    )


_POWERS = ("predicted_exponent", "observed_exponent")


def highest_eta(sweep: SweepTables, name: str = MANY, by: str = "timescale") -> str:
    """What eta is at the end of runs that keep what they learned, at their highest rates."""
    top = highest_kept(at_the_end(sweep.reduction(name)), by).groupby(by)["eta"].describe().reset_index()

    def shown(row: "pd.Series[float]") -> str:
        return f"{measured(row['50%'])} ({measured(row['min'])} to {measured(row['max'])})"

    return f"median and range over seeds: {at(top, by, shown)}; {int(top['count'].max())} seeds"


def kept_eta(sweep: SweepTables, name: str = MANY) -> str:
    """In how many runs that keep what they learned eta is below its critical value."""
    ends = at_the_end(sweep.reduction(name))
    kept = ends[(ends["outcome"] == "learned") & ends["eta"].notna()]
    sees = kept["norm_ratio"] >= SEES
    low = kept["eta"] < theory.CRITICAL_ETA
    told = f"in {part(int(low[sees].sum()), int(sees.sum()))} runs that keep what they learned"
    if not sees.all():
        few = part(int(low[~sees].sum()), int((~sees).sum()))
        told += f" and whose loss sees s, in {few} whose gradient is below {SEES:g} of the canonical one"
    seen = kept[sees]
    return (
        f"{told}; the gradient's norm is {measured(seen['norm_ratio'].median())} of the canonical one in those "
        "that see it, the "
        f"cosine {seen['cosine'].median():.3f} (medians)"
    )


def flattened(sweep: SweepTables, name: str = MANY, by: str = "timescale") -> str:
    """Whether what is predicted of a network depends on the rate at which it was trained."""
    found = flattening(at_the_end(sweep.reduction(name)), by)
    each = found.groupby(by)["exponent"].agg(["mean", "sem", "size"]).reset_index()
    each = each[each["size"] >= 3]

    def shown(row: "pd.Series[float]") -> str:
        half = 1.96 * row["sem"]
        return between(row["mean"], row["mean"] - half, row["mean"] + half, exponent)

    return (
        f"at the end it goes as that rate to the {at(each, by, shown)}; 0 were |∂s/∂p|² the network's own, 1 if "
        "η is the "
        "same whatever the rate"
    )


def late(sweep: SweepTables) -> str:
    """Runs at a low rate that had learned and collapse long after, and eta just before."""
    slow = sweep.reduction(SLOW)
    rate, n = slow["learning_rate"].iloc[0], slow["run_id"].nunique()
    last = slow[slow["s"].notna()].sort_values("epoch").groupby("run_id").tail(1)
    lost = last[last["outcome"] != "learned"]
    if lost.empty:
        return f"no: all {n} runs at {measured(rate)} keep what they learned"
    alike = last.loc[last["timescale"].isin(lost["timescale"]) & (last["outcome"] == "learned"), "eta"]
    per_t = lost["timescale"].value_counts(sort=False).sort_index()
    where = listed(f"{count} at {place('timescale', float(str(t)))}" for t, count in per_t.items())
    return (
        f"{len(lost)} of {n} at a rate of {measured(rate)} that had learned are trapped after "
        f"{lost['epoch'].min():,} epochs and "
        f"more ({where}): |∂s/∂p|² grows, and η is {measured(lost['eta'].min())} to "
        f"{measured(lost['eta'].max())} before, "
        f"{measured(alike.min())} to {measured(alike.max())} in the {len(alike)} others at the end"
    )
