"""Trains sweeps: alone, as one of several shards, or on the workers of an executor, into one folder."""

import contextlib
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import files, groups, ledger, plan, sessions, tables
from ghostsweep.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.plan import Shard
from ghostsweep.progress import Progress
from ghostsweep.sessions import Options
from ghostsweep.spec import Sweep, load

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
        raise UsageError("shards: found no executor; allowed: with one, or shard='i/n' for one of them here")
    if shard is not None:
        if executor is not None:
            raise UsageError("shard, executor: found both; allowed: one of them")
        _run_shard(sweep, folder, Shard.parse(shard), options, progress)
        return tables.read(sweep.name, out)
    with files.locked(folder):
        files.clean(folder)
        grid = plan.expand(sweep)
        planned, left = ledger.work(sweep, folder, grid)
        for _ in range(_levels(sweep)):
            if left.empty:
                break
            try:
                if executor is None:
                    sessions.train(sweep, planned, left, folder, options, progress)
                else:
                    _train_elsewhere(sweep, grid, left, folder, options, progress, executor, shards)
            finally:
                if (folder / "parts").exists():
                    sessions.merge(sweep, folder, planned)
            if sweep.refine is not None:
                planned, left = ledger.work(sweep, folder, grid)
        _finish(sweep, folder, planned)
        return tables.read(sweep.name, out)


def _levels(sweep: Sweep) -> int:
    """How often what is left is trained: a refined sweep wants more runs once some are finished."""
    return 1 + (sweep.refine.levels if sweep.refine else 0)


def _finish(sweep: Sweep, folder: Path, planned: pd.DataFrame) -> None:
    """Leave nothing but the tables of a sweep that is done."""
    if not tables.is_merged(folder, planned["run_id"]) or ledger.is_stale(sweep, folder):
        sessions.merge(sweep, folder, planned)
    files.clean(folder)
    for pattern in ("checkpoints", "failed", "shard-*"):  # of chunks it no longer has, and of killed processes
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


def _run_shard(
    sweep: Sweep, folder: Path, shard: Shard, options: Options, progress: Callable[[Progress], None] | None = None
) -> None:
    """Train one share; whoever finds that nothing is left of the sweep, and nobody at work, puts the tables together.

    Parts are left in the folder until then, so that shards never wait for one another nor lose what others store.
    """
    with files.locked(folder, shared=True):
        train_shard(sweep, folder, shard, options, progress)
    with contextlib.suppress(UsageError), files.locked(folder):  # another one is at work, and will do it
        planned, left = ledger.work(sweep, folder, plan.expand(sweep))
        if left.empty:
            _finish(sweep, folder, planned)


def train_shard(
    sweep: Sweep, folder: Path, shard: Shard, options: Options, progress: Callable[[Progress], None] | None = None
) -> None:
    """Train what is left of one share into parts of a folder. Raises UsageError where another process is at it."""
    with files.locked(shard_folder(folder, shard)):
        if not (folder / "meta.json").exists():
            sessions.announce(sweep, folder)
        grid = plan.expand(sweep)
        own = shard.runs(grid)
        for _ in range(_levels(sweep)):
            planned, left = (part[tables.among(part["run_id"], own)] for part in ledger.work(sweep, folder, grid))
            if left.empty:
                break
            sessions.train(sweep, planned, left, folder, options, progress)


def shard_folder(folder: Path, shard: Shard) -> Path:
    """What is locked while a shard is at work."""
    return folder / f"shard-{shard.number}-of-{shard.of}"


def _train_elsewhere(
    sweep: Sweep,
    grid: pd.DataFrame,
    left: pd.DataFrame,
    folder: Path,
    options: Options,
    progress: Callable[[Progress], None] | None,
    executor: Any,
    n: int | None,
) -> None:
    """Give each share of which runs are left to an executor, those of lost workers again, and wait for all of them.

    Raises TrainingError, after all others have ended, for those that failed.
    """
    n = n_shards(grid, n)
    shard_of = pd.Series(plan.shards(grid, n), grid["run_id"])[left["run_id"]].to_numpy()
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
    if failures and not ledger.work(sweep, folder, grid)[1].empty:
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
