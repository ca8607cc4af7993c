"""Loss against learning rate at several epochs, mean and sem over seeds: a figure of any sweep, panels of others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style
from ghostsweep.store.tables import Tables


def loss_against_learning_rate(
    tables: Tables,
    title: str,
    prefer: Sequence[int] = (),
    *,
    by: Sequence[str] = (),
    width: float = style.TWO_COLUMNS,
    note: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw loss against learning rate as Fig. 6a does, for any sweep, at up to six of its recorded epochs.

    Epochs of the list `prefer` come first, where they were recorded. With `by`, names of fields, as of the optimizer,
    it is drawn at the last of them alone, a line for each of their combinations. width: inches. title, note, ax: as in
    `phase_diagram`.

    Raises UsageError for an empty table, missing columns, runs that differ in more than learning rate, seed and `by`,
    or more combinations of `by` than can be told apart.
    """
    what = title.partition("\n")[0]
    style.require(tables.curves, ["epoch"], f"{what}, curves")
    runs = style.require_runs(tables.runs, [*by, "learning_rate"], f"{what}, runs")
    recorded = np.sort(tables.curves["epoch"].unique())
    wanted = tuple(epoch for epoch in prefer if epoch in recorded)[-6:]
    if not wanted:
        recorded = recorded[recorded > 0] if len(recorded) > 1 else recorded
        ends = np.geomspace(max(recorded[-1] / 30, recorded[0], 1), max(recorded[-1], 1), 6)
        nearest = {int(recorded[np.abs(np.log(np.maximum(recorded, 1) / end)).argmin()]) for end in ends}
        wanted = tuple(sorted(nearest))
    with style.rc():
        fig = style.new_figure(width, 2.5)
        panel = ax if ax is not None else fig.subplots()
        if by:
            handles, remarks = _lines_by(panel, runs, tables.curves, list(by), wanted[-1], what)
            legend_title = ""
        else:
            epochs = recorded_epochs(tables, wanted, what)
            colors = style.ordered_colors(epochs)
            remarks = loss_against_rate(panel, tables, epochs, colors, what, where="")
            handles, legend_title = panel.get_lines(), LEGEND_TITLE
        panel.set_ylabel("loss")
        heading, about = naming.head(title, tables.runs)
        if ax is not None:
            return framing.frame_axes(ax, [heading, note, legend_title], handles)
        framing.frame(
            fig, title=heading, about=about, note=note, handles=handles, legend_title=legend_title, remarks=remarks
        )
    return fig


_DASHES = ("-", "--")
MAX_LINES = len(style.SERIES_COLORS) * len(_DASHES)
"""Lines of one figure that are told apart."""


def _lines_by(
    ax: Axes, runs: pd.DataFrame, curves: pd.DataFrame, by: list[str], epoch: int, what: str
) -> tuple[list[Line2D], list[str]]:
    """Draw the loss at an epoch, a line for each combination of the fields `by`; return the lines and remarks."""
    groups = [rows for _, rows in runs.groupby(by, dropna=False, sort=False)]
    if len(groups) > MAX_LINES:
        raise UsageError(f"{what}: shows at most {MAX_LINES} lines, found {len(groups)} combinations of {by}")
    lines, lost = [], 0
    for i, rows in enumerate(groups):
        differ_only(rows, ["learning_rate"], what)
        mean, unfinite = _mean_loss(rows, curves, [epoch])
        lost += unfinite
        look = {"color": style.SERIES_COLORS[i % len(style.SERIES_COLORS)], "marker": "o", "markersize": 2.5}
        name = naming.name_of(runs, by, rows.iloc[0])
        lines.append(_line(ax, mean, name, linestyle=_DASHES[i // len(style.SERIES_COLORS)], **look))
    _rate_axis(ax, runs)
    said = f"Loss at epoch {epoch:,}: mean ± standard error over seeds."
    return lines, [said, *style.left_out(lost, len(runs), "no finite loss then")]


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
    style.require(tables.runs, ["run_id", "learning_rate", "seed"], f"{what}, runs")
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
    ax: Axes,
    tables: Tables,
    epochs: list[int],
    colors: Mapping[float, style.Color],
    what: str,
    where: str | None = None,
) -> list[str]:
    """Draw mean +- sem of the loss over seeds against the learning rate, a line per epoch; return remarks.

    Runs without a finite loss at an epoch are left out there, and counted in the remarks. what: how errors call the
    table; where: how remarks call the panel, by default the last part of `what`.
    """
    runs = tables.runs
    differ_only(runs, ["learning_rate"], what)
    mean, lost = _mean_loss(runs, tables.curves, epochs)
    for epoch in epochs:
        _line(ax, mean[mean["epoch"] == epoch], style.epoch_text(epoch), color=colors[epoch])
    _rate_axis(ax, runs)
    panel = what.split(", ")[-1] if where is None else where
    return style.left_out(lost, len(runs), "no finite loss at a shown epoch", where=panel)


def _mean_loss(runs: pd.DataFrame, curves: pd.DataFrame, epochs: list[int]) -> tuple[pd.DataFrame, int]:
    """Mean and sem of the loss over seeds at every epoch and rate, and how many runs have no finite one at some."""
    curves = curves[curves["epoch"].isin(epochs)]
    # Every run at every epoch, so that a run whose record ends early counts as left out.
    wanted = runs[["run_id", "learning_rate"]].merge(pd.DataFrame({"epoch": epochs}), how="cross")
    table = wanted.merge(curves[["run_id", "epoch", "loss"]], on=["run_id", "epoch"], how="left")
    finite = np.isfinite(table["loss"].to_numpy(dtype=float))
    mean = analysis.mean_sem(table[finite], ["epoch", "learning_rate"], "loss")
    return mean, table.loc[~finite, "run_id"].nunique()


def _line(ax: Axes, mean: pd.DataFrame, name: str, **look: Any) -> Line2D:
    mean = mean.sort_values("learning_rate")
    at, middle = mean["learning_rate"].to_numpy(dtype=float), mean["mean"].to_numpy(dtype=float)
    sem = mean["sem"].fillna(0.0).to_numpy(dtype=float)  # one seed has no standard error
    look = {"marker": "." if len(at) == 1 else ""} | look
    (line,) = ax.plot(at, middle, label=name, **look)
    ax.fill_between(at, middle - sem, middle + sem, color=look["color"], alpha=0.25, linewidth=0)
    return line


def _rate_axis(ax: Axes, runs: pd.DataFrame) -> None:
    rates = runs["learning_rate"].to_numpy(dtype=float)
    style.log_axis(ax.xaxis, rates.min() / 1.1, rates.max() * 1.1)
    ax.set_xlabel(style.label(runs, "learning_rate"))


def differ_only(runs: pd.DataFrame, fields: Sequence[str], what: str) -> None:
    """Raise UsageError where runs differ in more than the fields and the seed, which would be pooled in silence."""
    for field in analysis.cell_fields(runs):
        if field not in fields and runs[field].nunique(dropna=False) > 1:
            values = sorted(runs[field].dropna().unique().tolist())[:6]
            raise UsageError(f"{what}: runs may differ in {', '.join(fields)} and seed only, found {field} = {values}")
