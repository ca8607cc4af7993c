"""Walks a plan: trains chunk after chunk on all devices, stores each as it ends, and reports progress."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ghostsweep import tables, train
from ghostsweep.plan import Chunk
from ghostsweep.spec import RECENT_EPOCHS, Record, Shape

TURN_SECONDS = 0.5
"""How long one call of the compiled program should take, so that progress and Ctrl-C are prompt."""


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
    record: Record,
    folder: Path,
    devices: list[jax.Device],
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Spent:
    """Train chunks one after the other and store each in `folder` as it ends.

    An interruption loses the chunk in work and none before it.
    """
    meter = _Meter(chunks, progress)
    programs = 0
    for chunk in chunks:
        misses = _program.cache_info().misses
        program = _program(chunk.shape, chunk.width, tuple(devices))
        if _program.cache_info().misses > misses:
            meter.compiling += program.compile_seconds
            programs += 1
        runs, curves = _train_chunk(chunk, record, program, functools.partial(meter.tell, chunk))
        tables.write_part(folder, runs, curves)
        meter.finish(chunk)
    return Spent(meter.compiling, time.perf_counter() - meter.started - meter.compiling, programs)


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


class _Program(NamedTuple):
    """A compiled training program and where its arrays go."""

    call: Callable[..., tuple[train.State, train.Report]]
    sharding: NamedSharding
    compile_seconds: float


@functools.lru_cache(maxsize=32)
def _program(shape: Shape, width: int, devices: tuple[jax.Device, ...]) -> _Program:
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
    return _Program(compiled, sharding, time.perf_counter() - started)


def _placed(sharding: NamedSharding, array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _stops(epochs: int, recorded: np.ndarray) -> np.ndarray:
    """Where training pauses to report: after each recorded epoch, the first, the last ones, and in between.

    Depends on nothing but the arguments, so that sums and therefore results never depend on speed.
    """
    recent = np.arange(max(0, epochs - RECENT_EPOCHS), epochs)
    wanted = np.unique(np.concatenate([recorded, [0], recent])) + 1
    filled = [np.arange(a + train.MAX_GAP, b, train.MAX_GAP) for a, b in zip([0, *wanted[:-1]], wanted, strict=True)]
    return np.unique(np.concatenate([[0], wanted, *filled])).astype(np.int32)


def _train_chunk(
    chunk: Chunk, record: Record, program: _Program, tell: Callable[[int], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train one chunk; return its rows of `runs` and `curves`."""
    shape, epochs, n_runs = chunk.shape, chunk.epochs, len(chunk.runs)
    recorded = record.schedule(epochs)
    stops = _stops(epochs, recorded)
    padding = np.minimum(np.arange(chunk.width), n_runs - 1)
    columns = {name: chunk.runs[name].to_numpy()[padding] for name in train.traced_types(shape)}
    sums = {"loss": np.zeros(n_runs), "grad_norm": np.zeros(n_runs)}
    rows: list[train.Report] = []  # of the recorded epochs
    recent: list[train.Report] = []
    initial: list[train.Report] = []
    with train.precision(shape):
        state, traced = jax.device_put(train.start(shape, columns), program.sharding)
        at, turn = 0, 8
        while at < len(stops) - 1:
            count = min(turn, train.MAX_STOPS, len(stops) - 1 - at)
            began = time.perf_counter()
            padded = np.full(train.MAX_STOPS + 1, epochs, np.int32)
            padded[: count + 1] = stops[at : at + count + 1]
            state, report = program.call(state, traced, jnp.asarray(padded), jnp.asarray(count, jnp.int32))
            values = train.Report(*(np.asarray(field)[:count, :n_runs].astype(float) for field in report))
            sums["loss"] += values.loss_sum.sum(axis=0)
            sums["grad_norm"] += values.grad_norm_sum.sum(axis=0)
            ends = stops[at + 1 : at + count + 1] - 1
            initial += _at(values, ends == 0)
            rows += _at(values, np.isin(ends, recorded))
            recent += _at(values, ends >= epochs - RECENT_EPOCHS)
            at += count
            tell(int(stops[at]))
            took = time.perf_counter() - began
            turn = int(np.clip(turn * TURN_SECONDS / max(took, 1e-6), max(1, turn // 2), turn * 2))
        totals = {
            name: np.asarray(getattr(state, name))[:n_runs]
            for name in ("epochs_done", "min_loss", "min_loss_epoch", "max_accuracy", "learned_epoch")
        }
    return _run_rows(chunk.runs, totals, sums, initial[0], recent), _curve_rows(chunk.runs, recorded, rows)


def _at(values: train.Report, chosen: np.ndarray) -> list[train.Report]:
    return [train.Report(*(field[i] for field in values)) for i in np.flatnonzero(chosen)]


def _run_rows(
    runs: pd.DataFrame,
    totals: Mapping[str, np.ndarray],
    sums: Mapping[str, np.ndarray],
    initial: train.Report,
    recent: list[train.Report],
) -> pd.DataFrame:
    last = recent[-1]
    done = totals["epochs_done"].astype(np.int64)
    learned = pd.Series(totals["learned_epoch"], dtype="Int64")
    results: dict[str, Any] = {
        "status": np.where(done < runs["epochs"].to_numpy(), "diverged", "done"),
        "epochs_done": done,
        "initial_loss": initial.loss,
        "final_loss": last.loss,
        "mean_loss": sums["loss"] / np.maximum(done, 1),
        "min_loss": totals["min_loss"].astype(float),
        "min_loss_epoch": totals["min_loss_epoch"].astype(np.int64),
        "recent_mean_loss": np.mean([row.loss for row in recent], axis=0),
        "initial_grad_norm": initial.grad_norm,
        "final_grad_norm": last.grad_norm,
        "mean_grad_norm": sums["grad_norm"] / np.maximum(done, 1),
        "recent_mean_grad_norm": np.mean([row.grad_norm for row in recent], axis=0),
        "final_accuracy": last.accuracy,
        "max_accuracy": totals["max_accuracy"].astype(float),
        "recent_max_accuracy": np.max([row.accuracy for row in recent], axis=0),
        "learned_epoch": learned.mask(learned < 0),
        "final_weight_norm": last.weight_norm,
    }
    return runs.assign(**results)


def _curve_rows(runs: pd.DataFrame, recorded: np.ndarray, rows: list[train.Report]) -> pd.DataFrame:
    stacked = {
        name: np.stack([getattr(row, name) for row in rows], axis=1).ravel()
        for name in ("loss", "grad_norm", "accuracy", "weight_norm")
    }
    ids = runs["run_id"].to_numpy().repeat(len(recorded))
    return pd.DataFrame({"run_id": ids, "epoch": np.tile(recorded, len(runs))} | stacked)
