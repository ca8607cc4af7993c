"""A two-layer linear network that learns the modes of a map one after the other (Saxe, McClelland and Ganguli 2014).

y = W2 W1 x with W1 (hidden, modes) and W2 (modes, hidden), taught S = diag(1, 1/2, 1/3, ...) on white inputs:
loss = |W2 W1 - S|^2 / |S|^2. From small weights each mode waits on a plateau and is then learned abruptly, the
strongest first. There is no task: the model has a loss of its own.
"""

import jax
import jax.numpy as jnp

from ghostsweep.declare import Field, Model, Shape


def initial(shape: Shape, traced: dict, key: jax.Array) -> dict:
    """Weights ~ N(0, scale^2) / sqrt(hidden)."""
    first, second = jax.random.split(key)
    scale = traced["scale"] / shape.n_hidden**0.5
    return {
        "w1": scale * jax.random.normal(first, (shape.n_hidden, shape.n_modes), shape.dtype),
        "w2": scale * jax.random.normal(second, (shape.n_modes, shape.n_hidden), shape.dtype),
    }


def loss(shape: Shape, params: dict, traced: dict) -> tuple[jax.Array, jax.Array]:
    """The loss, and as accuracy the share of modes of which at least half is there."""
    strengths = 1 / jnp.arange(1, shape.n_modes + 1, dtype=shape.dtype)
    product = params["w2"] @ params["w1"]
    error = product - jnp.diag(strengths)
    learned = jnp.diagonal(product) > strengths / 2
    return (error * error).sum() / (strengths * strengths).sum(), learned.mean(dtype=shape.dtype)


def edge(fields: dict) -> float:
    """2 / sharpness, above which gradient descent leaves the balanced solution, of sharpness 4 s_1 / |S|^2."""
    return sum(1 / k**2 for k in range(1, fields["n_modes"] + 1)) / 2


TWO_LAYER = Model(
    "two_layer",
    fields=(
        Field("n_hidden", "hidden units", kind=int, default=8, ge=1, le=10_000, traced=False),
        Field("n_modes", "modes of the map", kind=int, default=4, ge=1, le=1000, traced=False),
        Field("scale", "size of the initial weights", default=0.01, gt=0),
    ),
    initial=initial,
    loss=loss,
    theory=edge,
    version="1",
)
