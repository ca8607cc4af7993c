"""The critical learning rate against a field, with the power law through it."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style

MAX_SERIES = len(style.SERIES_COLORS)
_ALWAYS = ("model", "boundary", "share")


def scaling_plot(
    critical: pd.DataFrame,
    fit: pd.DataFrame | None = None,
    *,
    x: str = "timescale",
    width: float = style.ONE_COLUMN,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw critical learning rates against a field, their power laws, and the residuals beneath.

    critical: table of `analysis.critical_lr`; points with their interval, upper boundaries filled and lower
    ones open, censored cells and open ends of intervals as arrows from what is known of them. fit: table of
    `analysis.fit_power_law` on it, of which the rows along x are used; each line with its band, its numbers in the
    legend; None or a fit of too few points draws the points alone. The upper boundary of the canonical form against
    the timescale gets the exact line beside it. A colour per series of the fit. The values of a field of words, as
    the optimizer, are positions, without laws or residuals. width: inches. title, note: as in `phase_diagram`. Raises
    UsageError for an empty table, missing columns, or more series than colours.
    """
    needed = [*_ALWAYS, x, "lr_critical", "lr_below", "lr_above", "ci_low", "ci_high", "censored"]
    style.require(critical, needed, "scaling plot")
    heading, about = naming.head(title, critical)
    axis_label, words, field = style.label(critical, x), dict[Any, float](), x
    if naming.are_words(critical[x]):
        words, fit, x = naming.positions(critical[x]), None, "position"
        critical = naming.put(critical.assign(position=critical[field]), x, words)
        critical = critical.assign(model="") if field == "model" else critical.drop(columns=field)
    if critical[x].notna().sum() == 0:
        raise UsageError(f"scaling plot: no cell has {x}")
    series = _series(critical[critical[x].notna()], fit, x)
    if len(series) > MAX_SERIES:
        raise UsageError(f"scaling plot: shows at most {MAX_SERIES} series, found {len(series)}")
    exact = [x == "timescale" and f["boundary"] == "upper" and analysis.is_closed_form(rows) for f, rows, _ in series]
    rates = critical[["lr_below", "lr_above", "lr_critical", "ci_low", "ci_high"]].to_numpy(dtype=float)
    rates = rates[np.isfinite(rates) & (rates > 0)]
    if len(rates) == 0:
        raise UsageError(f"scaling plot: of none of {len(critical)} boundaries is anything known")
    span = critical[x].dropna().to_numpy(dtype=float)
    compared = any(exact) or any(law is not None and np.isfinite(law["exponent"]) for _, _, law in series)

    with style.rc():
        fig = style.new_figure(width, 3.1 if compared else 2.5)
        panels = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1]) if compared else [fig.subplots()]
        top, bottom = panels[0], panels[-1]
        style.log_axis(top.yaxis, rates.min() / 3, rates.max() * 3)
        line_x = np.geomspace(span.min() / 1.3, span.max() * 1.3, 100)
        if words:
            top.set_xlim(0.5, len(words) + 0.5)
            framing.ticks_at(
                top.xaxis, list(words.values()), [naming.value_text(critical, field, word, words) for word in words]
            )
        else:
            style.log_axis(top.xaxis, line_x[0], line_x[-1])
            framing.ticks_at(top.xaxis, span)
        varying = [f for f in series[0][0] if len({str(fields.get(f)) for fields, _, _ in series}) > 1]
        firsts = pd.DataFrame([rows.iloc[0] for _, rows, _ in series])
        handles = []
        for i, ((fields, rows, law), color) in enumerate(zip(series, style.SERIES_COLORS, strict=False)):
            name = naming.name_of(firsts, varying, firsts.iloc[i]) or str(fields["boundary"])
            look: dict[str, Any] = {
                "color": color,
                "markerfacecolor": "white" if fields["boundary"] == "lower" else color,
            }
            aside = 1.03 ** (i - (len(series) - 1) / 2)  # series side by side, not on top of each other
            shift = (i - (len(series) - 1) / 2) * 0.12 if words else 0.0
            found, ends = _points(top, rows, x, look, name, shift)
            _arrows(top, rows, x, color, shift)
            fitted = law is not None and np.isfinite(law["exponent"])
            handle = Line2D([], [], marker="o", linestyle="-" if fitted else "", label=name, **look)
            handles.append(handle)
            if law is not None and fitted:
                _fitted_line(top, line_x, found, x, law, color)
                handle.set_label(f"{name}: {_law_text(law, style.symbol(critical, x))}")
            at = found[x].to_numpy(dtype=float)
            if exact[i]:
                reference = theory.critical_lr(at)
            elif law is not None and fitted:
                reference = law["prefactor"] * at ** law["exponent"]
            else:
                continue
            bottom.vlines(at * aside, ends[0] / reference, ends[1] / reference, color=color, linewidth=0.9)
            ratio = found["lr_critical"].to_numpy(dtype=float) / reference
            bottom.plot(at * aside, ratio, "o", **look)
            _open_ratios(bottom, found, at * aside, ratio, color)
        if any(exact):
            label = f"exact onset, ${theory.CRITICAL_PREFACTOR:.3g}\\,T^{{{theory.CRITICAL_EXPONENTS['TL']:g}}}$"
            look = {"color": "black", "linestyle": "--", "linewidth": 0.9, "label": label}
            handles += top.plot(line_x, theory.critical_lr(line_x), **look)
        if compared:
            bottom.axhline(1.0, color="black", linestyle="--" if all(exact) else "-", linewidth=0.7)
            with_what = "exact" if all(exact) else "exact or fit" if any(exact) else "fit"
            bottom.set_ylabel(f"measured\n/ {with_what}")
        bottom.set_xlabel(axis_label)
        top.set_ylabel("critical learning rate")
        fig.align_ylabels(panels)
        remarks = _remarks(critical, any(exact), any(law is not None for _, _, law in series))
        framing.frame(fig, title=heading, about=about, note=note, handles=handles, remarks=remarks)
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
    ax: Axes, rows: pd.DataFrame, x: str, look: dict[str, Any], name: str, shift: float
) -> tuple[pd.DataFrame, tuple[np.ndarray, np.ndarray]]:
    """Draw the measured rates with their intervals; return the rows drawn and the intervals' ends, known ones.

    An open end, 0 or inf, is an arrow, and the interval ends at the point.
    """
    found = rows[(rows["censored"] == "") & rows["lr_critical"].notna()].sort_values(x)
    at, middle, low, high = (found[c].to_numpy(dtype=float) for c in (x, "lr_critical", "ci_low", "ci_high"))
    for up, is_open in ((False, low == 0), (True, np.isinf(high))):
        for place, rate in zip(at[is_open] + shift, middle[is_open], strict=True):
            framing.open_end(ax, place, rate, up, look["color"])
    low, high = np.where(np.isfinite(low) & (low > 0), low, middle), np.where(np.isfinite(high), high, middle)
    ax.vlines(at + shift, low, high, color=look["color"], linewidth=0.9)
    ax.plot(at + shift, middle, "o", label=f"{name}: measured", **look)
    return found, (low, high)


def _open_ratios(ax: Axes, found: pd.DataFrame, at: np.ndarray, ratio: np.ndarray, color: str) -> None:
    """Draw the open ends of intervals as arrows of nine points on the linear axis of the residuals."""
    arrow = {"arrowstyle": "<-", "color": color, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    low, high = (found[end].to_numpy(dtype=float) for end in ("ci_low", "ci_high"))
    for is_open, reach in ((low == 0, -9), (np.isinf(high), 9)):
        for place, value in zip(at[is_open], ratio[is_open], strict=True):
            ax.annotate("", (place, value), (0, reach), textcoords="offset points", arrowprops=arrow)


def _arrows(ax: Axes, rows: pd.DataFrame, x: str, color: str, shift: float) -> None:
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
        ax.errorbar(cells[x] + shift, rate, length, uplims=down, lolims=not down, **look)


def _remarks(critical: pd.DataFrame, exact: bool, fitted: bool) -> list[str]:
    level = f"{critical['level'].iloc[0]:.0%} intervals" if "level" in critical else "intervals"
    remarks = [f"Points: measured, {level}. Lines: power laws." if fitted else f"Bars: {level}."]
    shares = critical["share"].unique()
    if exact and len(shares) == 1 and shares[0] > 0:
        remarks.append(
            f"Measured: {shares[0]:.0%} of seeds collapse. "
            "Exact onset: any can (η\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}3/4)."
        )
    seen = critical["censored"] == ""
    if ((critical["ci_low"] == 0) | np.isinf(critical["ci_high"]))[seen].any():
        remarks.append(framing.OPEN)
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
    ax.plot(line_x, line, color=color, label="fit")
    ax.fill_between(line_x, line * np.exp(-half), line * np.exp(half), color=color, alpha=0.2, linewidth=0)


def _law_text(law: "pd.Series[Any]", symbol: str) -> str:
    """A power law as it stands in a legend, with the interval of its exponent."""
    width = float(law["exponent_high"] - law["exponent_low"])
    decimals = int(np.clip(1 - np.floor(np.log10(width + 1e-9)), 2, 4))  # two digits of the interval
    exponent, low, high = (
        f"{law['exponent' + end]:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for end in ("", "_low", "_high")
    )
    prefactor = style.sci(float(law["prefactor"])).strip("$")
    return f"${prefactor}\\,{symbol}^{{{exponent}}}$ [{low}, {high}]"
