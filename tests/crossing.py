"""What crosses between the host and the devices while a chunk is trained, counted without a GPU or its programs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ghostsweep import plan
from ghostsweep.spec import Sweep
from ghostsweep.store.listed import RESULT_NAMES
from ghostsweep.training import chunk, programs, train
from ghostsweep.training.checkpoint import Checkpoint


@dataclass
class Crossing:
    """Counts of one chunk; bytes, and seconds of the host."""

    runs: int
    stored: int = 0
    fetched: int = 0
    sent: int = 0
    calls: int = 0
    waits: int = 0
    seconds: float = 0.0


def crossing(sweep: Sweep, *, n_devices: int = 1) -> Crossing:
    """Of the largest chunk of a sweep, as wide as on a GPU. Its program does nothing: what it takes is not counted."""
    devices = jax.local_devices()[:n_devices]
    largest = max(plan.chunks(plan.Plan.of(sweep), n_devices, 1e12, wide=True), key=lambda each: len(each.runs))
    found = Crossing(len(largest.runs))
    sharding = NamedSharding(Mesh(np.array(devices), ("runs",)), PartitionSpec("runs"))

    def program(shape: Any, width: int) -> programs.Program:
        reports = programs.n_reports(width)
        by_stop = NamedSharding(sharding.mesh, PartitionSpec(None, "runs"))
        with train.precision(shape):
            field = jax.device_put(jnp.ones((reports, width), shape.dtype), by_stop)

        def call(state: train.State, traced: Any, stops: np.ndarray) -> tuple[train.State, train.Report]:
            assert len(stops) <= reports + 1
            found.calls += 1
            found.sent += 4 * (reports + 2)
            return state, train.Report(*[field] * len(train.Report._fields))

        return programs.Program(call, reports, sharding, 0.0, None, in_turn=False)  # type: ignore[arg-type]

    with _counted(found):
        began = time.perf_counter()
        checkpoint = Checkpoint(Path("none"), "", np.inf)
        left = chunk.train_chunk(
            largest, sweep.record_of(largest.phase), n_devices, program, lambda _: None, checkpoint
        )
        found.seconds = time.perf_counter() - began
    own = [name for name in left.runs if name in RESULT_NAMES or name not in largest.runs]
    tables = left.runs[own].select_dtypes("number"), left.curves.drop(columns=["run_id", "epoch"])
    found.stored = sum(8 * table.notna().to_numpy().sum() for table in tables)
    return found


@contextmanager
def _counted(found: Crossing) -> Iterator[None]:
    """Count what is put and got; any other way from the devices to the host is an error."""
    get, put, wait, array = jax.device_get, jax.device_put, jax.block_until_ready, jnp.asarray

    def on_devices(tree: Any) -> list[jax.Array]:
        return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]

    def device_get(tree: Any) -> Any:
        found.fetched += sum(leaf.nbytes for leaf in on_devices(tree))
        found.waits += bool(on_devices(tree))
        within.append(True)
        try:
            return get(tree)
        finally:
            within.pop()

    def device_put(tree: Any, *where: Any) -> Any:
        found.sent += sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, np.ndarray))
        return put(tree, *where)

    def block_until_ready(tree: Any) -> Any:
        found.waits += 1
        return wait(tree)

    def asarray(values: Any, *kind: Any, **kinds: Any) -> Any:
        found.sent += values.nbytes if isinstance(values, np.ndarray) else 0
        return array(values, *kind, **kinds)

    numpy_array, numpy_asarray, within = np.array, np.asarray, []

    def noticed(make: Any) -> Any:
        def made(values: Any, *kind: Any, **kinds: Any) -> Any:
            assert within or not on_devices(values), "arrays went to the host by another way than device_get"
            return make(values, *kind, **kinds)

        return made

    with (
        mock.patch.object(np, "array", noticed(numpy_array)),
        mock.patch.object(np, "asarray", noticed(numpy_asarray)),
        mock.patch.object(jax, "device_get", device_get),
        mock.patch.object(jax, "device_put", device_put),
        mock.patch.object(jax, "block_until_ready", block_until_ready),
        mock.patch.object(jnp, "asarray", asarray),
    ):
        yield
