"""The claims of the paper, each tested on the tables of the figure that it belongs to.

A function per figure, tables in, claims out. What is said to hold is what these runs show, at their scale: a claim
that fails is a row like any other. Losses are means of the last 50 epochs.
"""

from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ghostsweep import theory
from ghostsweep.analysis.band import learnable_band
from ghostsweep.analysis.critical import COLLAPSED, critical_lr
from ghostsweep.analysis.fixed_points import fixed_points_over_training
from ghostsweep.analysis.outcomes import PLATEAU_ACCURACY, outcomes, trapped
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.scaling import compare_scaling
from ghostsweep.analysis.snapshots import count_points, network_snapshots

PLATEAU_LOSS = 0.9
"""A loss above this share of its first value is on the plateau."""


class Results(Protocol):
    """The finished tables of one sweep."""

    @property
    def runs(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...
    def snapshots(self, run_id: str) -> dict[str, np.ndarray]: ...


class Claim(NamedTuple):
    """One claim: the figure it belongs to, what it says, what was measured, that as one number, whether it holds.

    `tables` says by position which of the tables given it was measured on; None: all of them.
    """

    figure: str
    claim: str
    measured: str
    value: float
    holds: bool
    tables: tuple[int, ...] | None = None


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
        )
    ]


def fig2(trajectories: Results, loss_vs_lr: Results, scaling: Results) -> list[Claim]:
    """The canonical form has a critical learning rate, 3 pi^4 / 32 T^-5 (Fig. 2)."""
    found = outcomes(trajectories.runs).sort_values("learning_rate")
    first, last = found.iloc[0], found.iloc[-1]
    timescale = float(loss_vs_lr.runs["timescale"].iloc[0])
    exact = float(theory.critical_lr(timescale))
    onset = _upper(critical_lr(loss_vs_lr.runs, share=0)).iloc[0]
    below = outcomes(loss_vs_lr.runs).query("learning_rate < @exact and outcome == 'learned'")
    floor = below.groupby("learning_rate")["recent_mean_loss"].mean()
    rising = float(spearmanr(floor.index, floor).statistic)
    upper = _upper(critical_lr(scaling.runs, share=0))
    law = fit_power_law(upper).iloc[0]
    etas = theory.eta(upper["lr_critical"], upper["timescale"])
    return [
        Claim(
            "fig2",
            "a low rate learns, a rate ten times higher throws r into the no-learning zone",
            f"lr {first['learning_rate']:.2g}: {first['outcome']}, loss {first['recent_mean_loss']:.2g}; "
            f"lr {last['learning_rate']:.2g}: {last['outcome']}, {last['recent_mean_loss']:.2g}",
            float(first["recent_mean_loss"]),
            first["outcome"] == "learned" and last["outcome"] == "thrown",
        ),
        Claim(
            "fig2",
            f"collapse begins at the critical rate 3 pi^4 / 32 T^-5 = {exact:.3g} (T = {timescale:g})",
            f"first trapped run between {onset['lr_below']:.3g} and {onset['lr_above']:.3g}",
            float(onset["lr_critical"]),
            # Above the exact rate few of the starts are trapped at first, below it none.
            exact < onset["lr_above"] and onset["lr_below"] < 1.1 * exact,
        ),
        Claim(
            "fig2",
            "below it the loss floor grows with the learning rate (oscillation about the minimum)",
            f"rank correlation of loss and rate, {len(floor)} rates that learned: {rising:.3f}",
            rising,
            rising > 0.9,
        ),
        Claim(
            "fig2",
            "the critical rate is an inverse power law of T, with the exponent -5",
            f"exponent {law['exponent']:.4f} ({law['exponent_low']:.4f} to {law['exponent_high']:.4f}) over "
            f"{len(upper)} timescales",
            float(law["exponent"]),
            law["exponent_low"] <= -5 <= law["exponent_high"],
        ),
        Claim(
            "fig2",
            "one scale parameter: the boundary is at eta = 3/4 at every T",
            f"eta from {etas.min():.3f} to {etas.max():.3f}",
            float(np.median(etas)),
            bool(np.all(np.abs(etas / theory.CRITICAL_ETA - 1) < 0.1)),
        ),
    ]


def fig6(rank_one: Results, full: Results, rank: Results, timescales: Results) -> list[Claim]:
    """Networks have a critical learning rate too; rank widens the range of rates that learn (Fig. 6)."""
    upper = _upper(critical_lr(rank_one.runs)).iloc[0]
    collapsed = outcomes(rank_one.runs).query("learning_rate > @upper.ci_high")["outcome"].isin(COLLAPSED).mean()
    narrow, wide = (learnable_band(tables.runs).iloc[0] for tables in (rank_one, full))
    band = learnable_band(rank.runs).sort_values("rank")
    rising = float(spearmanr(band["rank"], band["lr_high"]).statistic)
    along = _upper(critical_lr(timescales.runs))
    along = along[along["censored"] == ""]
    law, ends = fit_power_law(along).iloc[0], local_exponent(along)["exponent"].to_numpy()
    rivals = compare_scaling(along)
    rejected = bool((rivals["decisive"] & rivals["best"] & (rivals["law"] != "power")).any())
    return [
        Claim(
            "fig6",
            "rank-one networks collapse above a critical rate",
            f"half of the seeds at {_interval(upper)}; above, {collapsed:.0%} of runs",
            float(upper["lr_critical"]),
            collapsed > 0.5,
            (0,),
        ),
        Claim(
            "fig6",
            "it falls with the timescale as a power law",
            f"exponent {law['exponent']:.2f} ({law['exponent_low']:.2f} to {law['exponent_high']:.2f}) over T = "
            f"{along['timescale'].min():g} to {along['timescale'].max():g}; local exponents between {ends.min():.2f} "
            f"and {ends.max():.2f}, the canonical form has -5; a power law is {'' if rejected else 'not '}rejected "
            "against an exponential and a knee",
            float(law["exponent"]),
            law["exponent_high"] < 0 and not rejected,
            (3,),
        ),
        Claim(
            "fig6",
            "a full-rank network learns over a wider range of rates than a rank-one network",
            f"{_band(wide)} against {_band(narrow)}",
            float(wide["width_decades"] - narrow["width_decades"]),
            wide["width_decades"] > narrow["width_decades"],
            (0, 1),
        ),
        Claim(
            "fig6",
            "more trainable rank raises the rates that learn",
            "highest rate at which half of the seeds learn: "
            + ", ".join(f"{row.lr_high:.2g} (K = {row.rank:g})" for row in band.itertuples()),
            rising,
            rising > 0.7,
            (2,),
        ),
    ]


def fig7(dcdt: Results, dmts: Results, *_: Results) -> list[Claim]:
    """Full-rank networks on cue tasks collapse above a critical rate, with vanished gradients (Fig. 7)."""
    claims = []
    for name, tables in (("delayed cue discrimination", dcdt), ("delayed match to sample", dmts)):
        upper = _upper(critical_lr(tables.runs)).iloc[0]
        found = outcomes(tables.runs)
        above = found.query("learning_rate > @upper.ci_high")
        best = found.query("outcome == 'learned'")["mean_grad_norm"].median()
        vanished = float(above["recent_mean_grad_norm"].median() / best)
        claims.append(
            Claim(
                "fig7",
                f"{name}: learning collapses above a critical rate, where the gradient vanishes",
                f"half of {upper['n_seeds']} seeds at {_interval(upper)}; above, {_share(above, COLLAPSED):.0%} of "
                f"runs, final gradient {vanished:.1e} of the mean one of runs that learn",
                float(upper["lr_critical"]),
                upper["censored"] == "" and _share(above, COLLAPSED) > 0.5 and vanished < 0.1,
            )
        )
    return claims


def _upper(critical: pd.DataFrame) -> pd.DataFrame:
    return critical[critical["boundary"] == "upper"]


def _share(runs: pd.DataFrame, names: tuple[str, ...]) -> float:
    return float(runs["outcome"].isin(names).mean())


def _interval(row: pd.Series) -> str:
    return f"{row['lr_critical']:.2g} ({row['ci_low']:.2g} to {row['ci_high']:.2g})"


def _band(row: pd.Series) -> str:
    at_least = "at least " if row["censored"] else ""
    return f"{at_least}{row['width_decades']:.1f} decades ({row['lr_low']:.2g} to {row['lr_high']:.2g})"


def fig3(learns: Results, collapses: Results) -> list[Claim]:
    """Abrupt learning needs no bifurcation; a higher rate collapses after it (Fig. 3)."""
    claims = []
    for tables in (learns, collapses):
        run = outcomes(tables.runs).iloc[0]
        curve = tables.curves.sort_values("epoch")
        loss = curve["loss"] / run["initial_loss"]
        first = {level: float(curve.loc[loss < level, "epoch"].min()) for level in (PLATEAU_LOSS, 0.5)}
        rate = f"lr {run['learning_rate']:g}"
        counted = fixed_points_over_training(tables.snapshots(run["run_id"]))
        learned = run["learned_epoch"]
        before = counted.loc[counted["epoch"] <= learned, "n_fixed_points"]
        changes = counted.loc[counted["n_fixed_points"].diff().fillna(0) != 0, "epoch"]
        later = f"the first change is at epoch {changes.iloc[0]:,}" if len(changes) else "nor does it change after"
        claims += [
            Claim(
                "fig3",
                f"a long plateau, then an abrupt drop ({rate})",
                f"loss below {PLATEAU_LOSS} of its first value at epoch {first[PLATEAU_LOSS]:,.0f}, below 0.5 at "
                f"{first[0.5]:,.0f}",
                first[PLATEAU_LOSS],
                first[0.5] < 1.2 * first[PLATEAU_LOSS],
            ),
            Claim(
                "fig3",
                f"no bifurcation comes before learning ({rate})",
                f"{before.min()} fixed point(s) at each of {len(before):,} epochs up to {learned:,.0f}, where the loss "
                f"is below {run['learned_loss']:g}; {later}"
                if before.nunique() == 1
                else f"{before.min()} to {before.max()} fixed points up to epoch {learned:,.0f}",
                float(before.max()),
                before.nunique() == 1,
            ),
        ]
    slow, fast = (outcomes(tables.runs).iloc[0] for tables in (learns, collapses))
    return [
        *claims,
        Claim(
            "fig3",
            "the low rate keeps what it learned, the higher one collapses after learning, without gradient",
            f"lr {slow['learning_rate']:g}: {slow['outcome']}, loss {slow['recent_mean_loss']:.2g}; lr "
            f"{fast['learning_rate']:g}: {fast['outcome']}, {fast['recent_mean_loss']:.2g}, gradient "
            f"{fast['recent_mean_grad_norm'] / fast['mean_grad_norm']:.1e} of its mean",
            float(fast["recent_mean_loss"]),
            slow["outcome"] == "learned" and fast["outcome"] == "thrown",
        ),
    ]


def fig4(dcdt: Results, dmts: Results) -> list[Claim]:
    """Ghosts in the plane of rank-2 networks on cue tasks (Fig. 4)."""
    return _cue_tasks("fig4", dcdt, dmts)


def fig5(dcdt: Results, dmts: Results) -> list[Claim]:
    """Slow points of full-rank networks on cue tasks (Fig. 5)."""
    return _cue_tasks("fig5", dcdt, dmts)


def _cue_tasks(figure: str, dcdt: Results, dmts: Results) -> list[Claim]:
    claims = []
    for name, tables in (("delayed cue discrimination", dcdt), ("delayed match to sample", dmts)):
        run = outcomes(tables.runs).iloc[0]
        counts = count_points(
            network_snapshots(tables.snapshots(run["run_id"]), {str(name): value for name, value in run.items()})
        )
        text = ", ".join(
            f"{row.fixed_points} and {row.slow_points} at epoch {row.epoch:,}" for row in counts.itertuples()
        )
        last = counts.iloc[-1]
        claims += [
            Claim(
                figure,
                f"{name}: the network learns",
                f"loss from {run['initial_loss']:.3g} to {run['recent_mean_loss']:.3g}, best accuracy "
                f"{run['max_accuracy']:.2f}",
                float(run["recent_mean_loss"]),
                run["outcome"] == "learned",
            ),
            Claim(
                figure,
                f"{name}: slow points that are no fixed points (ghosts) are there once it has learned",
                f"fixed and slow points: {text}; the one nearest to a trajectory at the end is a "
                f"{last['nearest_kind']}, at a distance of {last['nearest_distance']:.2g}",
                float(last["slow_points"]),
                run["outcome"] == "learned" and last["slow_points"] > 0,
            ),
        ]
    return claims


def fig8(confidence: Results, trained: Results, readout: Results) -> list[Claim]:
    """Lower confidence brings gradients back, and trapped networks recover (Fig. 8)."""
    r = theory.optimum(100.0) * np.linspace(-1, 2, 301)
    inside = float(0.1 * theory.optimum(100.0))
    sizes = {}
    for steepness in (0.1, 2.0):
        size = np.abs(theory.simulated_gradient(np.append(r, inside), 100.0, steepness))
        sizes[steepness] = float(size[-1] / size.max())
    first, stuck = confidence.runs.query("phase == 1"), trapped(confidence.runs)
    later = confidence.runs[confidence.runs["parent"].isin(stuck["run_id"])]
    accuracy, gradient = (later.groupby("confidence")[name].mean() for name in ("max_accuracy", "mean_grad_norm"))
    tried = accuracy.index.to_numpy(float)
    best, same = float(tried[accuracy.argmax()]), float(tried[np.abs(tried - 10.0).argmin()])
    right = (later["max_accuracy"] > PLATEAU_ACCURACY).groupby(later["confidence"]).mean()
    reset = trained.runs[trained.runs["parent"].isin(trapped(trained.runs)["run_id"])]
    back = float((reset["recent_max_accuracy"] > PLATEAU_ACCURACY).mean()) if len(reset) else np.nan
    second = readout.runs.query("phase == 2")
    scaled = dict(second.groupby("readout_l1")["recent_max_accuracy"].mean().items())
    alone = second.loc[second["readout_l1"].isna(), "recent_max_accuracy"].mean()
    gained = float(max(scaled.values()) - alone)
    return [
        Claim(
            "fig8",
            "lower confidence brings back the gradient in the no-learning zone",
            f"at r = r*/10, of the largest gradient: {sizes[0.1]:.1e} at a = 0.1, {sizes[2.0]:.1e} at a = 2",
            sizes[0.1] / max(sizes[2.0], np.finfo(float).tiny),
            sizes[0.1] > 10 * sizes[2.0],
            (),
        ),
        Claim(
            "fig8",
            "trapped rank-one networks recover at lower confidence",
            f"{len(stuck)} of {len(first)} trapped at c = 10; after 100 epochs more, {right[best]:.0%} have been right "
            f"at more than half of the steps at c = {best:.2g} (gradient {gradient[best]:.1e}), {right[same]:.0%} at "
            f"c = {same:.2g} ({gradient[same]:.1e})",
            float(right[best] - right[same]),
            len(stuck) > 0 and right[best] > 0.5 > right[same],
            (0,),
        ),
        Claim(
            "fig8",
            "networks that were trapped while they trained their confidence recover when it is reset to 1",
            f"{len(reset)} of {len(trained.runs.query('phase == 1'))} trapped; {back:.0%} of them are right at more "
            "than half of the steps in the end",
            back,
            len(reset) > 0 and back > 0.5,
            (1,),
        ),
        Claim(
            "fig8",
            "full-rank networks do better with a scaled-down readout than left alone",
            "best accuracy of the last 50 epochs, mean: "
            + ", ".join(f"{value:.2f} (scaled to {c:g})" for c, value in scaled.items())
            + f"; {alone:.2f} left alone",
            gained,
            gained > 0,
            (2,),
        ),
    ]
