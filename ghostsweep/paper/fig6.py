"""Figure 6 of the paper, delayed activation: loss against learning rate, and what rank does to learning."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import analysis
from ghostsweep.figures import style
from ghostsweep.figures.loss_vs_rate import LEGEND_TITLE, differ_only, loss_panels
from ghostsweep.store.tables import Tables

EPOCHS = (10_000, 20_000, 30_000, 50_000, 100_000, 200_000)
SHARE_BELOW = 1e-2
"""The normalised loss below which a network counts in the share of Fig. 6b."""
_N_PANELS = 4
_MOVED = 0.036


def fig6(rank_one: Tables, full: Tables, rank: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 6 from the tables of three sweeps on delayed activation.

    a: loss against learning rate of rank_one and of full, mean +- sem over seeds, a colour per epoch of `EPOCHS`;
    epochs that were not recorded are missing, and the figure says so. b, from rank, a sweep over ranks K: the loss
    over its first value against epoch, mean over seeds, at four learning rates spread evenly inside those of the
    sweep, a colour per K; and the share of networks whose last loss is below `SHARE_BELOW` of their first, against
    K, a curve per learning rate, moved by up to `_MOVED` so that none hides another. A diverged network is not below.
    width: inches.

    Raises UsageError for an empty table, missing columns, or runs that differ in more than learning rate and seed,
    those of rank also in rank.
    """
    columns = ["run_id", "rank", "learning_rate", "seed", "timescale", "epochs", "initial_loss", "final_loss"]
    style.require(rank.runs, columns, "Figure 6b, runs")
    style.require(rank.curves, ["run_id", "epoch", "loss"], "Figure 6b, curves")
    differ_only(rank.runs, ["learning_rate", "rank"], "Figure 6b")
    parts = [("rank one", rank_one), ("full rank", full)]
    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 7.0 if wide else 11.4)
        heights = [2.6, 2.2, 2.0] if wide else [4.3, 3.6, 2.6]
        above, middle, below = fig.subfigures(3, 1, squeeze=False, height_ratios=heights).ravel()
        a = above.subplots(*((1, 2) if wide else (2, 1)), sharey=True)
        curves = middle.subplots(*((1, _N_PANELS) if wide else (2, 2)), sharex=True, sharey=True).ravel()
        share = below.subplots()

        lines, remarks = loss_panels(a, parts, EPOCHS)
        above.legend(handles=lines, title=LEGEND_TITLE, loc="outside upper center", ncols=6 if wide else 3)
        remarks += _learning_curves(curves, rank)
        by_rank = curves[0].get_legend_handles_labels()
        middle.legend(*by_rank, title="rank K (mean)", loc="outside upper center", ncols=9 if wide else 5)
        _share_against_rank(share, rank.runs)
        below.legend(title="learning rate", loc="outside right upper")
        for ax in (*a[1:], *curves) if wide else curves:
            ax.label_outer()
        style.panel_letter(a[0], "a")
        style.panel_letter(curves[0], "b")
        remarks.append(
            f"b: dotted, {SHARE_BELOW:g} of the first loss. Beneath, curves are moved by up to {_MOVED:g} so that none "
            "hides another."
        )
        remarks += [style.scale(tables, f"a, {name}") for name, tables in parts] + [style.scale(rank, "b")]
        style.remark(fig, remarks)
    return fig


def _learning_curves(axes: np.ndarray, tables: Tables) -> list[str]:
    """Draw the normalised loss against epoch, a panel per learning rate and a line per rank; return remarks."""
    runs, rates = tables.runs, np.sort(tables.runs["learning_rate"].unique())
    spread = np.linspace(0, len(rates) - 1, len(axes) + 2)[1:-1]  # the outermost rates show the least
    chosen = rates[np.unique(spread.round().astype(int))]
    shown = runs.loc[runs["learning_rate"].isin(chosen), ["run_id", "learning_rate", "rank", "initial_loss"]]
    table = tables.curves[["run_id", "epoch", "loss"]].merge(shown, on="run_id")
    table["loss"] /= table["initial_loss"]
    finite = np.isfinite(table["loss"].to_numpy(dtype=float))
    mean = analysis.mean_sem(table[finite], ["learning_rate", "rank", "epoch"], "loss")
    colors = style.ordered_colors(runs["rank"].unique().tolist())
    for ax, rate in zip(axes, chosen, strict=False):
        for rank, line in mean[mean["learning_rate"] == rate].groupby("rank"):
            ax.plot(line["epoch"] + 1, line["mean"], color=colors[rank], label=f"{rank:g}")
        ax.axhline(SHARE_BELOW, color=style.MUTED, linestyle=":", linewidth=0.8, label="_")
        ax.set_title(f"lr = {style.sci(rate)}")
        style.log_axis(ax.xaxis, 1, runs["epochs"].max())
        ax.set_yscale("log")
        ax.set_xlabel("epoch + 1")
        ax.set_ylabel("loss / first loss")
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()
    return style.left_out(table.loc[~finite, "run_id"].nunique(), len(shown), "after their last finite epoch", "b")


def _share_against_rank(ax: Axes, runs: pd.DataFrame) -> None:
    """Draw the share of networks whose loss fell below `SHARE_BELOW` of the first against rank, a line per rate."""
    below = runs.assign(below=(runs["final_loss"] / runs["initial_loss"] < SHARE_BELOW).astype(float))
    share = below.groupby(["learning_rate", "rank"])["below"].mean().reset_index()
    colors = style.ordered_colors(runs["learning_rate"].unique().tolist())
    for rate, move in zip(colors, np.linspace(_MOVED, -_MOVED, len(colors)), strict=True):
        line = share[share["learning_rate"] == rate]
        ax.plot(line["rank"], line["below"] + move, "o-", color=colors[rate], label=style.sci(rate), markersize=2.5)
    style.log_axis(ax.xaxis, runs["rank"].min() / 1.1, runs["rank"].max() * 1.1)
    ax.set_ylim(-0.06, 1.06)
    ax.set_xlabel(style.label(runs, "rank"))
    ax.set_ylabel(f"share with last loss\nbelow {SHARE_BELOW:g} of the first")
