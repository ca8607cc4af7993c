"""How much of a sweep is on disk: what is finished, what is left, and in a word how it stands. Trains nothing."""

import contextlib
import difflib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ghostsweep import analysis
from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.plan import Plan, Shard, groups, lie_on
from ghostsweep.plan.groups import Group
from ghostsweep.spec import ENGINE_VERSION, Sweep
from ghostsweep.store import files, locks, parts, tables
from ghostsweep.store.tables import Stored


@dataclass(frozen=True)
class Status:
    """A sweep and how much of it is on disk."""

    sweep: Sweep
    planned: tuple[Group, ...]
    left: tuple[Group, ...]
    stale: bool
    """Whether the tables are of another text of the sweep file, or of another version of the engine."""

    @classmethod
    def of(cls, planned: Plan, about: Mapping[str, Any]) -> Self:
        """How the runs wanted so far stand, given what meta.json tells of the tables."""
        left = tuple(groups.of(planned.left))
        return cls(planned.sweep, tuple(groups.of(planned)), left, is_stale(planned.sweep, about))

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
        """Estimated training time of the others on one core, by the constants of the plan."""
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


def find(spec: str | Path, sweeps: str | Path = "sweeps") -> Path:
    """The file of a sweep, given as a path or as a name below `sweeps`."""
    path = Path(spec) if Path(spec).suffix == ".toml" else Path(sweeps) / f"{spec}.toml"
    if "\0" not in str(path) and path.is_file():
        return path
    if Path(spec).suffix == ".toml":
        raise UsageError(f"{spec}: found no such file; allowed: a sweep file, or the name of one in {sweeps}")
    known = [Path(name).stem for name in files.listed(Path(sweeps)) if name.endswith(".toml")]
    near = difflib.get_close_matches(str(spec).removesuffix("-quick").lower(), known, n=3, cutoff=0.4)
    names = f"; did you mean {' or '.join(near)}?" if near else ""
    quick = "; the quick version of one is asked for by --quick" if str(spec).endswith("-quick") else ""
    raise UsageError(
        f"{spec}: found no such sweep; allowed: a .toml file or one of the {len(known)} in {sweeps}, "
        f"which `ghostsweep list` shows{names}{quick}"
    )


def status(sweep: Sweep, out: str | Path = "results", shard: Shard | None = None) -> Status:
    """How much of a sweep, or of a share of it, is done, and what the rest costs; trains and writes nothing.

    Runs are planned one by one only where tables hold some of them. Tables of the same text and engine that have as
    many rows as planned count as done; `run` looks at every row of them.
    """
    folder = Path(out) / sweep.name
    about = tables.read_meta(folder)
    stale = is_stale(sweep, about)
    if not sweep.executed:
        return _by_the_folder(sweep, folder, stale)
    if shard is not None:
        every = Plan.of(sweep)
        return Status.of(work(every, tables.stored(folder)).among(shard.runs(every)), about)
    if not tables.has_runs(folder):
        planned = groups.planned(_first_level(sweep))
        return Status(sweep, tuple(planned), tuple(planned), stale)
    whole = Plan.of(sweep) if len(sweep.grids) > 1 else None
    plain = sweep.refine is None and sweep.initial is None and not _keeps_snapshots(sweep)
    if plain and not stale:
        planned = groups.of(whole) if whole else groups.planned(sweep)
        rows = sum(group.runs for group in planned), groups.curve_rows(planned, sweep)
        if tables.row_counts(folder) == rows:
            return Status(sweep, tuple(planned), (), stale)
    found = tables.stored(folder)
    if plain and not sweep.phases and len(sweep.grids) == 1 and _of_this_engine(found):
        return Status(sweep, *_counted(sweep, found), stale)
    return Status.of(work(whole or Plan.of(sweep), found), about)


def _by_the_folder(sweep: Sweep, folder: Path, stale: bool) -> Status:
    """What a folder says of a sweep of a user's own model or task, none of whose code is executed."""
    rows = tables.row_counts(folder) if tables.has_runs(folder) and not stale else None
    done = rows[0] if rows else 0
    found = []
    for grid in sweep.grids:
        model, task = (str(grid.shared.get(name) or "several") for name in ("model", "task"))
        epochs = grid.shared.get("epochs")
        shape = Shape(model, task, str(grid.shared.get("optimizer", "sgd")), str(grid.shared.get("dtype", "float32")))
        found.append(Group(shape, epochs if isinstance(epochs, int) else 0, 1, len(grid), {}))
    if done >= sweep.n_runs:
        return Status(sweep, tuple(found), (), stale)
    first, *others = found
    return Status(sweep, tuple(found), (replace(first, runs=max(first.runs - done, 0)), *others), stale)


def _counted(sweep: Sweep, found: Stored) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups of one product of axes and what is left of them, by counting those on disk that lie on it.

    So that few runs of millions are told without planning the others.
    """
    runs, curves = found.frames()
    own = runs[lie_on(sweep.grids[0], runs)]
    done = own[tables.complete(own, curves, sweep.record)]
    planned, finished = groups.planned(sweep), groups.of(Plan.of(sweep, done)) if len(done) else []
    count = {(group.shape, group.epochs): group.runs for group in finished}
    left = (replace(g, runs=g.runs - count.get((g.shape, g.epochs), 0)) for g in planned)
    return tuple(planned), tuple(group for group in left if group.runs)


def _of_this_engine(found: Stored) -> bool:
    """Whether all that is stored was trained by this version of the engine, so that equal fields are equal ids."""
    versions = {part.about["engine_version"] for part in found.parts}
    if "runs.parquet" in found.manifest.files:
        versions.add(found.manifest.about.get("engine_version"))
    return versions <= {ENGINE_VERSION}


def is_stale(sweep: Sweep, about: Mapping[str, Any]) -> bool:
    """Whether there are tables, and of another text or engine, by what meta.json tells of them."""
    said = {name: kept.get("digest") for name, kept in about.get("code", {}).items()}
    changed = said != {code.reference: code.digest for code in sweep.code}
    same = (about.get("spec"), about.get("engine_version")) == (sweep.text, ENGINE_VERSION)
    return bool(about) and (changed or not same)


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


def work(whole: Plan, found: Stored) -> Plan:
    """Of all runs of a sweep those wanted, of a refined one so far, and which of these are to be trained."""
    sweep, (runs, curves) = whole.sweep, found.frames()
    finished = _finished(sweep, whole.runs, found, runs, curves)
    planned = whole.leaving(~finished.to_numpy())
    if sweep.refine is None:
        return planned
    done = runs[tables.among(runs["run_id"], whole.runs.loc[finished, "run_id"])]
    wanted = analysis.refined(whole.runs, done, levels=sweep.refine.levels, share=sweep.fit.share)
    return planned.part(wanted.to_numpy())


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
