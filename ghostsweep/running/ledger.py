"""How much of a sweep is on disk: what is finished, what is left, and in a word how it stands. Trains nothing."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ghostsweep import analysis, plan
from ghostsweep.declare import Shape
from ghostsweep.plan import groups
from ghostsweep.plan.groups import Group
from ghostsweep.spec import ENGINE_VERSION, Grid, Sweep
from ghostsweep.store import files, locks, parts, tables
from ghostsweep.store.tables import Stored


@dataclass(frozen=True)
class Status:
    """A sweep and how much of it is on disk."""

    sweep: Sweep
    planned: tuple[Group, ...]
    left: tuple[Group, ...]
    changed: tuple[str, ...]
    """What is not as it was when the tables were put together, in words: the sweep file, a model, the engine."""

    @property
    def stale(self) -> bool:
        """Whether anything has changed since the tables were put together."""
        return bool(self.changed)

    @property
    def runs(self) -> int:
        """Number of runs, of a refined sweep those wanted so far."""
        return sum(group.runs for group in self.planned)

    @property
    def done(self) -> int:
        """Number of these that are on disk."""
        return self.runs - sum(group.runs for group in self.left)

    @property
    def core_seconds_left(self) -> float:
        """Estimated training time of the others on one core, by the constants of the plan; NaN where nobody knows."""
        return sum(group.seconds for group in self.left)

    @property
    def curve_rows(self) -> int:
        """Rows that the table of curves will have."""
        return groups.curve_rows(self.planned, self.sweep)

    @property
    def growing(self) -> bool:
        """Whether a refined sweep has levels to come, whose runs are only known once those before are trained."""
        return self.sweep.refine is not None and len(self.left) > 0

    @property
    def state(self) -> str:
        """In a word: stale, done, partial, or new where nothing is on disk."""
        return "stale" if self.stale else "done" if not self.left else "partial" if self.done else "new"


@dataclass(frozen=True)
class Activity:
    """What a result folder tells of a sweep beside its tables."""

    at_work: tuple[str, ...]
    """Processes that hold the folder or a shard of it, in words."""
    checkpoints: int
    """Chunks under way, or interrupted."""
    checkpoint_age: float
    """Seconds since the last of their checkpoints; NaN where there is none."""
    parts: int
    """Finished chunks that wait to be put into the tables."""
    failed: tuple[Path, ...]
    """Files that say why a chunk could not be trained, in the last attempt."""


def activity(name: str, out: str | Path = "results") -> Activity:
    """Who is at work in the folder of a sweep, on this machine or another, and what waits or failed there."""
    folder = Path(out) / name
    shares = [place for place in files.listed(folder) if place.startswith("shard-")]
    holders = [(locks.is_locked(folder), "")]
    holders += [(locks.is_locked(folder / place), f"{place.replace('-', ' ')}: ") for place in shares]
    ages = []
    for checkpoint in files.listed(folder / "checkpoints"):
        with contextlib.suppress(FileNotFoundError):  # its chunk ended meanwhile
            ages.append((folder / "checkpoints" / checkpoint).stat().st_mtime)
    return Activity(
        at_work=tuple(f"{what}{holder}" for holder, what in holders if holder),
        checkpoints=len(ages),
        checkpoint_age=time.time() - max(ages, default=math.nan),
        parts=len(parts.waiting(folder)),
        failed=tuple(folder / "failed" / name for name in files.listed(folder / "failed") if name.endswith(".txt")),
    )


def status(sweep: Sweep, out: str | Path = "results", shard: plan.Shard | None = None) -> Status:
    """How much of a sweep, or of a share of it, is done, and what the rest costs; trains and writes nothing.

    Runs are planned one by one only where tables hold some of them. Tables of the same text and engine that have as
    many rows as planned count as done; `run` looks at every row of them.
    """
    folder = Path(out) / sweep.name
    changed = changes(sweep, folder)
    if not sweep.executed:
        return _by_the_folder(sweep, folder, changed)
    if shard is not None:
        grid = plan.expand(sweep)
        own = shard.runs(grid)
        found = tables.stored(folder)
        table, left = (part[tables.among(part["run_id"], own)] for part in work(sweep, found, grid))
        return Status(sweep, tuple(groups.of(table)), tuple(groups.of(left)), changed)
    if not tables.has_runs(folder):
        planned = groups.planned(_first_level(sweep))
        return Status(sweep, tuple(planned), tuple(planned), changed)
    plain = sweep.refine is None and sweep.initial is None and not _keeps_snapshots(sweep)
    if plain and not changed:
        planned = groups.planned(sweep)
        rows = sum(group.runs for group in planned), groups.curve_rows(planned, sweep)
        if tables.row_counts(folder) == rows:
            return Status(sweep, tuple(planned), (), changed)
    found = tables.stored(folder)
    if plain and not sweep.phases and len(sweep.grids) == 1 and _of_this_engine(found):
        return Status(sweep, *_counted(sweep, found), changed)
    table, left = work(sweep, found, plan.expand(sweep))
    return Status(sweep, tuple(groups.of(table)), tuple(groups.of(left)), changed)


def _by_the_folder(sweep: Sweep, folder: Path, changed: tuple[str, ...]) -> Status:
    """What a folder says of a sweep of a user's own model or task, none of whose code is executed."""
    rows = tables.row_counts(folder) if tables.has_runs(folder) and not changed else None
    done = rows[0] if rows else 0
    found = []
    for number, grid, count in _grids(_first_level(sweep)):
        model, task = (str(grid.shared.get(name) or "several") for name in ("model", "task"))
        epochs = grid.shared.get("epochs")
        shape = Shape(model, task, str(grid.shared.get("optimizer", "sgd")), str(grid.shared.get("dtype", "float32")))
        found.append(Group(shape, epochs if isinstance(epochs, int) else 0, number, count, {}))
    total = sum(group.runs for group in found)
    if sweep.refine is not None and done >= total:  # what of its further levels is wanted, only training tells
        found[-1] = replace(found[-1], runs=found[-1].runs + done - total)
        sessions = tables.read_meta(folder).get("sessions", [])
        ended = sessions[-1].get("ended") == "all done" if sessions else False
        return Status(sweep, tuple(found), () if ended else (replace(found[-1], runs=0),), changed)
    left = []
    for group in found:
        left.append(replace(group, runs=group.runs - min(done, group.runs)))
        done -= min(done, group.runs)
    return Status(sweep, tuple(found), tuple(group for group in left if group.runs), changed)


def _grids(sweep: Sweep) -> Iterator[tuple[int, Grid, int]]:
    """Every grid of every phase: the phase, the grid and its number of runs."""
    counts = [len(grid) for grid in sweep.grids]
    yield from ((1, grid, count) for grid, count in zip(sweep.grids, counts, strict=True))
    for number, phase in enumerate(sweep.phases, 2):
        points = math.prod(len(phase.grids[0].axes[name]) for name in phase.axes)
        counts = [points * count for count in counts]
        yield from ((number, grid, count) for grid, count in zip(phase.grids, counts, strict=True))


def _counted(sweep: Sweep, found: Stored) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups of one product of axes and what is left of them, by counting those on disk that lie on it.

    So that few runs of millions are told without planning the others.
    """
    runs, curves = found.frames()
    own = runs[plan.lie_on(sweep.grids[0], runs)]
    done = own[tables.complete(own, curves, sweep.record)]
    planned, finished = groups.planned(sweep), groups.of(done) if len(done) else []
    count = {(group.shape, group.epochs): group.runs for group in finished}
    left = (replace(g, runs=g.runs - count.get((g.shape, g.epochs), 0)) for g in planned)
    return tuple(planned), tuple(group for group in left if group.runs)


def _of_this_engine(found: Stored) -> bool:
    """Whether all that is stored was trained by this version of the engine, so that equal fields are equal ids."""
    versions = {part.about["engine_version"] for part in found.parts}
    if "runs.parquet" in found.manifest.files:
        versions.add(found.manifest.about.get("engine_version"))
    return versions <= {ENGINE_VERSION}


def changes(sweep: Sweep, folder: Path) -> tuple[str, ...]:
    """What is not as the tables of a folder say, in words; nothing where there are none."""
    meta = tables.read_meta(folder)
    if not meta:
        return ()
    found, stored = [], meta.get("code", {})
    if meta.get("engine_version") != ENGINE_VERSION:
        found.append("another version of the engine trained them: all are trained again")
    if meta.get("spec") != sweep.text:
        found.append("the sweep file has changed: runs that it still asks for are kept")
    for code in sweep.code:
        about = stored.get(code.reference, {})
        if about.get("digest", code.digest) == code.digest:
            continue
        declared = not str(about.get("name", "")).endswith(f"@{about['digest']}")
        kept = "runs are kept as long as it declares the same version" if declared else "its runs are trained again"
        found.append(f"{code.reference} has changed: {kept}")
    if not found and stored.keys() != {code.reference for code in sweep.code}:
        found.append("other models or tasks are in files")
    return tuple(found)


def _first_level(sweep: Sweep) -> Sweep:
    """A refined sweep with the learning rates alone that it begins with; any other as it is."""
    if sweep.refine is None:
        return sweep
    grids = []
    for grid in sweep.grids:
        rates = np.unique(grid.axes["learning_rate"])
        first = rates[analysis.first_rates(len(rates), sweep.refine.levels)].tolist()
        grids.append(replace(grid, axes={**grid.axes, "learning_rate": first}))
    return replace(sweep, grids=tuple(grids))


def _keeps_snapshots(sweep: Sweep) -> bool:
    return any(sweep.record_of(phase).snapshots is not None for phase in range(1, len(sweep.phases) + 2))


def work(sweep: Sweep, found: Stored, planned: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of all runs of a sweep those wanted, of a refined one so far, and of these the ones that are to be trained."""
    runs, curves = found.frames()
    finished = _finished(sweep, planned, found, runs, curves)
    if sweep.refine is not None:
        done = runs[tables.among(runs["run_id"], planned.loc[finished, "run_id"])]
        wanted = analysis.refined(planned, done, levels=sweep.refine.levels, share=sweep.fit.share)
        planned, finished = planned[wanted].reset_index(drop=True), finished[wanted].reset_index(drop=True)
    return planned, planned[~finished]


def _finished(
    sweep: Sweep, planned: pd.DataFrame, found: Stored, runs: pd.DataFrame, curves: pd.DataFrame
) -> pd.Series:
    """Which planned runs are on disk with all that is to be kept, and with their end where a later phase needs it."""
    finished = pd.Series(False, index=planned.index)
    torn = _torn(runs)
    wanted: set[str] = set()  # runs from which runs that are left go on
    for phase in sorted(planned["phase"].unique(), reverse=True):
        record = sweep.record_of(phase)
        rows = planned[planned["phase"] == phase]
        valid = runs[runs["phase"] == phase]
        valid = valid[tables.complete(valid, curves, record) & ~tables.among(valid["run_id"], torn)]
        done = tables.among(rows["run_id"], valid["run_id"]) & ~tables.among(rows["run_id"], wanted - found.ends.keys())
        if record.snapshots is not None:
            chosen = record.snapshots.chosen(rows)
            asked = {length: set(record.snapshots.schedule(length).tolist()) for length in rows["epochs"].unique()}
            kept = [
                run_id in found.snapshots and asked[length] <= set(found.snapshots[run_id].epochs)
                for run_id, length in rows.loc[chosen, ["run_id", "epochs"]].itertuples(index=False)
            ]
            done[chosen] &= pd.array(kept, bool)
        finished[rows.index] = done
        wanted = set(rows.loc[~done, "parent"].dropna())
    return finished


def _torn(runs: pd.DataFrame) -> set[str]:
    """Runs of later phases that begin where no run ends: the one before was trained again, and ended elsewhere."""
    later = runs[runs["parent"].notna()]
    parents = runs.set_index("run_id")["ends_at"].dropna()
    now = later["parent"].map(parents)
    return set(later.loc[now.notna() & (now != later["begins_from"]), "run_id"])
