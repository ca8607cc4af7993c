"""Models that declare a step: their first state, and what is read from their states on any trials."""

from typing import TYPE_CHECKING

from ghostsweep.declare.model import Model, Params, Traced, Trials
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax


def first_state(model: Model, shape: Shape, params: Params, traced: Traced, x_start: float) -> "jax.Array":
    """The state before the first step, (units,)."""
    import jax.numpy as jnp

    if model.start is None:
        return jnp.full(shape.n_units, x_start, shape.dtype)
    return model.start(shape, params, {**traced, "x_start": jnp.asarray(x_start, shape.dtype)})


def outputs(model: Model, shape: Shape, params: Params, traced: Traced, trials: Trials) -> "jax.Array":
    """Readouts before or after each step, shaped like the targets."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    step, readout = model.step, model.readout
    assert step is not None and readout is not None
    # One channel may leave its axis out.
    inputs = jnp.reshape(trials.inputs, (*trials.inputs.shape[:2], shape.get("n_inputs", 0)))
    start = first_state(model, shape, params, traced, trials.x_start)

    def one(inputs: "jax.Array") -> "jax.Array":
        def turn(x: "jax.Array", u: "jax.Array") -> "tuple[jax.Array, jax.Array]":
            after = step(shape, params, traced, x, u)
            return after, x if trials.read == "before" else after

        _, states = lax.scan(turn, start, inputs)
        return jax.vmap(lambda x: readout(shape, params, traced, x))(states)

    return jax.vmap(one, in_axes=1, out_axes=1)(inputs).reshape(trials.targets.shape)
