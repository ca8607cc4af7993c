"""The learnable band: the range of learning rates that learn, against a field of the sweep."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep.analysis import BAND_ESTIMATES
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style


def band_plot(
    band: pd.DataFrame,
    *,
    x: str = "timescale",
    width: float = style.ONE_COLUMN,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw the learnable band against a field, and beneath it its width in decades.

    band: table of `analysis.learnable_band`. Above, on a logarithmic axis, a bar per cell from the lowest to the
    highest rate that learns, neighbours joined to an area; an arrow where the band reaches the end of the grid.
    Beneath, the width with its 95% interval; an arrow where it is a lower bound, and a point at 0 where no rate
    learns. The values of a field of words, as the optimizer, are positions. A colour per series: one value of every
    field but x that varies. width: inches. title, note: as in `phase_diagram`. Raises UsageError for an empty table,
    missing columns, an x that is no finite number or text, or more series than colours.
    """
    needed = [x, "share", "lr_low", "lr_high", "width_decades", "width_low", "width_high", "censored", "level"]
    style.require(band, needed, "band plot")
    heading, about = naming.head(title, band)
    band = band[band[x].notna()]
    words: Mapping[Any, float] = naming.positions(band[x]) if naming.are_words(band[x]) else {}
    if band.empty or (not words and not np.isfinite(band[x].to_numpy(dtype=float)).all()):
        raise UsageError(f"band plot: {x} must be a finite number or a text in every cell")
    rates = band[["lr_low", "lr_high"]].to_numpy(dtype=float)
    rates = rates[np.isfinite(rates)]
    if len(rates) == 0:
        raise UsageError(f"band plot: in none of {len(band)} cells does a rate learn, so there is nothing to draw")
    log = not words and bool((band[x] > 0).all())
    aside = 0.12 if words else 0.015 * float(np.ptp(band[x].to_numpy(dtype=float)) or 1.0)
    series = _series(band, x)
    if len(series) > len(style.SERIES_COLORS):
        raise UsageError(f"band plot: shows at most {len(style.SERIES_COLORS)} series, found {len(series)}")

    with style.rc():
        fig = style.new_figure(width, 3.2)
        top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        style.log_axis(top.yaxis, rates.min() / 2.5, rates.max() * 2.5)
        if words:
            top.set_xlim(0.5, len(words) + 0.5)
            framing.ticks_at(
                bottom.xaxis, list(words.values()), [naming.value_text(band, x, word, words) for word in words]
            )
        else:
            values = band[x].to_numpy(dtype=float)
            if log:
                style.log_axis(top.xaxis, values.min() / 1.3, values.max() * 1.3)
            else:
                top.set_xlim(values.min() - 4 * aside, values.max() + 4 * aside)
            framing.ticks_at(bottom.xaxis, values)
        handles = []
        for i, ((name, cells), color) in enumerate(zip(series, style.SERIES_COLORS, strict=False)):
            place = i - (len(series) - 1) / 2  # series side by side, not on top of each other
            at = (cells[x].map(words) if words else cells[x]).to_numpy(dtype=float)
            order = np.argsort(at, kind="stable")
            at = at[order] * 1.03**place if log else at[order] + aside * place
            _bars(top, at, cells.iloc[order], color, joined=not words)
            _widths(bottom, at, cells.iloc[order], color, name)
            handles.append(Line2D([], [], color=color, marker="o", label=name))
        top.set_ylabel("learning rate")
        bottom.set_ylabel("width (decades)")
        bottom.set_xlabel(style.label(band, x))
        bottom.set_ylim(bottom=0)
        fig.align_ylabels([top, bottom])
        framing.frame(
            fig,
            title=heading,
            about=about,
            note=note,
            handles=handles if len(series) > 1 else (),
            remarks=_remarks(band),
        )
    return fig


def _series(band: pd.DataFrame, x: str) -> list[tuple[str, pd.DataFrame]]:
    """Return name and cells of every series: one value of every field that varies at the same x."""
    fields = [column for column in band.columns if column not in (*BAND_ESTIMATES, x)]
    at_same_x = band.groupby(x)
    keys = [field for field in fields if (at_same_x[field].nunique(dropna=False) > 1).any()]
    if not keys:
        return [("", band)]
    groups = band.groupby(keys, dropna=False, sort=True)
    return [(naming.name_of(band, keys, cells.iloc[0]), cells) for _, cells in groups]


def _bars(ax: Axes, at: np.ndarray, cells: pd.DataFrame, color: str, joined: bool) -> None:
    low, high = (cells[column].to_numpy(dtype=float) for column in ("lr_low", "lr_high"))
    if joined:
        ax.fill_between(at, low, high, color=color, alpha=0.25, linewidth=0)  # NaN, an empty band, interrupts it
    ax.vlines(at, low, high, color=color, linewidth=1.4)
    for end, side, factor in ((low, "below", 1 / 1.6), (high, "above", 1.6)):
        open_end = cells["censored"].isin([side, "both"]).to_numpy()
        ax.plot(at[~open_end], end[~open_end], "_", color=color, markersize=6, markeredgewidth=1.4)
        for x, y in zip(at[open_end], end[open_end], strict=True):
            ax.annotate("", (x, y * factor), (x, y), arrowprops=_arrow(color))


def _widths(ax: Axes, at: np.ndarray, cells: pd.DataFrame, color: str, name: str) -> None:
    width, low, high = (cells[c].to_numpy(dtype=float) for c in ("width_decades", "width_low", "width_high"))
    bound = (cells["censored"] != "").to_numpy() | np.isinf(high)
    shown = np.where(np.isfinite(high), high, width)
    ax.vlines(at, low, shown, color=color, linewidth=0.9)
    ax.plot(at, width, "o", color=color, label=name, clip_on=False)
    step = 0.12 * max(float(shown.max()), 0.1)
    for x, y in zip(at[bound], shown[bound], strict=True):
        ax.annotate("", (x, y + step), (x, y), arrowprops=_arrow(color))
    ax.set_ylim(top=max(ax.get_ylim()[1], float(shown.max()) + 1.3 * step))


def _arrow(color: str) -> dict[str, Any]:
    return {"arrowstyle": "->", "color": color, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}


def _remarks(band: pd.DataFrame) -> list[str]:
    shares = [f"at least {share:.0%} of" if share < 1 else "all" for share in sorted(band["share"].unique())]
    remarks = [f"Band: {' or '.join(shares)} seeds learned. Width: {band['level'].iloc[0]:.0%} interval."]
    n_open = int((band["censored"] != "").sum())
    if n_open or np.isinf(band["width_high"]).any():
        remarks.append(f"Arrows: {n_open} of {len(band)} bands reach an end of their learning rates.")
    return remarks
