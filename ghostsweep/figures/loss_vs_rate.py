"""Loss against learning rate at several epochs, mean and sem over seeds: a figure of any sweep, panels of others."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis
from ghostsweep.errors import UsageError
from ghostsweep.figures import style


class Tables(Protocol):
    """The finished tables of one sweep."""

    @property
    def runs(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...


def loss_against_learning_rate(
    tables: Tables, title: str, prefer: Sequence[int] = (), *, width: float = style.TWO_COLUMNS
) -> Figure:
    """Draw loss against learning rate as Fig. 6a does, for any sweep, at up to six of its recorded epochs.

    Epochs of the list `prefer` come first, where they were recorded. width: inches.

    Raises UsageError for an empty table, missing columns, or runs that differ in more than learning rate and seed.
    """
    style.require(tables.curves, ["epoch"], f"{title}, curves")
    recorded = np.sort(tables.curves["epoch"].unique())
    wanted = tuple(epoch for epoch in prefer if epoch in recorded)[-6:]
    if not wanted:
        recorded = recorded[recorded > 0] if len(recorded) > 1 else recorded
        ends = np.geomspace(max(recorded[-1] / 30, recorded[0], 1), max(recorded[-1], 1), 6)
        nearest = {int(recorded[np.abs(np.log(np.maximum(recorded, 1) / end)).argmin()]) for end in ends}
        wanted = tuple(sorted(nearest))
    with style.rc():
        fig = style.new_figure(width, 3.1 if width > style.ONE_COLUMN else 2.9)
        lines, remarks = loss_panels([fig.subplots()], [(title, tables)], wanted)
        columns = 6 if width > style.ONE_COLUMN else 3
        fig.legend(handles=lines, title=LEGEND_TITLE, loc="outside upper center", ncols=min(len(lines), columns))
        style.remark(fig, remarks)
    return fig


LEGEND_TITLE = "epoch (mean ± sem)"


def loss_panels(
    axes: Sequence[Axes], parts: Sequence[tuple[str, Tables]], wanted: tuple[int, ...]
) -> tuple[list[Line2D], list[str]]:
    """Draw loss against learning rate at the wanted epochs, a panel per part, titled with its name.

    Epochs that a part has not recorded are missing there, and a remark says so. Returns a line per epoch, for a
    legend, and the remarks. Raises UsageError as `loss_against_rate` does.
    """
    epochs = {name: recorded_epochs(tables, wanted, name) for name, tables in parts}
    shown = sorted({epoch for some in epochs.values() for epoch in some})
    colors = style.ordered_colors(sorted({*wanted, *shown}))
    remarks = []
    for ax, (name, tables) in zip(axes, parts, strict=True):
        remarks += loss_against_rate(ax, tables, epochs[name], colors, name)
        remarks += missing_epochs(epochs[name], wanted, name)
        ax.set_title(name)
        ax.set_ylabel("loss")
    lines = {line.get_label(): line for ax in axes for line in ax.get_lines()}
    return [lines[style.epoch_text(epoch)] for epoch in shown], remarks


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
    differ_only(runs, ["learning_rate"], what)
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


def differ_only(runs: pd.DataFrame, fields: Sequence[str], what: str) -> None:
    """Raise UsageError where runs differ in more than the fields and the seed, which would be pooled in silence."""
    for field in analysis.cell_fields(runs):
        if field not in fields and runs[field].nunique(dropna=False) > 1:
            values = sorted(runs[field].dropna().unique().tolist())[:6]
            raise UsageError(f"{what}: runs may differ in {', '.join(fields)} and seed only, found {field} = {values}")
