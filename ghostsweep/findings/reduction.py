"""What the reduction to the canonical form predicts of networks, held against what they do. A function per row."""

from functools import partial

import pandas as pd

from ghostsweep import theory
from ghostsweep.analysis import at_the_end, compare_predicted, flattening, highest_kept, predicted
from ghostsweep.findings.evidence import Evidence
from ghostsweep.findings.words import at, between, exponent, listed, measured, part, place

SLOW, MANY = "rank_one_lr_timescale_reduction", "rank_one_lr_reduction"
CONFIDENCES, RANKS = "rank_one_lr_confidence_reduction", "rank_lr_reduction"
"""Sweeps of the networks of others, reduced: at a low rate all along; and at many rates at the end."""


SEES = 0.05
"""Norm of the loss's gradient over that of the canonical one from which on the loss sees s."""


def _shown(row: "pd.Series[float]", name: str, digits: int = 2) -> str:
    return between(row[name], row[f"{name}_low"], row[f"{name}_high"], partial(measured, digits=digits))


def _compared(sweep: Evidence) -> pd.DataFrame:
    return compare_predicted(predicted(sweep.reduction(SLOW)), sweep.found.runs, predictors=("highest", "first"))


def predictions(sweep: Evidence) -> str:
    """Observed over predicted at each timescale, by the snapshot that predicts best and by the first."""
    found = _compared(sweep)
    rows, first = (found[(found["predictor"] == name) & found["timescale"].notna()] for name in ("highest", "first"))
    apart = rows[(rows["ratio_low"] > 1) | (rows["ratio_high"] < 1)]
    said = "yes" if apart.empty else f"in order of magnitude; told apart from it at {len(apart)} of {len(rows)} T"
    return (
        f"{said}: observed over predicted is {at(rows, 'timescale', partial(_shown, name='ratio'))}, mean of "
        f"{rows['n_seeds'].min()} seeds, of the highest rate at which η is 3/4 at a snapshot of the same network "
        f"after it learned at a low rate; of the first such snapshot it is {at(first, 'timescale', _ratio)}"
    )


def _ratio(row: "pd.Series[float]") -> str:
    return measured(row["ratio"])


def prediction_law(sweep: Evidence) -> str:
    """The powers of T of both, and what is left within a timescale."""
    found = _compared(sweep)
    rows = found[found["predictor"] == "highest"]
    whole, each = rows[rows["timescale"].isna()].iloc[0], rows[rows["timescale"].notna()]
    told = each[(each["correlation_low"] > 0) | (each["correlation_high"] < 0)]
    where = f"only at {listed(place('timescale', x) for x in told['timescale'])}" if len(told) else "at no T"
    powers = (between(whole[n], whole[f"{n}_low"], whole[f"{n}_high"], exponent) for n in _POWERS)
    return (
        "predicted as T to the {}, observed to the {}; the logarithms of ".format(*powers)
        + f"{int(whole['n_seeds'])} networks correlate by {_shown(whole, 'correlation')} over all T; among the seeds of "
        f"one T by {measured(each['correlation'].min())} to {measured(each['correlation'].max())}, "
        f"told apart from 0 {where}; in all T together, about their means, by {_shown(whole, 'within')}"
    )


_POWERS = ("predicted_exponent", "observed_exponent")


def kept_eta(sweep: Evidence, name: str = MANY, by: str = "timescale") -> str:
    """What eta is at the end of runs that keep what they learned, at their highest rates."""
    ends = at_the_end(sweep.reduction(name))
    kept = ends[ends["outcome"] == "learned"]
    sees = kept["norm_ratio"] >= SEES
    below = [int((part["eta"] < theory.CRITICAL_ETA).sum()) for part in (kept[sees], kept[~sees])]
    top = highest_kept(ends, by).groupby(by)["eta"].describe().reset_index()

    def shown(row: "pd.Series[float]") -> str:
        return f"{measured(row['50%'])} ({measured(row['min'])} to {measured(row['max'])})"

    blind = "" if sees.all() else (
        f", and {part(below[1], int((~sees).sum()))} of those where that is less, so that the loss does not see s"
    )  # fmt: skip
    return (
        f"at the highest rate that a seed keeps, median (range) of {int(top['count'].max())}: {at(top, by, shown)}; η is below "
        f"3/4 in {part(below[0], int(sees.sum()))} runs that keep what they learned and have a gradient of at least {SEES:g} of the "
        f"canonical one (median {measured(kept.loc[sees, 'norm_ratio'].median())}, cosine "
        f"{measured(kept.loc[sees, 'cosine'].median(), 3)}){blind}"
    )


def flattened(sweep: Evidence, name: str = MANY, by: str = "timescale") -> str:
    """Whether what is predicted of a network depends on the rate at which it was trained."""
    found = flattening(at_the_end(sweep.reduction(name)), by)
    each = found.groupby(by)["exponent"].agg(["mean", "sem", "size"]).reset_index()
    each = each[each["size"] >= 3]

    def shown(row: "pd.Series[float]") -> str:
        half = 1.96 * row["sem"]
        return between(row["mean"], row["mean"] - half, row["mean"] + half, exponent)

    low = (each["mean"] - 1.96 * each["sem"]).min()
    return (
        f"{'yes' if low > 0 else 'not at all of them'}: among the rates that a network keeps, the critical rate predicted of it at the "
        f"end goes as the rate it was trained at to the {at(each, by, shown)}; 0 were |∂s/∂p|² the network's own, 1 if "
        "training goes where η is the same"
    )


def late(sweep: Evidence) -> str:
    """Runs at a low rate that had learned and collapse long after, and eta just before."""
    slow = sweep.reduction(SLOW)
    rate = slow["learning_rate"].iloc[0]
    lost = slow[slow["outcome"].ne("learned") & slow["s"].notna()].sort_values("epoch")
    if lost.empty:
        return f"no: all {slow['run_id'].nunique()} runs at {measured(rate)} keep what they learned"
    last = lost.groupby("run_id").tail(1)
    alike = slow[slow["timescale"].isin(last["timescale"]) & slow["s"].notna() & slow["outcome"].eq("learned")]
    highest = alike.sort_values("epoch").groupby("run_id").tail(1)["eta"]
    where = " and ".join(
        f"{n} at {place('timescale', t)}" for t, n in last["timescale"].value_counts(sort=False).items()
    )
    return (
        f"yes: at a rate of {measured(rate)}, {len(last)} of {slow['run_id'].nunique()} networks that had learned are thrown "
        f"out after {last['epoch'].min():,} epochs and more ({where}), at a loss below {measured(lost.groupby('run_id')['loss'].last().max())}: "
        f"|∂s/∂p|² grows while they train, and their last η before is {measured(last['eta'].min())} to "
        f"{measured(last['eta'].max())}; that of the {len(highest)} others at these T is {measured(highest.min())} to "
        f"{measured(highest.max())} at the end"
    )
