"""Numbers in words: estimates with their intervals, bounds where no more is known, counts, and lists of these."""

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

SYMBOLS = {"timescale": "T", "confidence": "c", "rank": "rank", "delay_ms": "a delay of", "epochs": "epochs"}
"""How the fields that sweeps vary are called in a sentence."""
UNITS = {"delay_ms": " ms"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(x: float, digits: int = 2) -> str:
    """A number to so many digits, in powers of ten where it is tiny; with a true minus."""
    text = f"{x:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        places = max(digits - 1 - int(exponent), 0)
        raised = str(int(exponent)).translate(_RAISED)
        text = f"{mantissa}·10{raised}" if abs(x) < 1e-5 else f"{float(text):,.{places}f}"
    return text.replace("-", "−")


def decades(x: float) -> str:
    """A width in decades: one decimal, two below 1."""
    return (f"{x:.1f}" if abs(x) >= 0.95 else f"{x:.2g}" if abs(x) >= 0.005 else "0").replace("-", "−")


def exponent(x: float) -> str:
    """An exponent, or a change of one: two decimals."""
    return f"{x:.2f}".replace("-", "−")


def between(value: float, low: float, high: float, show: Callable[[float], str] = number) -> str:
    """A value with its interval: none where that is NaN, and of an open one the end that is known."""
    ends = {(True, True): f"{show(low)} to {show(high)}", (True, False): f"{show(low)} or more"} | {
        (False, True): f"{show(high)} or less"
    }
    known = ends.get((math.isfinite(low), math.isfinite(high)))
    return f"{show(value)} ({known})" if known else show(value)


def rate(row: "pd.Series[float]") -> str:
    """A boundary of `critical_lr` with its interval; where it is censored what is known of it, as a bound."""
    bounds = {"below": f"at most {number(row['ci_high'])}", "above": f"at least {number(row['ci_low'])}"}
    bounds["epochs"] = f"{bounds['below']} (hidden by too few epochs)"
    if row["censored"]:
        return bounds[str(row["censored"])]
    return between(row["lr_critical"], row["ci_low"] or -math.inf, row["ci_high"])


def width(row: "pd.Series[float]") -> str:
    """The width of a band of `learnable_band`, in decades, with its interval; a bound where it reaches the grid's end."""
    if math.isnan(row["lr_low"]):
        return "none" + (f" (at most {decades(row['width_high'])})" if row["width_high"] > 0 else "")
    found = between(row["width_decades"], row["width_low"], row["width_high"], decades)
    return f"at least {found}" if row["censored"] else found


def ends(row: "pd.Series[float]") -> str:
    """From which rate to which a band reaches; an end of the grid is a bound."""
    if math.isnan(row["lr_low"]):
        return "at no rate"
    below = " or less" if row["censored"] in ("below", "both") else ""
    above = " or more" if row["censored"] in ("above", "both") else ""
    return f"from {number(row['lr_low'])}{below} to {number(row['lr_high'])}{above}"


def part(k: float, n: float) -> str:
    """How many of how many."""
    return f"all {n:,}" if k == n > 1 else f"none of {n:,}" if k == 0 and n > 1 else f"{k:,} of {n:,}"


def chance(p: float) -> str:
    """A probability in percent."""
    return f"{100 * p:.0f}%"


def listed(items: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = list(items) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def at(table: pd.DataFrame, field: str, show: "Callable[[pd.Series[float]], str]", digits: int = 2) -> str:
    """What `show` says of each row, and at which value of a field: `1.8 at T = 5, 1.6 at 7 and 1.4 at 10`."""
    rows = [row for _, row in table.iterrows()]
    named = [place(field, rows[0][field], digits), *(value(field, row[field], digits) for row in rows[1:])]
    return listed(f"{show(row)} at {name}" for row, name in zip(rows, named, strict=True))


def place(field: str, x: float, digits: int = 2) -> str:
    """A value of a field by name: T = 5, rank 3, a delay of 20 ms."""
    is_symbol = len(SYMBOLS[field]) == 1
    return f"{SYMBOLS[field]} {'= ' if is_symbol else ''}{value(field, x, digits)}"


def value(field: str, x: float, digits: int = 2) -> str:
    """A value of a field with its unit, whole numbers whole."""
    return (f"{x:,.0f}" if float(x).is_integer() else number(x, digits)) + UNITS.get(field, "")


def epochs(runs: pd.DataFrame, field: str = "timescale") -> str:
    """How many epochs runs had: one number, or which number at which values of a field."""
    counts = runs["epochs"].unique()
    if len(counts) == 1:
        return f"{counts[0]:,} epochs"
    spans: list[tuple[int, Sequence[float]]] = [
        (int(count), sorted(some[field].unique())) for count, some in runs.groupby("epochs", sort=True)
    ]
    named = [
        (count, place(field, values[0]) + (f" to {value(field, values[-1])}" if len(values) > 1 else ""))
        for count, values in spans
    ]
    first, *others = named
    return listed([f"{first[0]:,} epochs at {first[1]}", *(f"{count:,} at {where}" for count, where in others)])
