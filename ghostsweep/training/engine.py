"""Walks a plan: trains chunk after chunk on all devices, stores each as it ends, and reports progress."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.declare import Shape
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine import ambient
from ghostsweep.plan import Chunk
from ghostsweep.spec import ENGINE_VERSION, Record
from ghostsweep.store import files, parts
from ghostsweep.store.ends import Ends, end_digest
from ghostsweep.training import programs
from ghostsweep.training.checkpoint import CHECKPOINT_SECONDS, Checkpoint
from ghostsweep.training.chunk import train_chunk
from ghostsweep.training.log import Log
from ghostsweep.training.programs import Program
from ghostsweep.training.progress import Meter, Progress
from ghostsweep.training.train import State

ALIKE = 3
"""Chunks that all fail alike before any is trained, after which a sweep is given up."""


@dataclass(frozen=True)
class Spent:
    """What training took."""

    compile_seconds: float = 0.0
    """How long training waited for programs."""
    run_seconds: float = 0.0
    """All but compilation."""
    store_seconds: float = 0.0
    """The part of it that checkpoints and results took."""
    programs: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.compile_seconds + other.compile_seconds,
            self.run_seconds + other.run_seconds,
            self.store_seconds + other.store_seconds,
            self.programs + other.programs,
        )


@dataclass
class Store:
    """Where chunks go, and what has come there: runs stored, and what they took.

    order: of what is stored, as `parts.following` gave it when training began. session: who trains. check: raises
    OSError where the folder is no longer the one that was locked.
    """

    folder: Path
    ends: Ends
    order: tuple[int, int] | None = None
    session: str = ""
    check: Callable[[], None] = lambda: None
    runs: int = 0
    spent: Spent = field(default_factory=Spent)


class Failure(NamedTuple):
    """A chunk that could not be trained: its line in the report, and what makes two of them alike."""

    line: str
    kind: tuple[object, ...]


def local_devices(cores: int, wanted: int | None = None) -> list[jax.Device]:
    """The devices of this machine, all or as many as `wanted`; on a CPU, all is one for each of `cores`.

    (XLA alone leaves cores idle here.) The number of CPU devices can only be set before JAX is first used, so there
    are as many as cores however few are wanted: the next sweep of the process may want more. Raises UsageError where
    fewer are there than wanted, or where JAX does not start.
    """
    started = ambient.is_started()
    if not started:
        jax.config.update("jax_num_cpu_devices", max(cores, wanted or 0))
    devices = ambient.local_devices()
    if wanted is not None and not 1 <= wanted <= len(devices):
        fixed = "of those here"
        if started and devices[0].platform == "cpu":
            fixed = (
                f"since this process had started JAX with that many; set JAX_NUM_CPU_DEVICES={wanted} before it does"
            )
        raise UsageError(f"devices: found {wanted}; allowed: a whole number from 1 to {len(devices)}, {fixed}")
    return devices[:wanted]


def keep_programs(devices: list[jax.Device]) -> None:
    """Let later processes find what is compiled here, on GPUs, in a folder that nobody else can write to.

    (Who can write there can run code.) Not on CPUs, of which some never accept what they stored, unless
    JAX_COMPILATION_CACHE_DIR says where; that holds for GPUs too.
    """
    chosen = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if devices[0].platform == "cpu" or chosen is not None:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ghostsweep", "programs")
    with contextlib.suppress(OSError, RuntimeError):  # nowhere to write, or no home
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022:
            jax.config.update("jax_compilation_cache_dir", str(folder))


def train_chunks(
    chunks: list[Chunk],
    record_of: Callable[[int], Record],
    store: Store,
    devices: list[jax.Device],
    progress: Callable[[Progress], None] = lambda progress: None,
    parents: Collection[str] = frozenset(),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Spent:
    """Train chunks one after the other and store each as it ends; return what it took, which `store` says as well.

    `record_of(phase)` says what is kept; `parents` names the runs whose ends are, for later phases. A KeyboardInterrupt
    of `progress` leaves a checkpoint of the chunk in work. Where a chunk does not fit in memory, it and those as large
    that wait are halved, with a warning. One that fails otherwise does not stop the others; TrainingError
    names all of them at the end, or as soon as the first three fail alike. OSErrors stop the sweep.
    """
    meter, parents = Meter(chunks, progress), frozenset(parents)
    stored, failures = 0, list[Failure]()
    waiting = deque(chunks)
    while waiting:
        chunk = waiting.popleft()
        try:
            train_and_store(
                chunk,
                record_of(chunk.phase),
                store,
                devices,
                functools.partial(meter.tell, chunk),
                needed=np.array([run in parents for run in chunk.runs["run_id"]]),
                coming=waiting,
                checkpoint_seconds=checkpoint_seconds,
            )
        except (OSError, UsageError):
            raise
        except Exception as error:
            if _is_exhausted(error) and chunk.width > len(devices):
                warnings.warn(
                    f"out of memory with {chunk.width} runs at once; going on with half as many: {chunk.parameters}",
                    stacklevel=2,
                )
                waiting = deque(
                    part
                    for other in [chunk, *waiting]
                    for part in (plan.halves(other, len(devices)) if _as_large(other, chunk) else [other])
                )
            else:
                failures.append(_keep_failure(chunk, store.folder, error))
                meter.finish(chunk, 0)
                if not stored and len(failures) == ALIKE and len({failure.kind for failure in failures}) == 1:
                    break
        else:
            stored += 1
            meter.finish(chunk, len(chunk.runs))
    if failures:
        n_chunks = stored + len(failures) + len(waiting)
        end = f"the first {ALIKE} fail alike, so the sweep was stopped" if waiting else "all others are stored"
        lines = "".join(f"\n  {failure.line}" for failure in failures)
        raise TrainingError(f"{store.folder}: {len(failures)} of {n_chunks} chunks could not be trained; {end}{lines}")
    return store.spent


def train_and_store(
    chunk: Chunk,
    record: Record,
    store: Store,
    devices: list[jax.Device],
    tell: Callable[[int, float], None],
    *,
    needed: np.ndarray,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    coming: Iterable[Chunk] = (),
) -> None:
    """Train one chunk, from its checkpoint if there is one, and store what it gives as one part.

    Leaves the same however often it is interrupted. `needed` says of each run whether its end is asked for; `coming`
    are the chunks after it, whose programs may be compiled beside it;
    `tell(epoch, compile_seconds)` is called where the chunk can be interrupted. Raises what training and writing do.
    """
    began, before, compiling = time.perf_counter(), programs.made(), 0.0
    programs.ahead([chunk, *coming], devices)
    devices = devices[: chunk.width]  # a run alone is faster with both cores than twice with one each
    run_ids = chunk.runs["run_id"]
    path = store.folder / "checkpoints" / f"{parts.chunk_name(run_ids)}.npz"
    checkpoint = Checkpoint(path, _identity(chunk, record, needed, devices), checkpoint_seconds)

    def program(shape: Shape, width: int) -> Program:
        nonlocal compiling
        asked = time.perf_counter()
        found = programs.program(shape, width, tuple(devices))
        compiling += time.perf_counter() - asked
        return found

    continued = store.ends.of(chunk.runs["parent"]) if chunk.runs["parent"].notna().all() else None
    trained = train_chunk(
        chunk,
        record,
        len(devices),
        program,
        lambda epoch: tell(epoch, compiling),
        checkpoint,
        continued=continued,
        needed=needed,
    )
    ended = time.perf_counter()
    digests: dict[str, list[str | None]] = {name: [None] * len(run_ids) for name in ("begins_from", "ends_at")}
    if continued is not None:
        digests["begins_from"] = [end_digest(end) for end in continued]
    for i, run in enumerate(np.flatnonzero(needed)):
        digests["ends_at"][run] = end_digest({name: array[i] for name, array in trained.ends.items()})
    store.check()
    name = parts.write(
        store.folder,
        trained.runs.assign(**{name: pd.Series(texts, dtype=object) for name, texts in digests.items()}),
        trained.curves,
        ends=(run_ids[needed], trained.ends),
        snapshots=trained.snapshots,
        order=store.order,
        session=store.session,
    )
    store.ends.add(name, run_ids[needed])
    checkpoint.delete()
    _failure_path(store.folder, chunk).unlink(missing_ok=True)
    now = time.perf_counter()
    store.spent += Spent(compiling, now - began - compiling, checkpoint.spent + now - ended, programs.made() - before)
    store.runs += len(run_ids)


def _identity(chunk: Chunk, record: Record, needed: np.ndarray, devices: list[jax.Device]) -> str:
    """What decides the digits of a chunk's results; a checkpoint goes with exactly one."""
    versions = ENGINE_VERSION, importlib.metadata.version("ghostsweep"), jax.__version__, State._fields, Log._fields
    kinds = [(device.platform, device.device_kind) for device in devices]
    runs = chunk.shape, chunk.epochs, chunk.width, chunk.runs["run_id"].tolist(), needed.tolist()
    decided = versions, kinds, runs, record.model_dump_json(), ambient.settings()
    return hashlib.blake2b(repr(decided).encode()).hexdigest()


def _is_exhausted(error: Exception) -> bool:
    """Whether there was not memory enough, on the host or on a device."""
    return isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    )


def _as_large(chunk: Chunk, than: Chunk) -> bool:
    return chunk.shape == than.shape and chunk.width >= than.width


def _failure_path(folder: Path, chunk: Chunk) -> Path:
    return folder / "failed" / f"{parts.chunk_name(chunk.runs['run_id'])}.txt"


def _keep_failure(chunk: Chunk, folder: Path, error: Exception) -> Failure:
    """Write the traceback of a chunk to a file and say where."""
    path = _failure_path(folder, chunk)
    text = f"{chunk.parameters}\n\n{''.join(traceback.format_exception(error))}"
    files.write(path, lambda file: file.write(text.encode(errors="backslashreplace")))
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = (str(error).splitlines() or [""])[0]
    line = f"{chunk.parameters}: {type(error).__name__}: {message}; traceback in {path}"
    return Failure(line, (type(error), place.filename, place.lineno))
