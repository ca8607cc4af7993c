"""The verbs of the project, for Python and for the command line: list, run, read, fit, plot.

This is the one place that puts the rooms together. Training imports JAX only when it is asked for, so that
tables can be read, fitted and drawn where JAX is not installed.
"""

import datetime
import difflib
import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ghostsweep import analysis, figures, paper, plan, tables
from ghostsweep.errors import UsageError
from ghostsweep.spec import ENGINE_VERSION, Initial, Sweep, load

if TYPE_CHECKING:
    from ghostsweep.engine import Progress

DEFAULT_MEMORY_BYTES = 2e9


@dataclass(frozen=True)
class Status:
    """A sweep and how much of it is on disk."""

    sweep: Sweep
    runs: int
    done: int
    core_seconds_left: float
    curve_rows: int
    growing: bool
    """Whether a refined sweep has levels to come, whose runs are only known once those before are trained."""


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find(spec: str | Path, sweeps: str | Path = "sweeps") -> Path:
    """The file of a sweep, given as a path or as a name below `sweeps`."""
    for path in (Path(spec), Path(sweeps) / f"{spec}.toml"):
        if path.is_file():
            return path
    known = sorted(p.stem for p in Path(sweeps).glob("*.toml"))
    near = difflib.get_close_matches(str(spec), known, n=1)
    raise UsageError(
        f"{spec}: found no such sweep; allowed: a .toml file or one of {', '.join(known) or 'none here'}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def status(sweep: Sweep, out: str | Path = "results") -> Status:
    """How much of a sweep is done, and what the rest costs; trains and writes nothing."""
    planned, left = _work(sweep, Path(out) / sweep.name)
    work = plan.chunks(left, 1, DEFAULT_MEMORY_BYTES) if len(left) else []
    return Status(
        sweep,
        len(planned),
        len(planned) - len(left),
        sum(chunk.seconds for chunk in work),
        plan.recorded_rows(planned, sweep),
        sweep.refine is not None and len(left) > 0,
    )


def run(
    sweep: Sweep | str | Path,
    *,
    quick: bool = False,
    out: str | Path = "results",
    progress: "Callable[[Progress], None] | None" = None,
) -> tables.Tables:
    """Train what is missing of a sweep and return its tables.

    `sweep` is a Sweep, a path or a name below sweeps/. Runs already in `out`/<name> are reused by run id.
    `progress` is called between calls of the compiled program. When interrupted, finished chunks are kept,
    and the same call goes on from them. Raises UsageError for a bad sweep, before anything is compiled.
    """
    if not isinstance(sweep, Sweep):
        sweep = load(find(sweep), quick=quick)
    elif quick:
        raise UsageError("quick: a Sweep is already loaded; give load(..., quick=True) instead")
    folder = Path(out) / sweep.name
    planned, left = _work(sweep, folder)
    for _ in range(1 + (sweep.refine.levels if sweep.refine else 0)):
        if left.empty:
            break
        if importlib.util.find_spec("jax") is None:
            raise UsageError("training needs JAX, which is not installed here; allowed: pip install jax optax")
        session: dict[str, Any] = {"started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
        try:
            session |= _train(sweep, planned, left, folder, progress)
        finally:
            if folder.exists():
                tables.merge(folder, planned["run_id"], _meta(sweep, folder, session))
        if sweep.refine is not None:
            planned, left = _work(sweep, folder)
    if folder.exists() and not tables.is_merged(folder, planned["run_id"]):
        tables.merge(folder, planned["run_id"], _meta(sweep, folder, None))
    return tables.read(sweep.name, out)


def _work(sweep: Sweep, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of a sweep, of a refined one those wanted so far, and of these the ones that are to be trained."""
    planned = plan.expand(sweep)
    finished = _finished(sweep, planned, folder)
    if sweep.refine is not None:
        runs = tables.stored(folder)[0]
        done = runs[tables.among(runs["run_id"], planned.loc[finished, "run_id"])]
        wanted = analysis.refined(planned, done, levels=sweep.refine.levels, share=sweep.fit.share)
        planned, finished = planned[wanted].reset_index(drop=True), finished[wanted].reset_index(drop=True)
    return planned, planned[~finished]


def _train(
    sweep: Sweep,
    planned: pd.DataFrame,
    left: pd.DataFrame,
    folder: Path,
    progress: "Callable[[Progress], None] | None",
) -> dict[str, Any]:
    """Train the runs that are left; return what to remember of this session."""
    import jax

    from ghostsweep import engine

    devices = engine.local_devices(cores())
    wide = devices[0].platform != "cpu"
    chunks = plan.chunks(left, len(devices), DEFAULT_MEMORY_BYTES, wide=wide)
    parents = set(planned["parent"].dropna())
    if sweep.initial is not None:
        _store_initial(sweep.initial, chunks, folder)
    spent = engine.train_chunks(chunks, sweep.record_of, folder, devices, progress or (lambda _: None), parents)
    return {
        "runs_trained": len(left),
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "jax": jax.__version__,
        **{key: round(value, 3) for key, value in asdict(spent).items()},
    }


def _store_initial(initial: Initial, chunks: list[plan.Chunk], folder: Path) -> None:
    """Put given parameters where runs find what they begin from; UsageError where they do not fit the model."""
    from ghostsweep import train

    for shape in {chunk.shape: None for chunk in chunks if chunk.phase == 1}:
        allowed = train.parameter_shapes(shape)
        if (found := {name: value.shape for name, value in initial.params.items()}) != allowed:
            raise UsageError(f"{initial.path}: found parameters {found}; allowed for this model: {allowed}")
    params = {f"params/{name}": value[None] for name, value in initial.params.items()}
    tables.write_ends(folder, pd.Series([initial.run_id]), params)


def _finished(sweep: Sweep, planned: pd.DataFrame, folder: Path) -> pd.Series:
    """Which planned runs are on disk with all that is to be kept, and with their end where a later phase needs it."""
    runs, curves = tables.stored(folder)
    finished = pd.Series(False, index=planned.index)
    ends = tables.stored_ends(folder) if planned["parent"].notna().any() else {}
    wanted: set[str] = set()  # runs from which runs that are left go on
    for phase in sorted(planned["phase"].unique(), reverse=True):
        record = sweep.record_of(phase)
        rows = planned[planned["phase"] == phase]
        valid = runs[runs["phase"] == phase]
        valid = valid[tables.complete(valid, curves, record)]
        done = tables.among(rows["run_id"], valid["run_id"]) & ~tables.among(rows["run_id"], wanted - ends.keys())
        if record.snapshots is not None:
            chosen = record.snapshots.chosen(rows)
            epochs = {length: record.snapshots.schedule(length) for length in rows["epochs"].unique()}
            kept = [
                tables.has_snapshots(folder, run_id, epochs[length])
                for run_id, length in rows.loc[chosen, ["run_id", "epochs"]].itertuples(index=False)
            ]
            done[chosen] &= pd.array(kept, bool)
        finished[rows.index] = done
        wanted = set(rows.loc[~done, "parent"].dropna())
    return finished


def _meta(sweep: Sweep, folder: Path, session: dict[str, Any] | None) -> dict[str, Any]:
    """Where the tables come from: the spec, the code, the machine, and every session that trained."""
    sessions = tables.read_meta(folder).get("sessions", []) + ([session] if session else [])
    return {
        "name": sweep.name,
        "title": sweep.title,
        "spec": sweep.text,
        "spec_sha256": hashlib.sha256(sweep.text.encode()).hexdigest(),
        "record": sweep.record.model_dump(),
        "fit": sweep.fit.model_dump(),
        "refine": sweep.refine and sweep.refine.model_dump(),
        "engine_version": ENGINE_VERSION,
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "sessions": sessions,
    }


def _git_commit() -> str:
    """The commit of the source tree this package runs from; empty where it is not a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


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
    return bool((runs.groupby(["model", "task"], dropna=False)[field].nunique() > 1).any())


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
