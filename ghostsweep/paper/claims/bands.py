"""Claims of Figs. 6 and 7: critical learning rates and bands of networks."""

import numpy as np
import pandas as pd
from scipy.stats import page_trend_test

from ghostsweep.analysis.band import learnable_band
from ghostsweep.analysis.critical import critical_lr
from ghostsweep.analysis.outcomes import outcomes
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.scaling import compare_scaling
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, collapse_rises, p_text, upper
from ghostsweep.store.tables import Tables

GAIN_RATIO = 1.5
"""Ranks are compared whose initial recurrent weights have at most this times the gain of the lowest rank's."""
_UNITS = 100


def fig6(
    rank_one: Tables, full: Tables, rank: Tables, timescales: Tables, matched: Tables, rank_band: Tables
) -> list[Claim]:
    """Networks have a critical learning rate too; rank widens the range of rates that learn (Fig. 6)."""
    return [
        _collapse("fig6", "rank-one networks collapse above a critical rate", rank_one, (0,)),
        *_falls(upper(critical_lr(timescales.runs))),
        _wider(matched),
        _raises(rank),
        _widens(rank_band),
    ]


def _falls(along: pd.DataFrame) -> list[Claim]:
    """Whether the critical rate falls with the timescale, and whether it does so as one power law."""
    law, ends = fit_power_law(along).iloc[0], local_exponent(along)["exponent"].to_numpy()
    test = compare_scaling(along).iloc[0]
    where = f"over T = {along['timescale'].min():g} to {along['timescale'].max():g}"
    return [
        Claim(
            "fig6",
            "it falls with the timescale",
            f"exponent {law['exponent']:.2f} ({law['exponent_low']:.2f} to {law['exponent_high']:.2f}) {where}; the "
            "canonical form has -5",
            float(law["exponent"]),
            bool(law["exponent_high"] < 0),
            low=float(law["exponent_low"]),
            high=float(law["exponent_high"]),
            tables=(3,),
            n_seeds=int(along["n_seeds"].min()),
        ),
        Claim(
            "fig6",
            "as one power law",
            f"local exponents from {ends[0]:.2f} to {ends[-1]:.2f}, between {ends.min():.2f} and {ends.max():.2f}; "
            f"curvature: {p_text(test['curvature_p'])}, which would notice a change of the exponent by one with "
            f"{test['power_knee']:.0%}, an exponential with {test['power_exponential']:.0%}",
            float(test["curvature"]),
            bool(test["curvature_p"] >= SIGNIFICANT),
            p_value=float(test["curvature_p"]),
            tables=(3,),
            n_seeds=int(along["n_seeds"].min()),
        ),
    ]


def _collapse(figure: str, claim: str, tables: Tables, which: tuple[int, ...]) -> Claim:
    """Whether collapse sets in within the grid, and with the rate more often than chance would have it."""
    found = upper(critical_lr(tables.runs)).iloc[0]
    rising, p = collapse_rises(tables.runs)
    return Claim(
        figure,
        claim,
        f"half of {found['n_seeds']} seeds at {found['lr_critical']:.2g} ({found['ci_low']:.2g} to "
        f"{found['ci_high']:.2g}); having collapsed rises with the rate, rank correlation {rising:.2f}, {p_text(p)}"
        if found["censored"] == ""
        else f"half of {found['n_seeds']} seeds collapse at no rate of the grid, or at all",
        float(found["lr_critical"]) if found["censored"] == "" else rising,
        bool(found["censored"] == "" and rising > 0 and p < SIGNIFICANT),
        which,
        low=float(found["ci_low"]),
        high=float(found["ci_high"]),
        p_value=p,
        n_seeds=int(found["n_seeds"]),
    )


def _wider(matched: Tables) -> Claim:
    """Full rank against rank one at the same confidence, rates and epochs, by the intervals of their bands' widths."""
    band = learnable_band(matched.runs)
    wide, narrow = (band[band["model"] == model].iloc[0] for model in ("full_rank", "rank_one"))
    confidences = sorted(matched.runs["confidence"].unique().astype(float))
    low, high = float(wide["width_low"] - narrow["width_high"]), float(wide["width_high"] - narrow["width_low"])
    return Claim(
        "fig6",
        "a full-rank network learns over a wider range of rates than a rank-one network of the same confidence",
        f"{_band(wide)} against {_band(narrow)}; confidence {' and '.join(f'{c:g}' for c in confidences)}, "
        f"{int(matched.runs['epochs'].max()):,} epochs, spectral norm of the initial recurrent weights 2 against 1",
        float(wide["width_decades"] - narrow["width_decades"]),
        low > 0 and len(confidences) == 1,
        (4,),
        low=low,
        high=high,
        n_seeds=int(min(wide["n_seeds"], narrow["n_seeds"])),
    )


def _by_seed(runs: pd.DataFrame, column: str) -> list[np.ndarray]:
    """A column of the band of each seed alone, by rank."""
    return [
        learnable_band(one, share=1.0, n_boot=2).sort_values("rank")[column].fillna(0.0).to_numpy()
        for _, one in runs.groupby("seed")
    ]


def _trend(by_seed: list[np.ndarray]) -> float:
    """The p-value of no rising trend over ranks within the seeds (Page); 1 where there are too few of either."""
    if len(by_seed) < 3 or len(by_seed[0]) < 3:
        return 1.0
    return float(page_trend_test(np.array(by_seed)).pvalue)


def _raises(tables: Tables) -> Claim:
    """Whether the upper end of the band rises with rank, seed by seed."""
    band = learnable_band(tables.runs).sort_values("rank")
    by_seed = _by_seed(tables.runs, "lr_high")
    p = _trend(by_seed)
    gain = float(np.log10(band["lr_high"].iloc[-1] / band["lr_high"].iloc[0]))
    return Claim(
        "fig6",
        "more trainable rank raises the rates that learn",
        "highest rate at which half of the seeds learn: "
        + ", ".join(f"{row['lr_high']:.2g} (K = {row['rank']:g})" for _, row in band.iterrows())
        + f"; of {len(by_seed)} seeds, Page's trend test: {p_text(p)}",
        gain if np.isfinite(gain) else 0.0,
        bool(p < SIGNIFICANT and gain > 0),
        (2,),
        p_value=p,
        n_seeds=len(by_seed),
    )


def initial_gain(rank: float, n_units: int = _UNITS) -> float:
    """The spectral norm of m n at the start, for m (N, K) and n (K, N) ~ N(0, 1) / sqrt N: (1 + sqrt(K / N))^2 at most.

    Either factor's largest singular value is 1 + sqrt(K / N) for large N (Marchenko and Pastur).
    """
    return float((1.0 + np.sqrt(rank / n_units)) ** 2)


def _widens(tables: Tables) -> Claim:
    """Whether the band widens with rank, seed by seed, over ranks of about the same initial gain and one confidence."""
    ranks = np.sort(tables.runs["rank"].unique()).astype(float)
    compared = [rank for rank in ranks if initial_gain(rank) <= GAIN_RATIO * initial_gain(ranks[0])]
    runs = tables.runs[tables.runs["rank"].isin(compared)]
    band = learnable_band(runs).sort_values("rank")
    by_seed = _by_seed(runs, "width_decades")
    p = _trend(by_seed)
    first, last = band.iloc[0], band.iloc[-1]
    return Claim(
        "fig6",
        f"more trainable rank widens the range of rates that learn ({int(runs['epochs'].max()):,} epochs)",
        "width in decades: "
        + ", ".join(f"{_width(row)} (K = {row['rank']:g})" for _, row in band.iterrows())
        + f"; of {len(by_seed)} seeds, Page's trend test: {p_text(p)}; ranks of at most {GAIN_RATIO:g} times the "
        "initial gain of the first",
        float(last["width_decades"] - first["width_decades"]),
        # A band that reaches an end of the grid has no width.
        bool(p < SIGNIFICANT and last["width_decades"] > first["width_decades"] and (band["censored"] == "").all()),
        (5,),
        low=float(last["width_low"] - first["width_high"]),
        high=float(last["width_high"] - first["width_low"]),
        p_value=p,
        n_seeds=len(by_seed),
    )


def fig7(dcdt: Tables, dmts: Tables, *_: Tables) -> list[Claim]:
    """Full-rank networks on cue tasks collapse above a critical rate, with vanished gradients (Fig. 7)."""
    claims = []
    for at, (name, tables) in enumerate((("delayed cue discrimination", dcdt), ("delayed match to sample", dmts))):
        critical = upper(critical_lr(tables.runs)).iloc[0]
        found = outcomes(tables.runs)
        above = found.query("learning_rate > @critical.ci_high")
        best = found.query("outcome == 'learned'")["mean_grad_norm"].median()
        vanished = float(above["recent_mean_grad_norm"].median() / best) if len(above) else 1.0
        claims += [
            _collapse("fig7", f"{name}: learning collapses above a critical rate", tables, (at,)),
            Claim(
                "fig7",
                f"{name}: above it the gradient has vanished",
                f"final gradient {vanished:.1e} of the mean one of runs that learn (median)",
                vanished,
                vanished < 0.1,
                (at,),
                "check",  # that is how most runs count as collapsed
                n_seeds=int(critical["n_seeds"]),
            ),
        ]
    return claims


def _width(row: pd.Series) -> str:
    at_least = "at least " if row["censored"] else ""
    return f"{at_least}{row['width_decades']:.2f} ({row['width_low']:.2f} to {row['width_high']:.2f})"


def _band(row: pd.Series) -> str:
    at_least = "at least " if row["censored"] else ""
    return (
        f"{at_least}{row['width_decades']:.1f} decades ({row['width_low']:.1f} to {row['width_high']:.1f}), "
        f"{row['lr_low']:.2g} to {row['lr_high']:.2g}"
    )
