"""Networks of rank K and of full rank on the cue tasks dcdt and dmts (paper, section 2)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from ghostsweep.declare import Shape
from ghostsweep.models import recurrence
from ghostsweep.models.model import Evaluation, Model
from ghostsweep.models.tasks import cue_accuracy, cue_trials

LARGEST_BATCH = 128
"""Trials evaluated together, so that what the backward pass needs stays in cache: 1,000 trials of dcdt in batches of
32, 64, 128, 256 and all together took 15.8, 9.4, 6.7, 6.8 and 9.6 ms an epoch of one run on two cores, 2,000 noisy
ones of dmts 90, 69, 50, 56 and 107 ms."""


def initial(shape: Shape, traced: Mapping[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Draw the parameters (paper, section 2), in float32 and then widened, so that both precisions train the same.

    Full rank: w_rec (N, N), w_in (N,), w_out (N,) Xavier uniform; b_in (N,) ~ U(-1, 1), b_out (1,) ~
    U(-1, 1) / sqrt N. Rank K: s_l (N, K) ~ N(0, 1) / sqrt N, s_r (K, N) ~ N(0, 1), w_in (N,) and w_out (K,)
    Xavier uniform, b_in (N,) ~ 0.1 N(0, 1), b_out (1,) ~ U(-1, 1) / sqrt K.
    """
    assert shape.n_units is not None
    n, rank = shape.n_units, shape.rank
    read = n if rank is None else rank
    keys = iter(jax.random.split(key, 6))

    def normal(scale: float, *size: int) -> jax.Array:
        return scale * jax.random.normal(next(keys), size, jnp.float32).astype(shape.dtype)

    def uniform(limit: float, *size: int) -> jax.Array:
        return jax.random.uniform(next(keys), size, jnp.float32, -limit, limit).astype(shape.dtype)

    params = {
        "w_in": uniform((6 / (1 + n)) ** 0.5, n),
        "w_out": uniform((6 / (read + 1)) ** 0.5, read),
        "b_out": uniform(read**-0.5, 1),
    }
    if rank is None:
        return params | {"w_rec": uniform((3 / n) ** 0.5, n, n), "b_in": uniform(1, n)}
    return params | {"s_l": normal(n**-0.5, n, rank), "s_r": normal(1, rank, n), "b_in": normal(0.1, n)}


def evaluate(shape: Shape, params: Mapping[str, jax.Array], traced: Mapping[str, jax.Array]) -> Evaluation:
    """Mean squared error over steps and trials of the output, read before each step, and `cue_accuracy`.

    r(0) = tanh(r0_sigma N(0, 1)), and noise_sigma N(0, 1) is added inside tanh, both drawn anew for every trial
    and epoch, in float32 and then widened. The update after the last output is left out.
    Many trials are taken in equal batches of at most LARGEST_BATCH, where their number allows.
    """
    inputs, targets = (jnp.asarray(array, shape.dtype) for array in cue_trials(shape))
    steps, trials = inputs.shape
    size = max(size for size in range(1, LARGEST_BATCH + 1) if trials % size == 0)
    if trials <= LARGEST_BATCH or size < LARGEST_BATCH // 4:
        return _evaluate(shape, params, traced, inputs, targets)
    batches = [array.reshape(steps, -1, size).swapaxes(0, 1) for array in (inputs, targets)]

    def add(total: Evaluation, batch: tuple[jax.Array, ...]) -> tuple[Evaluation, None]:
        number, inputs, targets = batch
        own = dict(traced) | ({"key": jax.random.fold_in(traced["key"], number)} if shape.stochastic else {})
        return jax.tree.map(jnp.add, total, _evaluate(shape, params, own, inputs, targets)), None

    zero = jnp.zeros((), shape.dtype)
    total, _ = lax.scan(
        add, Evaluation(zero, zero, jax.tree.map(jnp.zeros_like, dict(params))), (jnp.arange(trials // size), *batches)
    )
    mean: Evaluation = jax.tree.map(lambda value: value * (size / trials), total)
    return mean


def _evaluate(
    shape: Shape,
    params: Mapping[str, jax.Array],
    traced: Mapping[str, jax.Array],
    inputs: jax.Array,
    targets: jax.Array,
) -> Evaluation:
    """`evaluate` of trials that are kept together, from inputs and targets of shape (steps, trials)."""
    assert shape.n_units is not None
    steps, trials = inputs.shape
    start, noise = jnp.zeros((trials, shape.n_units), shape.dtype), jnp.zeros((), shape.dtype)
    if shape.random_start:
        drawn = jax.random.normal(jax.random.fold_in(traced["key"], 0), start.shape, jnp.float32)
        start = jnp.tanh(traced["r0_sigma"] * drawn.astype(shape.dtype))
    if shape.noisy:
        drawn = jax.random.normal(jax.random.fold_in(traced["key"], 1), (steps - 1, *start.shape), jnp.float32)
        noise = traced["noise_sigma"] * drawn.astype(shape.dtype)

    def loss(params: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w_out, b_out = params["w_out"], params["b_out"][0]
        drive = inputs[:-1, :, None] * params["w_in"][None, None] + params["b_in"][None, None] + noise
        leak = traced["dt_ms"] / traced["tau_ms"]
        if shape.rank is None:
            read = recurrence.full_rank(params["w_rec"], w_out, drive, start, leak)
        else:
            read = recurrence.low_rank(params["s_l"].T, params["s_r"], drive, start, leak) @ w_out
        argument = traced["confidence"] * (read + b_out)
        output = jnp.tanh(argument) if shape.task == "dcdt" else jax.nn.sigmoid(argument)
        error = output - targets
        return (error * error).mean(), output

    (value, output), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return Evaluation(value, cue_accuracy(shape, output, targets), grads)


MODELS = {
    "low_rank": Model(initial, evaluate, bounded=False, unroll=1, normed=("s_l", "s_r")),
    "full_rank": Model(initial, evaluate, bounded=False, unroll=1, normed=("w_rec",)),
}
