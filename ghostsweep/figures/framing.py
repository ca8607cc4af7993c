"""What stands around the panels: a head that says what they are, the legend, small print, and ticks where values are.

All of it lies inside the canvas at every width: texts are wrapped and legends take as many columns as fit, above and
beneath panels that keep their size.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerTuple
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, Formatter, NullLocator

from ghostsweep.figures import style

_MARGIN = 0.05  # inches between texts and the ends of the canvas
_GAP = 0.04  # inches between texts
_HANDLE = 0.5  # inches of a legend that are not its labels, in a column
_SMALL = 7.0  # points
_COMPACT: dict[str, Any] = {
    "borderaxespad": 0.0,
    "borderpad": 0.0,
    "labelspacing": 0.35,
    "columnspacing": 1.2,
    "handletextpad": 0.6,
    "alignment": "left",
    "handler_map": {tuple: HandlerTuple(ndivide=None, pad=0)},
}


def extent(text: str, size: float = _SMALL, weight: str = "normal", *, formulas: bool = True) -> float:
    """Width of a line of text, inches; size: points. formulas: whether what stands between $ is one."""
    math = formulas and is_math_text(text)
    text = text.replace(r"\$", "$") if formulas and not math else text
    found = text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), ismath=math)
    return float(found[0]) / 72


def is_math_text(text: str) -> bool:
    """Whether Matplotlib takes text for one with formulas: by an even number of $ without a backslash."""
    return len(re.findall(r"(?<!\\)\$", text)) in range(2, len(text) + 1, 2)


def wrapped(text: str, width: float, size: float = _SMALL, weight: str = "normal", *, formulas: bool = True) -> str:
    """Break text at spaces so that no line is wider than width, inches; formulas between $ stay whole."""
    pattern = r"(?:(?<!\\)\$[^$]*\$|[^ $]|\\\$)+|\$" if formulas else r"[^ ]+"
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.findall(pattern, paragraph):
            longer = f"{line} {word}" if line else word
            if line and extent(longer, size, weight, formulas=formulas) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def frame(
    fig: Figure,
    *,
    title: str = "",
    about: str = "",
    note: str = "",
    handles: Sequence[Artist | tuple[Artist, ...]] = (),
    labels: Sequence[str] = (),
    legend_title: str = "",
    remarks: Sequence[str] = (),
) -> None:
    """Put title, what the figure is of, a note and the legend above the panels, remarks under them.

    The figure grows by what they take. note: what must not be missed, as that results are partial.
    """
    width, body = (float(side) for side in fig.get_size_inches())
    room = 0.97 * width - 2 * _MARGIN  # texts differ by a percent or two between backends
    texts: list[dict[str, Any]] = [
        {"s": title, "fontsize": 8.0, "fontweight": "bold"},
        {"s": about, "fontsize": _SMALL, "color": style.MUTED},
        {"s": note, "fontsize": _SMALL, "fontweight": "bold"},
    ]
    used = _MARGIN
    above: list[tuple[Any, float]] = []
    for look in texts:
        if look["s"]:
            plain = look.pop("s").replace(r"\$", "$")  # a user's words, in which $ is no formula
            said = wrapped(plain, room, look["fontsize"], look.get("fontweight", "normal"), formulas=False)
            text = fig.text(_MARGIN / width, 1.0, said, ha="left", va="top", parse_math=False, **look)
            text.set_in_layout(False)
            above.append((text, used))
            used += text.get_window_extent().height / fig.dpi + _GAP
    legend = _legend(fig, handles, labels, legend_title, room) if handles else None
    top = used
    if legend is not None:
        top += _GAP
        used = top + legend.get_window_extent().height / fig.dpi + _GAP
    foot = fig.text(_MARGIN / width, 0.0, "\n".join(wrapped(line, room) for line in remarks), ha="left", va="bottom")
    foot.set(fontsize=_SMALL, color=style.MUTED, in_layout=False)
    under = foot.get_window_extent().height / fig.dpi + 2 * _MARGIN if remarks else 0.0

    height = used + body + under
    fig.set_size_inches(width, height)
    for text, place in above:
        text.set_y(1 - place / height)
    if legend is not None:
        legend.set_bbox_to_anchor((_MARGIN / width, 1 - top / height), transform=fig.transFigure)
    foot.set_y(_MARGIN / height)
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, under / height, 1, body / height))  # type: ignore[call-arg]


def _legend(
    fig: Figure, handles: Sequence[Artist | tuple[Artist, ...]], labels: Sequence[str], title: str, room: float
) -> Legend:
    """A legend in as few rows as fit into room, inches; labels too wide for one are wrapped."""
    names = [wrapped(label, room - _HANDLE) for label in labels or _labels(handles)]
    rows = 1
    while True:
        legend: Legend = fig.legend(  # type: ignore[call-overload]
            list(handles), names, title=title or None, loc="upper left", ncols=-(-len(names) // rows), **_COMPACT
        )
        legend.set_in_layout(False)
        if rows >= len(names) or legend.get_window_extent().width / fig.dpi <= room:
            return legend
        legend.remove()
        rows += 1


def _labels(handles: Sequence[Artist | tuple[Artist, ...]]) -> list[str]:
    return [str((handle[-1] if isinstance(handle, tuple) else handle).get_label()) for handle in handles]


def frame_axes(ax: Axes, lines: Sequence[str], handles: Sequence[Artist | tuple[Artist, ...]]) -> Figure:
    """Put a legend, and under it what a figure says in `lines`, above axes that are part of a user's figure."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    plain = [line.replace(r"\$", "$") for line in lines if line]
    said = "\n".join(wrapped(line, ax.get_window_extent().width / fig.dpi, formulas=False) for line in plain)
    names = _labels(handles)
    columns = 2 if len(names) > 2 else 1
    legend = ax.legend(list(handles), names, title=said or None, ncols=columns, **_COMPACT)
    legend.get_title().set_parse_math(False)
    legend.set_loc("lower left")
    legend.set_bbox_to_anchor((0.0, 1.03), transform=ax.transAxes)
    return fig


class _AtValues(Formatter):
    """Labels of ticks at measured values, as many as fit beside each other; the last value has one."""

    def __init__(self, labels: dict[float, str]) -> None:
        self.labels = labels

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.labels.get(x, "")

    def format_ticks(self, values: Any) -> list[str]:
        axis: Any = self.axis
        ax, along = axis.axes, 0 if isinstance(axis, XAxis) else 1
        shown = [self.labels.get(float(value), "") for value in values]
        points = np.tile([[ax.get_xlim()[0], ax.get_ylim()[0]]], (len(shown), 1)).astype(float)
        points[:, along] = values
        places = ax.transData.transform(points)[:, along] / ax.get_figure(root=True).dpi
        halves = [extent(text) / 2 + 0.03 if along == 0 else 0.6 * _SMALL / 72 for text in shown]

        def fit(one: int, other: int) -> bool:
            return bool(abs(places[one] - places[other]) >= halves[one] + halves[other])

        *others, last = (int(i) for i in np.argsort(places) if shown[i])
        kept = [last]
        for i in others:
            if fit(i, last) and (len(kept) == 1 or fit(i, kept[-1])):
                kept.append(i)
        return [text if i in kept else "" for i, text in enumerate(shown)]


def ticks_at(axis: XAxis | YAxis, values: Sequence[float] | np.ndarray, words: Sequence[str] = ()) -> None:
    """Put a tick at every measured value, each labelled where there is room; words: what positions are called."""
    places = sorted({float(value) for value in values})
    if words:
        axis.set_major_locator(FixedLocator(places))
        axis.set_ticks(places, labels=list(words))
        fig: Any = axis.axes.get_figure(root=True)
        spec = axis.axes.get_subplotspec()
        columns = spec.get_gridspec().ncols if spec else 1
        tight = sum(extent(word) + 0.1 for word in words) > 0.8 * fig.get_figwidth() / columns
        if tight and isinstance(axis, XAxis):
            axis.axes.tick_params("x", rotation=35)
            for text in axis.get_ticklabels():
                text.set(ha="right", rotation_mode="anchor")
    elif len(places) > 1:
        plain = min(map(abs, places)) == 0 or (min(map(abs, places)) >= 1e-3 and max(map(abs, places)) < 1e5)
        texts = {value: f"{value:.3g}" if plain and abs(value) < 1000 else f"{value:g}" for value in places}
        if not plain:
            texts = {value: style.sci(value, powers=True) for value in places}
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(_AtValues(texts))
    axis.set_minor_locator(NullLocator())


OPEN = "Arrows at points: their intervals are open at that end."
"""The remark that explains open ends."""


def open_end(ax: Axes, x: float, y: float, up: bool, color: str, reach: float = 0.08, **look: Any) -> None:
    """Draw the open end of an interval as an arrow from y on a logarithmic axis: upwards, or downwards.

    reach: its length as a share of the axis, cut at the end of the axes. look: of the arrow, beside its colour.
    """
    low, high = ax.get_ylim()
    tip = float(np.clip(y * (high / low) ** (reach if up else -reach), low, high))
    arrow = {
        "arrowstyle": "->",
        "color": color,
        "linewidth": 0.9,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 7,
    } | look
    ax.annotate("", (x, tip), (x, y), arrowprops=arrow)
