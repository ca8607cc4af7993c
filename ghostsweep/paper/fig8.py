"""Figure 8 of the paper: a lower output confidence brings back the gradient, and trapped networks with it."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.store.tables import Tables

TIMESCALE = 100.0
CONFIDENCES = (0.01, 0.1, 0.5, 1.0, 2.0)


def fig8(confidence: Tables, trained: Tables, readout: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 8 from three sweeps of two phases; their curves are mean +- sem over networks.

    (a) |dL/dr| of the canonical form over its maximum against r, simulated at `CONFIDENCES` and in closed form.
    confidence: (b) of the networks trapped in the first phase (`analysis.trapped`), accuracy and gradient norm in
    the last epoch of the second phase against its confidence. trained: (b2) accuracy and loss against epoch, the
    confidence reset in between. readout: (c) accuracy against epoch, of the second phase a line per readout_l1, of
    which null is left alone. width: inches. Raises UsageError for an empty table, missing columns, a sweep that has
    not two phases, and a first phase of (b) that trapped no network.
    """
    for tables, panel in ((confidence, "b"), (trained, "b2"), (readout, "c")):
        _require_phases(tables.runs, f"Figure 8{panel}, runs")
    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 5.4 if wide else 9.8)
        grid = fig.add_gridspec(2, 2) if wide else fig.add_gridspec(4, 1, height_ratios=[1.1, 1.6, 1, 1.1])
        a, b2, c = (fig.add_subplot(grid[i]) for i in (0, 2, 3))
        halves = grid[1].subgridspec(2, 1)
        accuracy, gradient = fig.add_subplot(halves[0]), fig.add_subplot(halves[1])
        accuracy.sharex(gradient)
        fig.align_ylabels([accuracy, gradient])
        _gradients(a)
        remarks = [
            "a: grey: the no-learning zone, where the closed form is 0. Simulated outputs switch on in whole steps, so "
            "their gradients oscillate.",
            "b, b2, c: mean ± sem over networks.",
        ]
        remarks += _recovery(accuracy, gradient, confidence.runs)
        remarks += _reset(b2, trained)
        remarks += _scaled(c, readout)
        for ax, letter in ((a, "a"), (accuracy, "b"), (b2, "b2"), (c, "c")):
            style.panel_letter(ax, letter)
        for tables, panel in ((confidence, "b"), (trained, "b2"), (readout, "c")):
            remarks.append(style.scale(tables, panel))
        style.remark(fig, remarks)
    return fig


_OF_RUNS = ["run_id", "parent", "phase", "first_epoch", "epochs", "confidence", "readout_l1", "status"]
_OF_RUNS += ["max_accuracy", "recent_max_accuracy", "final_accuracy", "final_grad_norm"]


def _require_phases(runs: pd.DataFrame, what: str) -> None:
    runs = style.require_runs(runs, _OF_RUNS, what)
    if (phases := sorted(runs["phase"].unique().tolist())) != [1, 2]:
        raise UsageError(f"{what}: needs runs of the phases 1 and 2, found {phases}")
    style.single_value(runs[runs["phase"] == 2], "first_epoch", f"{what} of phase 2")


def _mean_line(ax: Axes, table: pd.DataFrame, x: str, value: str, **look: Any) -> None:
    """Mean of the finite values against x, and a band of +- sem; a single value has none."""
    mean = analysis.mean_sem(table[np.isfinite(table[value].to_numpy(dtype=float))], [x], value)
    at, middle = mean[x].to_numpy(dtype=float), mean["mean"].to_numpy(dtype=float)
    sem = mean["sem"].fillna(0.0).to_numpy(dtype=float)
    (line,) = ax.plot(at, middle, **look)
    ax.fill_between(at, middle - sem, middle + sem, color=line.get_color(), alpha=0.25, linewidth=0)


def _gradients(ax: Axes) -> None:
    """Panel a: the size of the gradient on [-r*, 2 r*], closed form and simulated."""
    best = float(theory.optimum(TIMESCALE))
    r = np.linspace(-best, 2 * best, 301)
    ax.axvspan(-1, 0.25, color=style.MUTED, alpha=0.15, linewidth=0)
    for a, color in style.ordered_colors(CONFIDENCES).items():
        size = np.abs(theory.simulated_gradient(r, TIMESCALE, a))
        ax.plot(r / best, size / size.max(), color=color, linewidth=0.8, label=f"a = {a:g}")
    size = np.abs(theory.gradient(r, TIMESCALE))
    size[size == 0] = np.nan
    ax.plot(r / best, size / np.nanmax(size), color="black", linestyle="--", label="closed form")
    ax.set_xlim(-1, 2)
    ax.set_yscale("log")
    ax.set_ylim(1e-12, 3)
    ax.set_xlabel("r / r*")
    ax.set_ylabel("|dL/dr| / its maximum")
    ax.legend(loc="lower right")


def _recovery(accuracy: Axes, gradient: Axes, runs: pd.DataFrame) -> list[str]:
    """Panel b: what trapped networks reach at another confidence; return remarks."""
    first, caught = runs[runs["phase"] == 1], analysis.trapped(runs)
    if caught.empty:
        raise UsageError(f"Figure 8b, runs: needs networks trapped in the first phase, found 0 of {len(first)}")
    then = runs[runs["parent"].isin(caught["run_id"])]
    before = float(style.single_value(first, "confidence", "Figure 8b, runs of phase 1"))
    _mean_line(accuracy, then, "confidence", "final_accuracy", color=style.QUANTITY_COLORS["accuracy"])
    _mean_line(gradient, then, "confidence", "final_grad_norm", color=style.QUANTITY_COLORS["gradient"])
    for ax in (accuracy, gradient):
        ax.axvline(before, color=style.MUTED, linestyle=":", linewidth=0.9)
    accuracy.set_ylabel("accuracy")
    gradient.set_ylabel("gradient norm")
    accuracy.axhline(analysis.PLATEAU_ACCURACY, color=style.MUTED, linewidth=0.6)
    accuracy.tick_params(labelbottom=False)
    gradient.set_yscale("log")
    style.log_axis(gradient.xaxis, then["confidence"].min() / 1.1, then["confidence"].max() * 1.1)
    gradient.set_xlabel("confidence c of the second phase")
    epochs = int(style.single_value(then, "epochs", "Figure 8b, runs of phase 2"))
    return [
        f"b: networks trapped at c = {before:g} (dotted), {len(caught)} of {len(first)}: accuracy and gradient norm "
        f"in the last of {epochs:,} epochs at each confidence.",
        *style.left_out(int((then["status"] == "diverged").sum()), len(then), "from where they diverge", "b"),
    ]


def _over_epochs(tables: Tables, columns: list[str], what: str) -> tuple[pd.DataFrame, list[str]]:
    """The curves with fields of their runs and `total`, the epochs before and in the phase; and remarks."""
    style.require(tables.curves, ["run_id", "epoch", *columns], f"{what}, curves")
    runs = style.require_runs(tables.runs, _OF_RUNS, f"{what}, runs")
    runs = runs[["run_id", "phase", "first_epoch", "readout_l1", "status"]]
    table = tables.curves[["run_id", "epoch", *columns]].merge(runs, on="run_id")
    lost = int((runs["status"] == "diverged").sum())
    remarks = style.left_out(lost, len(runs), "from where they diverge", what.removeprefix("Figure 8"))
    return table.assign(total=table["first_epoch"] + table["epoch"]), remarks


def _reset(ax: Axes, tables: Tables) -> list[str]:
    """Panel b2: accuracy and loss while the confidence is trained, and after its reset; return remarks."""
    table, remarks = _over_epochs(tables, ["accuracy", "loss"], "Figure 8b2")
    for column in ("accuracy", "loss"):
        for phase, rows in table.groupby("phase"):
            label = column if phase == 1 else None
            _mean_line(ax, rows, "total", column, color=style.QUANTITY_COLORS[column], label=label)
    runs, caught = tables.runs, analysis.trapped(tables.runs)
    then = runs[runs["parent"].isin(caught["run_id"])]
    to = float(style.single_value(runs[runs["phase"] == 2], "confidence", "Figure 8b2, runs of phase 2"))
    _phase_mark(ax, runs, f"c reset to {to:g}")
    ax.set_ylabel("accuracy, loss")
    ax.set_ylim(bottom=0)
    ax.legend(loc="best")
    freed = int((then["final_accuracy"] > analysis.PLATEAU_ACCURACY).sum())
    n_first = int((runs["phase"] == 1).sum())
    return [
        f"b2: c is trained too; {len(caught)} of {n_first} networks were trapped at its reset, {freed} of these end "
        f"above accuracy {analysis.PLATEAU_ACCURACY:g}.",
        *remarks,
    ]


def _scaled(ax: Axes, tables: Tables) -> list[str]:
    """Panel c: accuracy before and after the readout is scaled down; return remarks."""
    table, remarks = _over_epochs(tables, ["accuracy"], "Figure 8c")
    _mean_line(ax, table[table["phase"] == 1], "total", "accuracy", color="black")
    second = table[table["phase"] == 2]
    for scale, color in style.ordered_colors(second["readout_l1"].dropna().unique().tolist()).items():
        _mean_line(ax, second[second["readout_l1"] == scale], "total", "accuracy", color=color, label=f"{scale:g}")
    if (alone := second["readout_l1"].isna()).any():
        _mean_line(ax, second[alone], "total", "accuracy", color="black", linestyle="--", label="left alone")
    _phase_mark(ax, tables.runs, "readout scaled")
    ax.set_ylabel("accuracy")
    ax.set_ylim(0, 1)
    ax.legend(title="$|w_{out}|_1$", loc="lower right", ncols=3, handlelength=1.2, columnspacing=1.0)
    return remarks


def _phase_mark(ax: Axes, runs: pd.DataFrame, text: str) -> None:
    """A line where the second phase begins."""
    at = int(runs.loc[runs["phase"] == 2, "first_epoch"].iloc[0])
    ax.axvline(at, color=style.MUTED, linestyle=":", linewidth=0.9)
    ax.text(at, 1.02, text, transform=ax.get_xaxis_transform(), ha="center", fontsize=7)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.epoch_text(round(value))))
    ax.set_xlim(left=0)
