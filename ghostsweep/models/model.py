"""The contract between the trainer and the models."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from ghostsweep.declare import Shape


class Evaluation(NamedTuple):
    """One epoch's forward and backward pass of one run."""

    loss: jax.Array
    accuracy: jax.Array
    grads: dict[str, jax.Array]


class Model(NamedTuple):
    """A model as pure functions of one run, which the trainer vectorises.

    `initial(shape, traced, key)` draws parameters by name; `evaluate(shape, params, traced)` returns loss,
    accuracy and gradient. `traced` holds the traced fields of the run, one scalar each, and in `evaluate` of a
    shape with noise `key`, a random key of the run and epoch.
    """

    initial: Callable[[Shape, Mapping[str, jax.Array], jax.Array], dict[str, jax.Array]]
    evaluate: Callable[[Shape, Mapping[str, jax.Array], Mapping[str, jax.Array]], Evaluation]
    bounded: bool
    """Whether loss and gradient are finite whatever the parameters, so that no run can diverge."""
    unroll: int
    """Epochs per turn of the training loop."""
    normed: tuple[str, ...] = ()
    """Parameters whose gradient counts in the reported gradient norm; empty for all."""
    accuracy_of: Callable[[jax.Array], jax.Array] | None = None
    """Accuracy as a falling function of the loss, where it is one: the best accuracy is that of the least loss."""
