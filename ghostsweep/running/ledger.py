"""How much of a sweep is on disk: what is finished, what is left, and in a word how it stands. Trains nothing."""

import contextlib
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
from ghostsweep.models.registry import identity_of
from ghostsweep.plan import Plan, Shard, groups, lie_on, may_repeat
from ghostsweep.plan.groups import Group
from ghostsweep.spec import ENGINE_VERSION, Sweep
from ghostsweep.spec.code import Code
from ghostsweep.spec.executing import file_digest
from ghostsweep.store import files, locks, parts, tables
from ghostsweep.store.gathered import Asked
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

    @classmethod
    def of(cls, planned: Plan, about: Mapping[str, Any]) -> Self:
        """How the runs wanted so far stand, given what meta.json tells of the tables."""
        left = tuple(groups.of(planned.left))
        return cls(planned.sweep, tuple(groups.of(planned)), left, changes(planned.sweep, about))

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


def status(sweep: Sweep, out: str | Path = "results", shard: Shard | None = None) -> Status:
    """How much of a sweep, or of a share of it, is done, and what the rest costs; trains and writes nothing.

    Runs are planned one by one only where tables hold some of them. Tables of the same text and engine that have as
    many rows as planned count as done; `run` looks at every row of them.
    """
    folder = Path(out) / sweep.name
    about = tables.read_meta(folder)
    changed = changes(sweep, about)
    if not sweep.executed:
        return _by_the_folder(sweep, folder, changed)
    if shard is not None:
        every = Plan.of(sweep)
        return Status.of(work(every, tables.stored(folder, asked=asked(sweep))).among(shard.runs(every)), about)
    if not tables.has_runs(folder):
        planned = groups.planned(_first_level(sweep))
        return Status(sweep, tuple(planned), tuple(planned), changed)
    whole = Plan.of(sweep) if sweep.refine is None and may_repeat(sweep) else None
    plain = sweep.refine is None and sweep.initial is None and not _keeps_snapshots(sweep)
    if plain and not changed:
        planned = groups.of(whole) if whole else groups.planned(sweep)
        rows = sum(group.runs for group in planned), groups.curve_rows(planned, sweep)
        if tables.row_counts(folder) == rows:
            return Status(sweep, tuple(planned), (), changed)
    found = tables.stored(folder, asked=asked(sweep))
    if plain and not sweep.phases and len(sweep.grids) == 1 and _of_this_engine(found):
        return Status(sweep, *_counted(sweep, found), changed)
    if sweep.refine is None:
        return Status.of(work(whole or Plan.of(sweep), found), about)
    rates = set(found.runs["learning_rate"].to_pylist())
    wanted = work(Plan.of(_outlined(sweep, rates)), found)
    if wanted.is_left.any():
        wanted = work(Plan.of(_outlined(sweep, rates.union(wanted.left.runs["learning_rate"]))), found)
    return replace(Status.of(wanted, about), sweep=sweep)


def _by_the_folder(sweep: Sweep, folder: Path, changed: tuple[str, ...]) -> Status:
    """What a folder says of a sweep of a user's own model or task, none of whose code is executed."""
    there = tables.has_runs(folder)
    rows = tables.row_counts(folder) if there and not changed else None
    done = rows[0] if rows else _of_these_texts(sweep, folder) if there else 0
    found = []
    for number, grid, count in _first_level(sweep).every_grid():
        model, task = (str(grid.shared.get(name) or "several") for name in ("model", "task"))
        epochs = grid.shared.get("epochs")
        shape = Shape(model, task, str(grid.shared.get("optimizer", "sgd")), str(grid.shared.get("dtype", "float32")))
        found.append(Group(shape, epochs if isinstance(epochs, int) else 0, number, count, {}))
    total = sum(group.runs for group in found)
    if sweep.refine is not None and done >= total:  # what of its further levels is wanted, only training tells
        found[-1] = replace(found[-1], runs=found[-1].runs + done - total)
        ended = has_ended(tables.read_meta(folder))
        return Status(sweep, tuple(found), () if ended else (replace(found[-1], runs=0),), changed)
    left = []
    for group in found:
        left.append(replace(group, runs=group.runs - min(done, group.runs)))
        done -= min(done, group.runs)
    return Status(sweep, tuple(found), tuple(group for group in left if group.runs), changed)


def has_ended(meta: Mapping[str, Any]) -> bool:
    """Whether the last session that meta.json tells of, and those that began when it did, came to their ends."""
    sessions = meta.get("sessions") or [{}]
    return all(one.get("ended") == "all done" for one in sessions if one.get("order") == sessions[-1].get("order"))


def _of_these_texts(sweep: Sweep, folder: Path) -> int:
    """Runs in a folder, of sweeps from earlier too, that were trained with users' files as they are now."""
    runs, about = tables.stored(folder).frames()[0], tables.read_meta(folder).get("code", {})
    for code in sweep.code:
        then = about.get(code.reference, {})
        name, _, version = str(then.get("name", "")).partition("@")
        if code.kind in runs:
            same = _declares(then) or (then.get("digest") == code.digest and not _other_data(code, then))
            runs = runs[runs[code.kind] == f"{name}@{version if same else code.digest}"]
    return min(len(runs), sweep.n_runs)


def _declares(about: Mapping[str, Any]) -> bool:
    """Whether a model or task, as stored, declares its version."""
    return bool(about.get("version", not str(about.get("name", "")).endswith(f"@{about.get('digest')}")))


def _other_data(code: Code, about: Mapping[str, Any]) -> list[str]:
    """Files of data that are not as they were when results were put together."""
    stored = about.get("data", {}).items()
    return [name for name, digest in stored if file_digest(Path(code.folder, name)) != digest]


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


def changes(sweep: Sweep, meta: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as meta.json tells of the tables, in words; nothing where there are none."""
    if not meta:
        return ()
    found, stored = [], meta.get("code", {})
    if meta.get("engine_version") != ENGINE_VERSION:
        found.append("another version of the engine trained them: all are trained again")
    if meta.get("spec") != sweep.text:
        found.append("the sweep file has changed: runs that it still asks for are kept")
    for code in sweep.code:
        about = stored.get(code.reference, {})
        other = [] if about.get("digest", code.digest) == code.digest else [code.reference]
        kept = "runs of another text do not count"
        if _declares(about):
            kept = "runs are kept as long as it declares the same version"
        found += [f"{name} has changed: {kept}" for name in [*other, *_other_data(code, about)]]
    if not found and stored.keys() != {code.reference for code in sweep.code}:
        found.append("other models or tasks are in files")
    return tuple(found)


def identities(sweep: Sweep) -> dict[str, str]:
    """Users' models and tasks of a sweep by the names that runs have them by, with digests of what decides numbers."""
    grids = [grid for _, grid, _ in sweep.every_grid()]
    every = {v for grid in grids for kind in ("model", "task") for v in grid.axes.get(kind, [grid.shared.get(kind)])}
    return {name: identity_of(name) for name in sorted(str(value) for value in every if "@" in str(value))}


def refuse_others(sweep: Sweep, about: Mapping[str, Any], folder: Path) -> None:
    """Raise UsageError where a folder has runs of another model or task of the same name and version.

    A file that was edited and declares the same version is what its author says it is.
    """
    edited = {about["code"][code.reference]["name"] for code in sweep.code if code.reference in about.get("code", {})}
    for name, digest in identities(sweep).items():
        if about.get("identities", {}).get(name, digest) != digest and name not in edited:
            raise UsageError(
                f"{folder}: found runs of another {name}, of other text or values; allowed: another version of this "
                "one, or another name of the sweep"
            )


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


def _outlined(sweep: Sweep, rates: set[float]) -> Sweep:
    """A refined sweep with all seeds at these learning rates, and at all others the first alone.

    It wants the same rates as the whole: those of which nothing is trained are only counted.
    """
    grids = []
    for grid in sweep.grids:
        every, first = grid.axes["learning_rate"], {name: grid.axes[name][:1] for name in grid.axes.keys() & {"seed"}}
        there, others = [rate for rate in every if rate in rates], [rate for rate in every if rate not in rates]
        for own, seeds in ((there, {}), (others, first)):
            if own:
                grids.append(replace(grid, axes={**grid.axes, **seeds, "learning_rate": own}))
    return replace(sweep, grids=tuple(grids))


def asked(sweep: Sweep) -> Asked:
    """Of runs and their curves, which runs have every epoch that a sweep asks for."""

    def whole(runs: pd.DataFrame, curves: pd.DataFrame) -> "pd.Series[bool]":
        found = pd.Series(False, index=runs.index)
        for phase, rows in runs.groupby("phase"):
            if int(str(phase)) <= 1 + len(sweep.phases):
                found[rows.index] = tables.complete(rows, curves, sweep.record_of(int(str(phase))))
        return found

    return whole


def _keeps_snapshots(sweep: Sweep) -> bool:
    return any(sweep.record_of(phase).snapshots is not None for phase in range(1, len(sweep.phases) + 2))


def work(whole: Plan, found: Stored) -> Plan:
    """Of all runs of a sweep those wanted, of a refined one so far, and which of these are to be trained."""
    sweep, (runs, curves) = whole.sweep, found.frames()
    runs.attrs = curves.attrs = {}  # units, which pandas would copy at every step
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
        own = planned["phase"] == phase
        rows = planned if own.all() else planned[own]
        valid = runs[runs["phase"] == phase]
        valid = valid[tables.complete(valid, curves, record) & ~tables.among(valid["run_id"], torn)]
        ended = ~tables.among(rows["run_id"], wanted - found.ends.keys())
        done = np.array(tables.among(rows["run_id"], valid["run_id"]) & ended)
        if record.snapshots is not None:
            chosen = record.snapshots.chosen(rows)
            asked = {length: set(record.snapshots.schedule(length).tolist()) for length in rows["epochs"].unique()}
            kept = [
                run_id in found.snapshots and asked[length] <= set(found.snapshots[run_id].epochs)
                for run_id, length in rows.loc[chosen, ["run_id", "epochs"]].itertuples(index=False)
            ]
            done[chosen] &= np.array(kept, bool)
        finished[rows.index] = done
        wanted = set(rows.loc[~done, "parent"].dropna())
    return finished


def _torn(runs: pd.DataFrame) -> set[str]:
    """Runs of later phases that begin where no run ends: the one before was trained again, and ended elsewhere."""
    later = runs[runs["parent"].notna()]
    parents = runs.set_index("run_id")["ends_at"].dropna()
    now = later["parent"].map(parents)
    return set(later.loc[now.notna() & (now != later["begins_from"]), "run_id"])
