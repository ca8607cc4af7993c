"""Networks of rank K and of full rank that are driven by their inputs (paper, section 2)."""

import jax
import jax.numpy as jnp

from ghostsweep.declare import noise
from ghostsweep.declare.model import Params, Traced, Trials
from ghostsweep.declare.shape import VECTOR, Shape
from ghostsweep.models import recurrence


def initial(shape: Shape, traced: Traced, key: jax.Array) -> dict[str, jax.Array]:
    """Draw the parameters (paper, section 2), in float32 and then widened, so that both precisions train the same.

    Full rank: w_rec (N, N), w_in (N,), w_out (N,) Xavier uniform; b_in (N,) ~ U(-1, 1), b_out (1,) ~
    U(-1, 1) / sqrt N. Rank K: s_l (N, K) ~ N(0, 1) / sqrt N, s_r (K, N) ~ N(0, 1), w_in (N,) and w_out (K,)
    Xavier uniform, b_in (N,) ~ 0.1 N(0, 1), b_out (1,) ~ U(-1, 1) / sqrt K.
    With several channels w_in is (inputs, N), w_out (N or K, outputs) and b_out (outputs,).
    """
    n, rank = shape.n_units, shape.get("rank")
    read, into, out = rank or n, shape.n_inputs, shape.n_outputs
    keys = iter(jax.random.split(key, 6))

    def normal(scale: float, *size: int) -> jax.Array:
        return scale * jax.random.normal(next(keys), size, jnp.float32).astype(shape.dtype)

    def uniform(limit: float, *size: int) -> jax.Array:
        return jax.random.uniform(next(keys), size, jnp.float32, -limit, limit).astype(shape.dtype)

    params = {
        "w_in": uniform((6 / (into + n)) ** 0.5, *([into] if into > 1 else []), n),
        "w_out": uniform((6 / (read + out)) ** 0.5, read, *([out] if out > 1 else [])),
        "b_out": uniform(read**-0.5, out),
    }
    if rank is None:
        return params | {"w_rec": uniform((3 / n) ** 0.5, n, n), "b_in": uniform(1, n)}
    return params | {"s_l": normal(n**-0.5, n, rank), "s_r": normal(1, rank, n), "b_in": normal(0.1, n)}


def step(shape: Shape, params: Params, traced: Traced, x: jax.Array, u: jax.Array) -> jax.Array:
    """x <- (1 - a) x + a tanh(recurrent + u w_in + b) of the units (N,), of rank K of kappa = x s_l (K,)."""
    leak, w_in = traced["dt_ms"] / traced["tau_ms"], params["w_in"]
    back = params["w_rec"] if shape.get("rank") is None else params["s_r"]
    rates = jnp.tanh(x @ back + (u @ w_in if w_in.ndim == 2 else u * w_in) + params["b_in"])
    return (1 - leak) * x + leak * (rates if shape.get("rank") is None else rates @ params["s_l"])


def read(shape: Shape, params: Params, traced: Traced, x: jax.Array) -> jax.Array:
    """c (x . w_out + b_out), (outputs,)."""
    argument = x @ params["w_out"]
    return traced["confidence"] * ((argument[None] if argument.ndim == 0 else argument) + params["b_out"])


def start(shape: Shape, params: Params, traced: Traced) -> jax.Array:
    """The units at x_start, (N,), or their kappa (K,)."""
    units = jnp.full(shape.n_units, traced["x_start"], shape.dtype)
    return units if shape.get("rank") is None else units @ params["s_l"]


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> jax.Array:
    """Readouts c (r . w_out + b_out), shaped like the targets; the update after the last output is left out.

    With a recurrent bias b_rec (N,) among the parameters that is added to b_in.
    """
    targets = trials.targets
    inputs = jnp.asarray(trials.inputs[:-1] if trials.read == "before" else trials.inputs, shape.dtype)
    steps, n_trials = inputs.shape[:2]
    start, added = drawn(shape, traced, steps, n_trials, trials.x_start)
    w_in, w_out, b_out = params["w_in"], params["w_out"], params["b_out"]
    driven = inputs @ w_in if w_in.ndim == 2 else inputs.reshape(steps, n_trials, 1) * w_in[None, None]
    bias = params["b_in"] + params["b_rec"] if "b_rec" in params else params["b_in"]
    drive = driven + bias[None, None] + added
    leak = traced["dt_ms"] / traced["tau_ms"]
    spare = -shape.n_units % VECTOR if shape.kernel else 0  # units without weights
    drive, start = (jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, spare)]) for array in (drive, start))
    if shape.get("rank") is None:
        w_rec, w_out = jnp.pad(params["w_rec"], (0, spare)), jnp.pad(w_out, [(0, spare), (0, 0)][: w_out.ndim])
        read = recurrence.full_rank(shape, w_rec, w_out, drive, start, leak)
    else:
        into, back = (jnp.pad(weights, [(0, 0), (0, spare)]) for weights in (params["s_l"].T, params["s_r"]))
        read = recurrence.low_rank(shape, into, back, drive, start, leak) @ w_out
    read = read + (b_out[0] if w_out.ndim == 1 else b_out[None, None])
    argument = traced["confidence"] * (read if trials.read == "before" else read[1:])
    return argument if argument.ndim == targets.ndim else argument[..., None]


def drawn(shape: Shape, traced: Traced, steps: int, n_trials: int, x_start: float) -> tuple[jax.Array, jax.Array]:
    """The first states (trials, N) and what is added inside tanh, (steps, trials, N), or a zero without noise.

    r(0) = tanh(r0_sigma N(0, 1)), and noise_sigma N(0, 1) is added inside tanh, both drawn anew for every trial
    and epoch by the generator `rng`.
    """
    start, added = jnp.full((n_trials, shape.n_units), x_start, shape.dtype), jnp.zeros((), shape.dtype)
    if "r0_sigma" in shape.random:
        start = jnp.tanh(traced["r0_sigma"] * noise.normal(shape, traced, start.shape, purpose=0))
    if "noise_sigma" in shape.random:
        added = traced["noise_sigma"] * noise.normal(shape, traced, (steps, *start.shape), purpose=1)
    return start, added
