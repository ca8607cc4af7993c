"""Numbers in words: estimates with their intervals, bounds where no more is known, counts, and lists of these."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from ghostsweep.store.columns import with_fields

SYMBOLS = {"timescale": "T", "confidence": "c", "rank": "rank", "delay_ms": "a delay of", "epochs": "epochs"}
"""How the fields that sweeps vary are called in a sentence."""
UNITS = {"delay_ms": " ms"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(x: float, digits: int = 2) -> str:
    """A number to so many digits, in powers of ten where it is tiny; with a true minus."""
    return _decimal(f"{x:.{digits}g}", digits)


def measured(x: float, digits: int = 2) -> str:
    """The same with all of these digits, of an estimate: 0.020, not 0.02."""
    return _decimal(f"{x:#.{digits}g}", digits).removesuffix(".")


def _decimal(text: str, digits: int) -> str:
    if "e" in text:
        mantissa, exponent = text.split("e")
        places = max(digits - 1 - int(exponent), 0)
        raised = str(int(exponent)).translate(_RAISED)
        text = f"{mantissa}·10{raised}" if abs(float(text)) < 1e-5 else f"{float(text):,.{places}f}"
    return text.replace("-", "−")


def decades(x: float) -> str:
    """A width in decades: one decimal, two below 1."""
    return (f"{x:.1f}" if abs(x) >= 0.95 else f"{x:.2f}" if abs(x) >= 0.005 else "0").replace("-", "−")


def exponent(x: float, places: int = 2) -> str:
    """An exponent, or a change of one, to so many decimals."""
    return f"{x:.{places}f}".replace("-", "−")


def between(value: float, low: float, high: float, show: Callable[[float], str]) -> str:
    """A value with its interval: none where that is NaN, and of an open one the end that is known."""
    ends = {(True, True): f"{show(low)} to {show(high)}", (True, False): f"{show(low)} or more"} | {
        (False, True): f"{show(high)} or less"
    }
    known = ends.get((math.isfinite(low), math.isfinite(high)))
    return f"{show(value)} ({known})" if known else show(value)


def rate(row: "pd.Series[float]") -> str:
    """A boundary of `critical_lr` with its interval; where it is censored what is known of it, as a bound."""
    bounds = {"below": f"at most {measured(row['ci_high'])}", "above": f"at least {measured(row['ci_low'])}"}
    bounds["epochs"] = f"{bounds['below']} (hidden by too few epochs)"
    if row["censored"]:
        return bounds[str(row["censored"])]
    return between(row["lr_critical"], row["ci_low"] or -math.inf, row["ci_high"], measured)


def width(row: "pd.Series[float]") -> str:
    """The width in decades of a band of `learnable_band`, with its interval; at the grid's end the lower bound."""
    if math.isnan(row["lr_low"]):
        return "none" + (f" (at most {decades(row['width_high'])})" if row["width_high"] > 0 else "")
    if row["censored"]:
        known = row["width_decades"] if math.isnan(row["width_low"]) else row["width_low"]
        return f"at least {decades(known)}"
    return between(row["width_decades"], row["width_low"], row["width_high"], decades)


def ends(row: "pd.Series[float]") -> str:
    """From which rate to which a band reaches; an end of the grid is a bound."""
    if math.isnan(row["lr_low"]):
        return "at no rate"
    reached = str(row["censored"])
    below = " or less" if reached in ("below", "both") else ""
    above = " or more" if reached in ("above", "both") else ""
    return f"from {measured(row['lr_low'])}{below} to {measured(row['lr_high'])}{above}"


def part(k: float, n: float) -> str:
    """How many of how many."""
    return f"all {n:,}" if k == n > 1 else f"none of {n:,}" if k == 0 and n > 1 else f"{k:,} of {n:,}"


def several(n: int, thing: str) -> str:
    """How many of a thing: 1 bound, 2 bounds."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def chance(p: float) -> str:
    """A probability in percent."""
    return f"{100 * p:.0f}%"


def probability(p: float) -> str:
    """A p-value to three decimals; near 0.05 to as many as tell on which side it is."""
    return f"{p:.4f}" if round(p, 3) == 0.05 else f"{p:.3f}" if p >= 0.001 else "below 0.001"


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


def groups(table: pd.DataFrame, field: str) -> Iterator[tuple[float, pd.DataFrame]]:
    """The rows of each value of a field, ascending."""
    for x in sorted(table[field].dropna().unique()):
        yield x, table[table[field] == x]


def epochs(runs: pd.DataFrame, field: str = "timescale") -> str:
    """How many epochs runs had: one number, or which number at which values of a field, or their range without it."""
    counts = runs["epochs"].unique()
    if len(counts) == 1:
        return f"{counts[0]:,} epochs"
    runs = with_fields(runs, [field])
    if runs[field].isna().any():
        return f"{min(counts):,} to {max(counts):,} epochs"
    order = sorted(runs[field].unique())
    told = []
    for count, some in groups(runs, "epochs"):
        values = sorted(some[field].unique())
        in_one_piece = len(values) == order.index(values[-1]) - order.index(values[0]) + 1
        told.append((f"{count:,}", span(field, values, in_one_piece)))
    (first, where), *others = told
    name = place(field, 0.0).removesuffix(value(field, 0.0))
    return listed([f"{first} epochs at {where}", *(f"{count} at {at.removeprefix(name)}" for count, at in others)])


def span(field: str, values: Sequence[float], in_one_piece: bool = True) -> str:
    """From which value of a field to which, or each of them where others lie between."""
    first, *others = values
    if in_one_piece and others:
        return f"{place(field, first)} to {value(field, others[-1])}"
    return listed([place(field, first), *(value(field, x) for x in others)])
