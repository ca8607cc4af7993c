"""Phase diagrams: what became of training, over two of the swept fields."""

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
from matplotlib.ticker import FixedLocator, NullLocator

from ghostsweep import analysis
from ghostsweep.analysis import cell_fields
from ghostsweep.errors import UsageError
from ghostsweep.figures import style

MAX_PANELS = 6


def phase_diagram(
    runs: pd.DataFrame,
    *,
    x: str = "timescale",
    y: str = "learning_rate",
    critical: pd.DataFrame | None = None,
    theory: bool = True,
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw the outcome of training as a colour in every (x, y) cell, with the critical learning rates on top.

    A cell has the colour of its seeds' most frequent outcome, faded towards white by the share of seeds that
    went otherwise. Every x has its own column of y values, so grids may differ between columns. Other fields
    that vary give one panel per combination (a field fixed by x alone does not count).

    critical: table of `analysis.critical_lr`, computed here if None; drawn if y is "learning_rate", each
    boundary with its 95% interval: the upper as filled, the lower as open points. theory: where the model says so,
    the rate at which theory puts the upper boundary (exact for the canonical form). width: inches. Raises UsageError
    for an empty table, missing columns, fields that are not numbers, or more than six panels.
    """
    style.require(runs, [x, y, "run_id", "model", "learning_rate", "seed", "status"], "phase diagram")
    if x == y:
        raise UsageError(f"phase diagram: both axes are {x}; name two different fields")
    for field in (x, y):
        if not pd.api.types.is_numeric_dtype(runs[field]):
            raise UsageError(f"phase diagram: {field} must be a number in every run, found {runs[field].iloc[0]!r}")
    kept = runs[runs[x].notna() & runs[y].notna()]
    if kept.empty:
        raise UsageError(f"phase diagram: no run has both {x} and {y}")
    if "outcome" not in kept.columns:
        kept = analysis.outcomes(kept)
    facets = facet_fields(kept, x, y)
    panels = _split(kept, facets)
    cells = [analysis.shares(panel, [x, y]) for panel in panels]
    if critical is None and y == "learning_rate":
        critical = analysis.critical_lr(kept)
    if critical is not None and x not in critical.columns:  # the same in all runs
        critical = critical.assign(**{x: kept[x].iloc[0]})

    with style.rc():
        n_columns = 2 if len(panels) == 4 else min(len(panels), 3 if width > style.ONE_COLUMN else 2)
        n_rows = -(-len(panels) // n_columns)
        panel_height = 3.0 if len(panels) == 1 else 2.1
        fig = style.new_figure(width, 0.7 + panel_height * n_rows)
        axes = fig.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
        drawn: set[str] = set()
        for ax, panel, table in zip(axes, panels, cells, strict=False):
            _cells(ax, table, x, y)
            if facets:
                ax.set_title(_panel_title(kept, panel, facets))
        _scales(axes, kept, x, y)
        for ax, panel in zip(axes, panels, strict=False):
            if critical is not None and y == "learning_rate":
                drawn |= _critical_lines(ax, _matching(critical, panel, facets), x)
            if theory and y == "learning_rate" and _theory_line(ax, panel, x):
                drawn.add("theory")
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for i, ax in enumerate(axes[: len(panels)]):
            if i + n_columns >= len(panels):
                ax.set_xlabel(style.label(runs, x))
                ax.xaxis.set_tick_params(labelbottom=True)
            if i % n_columns == 0:
                ax.set_ylabel(style.label(runs, y))
        handles = _legend_handles(cells, drawn)
        fig.legend(
            handles=handles,
            loc="outside upper center",
            ncols=min(len(handles), 2 if width < 5 else 4),
            handlelength=2.6,
        )
        style.remark(fig, style.left_out(len(runs) - len(kept), len(runs), f"{x} or {y} is null"))
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
    fields = [f for f in fields if f in kinds or (runs.groupby(kinds)[f].nunique(dropna=False) > 1).any()]
    return [f for f in fields if (runs.groupby(x)[f].nunique(dropna=False) > 1).any()]


def _panel_title(runs: pd.DataFrame, panel: pd.DataFrame, facets: list[str]) -> str:
    """Name what tells a panel apart: its model, and the fields that vary among runs of that model."""
    same_model = runs[runs["model"] == panel["model"].iloc[0]]
    telling = [f for f in facets if f == "model" or same_model[f].nunique(dropna=False) > 1]
    return ", ".join(style.value_text(f, panel[f].iloc[0]) for f in telling)


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


def _cells(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw one mesh per x value, its colours the majority outcomes faded by their share."""
    log_x, log_y = _log(table[x], x), _log(table[y], y)
    centres = np.sort(table[x].unique()).astype(float)
    x_edges = edges(centres, log_x)
    share = np.zeros(len(table))
    base = np.zeros((len(table), 3))
    for outcome, color in style.OUTCOME_COLORS.items():
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
    return field in ("learning_rate", "timescale") or style.is_log(values.to_numpy(dtype=float))


def _scales(axes: np.ndarray, runs: pd.DataFrame, x: str, y: str) -> None:
    for ax in axes:
        for axis, field in ((ax.xaxis, x), (ax.yaxis, y)):
            values = np.sort(runs[field].unique()).astype(float)
            log = _log(runs[field], field)
            ends = edges(values, log)
            if log:
                style.log_axis(axis, ends[0], ends[-1])
                if field == x and len(values) <= 8:  # few columns: name each
                    axis.set_major_locator(FixedLocator(values.tolist()))
                    axis.set_minor_locator(NullLocator())
            else:
                (ax.set_xlim if field == x else ax.set_ylim)(ends[0], ends[-1])


THEORY = "critical rate by theory"
_RIM = [patheffects.withStroke(linewidth=2.2, foreground="black")]


_LOOKS: dict[str, dict[str, Any]] = {
    "upper": {"marker": "o", "markersize": 4, "markerfacecolor": "black", "markeredgecolor": "white"},
    "lower": {"marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": "black"},
}
_COMMON: dict[str, Any] = {"color": "black", "linewidth": 0.8, "markeredgewidth": 0.6, "zorder": 5}


def _critical_lines(ax: Axes, critical: pd.DataFrame, x: str) -> set[str]:
    """Draw each boundary's measured rate with its interval, with gaps where it is censored; return what was drawn."""
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
        low, high = (np.clip(end, *ax.get_ylim()) for end in (low, high))  # an end may be open: 0 or inf
        ax.fill_between(at, low, high, color="black", alpha=0.25, linewidth=0)
        ax.vlines(at, low, high, color="black", linewidth=0.8, zorder=3)
        # The exact line goes between the measured line and its points, so that both show where they coincide.
        ax.plot(at, middle, color="black", linewidth=0.8, zorder=3)
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


def _legend_handles(cells: list[pd.DataFrame], drawn: set[str]) -> list[Artist]:
    table = pd.concat(cells)
    present = [o for o in style.OUTCOME_COLORS if (table["majority"] == o).any()]
    handles: list[Artist] = [Patch(facecolor=style.OUTCOME_COLORS[o], label=style.outcome_text(o)) for o in present]
    if any(((table["majority"] == o) & (table[f"share_{o}"] < 1)).any() for o in present):
        handles.append(Patch(facecolor="#D0D0D0", label="paler: seeds disagree"))
    for boundary in ("upper", "lower"):
        if boundary in drawn:
            name = f"{boundary} boundary, 95% interval"
            handles.append(Line2D([], [], label=name, **(_COMMON | _LOOKS[boundary])))
    if "theory" in drawn:
        handles.append(Line2D([], [], color="white", linestyle="--", path_effects=_RIM, label=THEORY, linewidth=1.2))
    return handles
