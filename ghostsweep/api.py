"""The verbs of the project, for Python and for the command line: list, run, status, read, show, fit, plot.

This is the one place that puts the rooms together; those that train are in `ghostsweep.sweeping`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ghostsweep import analysis, figures, paper, slurm, tables
from ghostsweep.errors import UsageError
from ghostsweep.estimating import Estimate, estimate
from ghostsweep.ledger import Activity, Status, activity, cores, find, status
from ghostsweep.plan import Shard
from ghostsweep.sessions import Options
from ghostsweep.showing import Shown, show
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
    share = found.meta.get("fit", {}).get("share", 0.5) if share is None else share
    critical = analysis.critical_lr(found.runs, share=share)
    band = analysis.learnable_band(found.runs, share=1 - share)
    laws = (analysis.fit_power_law, analysis.local_exponent, analysis.compare_scaling)
    along = analysis.scales(critical)
    if not along:
        return Fitted(critical, band)
    return Fitted(critical, band, *(pd.concat([law(critical, x=x) for x in along], ignore_index=True) for law in laws))


def plot(name: str, *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure a sweep's tables allow; return the files written."""
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
    varying = [x for x in analysis.cell_fields(runs) if is_numeric_dtype(runs[x]) and _varies(runs, x)]
    for x in varying:
        others = [f for f in varying if f != x and (runs.groupby(x)[f].nunique() > 1).any()]
        if runs.groupby(["model", *others], dropna=False).ngroups <= figures.MAX_PANELS:
            diagram = figures.phase_diagram(runs, x=x, critical=fitted.critical)
            drawn += figures.save(diagram, Path(to) / f"{found.name}.phase_{x}")
    if not varying and runs["model"].nunique() == 1:
        prefer = found.meta.get("record", {}).get("epochs", ())
        loss = figures.loss_against_learning_rate(found, found.meta.get("title", found.name), prefer)
        drawn += figures.save(loss, Path(to) / f"{found.name}.loss")
    drawn += _draw_fits(fitted, varying, Path(to) / found.name)
    if analysis.is_closed_form(runs) and runs["timescale"].nunique() > 1:
        drawn += figures.save(figures.eta_collapse(runs), Path(to) / f"{found.name}.eta")
    return drawn


def _varies(runs: pd.DataFrame, field: str) -> bool:
    """Whether a field varies between runs of one model on one task, and not only with them."""
    kinds = [name for name in ("model", "task") if name in runs]
    return bool((runs.groupby(kinds, dropna=False)[field].nunique() > 1).any())


def _zoom(name: str, out: str | Path) -> pd.DataFrame | None:
    """The runs of NAME_zoom, of NAME_zoom-quick for NAME-quick, where they are there and as dense."""
    full = name.removesuffix("-quick")
    zoom = f"{full}_zoom{name.removeprefix(full)}"
    if not (Path(out) / zoom / "meta.json").exists():
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
            drawn += figures.save(figures.band_plot(band, x=x), Path(f"{base}.band_{x}"))
    return drawn


def drawable(out: str | Path = "results") -> list[str]:
    """What `plot` can draw from the results that are there: sweeps over learning rates, then paper figures."""
    names = []
    for folder in sorted(p.parent for p in Path(out).glob("*/meta.json")):
        if tables.read(folder.name, out).runs["learning_rate"].nunique() > 2:
            names.append(folder.name)
    names += paper.drawable(out)
    if not names:
        raise UsageError(f"{out}: found no results that can be drawn; allowed: after `ghostsweep run`")
    return names
