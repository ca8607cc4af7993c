"""Loss, accuracy and gradient norm against epoch, of one run or several."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.framing import frame

PANELS = {"loss": "loss", "accuracy": "accuracy", "grad_norm": "gradient norm"}
MAX_NAMED = 12
"""Runs that a legend names; of more, the colours go from dark to pale in their order."""


def learning_curves(curves: Mapping[str, pd.DataFrame], *, title: str = "", width: float = style.TWO_COLUMNS) -> Figure:
    """Draw what training went through, a panel each for loss, accuracy and gradient norm, a colour a run.

    curves: by the name of each run a table with the columns epoch, loss, accuracy and grad_norm. An axis is logarithmic
    where values span a factor of 30 or more and none is below 0. title: its further lines in small type. width: inches.
    Raises UsageError without any runs or columns.
    """
    if not curves:
        raise UsageError("learning curves: no runs to draw")
    for name, table in curves.items():
        style.require(table, ["epoch", *PANELS], f"learning curves of {name}")
    colors = style.ordered_colors(range(len(curves)))
    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.4 if wide else 5.2)
        axes = fig.subplots(*((1, 3) if wide else (3, 1)), sharex=True)
        for ax, (column, label) in zip(axes, PANELS.items(), strict=True):
            drawn = []
            for index, (name, table) in enumerate(curves.items()):
                at, values = table["epoch"].to_numpy(dtype=float), table[column].to_numpy(dtype=float)
                kept = np.isfinite(values)
                marker = "o" if kept.sum() < 3 else ""
                ax.plot(at[kept], values[kept], color=colors[index], marker=marker, linewidth=0.9, label=name)
                drawn.append(values[kept])
            every = np.concatenate(drawn)
            positive = every[every > 0]
            spans = len(positive) > 0 and (every >= 0).all() and positive.max() > 30 * positive.min()
            if column != "accuracy" and spans:
                low = max(positive.min(), positive.max() * 1e-9)
                style.log_axis(ax.yaxis, low / 1.3, positive.max() * 1.3)
            if column == "accuracy":
                ax.set_ylim(-0.03, 1.03)
            ax.set_ylabel(label)
        for ax in axes if wide else axes[-1:]:
            ax.set_xlabel("epoch")
        handles, names = axes[0].get_legend_handles_labels()
        named = 1 < len(curves) <= MAX_NAMED
        head, _, about = title.partition("\n")
        frame(fig, title=head, about=about, handles=handles if named else (), labels=names if named else ())
    return fig
