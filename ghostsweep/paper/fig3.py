"""Figure 3 of the paper, rank-one network: learning and collapse without and with a change of its fixed points."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ghostsweep import dynamics
from ghostsweep.dynamics.flow import THRESHOLD
from ghostsweep.dynamics.ghosts import SEPARATION, X_START
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.paper import searched
from ghostsweep.store.tables import Tables

EPOCHS = (1, 200_001, 499_001)
SPAN = (-9.0, 9.0)
FALLEN = 0.9
"""Loss below which the collapsing run has begun to learn, and above which it has collapsed."""
_LINES = ("-", "--", ":")  # told apart without colour too
_OF_TASK = ("timescale", "dt_ms", "tau_ms")


def fig3(learns: Tables, collapses: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 3 from two sweeps of one rank-one run each, with curves and snapshots of m, n and b.

    learns: (a) loss and gradient norm over their maxima; (b) the flow dkappa/dt at the snapshots nearest to `EPOCHS`.
    collapses: (c) the same with an inset around the collapse; (d) the flow at the last snapshot before the loss
    first falls below `FALLEN`, at the one nearest to its minimum, and at the first after the collapse. (e) The number
    of fixed points, and of ghosts (`dynamics.ghosts`), at every snapshot of each. width: inches. Raises UsageError for
    an empty table, missing columns, another model, several runs, a run without snapshots, and a second one whose loss
    never falls below `FALLEN`.
    """
    runs = [_stored(tables, name) for tables, name in ((learns, "Figure 3a, b"), (collapses, "Figure 3c, d"))]
    inside = _collapse(runs[1])
    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 4.9 if wide else 9.8)
        if wide:
            axes = fig.subplots(2, 3, width_ratios=[1.15, 1, 0.85])
        else:
            axes = fig.subplots(6, 1, height_ratios=[1, 1.1, 1.1, 1.1, 0.7, 1]).reshape(3, 2)
            axes = np.array([[axes[0, 0], axes[0, 1], axes[2, 0]], [axes[1, 0], axes[1, 1], axes[2, 1]]])
        counts = [searched.over_training(run.snapshots, run.fields, run.folder) for run in runs]
        remarks = []
        drawn = (_nearest(runs[0], EPOCHS), inside)
        for row, run, at, count, letters in zip(axes, runs, drawn, counts, ("ab", "cd"), strict=True):
            _curves(row[0], run)
            remarks += _flows(row[1], run, at, count, letters[1])
            for ax, letter in zip(row, letters, strict=False):
                style.panel_letter(ax, letter)
        first, last = runs[1].epochs[inside[0]], runs[1].epochs[inside[-1]]
        _inset(axes[1, 0], (0.1, 0.32, 0.62, 0.5), first, last)
        for ax, run, count, of in zip(axes[:, 2], runs, counts, ("a", "c"), strict=True):
            remarks.append(_counts(ax, run, count, of))
        style.panel_letter(axes[0, 2], "e")
        axes[0, 0].legend(loc="best")
        remarks.append(
            "b, d: by epoch; filled: stable, open: unstable fixed point; ring: ghost, a slow place that the trajectory "
            f"passes and that takes at least {SEPARATION:g} τ; triangles: initial κ; dashed, grey: threshold."
        )
        style.remark(fig, [*remarks, style.scale(learns, "a, b, e"), style.scale(collapses, "c, d, e")])
    return fig


@dataclass(frozen=True)
class _Stored:
    """One run: curves by epoch, snapshots, and the epoch at which it learned, if it did."""

    what: str
    learning_rate: float
    learned: int | None
    fields: Mapping[str, Any]
    folder: Path | None
    curves: pd.DataFrame
    snapshots: Mapping[str, np.ndarray]

    @property
    def epochs(self) -> np.ndarray:
        """Epochs of the snapshots."""
        return self.snapshots["epochs"]

    def params(self, at: int) -> dict[str, np.ndarray]:
        """m, n and b of snapshot number `at`."""
        return {name: self.snapshots[name][at] for name in ("m", "n", "b")}


def _stored(tables: Tables, what: str) -> _Stored:
    """The one run of a sweep, checked."""
    needed, curves = ["run_id", "model", "learning_rate", "learned_epoch", *_OF_TASK], tables.curves
    runs = style.require_runs(tables.runs, needed, f"{what}, runs")
    style.require(curves, ["run_id", "epoch", "loss", "grad_norm"], f"{what}, curves")
    if len(runs) > 1:
        raise UsageError(f"{what}: shows one run, found {len(runs)}")
    if (model := style.single_value(runs, "model", what)) != "rank_one":
        raise UsageError(f"{what}: needs a rank-one network, found {model!r}")
    run_id, learned = runs["run_id"].iloc[0], runs["learned_epoch"].iloc[0]
    return _Stored(
        what,
        float(runs["learning_rate"].iloc[0]),
        None if pd.isna(learned) else int(learned),
        {str(field): value for field, value in runs.iloc[0].items()},
        getattr(tables, "folder", None),
        curves[curves["run_id"] == run_id].sort_values("epoch"),
        tables.snapshots(run_id),
    )


def _nearest(run: _Stored, wanted: tuple[int, ...]) -> list[int]:
    """Numbers of the snapshots nearest to the wanted epochs, each once."""
    return sorted({int(np.abs(run.epochs - epoch).argmin()) for epoch in wanted})


def _collapse(run: _Stored) -> list[int]:
    """Numbers of the snapshots before the loss falls, nearest to its minimum, and after the collapse."""
    epoch, loss = (run.curves[name].to_numpy(dtype=float) for name in ("epoch", "loss"))
    low = epoch[loss < FALLEN]
    if not len(low):
        raise UsageError(f"{run.what}: needs a loss that falls below {FALLEN}, found {np.nanmin(loss):.3g} at least")
    before = max(int(np.searchsorted(run.epochs, low[0])) - 1, 0)
    after = min(int(np.searchsorted(run.epochs, low[-1], side="right")), len(run.epochs) - 1)
    return sorted({before, int(np.abs(run.epochs - epoch[np.nanargmin(loss)]).argmin()), after})


def _curves(ax: Axes, run: _Stored) -> None:
    """Loss and gradient norm, each over its maximum, against epoch."""
    for column, quantity in (("grad_norm", "gradient"), ("loss", "loss")):
        values = run.curves[column].to_numpy(dtype=float)
        name = "gradient norm" if quantity == "gradient" else quantity
        ax.plot(
            run.curves["epoch"], values / np.nanmax(values), color=style.QUANTITY_COLORS[quantity], lw=0.9, label=name
        )
    ax.set_title(f"lr = {style.sci(run.learning_rate)}")
    _epoch_axis(ax, run)
    ax.set_ylabel("value / its maximum")
    ax.set_ylim(-0.03, 1.08)


def _epoch_axis(ax: Axes, run: _Stored) -> None:
    ax.set_xlabel("epoch")
    ax.set_xlim(0, run.curves["epoch"].max())
    ax.xaxis.set_major_locator(MaxNLocator(4))
    text = style.epoch_text if run.curves["epoch"].max() > 20_000 else "{:,}".format
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(int(value))))


def _inset(ax: Axes, box: tuple[float, float, float, float], first: float, last: float) -> None:
    """What the axes show between two epochs, magnified, in a box of left, bottom, width and height."""
    margin = max(0.15 * (last - first), 1)
    inset = ax.inset_axes(box)
    for line in ax.get_lines():
        inset.plot(*line.get_data(), color=line.get_color(), linestyle=line.get_linestyle(), linewidth=0.8)
    inset.set_xlim(first - margin, last + margin)
    inset.set_ylim(ax.get_ylim())
    inset.tick_params(labelsize=6)
    inset.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    inset.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    inset.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.indicate_inset_zoom(inset, edgecolor=style.MUTED)


def _flows(ax: Axes, run: _Stored, at: list[int], counts: pd.DataFrame, letter: str) -> list[str]:
    """The flow at some snapshots, its zeros, the initial kappa and the threshold; return remarks."""
    ax.axhline(0, color=style.MUTED, linewidth=0.6)
    ax.axvline(THRESHOLD, color=style.MUTED, linestyle="--", linewidth=0.8)
    colors = style.ordered_colors([int(run.epochs[i]) for i in at])
    for row, (i, dashes) in enumerate(zip(at, _LINES, strict=False)):
        params, epoch = run.params(i), int(run.epochs[i])
        flow = dynamics.flow_1d(params, span=SPAN)
        color = colors[epoch]
        ax.plot(flow["kappa"], flow["flow"], color=color, linestyle=dashes, label=style.epoch_text(epoch))
        zeros = dynamics.fixed_points_1d(params, span=SPAN)
        for stability, face in (("stable", color), ("unstable", "white")):
            kappa = zeros.loc[zeros["stability"] == stability, "kappa"]
            ax.plot(kappa, 0 * kappa, "o", color=color, markerfacecolor=face, markersize=4.5, zorder=4)
        ghost = counts.loc[counts["epoch"] == epoch, "kappa"].dropna()
        if len(ghost):
            height = dynamics.flow_of(params).velocity(ghost.to_numpy()[:, None])[:, 0]
            look: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 1.4, "markersize": 8}
            ax.plot(ghost, height, "o", color=color, label="_ghost", **look)
        start = X_START * float(params["n"].sum())  # kappa = n . x
        ax.plot([start], [0.05 + 0.06 * row], "^", color=color, markersize=5, transform=ax.get_xaxis_transform())
    ax.set_xlim(*SPAN)
    ax.set_xlabel("κ")
    ax.set_ylabel("flow dκ/dt (1/τ)")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, columnspacing=0.7, handlelength=1.4)
    if len(at) == len(EPOCHS):
        return []
    return [f"{letter}: {len(at)} of {len(EPOCHS)} epochs, since no other snapshots are nearer to those wanted."]


def _counts(ax: Axes, run: _Stored, counts: pd.DataFrame, of: str) -> str:
    """The number of fixed points against epoch, with the epoch of learning; return what it says of bifurcations."""
    epoch, number = counts["epoch"].to_numpy(), counts["fixed_points"].to_numpy()
    top = max(4, number.max() + 1)
    ax.plot(np.repeat(epoch, 2)[1:], np.repeat(number, 2)[:-1], color="black", label="fixed points")  # in steps
    ghosts = counts["ghosts"].to_numpy()
    ghost_color = style.SERIES_COLORS[1]
    ax.plot(np.repeat(epoch, 2)[1:], np.repeat(ghosts, 2)[:-1], color=ghost_color, linewidth=0.9, label="ghosts")
    ax.set_title(f"run of {of}")
    _epoch_axis(ax, run)
    ax.set_ylabel("fixed points, ghosts")
    ax.set_ylim(0, top)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    changes = epoch[1:][np.diff(number) != 0]
    said = f"first changes by epoch {changes[0]:,}" if len(changes) else "never changes"
    if run.learned is None:
        return f"e, run of {of}: never learned; the number of fixed points {said}. Ghosts: {_when(counts)}."
    ax.plot([run.learned] * 2, [0, top], color=style.OUTCOME_COLORS["learned"], linestyle="--", label="learned")
    if of == "a":
        ax.legend(loc="best")
    if len(changes):
        _inset(ax, (0.14, 0.56, 0.6, 0.38), min(run.learned, changes[0]), max(run.learned, changes[0]))
    until = number[epoch <= run.learned]
    found = f"{until.min()}" if until.min() == until.max() else f"{until.min()} to {until.max()}"
    return (
        f"e, run of {of}: learned at epoch {run.learned:,}; fixed points at each of {len(until):,} snapshots up to "
        f"then: {found}; their number {said}. Ghosts: {_when(counts)}."
    )


def _when(counts: pd.DataFrame) -> str:
    """At which snapshots there is a ghost."""
    there = counts.loc[counts["ghosts"] > 0, "epoch"]
    if there.empty:
        return "at no snapshot"
    return f"at {len(there):,} of {len(counts):,} snapshots, from epoch {there.iloc[0]:,} to {there.iloc[-1]:,}"
