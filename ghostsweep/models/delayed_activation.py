"""Networks of rank K and of full rank with a trained readout, on delayed activation (paper, section 2)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ghostsweep.models import recurrence
from ghostsweep.models.model import Evaluation, Model
from ghostsweep.spec import Shape
from ghostsweep.tasks import X_START, delayed_activation_target


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
        drive = jnp.broadcast_to(params["b"], (steps, 1, len(w_out)))
        start = jnp.full_like(drive[0], X_START)
        leak = traced["dt_ms"] / traced["tau_ms"]
        if shape.rank is None:
            read = recurrence.full_rank(params["w"], w_out, drive, start, leak)[1:, 0]
        else:
            into = jnp.concatenate([params["m"].T, w_out[None]])
            read = recurrence.low_rank(into, params["n"], drive, start, leak)[1:, 0, -1]
        output = jax.nn.sigmoid(traced["confidence"] * (read + b_out))
        error = output - target
        return (error * error).sum() / (steps // 2), output

    (value, output), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return Evaluation(value, ((output > 0.5) == (target > 0.5)).mean(dtype=shape.dtype), grads)


MODELS = {name: Model(initial, evaluate, bounded=False, unroll=1) for name in ("low_rank", "full_rank")}
