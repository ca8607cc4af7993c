"""The verbs of the project, for Python and for the command line: list, run, status, read, show, fit, plot.

This is the one place that puts the rooms together; those that train are in `ghostsweep.sweeping`.
"""

import contextlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ghostsweep import analysis, figures, paper, slurm, tables
from ghostsweep.errors import UsageError
from ghostsweep.estimating import Estimate, estimate
from ghostsweep.ledger import Activity, Status, activity, find, status
from ghostsweep.machine import cores
from ghostsweep.plan import Shard
from ghostsweep.sessions import Options
from ghostsweep.showing import Shown, show
from ghostsweep.spec import CHOICES
from ghostsweep.sweeping import run

__all__ = [
    "Activity",
    "Estimate",
    "Fitted",
    "Options",
    "Shard",
    "Shown",
    "Status",
    "activity",
    "cores",
    "drawable",
    "estimate",
]
__all__ += ["find", "fit", "plot", "run", "show", "slurm", "status"]


MAX_PICTURES = 12
"""Pictures into which `plot` splits what has too many panels for one, by fields of words."""


@dataclass(frozen=True)
class Fitted:
    """What `fit` finds, a table each; those of laws hold every field that a law can be fitted along (`along`).

    critical: upper and lower boundary of every cell. band: its learnable band. power_law: a row per series of
    cells. local_exponent: a row per pair of neighbours. scaling: a row per series and law compared. The last
    three are None where no series is long enough.
    """

    critical: pd.DataFrame
    band: pd.DataFrame
    power_law: pd.DataFrame | None = None
    local_exponent: pd.DataFrame | None = None
    scaling: pd.DataFrame | None = None


def fit(results: tables.Tables | str | Path, *, out: str | Path = "results", share: float | None = None) -> Fitted:
    """Critical learning rates and learnable band of every cell, and the laws through the critical rates.

    `share` is the share of seeds at which a boundary lies (0: the first seed); by default what the sweep says.
    In the band the others learned: at least 1 - share. Laws are fitted along every field of positive numbers
    with three cells or more, the timescale for one.
    """
    found = results if isinstance(results, tables.Tables) else tables.read(results, out)
    share = _share(found) if share is None else share
    critical = analysis.critical_lr(found.runs, share=share)
    band = analysis.learnable_band(found.runs, share=1 - share)
    laws = (analysis.fit_power_law, analysis.local_exponent, analysis.compare_scaling)
    along = analysis.scales(critical)
    if not along:
        return Fitted(critical, band)
    return Fitted(critical, band, *(pd.concat([law(critical, x=x) for x in along], ignore_index=True) for law in laws))


def _share(found: tables.Tables) -> float:
    """The share of seeds that boundaries take, as meta.json says it; with a warning 0.5 where it does not."""
    given = found.meta.get("fit")
    share = given.get("share") if isinstance(given, dict) else None
    if isinstance(share, int | float) and 0 <= share < 1:
        return share
    warnings.warn(
        f"{found.name}: meta.json says nothing of the share of seeds at which boundaries lie: 0.5 is taken",
        stacklevel=3,
    )
    return 0.5


def plot(name: str, *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure a sweep's tables allow; return the files written.

    Raises UsageError where nothing can be drawn.
    """
    if name in paper.PAPER:
        return paper.draw(name, out, to)
    if Path(name).name in ("", ".."):  # what is drawn is named after it
        raise UsageError(f"plot: found {name!r}; allowed: the name of a sweep that has results, or a paper figure")
    found = tables.read(name, out)
    runs = found.runs
    drawn: list[Path] = []
    if runs["learning_rate"].nunique() < 2:
        raise UsageError(f"{name}: found a single learning rate; a phase diagram needs several")
    if figures.is_dense(runs):  # a pixel a run: boundaries of cells of a single run each would tell less
        return figures.save(figures.dense_diagram(runs, _zoom(found.name, out)), Path(to) / f"{found.name}.dense")
    fitted = fit(found)
    fields = [field for field in analysis.cell_fields(runs) if _varies(runs, field)]
    varying = [field for field in fields if is_numeric_dtype(runs[field])]
    words = [field for field in fields if field not in varying]
    for x in varying:
        for part, rows in _parts(runs, x, words):
            cells = fitted.critical[_among(fitted.critical, rows, words)] if part else fitted.critical
            drawn += figures.save(
                figures.phase_diagram(rows, x=x, critical=cells), Path(to) / f"{found.name}.phase_{x}{part}"
            )
    if not varying and runs["model"].nunique() == 1:
        prefer = found.meta.get("record", {}).get("epochs", ())
        for part, rows in _by_words(runs, words) if words else [("", runs)]:
            one = replace(found, runs=rows)
            loss = figures.loss_against_learning_rate(one, found.meta.get("title", found.name) + part, prefer)
            drawn += figures.save(loss, Path(to) / f"{found.name}.loss{part}")
    drawn += _draw_fits(fitted, varying, Path(to) / found.name)
    if analysis.is_closed_form(runs) and runs["timescale"].nunique() > 1:
        drawn += figures.save(figures.eta_collapse(runs), Path(to) / f"{found.name}.eta")
    if not drawn:
        raise UsageError(
            f"{name}: found runs that differ in {', '.join(fields)}; allowed: at most {figures.MAX_PANELS} "
            f"combinations for each value of one of them, and {MAX_PICTURES} of fields of words; select runs in Python"
        )
    return drawn


def _varies(runs: pd.DataFrame, field: str) -> bool:
    """Whether a field varies between runs alike in what decides which fields there are, and not only with that."""
    kinds = [name for name in CHOICES if name in runs and name != field]
    alike = runs.groupby(kinds, dropna=False)[field].nunique() if kinds else pd.Series([runs[field].nunique()])
    return bool((alike > 1).any())


def _parts(runs: pd.DataFrame, x: str, words: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """What is drawn along x in one picture: all runs; where they are too many panels, those alike in words; else none.

    Each with what its name ends in.
    """
    if figures.panel_count(runs, x) <= figures.MAX_PANELS:
        return [("", runs)]
    parts = _by_words(runs[runs[x].notna()], words)
    return [(part, rows) for part, rows in parts if figures.panel_count(rows, x) <= figures.MAX_PANELS]


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
    return runs if figures.is_dense(runs) else None


def _draw_fits(fitted: Fitted, varying: list[str], base: Path) -> list[Path]:
    """Draw the laws, the upper boundary's alone where both are too many, and the bands; each where it is legible."""
    drawn = []
    laws = fitted.power_law if fitted.power_law is not None else pd.DataFrame({"along": []})
    for x, law in laws.groupby("along"):
        shown = law if len(law) <= figures.MAX_SERIES else law[law["boundary"] == "upper"]
        if len(shown) <= figures.MAX_SERIES:
            cells = fitted.critical[fitted.critical["boundary"].isin(shown["boundary"])]
            drawn += figures.save(figures.scaling_plot(cells, shown, x=str(x)), Path(f"{base}.scaling_{x}"))
    for x in varying:
        band = fitted.band[fitted.band[x].notna()]
        learns = (band["width_decades"] > 0).any()
        if learns and (band[x] > 0).all() and band.groupby(x).size().max() <= figures.MAX_SERIES:
            with contextlib.suppress(UsageError):  # series of other x: more than there are colours
                drawn += figures.save(figures.band_plot(band, x=x), Path(f"{base}.band_{x}"))
    return drawn


def drawable(out: str | Path = "results") -> list[str]:
    """What `plot` can draw from the results that are there: sweeps over learning rates, then paper figures."""
    names = []
    for name in tables.results(out):
        try:
            enough = tables.read(name, out).runs["learning_rate"].nunique() > 2
        except (UsageError, OSError):
            enough = True  # for `plot` to say what is wrong with it
        if enough:
            names.append(name)
    names += paper.drawable(out)
    if not names:
        raise UsageError(f"{out}: found no results that can be drawn; allowed: after `ghostsweep run`")
    return names
