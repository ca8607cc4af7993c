"""Claims of Fig. 8: lower confidence brings gradients back, and trapped networks with them.

Recovery is judged at the end of the second phase, by pairs: each network changed, and the same one going on as it is.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ghostsweep import theory
from ghostsweep.analysis.outcomes import PLATEAU_ACCURACY, outcomes, trapped
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, mcnemar, p_text, paired_difference
from ghostsweep.store.columns import with_fields
from ghostsweep.store.tables import Tables

RESET = 1.0
"""The confidence at which recovery is tested: the one that the paper resets to, not the best of those tried."""
STEEPNESSES = (0.01, 0.1, 0.5, 1.0, 2.0)
RESTORED = 10.0
"""A gradient has come back where it is this many times that of the steepest output, each over its own maximum."""


def fig8(
    confidence: Tables, trained: Tables, readout: Tables, recovery: Tables, trained_control: Tables
) -> list[Claim]:
    """Lower confidence brings gradients back, and trapped networks recover (Fig. 8)."""
    return [
        _gradient(),
        _at_end(
            "trapped rank-one networks are right at more than half of the steps after 100 epochs at confidence 1",
            confidence,
            (0,),
            learned=False,
        ),
        _at_end("trapped rank-one networks learn at confidence 1, given as long again", recovery, (3,), learned=True),
        _reset(trained, trained_control),
        _readout(readout),
    ]


def _gradient() -> Claim:
    """What steepness does to the gradient at r*/10, inside the no-learning zone: a computation without chance."""
    best = float(theory.optimum(100.0))
    r = np.append(best * np.linspace(-1, 2, 301), 0.1 * best)
    sizes = []
    for steepness in STEEPNESSES:
        size = np.abs(theory.simulated_gradient(r, 100.0, steepness))
        sizes.append(float(size[-1] / size.max()))
    back = min(sizes[:-1]) / max(sizes[-1], np.finfo(float).tiny)
    return Claim(
        "fig8",
        "lower confidence brings back the gradient in the no-learning zone",
        "at r = r*/10, of the largest gradient: "
        + ", ".join(f"{size:.1e} (a = {a:g})" for a, size in zip(STEEPNESSES, sizes, strict=True)),
        back,
        back > RESTORED,
        (),
        "check",
    )


def _pairs(second: pd.DataFrame, by: str, treated: float, control: float | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The continuations of each network at two values of a field, in the order of their parents."""
    is_control = second[by].isna() if control is None else np.isclose(second[by].astype(float), control)
    parts = (second[np.isclose(second[by].astype(float), treated)], second[is_control])
    one, other = (part.set_index("parent").sort_index() for part in parts)
    both = one.index.intersection(other.index)
    return one.loc[both], other.loc[both]


def _at_end(claim: str, tables: Tables, which: tuple[int, ...], *, learned: bool) -> Claim:
    """Trapped networks at the confidence nearest to `RESET` against the one they were trapped at."""
    runs = outcomes(tables.runs)
    stuck, first = trapped(runs), runs[runs["phase"] == 1]
    second = runs[runs["parent"].isin(stuck["run_id"])]
    values = np.sort(second["confidence"].unique().astype(float))
    trapped_at = float(first["confidence"].iloc[0])
    tried, same = (float(values[np.abs(np.log(values / of)).argmin()]) for of in (RESET, trapped_at))
    lower, control = _pairs(second, "confidence", tried, same)
    good = [
        (part["outcome"] == "learned" if learned else part["final_accuracy"] > PLATEAU_ACCURACY).to_numpy()
        for part in (lower, control)
    ]
    what = "learned" if learned else "right at more than half of the steps"
    also = " and ".join(f"{int((part['outcome'] == 'learned').sum())}" for part in (lower, control))
    comparison = f"at c = {tried:.3g}", f"at c = {same:g} as before"
    before = f"{len(stuck)} of {len(first)} trapped; at the last epoch {what}: "
    return _compared(claim, before, good, comparison, "" if learned else f"; {also} have learned", which)


def _compared(
    claim: str, before: str, good: Sequence[np.ndarray], names: Sequence[str], more: str, which: tuple[int, ...]
) -> Claim:
    """Pairs of networks, changed and not: it holds where more than half of the changed succeed, and more than not."""
    gained, lost, p = mcnemar(*good)
    n = len(good[0])
    shares = [float(part.mean()) if n else 0.0 for part in good]
    low, high = paired_difference(gained, lost, n)
    return Claim(
        "fig8",
        claim,
        f"{before}{', '.join(f'{int(part.sum())} of {n} {name}' for part, name in zip(good, names, strict=True))} "
        f"(McNemar, {p_text(p)}){more}",
        shares[0] - shares[1],
        bool(shares[0] > 0.5 and gained > lost and p < SIGNIFICANT),
        which,
        low=low,
        high=high,
        p_value=p,
        n_seeds=n,
    )


def _reset(trained: Tables, control: Tables) -> Claim:
    """Networks that trained their confidence: reset to 1, against going on as they are, from the same ends."""
    runs, others = outcomes(trained.runs), outcomes(control.runs)
    stuck = trapped(runs)
    reset = runs[runs["parent"].isin(stuck["run_id"])].set_index("begins_from")
    alone = others[(others["phase"] == 2) & others["parent"].isin(stuck["run_id"])].set_index("begins_from")
    both = reset.index.intersection(alone.index)
    good = [(part.loc[both, "outcome"] == "learned").to_numpy() for part in (reset, alone)]
    return _compared(
        "networks that were trapped while they trained their confidence learn when it is reset to 1",
        f"{len(stuck)} of {int((runs['phase'] == 1).sum())} trapped; learned in the end: ",
        good,
        ("reset", "going on as they are"),
        "",
        (1, 4),
    )


def _readout(tables: Tables) -> Claim:
    """Scaled-down readouts against the same networks left alone, by more right steps than any constant output has.

    Of the networks that had not learned; the p-value of the best scale is multiplied by how many were tried.
    """
    runs = with_fields(outcomes(tables.runs), ["readout_l1"])
    stuck = runs[(runs["phase"] == 1) & (runs["outcome"] != "learned")]
    second = runs[runs["parent"].isin(stuck["run_id"])]
    constant = _constant_accuracy(runs)
    scales = sorted(second["readout_l1"].dropna().unique())
    claim = "full-rank networks do better with a scaled-down readout than left alone"
    if not scales:
        return Claim("fig8", claim, "no readout was scaled", np.nan, False, (2,))
    found, texts = [], []
    for scale in scales:
        scaled, alone = _pairs(second, "readout_l1", scale, None)
        good = [(part["final_accuracy"] > constant + 1e-6).to_numpy() for part in (scaled, alone)]
        gained, lost, p = mcnemar(*good)
        found.append((min(1.0, p * len(scales)), good[0].mean() - good[1].mean(), gained, lost, len(alone), good))
        texts.append(f"{good[0].mean():.2f} (scaled to {scale:g})")
    p, gain, gained, lost, n, good = min(found, key=lambda one: (one[2] <= one[3], one[0], -one[1]))
    low, high = paired_difference(gained, lost, n)
    return Claim(
        "fig8",
        claim,
        f"share right, at the last epoch, at more steps than a constant output ({constant:.2f}): {', '.join(texts)}; "
        f"{good[1].mean():.2f} left alone; the best, {n} pairs, McNemar times {len(scales)}: {p_text(p)}",
        float(gain),
        bool(gain > 0 and p < SIGNIFICANT),
        (2,),
        low=low,
        high=high,
        p_value=p,
        n_seeds=n,
    )


def _constant_accuracy(runs: pd.DataFrame) -> float:
    """Share of the steps of delayed cue discrimination before the reaction, where output 0 is right."""
    steps = runs[["input_ms", "delay_ms", "reaction_ms"]].iloc[0].astype(float)
    return float(1.0 - steps["reaction_ms"] / steps.sum())
