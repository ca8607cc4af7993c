"""Claims of the paper's central step: near a ghost a network is the canonical form, with one scale parameter."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from ghostsweep import theory
from ghostsweep.analysis import at_the_end, compare_predicted, flattening, highest_kept, predicted
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, of_networks, p_text

FACTOR = 2.0
"""Predictions within this factor are right in size."""
COSINE = 0.99
"""Cosine of two gradients from which on they have one direction."""
SEES = 0.05
"""Norm of the loss's gradient over that of the canonical one from which on the loss sees s."""


def reduction(slow: pd.DataFrame, many: pd.DataFrame, runs: pd.DataFrame) -> list[Claim]:
    """Whether eta = 3/4 tells where rank-one networks collapse.

    slow: the reduction of networks along training at a low rate. many: of networks at many rates, at the end of
    training. runs: a sweep of rates with the seeds of the first.
    """
    return [*_predictions(slow, runs), *_kept(many), *_late(slow)]


def _predictions(slow: pd.DataFrame, runs: pd.DataFrame) -> list[Claim]:
    found = compare_predicted(predicted(slow), runs, predictors=("highest",))
    each, whole = found[found["timescale"].notna()], found[found["timescale"].isna()].iloc[0]
    n_seeds = int(each["n_seeds"].min())
    worst = each.iloc[int(np.log(each["ratio"]).abs().to_numpy().argmax())]
    inside = (each["ratio_low"] > 1 / FACTOR) & (each["ratio_high"] < FACTOR)
    steeper = float(whole["observed_exponent"] - whole["predicted_exponent"])
    return [
        Claim(
            "reduction",
            f"the rate at which eta is 3/4 is a network's critical one, within a factor of {FACTOR:g} at every T",
            f"observed over predicted {each['ratio'].min():.2g} to {each['ratio'].max():.2g}, furthest off at T = "
            f"{worst['timescale']:g}: {worst['ratio']:.2g} ({worst['ratio_low']:.2g} to "
            f"{worst['ratio_high']:.2g}); within it "
            f"at {inside.sum()} of {len(each)} T",
            float(worst["ratio"]),
            bool(inside.all()),
            low=float(worst["ratio_low"]),
            high=float(worst["ratio_high"]),
            n_seeds=n_seeds,
        ),
        Claim(
            "reduction",
            "it falls with T as the critical rate does",
            f"as T^{whole['predicted_exponent']:.2f} ({whole['predicted_exponent_low']:.2f} to "
            f"{whole['predicted_exponent_high']:.2f}), observed {whole['observed_exponent']:.2f} "
            f"({whole['observed_exponent_low']:.2f} to {whole['observed_exponent_high']:.2f}); correlation of "
            "the logarithms "
            f"{whole['correlation']:.2f} ({whole['correlation_low']:.2f} to {whole['correlation_high']:.2f})",
            steeper,
            bool(
                whole["predicted_exponent_low"] <= whole["observed_exponent_high"]
                and whole["observed_exponent_low"] <= whole["predicted_exponent_high"]
            ),
            n_seeds=n_seeds,
        ),
        Claim(
            "reduction",
            "it tells something of which networks of one T collapse at lower rates",
            f"correlation of the logarithms within a T {whole['within']:.2f} ({whole['within_low']:.2f} to "
            f"{whole['within_high']:.2f})",
            float(whole["within"]),
            bool(whole["within_low"] > 0),
            low=float(whole["within_low"]),
            high=float(whole["within_high"]),
            n_seeds=n_seeds,
        ),
    ]


def _kept(many: pd.DataFrame) -> list[Claim]:
    ends = at_the_end(many)
    kept = ends[(ends["outcome"] == "learned") & ends["eta"].notna()]
    sees = kept[kept["norm_ratio"] >= SEES]
    blind = kept[kept["norm_ratio"] < SEES]
    above = int((blind["eta"] > theory.CRITICAL_ETA).sum())
    top = highest_kept(ends)
    medians = top[top["norm_ratio"] >= SEES].groupby("timescale")["eta"].agg(["median", "size"])
    middle = medians.loc[medians["size"] >= 5, "median"]
    ratio = float(sees["norm_ratio"].median())
    spread = float(middle.max() / middle.min()) if len(middle) else np.nan
    network = sees.groupby(["timescale", "seed"])
    slope = flattening(ends)["exponent"].to_numpy()
    error = float(1.96 * slope.std(ddof=1) / np.sqrt(len(slope))) if len(slope) > 1 else np.nan
    mean = float(slope.mean()) if len(slope) else np.nan
    return [
        of_networks(
            "reduction",
            "networks that keep what they learned have eta below 3/4 in the end, where the loss sees s",
            (network["eta"].max() < theory.CRITICAL_ETA).tolist(),
            f"; in all, {int((sees['eta'] < theory.CRITICAL_ETA).sum())} of {len(sees)} runs, from rates of "
            f"{sees['learning_rate'].min():.2g} to {sees['learning_rate'].max():.2g}; of {len(blind)} whose loss "
            "does not see s "
            f"(its gradient below {SEES:g} of the canonical one) {above} are above",
        ),
        Claim(
            "reduction",
            f"eta at the highest rates kept is the same at every T, within a factor of {FACTOR:g}",
            f"medians {middle.min():.2g} to {middle.max():.2g} at T = {_values(middle.index)}, where most losses see s",
            spread,
            bool(spread < FACTOR),
            n_seeds=int(top["seed"].nunique()),
        ),
        Claim(
            "reduction",
            "the critical rate that |ds/dp| predicts is the network's own, whatever the rate it was trained at",
            f"it goes as that rate to the {mean:.2f} ({mean - error:.2f} to {mean + error:.2f}), {len(slope)} "
            "networks: "
            "0 were it their own, 1 if eta is the same at every rate",
            mean,
            bool(abs(mean) < error),
            low=mean - error,
            high=mean + error,
            n_seeds=len(slope),
        ),
        of_networks(
            "reduction",
            f"the loss's gradient has the direction of the canonical one (cosine above {COSINE:g})",
            (network["cosine"].min() > COSINE).tolist(),
        ),
        Claim(
            "reduction",
            f"and its size, within a factor of {FACTOR:g}",
            f"median ratio of norms {ratio:.2g}, quartiles {sees['norm_ratio'].quantile(0.25):.2g} to "
            f"{sees['norm_ratio'].quantile(0.75):.2g}, {len(sees)} runs",
            ratio,
            bool(1 / FACTOR < ratio < FACTOR),
            n_seeds=int(sees["seed"].nunique()),
        ),
    ]


def _late(slow: pd.DataFrame) -> list[Claim]:
    """Networks that had learned at a low rate and lost it: eta before, against that of the others of the same T."""
    last = slow[slow["s"].notna()].sort_values("epoch").groupby("run_id").tail(1)
    lost = last[last["outcome"] != "learned"]
    others = last[last["timescale"].isin(lost["timescale"]) & (last["outcome"] == "learned")]
    if lost.empty or others.empty:
        return []
    # Within each T by its own median, since T differ.
    middle = last.groupby("timescale")["eta"].median()
    values = [part["eta"].to_numpy() / middle.loc[part["timescale"]].to_numpy() for part in (lost, others)]
    test = mannwhitneyu(values[0], values[1], alternative="two-sided")
    return [
        of_networks(
            "reduction",
            "eta has passed 3/4 where a network that had learned is trapped",
            (lost["eta"] > theory.CRITICAL_ETA).tolist(),
            f"; at a rate of {slow['learning_rate'].iloc[0]:g}, T = {_values(lost['timescale'])}, last "
            f"eta {lost['eta'].min():.2g} to {lost['eta'].max():.2g}",
        ),
        Claim(
            "reduction",
            "it is higher in networks that are trapped than in those of the same T that are not",
            f"{len(lost)} and {len(others)} networks, by the median of their T {np.median(values[0]):.2f} and "
            f"{np.median(values[1]):.2f} (Mann-Whitney, {p_text(float(test.pvalue))})",
            float(np.median(values[0]) / np.median(values[1])),
            bool(test.pvalue < SIGNIFICANT and np.median(values[0]) > np.median(values[1])),
            p_value=float(test.pvalue),
            n_seeds=len(lost) + len(others),
        ),
    ]


def _values(found: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(set(found)))
