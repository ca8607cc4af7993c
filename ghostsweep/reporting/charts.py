"""The pictures of a page as Vega-Lite specs, built and checked by Altair; `page.js` gives them their data.

Vega-Altair rather than Bokeh (both BSD-3): its bundle is 0.9 MB against 1.3 to 3.9, and what it draws has roles and
texts that a screen reader finds, which Bokeh's canvas has not; a click or a key takes a little JavaScript in either.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.findings import words
from ghostsweep.reporting.cells import View

HEIGHT = {1: 460, 2: 340}
"""Height of a panel of one or two, in pixels; of more, 240."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MAX_NAMED = 8
"""Values of a field that are all named along its axis."""
MAX_COLORS = len(style.SERIES_COLORS)
_INK = "#1a1a1a"
_SHORT = "datum.value >= 1e6 ? datum.value / 1e6 + 'M' : datum.value >= 1e3 ? datum.value / 1e3 + 'k' : datum.value"
_PLAIN = (
    "datum.value == 0 ? '0' : abs(datum.value) < 1e-3 ? format(datum.value, '~e') : "
    f"abs(datum.value) < 1e4 ? format(datum.value, '~g') : {_SHORT}"
)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def altair() -> Any:
    """The module, or UsageError where the extra is not installed."""
    try:
        import altair as alt
        import vl_convert  # noqa: F401  # the bundle
    except ImportError:
        raise UsageError("report: altair is not installed; allowed: pip install 'ghostsweep[report]'") from None
    return alt


def phase(view: View, height: int, is_canonical: bool, description: str) -> dict[str, Any]:
    """The phase diagram of one panel: cells, boundaries with their intervals, the exact rate, and the chosen cell.

    Datasets: cells (x0, x1, y0, y1, fill, id), boundaries (x, rate, low, high, boundary), selected (as cells).
    """
    alt = altair()
    x = alt.X("x0:Q", title=view.label, **_along(alt, view.x_domain, view.log, view.values))
    y = alt.Y("y0:Q", title="learning rate", **_along(alt, view.y_domain, True))
    box = {"x": x, "x2": "x1:Q", "y": y, "y2": "y1:Q"}
    cells = alt.Chart(alt.NamedData("cells")).mark_rect(strokeWidth=0.6, cursor="pointer", aria=False, clip=True)
    fill = alt.Color("fill:N", scale=None)
    layers = [cells.encode(**box, color=fill, stroke=alt.Stroke("fill:N", scale=None), tooltip="id:N")]
    if is_canonical and view.x == "timescale":
        at = np.geomspace(*view.x_domain, 100)
        rates = theory.critical_lr(at)
        inside = (rates > view.y_domain[0]) & (rates < view.y_domain[1])
        rows = pd.DataFrame({"x": at, "rate": rates})[inside].to_dict("records")
        for color, width in ((_INK, 4.0), ("white", 2.0)):
            line = alt.Chart(alt.Data(values=rows)).mark_line(
                color=color, strokeWidth=width, strokeDash=[7, 4], clip=True
            )
            layers.append(line.encode(x="x:Q", y="rate:Q"))
    known = alt.Chart(alt.NamedData("boundaries"))
    layers.append(known.mark_rule(color=_INK, strokeWidth=1.2).encode(x="x:Q", y="low:Q", y2="high:Q"))
    for boundary, fill_color, rim in (("upper", _INK, "white"), ("lower", "white", _INK)):
        points = known.transform_filter(f"datum.boundary == '{boundary}'")
        mark = points.mark_point(filled=True, color=fill_color, stroke=rim, strokeWidth=1.2, size=45, opacity=1)
        layers.append(mark.encode(x="x:Q", y="rate:Q", tooltip="text:N"))
    for color, width in (("white", 4.0), (_INK, 2.0)):
        chosen = alt.Chart(alt.NamedData("selected")).mark_rect(fillOpacity=0, stroke=color, strokeWidth=width)
        layers.append(chosen.encode(**box, tooltip="id:N"))  # it lies over the cell
    return _spec(alt.layer(*layers), height, description)


def loss_curves(log_epochs: bool, log_loss: bool) -> dict[str, Any]:
    """Loss against epoch of the runs of one cell. Dataset curves: epoch, loss, run, fill, dot, text."""
    alt = altair()
    # symlog, since the first epoch is 0
    epochs = alt.Scale(type="symlog", constant=1, nice=False) if log_epochs else alt.Scale(nice=False)
    ticks = {"values": [0, *(10**k for k in range(8))]} if log_epochs else {"tickCount": 6}
    loss = alt.Scale(type="log", nice=False, padding=12) if log_loss else alt.Scale(zero=False)
    marks = alt.Axis(format="~g", tickCount=6, labelOverlap="greedy")
    base = alt.Chart(alt.NamedData("curves")).encode(
        x=alt.X("epoch:Q", title="epoch", scale=epochs, axis=alt.Axis(labelExpr=_SHORT, **ticks)),
        y=alt.Y("loss:Q", title="loss", scale=loss, axis=marks),
        color=alt.Color("fill:N", scale=None),
        detail="run:N",
    )
    lines = base.mark_line(strokeWidth=1.6, opacity=0.85, aria=False)
    dots = alt.Opacity("dot:Q", scale=None)  # there to be pointed at also where they are too many to be seen
    points = base.mark_point(filled=True, size=26, aria=False).encode(tooltip="text:N", opacity=dots)
    return _spec(alt.layer(lines, points), 300, "Loss against epoch of the runs of the chosen cell.")


def boundaries(
    critical: pd.DataFrame, laws: pd.DataFrame | None, x: str, label: str, series: "pd.Series[str]", description: str
) -> dict[str, Any]:
    """Critical learning rates along a field with their intervals, arrows where only a bound is known, and the laws.

    series: of each row of `critical` what it is drawn as. laws: `fit_power_law` with a column `name` of the same.
    """
    alt = altair()
    known = critical.assign(series=series)[critical[x].notna()]
    names = sorted(known["series"].unique(), key=lambda name: known.loc[known["series"] == name, x].index[0])
    rows = rows_of(known, x, series=known["series"])
    values = known[x].to_numpy(dtype=float)
    log_x = bool(values.min() > 0 and (x == "timescale" or style.is_log(values)))
    ends = [e for row in rows for e in (row["rate"], row["low"], row["high"]) if e is not None]
    y_domain = (min(ends) / 1.6, max(ends) * 1.6)
    spread = (values.max() / values.min()) ** 0.06 if log_x else 0.06 * float(np.ptp(values))
    spread = spread if len(set(values)) > 1 else 1.3 if log_x else abs(values[0]) * 0.3 or 1.0
    x_domain = _wider(values, spread, log_x)
    color = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=names, range=_colors(len(names))),
        legend=alt.Legend(orient="top", columns=2, labelLimit=260, symbolStrokeWidth=2) if len(names) > 1 else None,
    )
    at = alt.X("x:Q", title=label, **_along(alt, x_domain, log_x, np.unique(values).tolist()))
    rate = alt.Y("rate:Q", title="critical learning rate", **_along(alt, y_domain, True))
    layers = []
    lines = _law_rows(laws, x_domain, y_domain)
    if lines:
        dash = alt.StrokeDash("boundary:N", scale=alt.Scale(domain=["upper", "lower"], range=[[1, 0], [5, 3]]))
        dash.legend = None
        law = alt.Chart(alt.Data(values=lines)).mark_line(strokeWidth=1.3, opacity=0.7, aria=False, clip=True)
        layers.append(law.encode(x=at, y=rate, color=color, strokeDash=dash, detail="line:N"))
    told = alt.Chart(alt.Data(values=rows))
    layers.append(told.mark_rule(strokeWidth=1.6, aria=False).encode(x=at, y="low:Q", y2="high:Q", color=color))
    for boundary in ("upper", "lower"):
        point = told.transform_filter(f"datum.boundary == '{boundary}' && datum.rate != null")
        look: dict[str, Any] = {"filled": boundary == "upper", "size": 60, "opacity": 1, "strokeWidth": 1.8}
        if boundary == "lower":
            look |= {"fill": "white"}
        layers.append(point.mark_point(**look).encode(x=at, y=rate, color=color, tooltip="text:N"))
    for side, shape in (("up", "triangle-up"), ("down", "triangle-down")):
        arrow = told.transform_filter(f"datum.{side} != null")
        mark = arrow.mark_point(shape=shape, filled=True, size=80, opacity=1)
        layers.append(mark.encode(x=at, y=f"{side}:Q", color=color, tooltip="text:N"))
    return _spec(alt.layer(*layers), 340, description)


def rows_of(critical: pd.DataFrame, x: str, series: "pd.Series[str] | None" = None) -> list[dict[str, Any]]:
    """Boundaries as rows to draw: rate where there is an estimate, low to high what is known, arrows at open ends.

    An open end (0, inf) is drawn to the bound's other end or a factor of two beyond it; `up` and `down` are where an
    arrow head is, else None.
    """
    rows = []
    names = [""] * len(critical) if series is None else series.tolist()
    for name, (_, row) in zip(names, critical.iterrows(), strict=True):
        estimate = _finite(row["lr_critical"]) if not row["censored"] else None
        low, high = _finite(row["ci_low"]), _finite(row["ci_high"])
        if estimate is None and low is None and high is None:
            continue
        given = bool(np.isfinite(row["level"])) and not (pd.isna(row["ci_low"]) and pd.isna(row["ci_high"]))
        up = down = None
        if given and low is None:
            low = down = 0.5 * min(v for v in (estimate, high) if v is not None)
        if given and high is None:
            high = up = 2 * max(v for v in (estimate, low) if v is not None)
        rows.append(
            {"x": float(row[x]), "rate": estimate, "low": low, "high": high, "up": up, "down": down}
            | {"boundary": row["boundary"], "series": name}
            | {"text": f"{name + ', ' if name else ''}{row['boundary']} boundary: {words.rate(row)}"}
        )
    return rows


def _law_rows(
    laws: pd.DataFrame | None, x_domain: tuple[float, float], y_domain: tuple[float, float]
) -> list[dict[str, Any]]:
    rows = []
    for i, law in enumerate([] if laws is None else laws.to_dict("records")):
        if not np.isfinite(law["exponent"]):
            continue
        at = np.geomspace(*x_domain, 40) if x_domain[0] > 0 else np.linspace(x_domain[1] / 40, x_domain[1], 40)
        rate = law["prefactor"] * at ** law["exponent"]
        inside = (rate > y_domain[0]) & (rate < y_domain[1])
        common = {"boundary": law["boundary"], "series": law["name"], "line": i}
        rows += [{"x": a, "rate": b} | common for a, b in zip(at[inside].tolist(), rate[inside].tolist(), strict=True)]
    return rows


def _finite(value: float) -> float | None:
    """A positive finite number, or None."""
    return float(value) if np.isfinite(value) and value > 0 else None


def _wider(values: np.ndarray, spread: float, log: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low / spread, high * spread) if log else (low - spread, high + spread)


def _colors(n: int) -> list[str]:
    if n <= MAX_COLORS:
        return list(style.SERIES_COLORS[:n])
    shades = style.ordered_colors(list(range(n)))
    return ["#" + "".join(f"{round(255 * part):02X}" for part in shades[i][:3]) for i in range(n)]


def _along(alt: Any, domain: tuple[float, float], log: bool, values: Sequence[float] = ()) -> dict[str, Any]:
    """Scale and ticks of an axis; ticks at the values, if these are few."""
    return {"scale": _scale(alt, domain, log), "axis": _axis(alt, domain, log, values)}


def _scale(alt: Any, domain: tuple[float, float], log: bool) -> Any:
    more = {"type": "log"} if log else {"zero": False}
    return alt.Scale(domain=list(domain), nice=False, **more)


def _axis(alt: Any, domain: tuple[float, float], log: bool, values: Sequence[float]) -> Any:
    """Ticks where the figures have them: plain numbers, or powers of ten where these are far from one."""
    low, high = domain
    plain = not log or (low >= 9e-4 and high <= 2e6)
    if plain and 0 < len(values) <= MAX_NAMED:
        return alt.Axis(values=list(values), labelExpr=_PLAIN, labelOverlap="greedy", grid=False)
    if plain and log:
        steps = (1, 2, 5) if high / low < 3000 else (1,)
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        ticks = [float(f"{step}e{power}") for power in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 1:
            return alt.Axis(values=ticks, labelExpr=_PLAIN, labelOverlap="greedy", grid=False)
    if plain:
        return alt.Axis(labelExpr=_PLAIN, labelOverlap="greedy", grid=False, tickCount=8)
    powers = range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)
    powers = powers[:: max(len(powers) // 8, 1)]
    if len(powers) < 2:
        return alt.Axis(format="~e", labelOverlap="greedy", grid=False, tickCount=5)
    names = ", ".join(f"'{power}': '10{str(power).translate(_RAISED)}'" for power in powers)
    label = f"({{{names}}})[round(log(datum.value) / LN10)]"
    return alt.Axis(values=[float(f"1e{power}") for power in powers], labelExpr=label, grid=False)


def _spec(chart: Any, height: int, description: str) -> dict[str, Any]:
    """As Vega-Lite has it, as wide as what it stands in."""
    whole = chart.properties(width="container", height=height, description=description)
    font = {"labelFont": FONT, "titleFont": FONT, "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal"}
    look = (
        whole.configure(font=FONT, background="white")
        .configure_view(stroke="#888")
        .configure_axis(**font, gridColor="#e6e6e6", tickColor="#888", domainColor="#888")
    )
    found: dict[str, Any] = look.configure_legend(labelFont=FONT, labelFontSize=12).to_dict()
    found["autosize"] = {"type": "fit-x", "contains": "padding"}
    found.pop("$schema", None)
    return found
