"""The contract between the trainer and the models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax

@dataclass(frozen=True)
class Shape:
    """What a compiled program is specialised to: the static fields of a run (None where not applicable)."""

    model: str
    task: str
    optimizer: str
    dtype: str
    n_units: int | None = None
    timescale: float | None = None


class Evaluation(NamedTuple):
    """One epoch's forward and backward pass of one run."""

    loss: jax.Array
    accuracy: jax.Array
    grads: dict[str, jax.Array]


class Model(NamedTuple):
    """A model as pure functions of one run (the trainer vectorises them), with what was measured of it.

    `initial(shape, traced, key)` draws parameters by name; `evaluate(shape, params, traced)` returns loss,
    accuracy and gradient. `traced` holds the traced fields of the run, one scalar each.
    """

    initial: Callable[[Shape, Mapping[str, jax.Array], jax.Array], dict[str, jax.Array]]
    evaluate: Callable[[Shape, Mapping[str, jax.Array], Mapping[str, jax.Array]], Evaluation]
    parameters: tuple[str, ...]
    bounded: bool
    """Whether loss and gradient are finite whatever the parameters, so that no run can diverge."""
    unroll: int
    """Epochs per turn of the training loop."""
    lanes: int
    """Runs per device beyond which a wider batch is not faster."""
    epoch_seconds: Callable[[Shape], float]
    """Seconds one epoch of one run takes on one core, for estimates only."""
    run_bytes: Callable[[Shape], int]
    """Bytes of working memory of one run in a batch."""
