"""Networks reduced to the canonical form: s and eta along training and at its end, predicted and observed rates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style

MAX_RUNS = 6
"""Runs that are drawn along training at most."""
BLIND = 0.05
"""Ratio of the norms of the two gradients below which the loss does not see s."""


def reduction_along(
    reduction: pd.DataFrame, *, width: float = style.TWO_COLUMNS, title: str = "", note: str = ""
) -> Figure:
    """Draw s, eta and the cosine of the two gradients along training, of up to six runs.

    reduction: as `ghostsweep.reduce` returns it, of runs trained by plain gradient descent. From the first snapshot on
    at which the output of a run switches in its trial to the last; a cross on the axis where it does not switch. The
    zone below (T / end)^2, out of the trial, is grey; lines mark s = 1 and the critical eta. Several kinds of trial
    have a line each. width: inches. title, note: as in `phase_diagram`. Raises UsageError for missing columns, where no
    output switches, and for more runs.
    """
    needed = ["run_id", "epoch", "trial", "s", "eta", "eta_critical", "cosine", "seed"]
    style.require(reduction, needed, "reduction along training")
    shown = reduction[reduction["eta"].notna()]
    runs = shown["run_id"].unique()
    if not 0 < len(runs) <= MAX_RUNS:
        raise UsageError(f"reduction along training: found {len(runs)} runs with a switch; allowed: 1 to {MAX_RUNS}")
    heading, about = naming.head(title, reduction)
    with style.rc():
        fig = style.new_figure(width, 5.2)
        top, middle, bottom = fig.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
        handles = []
        for run_id, color in zip(runs, style.SERIES_COLORS, strict=False):
            own = reduction[reduction["run_id"] == run_id]
            first, last = shown.loc[shown["run_id"] == run_id, "epoch"].agg(["min", "max"])
            after = own.loc[own["epoch"] > last, "epoch"].min()
            own = own[own["epoch"].between(first, last if pd.isna(after) else after)]
            for _, rows in own.groupby("trial"):
                for ax, name in ((top, "s"), (middle, "eta"), (bottom, "cosine")):
                    ax.plot(rows["epoch"], rows[name], color=color, marker=".", markersize=2.5, linewidth=0.7)
            gone = own.loc[own["s"].isna(), "epoch"]
            if len(gone):
                top.plot(
                gone, np.full(len(gone), 0.04), "x", color=color, markersize=3, clip_on=False,
                transform=top.get_xaxis_transform(),
            )  # fmt: skip
            handles.append(Line2D([], [], color=color, label=f"seed {own['seed'].iloc[0]}"))
        edge = 1 - float(shown["eta_critical"].max())
        _decades(top, [*shown["s"].dropna(), edge / 2, 1.5])
        _decades(middle, [*shown["eta"].dropna(), 0.4])
        top.axhspan(top.get_ylim()[0], edge, color="0.85", linewidth=0, zorder=0)
        top.axhline(1, color=style.MUTED, linewidth=0.7)
        middle.axhline(float(shown["eta_critical"].max()), color="black", linestyle="--", linewidth=0.8)
        bottom.set_ylim(-1.05, 1.05)
        top.set_ylabel("s = (T / t)²")
        middle.set_ylabel("scale parameter η")
        bottom.set_ylabel("cosine")
        bottom.set_xlabel("epoch")
        for ax, letter in ((top, "a"), (middle, "b"), (bottom, "c")):
            style.panel_letter(ax, letter)
        remarks = [
            f"Grey: s < {edge:.3g}, the output switches after the end of the trial. Crosses: it does not switch. "
            "Dashed: "
            f"η = {1 - edge:.3g}, above which a canonical step from the optimum leads there. c: between the "
            "gradients of the "
            "loss and of the canonical loss."
        ]
        framing.frame(fig, title=heading, about=about, note=note, handles=handles, remarks=remarks)
    return fig


def predicted_plot(
    prediction: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    by: str = "timescale",
    predictors: Sequence[str] = ("highest", "first"),
    width: float = style.TWO_COLUMNS,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw observed critical rates against predicted ones of the same seeds, a panel for each predictor.

    prediction: of `analysis.predicted`. runs: of a sweep of rates with the same seeds. A point for each seed with the
    bracket of its threshold, a colour for each value of `by`, geometric means with their intervals on top, and the
    line on which both are equal. width: inches. title, note: as in `phase_diagram`. Raises UsageError where no seed is
    in both tables.
    """
    found = analysis.compare_predicted(prediction, runs, by=by, predictors=predictors)
    observed = analysis.seed_thresholds(runs)[["seed", by, "lr_below", "lr_above"]]
    both = prediction.merge(observed, on=["seed", by])
    both = both[(both["lr_below"] > 0) & np.isfinite(both["lr_above"])]
    colors = style.ordered_colors(sorted(both[by].unique()))
    heading, about = naming.head(title, runs)
    with style.rc():
        fig = style.new_figure(width, 3.1)
        panels = np.atleast_1d(fig.subplots(1, len(predictors), sharey=True))
        rates = both[["lr_below", "lr_above", *(f"lr_{name}" for name in predictors)]].to_numpy(float)
        low, high = rates.min() / 1.3, rates.max() * 1.3
        for ax, name, letter in zip(panels, predictors, "abcdef", strict=False):
            style.log_axis(ax.xaxis, low, high)
            style.log_axis(ax.yaxis, low, high)
            ax.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
            for value, rows in both.groupby(by):
                x = rows[f"lr_{name}"].to_numpy(float)
                ends = np.log(rows[["lr_below", "lr_above"]].to_numpy(float))
                ax.vlines(x, *np.exp(ends.T), color=colors[value], linewidth=0.8, alpha=0.5)
                row = found[(found["predictor"] == name) & (found[by] == value)].iloc[0]
                about_mean: dict[str, Any] = {}
                for axis, quantity in (("xerr", "predicted"), ("yerr", "observed")):
                    middle = row[quantity]
                    about_mean[axis] = [[middle - row[f"{quantity}_low"]], [row[f"{quantity}_high"] - middle]]
                ax.errorbar(
                    row["predicted"], row["observed"], **about_mean, marker="o", markersize=4.5, color=colors[value],
                    markeredgecolor="black", markeredgewidth=0.6, ecolor="black", elinewidth=0.8, zorder=5,
                )  # fmt: skip
            whole = found[(found["predictor"] == name) & found[by].isna()].iloc[0]
            symbol = style.symbol(runs, by)
            powers = (
                f"${symbol}^{{{whole[f'{kind}_exponent']:.2f}}}$ [{whole[f'{kind}_exponent_low']:.2f}, "
                f"{whole[f'{kind}_exponent_high']:.2f}]".replace("-", "\N{MINUS SIGN}")
                for kind in ("observed", "predicted")
            )
            said = "observed {}\npredicted {}".format(*powers)
            ax.text(0.97, 0.04, said, transform=ax.transAxes, ha="right", va="bottom", fontsize=7)
            ax.set_xlabel("predicted critical rate")
            style.panel_letter(ax, letter)
            ax.set_title(analysis.PREDICTORS[name], fontsize=8)
        panels[0].set_ylabel("observed critical rate")
        handles = [Line2D([], [], marker="o", linestyle="", color=c, label=f"{v:.3g}") for v, c in colors.items()]
        remarks = [
            "Bars: neighbouring rates between which a seed begins to collapse, at its predicted rate (η critical "
            "at a snapshot "
            f"of the same network). Circles: geometric means, {found['level'].iloc[0]:.0%} intervals over seeds. "
            "Dashed: equal."
        ]
        framing.frame(
            fig, title=heading, about=about, note=note, handles=handles, legend_title=style.label(runs, by),
            remarks=remarks,
        )  # fmt: skip
    return fig


def eta_at_end(
    ends: pd.DataFrame, *, by: str = "timescale", width: float = style.ONE_COLUMN, title: str = "", note: str = ""
) -> Figure:
    """Draw eta at the end of training against the learning rate, of runs that kept what they learned.

    ends: of `analysis.at_the_end`. A point a run and a line through the medians over seeds, a colour for each value of
    `by`; rings are runs where the loss has no gradient along s left. width: inches.
    title, note: as in `phase_diagram`. Raises UsageError where no run has learned.
    """
    style.require(ends, [by, "learning_rate", "outcome", "eta", "norm_ratio"], "eta at the end")
    kept = ends[(ends["outcome"] == "learned") & ends["eta"].notna()]
    if kept.empty:
        raise UsageError(f"eta at the end: found no run that keeps what it learned among {len(ends)}")
    colors = style.ordered_colors(sorted(kept[by].unique()))
    heading, about = naming.head(title, ends)
    with style.rc():
        fig = style.new_figure(width, 3.2)
        ax = fig.subplots()
        rates = kept["learning_rate"].to_numpy(float)
        style.log_axis(ax.xaxis, rates.min() / 1.3, rates.max() * 1.3)
        _decades(ax, [*kept["eta"], 1.0])
        for value, color in colors.items():
            rows = kept[kept[by] == value]
            blind = rows["norm_ratio"] < BLIND
            for part, face in ((rows[~blind], color), (rows[blind], "none")):
                ax.plot(
                    part["learning_rate"], part["eta"], "o", color=color, markerfacecolor=face,
                    markersize=2.8, markeredgewidth=0.6, alpha=0.8,
                )  # fmt: skip
            middle = rows.groupby("learning_rate")["eta"].median()
            ax.plot(middle.index, middle, color=color, linewidth=0.9)
        ax.axhline(theory.CRITICAL_ETA, color="black", linestyle="--", linewidth=0.8)
        ax.set_xlabel(style.label(ends, "learning_rate"))
        ax.set_ylabel("η at the end of training")
        handles = [Line2D([], [], marker="o", color=c, label=f"{v:.3g}") for v, c in colors.items()]
        remarks = [
            "Runs that keep what they learned; lines: medians over seeds. Dashed: η = 3/4. Rings: the gradient "
            "of the loss is "
            f"below {BLIND:g} of the canonical one: the loss does not see s."
        ]
        framing.frame(
            fig, title=heading, about=about, note=note, handles=handles, legend_title=style.label(ends, by),
            remarks=remarks,
        )  # fmt: skip
    return fig


def _decades(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis with room for positive values."""
    positive = [value for value in values if value > 0]
    style.log_axis(ax.yaxis, min(positive) / 1.4, max(positive) * 1.4)


def pictures(reduction: pd.DataFrame, runs: pd.DataFrame | None, title: str, note: str = "") -> "dict[str, Figure]":
    """Every figure that a reduction allows, by what its file is called after the sweep.

    runs: of the sweep of rates that it is to predict, where there is one.
    """
    found: dict[str, Figure] = {}
    numbers = [n for n in reduction.columns if n not in analysis.reduction.MEASURED and n not in ("seed", "model")]
    varying = [n for n in numbers if pd.api.types.is_numeric_dtype(reduction[n]) and reduction[n].nunique() > 1]
    by = varying[0] if varying else "timescale"
    several = reduction.groupby("run_id").size().max() > 10
    if several and 0 < reduction.loc[reduction["eta"].notna(), "run_id"].nunique() <= MAX_RUNS:
        found["reduction"] = reduction_along(reduction, title=title, note=note)
    if reduction["learning_rate"].nunique() > 1 and by in reduction:
        found["eta_end"] = eta_at_end(analysis.at_the_end(reduction), by=by, title=title, note=note)
    elif runs is not None and by in reduction:
        found["predicted"] = predicted_plot(analysis.predicted(reduction), runs, by=by, title=title, note=note)
    return found
