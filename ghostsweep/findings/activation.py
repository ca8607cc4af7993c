"""What sweeps of delayed activation show, with the canonical form, rank-one and other networks. A function per row."""

import math
from functools import partial

import pandas as pd

from ghostsweep import theory
from ghostsweep.analysis import PLATEAU_ACCURACY, trapped
from ghostsweep.findings.evidence import SweepTables, preferred, slope, trend, verdict, widest
from ghostsweep.findings.words import (
    at,
    between,
    ends,
    epochs,
    exponent,
    groups,
    listed,
    measured,
    number,
    part,
    place,
    rate,
    several,
    span,
    value,
    width,
)

_MANY = 0.5
"""Share of runs from which an outcome is worth a word."""


def canonical_onset(sweep: SweepTables) -> str:
    upper = sweep.boundary("upper")
    below, above = (theory.eta(upper[side], upper["timescale"]) for side in ("lr_below", "lr_above"))
    T = f"T = {value('timescale', upper['timescale'].min())} to {value('timescale', upper['timescale'].max())}"
    return (
        f"none of {sweep.n_seeds} starts is trapped at η = {below.min():.4f} and less, the first by {above.max():.4f}, "
        f"at each of {len(upper)} timescales, {T}; exact: η = 3/4. It took {len(sweep.runs):,} of the "
        f"{sweep.n_planned:,} runs of the grid"
    )


def canonical_power(sweep: SweepTables) -> str:
    upper = sweep.boundary("upper")
    law = sweep.law("timescale").iloc[0]
    brackets = {f"{x:.4f}" for x in theory.eta(upper["lr_below"], upper["timescale"])}
    return (
        f"exponent {measured(law['exponent'], 5)}, prefactor {measured(law['prefactor'], 4)}; exact: −5 and "
        f"{measured(theory.CRITICAL_PREFACTOR, 4)}. A check, no statistics: the map is scale-invariant, so the "
        f"{len(upper)} timescales are {len(brackets)} grids, and there is no interval"
    )


def rank_one_critical(sweep: SweepTables) -> str:
    upper = sweep.boundary("upper").sort_values("timescale")
    return f"of {sweep.n_seeds} seeds half collapse at {at(upper, 'timescale', rate)}; {epochs(sweep.runs)}"


def rank_one_law(sweep: SweepTables) -> str:
    law, test = sweep.law("timescale").iloc[0], sweep.scaling("timescale").iloc[0]
    bounds = f" and {several(law['n_censored'], 'bound')}" if law["n_censored"] else ""
    away = f", {number(law['se_from_L'])} standard errors from T⁻⁴" if abs(law["se_from_L"]) < math.inf else ""
    return f"as T to the {slope(law)} through {several(law['n_used'], 'estimate')}{bounds}{away}; {verdict(test)}"


def rank_one_steepening(sweep: SweepTables) -> str:
    local = sweep.local("timescale").assign(timescale=lambda t: t["at"].round())

    def shown(row: "pd.Series[float]") -> str:
        return between(row["exponent"], row["exponent_low"], row["exponent_high"], partial(exponent, places=1))

    if local.empty:
        return "there are no two estimates"
    return f"it is {at(local, 'timescale', shown)}; {preferred(sweep.scaling('timescale'), 'timescale')}"


def rank_one_lower(sweep: SweepTables) -> str:
    """The lower boundary for each number of epochs, over all timescales that had it."""
    counts = sweep.runs.groupby("timescale")["epochs"].first()
    lower = sweep.boundary("lower").sort_values("timescale")
    lower = lower.assign(trained=counts.reindex(lower["timescale"]).to_numpy())
    told = []
    for trained, cells in groups(lower, "trained"):
        if len(cells) == 1 or (cells["censored"] != "").any():
            told.append(f"{at(cells, 'timescale', rate)} ({trained:,} epochs)")
            continue
        same = cells["ci_low"].max() <= cells["ci_high"].min()
        low, high = measured(cells["lr_critical"].min()), measured(cells["lr_critical"].max())
        where = low if low == high else f"{low} to {high}"
        told.append(
            f"{where} at {span('timescale', cells['timescale'].tolist())} ({trained:,} epochs), "
            f"{'the same' if same else 'not the same'} within intervals"
        )
    return f"half of the seeds are still on the plateau below {'; '.join(told)}"


def rank_one_band(sweep: SweepTables) -> str:
    bands = sweep.band.sort_values("timescale")
    return f"decades over which half of the seeds learn: {at(bands, 'timescale', width)}; {epochs(sweep.runs)}"


def epochs_lower(sweep: SweepTables) -> str:
    laws = sweep.law("epochs", "lower").sort_values("timescale")
    is_inverse = ((laws["exponent_low"] <= -1) & (laws["exponent_high"] >= -1)).all()
    word = "yes" if is_inverse else "not at every T"
    return (
        f"{word}: it goes as epochs to the {at(laws, 'timescale', slope)}, from {_range(sweep.runs['epochs'])} epochs"
    )


def epochs_upper(sweep: SweepTables) -> str:
    """Where the upper boundary is with the fewest and with the most epochs, at each timescale."""
    told, first_time = [], True
    for T, cells in groups(sweep.boundary("upper"), "timescale"):
        first, last = (cells.sort_values("epochs").iloc[i] for i in (0, -1))
        where = (place if first_time else value)("timescale", T)
        apart = first["ci_high"] < last["ci_low"] or last["ci_high"] < first["ci_low"]
        told.append(f"at {where} from {rate(first)} to {rate(last)}, {'beyond' if apart else 'within'} their intervals")
        first_time = False
    return f"{listed(told)}; {_range(sweep.runs['epochs'])} epochs"


def epochs_band(sweep: SweepTables) -> str:
    told = []
    for trained, bands in groups(sweep.band, "epochs"):
        told.append(f"{at(bands.sort_values('timescale'), 'timescale', width)} ({trained:,} epochs)")
    return f"decades: {'; '.join(told)}"


def confidence_band(sweep: SweepTables) -> str:
    T, bands = place("timescale", sweep.runs["timescale"].iloc[0]), sweep.band.sort_values("confidence")
    there = bands[bands["lr_low"].notna()]
    others = ", none at others" if len(there) < len(bands) else ""
    return (
        f"{widest(bands, 'confidence')}; decades: {at(there, 'confidence', width)}{others}; {T}, {epochs(sweep.runs)}"
    )


def confidence_floor(sweep: SweepTables) -> str:
    """At confidences below every band: how many runs had a low loss at any epoch, and the lowest."""
    bands = sweep.band
    first = bands.loc[bands["lr_low"].notna(), "confidence"].min()
    told = []
    for c, runs in groups(sweep.runs[sweep.runs["confidence"] < first], "confidence"):
        k = int((runs["min_loss"] < runs["learned_loss"]).sum())
        stayed = int((runs["outcome"] == "learned").sum())
        told.append((c, f"{part(k, len(runs))} (lowest {number(runs['min_loss'].min())}; {stayed} learned)"))
    if not told:
        return "there is a band at every confidence tried"
    table = pd.DataFrame(told, columns=["confidence", "told"])
    threshold = number(sweep.runs["learned_loss"].iloc[0])
    return (
        f"runs whose loss was below {threshold} at any epoch: {at(table, 'confidence', lambda row: str(row['told']))}"
    )


def confidence_dead(sweep: SweepTables) -> str:
    """At confidences of which many runs have no gradient from the start: how many."""
    told = []
    for c, runs in groups(sweep.runs, "confidence"):
        k = int((runs["outcome"] == "trapped_at_start").sum())
        if k >= _MANY * len(runs):
            told.append((c, part(k, len(runs))))
    if not told:
        return "at none tried is the gradient gone from the start in half of the runs"
    table = pd.DataFrame(told, columns=["confidence", "told"])
    shown = at(table, "confidence", lambda row: str(row["told"]))
    return f"runs trapped at the start, without a gradient: {shown}"


def timescale_confidence(sweep: SweepTables, c: float) -> str:
    bands = sweep.band[sweep.band["confidence"] == c].sort_values("timescale")
    runs = sweep.runs[sweep.runs["confidence"] == c]
    if bands["lr_low"].isna().all():
        k = int((runs["outcome"] == "trapped_at_start").sum())
        return f"no band at any T: {part(k, len(runs))} runs trapped at the start, without a gradient"
    return f"decades: {at(bands, 'timescale', width)}; {epochs(runs)}"


def timescale_confidence_laws(sweep: SweepTables) -> str:
    laws = sweep.law("timescale").dropna(subset="exponent").sort_values("confidence")
    return f"half collapse at a rate that goes as T to the {at(laws, 'confidence', slope)}"


def timescale_confidence_tests(sweep: SweepTables, c: float) -> str:
    tests = sweep.scaling("timescale")
    return verdict(tests[tests["confidence"] == c].iloc[0])


def rank_width(sweep: SweepTables) -> str:
    bands = sweep.band.sort_values("rank")
    word = {"wider": "yes", "narrower": "no, it narrows it"}.get(trend(bands, "rank"), "not established")
    return f"{word}; decades: {at(bands, 'rank', width)}; {epochs(sweep.runs, 'rank')}"


def rank_lower(sweep: SweepTables) -> str:
    cells = sweep.boundary("lower").sort_values("rank")
    if (cells["censored"] != "").all():
        return f"at every rank below the lowest rate tried, {measured(sweep.runs['learning_rate'].min())}"
    law, test = sweep.law("rank", "lower").iloc[0], sweep.scaling("rank", "lower").iloc[0]
    first, last = cells.iloc[0], cells.iloc[-1]
    return (
        f"from {rate(first)} at {place('rank', first['rank'])} to {rate(last)} at {value('rank', last['rank'])}; "
        f"as rank to the {slope(law)}; {verdict(test)}"
    )


def rank_upper(sweep: SweepTables) -> str:
    cells = sweep.boundary("upper").sort_values("rank")
    return f"half of {sweep.n_seeds} seeds collapse at {at(cells, 'rank', rate)}"


def full_rank(sweep: SweepTables) -> str:
    band = sweep.band.iloc[0]
    return (
        f"half of {sweep.n_seeds} seeds learn {ends(band)}: {width(band)} decades; half collapse at "
        f"{rate(sweep.boundary('upper').iloc[0])}; {epochs(sweep.runs)}, "
        f"{place('confidence', sweep.runs['confidence'].iloc[0])}"
    )


def _learned_at(sweep: SweepTables) -> pd.DataFrame:
    """How many seeds have a low loss at each of the epochs asked for, by rate: (rates, epochs)."""
    wanted = sweep.found.meta["record"]["epochs"]
    fields = sweep.runs[["run_id", "learning_rate", "learned_loss"]]
    curves = sweep.found.curves.merge(fields, on="run_id")
    curves = curves[curves["epoch"].isin(wanted)].assign(low=lambda t: t["loss"] < t["learned_loss"])
    return curves.pivot_table(index="learning_rate", columns="epoch", values="low", aggfunc="sum").astype(int)


def edges_low(sweep: SweepTables) -> str:
    """The lowest rate at which half of the seeds are below the learned loss, at each epoch asked for."""
    low = _learned_at(sweep)
    edge = (2 * low >= sweep.n_seeds).idxmax().where((2 * low >= sweep.n_seeds).any()).dropna()
    told = listed(f"{measured(lr)} at {epoch:,}" for epoch, lr in edge.items())
    product = edge * edge.index
    return (
        f"half of {sweep.n_seeds} seeds are below the learned loss from {told} epochs on: the rate times the epochs is "
        f"{number(product.min())} to {number(product.max())}"
    )


def edges_high(sweep: SweepTables) -> str:
    """How many seeds are below the learned loss at the highest rate where any is, at each epoch asked for."""
    low = _learned_at(sweep)
    last = low.index[(low > 0).any(axis=1)].max()
    counts = low.loc[last]
    falls = bool((counts.cummax() > counts).any())
    return (
        f"{measured(last)} is the highest rate at which any of {sweep.n_seeds} seeds is below the learned loss at one "
        f"of these epochs: {listed(f'{k} at {epoch:,}' for epoch, k in counts.items())}, so that the number "
        f"{'falls again' if falls else 'does not fall'}"
    )


def recovery_best(sweep: SweepTables) -> str:
    """How well trapped networks do at the confidence where their best accuracy is highest."""
    caught, after = _recovering(sweep)
    first = sweep.runs[sweep.runs["phase"] == 1]
    c, old = _best(after), first["confidence"].iloc[0]
    best, same = (after[after["confidence"] == x] for x in (c, old))
    k, control = (int((runs["max_accuracy"] > PLATEAU_ACCURACY).sum()) for runs in (best, same))
    gradient, gone = (measured(runs["mean_grad_norm"].mean()) for runs in (best, same))
    return (
        f"{part(len(caught), len(first))} networks at {place('confidence', old)} are trapped after {epochs(first)}. "
        f"In {epochs(best)} more at {value('confidence', c)}, {part(k, len(best))} are right at more than "
        f"{PLATEAU_ACCURACY:.0%} of the steps at their best epoch (lowest {best['max_accuracy'].min():.1%}), at "
        f"{value('confidence', old)} {part(control, len(same))}; mean gradient norm {gradient} and {gone}"
    )


def recovery_end(sweep: SweepTables) -> str:
    """The same at the last epoch, and the confidence at which most have learned."""
    _, after = _recovering(sweep)
    c = _best(after)
    learned = {x: int((runs["outcome"] == "learned").sum()) for x, runs in groups(after, "confidence")}
    most = max(learned, key=lambda x: learned[x])
    best, other = (after[after["confidence"] == x] for x in (c, most))
    return (
        f"at {place('confidence', c)} the mean accuracy at the last epoch is {best['final_accuracy'].mean():.0%} and "
        f"{part(learned[c], len(best))} have learned; the most have at {value('confidence', most)}: "
        f"{part(learned[most], len(other))}"
    )


def recovery_long(sweep: SweepTables) -> str:
    """How many trapped networks have learned at the end, by the confidence they went on at, the old one as control."""
    caught, after = _recovering(sweep)
    old = caught["confidence"].iloc[0]
    learned = {c: int((runs["outcome"] == "learned").sum()) for c, runs in groups(after, "confidence")}
    table = pd.DataFrame(learned.items(), columns=["confidence", "learned"])
    shown = at(table[table["confidence"] != old], "confidence", lambda row: str(int(row["learned"])))
    return (
        f"of {len(caught)} that were trapped after {epochs(caught)}, so many have learned after {epochs(after)} more: "
        f"{shown}; unchanged, at {value('confidence', old)}, {learned[old]}"
    )


def recovery_control(sweep: SweepTables) -> str:
    caught, after = _recovering(sweep)
    learned = int((after["outcome"] == "learned").sum())
    return f"{part(learned, len(after))} that were trapped have learned, {epochs(after)} on"


def matched(sweep: SweepTables) -> str:
    """The bands of a rank-one and a full-rank network that differ in nothing else."""
    one, full = (sweep.band[sweep.band["model"] == name] for name in ("rank_one", "full_rank"))
    order = trend(pd.concat([one, full]).assign(rank=[1, 2]), "rank")
    word = {"wider": "full rank is wider", "narrower": "rank one is wider"}.get(order, "the order is not established")
    return (
        f"{word}: {width(full.iloc[0])} decades with full rank, {width(one.iloc[0])} with rank one; "
        f"{epochs(sweep.runs)}, {sweep.n_seeds} seeds, {place('confidence', sweep.runs['confidence'].iloc[0])} for both"
    )


def recovery_trained(sweep: SweepTables) -> str:
    caught, after = _recovering(sweep)
    first = sweep.runs[sweep.runs["phase"] == 1]
    learned = int((after["outcome"] == "learned").sum())
    return (
        f"{part(len(caught), len(first))} are trapped after {epochs(first)}; {epochs(after)} on with it reset to "
        f"{value('confidence', float(after['confidence'].iloc[0]))}, {part(learned, len(after))} have learned"
    )


def _recovering(sweep: SweepTables) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The networks that were trapped, and what went on from them."""
    caught = trapped(sweep.runs)
    return caught, sweep.runs[sweep.runs["parent"].isin(caught["run_id"])]


def _best(after: pd.DataFrame) -> float:
    """The confidence at which the best accuracy of any epoch is highest in the mean."""
    means = {c: runs["max_accuracy"].mean() for c, runs in groups(after, "confidence")}
    return max(means, key=lambda c: means[c])


def _range(counts: "pd.Series[int]") -> str:
    return f"{counts.min():,} to {counts.max():,}"
