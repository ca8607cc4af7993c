"""The collapse of the canonical form on eta: every timescale on one curve."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style

_DRAWN = 6
"""Timescales that are drawn at most, of more those spread evenly."""
_DASH = 2.2
"""Length of a dash, in line widths."""


def eta_collapse(runs: pd.DataFrame, *, width: float = style.TWO_COLUMNS, title: str = "", note: str = "") -> Figure:
    """Draw the canonical form's share of collapsed seeds and recent mean loss against eta = 8 lr T^5 / pi^4.

    Every timescale has its colour, of more than six those spread evenly; all fall on one curve, along which the
    colours take turns. A line marks eta = 3/4, above which a run can be trapped; an inset shows the rise of the share
    just above it. Diverged runs are left out, and counted. width: inches. title, note: as in `phase_diagram`. Raises
    UsageError for an empty table, missing columns, or another model.
    """
    runs = style.require_runs(runs, ["run_id", "model", "timescale", "learning_rate", "seed", "status"], "eta collapse")
    if style.single_value(runs, "model", "eta collapse") != "canonical":
        found = repr(runs["model"].iloc[0])
        raise UsageError(f"eta collapse: needs runs of the canonical form in closed form, found {found}")
    judged = runs if "outcome" in runs.columns else analysis.outcomes(runs)
    loss = judged["recent_mean_loss"].to_numpy(dtype=float, na_value=np.nan)
    kept = judged[(judged["outcome"] != "diverged").to_numpy() & np.isfinite(loss)]
    if kept.empty:
        raise UsageError(f"eta collapse: all {len(runs)} runs diverged, so there is nothing to draw")
    by = ["timescale", "learning_rate"]
    table = analysis.shares(kept, by).merge(analysis.mean_sem(kept, by, "recent_mean_loss"), on=by)
    table["eta"] = theory.eta(table["learning_rate"], table["timescale"])
    timescales = np.sort(table["timescale"].unique())
    chosen = timescales[np.unique(np.linspace(0, len(timescales) - 1, _DRAWN).round().astype(int))]
    colors = style.ordered_colors(chosen.tolist())

    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.3 if wide else 4.2)
        share, floor = fig.subplots(*((1, 2) if wide else (2, 1)))
        zoom = share.inset_axes((0.17, 0.2, 0.34, 0.6))
        handles = []
        for i, (timescale, color) in enumerate(colors.items()):
            rows = table[table["timescale"] == timescale].sort_values("eta")
            look: dict[str, Any] = {"color": color, "linewidth": 2.0}
            handles.append(Line2D([], [], label=f"{timescale:.4g}", **look))
            if len(colors) > 1:  # dashes over thin lines that take turns, so that curves that coincide all stay visible
                look |= {"linestyle": (-i * _DASH, (_DASH, _DASH * (len(colors) - 1))), "dash_capstyle": "butt"}
            collapsed = rows[[f"share_{name}" for name in analysis.COLLAPSED]].sum(axis=1)
            for ax, values in ((share, collapsed), (zoom, collapsed), (floor, rows["mean"])):
                ax.plot(rows["eta"], values, label=f"{timescale:.4g}", **look)
                curve = np.column_stack([rows["eta"], values])
                ax.add_collection(LineCollection([curve], colors=[color], linewidths=0.5))
        low, high = float(table["eta"].min()) / 1.2, float(table["eta"].max()) * 1.2
        for ax in (share, floor):
            style.log_axis(ax.xaxis, min(low, 0.5), max(high, 1.0))
            ax.set_xlim(max(min(low, 0.5), 1e-4), min(max(high, 1.0), 1e4))  # nothing happens further out
            ax.set_xlabel("scale parameter η")
        for ax in (share, floor, zoom):
            ax.axvline(theory.CRITICAL_ETA, color="black", linestyle="--", linewidth=0.8, zorder=5)
        zoom.set_xlim(0.7, 0.8)
        zoom.set_ylim(-0.05, 1.05)
        zoom.set_xticks([0.7, 0.75, 0.8])
        share.set_ylabel("share of seeds collapsed")
        floor.set_ylabel("recent mean loss")
        if (table["mean"] > 0).all():
            style.log_axis(floor.yaxis, float(table["mean"].min()) / 1.3, max(float(table["mean"].max()), 1.0) * 1.3)
        for ax, letter in ((share, "a"), (floor, "b")):
            style.panel_letter(ax, letter)
        remarks = ["Black, dashed: η = 3/4, the largest that never traps."]
        if len(chosen) > 1:
            remarks.append("Where curves coincide their colours take turns.")
        if len(chosen) < len(timescales):
            remarks.append(f"Drawn: {len(chosen)} of {len(timescales)} timescales.")
        remarks = [" ".join(remarks), *style.left_out(len(judged) - len(kept), len(judged), "diverged")]
        heading, about = naming.head(title, runs)
        framing.frame(
            fig,
            title=heading,
            about=about,
            note=note,
            handles=handles,
            legend_title=style.label(runs, "timescale"),
            remarks=remarks,
        )
    return fig
