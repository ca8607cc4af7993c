"""Figure 4 of the paper: what a rank-2 network learns, as flow maps of its two coordinates at several epochs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import dynamics
from ghostsweep.dynamics.flow import BINARY_CUT, DCDT_CUT
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

SPANS = ((-5.0, 5.0), (-1.0, 1.0))  # of the maps and of the close-ups
MARKERS = {"fixed point": "X", "slow point": "P"}
FACES = {"stable": "black", "saddle": "white", "unstable": "#F0E442"}
# Pale where the flow is slow, and nowhere dark, so that all lines and crosses stay apart from it.
SPEED_MAP = LinearSegmentedColormap.from_list("speed", ["#FFFFFF", "#CBD8E3", "#6D8AA5"])
_RIM = [patheffects.withStroke(linewidth=2.0, foreground="white")]
NULLCLINE = "#7B3294"
GHOST = "#D55E00"
CUTS = {"dcdt": (-DCDT_CUT, DCDT_CUT), "dmts": (BINARY_CUT,)}
TASKS = ("dcdt", "dmts")


def fig4(dcdt: Tables, dmts: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 4 from the tables of two sweeps of rank-2 networks, the first of each, on dcdt (a-d) and dmts (e-h).

    a, e: loss and gradient norm by epoch; b, f: accuracy; c, g: at every snapshot the flow map, without input, over
    [-5, 5]^2 of the `singular_basis`; d, h: its close-up over [-1, 1]^2. A map shows log10 of the speed |dkappa/dt|
    in 1/tau as colour, on one scale; the direction of the flow as arrows; nullclines; noiseless trajectories of the
    kinds of trial; where the output is cut into answers; the minima of the speed by kind and stability; and their
    slow directions. width: inches; up to one column the maps of both tasks stand side by side.
    Raises UsageError for an empty table, missing columns, another model, rank or task, and missing
    snapshots.
    """
    both = [trained(t, "low_rank", task, f"Figure 4, {task}") for t, task in zip((dcdt, dmts), TASKS, strict=True)]
    maps = [[[_flow_map(one, snapshot, span) for snapshot in one.snapshots] for span in SPANS] for one in both]
    speeds = np.concatenate([table["log10_speed"] for one in maps for row in one for table in row])
    norm = Normalize(np.quantile(speeds, 0.01), speeds.max())  # a map is coloured to its fixed points all but at them
    with style.rc():
        wide = width > style.ONE_COLUMN
        n = max(max(len(one.snapshots) for one in both), 4 if wide else 1)
        fig = style.new_figure(width, 5.2 + 0.82 * 4 * width / n if wide else 5.6 + n * width / 4)
        places, bar_place = _layout(fig, n, wide)
        for one, tables, letters, place in zip(both, maps, ("abcd", "efgh"), places, strict=True):
            learning_curves(place.loss, place.accuracy, one)
            title = TASK_NAMES[one.run["task"]] if wide else one.run["task"].upper()
            for k, (row, table_row) in enumerate(zip(place.maps, tables, strict=True)):
                for ax, snapshot, table in zip(row, one.snapshots, table_row, strict=False):
                    _draw_map(ax, table, snapshot, norm, *((11, 4.5) if wide else (7, 3.5)))
                    if k == 0:
                        ax.set_title(f"epoch {style.epoch_text(snapshot.epoch)}")
                for ax in row[len(one.snapshots) :]:
                    ax.remove()
            for ax, letter in zip((place.loss, place.accuracy, *(row[0] for row in place.maps)), letters, strict=True):
                style.panel_letter(ax, letter, 0.0 if wide or ax in (place.loss, place.accuracy) else -0.35)
            for ax in (place.loss, place.accuracy):
                ax.set_title(title)
        _label_maps(places, wide)
        bar = fig.colorbar(ScalarMappable(norm, SPEED_MAP), cax=bar_place, orientation="horizontal", extend="min")
        bar.set_label(r"log$_{10}$ speed |d$\kappa$/dt| (1/τ)", fontsize=7)
        lines, crosses = _handles()
        if wide:
            for place, handles in zip(places, (lines, crosses), strict=True):
                assert place.legend is not None
                place.legend.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.3)).set_in_layout(False)
        else:
            fig.legend(handles=lines + crosses, loc="outside upper center", ncols=2, columnspacing=1.2)
        style.remark(fig, _remarks((dcdt, dmts), both))
    return fig


class _Place(NamedTuple):
    """The axes of one task: maps[0] the maps and maps[1] the close-ups, by snapshot."""

    loss: Axes
    accuracy: Axes
    maps: list[list[Axes]]
    legend: Axes | None = None


def _layout(fig: Figure, n: int, wide: bool) -> tuple[list[_Place], Axes]:
    """The axes of both tasks, and those of the colour bar.

    Wide: a row of curves, of maps and of close-ups for each task. Narrow: the maps and close-ups of both tasks in
    four columns, a row for each snapshot. Each block has a grid of its own, so that the labels of one move no other.
    """
    add, places = fig.add_subplot, []
    if wide:
        grid = fig.add_gridspec(5, 1, height_ratios=[1.0, 2.2, 1.0, 2.2, 0.08])
        for task in (0, 1):
            curves = grid[2 * task].subgridspec(1, 3, width_ratios=[1, 1, 0.55])
            legend = add(curves[2])
            legend.set_axis_off()
            block = grid[2 * task + 1].subgridspec(2, n)
            maps = [[add(block[k, i]) for i in range(n)] for k in (0, 1)]
            places.append(_Place(add(curves[0]), add(curves[1]), maps, legend))
    else:
        grid = fig.add_gridspec(3, 1, height_ratios=[2.2, 0.8 * n, 0.08])
        curves, block = grid[0].subgridspec(2, 2), grid[1].subgridspec(n, 4)
        for task in (0, 1):
            maps = [[add(block[i, 2 * task + k]) for i in range(n)] for k in (0, 1)]
            places.append(_Place(add(curves[0, task]), add(curves[1, task]), maps))
    return places, add(grid[-1])


def _label_maps(places: Sequence[_Place], wide: bool) -> None:
    """Label the coordinates at the left and at the bottom of each block; both are of the same span in a map."""
    for task, place in enumerate(places):
        for k, row in enumerate(place.maps):
            for i, ax in enumerate(row):
                left, bottom = (i == 0, True) if wide else (task == k == 0, i == len(row) - 1)
                ax.set_ylabel(r"$\kappa_2$" if left else "", labelpad=0)
                ax.set_xlabel(r"$\kappa_1$" if bottom else "", labelpad=0)
                ax.tick_params(labelleft=left, labelbottom=bottom)


def _flow_map(one: Trained, snapshot: dynamics.Snapshot, span: tuple[float, float]) -> pd.DataFrame:
    return dynamics.flow_map(snapshot.params, task=one.run["task"], confidence=float(one.run["confidence"]), span=span)


def _draw_map(
    ax: Axes, table: pd.DataFrame, snapshot: dynamics.Snapshot, norm: Normalize, n_arrows: int, size: float
) -> None:
    low, high = table.attrs["span"]
    n, task = table.attrs["n_points"], table.attrs["task"]
    by_name = {name: table[name].to_numpy().reshape(n, n) for name in table}
    line = np.linspace(low, high, n)
    ax.pcolormesh(line, line, by_name["log10_speed"], cmap=SPEED_MAP, norm=norm, shading="gouraud", rasterized=True)
    with np.errstate(invalid="ignore"):  # an exact zero has no direction
        direction = [by_name[name] / 10.0 ** by_name["log10_speed"] for name in ("flow_1", "flow_2")]
    at = np.ix_(*[np.linspace(0, n - 1, n_arrows + 2).round().astype(int)[1:-1]] * 2)
    ax.quiver(
        *(by_name[name][at] for name in ("kappa_1", "kappa_2")), *(part[at] for part in direction),
        color="#4A5B6C", pivot="mid", angles="xy", scale_units="xy", scale=1.4 * n_arrows / (high - low), width=0.006,
        headwidth=4, headlength=4.5, headaxislength=4,
    )  # fmt: skip
    contours = [("flow_1", 0.0, NULLCLINE, "solid"), ("flow_2", 0.0, NULLCLINE, "dotted")]
    for name, level, color, dashes in [*contours, *(("output", cut, "black", "dashed") for cut in CUTS[task])]:
        if by_name[name].min() < level < by_name[name].max():
            ax.contour(line, line, by_name[name], [level], colors=color, linestyles=dashes, linewidths=0.8)
    for path, (color, dashes) in zip(snapshot.paths.swapaxes(0, 1), TRIAL_LINES, strict=False):
        ax.plot(path[:, 0], path[:, 1], color=color, linestyle=dashes, linewidth=1.2)
    _draw_points(ax, snapshot.points, 0.09 * (high - low), size)
    ringed = snapshot.points.points[snapshot.ghosts.index[snapshot.ghosts["ghost"]]]
    if len(ringed):
        ax.plot(ringed[:, 0], ringed[:, 1], label="ghost", **_ring(2.2 * size))
    ax.set(xlim=(low, high), ylim=(low, high), xticks=(low, 0, high), yticks=(low, 0, high), box_aspect=1)
    ax.tick_params(pad=1.5, length=2)


def _draw_points(ax: Axes, points: dynamics.SlowPoints, reach: float, size: float) -> None:
    """Crosses at the minima of the speed, and lines as far as reach to both sides along their slow directions."""
    for at, direction in zip(points.points, points.slow_directions, strict=True):
        ends = np.stack([at - reach * direction, at + reach * direction])
        ax.plot(ends[:, 0], ends[:, 1], color="black", linewidth=1.4, path_effects=_RIM)
    for (kind, stability), rows in points.table.groupby(["kind", "stability"]):
        here = points.points[rows.index]
        ax.plot(
            here[:, 0], here[:, 1], label=f"{kind}, {stability}", zorder=4, **_cross(str(kind), str(stability), size)
        )


def _cross(kind: str, stability: str, size: float = 4.5) -> dict[str, Any]:
    return {
        "linestyle": "", "marker": MARKERS[kind], "markersize": size, "markerfacecolor": FACES[stability],
        "markeredgecolor": "black", "markeredgewidth": 0.6,
    }  # fmt: skip


def _ring(size: float = 9.0) -> dict[str, Any]:
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "none", "markeredgecolor": GHOST}
    return look | {"markersize": size, "markeredgewidth": 1.2, "zorder": 5}


def _handles() -> tuple[list[Line2D], list[Line2D]]:
    lines = [
        *trial_handles(TASKS),
        Line2D([], [], color="black", linestyle="dashed", linewidth=0.8, label="cut of the output"),
        Line2D([], [], color=NULLCLINE, linewidth=0.8, label=r"d$\kappa_1$/dt = 0"),
        Line2D([], [], color=NULLCLINE, linestyle="dotted", linewidth=0.8, label=r"d$\kappa_2$/dt = 0"),
    ]
    crosses = [Line2D([], [], color="black", linewidth=1.4, label="slow direction")]
    crosses += [
        Line2D([], [], label=f"{kind.split()[0]}, {stability}", **_cross(kind, stability))
        for kind in MARKERS
        for stability in FACES
    ]
    return lines, [*crosses, Line2D([], [], label="ghost", **_ring())]


def _remarks(tables: Sequence[Tables], both: Sequence[Trained]) -> list[str]:
    remarks = [style.scale(t, panels) for t, panels in zip(tables, ("a-d", "e-h"), strict=True)]
    remarks.append(
        "c, d, g, h: flow without input in the plane of the two singular vectors, at the epochs dotted in a, b, e, f; "
        "arrows: its direction alone; trajectories: noiseless, from the zero state; output: grows to the upper right, "
        "cut at ± 0.33 (a-d) or 0.5 (e-h)."
    )
    remarks.append(tolerances(both[0].snapshots[0].points))
    remarks.append(" ".join([GHOST_MEANS, *(f"{p}: {ghosts_said(one)}" for one, p in zip(both, "cg", strict=True))]))
    for one, panel in zip(both, "cg", strict=True):
        outside = {s.epoch: int((np.abs(s.points.points) > SPANS[0][1]).any(axis=1).sum()) for s in one.snapshots}
        lost = ", ".join(f"{count} at epoch {style.epoch_text(epoch)}" for epoch, count in outside.items() if count)
        if lost:
            remarks.append(f"{panel}: points beyond the map, not shown: {lost}.")
    return remarks
