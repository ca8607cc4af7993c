"""Figure 1 of the paper: the flow x^2 + r just after and just before a saddle-node, ghost against fixed points."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep.figures import style

R = (0.5, -0.5)
"""r of the two panels, in 1 / time^2 with x in 1 / time."""
_ARROWS: Any = {"color": style.SERIES_COLORS[0], "width": 0.006, "headwidth": 4.5, "headlength": 5, "zorder": 3}


def fig1(*, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the flow dx/dt = x^2 + r over x in [-1, 1] for r = 0.5 and -0.5 (Fig. 1).

    For r > 0 the slowest point, x = 0 with speed r, is a ghost; for r < 0 there are two fixed points, stable at
    -sqrt(-r) and unstable at sqrt(-r). Arrows show the flow on the axis. width: inches.
    """
    with style.rc():
        side_by_side = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.7 if side_by_side else 4.6)
        axes = fig.subplots(*((1, 2) if side_by_side else (2, 1)), sharex=True, sharey=True)
        for ax, r, letter in zip(axes, R, "ab", strict=True):
            _flow(ax, r)
            style.panel_letter(ax, letter)
            if not side_by_side or letter == "a":
                ax.set_ylabel("flow dx/dt")
            if side_by_side or letter == "b":
                ax.set_xlabel("state x")
        style.remark(fig, ["Arrows: the flow on the axis, longer where it is faster."])
    return fig


def _flow(ax: Axes, r: float) -> None:
    x = np.linspace(-1, 1, 201)
    ax.axhline(0, color=style.MUTED, linewidth=0.6)
    ax.plot(x, x**2 + r, color="black", label="flow")
    at = np.linspace(-0.87, 0.87, 7)
    # Each arrow's middle is where its flow is, and its length that flow in units of x, five times reduced.
    ax.quiver(at, 0 * at, (at**2 + r) / 5, 0 * at, pivot="middle", angles="xy", scale_units="xy", scale=1, **_ARROWS)
    if r > 0:
        ax.plot([0], [r], "D", color=style.SERIES_COLORS[4], markersize=5, label="ghost")
        ax.vlines(0, 0, r, color=style.SERIES_COLORS[4], linestyle=":", linewidth=1.0)
        ax.text(0.05, r / 2, f"speed {r:g}", va="center", fontsize=7)
        kind = "ghost of the two fixed points"
    else:
        root = float(np.sqrt(-r))
        ax.plot([-root], [0], "o", color="black", markersize=5, label="stable fixed point")
        ax.plot([root], [0], "o", color="black", markerfacecolor="white", markersize=5, label="unstable fixed point")
        kind = "two fixed points"
    ax.set_title(f"r = {r:g}: {kind}".replace("-", "\N{MINUS SIGN}"))
    ax.set_xlim(-1, 1)
    ax.set_xticks(np.linspace(-1, 1, 5))
    ax.set_ylim(-0.75, 1.7)
    ax.legend(loc="upper center")
