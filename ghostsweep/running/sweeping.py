"""Trains sweeps: alone, as one of several shards, or on the workers of an executor, into one folder."""

import contextlib
import math
import re
import time
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine import resources, signals
from ghostsweep.plan import Plan, Shard, groups
from ghostsweep.running import finding, ledger, sessions
from ghostsweep.running.ledger import Status
from ghostsweep.running.sessions import Options
from ghostsweep.spec import Sweep, load
from ghostsweep.store import declared, files, locks, manifest, parts, recovery, tables
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
    sweeps: str | Path = finding.OWN,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory_bytes: float | None = None,
    devices: int | None = None,
    persistent: bool = False,
    shard: str | None = None,
    executor: Any = None,
    shards: int | None = None,
    standing: Callable[[Status], None] | None = None,
) -> tables.Tables:
    """Train what is missing of a sweep and return its tables.

    `sweep` is a Sweep, a path or a name below sweeps/. Runs already in `out`/<name> are reused by run id.
    `progress` is called between calls of the compiled program. `memory_bytes` is what training may take on all
    devices together, by default half of what is free. `devices` is how many of this machine's GPUs, or else cores,
    to use, by default all; results do not depend on it. `persistent` keeps each run in one kernel of a GPU from
    report to report, where its model has one (`rank_one`); its last digits are others, as on another machine.
    `standing` is told how much of the sweep is done before anything is trained, and once more where a shard has ended.

    `shard` "i/n" trains only one of n fixed shares of the sweep: n such calls, on any machines that share the folder,
    need no scheduler, and the last to end puts the tables together. `executor` is anything with the submit method of
    `concurrent.futures` (a process pool, Dask's `client.get_executor()`, submitit's executors) whose workers see
    the folder; they train `shards` shares, by default one for each minute that a core takes, while this call waits.

    Killed at any moment, the same call goes on with the chunk in work from its last checkpoint, at most
    `checkpoint_seconds` old, to the same tables. SIGINT (Ctrl-C), SIGTERM, SIGHUP and SIGQUIT write one and raise
    KeyboardInterrupt(signal), a second one at once. Raises UsageError for a bad sweep, before anything is compiled,
    where another process is at work in the folder, where memory is too small for a single run, and, after all is
    stored, where a user's function that tells outcomes fails; TrainingError, after all else is stored, where chunks
    failed or workers were lost again and again.
    """
    if not isinstance(sweep, Sweep):
        sweep = load(finding.find(sweep, sweeps), quick=quick)
    elif quick:
        raise UsageError("quick: a Sweep is already loaded; give load(..., quick=True) instead")
    options = Options(checkpoint_seconds, memory_bytes, devices, persistent)
    folder = Path(out) / sweep.name
    if shards is not None and executor is None:
        raise UsageError("shards: missing an executor; shard='i/n' trains one of them here")
    if shard is not None:
        if executor is not None:
            raise UsageError("shard, executor: not together")
        return _run_shard(sweep, folder, Shard.parse(shard), options, progress, standing)
    with locks.locked(folder) as held:
        _open(folder)
        whole = Plan.of(sweep)
        for turn in range(_rounds(sweep)):
            found, planned = _look(whole, folder)
            if turn == 0 and standing is not None:
                standing(Status.of(planned, found.manifest.about))
            if not planned.is_left.any():
                return _complete(planned, held, found)
            try:
                if executor is None:
                    sessions.train(planned, held, found, options, progress)
                else:
                    _train_elsewhere(whole, planned.left, held, options, progress, executor, shards)
            except (KeyboardInterrupt, TrainingError):
                if parts.waiting(folder):
                    sessions.merge(planned, held)
                raise
            sessions.merge(planned, held)
        found, planned = _look(whole, folder)
        _refuse_lost(folder, set(planned.left.runs["run_id"]), planned)
        return _complete(planned, held, found)


def _open(folder: Path) -> None:
    """Finish what a killed process began in a folder that is held, and heal its meta.json."""
    files.refuse_links(folder)
    files.clean(folder)
    manifest.settle(folder, recovery.load(folder, mend=True))


def _look(whole: Plan, folder: Path) -> tuple[Stored, Plan]:
    """What a folder that is held has of a sweep, and the runs wanted so far, with what is left of them."""
    found = tables.verified(folder, tables.stored(folder, mend=True, asked=ledger.asked(whole.sweep)))
    ledger.refuse_others(whole.sweep, found.manifest.about, folder)
    return found, ledger.work(whole, found)


def _refuse_lost(folder: Path, trained: Collection[str], planned: Plan) -> None:
    """Raise TrainingError where runs that were trained are left all the same, whatever the cause may be."""
    if lost := int(planned.left.runs["run_id"].isin(trained).sum()):
        raise TrainingError(
            f"{folder}: {lost:,} of {len(planned.runs):,} runs were trained and are not among the results that count; "
            "the same command trains them again"
        )


def _complete(planned: Plan, held: Held, found: Stored) -> tables.Tables:
    """The tables of a sweep of which nothing is left, put together unless they are already."""
    is_current = tables.is_merged(found, planned.runs["run_id"]) and declared.is_judged(found.runs)
    if not is_current or ledger.changes(planned.sweep, found.manifest.about):
        sessions.merge(planned, held, found)
        found = tables.stored(held.folder, asked=ledger.asked(planned.sweep))
    _tidy(held.folder)
    result = tables.as_read(held.folder, found)
    _check(result)
    return result


def _check(result: tables.Tables) -> None:
    """Raise UsageError where outcomes could not be judged; warn of losses of which nothing tells what is low."""
    declared.check(result.runs)
    runs = result.runs
    floor = runs["floor_loss"].fillna(0) if "floor_loss" in runs else 0.0
    lost = (runs["min_loss"] < np.minimum(floor, 0)) & (runs["initial_loss"] < np.minimum(runs["learned_loss"], 0))
    if lost.any():
        warnings.warn(
            f"{result.name}: {lost.sum()} of {len(runs)} runs begin below 0 and below learned_loss, so that nothing "
            "tells what is low: declare `floor` in the model",
            stacklevel=3,
        )


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
    sweep: Sweep,
    folder: Path,
    shard: Shard,
    options: Options,
    progress: Callable[[Progress], None] | None,
    standing: Callable[[Status], None] | None,
) -> tables.Tables:
    """Train one share; whoever finds that nothing is left of the sweep, and nobody at work, puts the tables together.

    Parts are left in the folder until then, so that shards never wait for one another nor lose what others store.
    Returns what there is of the sweep by then.
    """
    whole = Plan.of(sweep)
    with locks.locked(folder, shared=True) as held:
        trained = _train_share(whole, folder, shard, options, progress, standing)
        held.check()
    result: tables.Tables | None = None
    with contextlib.suppress(UsageError), locks.locked(folder, doing=locks.MERGING) as held:
        _open(folder)  # where another one is at work, that one will do it
        found, planned = _look(whole, folder)
        result = tables.as_read(folder, found) if planned.is_left.any() else _complete(planned, held, found)
    if result is None:
        found = tables.stored(folder, asked=ledger.asked(sweep))
        planned, result = ledger.work(whole, found), tables.as_read(folder, found)
    if standing is not None:
        standing(Status.of(planned, result.meta))
    _refuse_lost(folder, trained, planned)
    return result


def train_shard(sweep: Sweep, folder: Path, shard: Shard, options: Options) -> None:
    """Train what is left of one share into parts of a folder. Raises UsageError where another process is at it."""
    _train_share(Plan.of(sweep), folder, shard, options)


def _train_share(
    whole: Plan,
    folder: Path,
    shard: Shard,
    options: Options,
    progress: Callable[[Progress], None] | None = None,
    standing: Callable[[Status], None] | None = None,
) -> set[str]:
    """Train what is left of one share into parts of a folder; return the ids of these runs."""
    files.refuse_links(folder)
    held, trained = locks.hold(folder), set[str]()
    with locks.locked(shard_folder(folder, shard)):
        own = shard.runs(whole)
        for turn in range(_rounds(whole.sweep)):
            found, wanted = _look(whole, folder)
            if turn == 0 and standing is not None:
                standing(Status.of(wanted, found.manifest.about))
            planned = wanted.among(own)
            if not planned.is_left.any():
                break
            sessions.train(planned, held, found, options, progress)
            trained |= {*planned.left.runs["run_id"]}
    return trained


def shard_folder(folder: Path, shard: Shard) -> Path:
    """What is locked while a shard is at work."""
    return folder / f"shard-{shard.number}-of-{shard.of}"


def _train_elsewhere(
    whole: Plan,
    left: Plan,
    held: Held,
    options: Options,
    progress: Callable[[Progress], None] | None,
    executor: Any,
    n: int | None,
) -> None:
    """Give each share of which runs are left to an executor, those of lost workers again, and wait for all of them.

    Raises TrainingError, after all others have ended, for those that failed.
    """
    n, folder = n_shards(whole, n), held.folder
    elsewhere = folder.absolute()  # workers may be in another folder
    shard_of = pd.Series(plan.shards(whole, n), whole.runs["run_id"])[left.runs["run_id"]].to_numpy()
    work = np.bincount(shard_of, minlength=n), np.bincount(shard_of, left.runs["epochs"], n)
    resources.check_executor(executor)
    waiting, at_work, failures = np.unique(shard_of).tolist(), dict[int, Any](), dict[int, str]()
    tries, began, is_done = np.zeros(n, int), time.perf_counter(), np.zeros(n, bool)
    with signals.interruptible() as check, contextlib.ExitStack() as pools:
        try:
            while waiting or at_work:
                while waiting:
                    number = waiting.pop(0)
                    tries[number] += 1
                    try:
                        share = Shard(number + 1, n)
                        executor = pools.enter_context(resources.unbroken(executor))
                        at_work[number] = executor.submit(train_shard, whole.sweep, elsewhere, share, options)
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
                        progress(_so_far(*work, is_done, time.perf_counter() - began))
        finally:
            for future in at_work.values():
                future.cancel()
    if failures and _look(whole, folder)[1].is_left.any():
        lines = "".join(f"\n  shard {number + 1}/{n}: {line}" for number, line in sorted(failures.items()))
        raise TrainingError(f"{folder}: {len(failures)} of {n} shards could not be trained; all else is stored{lines}")


def _so_far(runs: np.ndarray, updates: np.ndarray, is_done: np.ndarray, seconds: float) -> Progress:
    """Progress by the shards that are finished, of each of which the number of runs and of their updates is given."""
    done, n_runs = int(runs[is_done].sum()), int(runs.sum())
    share = done / n_runs
    seconds_left = seconds * (1 / share - 1) if share else math.nan
    return Progress(done, n_runs, int(updates[is_done].sum()), share, seconds, seconds_left)


def _line(error: Exception) -> str:
    """An error as it is read in a list: our own words whole, of others the last line, which says most."""
    if isinstance(error, TrainingError | UsageError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"


def n_shards(whole: Plan, wanted: int | None) -> int:
    """Number of shards of a plan: as wanted, or about a minute of one core each. Raises UsageError below 1."""
    if wanted is not None and wanted < 1:
        raise UsageError(f"shards: found {wanted}; allowed: a whole number from 1")
    seconds = sum(group.seconds for group in groups.of(whole))
    return wanted or min(MAX_SHARDS, math.ceil(seconds / SHARD_SECONDS))
