"""The critical learning rate against a field, and the collapse of the canonical form on eta."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style

MAX_SERIES = len(style.SERIES_COLORS)
_ALWAYS = ("model", "boundary", "share")


def scaling_plot(
    critical: pd.DataFrame,
    fit: pd.DataFrame | None = None,
    *,
    x: str = "timescale",
    width: float = style.ONE_COLUMN,
) -> Figure:
    """Draw critical learning rates against a field, their power laws, and the residuals beneath.

    critical: table of `analysis.critical_lr`; points with their interval, upper boundaries filled and lower
    ones open, censored cells as arrows from what is known of them. fit: table of `analysis.fit_power_law` on
    it, of which the rows along x are used; each line with its band, its numbers in the legend; None or a fit
    of too few points draws the points alone. The upper boundary of the canonical form against the timescale
    gets the exact line beside it. A colour per series of the fit. width: inches. Raises UsageError for an
    empty table, missing columns, or more series than colours.
    """
    needed = [*_ALWAYS, x, "lr_critical", "lr_below", "lr_above", "ci_low", "ci_high", "censored"]
    style.require(critical, needed, "scaling plot")
    series = _series(critical[critical[x].notna()], fit, x)
    if len(series) > MAX_SERIES:
        raise UsageError(f"scaling plot: shows at most {MAX_SERIES} series, found {len(series)}")
    exact = [x == "timescale" and f["boundary"] == "upper" and analysis.is_closed_form(rows) for f, rows, _ in series]
    rates = critical[["lr_below", "lr_above", "lr_critical", "ci_low", "ci_high"]].to_numpy(dtype=float)
    rates = rates[np.isfinite(rates) & (rates > 0)]
    span = critical[x].dropna().to_numpy(dtype=float)
    line_x = np.geomspace(span.min() / 1.3, span.max() * 1.3, 100)

    with style.rc():
        narrow = width <= style.ONE_COLUMN
        fig = style.new_figure(width, 3.5 + 0.42 * len(series) if narrow else 4.2)  # narrow: the legend is on top
        top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        style.log_axis(top.yaxis, rates.min() / 3, rates.max() * 3)
        style.log_axis(top.xaxis, line_x[0], line_x[-1])
        varying = [f for f in series[0][0] if len({str(fields.get(f)) for fields, _, _ in series}) > 1]
        for i, ((fields, rows, law), color) in enumerate(zip(series, style.SERIES_COLORS, strict=False)):
            name = ", ".join(style.value_text(f, fields[f]) for f in varying)
            look = {"color": color, "markerfacecolor": "white" if fields["boundary"] == "lower" else color}
            found, ends = _points(top, rows, x, look, name)
            _arrows(top, rows, x, color)
            fitted = law is not None and np.isfinite(law["exponent"])
            if law is not None and fitted:
                _fitted_line(top, line_x, found, x, law, color)
            at = found[x].to_numpy(dtype=float)
            if exact[i]:
                reference = theory.critical_lr(at)
            elif law is not None and fitted:
                reference = law["prefactor"] * at ** law["exponent"]
            else:
                continue
            aside = at * 1.03 ** (i - (len(series) - 1) / 2)  # series side by side, not on top of each other
            bottom.vlines(aside, ends[0] / reference, ends[1] / reference, color=color, linewidth=0.9)
            bottom.plot(aside, found["lr_critical"] / reference, "o", **look)
        if any(exact):
            label = f"exact onset, ${theory.CRITICAL_PREFACTOR:.3g}\\,T^{{{theory.CRITICAL_EXPONENTS['TL']:g}}}$"
            top.plot(line_x, theory.critical_lr(line_x), color="black", linestyle="--", linewidth=0.9, label=label)
        bottom.axhline(1.0, color="black", linestyle="--" if all(exact) else "-", linewidth=0.7)
        compared = "exact" if all(exact) else "exact or fit" if any(exact) else "fit"
        bottom.set_ylabel(f"measured\n/ {compared}")
        bottom.set_xlabel(style.label(critical, x))
        top.set_ylabel("critical learning rate")
        handles, labels = top.get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center" if narrow else "outside right upper")
        fig.align_ylabels([top, bottom])
        style.remark(fig, _remarks(critical, any(exact)))
    return fig


def _series(
    critical: pd.DataFrame, fit: pd.DataFrame | None, x: str
) -> list[tuple[dict[str, Any], pd.DataFrame, "pd.Series[Any] | None"]]:
    """Return (fields, rows of critical, row of fit or None) of every series."""
    if fit is not None and not fit.empty:
        style.require(fit, ["along", *_ALWAYS, "exponent", "prefactor", "level"], "scaling plot, fit")
        fit = fit[fit["along"] == x]
    laws = [] if fit is None else [law for _, law in fit.iterrows()]
    result = []
    for fields, rows in analysis.series_along(critical, x):
        mine = [law for law in laws if all(_same(law[field], value) for field, value in fields.items())]
        result.append((fields, rows, mine[0] if mine else None))
    return sorted(result, key=lambda one: str(one[0]["boundary"]), reverse=True)  # upper boundaries first


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (pd.isna(one) and pd.isna(other)))


def _points(
    ax: Axes, rows: pd.DataFrame, x: str, look: dict[str, Any], name: str
) -> tuple[pd.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """Draw the measured rates with their intervals; return the rows drawn and the intervals' ends."""
    found = rows[(rows["censored"] == "") & rows["lr_critical"].notna()].sort_values(x)
    middle = found["lr_critical"].to_numpy(dtype=float)
    bounds = ax.get_ylim()  # an open end of an interval (0 or inf) runs to the edge of the axes
    low = np.clip(np.nan_to_num(found["ci_low"].to_numpy(dtype=float), nan=bounds[0]), bounds[0], middle)
    high = np.clip(np.nan_to_num(found["ci_high"].to_numpy(dtype=float), nan=bounds[1]), middle, bounds[1])
    ax.vlines(found[x], low, high, color=look["color"], linewidth=0.9)
    label = f"{name}: measured, 95%" if name else "measured, 95% interval"
    ax.plot(found[x], middle, "o", label=label, **look)
    return found, (low, high)


def _arrows(ax: Axes, rows: pd.DataFrame, x: str, color: str) -> None:
    """Draw censored cells as arrows that start at what the boundary is at most, or at least."""
    for sides, column, end in ((("below", "epochs"), "ci_high", "lr_above"), (("above",), "ci_low", "lr_below")):
        cells = rows[rows["censored"].isin(sides)]
        known, seen = (cells[name].to_numpy(dtype=float) for name in (column, end))
        rate, down = np.where(np.isfinite(known) & (known > 0), known, seen), column == "ci_high"
        length = [rate * 0.4, 0 * rate] if down else [0 * rate, rate * 1.2]
        look: dict[str, Any] = {
            "color": color,
            "elinewidth": 0.9,
            "marker": "_",
            "linestyle": "",
            "markersize": 5,
        }
        ax.errorbar(cells[x], rate, length, uplims=down, lolims=not down, **look)


def _remarks(critical: pd.DataFrame, exact: bool) -> list[str]:
    remarks = []
    shares = critical["share"].unique()
    if exact and len(shares) == 1 and shares[0] > 0:
        remarks.append(
            f"Measured: {shares[0]:.0%} of seeds collapse. "
            "Exact onset: any can (η\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}3/4)."
        )
    if n_censored := int((critical["censored"] != "").sum()):
        remarks.append(
            f"Arrows: {n_censored} of {len(critical)} boundaries, beyond the learning rates or epochs of their cell."
        )
    return remarks


def _fitted_line(ax: Axes, line_x: np.ndarray, found: pd.DataFrame, x: str, law: "pd.Series[Any]", color: str) -> None:
    """Draw prefactor * x^exponent with its band, and its numbers as label.

    The intervals of exponent and prefactor are far from independent, since the data are far from T = 1. So
    the band is built at the middle of the data, where level and slope are independent: the level's half width
    comes from the scatter about the line and the points' own intervals, the slope's from the exponent's.
    """
    log_x, at = np.log(line_x), np.log(found[x].to_numpy(dtype=float))
    measured = np.log(found["lr_critical"].to_numpy(dtype=float))
    scatter = np.std(measured - np.log(law["prefactor"]) - law["exponent"] * at)
    scatter *= NormalDist().inv_cdf(0.5 + law["level"] / 2)
    ends = found[["ci_low", "ci_high"]].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends).all(axis=1) & (ends > 0).all(axis=1)]
    own = np.log(ends[:, 1] / ends[:, 0]) / 2 if len(ends) else np.zeros(1)
    level = np.sqrt((scatter**2 + np.mean(own**2)) / len(at))
    slope = float(law["exponent_high"] - law["exponent_low"]) / 2
    half = np.hypot(level, (log_x - at.mean()) * slope)
    line = law["prefactor"] * line_x ** law["exponent"]
    decimals = int(np.clip(1 - np.floor(np.log10(2 * slope + 1e-9)), 2, 4))  # two digits of the interval
    exponent = [f"{law['exponent' + end]:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for end in ("", "_low", "_high")]
    prefactor = [style.sci(law["prefactor" + end]) for end in ("", "_low", "_high")]
    text = "fit: exponent {} [{}, {}]\nprefactor {} [{}, {}]".format(*exponent, *prefactor)
    ax.plot(line_x, line, color=color, label=text)
    ax.fill_between(line_x, line * np.exp(-half), line * np.exp(half), color=color, alpha=0.2, linewidth=0)


def eta_collapse(runs: pd.DataFrame, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw the canonical form's share of collapsed seeds and recent mean loss against eta = 8 lr T^5 / pi^4.

    Every timescale has its colour; all fall on one curve. A line marks eta = 3/4, above which a run can be
    trapped; an inset shows the rise of the share just above it. Diverged runs are left out, and counted.
    width: inches. Raises UsageError for an empty table, missing columns, or another model.
    """
    style.require(runs, ["run_id", "model", "timescale", "learning_rate", "seed", "status"], "eta collapse")
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
    colors = style.ordered_colors(table["timescale"].tolist())

    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.8 if wide else 4.9)
        share, floor = fig.subplots(*((1, 2) if wide else (2, 1)))
        zoom = share.inset_axes((0.1, 0.2, 0.34, 0.6))
        # Wide below narrow: curves that coincide all stay visible.
        for (timescale, color), size in zip(
            colors.items(), np.linspace(min(3.5, 0.2 + 0.7 * len(colors)), 0.7, len(colors)), strict=True
        ):
            rows = table[table["timescale"] == timescale].sort_values("eta")
            look: dict[str, Any] = {
                "color": color,
                "marker": "o",
                "markersize": 1.6 * size,
                "linewidth": size,
            }
            look["markeredgewidth"] = 0.0
            collapsed = rows[[f"share_{name}" for name in analysis.COLLAPSED]].sum(axis=1)
            for ax in (share, zoom):
                ax.plot(rows["eta"], collapsed, label=f"{timescale:.4g}", **look)
            floor.plot(rows["eta"], rows["mean"], **look)
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
        _timescale_legend(fig, share, len(colors), wide)
        remarks = ["Dashed: η = 3/4, the largest that never traps."]
        style.remark(fig, remarks + style.left_out(len(judged) - len(kept), len(judged), "diverged"))
    return fig


def _timescale_legend(fig: Figure, ax: Axes, n_timescales: int, wide: bool) -> None:
    """Name every timescale's colour, or if there are many the first, the last and a few between."""
    handles: Sequence[Any] = ax.get_lines()[:n_timescales]
    if len(handles) > 7:
        handles = [handles[round(i)] for i in np.linspace(0, len(handles) - 1, 7)]
    n_columns = min(len(handles), 7 if wide else 4)
    fig.legend(handles=handles, title="timescale T (steps)", loc="outside upper center", ncols=n_columns)
