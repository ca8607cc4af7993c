"""Compiled programs: one for each shape and width, and on GPUs those of later chunks while an earlier one trains."""

import functools
import itertools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.stages import Compiled

from ghostsweep.declare import Shape
from ghostsweep.machine import kernels
from ghostsweep.models.registry import data_of
from ghostsweep.models.sizes import cost
from ghostsweep.plan import Chunk
from ghostsweep.training import persistent, train

AHEAD = 6
"""Programs that are compiled before they are needed. Each takes one core and 10 to 30 s for a GPU."""
KEPT = 32
"""Programs that a process holds."""
REPORTS = 2**21
"""Reports of all runs together per call, about: of so many runs that all would take gigabytes there are fewer each."""


class Program(NamedTuple):
    """A compiled training program and where its arrays go."""

    call: Callable[[train.State, Any, np.ndarray], tuple[train.State, train.Report]]
    """From states and traced fields (runs, ...) and stops to states and reports, of which those of the stops count."""
    reports: int
    """Stops of a call at most, after the one that it begins from."""
    sharding: NamedSharding
    compile_seconds: float
    made: Compiled
    """What JAX has compiled, of which `call` has the data too."""
    in_turn: bool
    """Whether each run goes through the epochs for itself, and those that an epoch leaves as they are skip the rest."""


def compiled(shape: Shape, width: int, devices: tuple[jax.Device, ...]) -> Program:
    """`train.train_stretch` for `width` runs spread over devices, compiled, donating the state."""
    mesh = Mesh(np.array(devices), ("runs",), axis_types=(AxisType.Auto,))
    runs, all_runs = PartitionSpec("runs"), PartitionSpec()
    platform = devices[0].platform
    kernel = platform == "cpu" and cost(shape).kernel and kernels.allowed() and not shape.persistent
    if shape.persistent:
        trainer = persistent.batched(shape, interpret=platform == "cpu")
    else:
        trainer = train.in_turn(shape) if kernel else train.batched(shape)
    function = jax.shard_map(
        trainer,
        mesh=mesh,
        in_specs=(runs, runs, all_runs, all_runs, all_runs),
        out_specs=(runs, PartitionSpec(None, "runs")),
        check_vma=False,
    )
    sharding = NamedSharding(mesh, runs)
    everywhere = NamedSharding(mesh, all_runs)
    reports = n_reports(width)
    started = time.perf_counter()
    with train.precision(shape):
        traced = {name: jax.ShapeDtypeStruct((width,), dtype) for name, dtype in shape.traced_types.items()}
        data = jax.device_put(data_of(shape), everywhere)
        state = jax.eval_shape(functools.partial(train.start_batch, shape), traced, data)
        place = functools.partial(_placed, sharding)
        stops = jax.ShapeDtypeStruct((reports + 1,), jnp.int32, sharding=everywhere)
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
        made = (
            jax.jit(function, donate_argnums=0)
            .lower(jax.tree.map(place, state), jax.tree.map(place, traced), stops, count, data)
            .compile(compiler_options=kernels.options(platform, kernel))
        )

    def call(state: train.State, traced: Any, stops: np.ndarray) -> tuple[train.State, train.Report]:
        padded = np.full(reports + 1, stops[-1], np.int32)
        padded[: len(stops)] = stops
        result: tuple[train.State, train.Report] = made(state, traced, padded, np.int32(len(stops) - 1), data)
        return result

    return Program(call, reports, sharding, time.perf_counter() - started, made, kernel)


def n_reports(width: int) -> int:
    """Stops of a call of a program of such a width: a power of two from 8 to MAX_STOPS."""
    return max(8, min(train.MAX_STOPS, 1 << (REPORTS // width).bit_length() >> 1))


def program(shape: Shape, width: int, devices: tuple[jax.Device, ...]) -> Program:
    """The compiled program, waited for where it is not there yet. Raises what compiling it did."""
    key = shape, width, devices
    if devices[0].platform == "cpu":
        return _kept(*key)
    try:
        return _begun(*key).result()
    except Exception:  # memory may have been short beside what was training
        _begun.cache_clear()
        return _begun(*key).result()


def ahead(chunks: Iterable[Chunk], devices: list[jax.Device]) -> None:
    """Begin to compile what the next chunks need, on GPUs, where the cores are idle. For the thread that trains."""
    if devices[0].platform == "cpu":
        return
    wanted = dict.fromkeys((chunk.shape, chunk.width, tuple(devices[: chunk.width])) for chunk in chunks)
    for key in itertools.islice(wanted, AHEAD):
        _begun(*key)


def made() -> int:
    """How many programs were compiled, or begun to be, so far."""
    return _kept.cache_info().misses + _begun.cache_info().misses


_kept = functools.lru_cache(maxsize=KEPT)(compiled)


@functools.lru_cache(maxsize=KEPT)
def _begun(shape: Shape, width: int, devices: tuple[jax.Device, ...]) -> Future[Program]:
    return _compilers().submit(compiled, shape, width, devices)


@functools.cache
def _compilers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AHEAD, thread_name_prefix="compile")


def _placed(sharding: NamedSharding, array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
