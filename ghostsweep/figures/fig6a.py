"""Figure 6a of the paper: loss against learning rate at several epochs, rank-one and full-rank networks."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import analysis
from ghostsweep.analysis import cell_fields
from ghostsweep.errors import UsageError
from ghostsweep.figures import style

EPOCHS = (10_000, 20_000, 30_000, 50_000, 100_000, 200_000)


class Tables(Protocol):
    """The finished tables of one sweep."""

    @property
    def runs(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...


def fig6a(rank_one: Tables, full: Tables | None = None, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw loss against learning rate, mean +- sem over seeds, a colour per epoch of `EPOCHS` (Fig. 6a).

    rank_one, full: the tables of each network's sweep; full adds a second panel. Epochs of the list that were
    not recorded are missing, and the figure says so. width: inches. Raises UsageError for an empty table,
    missing columns, or runs that differ in more than learning rate and seed.
    """
    return _panels([("rank one", rank_one)] + ([("full rank", full)] if full is not None else []), EPOCHS, width)


def loss_against_learning_rate(
    tables: Tables, title: str, prefer: Sequence[int] = (), *, width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw loss against learning rate as Fig. 6a does, for any sweep, at up to six of its recorded epochs.

    Epochs of the list `prefer` come first, where they were recorded.

    Raises UsageError for an empty table, missing columns, or runs that differ in more than learning rate and seed.
    """
    style.require(tables.curves, ["epoch"], f"{title}, curves")
    recorded = np.sort(tables.curves["epoch"].unique())
    preferred = [epoch for epoch in prefer if epoch in recorded][-6:]
    if preferred:
        return _panels([(title, tables)], tuple(preferred), width)
    recorded = recorded[recorded > 0] if len(recorded) > 1 else recorded
    ends = np.geomspace(max(recorded[-1] / 30, recorded[0], 1), max(recorded[-1], 1), 6)
    nearest = {int(recorded[np.abs(np.log(np.maximum(recorded, 1) / end)).argmin()]) for end in ends}
    return _panels([(title, tables)], tuple(sorted(nearest)), width)


def _panels(parts: list[tuple[str, Tables]], wanted: tuple[int, ...], width: float) -> Figure:
    epochs = {name: recorded_epochs(tables, wanted, name) for name, tables in parts}
    colors = style.ordered_colors(sorted(set(wanted) | {e for some in epochs.values() for e in some}))
    with style.rc():
        side_by_side = width > style.ONE_COLUMN
        n_rows, n_columns = (1, len(parts)) if side_by_side else (len(parts), 1)
        fig = style.new_figure(width, 0.9 + (2.2 if side_by_side else 2.0) * n_rows)
        axes = fig.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        remarks = []
        for ax, (name, tables) in zip(axes, parts, strict=True):
            remarks += loss_against_rate(ax, tables, epochs[name], colors, name)
            remarks += missing_epochs(epochs[name], wanted, name)
            ax.set_title(name)
            ax.set_ylabel("" if ax is not axes[0] and side_by_side else "loss")
        lines = {line.get_label(): line for ax in axes for line in ax.get_lines()}
        shown = [lines[style.epoch_text(e)] for e in sorted({e for some in epochs.values() for e in some})]
        n_legend = min(len(shown), 6 if side_by_side else 3)
        fig.legend(handles=shown, title="epoch (mean ± sem)", loc="outside upper center", ncols=n_legend)
        style.remark(fig, remarks)
    return fig


def recorded_epochs(tables: Tables, wanted: tuple[int, ...], what: str) -> list[int]:
    """Return the wanted epochs that curves holds, or else the last recorded one; check both tables first."""
    style.require(tables.runs, ["run_id", "learning_rate", "seed", "timescale"], f"{what}, runs")
    style.require(tables.curves, ["run_id", "epoch", "loss"], f"{what}, curves")
    present = set(tables.curves["epoch"].unique().tolist())
    return [e for e in wanted if e in present] or [int(max(present))]


def missing_epochs(shown: list[int], wanted: tuple[int, ...], name: str) -> list[str]:
    """Return the remark that some of the wanted epochs were not recorded, or nothing."""
    missing = [e for e in wanted if e not in shown]
    if not missing:
        return []
    have, lack = (", ".join(map(style.epoch_text, some)) for some in (shown, missing))
    return [f"{name}: epochs {lack} not recorded; shown: {have}."]


def loss_against_rate(
    ax: Axes, tables: Tables, epochs: list[int], colors: Mapping[float, style.Color], what: str
) -> list[str]:
    """Draw mean +- sem of the loss over seeds against the learning rate, a line per epoch; return remarks.

    Runs without a finite loss at an epoch are left out there, and counted in the remarks.
    """
    runs = tables.runs
    for field in cell_fields(runs):
        if field != "learning_rate" and runs[field].nunique(dropna=False) > 1:
            values = sorted(runs[field].dropna().unique().tolist())[:6]
            raise UsageError(f"{what}: runs may differ in learning_rate and seed only, found {field} = {values}")
    curves = tables.curves[tables.curves["epoch"].isin(epochs)]
    # Every run at every epoch, so that a run whose record ends early counts as left out.
    wanted = runs[["run_id", "learning_rate"]].merge(pd.DataFrame({"epoch": epochs}), how="cross")
    table = wanted.merge(curves[["run_id", "epoch", "loss"]], on=["run_id", "epoch"], how="left")
    finite = np.isfinite(table["loss"].to_numpy(dtype=float))
    mean = analysis.mean_sem(table[finite], ["epoch", "learning_rate"], "loss")
    for epoch in epochs:
        line = mean[mean["epoch"] == epoch].sort_values("learning_rate")
        at, middle = line["learning_rate"].to_numpy(dtype=float), line["mean"].to_numpy(dtype=float)
        sem = line["sem"].fillna(0.0).to_numpy(dtype=float)  # one seed has no standard error
        marker = "." if len(at) == 1 else ""
        ax.plot(at, middle, color=colors[epoch], marker=marker, label=style.epoch_text(epoch))
        ax.fill_between(at, middle - sem, middle + sem, color=colors[epoch], alpha=0.25, linewidth=0)
    rates = runs["learning_rate"].to_numpy(dtype=float)
    style.log_axis(ax.xaxis, rates.min() / 1.1, rates.max() * 1.1)
    ax.set_xlabel(style.label(runs, "learning_rate"))
    lost = table.loc[~finite, "run_id"].nunique()
    return style.left_out(lost, len(runs), "no finite loss at a shown epoch", where=what.split(", ")[-1])
