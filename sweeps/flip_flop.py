"""The flip-flop task (Sussillo and Barak 2013): several bits, each to be held until a pulse says otherwise.

Every epoch draws new trials. A channel has a pulse of +1 or -1 in about one of `1 / pulse_rate` steps, and its output
is to be the sign of the last one. Steps before the first pulse of a channel do not count.
"""

import jax
import jax.numpy as jnp

from ghostsweep.declare import Field, Shape, Task, Trials


def trials(shape: Shape, traced: dict) -> Trials:
    """Inputs, targets and weights of shape (steps, trials, 3), from the key of the run and epoch."""
    size = (shape.steps, shape.trials, 3)
    when, sign = jax.random.split(traced["key"])
    is_pulse = jax.random.uniform(when, size) < traced["pulse_rate"]
    pulses = jnp.where(is_pulse, jax.random.rademacher(sign, size, jnp.float32), 0).astype(shape.dtype)

    def hold(bits: jax.Array, pulse: jax.Array) -> tuple[jax.Array, jax.Array]:
        bits = jnp.where(pulse != 0, pulse, bits)
        return bits, bits

    _, targets = jax.lax.scan(hold, jnp.zeros_like(pulses[0]), pulses)
    return Trials(pulses, targets, (targets != 0).astype(shape.dtype), read="after")


def accuracy(shape: Shape, output: jax.Array, trials: Trials) -> jax.Array:
    """Share of the steps that count in which the output has the sign of its bit."""
    right = (output > 0) == (trials.targets > 0)
    return jnp.where(right, trials.weights, 0).sum() / trials.weights.sum()


FLIP_FLOP = Task(
    "flip_flop",
    fields=(
        Field("steps", "steps of a trial", "steps", kind=int, default=25, ge=2, le=10_000, traced=False),
        Field("trials", "trials of an epoch", kind=int, default=16, ge=1, le=10_000, traced=False),
        Field("pulse_rate", "chance of a pulse in a step, in each channel", default=0.2, gt=0, le=1),
    ),
    trials=trials,
    activation=jnp.tanh,
    accuracy=accuracy,
    channels=(3, 3),
    drawn=True,
    learned_loss=0.2,
    version="1",
)
