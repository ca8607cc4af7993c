"""Ghosts of networks beside the canonical form: the flow along a slow direction, and the times that passing takes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ghostsweep.figures import style
from ghostsweep.figures.framing import frame

MAX_FLOWS = 5
"""Networks whose flow is drawn."""


def ghost_plot(
    ghosts: pd.DataFrame,
    flows: Mapping[str, pd.DataFrame],
    *,
    title: str = "",
    note: str = "",
    width: float = style.TWO_COLUMNS,
) -> Figure:
    """Draw ghosts of networks of any size beside the canonical form dx/dt = a x^2 + r.

    a: the flow along the slow direction, over r, against the distance in half-widths sqrt(r / a), a colour for each of
    `flows` (s, flow, canonical, by name), on the parabola 1 + s^2 that all of them share. b: the steps that the
    trajectory took through its part of the bottleneck against those that are to be expected, by the arctangent of r
    and a and in second order, for each ghost (columns of `ghostsweep.ghosts`). c: the time of a whole passage of
    second order, which no trajectory need take whole, against 1 / sqrt(r a). width: inches. Raises UsageError for
    missing columns and without any ghost.
    """
    needed = ["r", "a", "crossing", "crossing_canonical", "crossing_bent", "passage_bent"]
    style.require(ghosts, needed, "ghosts")
    colors = style.ordered_colors(range(len(flows)))
    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.6 if wide else 6.8)
        axes = fig.subplots(*((1, 3) if wide else (3, 1)))
        first = axes[0]
        for index, (name, flow) in enumerate(flows.items()):
            r = flow["canonical"].to_numpy()[len(flow) // 2]
            first.plot(flow["s"], flow["flow"] / r, color=colors[index], linewidth=0.9, label=name)
        s = np.linspace(-3, 3, 121)
        first.plot(s, 1 + s**2, color="black", linestyle=(0, (4, 3)), linewidth=0.9, label=r"canonical form, $1+s^2$")
        first.axhline(0.0, color=style.MUTED, linewidth=0.6)
        first.set(xlabel=r"$s$ along $v$ (half-widths)", ylabel=r"flow $w\cdot F\,/\,r$", ylim=(-1, 11))
        told = ghosts[ghosts["crossing"] >= 2]
        for column, name, look in (
            ("crossing_canonical", "arctangent of r, a", {"marker": "o", "color": style.SERIES_COLORS[4]}),
            ("crossing_bent", "second order", {"marker": "x", "color": style.SERIES_COLORS[0]}),
        ):
            axes[1].plot(told[column], told["crossing"], linestyle="", markersize=3, label=name, **look)
        axes[2].plot(
            1 / np.sqrt(ghosts["r"] * ghosts["a"]), ghosts["passage_bent"], "x", markersize=3,
            color=style.SERIES_COLORS[0], label="second order",
        )  # fmt: skip
        lines = (axes[1], 1.0, "as expected"), (axes[2], np.pi, r"$\pi/\sqrt{ra}$")
        for ax, slope, name in lines:
            values = [line.get_xydata() for line in ax.get_lines()]
            every = np.concatenate([np.asarray(v, float) for v in values])
            x, y = (part[np.isfinite(part) & (part > 0)] for part in every.T)
            if len(x) and len(y):
                low, high = x.min() / 1.2, x.max() * 1.2
                ax.plot([low, high], [slope * low, slope * high], color="black", linestyle=(0, (4, 3)), linewidth=0.9,
                        label=name)  # fmt: skip
                style.log_axis(ax.xaxis, low, high)
                style.log_axis(ax.yaxis, min(y.min(), slope * low) / 1.2, max(y.max(), slope * high) * 1.2)
        axes[1].set(xlabel="steps expected", ylabel="steps taken")
        axes[2].set(xlabel=r"$1/\sqrt{ra}$ (τ)", ylabel="whole passage (τ)")
        for ax, letter in zip(axes, "abc", strict=True):
            style.panel_letter(ax, letter)
            if ax is not first:
                ax.legend(loc="upper left", fontsize=6)
        head, _, about = title.partition("\n")
        handles, names = first.get_legend_handles_labels()
        frame(fig, title=head, about=about, handles=handles, labels=names, legend_title="a:", note=note)
    return fig
