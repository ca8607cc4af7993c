"""Runs to what a page draws of them: cells with the outcomes of their seeds, and the panels that these lie in.

Imports `analysis/` and `figures/` (its axes, panels and words); no Altair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import analysis, figures
from ghostsweep.figures import gallery, phase, style
from ghostsweep.reporting.packing import coded, packed

MAX_CELLS = 40_000
"""Cells above which neighbours are put together, so that a page of a dense sweep stays small."""
RATE = "learning_rate"


@dataclass(frozen=True)
class View:
    """One way to lay the cells out: a field on the x axis, and a panel for each combination of the others.

    panel: of every cell the index of its panel, -1 where it has no x. values: those of x, ascending. The domains reach
    to the outer edges of the cells.
    """

    x: str
    label: str
    log: bool
    facets: tuple[str, ...]
    titles: tuple[str, ...]
    panel: np.ndarray
    values: tuple[float, ...]
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]


@dataclass(frozen=True)
class Cells:
    """table: a row per cell and learning rate, as `analysis.shares`, first and last of its runs; runs in that order.

    fields: what tells the cells apart, beside the rate. pooled: how many neighbours were put together, by field.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    fields: tuple[str, ...]
    views: tuple[View, ...]
    pooled: dict[str, int]
    units: dict[str, str]


def cells(runs: pd.DataFrame) -> Cells:
    """The cells of judged runs, and how they can be laid out; the usual way first.

    runs: as `analysis.outcomes` or `analysis.own_outcomes` returns them.
    """
    numbers, words = gallery.swept(runs)
    numbers = [field for field in numbers if field not in ("phase", "first_epoch")]
    fields = [field for field in analysis.cell_fields(runs) if runs[field].nunique(dropna=False) > 1]
    axes = _axes(runs, numbers)
    fields = [*dict.fromkeys([*axes, *fields])]
    runs, pooled = _pooled(runs, fields, axes[0])
    by = [*fields, RATE]
    runs = runs.sort_values([*by, "seed"], kind="stable").reset_index(drop=True)
    table = analysis.shares(runs, by)
    last = table["n_seeds"].cumsum()
    table = table.assign(first=last - table["n_seeds"], last=last)
    views = tuple(_view(runs, table, x) for x in axes)
    return Cells(table, runs, tuple(fields), views, pooled, dict(runs.attrs.get("units", {})))


def _axes(runs: pd.DataFrame, numbers: list[str]) -> list[str]:
    """The fields to be the x axis: those that give few panels, else the first; of sweeps of the rate alone any."""
    few = [x for x in numbers if phase.panel_count(runs, x) <= figures.MAX_PANELS]
    usual = [x for x in ("timescale", "delay_ms", "epochs") if x in runs and runs[x].notna().all()]
    return few or numbers[:1] or usual[:1]


def _pooled(runs: pd.DataFrame, fields: list[str], x: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """The runs with neighbouring rates, and values of x, put into one where there are more cells than can be drawn."""
    n, size = len(runs[[*fields, RATE]].drop_duplicates()), 1
    found = runs
    while n > MAX_CELLS:
        size *= 2
        found = runs.assign(**{field: _blocks(runs[field], size) for field in (x, RATE)})
        fewer = len(found[[*fields, RATE]].drop_duplicates())
        if fewer == n and size > len(runs):
            break
        n = fewer
    found.attrs = runs.attrs
    return found, {x: size, RATE: size} if size > 1 else {}


def _blocks(values: pd.Series, size: int) -> np.ndarray:
    """Every value replaced by the middle of its block of `size` neighbours."""
    found = values.to_numpy(dtype=float, na_value=np.nan)
    unique = np.unique(found[np.isfinite(found)])
    starts = np.arange(len(unique)) // size * size
    ends = np.minimum(starts + size, len(unique)) - 1
    low, high = unique[starts], unique[ends]
    middle = np.where(low > 0, np.sqrt(np.abs(low * high)), (low + high) / 2)
    return np.where(np.isfinite(found), middle[np.searchsorted(unique, found).clip(max=len(unique) - 1)], np.nan)


def _view(runs: pd.DataFrame, table: pd.DataFrame, x: str) -> View:
    kept = runs[runs[x].notna()]
    facets = phase.facet_fields(kept, x, RATE)
    facets = [field for field in facets if field in table]
    has_x = table[x].notna().to_numpy()
    panel, titles = np.where(has_x, 0, -1), [""]
    if facets:
        groups = table[has_x].groupby(facets, dropna=False, observed=True)
        panel[has_x] = groups.ngroup()
        firsts = groups.head(1).assign(panel=panel[groups.head(1).index]).sort_values("panel")
        told = telling(firsts, facets)
        titles = [", ".join(style.value_text(f, row[f]) for f in told) for _, row in firsts.iterrows()]
    values, rates = (np.unique(table.loc[has_x, field].to_numpy(dtype=float)) for field in (x, RATE))
    log = bool(values.min() > 0 and (x == "timescale" or style.is_log(values)))
    ends = [phase.edges(v, is_log)[[0, -1]].tolist() for v, is_log in ((values, log), (rates, True))]
    return View(
        x,
        label(runs, x),
        log,
        tuple(facets),
        tuple(titles),
        panel,
        tuple(values.tolist()),
        tuple(ends[0]),
        tuple(ends[1]),
    )


def data(found: Cells) -> dict[str, Any]:
    """The cells as a page has them: columns in few bytes."""
    table = found.table
    return {
        **outcomes(found),
        "fields": [
            {"name": field, "label": label(found.runs, field), **coded(table[field])} for field in (*found.fields, RATE)
        ],
        "views": [
            {
                "x": view.x,
                "label": view.label,
                "log": view.log,
                "titles": list(view.titles),
                "panel": packed(view.panel + 1),
            }
            for view in found.views
        ],
    }


def outcomes(found: Cells) -> dict[str, Any]:
    """What became of the runs of each cell, as a page has it: outcomes with their looks, counts, and the most frequent.

    Outcomes that no run has are left out.
    """
    table, names = found.table, list(found.table["majority"].cat.categories)
    present = [name for name in names if (table[f"share_{name}"] > 0).any()]
    counts = np.stack([(table[f"share_{name}"] * table["n_seeds"]).round().to_numpy(int) for name in present], axis=1)
    colors, meanings = style.outcome_colors(names), found.runs.attrs.get("meanings", analysis.OUTCOME_MEANING)
    return {
        "outcomes": [
            {"name": style.outcome_text(name), "color": colors[name], "meaning": meanings[name]} for name in present
        ],
        "counts": packed(counts),
        "majority": packed(table["majority"].astype(object).map(present.index).to_numpy(int)),
    }


def telling(rows: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Those of the fields that are enough to tell the rows apart: of fields that go along with each other the first."""
    found = [field for field in fields if rows[field].nunique(dropna=False) > 1]
    n = len(rows[found].drop_duplicates()) if found else 0
    for field in sorted(found, key=_spared):
        rest = [each for each in found if each != field]
        if rest and len(rows[rest].drop_duplicates()) == n:
            found = rest
    return found


def _spared(field: str) -> int:
    """Which fields are left out first where others say the same."""
    return {
        "first_epoch": 0,
        "epochs": 1,
        "train_confidence": 2,
        "model": 4,
        "task": 4,
        "optimizer": 4,
        "timescale": 4,
    }.get(field, 3)


def label(runs: pd.DataFrame, field: str) -> str:
    """A field as an axis or a table names it, with its unit where that says more."""
    found = style.label(runs, field)
    return field if found == f"{field} ({field})" else found


def in_panel(table: pd.DataFrame, found: Cells, view: View, panel: int) -> pd.DataFrame:
    """The rows of a table with a row per cell of the analysis (boundaries) that lie in a panel of a view."""
    first = found.table[view.panel == panel].iloc[0]
    for field in view.facets:
        if field in table:
            value = first[field]
            table = table[table[field].isna() if pd.isna(value) else table[field] == value]
    return table
