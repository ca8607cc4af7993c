"""A dense phase diagram of the canonical form: eta against the start, a pixel a run, and a zoom into it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

from ghostsweep import theory
from ghostsweep.analysis import cell_fields
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style
from ghostsweep.figures.phase import edges

DENSE = 100
"""Number of learning rates, and of starts, above which a grid counts as dense."""
_PLAIN = {"model": "canonical", "optimizer": "sgd", "schedule": "constant", "r_start_sigma": 0.0, "phase": 1}
_NULL = ("momentum", "weight_decay", "clip_norm", "warmup_epochs")

# Warm and cold, so that trapped and not trapped stay apart to colour-blind readers at every shade.
TRAPPED_MAP = LinearSegmentedColormap.from_list("trapped", ["#2B0F00", style.OUTCOME_COLORS["trapped"], "#FFF1D0"])
ALIVE_MAP = LinearSegmentedColormap.from_list("alive", ["#00253A", style.QUANTITY_COLORS["loss"], "#F2F9FD"])
_RIM = [patheffects.withStroke(linewidth=1.2, foreground="black")]


class Grid(NamedTuple):
    """What became of a dense grid of runs; arrays (n_starts, n_etas), NaN where the other one holds.

    lived: of trapped runs, the sum of 1 - loss over all epochs. recent: of all others, their recent mean loss.
    """

    eta: np.ndarray
    start: np.ndarray
    lived: np.ndarray
    recent: np.ndarray


def is_dense(runs: pd.DataFrame) -> bool:
    """Whether a table can be drawn by `dense_diagram`.

    That is one run at each of more than DENSE rates and DENSE starts, of the closed form under plain gradient
    descent from exactly the start, all of one timescale and number of epochs.
    """
    if runs.empty or not {*_PLAIN, *_NULL, "timescale", "learning_rate", "r_start"} <= set(runs):
        return False
    first, n_rates, n_starts = runs.iloc[0], runs["learning_rate"].nunique(), runs["r_start"].nunique()
    plain = all(first[name] == value for name, value in _PLAIN.items()) and first[list(_NULL)].isna().all()
    alike = set(cell_fields(runs)) == {"model", "timescale", "r_start"} and runs["model"].nunique() == 1
    full = len(runs) == n_rates * n_starts and not runs.duplicated(["learning_rate", "r_start"]).any()
    return bool(plain and alike and full and min(n_rates, n_starts) > DENSE and runs["timescale"].nunique() == 1)


def dense_diagram(
    runs: pd.DataFrame,
    zoom: pd.DataFrame | None = None,
    *,
    width: float = style.TWO_COLUMNS,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw the outcome of every run of a dense grid as a pixel in the plane of eta and start, and a zoom beside it.

    A run is trapped if its last gradient is exactly 0: its r is below the no-learning edge r*/4, for good. Trapped
    runs are shaded by the sum of 1 - loss over all epochs, to which nothing is added once they are trapped; all
    others by the mean loss of their last 50 epochs. Dashed: eta = 3/4, below which no run can be trapped.

    zoom: a dense grid of other runs, its frame drawn in the first panel. Shades mean the same in both. width:
    inches; the panels stand side by side where there is room for two columns. title, note: as in `phase_diagram`.
    Raises UsageError for a table that is not such a grid (see `is_dense`).
    """
    columns = ["timescale", "learning_rate", "r_start", "epochs", "mean_loss", "recent_mean_loss", "final_grad_norm"]
    tables = [runs] if zoom is None else [runs, zoom]
    for table in tables:
        table = style.require_runs(table, [*_PLAIN, *_NULL, *columns], "dense phase diagram")
        if not is_dense(table):
            raise UsageError(
                "dense phase diagram: needs runs of the closed canonical form under plain gradient descent, of one "
                "timescale and number of epochs, without spread of the start, one at each of more than "
                f"{DENSE} learning rates and {DENSE} values of r_start; found {table['learning_rate'].nunique()} and "
                f"{table['r_start'].nunique()} of them in {len(table)} runs, cells of {', '.join(cell_fields(table))}"
            )
    grids = [grid(table) for table in tables]
    lived, recent = _norm([g.lived for g in grids]), _norm([g.recent for g in grids])
    with style.rc():
        beside = width > style.ONE_COLUMN
        n_rows, n_columns = (1, len(grids)) if beside else (len(grids), 1)
        fig = style.new_figure(width, 1.3 + n_rows * min(0.8 * width / n_columns, 3.4))
        axes = fig.subplots(n_rows, n_columns, squeeze=False).ravel()
        for ax, one in zip(axes, grids, strict=True):
            _draw(ax, one, lived, recent)
        if len(grids) == 2:
            _frame(axes[0], axes[1], beside)
            for ax, letter in zip(axes, "ab", strict=True):
                style.panel_letter(ax, letter, x=-0.12)
        _colour_bars(fig, axes, lived, recent, beside)
        heading, about = naming.head(title, runs)
        framing.frame(fig, title=heading, about=about, note=note)
    return fig


def grid(runs: pd.DataFrame) -> Grid:
    """Arrange the runs of a dense table by eta and start (in r*)."""
    runs = runs.sort_values(["r_start", "learning_rate"])
    rates, starts = (np.sort(runs[name].unique()).astype(float) for name in ("learning_rate", "r_start"))
    eta = theory.eta(rates, float(runs["timescale"].iloc[0]))
    trapped = (runs["final_grad_norm"] == 0).to_numpy()
    lived = runs["epochs"].to_numpy() * (1.0 - runs["mean_loss"].to_numpy())
    shape = len(starts), len(rates)
    return Grid(
        eta,
        starts,
        np.where(trapped, lived, np.nan).reshape(shape),
        np.where(trapped, np.nan, runs["recent_mean_loss"].to_numpy()).reshape(shape),
    )


def _norm(values: list[np.ndarray]) -> Normalize:
    """A logarithmic scale over all positive values, without the outermost thousandth on either side."""
    found = np.concatenate([v[v > 0] for v in values])
    low, high = np.quantile(found, [0.001, 0.999]) if len(found) else (0.5, 1.0)
    return LogNorm(low, high if high > low else 2 * low, clip=True)


def _draw(ax: Axes, one: Grid, lived: Normalize, recent: Normalize) -> None:
    x, y = edges(one.eta, style.is_log(one.eta)), edges(one.start, style.is_log(one.start))
    rgb = np.where(
        np.isnan(one.lived)[..., None],
        ALIVE_MAP(recent(np.nan_to_num(one.recent)))[..., :3],
        TRAPPED_MAP(lived(np.nan_to_num(one.lived)))[..., :3],
    )
    ax.pcolormesh(x, y, rgb, rasterized=True, antialiased=False)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xlabel=r"$\eta = 8\,\mathrm{lr}\,T^5/\pi^4$", ylabel="initial r (r*)")
    for axis, values, ends in ((ax.xaxis, one.eta, x), (ax.yaxis, one.start, y)):
        if style.is_log(values):
            style.log_axis(axis, ends[0], ends[-1])
    if x[0] < theory.CRITICAL_ETA < x[-1]:
        ax.axvline(theory.CRITICAL_ETA, color="white", linestyle="--", linewidth=0.8, label="exact critical rate")
        ax.annotate(
            r"$\eta = 3/4$", (theory.CRITICAL_ETA, 0.02), (-2, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="right", va="bottom", rotation=90, color="white", path_effects=_RIM,
        )  # fmt: skip


def _frame(first: Axes, second: Axes, beside: bool) -> None:
    """Draw the frame of the second panel in the first, and lines from its corners to the second panel's."""
    (x0, x1), (y0, y1) = second.get_xlim(), second.get_ylim()
    first.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linewidth=0.8, label="zoom", zorder=4))
    corners = [((x1, y0), (0, 0)), ((x1, y1), (0, 1))] if beside else [((x0, y0), (0, 1)), ((x1, y0), (1, 1))]
    for here, there in corners:
        line = ConnectionPatch(here, there, "data", "axes fraction", axesA=first, axesB=second, linewidth=0.5)
        line.set_in_layout(False)
        second.add_artist(line)


def _colour_bars(fig: Figure, axes: np.ndarray, lived: Normalize, recent: Normalize, beside: bool) -> None:
    bars = (
        (TRAPPED_MAP, lived, "trapped (dark: early): sum of 1 − loss"),
        (ALIVE_MAP, recent, "not trapped: recent mean loss"),
    )
    for i, (cmap, norm, text) in enumerate(bars):
        below = axes[i] if len(axes) == 2 and beside else axes.tolist()
        bar = fig.colorbar(ScalarMappable(norm, cmap), ax=below, location="bottom", aspect=30, extend="both")
        style.log_axis(bar.ax.xaxis, *bar.ax.get_xlim())
        bar.set_label(text, fontsize=7)
