"""Phase diagrams: what became of training, over two of the swept fields."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ghostsweep import analysis
from ghostsweep.analysis import cell_fields
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style

MAX_PANELS = 6


def phase_diagram(
    runs: pd.DataFrame,
    *,
    x: str = "timescale",
    y: str = "learning_rate",
    critical: pd.DataFrame | None = None,
    theory: bool = True,
    width: float = style.TWO_COLUMNS,
    title: str = "",
    note: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw the outcome of training as a colour in every (x, y) cell, with the critical learning rates on top.

    A cell has the colour of its seeds' most frequent outcome, faded towards white by the share of seeds that
    went otherwise. Every x has its own column of y values, so grids may differ between columns; the values of a field
    of words, as the optimizer, are positions. Other fields that vary give one panel per combination (a field fixed by
    x alone does not count).

    critical: table of `analysis.critical_lr`, computed here if None; drawn if y is "learning_rate", each boundary with
    its 95% interval: the upper as filled, the lower as open points; an arrow where an interval is open, and a shade
    between neighbours of which neither is. theory: where the model says so, the rate at which theory puts the upper
    boundary (exact for the canonical form). Where the task declares outcomes of its own these are drawn, without
    boundaries, which are of the usual ones; where there is a column `outcome`, what stands there, runs without left
    out. width: inches. title: of the figure; model, task, epochs and seeds stand beneath it, or its further lines.
    note: what must not be missed, as that runs are missing. ax: axes to draw into, where there is one panel. Raises
    UsageError for an empty table, missing columns, or too many panels.
    """
    runs = style.require_runs(runs, [x, y, "run_id", "model", "learning_rate", "seed", "status"], "phase diagram")
    if x == y:
        raise UsageError(f"phase diagram: both axes are {x}; name two different fields")
    kept = runs[runs[x].notna() & runs[y].notna()]
    if kept.empty:
        raise UsageError(f"phase diagram: no run has both {x} and {y}")
    n_placed = len(kept)
    if "outcome" not in kept.columns:
        own = analysis.own_outcomes(kept)
        kept, of_task = (analysis.outcomes(kept), False) if own is None else (own, True)
    else:
        kept = analysis.categorised(kept[kept["outcome"].notna()])
        of_task = not set(kept["outcome"]) <= set(analysis.OUTCOMES)
        if kept.empty:
            raise UsageError("phase diagram: no run has an outcome")
    facets = facet_fields(kept, x, y)
    panels = _split(kept, facets)
    if ax is not None and len(panels) > 1:
        raise UsageError(f"phase diagram: ax takes one panel, and {', '.join(facets)} would make {len(panels)}")
    if of_task:  # boundaries are of the usual outcomes
        critical = None
    elif critical is None and y == "learning_rate":
        critical = analysis.critical_lr(kept)
    if critical is not None and x not in critical.columns:  # the same in all runs
        critical = critical.assign(**{x: kept[x].iloc[0]})
    words = {field: naming.positions(kept[field]) for field in (x, y) if naming.are_words(kept[field])}
    names = [naming.name_of(kept, facets, panel.iloc[0]) for panel in panels]
    for field, at in words.items():
        kept, panels = naming.put(kept, field, at), [naming.put(panel, field, at) for panel in panels]
        if critical is not None and field in critical:
            critical = naming.put(critical, field, at)
    cells = [analysis.shares(panel, [x, y]) for panel in panels]

    with style.rc():
        wide = width > style.ONE_COLUMN
        n_columns = 2 if len(panels) == 4 else min(len(panels), 3 if wide else 2)
        n_rows = -(-len(panels) // n_columns)
        fig = style.new_figure(width, (2.8 if len(panels) == 1 else 2.0) * n_rows)
        axes = (
            np.array([ax])
            if ax is not None
            else fig.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
        )
        drawn: set[str] = set()
        for each, table, name in zip(axes, cells, names, strict=False):
            _cells(each, table, x, y, words)
            each.set_title(framing.wrapped(name, 0.85 * width / n_columns - 0.3, 8.0))
        _scales(axes, kept, x, y, words)
        for each, panel in zip(axes, panels, strict=False):
            if critical is not None and y == "learning_rate":
                drawn |= _critical_lines(each, _matching(critical, panel, facets), x, joined=x not in words)
            if theory and y == "learning_rate" and x not in words and _theory_line(each, panel, x):
                drawn.add("theory")
        for each in axes[len(panels) :]:
            each.set_visible(False)
        for i, each in enumerate(axes[: len(panels)]):
            if i + n_columns >= len(panels):
                each.set_xlabel(style.label(runs, x))
                each.xaxis.set_tick_params(labelbottom=True)
            if i % n_columns == 0:
                each.set_ylabel(style.label(runs, y))
        handles = _legend_handles(cells, drawn)
        remarks = [framing.OPEN] if "open" in drawn else []
        remarks += style.left_out(len(runs) - n_placed, len(runs), f"{x} or {y} is null")
        remarks += style.left_out(n_placed - len(kept), len(runs), "outcome is null")
        heading, about = naming.head(title, runs)
        if ax is not None:
            return framing.frame_axes(ax, [heading, note], handles)
        framing.frame(fig, title=heading, about=about, note=note, handles=handles, remarks=remarks)
    return fig


def panel_count(runs: pd.DataFrame, x: str) -> int:
    """How many panels a phase diagram of these runs over x and the learning rate has; at most MAX_PANELS are drawn."""
    kept = runs[runs[x].notna()]
    facets = facet_fields(kept, x, "learning_rate")
    return int(kept.groupby(facets, dropna=False).ngroups) if facets else 1


def facet_fields(runs: pd.DataFrame, x: str, y: str) -> list[str]:
    """Return the fields that need a panel per value: they vary, and neither x nor model and task decide them."""
    kinds = ["model", "task"] if "task" in runs else ["model"]
    fields = [f for f in cell_fields(runs) if f not in (x, y)]
    fields = [f for f in fields if f in kinds or (runs.groupby(kinds, dropna=False)[f].nunique(dropna=False) > 1).any()]
    return [f for f in fields if (runs.groupby(x)[f].nunique(dropna=False) > 1).any()]


def _split(runs: pd.DataFrame, facets: list[str]) -> list[pd.DataFrame]:
    if not facets:
        return [runs]
    panels = [panel for _, panel in runs.groupby(facets, dropna=False)]
    if len(panels) > MAX_PANELS:
        counts = ", ".join(f"{f} ({runs[f].nunique(dropna=False)} values)" for f in facets)
        raise UsageError(
            f"phase diagram: besides the axes the table varies in {counts}, which needs {len(panels)} panels "
            f"(at most {MAX_PANELS}); select fewer values, or put one of them on an axis"
        )
    return panels


def _matching(critical: pd.DataFrame, panel: pd.DataFrame, facets: list[str]) -> pd.DataFrame:
    """Return the rows of critical that belong to panel."""
    for field in facets:
        value = panel[field].iloc[0]
        if field in critical.columns:
            critical = critical[critical[field].isna() if pd.isna(value) else critical[field] == value]
    return critical


def edges(centres: np.ndarray, log: bool) -> np.ndarray:
    """Return the n + 1 cell edges around n sorted centres: (geometric, if log) midpoints, the ends mirrored.

    A single centre gets a cell of a factor two (log) or of a tenth of its value on either side.
    """
    values = np.log(centres) if log else np.asarray(centres, dtype=float)
    if len(values) == 1:
        half = np.log(2.0) / 2 if log else 0.1 * abs(values[0]) or 0.5
        result = np.array([values[0] - half, values[0] + half])
    else:
        middle = (values[1:] + values[:-1]) / 2
        result = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
    return np.exp(result) if log else result


def _cells(ax: Axes, table: pd.DataFrame, x: str, y: str, words: Mapping[str, Any]) -> None:
    """Draw one mesh per x value, its colours the majority outcomes faded by their share."""
    log_x, log_y = (field not in words and _log(table[field], field) for field in (x, y))
    centres = np.sort(table[x].unique()).astype(float)
    x_edges = edges(centres, log_x)
    share = np.zeros(len(table))
    base = np.zeros((len(table), 3))
    for outcome, color in style.outcome_colors(list(table["majority"].cat.categories)).items():
        mine = (table["majority"] == outcome).to_numpy()
        share[mine] = table[f"share_{outcome}"].to_numpy(dtype=float)[mine]
        base[mine] = to_rgb(color)
    rgb = 1.0 - share[:, None] * (1.0 - base)
    for i, centre in enumerate(centres):
        column = np.flatnonzero((table[x] == centre).to_numpy())
        column = column[np.argsort(table[y].to_numpy()[column])]
        y_edges = edges(table[y].to_numpy(dtype=float)[column], log_y)
        ax.pcolormesh(x_edges[i : i + 2], y_edges, rgb[column][:, None, :], rasterized=True, antialiased=False)


def _log(values: pd.Series, field: str) -> bool:
    """Say whether field's axis is logarithmic; a learning rate's always is."""
    found = values.to_numpy(dtype=float)
    return (field in ("learning_rate", "timescale") and bool(found.min() > 0)) or style.is_log(found)


def _scales(axes: np.ndarray, runs: pd.DataFrame, x: str, y: str, words: Mapping[str, Mapping[str, float]]) -> None:
    for ax in axes:
        for axis, field in ((ax.xaxis, x), (ax.yaxis, y)):
            values = np.sort(runs[field].unique()).astype(float)
            log = field not in words and _log(runs[field], field)
            ends = edges(values, log)
            if log:
                style.log_axis(axis, ends[0], ends[-1])
            else:
                (ax.set_xlim if field == x else ax.set_ylim)(ends[0], ends[-1])
            if field in words:
                framing.ticks_at(
                    axis, values, [naming.value_text(runs, field, word, words[field]) for word in words[field]]
                )
            elif field != "learning_rate" and len(values) <= MAX_TICKS:
                framing.ticks_at(axis, values)


MAX_TICKS = 30
"""Measured values up to which each has a tick."""
THEORY = "critical rate by theory"
_RIM = [patheffects.withStroke(linewidth=2.2, foreground="black")]
_CASE = [patheffects.withStroke(linewidth=1.8, foreground="white", alpha=0.8)]  # black lines on a black phase


_LOOKS: dict[str, dict[str, Any]] = {
    "upper": {"marker": "o", "markersize": 4, "markerfacecolor": "black", "markeredgecolor": "white"},
    "lower": {"marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": "black"},
}
_COMMON: dict[str, Any] = {"color": "black", "linewidth": 0.8, "markeredgewidth": 0.6, "zorder": 5}


def _critical_lines(ax: Axes, critical: pd.DataFrame, x: str, joined: bool) -> set[str]:
    """Draw each boundary's measured rate with its interval, with gaps where it is censored; return what was drawn.

    An open end of an interval, 0 or inf, is an arrow. joined: whether neighbours are, by a line and by a shade between
    closed intervals.
    """
    drawn: set[str] = set()
    estimates = ["ci_low", "ci_high", "lr_critical"]
    seen = (critical["censored"] == "") & critical["lr_critical"].notna()
    for (boundary, _), line in critical.groupby(["boundary", "share"]):
        if not seen[line.index].any():
            continue
        line = line.assign(**line[estimates].where(seen[line.index])).sort_values(x)
        line = line[line[x].notna()]  # of whole numbers a null is no float
        at = line[x].to_numpy(dtype=float)
        low, high, middle = (line[c].to_numpy(dtype=float) for c in estimates)
        is_open = {"down": low == 0, "up": np.isinf(high)}
        closed = ~(is_open["down"] | is_open["up"])
        low, high = np.where(is_open["down"], middle, low), np.where(is_open["up"], middle, high)
        ax.vlines(at, low, high, color="black", linewidth=0.8, zorder=3, path_effects=_CASE)
        for direction, which in is_open.items():
            drawn |= {"open"} if which.any() else set()
            for x_open, y_open in zip(at[which], middle[which], strict=True):
                framing.open_end(ax, x_open, y_open, direction == "up", "black", path_effects=_CASE)
        if joined:
            ax.fill_between(at, low, high, where=closed.tolist(), color="black", alpha=0.25, linewidth=0)
            # The exact line goes between the measured line and its points, so that both show where they coincide.
            ax.plot(at, middle, color="black", linewidth=0.8, zorder=3, path_effects=_CASE)
        ax.plot(at, middle, label=f"{boundary} boundary", linestyle="", **(_COMMON | _LOOKS[str(boundary)]))
        drawn.add(str(boundary))
    return drawn


def _theory_line(ax: Axes, panel: pd.DataFrame, x: str) -> bool:
    """Draw the rate at which theory puts the upper boundary, where it says one for each x; return whether it does."""
    rates = panel.assign(theory=analysis.levels(panel).theory).groupby(x)["theory"]
    told = (rates.nunique(dropna=False) == 1) & rates.first().notna()
    at, rate = rates.first()[told].index.to_numpy(dtype=float), rates.first()[told].to_numpy(dtype=float)
    if len(at) < 2:
        return False
    ax.plot(at, rate, color="white", linestyle="--", path_effects=_RIM, zorder=4, label=THEORY)
    return True


def _legend_handles(cells: list[pd.DataFrame], drawn: set[str]) -> list[Artist | tuple[Artist, ...]]:
    table = pd.concat(cells)
    colors = style.outcome_colors(list(cells[0]["majority"].cat.categories))
    present = [o for o in colors if (table["majority"] == o).any()]
    handles: list[Artist | tuple[Artist, ...]] = [
        Patch(facecolor=colors[o], label=style.outcome_text(o)) for o in present
    ]
    mixed = [o for o in present if ((table["majority"] == o) & (table[f"share_{o}"] < 1)).any()]
    if mixed:  # in an outcome's own colour: a gray one would look like another outcome
        base = np.array(to_rgb(colors[mixed[0]]))
        shades = [tuple((1 - share * (1 - base)).tolist()) for share in (1.0, 0.7, 0.4)]
        handles.append(tuple(Patch(facecolor=shade, label="paler: seeds disagree") for shade in shades))
    for boundary in ("upper", "lower"):
        if boundary in drawn:
            name = f"{boundary} boundary, 95% interval"
            handles.append(Line2D([], [], label=name, **(_COMMON | _LOOKS[boundary])))
    if "theory" in drawn:
        handles.append(Line2D([], [], color="white", linestyle="--", path_effects=_RIM, label=THEORY, linewidth=1.2))
    return handles
