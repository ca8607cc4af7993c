"""What the machine can do at most, measured, and the least that a protocol asks of it."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ghostsweep.declare import Shape
from ghostsweep.machine import kernels


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

    In float32: a multiply-add of a product of two large matrices, the same where a vector is multiplied by a matrix
    (100 units, 8 runs a device; not a limit of the machine, but what XLA makes of it), and a tanh. In float64: a root,
    one division and one square root.
    """
    devices = jax.local_devices()
    cpu = devices[0].platform == "cpu"
    random = np.random.default_rng(0)

    def seconds_each(step: Callable[..., jax.Array], operations: int, turns: int, *arrays: np.ndarray) -> float:
        """Of a step x <- step(x, ...), repeated, from arrays (devices, ...)."""
        placed = NamedSharding(Mesh(np.array(devices), ("devices",)), PartitionSpec("devices"))
        with jax.enable_x64(arrays[0].dtype == np.float64):
            x, *rest = (jax.device_put(array, placed) for array in arrays)
            plain = jax.jit(lambda x, *rest: jax.lax.fori_loop(0, turns, lambda _, x: step(x, *rest), x))
            options = kernels.options(devices[0].platform, kernel=False)
            loop = plain.lower(x, *rest).compile(compiler_options=options)
            return seconds(lambda: loop(x, *rest)) / (turns * operations)

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision="highest")

    swept = random.uniform(1, 2, (len(devices), 1 << (14 if cpu else 22)))
    orthogonal = [np.linalg.qr(random.normal(size=(n, n)))[0].astype(np.float32) for n in (1024, 100)]
    large = np.stack([orthogonal[0]] * len(devices))
    small = np.broadcast_to(orthogonal[1], (len(devices), 8, 100, 100))
    return {
        "multiply-add": seconds_each(product, large.size * 1024, 2, large, large),
        "multiply-add by a vector": seconds_each(product, small.size, 2000, small[:, :, :1], small),
        "tanh": seconds_each(lambda x: jnp.tanh(x + 1), swept.size, 500 if cpu else 20, swept.astype(np.float32)),
        "root": seconds_each(lambda x: jnp.sqrt(2 / x), swept.size, 500 if cpu else 20, swept),
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
    width = {"rank_one": 2, "low_rank": 2 * (shape.get("rank") or 0) + 1, "full_rank": shape.n_units + 1}[shape.model]
    return {"multiply-add": 3 * updates * width, "tanh": updates}


def c_loop(shape: Shape, folder: Path) -> Callable[[], float] | None:
    """Plain C loops of the same arithmetic (`loops.c`), built in a folder; None without gcc and for the canonical form.

    Calling gives the seconds of processor per run and epoch, on one core. Of networks without noise. Units are padded
    to whole vectors of 512 bits, and gcc may reorder sums.
    """
    if (gcc := shutil.which("gcc")) is None or shape.model == "canonical":
        return None
    steps = shape.n_steps - (shape.task != "delayed_activation")
    kind = {"rank_one": -1, "full_rank": 0}.get(shape.model, shape.get("rank"))
    sizes = {"N": shape.n_units, "P": -(-shape.n_units // 16) * 16, "S": steps, "B": shape.n_trials, "K": f"({kind})"}
    source, program = Path(__file__).with_name("loops.c"), folder / "_".join(map(str, sizes.values()))
    flags = "-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math"
    given = [f"-D{name}={value}" for name, value in sizes.items()]
    subprocess.run([gcc, *flags, *given, source, "-o", program, "-lm"], check=True)
    return lambda: float(subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()[0])
