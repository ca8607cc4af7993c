"""Networks of rank K and of full rank with a trained readout, on delayed activation (paper, section 2)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ghostsweep.declare import Shape
from ghostsweep.models import recurrence
from ghostsweep.models.model import Evaluation, Model
from ghostsweep.models.tasks import X_START, delayed_activation_target


def initial(shape: Shape, traced: Mapping[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Draw m (N, K) and n (K, N), or w (N, N), and w_out (N,), b_out (1,) ~ N(0, 1) / sqrt N; b = 0, shape (N,).

    Drawn in float32 and then widened, so that both precisions train the same network.
    """
    assert shape.n_units is not None
    n = shape.n_units
    shapes: dict[str, tuple[int, ...]] = {"w_out": (n,), "b_out": (1,)}
    shapes |= {"w": (n, n)} if shape.rank is None else {"m": (n, shape.rank), "n": (shape.rank, n)}
    drawn = {
        name: jax.random.normal(k, size, jnp.float32).astype(shape.dtype) / n**0.5
        for k, (name, size) in zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True)
    }
    return drawn | {"b": jnp.zeros(n, shape.dtype)}


def evaluate(shape: Shape, params: Mapping[str, jax.Array], traced: Mapping[str, jax.Array]) -> Evaluation:
    """Loss sum_t (o_t - target_t)^2 / T over 2T steps, o read after each; share of steps with (o > 1/2) = target."""
    assert shape.timescale is not None
    steps = 2 * shape.timescale
    target = jnp.asarray(delayed_activation_target(shape.timescale), shape.dtype)

    def loss(params: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w_out, b_out = params["w_out"], params["b_out"]
        leak = traced["dt_ms"] / traced["tau_ms"]
        # Units without weights make the rows of low rank a multiple of 8 numbers, which XLA's products of a vector and
        # a matrix like: 54 instead of 61 us of one core per run and epoch for N = 100 and K = 30, 155 instead of 175
        # for K = 100. For full rank the padding costs what it gains.
        spare = 0 if shape.rank is None else -len(w_out) % 8
        bias = jnp.pad(params["b"], (0, spare))
        drive = jnp.broadcast_to(bias, (steps, 1, len(bias)))
        start = jnp.full_like(drive[0], X_START)
        if shape.rank is None:
            read = recurrence.full_rank(params["w"], w_out, drive, start, leak)[1:, 0]
        else:
            into = jnp.concatenate([params["m"].T, w_out[None]])
            into, back = (jnp.pad(weights, [(0, 0), (0, spare)]) for weights in (into, params["n"]))
            read = recurrence.low_rank(into, back, drive, start, leak)[1:, 0, -1]
        output = jax.nn.sigmoid(traced["confidence"] * (read + b_out))
        error = output - target
        return (error * error).sum() / (steps // 2), output

    (value, output), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return Evaluation(value, ((output > 0.5) == (target > 0.5)).mean(dtype=shape.dtype), grads)


MODELS = {name: Model(initial, evaluate, bounded=False, unroll=1) for name in ("low_rank", "full_rank")}
