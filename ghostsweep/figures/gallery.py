"""Every figure that the tables of a sweep allow."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ghostsweep import analysis
from ghostsweep.analysis.analyzing import Analyzed, analyze
from ghostsweep.errors import UsageError
from ghostsweep.figures.band import band_plot
from ghostsweep.figures.dense import dense_diagram, is_dense
from ghostsweep.figures.loss_vs_rate import loss_against_learning_rate
from ghostsweep.figures.phase import MAX_PANELS, panel_count, phase_diagram
from ghostsweep.figures.scaling import MAX_SERIES, eta_collapse, scaling_plot
from ghostsweep.figures.style import save
from ghostsweep.spec import CHOICES
from ghostsweep.store import tables

MAX_PICTURES = 12
"""Pictures into which `plot` splits what has too many panels for one, by fields of words."""


def draw(name: str | tables.Tables, *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw every figure that the tables of a sweep, or tables themselves, allow; return the files written.

    Raises UsageError where nothing can be drawn.
    """
    found = name if isinstance(name, tables.Tables) else tables.read(name, out)
    runs, name = found.runs, found.name
    drawn: list[Path] = []
    if runs["learning_rate"].nunique() < 2:
        raise UsageError(f"{found.name}: found a single learning rate; a phase diagram needs several")
    if is_dense(runs):  # a pixel a run: boundaries of cells of a single run each would tell less
        return save(dense_diagram(runs, _zoom(found.name, out)), Path(to) / f"{found.name}.dense")
    fitted = analyze(found)
    varying, words = swept(runs)
    for x in varying:
        for part, rows in _parts(runs, x, words):
            cells = fitted.critical[_among(fitted.critical, rows, words)] if part else fitted.critical
            drawn += save(phase_diagram(rows, x=x, critical=cells), Path(to) / f"{found.name}.phase_{x}{part}")
    if not varying and runs["model"].nunique() == 1:
        prefer = found.meta.get("record", {}).get("epochs", ())
        for part, rows in _by_words(runs, words) if words else [("", runs)]:
            one = replace(found, runs=rows)
            loss = loss_against_learning_rate(one, found.meta.get("title", found.name) + part, prefer)
            drawn += save(loss, Path(to) / f"{found.name}.loss{part}")
    drawn += _draw_fits(fitted, varying, Path(to) / found.name)
    # Of plain gradient descent alone, as its theory.
    exact = analysis.is_closed_form(runs) and np.isfinite(analysis.levels(runs).theory).all()
    if exact and runs["timescale"].nunique() > 1:
        drawn += save(eta_collapse(runs), Path(to) / f"{found.name}.eta")
    if not drawn:
        raise UsageError(
            f"{name}: found runs that differ in {', '.join(varying + words)}; allowed: at most {MAX_PANELS} "
            f"combinations for each value of one of them, and {MAX_PICTURES} of fields of words; select runs in Python"
        )
    return drawn


def swept(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The fields beside learning rate and seed that a sweep varies: numbers, each a possible axis, and words."""
    fields = [field for field in analysis.cell_fields(runs) if _varies(runs, field)]
    varying = [field for field in fields if is_numeric_dtype(runs[field])]
    return varying, [field for field in fields if field not in varying]


def _varies(runs: pd.DataFrame, field: str) -> bool:
    """Whether a field varies between runs alike in what decides which fields there are, and not only with that."""
    kinds = [name for name in CHOICES if name in runs and name != field]
    alike = runs.groupby(kinds, dropna=False)[field].nunique() if kinds else pd.Series([runs[field].nunique()])
    return bool((alike > 1).any())


def _parts(runs: pd.DataFrame, x: str, words: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """What is drawn along x in one picture: all runs; where they are too many panels, those alike in words; else none.

    Each with what its name ends in.
    """
    if panel_count(runs, x) <= MAX_PANELS:
        return [("", runs)]
    parts = _by_words(runs[runs[x].notna()], words)
    return [(part, rows) for part, rows in parts if panel_count(rows, x) <= MAX_PANELS]


def _by_words(runs: pd.DataFrame, words: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The runs alike in their fields of words, as in the optimizer, by those words; none where they are too many."""
    if not words or (groups := runs.groupby(words, dropna=False)).ngroups > MAX_PICTURES:
        return []
    return [("_" + "_".join(str(word) for word in rows[words].iloc[0]), rows) for _, rows in groups]


def _among(critical: pd.DataFrame, rows: pd.DataFrame, words: list[str]) -> "pd.Series[bool]":
    """Which cells are of the runs `rows`, all alike in words."""
    own = [critical[word].isin(rows[word].iloc[:1]) for word in words if word in critical]
    return pd.concat(own, axis=1).all(axis=1) if own else pd.Series(True, index=critical.index)


def _zoom(name: str, out: str | Path) -> pd.DataFrame | None:
    """The runs of NAME_zoom, of NAME_zoom-quick for NAME-quick, where they are there and as dense."""
    full = name.removesuffix("-quick")
    zoom = f"{full}_zoom{name.removeprefix(full)}"
    if not tables.has_runs(Path(out) / zoom):
        return None
    runs = tables.read(zoom, out).runs
    return runs if is_dense(runs) else None


def _draw_fits(fitted: Analyzed, varying: list[str], base: Path) -> list[Path]:
    """Draw the laws, the upper boundary's alone where both are too many, and the bands; each where it is legible."""
    drawn = []
    laws = fitted.power_law if fitted.power_law is not None else pd.DataFrame({"along": []})
    for x, law in laws.groupby("along"):
        shown = law if len(law) <= MAX_SERIES else law[law["boundary"] == "upper"]
        if len(shown) <= MAX_SERIES:
            cells = fitted.critical[fitted.critical["boundary"].isin(shown["boundary"])]
            drawn += save(scaling_plot(cells, shown, x=str(x)), Path(f"{base}.scaling_{x}"))
    for x in varying:
        band = fitted.band[fitted.band[x].notna()]
        learns = (band["width_decades"] > 0).any()
        if learns and (band[x] > 0).all() and band.groupby(x).size().max() <= MAX_SERIES:
            with contextlib.suppress(UsageError):  # series of other x: more than there are colours
                drawn += save(band_plot(band, x=x), Path(f"{base}.band_{x}"))
    return drawn
