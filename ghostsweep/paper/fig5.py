"""Figure 5 of the paper: trajectories and slow points of a full-rank network, in three dimensions, as it learns."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import dynamics
from ghostsweep.figures import style
from ghostsweep.paper.networks import (
    GHOST_MEANS,
    TASK_NAMES,
    TRIAL_LINES,
    Trained,
    ghosts_said,
    learning_curves,
    tolerances,
    trained,
    trial_handles,
)
from ghostsweep.store.tables import Tables

TASKS = ("dcdt", "dmts")
MARKERS = {"stable": "o", "saddle": "D", "unstable": "^"}
EPOCH_MARKERS = ("o", "s", "^", "D")
GHOST = "#D55E00"
SPEED_MAP = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.2, 0.9, 128)), "speed").with_extremes(under="black")


def fig5(dcdt: Tables, dmts: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 5 from the tables of two sweeps of full-rank networks, the first of each: dcdt (a-c), dmts (d-f).

    a, d: loss and gradient norm by epoch, and accuracy. b, e: the eigenvalues, in 1/tau, of the flow's Jacobian at
    the point nearest to a trajectory, a colour for each snapshot. c, f: for each snapshot the noiseless trajectories
    of the kinds of trial and the minima of the speed that searches from all their states lead to, in the three
    principal axes of all snapshots' trajectories together; points coloured by log10 of their speed in 1/tau, on one
    scale, with a marker for each stability, filled where fixed. width: inches; up to one column the tasks stand side
    by side. Raises UsageError for an empty table, missing columns, another model or task, and missing
    snapshots.
    """
    both = [trained(t, "full_rank", task, f"Figure 5, {task}") for t, task in zip((dcdt, dmts), TASKS, strict=True)]
    norm = _speed_scale(both)
    with style.rc():
        wide = width > style.ONE_COLUMN
        n = max(max(len(one.snapshots) for one in both), 4 if wide else 1)
        fig = style.new_figure(width, 5.4 + 2 * width / n if wide else 7.0 + n * width / 2.8)
        places, bar_place = _layout(fig, n, wide)
        remarks = [style.scale(t, panels) for t, panels in zip((dcdt, dmts), ("a-c", "d-f"), strict=True)]
        for one, letters, place in zip(both, ("abc", "def"), places, strict=True):
            learning_curves(place.loss, place.accuracy, one)
            _draw_eigenvalues(place.eigenvalues, one)
            remarks.append(f"{letters[-1]}: {_draw_states(place.states, one, norm, 22 if wide else 12)}")
            for ax in place.states[len(one.snapshots) :]:
                ax.remove()
            place.accuracy.set_title(TASK_NAMES[one.run["task"]] if wide else one.run["task"].upper())
            for ax, letter in zip((place.loss, place.eigenvalues), letters, strict=False):
                style.panel_letter(ax, letter)
            place.states[0].text2D(
                0.0, 1.0, letters[-1], transform=place.states[0].transAxes, fontweight="bold", fontsize=9
            )
        bar = fig.colorbar(ScalarMappable(norm, SPEED_MAP), cax=bar_place, orientation="horizontal", extend="min")
        bar.set_label(r"log$_{10}$ speed of the point (1/τ); black: fixed", fontsize=7)
        fig.legend(handles=_handles(), loc="outside upper center", ncols=5 if wide else 2, columnspacing=1.2)
        style.remark(fig, [*remarks, *_remarks(both)])
    return fig


class _Place(NamedTuple):
    """The axes of one task: states has three-dimensional ones, a snapshot each."""

    loss: Axes
    accuracy: Axes
    eigenvalues: Axes
    states: list[Any]


def _layout(fig: Figure, n: int, wide: bool) -> tuple[list[_Place], Axes]:
    """The axes of both tasks, and those of the colour bar.

    Wide: for each task a row of curves and eigenvalues, and one of states. Narrow: a column for each task. Each block
    has a grid of its own, so that the labels of one move no other.
    """
    add, places = fig.add_subplot, []
    if wide:
        grid = fig.add_gridspec(5, 1, height_ratios=[1.0, 1.5, 1.0, 1.5, 0.07])
        for task in (0, 1):
            top, below = grid[2 * task].subgridspec(1, 3), grid[2 * task + 1].subgridspec(1, n)
            states = [add(below[i], projection="3d") for i in range(n)]
            places.append(_Place(add(top[0]), add(top[1]), add(top[2]), states))
    else:
        grid = fig.add_gridspec(3, 1, height_ratios=[3.6, 1.2 * n, 0.07])
        top, below = grid[0].subgridspec(3, 2), grid[1].subgridspec(n, 2)
        for task in (0, 1):
            states = [add(below[i, task], projection="3d") for i in range(n)]
            places.append(_Place(add(top[0, task]), add(top[1, task]), add(top[2, task]), states))
    return places, add(grid[-1])


def _speed_scale(both: Sequence[Trained]) -> Normalize:
    """The scale of the slow points' log10 speed; fixed points lie below it."""
    tables = [snapshot.points.table for one in both for snapshot in one.snapshots]
    slow = np.log10(np.concatenate([table.loc[table["kind"] == "slow point", "speed"] for table in tables]))
    if not len(slow):
        return Normalize(-1.0, 0.0)
    low = np.floor(2 * slow.min()) / 2  # to halves of a decade
    return Normalize(low, max(np.ceil(2 * slow.max()) / 2, low + 0.5))


def _draw_eigenvalues(ax: Axes, one: Trained) -> None:
    colors = style.ordered_colors([snapshot.epoch for snapshot in one.snapshots])
    for snapshot, marker in zip(one.snapshots, itertools.cycle(EPOCH_MARKERS), strict=False):
        nearest = [] if snapshot.nearest is None else [snapshot.nearest]  # without a point, its epoch alone
        values = snapshot.points.eigenvalues[nearest].ravel()
        fixed = (snapshot.points.table["kind"].iloc[nearest] == "fixed point").all()
        color = colors[snapshot.epoch]
        ax.plot(
            values.real, values.imag, linestyle="", marker=marker, markersize=2.5, markeredgecolor=color,
            markerfacecolor=color if fixed else "none", markeredgewidth=0.6, label=style.epoch_text(snapshot.epoch),
        )  # fmt: skip
    ax.axvline(0.0, color=style.MUTED, linestyle="--", linewidth=0.8)
    ax.set(xlabel="Re λ (1/τ)", ylabel="Im λ (1/τ)")
    ax.legend(title="epoch", loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, handletextpad=0.1)


def _draw_states(axes: Sequence[Any], one: Trained, norm: Normalize, area: float) -> str:
    """Draw trajectories and points of all snapshots in the same axes and limits; return what the axes hold."""
    axes_of_all = dynamics.principal_axes([snapshot.paths for snapshot in one.snapshots])
    paths = [axes_of_all.project(snapshot.paths) for snapshot in one.snapshots]
    points = [axes_of_all.project(snapshot.points.points) for snapshot in one.snapshots]
    everything = np.concatenate([part.reshape(-1, 3) for part in [*paths, *points]])
    low, high = everything.min(axis=0), everything.max(axis=0)
    for ax, snapshot, path, at in zip(axes, one.snapshots, paths, points, strict=False):
        for trial, (color, dashes) in zip(path.swapaxes(0, 1), TRIAL_LINES, strict=False):
            ax.plot(*trial.T, color=color, linestyle=dashes, linewidth=1.1)
        for (kind, stability), rows in snapshot.points.table.groupby(["kind", "stability"]):
            with np.errstate(divide="ignore"):
                speed = np.log10(rows["speed"].to_numpy())
            fixed = kind == "fixed point"
            colors = SPEED_MAP(norm(np.where(fixed, -np.inf, speed)))
            ax.scatter(
                *at[rows.index].T, marker=MARKERS[str(stability)], s=area, facecolors=colors if fixed else "none",
                edgecolors=colors, linewidths=1.2, depthshade=False, label=f"{kind}, {stability}",
            )  # fmt: skip
        ringed = at[snapshot.ghosts.index[snapshot.ghosts["ghost"]]]
        if len(ringed):
            ax.scatter(
                *ringed.T, marker="o", s=4 * area, facecolors="none", edgecolors=GHOST, linewidths=1.2, label="ghost"
            )
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        ax.set_title(f"epoch {style.epoch_text(snapshot.epoch)}", y=0.98)
        for name, axis in zip(("x", "y", "z"), (ax.xaxis, ax.yaxis, ax.zaxis), strict=True):
            axis.set_ticklabels([])
            axis.set_pane_color((0.97, 0.97, 0.97, 1.0))
            ax.tick_params(axis=name, length=0)
            getattr(ax, f"set_{name}label")(f"PC {'xyz'.index(name) + 1}", labelpad=-14)
    shares = ", ".join(f"{100 * share:.0f}" for share in axes_of_all.variance_share)
    return f"axes hold {shares} % of the variance of all trajectories shown."


def _handles() -> list[Line2D]:
    points = []
    for kind in ("fixed", "slow"):
        color = "black" if kind == "fixed" else SPEED_MAP(0.2)
        for stability, marker in MARKERS.items():
            look: dict[str, Any] = {"color": color, "fillstyle": "full" if kind == "fixed" else "none"}
            label = f"{kind}, {stability}"
            points.append(Line2D([], [], linestyle="", marker=marker, markeredgewidth=1.4, label=label, **look))
    ring = Line2D([], [], linestyle="", marker="o", color=GHOST, fillstyle="none", markersize=9, label="ghost")
    return [*trial_handles(TASKS), *points, ring]


def _remarks(both: Sequence[Trained]) -> list[str]:
    remarks = [
        "Trajectories: noiseless, from the zero state, at the epochs dotted in a, d. b, e: of the point nearest to a "
        "trajectory, filled where it is a fixed point. c, f: points are projected, so one that looks close may be far.",
        "Searches begin at every state of the trajectories. " + tolerances(both[0].snapshots[0].points),
        " ".join([GHOST_MEANS, *(f"{p}: {ghosts_said(one)}" for one, p in zip(both, "cf", strict=True))]),
    ]
    for one, panel in zip(both, "cf", strict=True):
        lost = {s.epoch: s.points.table.attrs["n_dropped"] for s in one.snapshots}
        dropped = ", ".join(f"{count} at epoch {style.epoch_text(epoch)}" for epoch, count in lost.items() if count)
        if dropped:
            remarks.append(f"{panel}: searches that ended at no minimum: {dropped}.")
    return remarks
