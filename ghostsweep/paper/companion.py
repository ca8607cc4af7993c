"""The companion paper's figure (arXiv 2502.17433): phases, their boundaries, and the toy models that explain them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import theory
from ghostsweep.analysis.count_law import count_law
from ghostsweep.analysis.failing import FASTEST, PUBLISHED, boundaries, law
from ghostsweep.analysis.mechanisms import agreement, by_index, by_motion, mechanisms
from ghostsweep.figures import style
from ghostsweep.figures.phase import phase_diagram
from ghostsweep.store.tables import Tables

COLORS = {"no_solution": style.WORST_COLOR, "slow_point_manifold": style.SERIES_COLORS[0]}
SHORT = 0.01
"""Response of a toy model as a share of its delay, where it is short."""


def companion(narrow: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw phases and boundaries of a sweep of learning rate and delay, and the toy models.

    a: the most frequent outcome by the paper's index, faded where seeds disagree. b: the same by our criterion. c: the
    delay at which each learning rate passes into no solution, and out of slow points, by the paper's fits on the
    outcomes of a, with the exponents of rate = C T^-beta. d: critical learning rates of the toy models, in their own
    units. width: inches. Raises UsageError for other runs.
    """
    runs, own = by_index(narrow.runs), by_motion(narrow.runs)
    with style.rc():
        fig = style.new_figure(width, 6.6)
        axes = fig.subplots(2, 2).ravel()
        for ax, table, name in zip(axes, (runs, own), ("by the index", "by our criterion"), strict=False):
            phase_diagram(table, x="delay_ms", ax=ax, title=f"{name}\n ")
            ax.set_title("")
        remarks = _boundaries(axes[2], runs)
        _toys(axes[3])
        for ax, letter in zip(axes, "abcd", strict=True):
            style.panel_letter(ax, letter, x=-0.17)
        if (verdicts := mechanisms(narrow.runs))["learned"].any():
            differ, learned = (int(agreement(verdicts)[name].iloc[0]) for name in ("n_differ", "n_runs"))
            remarks.append(
                f"a, b: the two differ in {differ} of {learned} runs that learned; a: the relative sign of two "
                "components is arbitrary, here the largest weight of each is positive."
            )
        style.remark(fig, [*remarks, style.scale(narrow, "a to c")])
    return fig


def _boundaries(ax: Axes, runs: pd.DataFrame) -> list[str]:
    """Draw T_c of every rate and the law through them; return remarks."""
    remarks, drawn = list[str](), list[pd.DataFrame]()
    for phase, color in COLORS.items():
        rates = np.sort(runs["learning_rate"].unique())[-(FASTEST[phase] or 10**9) :]
        table = boundaries(runs[runs["learning_rate"].isin(rates)], phase)
        inside, found, name = table[table["censored"] == ""], law(runs, phase), style.outcome_text(phase)
        drawn.append(inside)
        by_fits = f"{name}, the paper's fits"
        if found is not None:
            by_fits += f": {found.beta:.1f} ({found.ci_low:.1f} to {found.ci_high:.1f})"
        ax.plot(inside["at"], inside["learning_rate"], "o", markersize=3, color=color, label=by_fits)
        if (runs["outcome"] == phase).any():
            line, ends = count_law(runs, phase), np.log([rates[0], rates[-1]])
            said = f"of all counts: {line.beta:.1f} ({line.ci_low:.1f} to {line.ci_high:.1f})"
            at = np.exp((line.log_c - ends) / line.beta)
            ax.plot(at, np.exp(ends), color=color, linewidth=1.0, label=f"{said}; paper {PUBLISHED[phase][0]}")
            drawn.append(pd.DataFrame({"at": at, "learning_rate": np.exp(ends)}))
        if lost := len(table) - len(inside):
            remarks.append(f"c, {style.outcome_text(phase)}: {lost} of {len(table)} rates have no boundary inside.")
    both = pd.concat(drawn)
    if len(both):
        style.log_axis(ax.xaxis, both["at"].min() / 1.3, both["at"].max() * 1.3)
        style.log_axis(ax.yaxis, both["learning_rate"].min() / 1.3, both["learning_rate"].max() * 1.3)
    ax.set_xlabel(r"delay at the boundary, $T_c$ (ms)")
    ax.set_ylabel("learning rate")
    _legend(ax, "exponent (95% over seeds)")
    return remarks


def _toys(ax: Axes) -> None:
    """Draw critical rates of both toy models against the delay, for a response as long and for a short one."""
    delays = np.geomspace(1, 100, 60)
    for kind, color in zip(theory.TOYS, style.SERIES_COLORS, strict=False):
        for share, dashes, said in ((1.0, "-", "response = delay"), (SHORT, "--", f"response = {SHORT:g}")):
            rates = [theory.toy_critical_lr(kind, d, d if share == 1 else SHORT) for d in delays]
            slope = np.polyfit(np.log(delays), np.log(rates), 1)[0]
            label = f"{style.outcome_text(kind)}, {said}: {-slope:.1f}"
            ax.plot(delays, rates, dashes, color=color, linewidth=1.0, label=label)
    style.log_axis(ax.xaxis, 1, 100)
    ax.set_yscale("log")
    ax.set_xlabel("delay of the toy model")
    ax.set_ylabel("critical learning rate")
    _legend(ax, "exponent")


def _legend(ax: Axes, title: str) -> None:
    ax.legend(title=title, loc="lower left", bbox_to_anchor=(0.0, 1.02), alignment="left", borderaxespad=0, borderpad=0)
