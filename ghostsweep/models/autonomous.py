"""Networks of rank K and of full rank into which nothing comes, with a trained readout (paper, section 2)."""

import jax
import jax.numpy as jnp

from ghostsweep.declare.model import Params, Traced, Trials
from ghostsweep.declare.shape import VECTOR, Shape
from ghostsweep.models import recurrence


def initial(shape: Shape, traced: Traced, key: jax.Array) -> dict[str, jax.Array]:
    """Draw m (N, K) and n (K, N), or w (N, N), and w_out (N,), b_out (1,) ~ N(0, 1) / sqrt N; b = 0, shape (N,).

    With several outputs w_out is (N, outputs) and b_out (outputs,).

    Drawn in float32 and then widened, so that both precisions train the same network.
    """
    n, rank = shape.n_units, shape.get("rank")
    many = (shape.n_outputs,) if shape.n_outputs > 1 else ()
    shapes: dict[str, tuple[int, ...]] = {"w_out": (n, *many), "b_out": many or (1,)}
    shapes |= {"w": (n, n)} if rank is None else {"m": (n, rank), "n": (rank, n)}
    drawn = {
        name: jax.random.normal(k, size, jnp.float32).astype(shape.dtype) / n**0.5
        for k, (name, size) in zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True)
    }
    return drawn | {"b": jnp.zeros(n, shape.dtype)}


def _into(shape: Shape, params: Params) -> jax.Array:
    """m beside w_out, (N, K + outputs): what a network of rank K is projected on, kappa and what is read."""
    return jnp.concatenate([params["m"], params["w_out"].reshape(shape.n_units, -1)], axis=1)


def step(shape: Shape, params: Params, traced: Traced, x: jax.Array, u: jax.Array) -> jax.Array:
    """x <- (1 - a) x + a tanh(recurrent + b) of the units (N,), of rank K of x [m, w_out] (K + outputs,)."""
    rank, leak = shape.get("rank"), traced["dt_ms"] / traced["tau_ms"]
    if rank is None:
        return (1 - leak) * x + leak * jnp.tanh(x @ params["w"] + params["b"])
    return (1 - leak) * x + leak * (jnp.tanh(x[:rank] @ params["n"] + params["b"]) @ _into(shape, params))


def read(shape: Shape, params: Params, traced: Traced, x: jax.Array) -> jax.Array:
    """c (x . w_out + b_out), (outputs,)."""
    rank = shape.get("rank")
    argument = x @ params["w_out"].reshape(shape.n_units, -1) if rank is None else x[rank:]
    return traced["confidence"] * (argument + params["b_out"])


def start(shape: Shape, params: Params, traced: Traced) -> jax.Array:
    """The units at x_start, (N,), or what they are projected on (K + outputs,)."""
    units = jnp.full(shape.n_units, traced["x_start"], shape.dtype)
    return units if shape.get("rank") is None else units @ _into(shape, params)


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> jax.Array:
    """Readouts c (x . w_out + b_out) of x <- (1 - a) x + a tanh(recurrent + b), shaped like the targets."""
    w_out, b_out = params["w_out"], params["b_out"]
    rank = shape.get("rank")
    leak = traced["dt_ms"] / traced["tau_ms"]
    # Units without weights make the rows of low rank a multiple of 8 numbers, which XLA's products of a vector and
    # a matrix like: 54 instead of 61 us of one core per run and epoch for N = 100 and K = 30, 155 instead of 175
    # for K = 100. For full rank the padding costs what it gains.
    spare = -len(w_out) % VECTOR if shape.kernel else 0 if rank is None else -len(w_out) % 8
    bias = jnp.pad(params["b"], (0, spare))
    steps = len(trials.targets) - (trials.read == "before")
    drive = jnp.broadcast_to(bias, (steps, 1, len(bias)))
    start = jnp.full_like(drive[0], trials.x_start)
    if rank is None:
        padded = jnp.pad(params["w"], (0, spare)), jnp.pad(w_out, [(0, spare), (0, 0)][: w_out.ndim])
        read = recurrence.full_rank(shape, *padded, drive, start, leak)
    else:
        into = jnp.concatenate([params["m"].T, w_out.reshape(shape.n_units, -1).T])
        into, back = (jnp.pad(weights, [(0, 0), (0, spare)]) for weights in (into, params["n"]))
        read = recurrence.low_rank(shape, into, back, drive, start, leak)[..., rank:]
        read = read[..., 0] if w_out.ndim == 1 else read
    read = read if trials.read == "before" else read[1:]
    return traced["confidence"] * (read + (b_out[0] if w_out.ndim == 1 else b_out[None, None]))
