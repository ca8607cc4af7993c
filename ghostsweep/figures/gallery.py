"""Every figure that the tables of a sweep allow."""

import contextlib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from ghostsweep import analysis
from ghostsweep.analysis.analyzing import Analyzed, analyze
from ghostsweep.analysis.series import FIT_NEEDS
from ghostsweep.errors import UsageError
from ghostsweep.figures import naming, reduction
from ghostsweep.figures.band import band_plot
from ghostsweep.figures.dense import dense_diagram, is_dense
from ghostsweep.figures.eta import eta_collapse
from ghostsweep.figures.loss_vs_rate import MAX_LINES, loss_against_learning_rate
from ghostsweep.figures.phase import MAX_PANELS, panel_count, phase_diagram
from ghostsweep.figures.scaling import MAX_SERIES, scaling_plot
from ghostsweep.figures.style import ONE_COLUMN, TWO_COLUMNS, save
from ghostsweep.spec import CHOICES
from ghostsweep.store import files, tables
from ghostsweep.store.reduced import has_reduction, read_reduction

MAX_NAME = 80
"""Characters of what a picture's file is called after the sweep."""
USUAL = "By the usual outcomes, not by those that the task declares."
MAX_PICTURES = 12
"""Pictures into which `plot` splits what has too many panels for one, by fields of words."""


def draw(
    found: tables.Tables,
    *,
    out: str | Path = "results",
    to: str | Path = "figures",
    note: str = "",
    also: Sequence[Path] = (),
) -> list[Path]:
    """Draw every figure that the tables of a sweep allow; return the files written.

    out: where those of a zoom into it may be. note: what stands on each of them, as that runs are missing. also: files
    of it that were drawn elsewhere. What an earlier call drew of the sweep and this one does not is removed.
    Raises UsageError where nothing can be drawn.
    """
    name, runs = found.name, found.runs
    reduced = _reduced(name, out, found.folder, _title(found, runs), note)
    if runs["learning_rate"].nunique() < 2 and not reduced:
        raise UsageError(f"{found.name}: found a single learning rate; a phase diagram needs several")
    if runs["learning_rate"].nunique() < 2:
        pictures = reduced
    elif is_dense(runs):  # a pixel a run: boundaries of cells of a single run each would tell less
        zoom = _zoom(name, out)
        pictures = [("dense", dense_diagram(runs, zoom, title=_title(found, runs), note=note))]
    else:
        pictures = [*_pictures(found, note), *reduced]
    if not pictures:
        varying, words = swept(runs)
        raise UsageError(
            f"{name}: found runs that differ in {', '.join(varying + words)}; allowed: at most {MAX_PANELS} "
            f"combinations for each value of one of them, and {MAX_PICTURES} of fields of words; select runs in Python"
        )
    return _saved(name, pictures, to, also)


def draw_reduction(folder: Path, *, to: str | Path = "figures") -> list[Path]:
    """Draw what a folder without runs allows that keeps a reduction of them; return the files written."""
    return _saved(folder.name, _reduced(folder.name, folder.parent, folder, folder.name, ""), to)


def _saved(name: str, pictures: Iterable[tuple[str, Figure]], to: str | Path, also: Sequence[Path] = ()) -> list[Path]:
    drawn = [path for kind, fig in pictures for path in save(fig, Path(to) / f"{name}.{_file_name(kind)}")] + [*also]
    _remove_old(name, Path(to), drawn)
    return drawn


def _reduced(name: str, out: str | Path, folder: Path, title: str, note: str) -> list[tuple[str, Figure]]:
    """Pictures of the reduction that a folder keeps; X_reduction is held against the critical rates of X."""
    if not has_reduction(folder):
        return []
    base = name.removesuffix("_reduction")
    of_rates = base != name and tables.has_runs(Path(out) / base)
    runs = tables.read(base, out).runs if of_rates else None
    return list(reduction.pictures(read_reduction(folder), runs, title, note).items())


def swept(runs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The fields beside learning rate and seed that a sweep varies: numbers, each a possible axis, and words."""
    fields = [field for field in analysis.cell_fields(runs) if _varies(runs, field)]
    varying = [field for field in fields if is_numeric_dtype(runs[field])]
    return varying, [field for field in fields if field not in varying]


def _pictures(found: tables.Tables, note: str) -> Iterator[tuple[str, Figure]]:
    """Every figure that the tables of a sweep allow, and what its file is called after the sweep."""
    runs = found.runs
    fitted = analyze(found)
    varying, words = swept(runs)
    title = _title(found, runs)
    for x in varying:
        for part, rows in _parts(runs, x, words):
            cells = fitted.critical[_among(fitted.critical, rows, words)] if part else fitted.critical
            about = _title(found, rows, words if part else ())
            yield f"phase_{x}{part}", phase_diagram(rows, x=x, critical=cells, title=about, note=note)
    has_own = analysis.own_outcomes(runs) is not None
    of_fits = " ".join(filter(None, [note, USUAL if has_own else ""]))
    if not varying:
        yield from _without_numbers(found, fitted, words, note, of_fits)
    yield from _fits(fitted, varying, title, of_fits)
    # Of plain gradient descent alone, as its theory.
    exact = analysis.is_closed_form(runs) and np.isfinite(analysis.levels(runs).theory).all()
    if exact and runs["timescale"].nunique() > 1:
        yield "eta", eta_collapse(runs, title=title, note=note)


def _without_numbers(
    found: tables.Tables, fitted: Analyzed, words: list[str], note: str, of_fits: str
) -> Iterator[tuple[str, Figure]]:
    """Where runs differ in rate, seed and words alone: loss against rate, and these words, as optimizers, compared."""
    runs, prefer = found.runs, found.meta.get("record", {}).get("epochs", ())
    several = words and runs.groupby(words, dropna=False).ngroups <= MAX_LINES
    if several:
        title = _title(found, runs)
        yield f"loss_{'_'.join(words)}", loss_against_learning_rate(found, title, prefer, by=words, note=note)
    parts = _by_words(runs, words) if words else [("", runs)]
    for part, rows in parts:
        title = _title(found, rows, words)
        yield f"loss{part}", loss_against_learning_rate(replace(found, runs=rows), title, prefer, note=note)
    title = _title(found, runs)
    for x in words:
        if panel_count(runs, x) <= MAX_PANELS:
            few = runs[x].nunique() <= 4 and panel_count(runs, x) == 1
            look: dict[str, Any] = {"title": title, "note": note, "width": ONE_COLUMN if few else TWO_COLUMNS}
            yield f"phase_{x}", phase_diagram(runs, x=x, critical=fitted.critical, **look)
    for x in words:  # in the order of the runs, which is that of the sweep file, as in the other pictures
        places = naming.positions(runs[x])
        band = fitted.band.sort_values(x, key=lambda column, at=places: column.map(at))  # type: ignore[misc]
        yield from _bands(replace(fitted, band=band), [x], title, of_fits)


def _title(found: tables.Tables, runs: pd.DataFrame, words: Sequence[str] = ()) -> str:
    """Title of a picture of these runs, all alike in words, and beneath it what they are."""
    first = runs.iloc[0]
    own = [naming.value_text(found.runs, word, first[word]) for word in words if word not in ("model", "task")]
    return f"{found.meta.get('title', found.name)}\n{', '.join([naming.about(runs), *own])}"


def _remove_old(name: str, to: Path, drawn: list[Path]) -> None:
    """Remove pictures of a sweep that an earlier call drew and this one did not, as a list of its own beside them says.

    What has other bytes by now is somebody's work, and stays.
    """
    own = to / f".{name}.drawn.json"
    before: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        before = {str(key): str(value) for key, value in json.loads(own.read_text()).items()}
    now = {path.name: _digest(path) for path in drawn if path.parent == to and path.is_file()}
    for old in (to / file for file in before if file not in now and Path(file).name == file):
        with contextlib.suppress(OSError):
            if _digest(old) == before[old.name]:
                old.unlink()
    if now:
        files.write(own, lambda file: file.write(json.dumps(now).encode()))


def _digest(path: Path) -> str:
    return files.digest(path.read_bytes())


def _file_name(kind: str) -> str:
    """What a picture's file is called after the sweep, of characters alone that names of files have everywhere."""
    safe = re.sub(r"[^\w@.+=-]", "-", kind)[:MAX_NAME]
    return safe if safe == kind else f"{safe}.{files.digest(kind.encode())[:6]}"


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


def _fits(fitted: Analyzed, varying: list[str], title: str, note: str) -> Iterator[tuple[str, Figure]]:
    """The laws, the upper boundary's alone where both are too many, and the bands; each where it is legible."""
    laws = fitted.power_law if fitted.power_law is not None else pd.DataFrame({"along": []})
    for x, law in laws.groupby("along"):
        shown = law if len(law) <= MAX_SERIES else law[law["boundary"] == "upper"]
        if len(shown) <= MAX_SERIES:
            cells = fitted.critical[fitted.critical["boundary"].isin(shown["boundary"])]
            yield f"scaling_{x}", scaling_plot(cells, shown, x=str(x), title=title, note=note)
    for x in varying:
        if fitted.critical[x].nunique() >= FIT_NEEDS and not (fitted.critical[x].dropna() > 0).all():
            warnings.warn(f"no law along {x}, which has values that are not positive", stacklevel=2)
    yield from _bands(fitted, varying, title, note)


def _bands(fitted: Analyzed, fields: list[str], title: str, note: str) -> Iterator[tuple[str, Figure]]:
    """The learnable band against each of the fields, where it is legible."""
    for x in fields:
        band = fitted.band[fitted.band[x].notna()]
        learns = (band["width_decades"] > 0).any()
        if learns and band.groupby(x).size().max() <= MAX_SERIES:
            try:
                fig = band_plot(band, x=x, title=title, note=note)
            except UsageError:  # series of other x: more than there are colours
                continue
            yield f"band_{x}", fig
