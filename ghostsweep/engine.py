"""Walks a plan: trains chunk after chunk on all devices, stores each as it ends, and reports progress."""

import contextlib
import functools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ghostsweep import tables, train
from ghostsweep.chunk import Program, train_chunk
from ghostsweep.plan import Chunk
from ghostsweep.spec import Record, Shape


class Progress(NamedTuple):
    """How far a sweep is; counts include only what this call has to train."""

    runs_done: int
    runs: int
    updates: int  # runs times epochs, done
    share: float  # of the estimated work
    seconds: float  # since the start
    seconds_left: float


@dataclass(frozen=True)
class Spent:
    """What training took."""

    compile_seconds: float
    run_seconds: float
    programs: int


def local_devices(cores: int) -> list[jax.Device]:
    """All devices of this machine; on a CPU, one for each of `cores` (XLA alone leaves cores idle here).

    The number of CPU devices can only be set before JAX is first used; later calls get what there is.
    """
    with contextlib.suppress(RuntimeError):  # JAX is running already
        jax.config.update("jax_num_cpu_devices", cores)
    devices: list[jax.Device] = jax.local_devices()
    return devices


def train_chunks(
    chunks: list[Chunk],
    record_of: Callable[[int], Record],
    folder: Path,
    devices: list[jax.Device],
    progress: Callable[[Progress], None] = lambda progress: None,
    parents: Collection[str] = frozenset(),
) -> Spent:
    """Train chunks one after the other and store each in `folder` as it ends.

    `record_of(phase)` says what is kept; `parents` names the runs whose ends are, for later phases. An interruption
    loses the chunk in work and none before it.
    """
    meter = _Meter(chunks, progress)
    before = _program.cache_info().misses

    def program(shape: Shape, width: int) -> Program:
        misses = _program.cache_info().misses
        found = _program(shape, width, tuple(devices))
        meter.compiling += found.compile_seconds if _program.cache_info().misses > misses else 0.0
        return found

    for chunk in chunks:
        needed = tables.among(chunk.runs["run_id"], parents).to_numpy()
        trained = train_chunk(
            chunk,
            record_of(chunk.phase),
            len(devices),
            program,
            functools.partial(meter.tell, chunk),
            continued=tables.read_ends(folder, chunk.runs["parent"]) if chunk.runs["parent"].notna().all() else None,
            needed=needed,
        )
        for run_id, arrays in trained.snapshots.items():
            tables.write_snapshots(folder, run_id, arrays)
        if needed.any():
            tables.write_ends(folder, chunk.runs.loc[needed, "run_id"], trained.ends)
        tables.write_part(folder, trained.runs, trained.curves)
        meter.finish(chunk)
    seconds = time.perf_counter() - meter.started - meter.compiling
    return Spent(meter.compiling, seconds, _program.cache_info().misses - before)


class _Meter:
    """Turns epochs of the chunk in work into the progress of the whole."""

    def __init__(self, chunks: list[Chunk], report: Callable[[Progress], None]) -> None:
        self.report = report
        self.started = time.perf_counter()
        self.compiling = 0.0
        self.work = sum(chunk.seconds for chunk in chunks) or 1.0
        self.runs = sum(len(chunk.runs) for chunk in chunks)
        self.work_done, self.runs_done, self.updates = 0.0, 0, 0

    def tell(self, chunk: Chunk, epoch: int) -> None:
        """Report that the chunk in work has come to `epoch`."""
        share = (self.work_done + chunk.seconds * epoch / chunk.epochs) / self.work
        spent = time.perf_counter() - self.started
        left = (spent - self.compiling) * (1 - share) / share if share else float("nan")
        updates = self.updates + epoch * len(chunk.runs)
        self.report(Progress(self.runs_done, self.runs, updates, share, spent, left))

    def finish(self, chunk: Chunk) -> None:
        """Report that a chunk is stored."""
        self.work_done += chunk.seconds
        self.runs_done += len(chunk.runs)
        self.updates += chunk.epochs * len(chunk.runs)
        self.tell(chunk, 0)


@functools.lru_cache(maxsize=32)
def _program(shape: Shape, width: int, devices: tuple[jax.Device, ...]) -> Program:
    """Compile `train.train_stretch` for `width` runs spread over devices, donating the state."""
    mesh = Mesh(np.array(devices), ("runs",), axis_types=(AxisType.Auto,))
    runs, all_runs = PartitionSpec("runs"), PartitionSpec()
    function = jax.shard_map(
        train.batched(shape),
        mesh=mesh,
        in_specs=(runs, runs, all_runs, all_runs),
        out_specs=(runs, PartitionSpec(None, "runs")),
        check_vma=False,
    )
    sharding = NamedSharding(mesh, runs)
    everywhere = NamedSharding(mesh, all_runs)
    started = time.perf_counter()
    with train.precision(shape):
        traced = {name: jax.ShapeDtypeStruct((width,), dtype) for name, dtype in train.traced_types(shape).items()}
        state = jax.eval_shape(functools.partial(train.start_batch, shape), traced)
        place = functools.partial(_placed, sharding)
        stops = jax.ShapeDtypeStruct((train.MAX_STOPS + 1,), jnp.int32, sharding=everywhere)
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
        compiled = (
            jax.jit(function, donate_argnums=0)
            .lower(jax.tree.map(place, state), jax.tree.map(place, traced), stops, count)
            .compile()
        )
    return Program(compiled, sharding, time.perf_counter() - started)


def _placed(sharding: NamedSharding, array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
