"""What boundaries and laws say in a few lines: the answer first, and what to be careful about."""

import math

import pandas as pd

from ghostsweep.analysis.band import BAND_ESTIMATES
from ghostsweep.analysis.critical import ESTIMATES
from ghostsweep.analysis.series import FIT_NEEDS

MAX_LINES = 8
"""Laws or cells that a summary names."""


def lines(critical: pd.DataFrame, band: pd.DataFrame, laws: pd.DataFrame | None) -> str:
    """A line for each law of the upper boundary, else for each cell, and what to be careful about."""
    return "\n".join(
        [*_laws_in_words(critical, laws), *_cautions(critical, laws), *_gaps(critical, band), *_of_task(critical)]
    )


def _of_task(critical: pd.DataFrame) -> list[str]:
    """How many runs have which outcome of their task's own, which are not what boundaries are of."""
    counts = critical.attrs.get("task_outcomes", {})
    told = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
    return [f"these are of the usual outcomes; by those that the task declares itself: {told}"] if told else []


def _gaps(critical: pd.DataFrame, band: pd.DataFrame) -> list[str]:
    """Cells whose band is not in one piece: it is drawn from its lowest to its highest rate all the same."""
    broken = band[band["contiguous"].eq(False) & (band["width_decades"] > 0)]
    fields = _fields(band, critical)
    named = [_where(row, fields).strip(" ()") or "the only cell" for _, row in broken.head(MAX_LINES).iterrows()]
    more = f" and {len(broken) - MAX_LINES} more" if len(broken) > MAX_LINES else ""
    return [f"the band has gaps at {'; '.join(named)}{more}: some rates within it do not learn"] if named else []


def _fields(table: pd.DataFrame, cells: pd.DataFrame, *but: str) -> list[str]:
    """Fields that tell the rows of a table of cells or laws apart, those left out that only go along with others.

    cells: the table of critical rates, whose columns tell what is a field, also of models that are not known here.
    """
    known = (*ESTIMATES, *BAND_ESTIMATES, "boundary", "learns", "along", *but)
    own = [str(name) for name in table.columns if name in cells and name not in known]
    found = [name for name in own if table[name].nunique(dropna=False) > 1]
    for name in [name for name in reversed(found) if len(found) > 1]:
        rest = [other for other in found if other != name]
        if rest and (table.groupby(rest, dropna=False)[name].nunique(dropna=False) <= 1).all():
            found = rest
    return found


def _where(row: pd.Series, fields: list[str]) -> str:
    values = {name: row[name] for name in fields}
    said = [f"{name} = {each:.4g}" if isinstance(each, float) else f"{name} = {each}" for name, each in values.items()]
    return f" ({', '.join(said)})" if said else ""


def _laws_in_words(critical: pd.DataFrame, laws: pd.DataFrame | None) -> list[str]:
    if laws is not None:
        laws = laws[(laws["boundary"] == "upper") & laws["exponent"].notna()]
        lines = []
        for along, some in laws.groupby("along", sort=False):
            fields = _fields(some, critical, str(along))
            for _, law in some.iterrows():
                width = law["exponent_high"] - law["exponent_low"] + 1e-9
                digits = int(min(max(1 - math.floor(math.log10(width)), 1), 4))
                exponent, low, high = (f"{law[f'exponent{end}']:.{digits}f}" for end in ("", "_low", "_high"))
                lines.append(
                    f"critical rate {law['prefactor']:.3g} {along}^{exponent} ({low} to {high}), "
                    f"{int(law['n_used'])} values{_where(law, fields)}"
                )
        if lines:
            return _first(lines, "laws")
    upper = critical[critical["boundary"] == "upper"]
    fields, lines = _fields(upper, critical), []
    for _, row in upper.iterrows():
        censored = (
            f"{row['censored']} the grid" if row["censored"] in ("below", "above") else "not seen in these epochs"
        )
        rate = f"{row['lr_critical']:.3g} ({row['ci_low']:.3g} to {row['ci_high']:.3g})"
        lines.append(f"critical rate {censored if row['censored'] else rate}{_where(row, fields)}")
    return _first(lines, "cells")


def _first(lines: list[str], what: str) -> list[str]:
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], f"and {more} more {what}"] if more > 0 else lines


def _cautions(critical: pd.DataFrame, laws: pd.DataFrame | None) -> list[str]:
    """What to do about cells in which nothing learns, and where there are too few for a law."""
    cells = critical[critical["boundary"] == "upper"]
    none, fields, lines = cells[~cells["learns"]], _fields(cells, critical), []
    if len(none):
        named = [_where(row, fields).strip(" ()") or "any cell" for _, row in none.head(MAX_LINES).iterrows()]
        more = f" and {len(none) - MAX_LINES} more" if len(none) > MAX_LINES else ""
        lines.append(
            f"no rate learns at {'; '.join(named)}{more}: there a plateau passes straight into collapse; train longer, "
            "or at more rates"
        )
    if laws is None and 1 < len(cells) < FIT_NEEDS:
        lines.append(f"a law wants {FIT_NEEDS} cells in a row at least, {len(cells)} are there")
    return lines
