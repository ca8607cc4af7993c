"""How much of a sweep is on disk: what is finished, what is left, and in a word how it stands. Trains nothing."""

import difflib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ghostsweep import analysis, files, groups, plan, tables
from ghostsweep.errors import UsageError
from ghostsweep.groups import Group
from ghostsweep.machine import cores as cores  # for rooms that ask the ledger
from ghostsweep.spec import ENGINE_VERSION, Sweep


@dataclass(frozen=True)
class Status:
    """A sweep and how much of it is on disk."""

    sweep: Sweep
    planned: tuple[Group, ...]
    left: tuple[Group, ...]
    stale: bool
    """Whether the tables are of another text of the sweep file, or of another version of the engine."""

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
    holders = [(files.is_locked(folder), "")]
    holders += [(files.is_locked(path), f"{path.name.replace('-', ' ')}: ") for path in sorted(folder.glob("shard-*"))]
    ages = [path.stat().st_mtime for path in folder.glob("checkpoints/*.npz")]
    return Activity(
        at_work=tuple(f"{what}{holder}" for holder, what in holders if holder),
        checkpoints=len(ages),
        checkpoint_age=time.time() - max(ages, default=math.nan),
        parts=len(list(folder.glob("parts/[!.]*.runs.parquet"))),
        failed=tuple(sorted(folder.glob("failed/*.txt"))),
    )


def find(spec: str | Path, sweeps: str | Path = "sweeps") -> Path:
    """The file of a sweep, given as a path or as a name below `sweeps`."""
    for path in (Path(spec), Path(sweeps) / f"{spec}.toml"):
        if path.is_file():
            return path
    if Path(spec).suffix == ".toml":
        raise UsageError(f"{spec}: found no such file; allowed: a sweep file, or the name of one in {sweeps}")
    known = sorted(p.stem for p in Path(sweeps).glob("*.toml"))
    near = difflib.get_close_matches(str(spec).removesuffix("-quick").lower(), known, n=3, cutoff=0.4)
    names = f"; did you mean {' or '.join(near)}?" if near else ""
    quick = "; the quick version of one is asked for by --quick" if str(spec).endswith("-quick") else ""
    raise UsageError(
        f"{spec}: found no such sweep; allowed: a .toml file or one of the {len(known)} in {sweeps}, "
        f"which `ghostsweep list` shows{names}{quick}"
    )


def status(sweep: Sweep, out: str | Path = "results", shard: plan.Shard | None = None) -> Status:
    """How much of a sweep, or of a share of it, is done, and what the rest costs; trains and writes nothing.

    Runs are planned one by one only where tables hold some of them. Tables of the same text and engine that have as
    many rows as planned count as done; `run` looks at every row of them.
    """
    folder = Path(out) / sweep.name
    stale = is_stale(sweep, folder)
    if shard is not None:
        grid = plan.expand(sweep)
        own = shard.runs(grid)
        table, left = (part[tables.among(part["run_id"], own)] for part in work(sweep, folder, grid))
        return Status(sweep, tuple(groups.of(table)), tuple(groups.of(left)), stale)
    if not tables.has_runs(folder):
        planned = groups.planned(_first_level(sweep))
        return Status(sweep, tuple(planned), tuple(planned), stale)
    if not stale and sweep.refine is None and sweep.initial is None and not _keeps_snapshots(sweep):
        planned = groups.planned(sweep)
        rows = sum(group.runs for group in planned), groups.curve_rows(planned, sweep)
        if tables.row_counts(folder) == rows:
            return Status(sweep, tuple(planned), (), stale)
    table, left = work(sweep, folder, plan.expand(sweep))
    return Status(sweep, tuple(groups.of(table)), tuple(groups.of(left)), stale)


def is_stale(sweep: Sweep, folder: Path) -> bool:
    """Whether there are tables, and of another text or engine."""
    meta = tables.read_meta(folder)
    return bool(meta) and (meta.get("spec"), meta.get("engine_version")) != (sweep.text, ENGINE_VERSION)


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


def work(sweep: Sweep, folder: Path, planned: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of all runs of a sweep those wanted, of a refined one so far, and of these the ones that are to be trained."""
    finished = _finished(sweep, planned, folder)
    if sweep.refine is not None:
        runs = tables.stored(folder)[0]
        done = runs[tables.among(runs["run_id"], planned.loc[finished, "run_id"])]
        wanted = analysis.refined(planned, done, levels=sweep.refine.levels, share=sweep.fit.share)
        planned, finished = planned[wanted].reset_index(drop=True), finished[wanted].reset_index(drop=True)
    return planned, planned[~finished]


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
