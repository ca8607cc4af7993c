"""The critical learning rate against the timescale, and the collapse of the canonical form on eta."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import analysis, theory
from ghostsweep.analysis.critical import ESTIMATES
from ghostsweep.errors import UsageError
from ghostsweep.figures import style

_SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ALWAYS = ("model", "boundary", "share")


def scaling_plot(
    critical: pd.DataFrame, fit: pd.DataFrame | None = None, *, width: float = style.ONE_COLUMN
) -> Figure:
    """Draw the critical learning rate against the timescale, its power law, and the residuals beneath.

    critical: table of `analysis.critical_lr`; points with their interval, censored cells as arrows from the end of
    their grid. fit: table of `analysis.fit_power_law` on it; each line with its band, its numbers in the legend; None
    or a fit of too few points draws the points alone. The canonical form gets the exact line beside it. A colour
    per series of the fit. width: inches. Raises UsageError for an empty table, missing columns, or more series than
    colours.
    """
    needed = [*_ALWAYS, "timescale", "lr_critical", "lr_below", "lr_above", "ci_low", "ci_high", "censored"]
    style.require(critical, needed, "scaling plot")
    series = _series(critical, fit)
    if len(series) > len(_SERIES_COLORS):
        raise UsageError(f"scaling plot: shows at most {len(_SERIES_COLORS)} series, found {len(series)}")
    exact = all(fields["model"] == "canonical" and fields["boundary"] == "upper" for fields, _, _ in series)
    rates = critical[["lr_below", "lr_above", "lr_critical", "ci_low", "ci_high"]].to_numpy(dtype=float)
    rates = rates[np.isfinite(rates) & (rates > 0)]
    span = critical["timescale"].to_numpy(dtype=float)
    line_x = np.geomspace(span.min() / 1.3, span.max() * 1.3, 100)

    with style.rc():
        fig = style.new_figure(width, 3.9 if width <= style.ONE_COLUMN else 4.2)
        top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        style.log_axis(top.yaxis, rates.min() / 2, rates.max() * 2)
        style.log_axis(top.xaxis, line_x[0], line_x[-1])
        varying = [f for f in series[0][0] if len({str(fields.get(f)) for fields, _, _ in series}) > 1]
        for (fields, rows, law), color in zip(series, _SERIES_COLORS, strict=False):
            name = ", ".join(style.value_text(f, fields[f]) for f in varying)
            found, ends = _points(top, rows, color, name)
            _arrows(top, rows, color)
            fitted = law is not None and np.isfinite(law["exponent"])
            if law is not None and fitted:
                _fitted_line(top, line_x, found["timescale"], law, color)
            x = found["timescale"].to_numpy(dtype=float)
            if exact:
                reference = theory.critical_learning_rate(x)
            elif law is not None and fitted:
                reference = law["prefactor"] * x ** law["exponent"]
            else:
                continue
            bottom.vlines(x, ends[0] / reference, ends[1] / reference, color=color, linewidth=0.9)
            bottom.plot(x, found["lr_critical"] / reference, "o", color=color)
        if exact:
            label = f"exact onset, ${theory.CRITICAL_PREFACTOR:.3g}\\,T^{{{theory.CRITICAL_EXPONENT:g}}}$"
            rate = theory.critical_learning_rate(line_x)
            top.plot(line_x, rate, color="black", linestyle="--", linewidth=0.9, label=label)
        bottom.axhline(1.0, color="black", linestyle="--" if exact else "-", linewidth=0.7)
        bottom.set_ylabel("measured\n/ exact" if exact else "measured\n/ fit")
        bottom.set_xlabel(style.label(critical, "timescale"))
        top.set_ylabel("critical learning rate")
        fig.legend(*top.get_legend_handles_labels(), loc="outside upper center")
        fig.align_ylabels([top, bottom])
        style.remark(fig, _censored_remark(critical))
    return fig


def _series(
    critical: pd.DataFrame, fit: pd.DataFrame | None
) -> list[tuple[dict[str, Any], pd.DataFrame, "pd.Series[Any] | None"]]:
    """Return (fields, rows of critical, row of fit or None) of every series."""
    if fit is not None and not fit.empty:
        style.require(fit, [*_ALWAYS, "exponent", "prefactor"], "scaling plot, fit")
        keys = [c for c in fit.columns if c in _ALWAYS or (c in critical.columns and c not in ESTIMATES)]
    else:
        at_same_x = critical.groupby([*_ALWAYS, "timescale"], dropna=False)
        others = [c for c in critical.columns if c not in (*ESTIMATES, *_ALWAYS, "timescale")]
        keys = [*_ALWAYS, *(c for c in others if (at_same_x[c].nunique(dropna=False) > 1).any())]
    result = []
    for key, rows in critical.groupby(keys, dropna=False, sort=True):
        fields = dict(zip(keys, key, strict=True))
        law = None
        if fit is not None and not fit.empty:
            mine = np.logical_and.reduce([fit[k].isna() if pd.isna(v) else fit[k] == v for k, v in fields.items()])
            law = fit[mine].iloc[0] if mine.any() else None
        result.append((fields, rows, law))
    return result


def _points(ax: Axes, rows: pd.DataFrame, color: str, name: str) -> tuple[pd.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """Draw the measured rates with their intervals; return the rows drawn and the intervals' ends."""
    found = rows[(rows["censored"] == "") & rows["lr_critical"].notna()].sort_values("timescale")
    middle = found["lr_critical"].to_numpy(dtype=float)
    bounds = ax.get_ylim()  # an open end of an interval (0 or inf) runs to the edge of the axes
    low = np.clip(np.nan_to_num(found["ci_low"].to_numpy(dtype=float), nan=bounds[0]), bounds[0], middle)
    high = np.clip(np.nan_to_num(found["ci_high"].to_numpy(dtype=float), nan=bounds[1]), middle, bounds[1])
    ax.vlines(found["timescale"], low, high, color=color, linewidth=0.9)
    label = f"{name}: measured, 95%" if name else "measured, 95% interval"
    ax.plot(found["timescale"], middle, "o", color=color, label=label)
    return found, (low, high)


def _arrows(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    """Draw censored cells as arrows that start at the end of the grid where the boundary was lost."""
    for side, column, marker in (("below", "lr_above", r"$\downarrow$"), ("above", "lr_below", r"$\uparrow$")):
        cells = rows[rows["censored"] == side]
        if len(cells):
            ax.plot(cells["timescale"], cells[column], marker=marker, markersize=8, linestyle="", color=color)


def _censored_remark(critical: pd.DataFrame) -> list[str]:
    censored = critical["censored"] != ""
    if not censored.any():
        return []
    return [f"Arrows: {int(censored.sum())} of {len(critical)} cells, whose boundary lies beyond their learning rates."]


def _fitted_line(ax: Axes, x: np.ndarray, used: pd.Series, law: "pd.Series[Any]", color: str) -> None:
    """Draw prefactor * x^exponent with its band, and its numbers as label.

    The fit gives the intervals of slope b and intercept a only; they are strongly correlated through the distance of
    the data from T = 1. For least squares var(a) = var(mean of y) + xm^2 var(b), xm the mean of log T, which gives
    back the variance along the line, var(mean of y) + (log x - xm)^2 var(b).
    """
    log_x, middle = np.log(x), float(np.log(used).mean())
    slope = float(law["exponent_high"] - law["exponent_low"]) / 2
    intercept = float(np.log(law["prefactor_high"] / law["prefactor_low"])) / 2
    at_middle = max(intercept**2 - (middle * slope) ** 2, 0.0)
    half = np.sqrt(at_middle + ((log_x - middle) * slope) ** 2)
    line = law["prefactor"] * x ** law["exponent"]
    exponent, prefactor = (
        f"{style.sci(law[name])} [{style.sci(law[name + '_low'])}, {style.sci(law[name + '_high'])}]"
        for name in ("exponent", "prefactor")
    )
    ax.plot(x, line, color=color, label=f"fit: exponent {exponent}\nprefactor {prefactor}")
    ax.fill_between(x, line * np.exp(-half), line * np.exp(half), color=color, alpha=0.2, linewidth=0)


def eta_collapse(runs: pd.DataFrame, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the share of trapped seeds and the recent mean loss of the canonical form against eta = 8 lr T^5 / pi^4.

    Every timescale has its colour; all fall on one curve. A line marks eta = 3/4, above which a run can be trapped;
    an inset shows the rise of the share just above it. Diverged runs are left out, and counted. width: inches. Raises
    UsageError for an empty table, missing columns, or another model.
    """
    style.require(runs, ["run_id", "model", "timescale", "learning_rate", "seed", "status"], "eta collapse")
    if style.single_value(runs, "model", "eta collapse") != "canonical":
        raise UsageError(f"eta collapse: needs runs of the canonical form, found {runs['model'].iloc[0]!r}")
    judged = runs if "outcome" in runs.columns else analysis.outcomes(runs)
    loss = judged["recent_mean_loss"].to_numpy(dtype=float, na_value=np.nan)
    kept = judged[(judged["outcome"] != "diverged").to_numpy() & np.isfinite(loss)]
    if kept.empty:
        raise UsageError(f"eta collapse: all {len(runs)} runs diverged, so there is nothing to draw")
    by = ["timescale", "learning_rate"]
    table = analysis.shares(kept, by).merge(analysis.mean_sem(kept, by, "recent_mean_loss"), on=by)
    table["eta"] = theory.eta(table["learning_rate"], table["timescale"])
    colors = style.ordered_colors(table["timescale"].tolist())

    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.8 if wide else 4.9)
        share, floor = fig.subplots(*((1, 2) if wide else (2, 1)))
        zoom = share.inset_axes((0.17, 0.22, 0.46, 0.56))
        for timescale, rows in table.groupby("timescale"):
            rows = rows.sort_values("eta")
            look = {"color": colors[float(str(timescale))], "marker": ".", "markersize": 2.5, "linewidth": 0.7}
            for ax in (share, zoom):
                ax.plot(rows["eta"], rows["share_trapped"], label=f"{float(str(timescale)):g}", **look)
            floor.plot(rows["eta"], rows["mean"], **look)
        low, high = float(table["eta"].min()) / 1.2, float(table["eta"].max()) * 1.2
        for ax in (share, floor):
            style.log_axis(ax.xaxis, min(low, 0.5), max(high, 1.0))
            ax.set_xlabel("scale parameter η")
        for ax in (share, floor, zoom):
            ax.axvline(theory.CRITICAL_ETA, color="black", linestyle="--", linewidth=0.8)
        zoom.set_xlim(0.7, 0.8)
        zoom.set_ylim(-0.05, 1.05)
        zoom.set_xticks([0.7, 0.75, 0.8])
        share.set_ylabel("share of seeds trapped")
        floor.set_ylabel("recent mean loss")
        if (table["mean"] > 0).any():
            floor.set_yscale("log")
        for ax, letter in ((share, "a"), (floor, "b")):
            style.panel_letter(ax, letter)
        _timescale_legend(fig, share, len(colors), wide)
        remarks = ["Dashed: η = 3/4, the largest that never traps."]
        style.remark(fig, remarks + style.left_out(len(judged) - len(kept), len(judged), "diverged"))
    return fig


def _timescale_legend(fig: Figure, ax: Axes, n_timescales: int, wide: bool) -> None:
    """Name every timescale's colour, or if there are many the first, the last and a few between."""
    handles: Sequence[Any] = ax.get_lines()[:n_timescales]
    most = 10 if wide else 6
    if len(handles) > most:
        handles = [handles[round(i)] for i in np.linspace(0, len(handles) - 1, most)]
    fig.legend(handles=handles, title="timescale T (steps)", loc="outside upper center", ncols=len(handles))
