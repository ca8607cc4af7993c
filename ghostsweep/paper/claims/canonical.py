"""Claims of Figs. 1 and 2: the canonical form."""

import numpy as np
from scipy.stats import spearmanr

from ghostsweep import theory
from ghostsweep.analysis.critical import critical_lr
from ghostsweep.analysis.outcomes import outcomes
from ghostsweep.analysis.power_law import fit_power_law
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, p_text, upper
from ghostsweep.store.tables import Tables


def fig1() -> list[Claim]:
    """A ghost has no fixed point and is slow all the same (Fig. 1)."""
    x = np.linspace(-1, 1, 2001)
    ghost, pair = x**2 + 0.5, x**2 - 0.5
    crossings = [int(np.count_nonzero(np.diff(np.sign(flow)))) for flow in (ghost, pair)]
    slow = float(ghost.min() / np.abs(ghost).max())
    return [
        Claim(
            "fig1",
            "past the bifurcation no fixed point is left, but a slow place (a ghost) is",
            f"{crossings[0]} fixed points at r = 0.5 and {crossings[1]} at r = -0.5; speed at the ghost "
            f"{slow:.2g} of the largest",
            slow,
            crossings == [0, 2] and slow < 0.5,
            kind="check",
        )
    ]


def fig2(trajectories: Tables, loss_vs_lr: Tables, scaling: Tables) -> list[Claim]:
    """The canonical form has a critical learning rate, 3 pi^4 / 32 T^-5 (Fig. 2)."""
    found = outcomes(trajectories.runs).sort_values("learning_rate")
    first, last = found.iloc[0], found.iloc[-1]
    timescale = float(loss_vs_lr.runs["timescale"].iloc[0])
    exact = float(theory.critical_lr(timescale))
    onset = upper(critical_lr(loss_vs_lr.runs, share=0)).iloc[0]
    below = outcomes(loss_vs_lr.runs).query("learning_rate < @exact and outcome == 'learned'")
    floor = below.groupby("learning_rate")["recent_mean_loss"].mean()
    rising = spearmanr(floor.index, floor)
    along = upper(critical_lr(scaling.runs, share=0))
    law = fit_power_law(along).iloc[0]
    etas = theory.eta(along["lr_critical"], along["timescale"])
    return [
        Claim(
            "fig2",
            "a low rate learns, a rate ten times higher throws r into the no-learning zone",
            f"lr {first['learning_rate']:.2g}: {first['outcome']}, loss {first['recent_mean_loss']:.2g}; "
            f"lr {last['learning_rate']:.2g}: {last['outcome']}, {last['recent_mean_loss']:.2g}",
            float(first["recent_mean_loss"]),
            first["outcome"] == "learned" and last["outcome"] == "trapped",
            (0,),
        ),
        Claim(
            "fig2",
            f"collapse begins at the critical rate 3 pi^4 / 32 T^-5 = {exact:.3g} (T = {timescale:g})",
            f"first trapped run between {onset['lr_below']:.3g} and {onset['lr_above']:.3g}",
            float(onset["lr_critical"]),
            # Above the exact rate few of the starts are trapped at first, below it none.
            bool(exact < onset["lr_above"] and onset["lr_below"] < 1.1 * exact),
            (1,),
            low=float(onset["lr_below"]),
            high=float(onset["lr_above"]),
            n_seeds=int(onset["n_seeds"]),
        ),
        Claim(
            "fig2",
            "below it the loss floor grows with the learning rate (oscillation about the minimum)",
            f"rank correlation of loss and rate, {len(floor)} rates that learned: {rising.statistic:.3f}, "
            f"{p_text(rising.pvalue)}",
            float(rising.statistic),
            bool(rising.statistic > 0 and rising.pvalue < SIGNIFICANT),
            (1,),
            p_value=float(rising.pvalue),
        ),
        Claim(
            "fig2",
            "the critical rate is an inverse power law of T, with the exponent -5",
            f"exponent {law['exponent']:.3f} over {len(along)} timescales, of a map that is the same at each",
            float(law["exponent"]),
            bool(law["exponent_low"] <= -5 <= law["exponent_high"]),
            (2,),
            "check",  # the map has one scale parameter, so that every timescale has the same boundary
        ),
        Claim(
            "fig2",
            "one scale parameter: the boundary is at eta = 3/4 at every T",
            f"eta from {etas.min():.3f} to {etas.max():.3f}",
            float(np.median(etas)),
            bool(np.all(np.abs(etas / theory.CRITICAL_ETA - 1) < 0.1)),
            (2,),
            "check",
        ),
    ]
