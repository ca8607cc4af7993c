"""Trains sweeps: alone, as one of several shards, or on the workers of an executor, into one folder."""

import contextlib
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine import resources
from ghostsweep.plan import Shard, groups
from ghostsweep.running import ledger, sessions
from ghostsweep.running.sessions import Options
from ghostsweep.spec import Sweep, load
from ghostsweep.store import files, locks, manifest, parts, recovery, tables
from ghostsweep.store.locks import Held
from ghostsweep.store.tables import Stored
from ghostsweep.training.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.training.progress import Progress

SHARD_SECONDS, MAX_SHARDS = 60.0, 1000
"""Core-seconds of training of a shard where nobody says how many there are, and how many there are then at most."""
TRIES = 3
"""How often a shard is given to an executor whose workers are lost."""
POLL_SECONDS = 0.1
"""How often an executor is asked how far it is."""


def run(
    sweep: Sweep | str | Path,
    *,
    quick: bool = False,
    out: str | Path = "results",
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory_bytes: float | None = None,
    devices: int | None = None,
    shard: str | None = None,
    executor: Any = None,
    shards: int | None = None,
) -> tables.Tables:
    """Train what is missing of a sweep and return its tables.

    `sweep` is a Sweep, a path or a name below sweeps/. Runs already in `out`/<name> are reused by run id.
    `progress` is called between calls of the compiled program. `memory_bytes` is what training may take on all
    devices together, by default half of what is free. `devices` is how many of this machine's GPUs, or else cores,
    to use, by default all; results do not depend on it.

    `shard` "i/n" trains only one of n fixed shares of the sweep: n such calls, on any machines that share the folder,
    need no scheduler, and the last to end puts the tables together. `executor` is anything with the submit method of
    `concurrent.futures` (a process pool, Dask's `client.get_executor()`, submitit's executors) whose workers see
    the folder; they train `shards` shares, by default one for each minute that a core takes, while this call waits.

    Killed at any moment, the same call goes on with the chunk in work from its last checkpoint, at most
    `checkpoint_seconds` old, to the same tables. Ctrl-C and SIGTERM write one and raise KeyboardInterrupt(signal), a
    second one at once. Raises UsageError for a bad sweep, before anything is compiled, where another process is at
    work in the folder, and where memory is too small for a single run; TrainingError, after all else is stored,
    where chunks failed or workers were lost again and again.
    """
    if not isinstance(sweep, Sweep):
        sweep = load(ledger.find(sweep), quick=quick)
    elif quick:
        raise UsageError("quick: a Sweep is already loaded; give load(..., quick=True) instead")
    options = Options(checkpoint_seconds, memory_bytes, devices)
    folder = Path(out) / sweep.name
    if shards is not None and executor is None:
        raise UsageError("shards: missing an executor; shard='i/n' trains one of them here")
    if shard is not None:
        if executor is not None:
            raise UsageError("shard, executor: not together")
        _run_shard(sweep, folder, Shard.parse(shard), options, progress)
        return tables.read(sweep.name, out)
    with locks.locked(folder) as held:
        _open(folder)
        grid = plan.expand(sweep)
        for _ in range(_rounds(sweep)):
            found, planned, left = _left(sweep, folder, grid)
            if left.empty:
                if not tables.is_merged(found, planned["run_id"]) or ledger.changes(sweep, folder):
                    sessions.merge(sweep, held, planned)
                break
            try:
                if executor is None:
                    sessions.train(sweep, planned, left, held, found, options, progress)
                else:
                    _train_elsewhere(sweep, grid, left, held, options, progress, executor, shards)
            except (KeyboardInterrupt, TrainingError):
                if parts.waiting(folder):
                    sessions.merge(sweep, held, planned)
                raise
            sessions.merge(sweep, held, planned)
        _tidy(folder)
        return tables.read(sweep.name, out)


def _open(folder: Path) -> None:
    """Finish what a killed process began in a folder that is held, and heal its meta.json."""
    files.refuse_links(folder)
    files.clean(folder)
    manifest.settle(folder, recovery.load(folder, mend=True))


def _left(sweep: Sweep, folder: Path, grid: pd.DataFrame) -> tuple[Stored, pd.DataFrame, pd.DataFrame]:
    """What a folder that is held has of a sweep, the runs wanted so far, and those that are to be trained."""
    found = tables.verified(folder, tables.stored(folder, mend=True))
    planned, left = ledger.work(sweep, found, grid)
    return found, planned, left


def _rounds(sweep: Sweep) -> int:
    """How often it is looked what is left.

    A refined sweep wants more runs once some are finished; runs of later phases begin anew where the one that they go
    on from was trained again and ended elsewhere.
    """
    return 2 + sweep.refine.levels if sweep.refine else 2 + len(sweep.phases) if sweep.phases else 1


def _tidy(folder: Path) -> None:
    """Leave nothing but the tables of a sweep that is done: nothing of chunks it no longer has, or killed processes."""
    files.clean(folder)
    for place, own in (
        ("checkpoints", r"[0-9a-f]{16}\.npz"),
        ("failed", r"[0-9a-f]{16}\.txt"),
        ("parts", ""),
        ("sessions", ""),
    ):
        files.delete_own(folder / place, own)  # and the folder where it is empty
    for place in files.listed(folder):
        if re.fullmatch(r"shard-[0-9]+-of-[0-9]+", place):
            files.delete_own(folder / place, r"lock|lock\.alone")


def _run_shard(
    sweep: Sweep, folder: Path, shard: Shard, options: Options, progress: Callable[[Progress], None] | None = None
) -> None:
    """Train one share; whoever finds that nothing is left of the sweep, and nobody at work, puts the tables together.

    Parts are left in the folder until then, so that shards never wait for one another nor lose what others store.
    """
    with locks.locked(folder, shared=True) as held:
        train_shard(sweep, folder, shard, options, progress)
        held.check()
    with contextlib.suppress(UsageError), locks.locked(folder, doing=locks.MERGING) as held:
        _open(folder)  # where another one is at work, that one will do it
        grid = plan.expand(sweep)
        _, planned, left = _left(sweep, folder, grid)
        if left.empty:
            sessions.merge(sweep, held, planned)
            _tidy(folder)


def train_shard(
    sweep: Sweep, folder: Path, shard: Shard, options: Options, progress: Callable[[Progress], None] | None = None
) -> None:
    """Train what is left of one share into parts of a folder. Raises UsageError where another process is at it."""
    files.refuse_links(folder)
    held = locks.hold(folder)
    with locks.locked(shard_folder(folder, shard)):
        grid = plan.expand(sweep)
        own = shard.runs(grid)
        for _ in range(_rounds(sweep)):
            found, *both = _left(sweep, folder, grid)
            planned, left = (part[tables.among(part["run_id"], own)] for part in both)
            if left.empty:
                break
            sessions.train(sweep, planned, left, held, found, options, progress)


def shard_folder(folder: Path, shard: Shard) -> Path:
    """What is locked while a shard is at work."""
    return folder / f"shard-{shard.number}-of-{shard.of}"


def _train_elsewhere(
    sweep: Sweep,
    grid: pd.DataFrame,
    left: pd.DataFrame,
    held: Held,
    options: Options,
    progress: Callable[[Progress], None] | None,
    executor: Any,
    n: int | None,
) -> None:
    """Give each share of which runs are left to an executor, those of lost workers again, and wait for all of them.

    Raises TrainingError, after all others have ended, for those that failed.
    """
    n, folder = n_shards(grid, n), held.folder
    shard_of = pd.Series(plan.shards(grid, n), grid["run_id"])[left["run_id"]].to_numpy()
    resources.check_executor(executor)
    waiting, at_work, failures = np.unique(shard_of).tolist(), dict[int, Any](), dict[int, str]()
    tries, began, is_done = np.zeros(n, int), time.perf_counter(), np.zeros(n, bool)
    with sessions.interruptible() as check:
        try:
            while waiting or at_work:
                while waiting:
                    number = waiting.pop(0)
                    tries[number] += 1
                    try:
                        at_work[number] = executor.submit(train_shard, sweep, folder, Shard(number + 1, n), options)
                    except Exception as error:  # it takes no more work, in its own words
                        failures[number] = _line(error)
                time.sleep(POLL_SECONDS)
                check()
                for number in [number for number, future in at_work.items() if future.done()]:
                    try:
                        at_work.pop(number).result()
                        is_done[number] = True
                    except OSError:
                        raise
                    except Exception as error:
                        if isinstance(error, TrainingError | UsageError) or tries[number] == TRIES:
                            failures[number] = _line(error)
                        else:  # a lost worker, in the words of its executor
                            waiting.append(number)
                    if progress is not None:
                        progress(_so_far(left, is_done[shard_of], time.perf_counter() - began))
        finally:
            for future in at_work.values():
                future.cancel()
    if failures and not _left(sweep, folder, grid)[2].empty:
        lines = "".join(f"\n  shard {number + 1}/{n}: {line}" for number, line in sorted(failures.items()))
        raise TrainingError(f"{folder}: {len(failures)} of {n} shards could not be trained; all else is stored{lines}")


def _so_far(left: pd.DataFrame, is_done: np.ndarray, seconds: float) -> Progress:
    """Progress by the runs that are in finished shards."""
    share, updates = float(is_done.mean()), int(left["epochs"][is_done].sum())
    seconds_left = seconds * (1 / share - 1) if share else math.nan
    return Progress(int(is_done.sum()), len(left), updates, share, seconds, seconds_left)


def _line(error: Exception) -> str:
    """An error as it is read in a list: our own words whole, of others the last line, which says most."""
    if isinstance(error, TrainingError | UsageError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"


def n_shards(grid: pd.DataFrame, wanted: int | None) -> int:
    """Number of shards of a plan: as wanted, or about a minute of one core each. Raises UsageError below 1."""
    if wanted is not None and wanted < 1:
        raise UsageError(f"shards: found {wanted}; allowed: a whole number from 1")
    seconds = sum(group.seconds for group in groups.of(grid))
    return wanted or min(MAX_SHARDS, math.ceil(seconds / SHARD_SECONDS))
