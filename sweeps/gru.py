"""A gated recurrent unit (Cho et al. 2014) on any task with inputs: an own model, in one file.

z, r = sigmoid(W u + U x + b), x <- (1 - z) x + z tanh(V u + R (r x) + a), read as c (x . w_out + b_out).
"""

import jax
import jax.numpy as jnp

from ghostsweep.declare import Field, Model, Shape
from ghostsweep.declare.network import CONFIDENCE, N_UNITS


def initial(shape: Shape, traced: dict, key: jax.Array) -> dict:
    """Orthogonal recurrent weights, inputs and readout ~ N(0, 1) / sqrt of what they sum over, update gate closed."""
    n, normal = shape.n_units, jax.random.normal
    keys = jax.random.split(key, 5)
    return {
        "w_gates": normal(keys[0], (shape.n_inputs, 2 * n), shape.dtype) / shape.n_inputs**0.5,
        "u_gates": normal(keys[1], (n, 2 * n), shape.dtype) / n**0.5,
        "b_gates": jnp.concatenate([jnp.full(n, traced["gate_bias"], shape.dtype), jnp.zeros(n, shape.dtype)]),
        "w_in": normal(keys[2], (shape.n_inputs, n), shape.dtype) / shape.n_inputs**0.5,
        "w_rec": jax.random.orthogonal(keys[3], n).astype(shape.dtype),
        "b_rec": jnp.zeros(n, shape.dtype),
        "w_out": normal(keys[4], (n, shape.n_outputs), shape.dtype) / n**0.5,
        "b_out": jnp.zeros(shape.n_outputs, shape.dtype),
    }


def step(shape: Shape, p: dict, traced: dict, x: jax.Array, u: jax.Array) -> jax.Array:
    """The state (n_units,) after a step with the inputs u (n_inputs,)."""
    update, reset = jnp.split(jax.nn.sigmoid(u @ p["w_gates"] + x @ p["u_gates"] + p["b_gates"]), 2)
    return (1 - update) * x + update * jnp.tanh(u @ p["w_in"] + (reset * x) @ p["w_rec"] + p["b_rec"])


def readout(shape: Shape, p: dict, traced: dict, x: jax.Array) -> jax.Array:
    """What is read from a state, (n_outputs,)."""
    return traced["confidence"] * (x @ p["w_out"] + p["b_out"])


GRU = Model(
    "gru",
    fields=(N_UNITS, CONFIDENCE, Field("gate_bias", "bias of the update gate at the start", default=-1.0)),
    initial=initial,
    step=step,
    readout=readout,
    normed=("w_rec", "u_gates"),
    version="1",
)
