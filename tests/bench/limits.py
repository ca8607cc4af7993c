"""What the machine can do at most, measured, and the least that a protocol asks of it."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ghostsweep.spec import Shape


def seconds(call: Callable[[], Any], repeats: int = 7) -> float:
    """Shortest of several timings of a call that was warmed up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - started)
    return min(times)


def peaks() -> dict[str, float]:
    """Seconds per operation over all devices together, each with an array of its own, on a CPU one that fits in cache.

    "tanh" and "multiply-add" (of a product of two large matrices) in float32; "root", one division and one square
    root, in float64.
    """
    devices = jax.local_devices()
    own = NamedSharding(Mesh(np.array(devices), ("devices",)), PartitionSpec("devices"))
    size = 1 << (14 if devices[0].platform == "cpu" else 22)
    turns = max(20, (1 << 23) // size)

    def sweep(function: Callable[[jax.Array], jax.Array], dtype: str) -> float:
        with jax.enable_x64(dtype == "float64"):
            x = jax.device_put(np.random.default_rng(0).uniform(1, 2, (len(devices), size)).astype(dtype), own)
            whole = jax.jit(lambda x: jax.lax.fori_loop(0, turns, lambda _, x: function(x), x))
            return seconds(lambda: whole(x)) / (turns * x.size)

    a = jax.device_put(np.random.default_rng(0).normal(size=(len(devices), 1024, 1024)).astype("float32"), own)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return {
        "multiply-add": seconds(lambda: product(a)) / (a.size * 1024),
        "tanh": sweep(lambda x: jnp.tanh(x + 1), "float32"),
        "root": sweep(lambda x: jnp.sqrt(2 / x), "float64"),
    }


def operations(shape: Shape) -> dict[str, int]:
    """What one epoch of one run cannot do without; biases, inputs, outputs, norms and the update are not counted.

    With M weights that a state is multiplied by, recurrent and readout, there are M multiply-adds in the forward pass,
    M in the backward pass and M for the gradient of the weights, per step and trial: N (2 K + 1) of rank K, N (N + 1)
    of full rank, 2 N of rank one, whose readout is n. One tanh per unit, step and trial. The update of the state after
    the last output of a cue task is not needed.
    """
    if shape.model == "canonical":
        return {"root": 1}
    updates = (shape.n_steps - (shape.task != "delayed_activation")) * shape.n_trials * shape.n_units
    width = {"rank_one": 2, "low_rank": 2 * (shape.rank or 0) + 1, "full_rank": shape.n_units + 1}[shape.model]
    return {"multiply-add": 3 * updates * width, "tanh": updates}
