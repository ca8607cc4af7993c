"""What the models are trained to do: inputs, targets and accuracy of each task (paper, section 2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ghostsweep.declare import Shape

X_START = -0.3  # delayed activation: initial state of every unit


def delayed_activation_target(timescale: int) -> np.ndarray:
    """Target of the delayed-activation task, shape (2T,): 0 for the first T steps, 1 for the last T.

    `timescale` is T in steps. Source: paper, section 2 (delayed activation).
    """
    return np.repeat([0.0, 1.0], timescale)


class Trials(NamedTuple):
    """Cue trials: what comes in and what should come out, each of shape (steps, trials)."""

    inputs: np.ndarray
    targets: np.ndarray


def cue_trials(shape: Shape) -> Trials:
    """Trials of a cue task. Source: paper, section 2 (cue tasks).

    dcdt: a cue of +1 or -1 for the input, then delay, then reaction with the cue as target. dmts: cue, delay,
    cue, reaction with target 1 where the cues match; pairs (+, +), (-, -), (-, +), (+, -). All else is 0.
    Where nothing is random all trials of a kind are the same, and one of each gives their mean.
    """
    cues = np.array([[1, 1], [-1, -1], [-1, 1], [1, -1]] if shape.task == "dmts" else [[1], [-1]], float)
    cues = cues.repeat(shape.n_trials // len(cues), axis=0)
    inputs, targets = np.zeros((2, shape.n_steps, len(cues)))
    for at, cue in zip((0, shape.input_steps + shape.delay_steps), cues.T, strict=False):
        inputs[at : at + shape.input_steps] = cue
    targets[shape.n_steps - shape.reaction_steps :] = cues.prod(axis=1).clip(0) if shape.task == "dmts" else cues[:, 0]
    return Trials(inputs, targets)


def cue_accuracy(shape: Shape, output: jax.Array, targets: jax.Array) -> jax.Array:
    """Share of steps and trials that are right: dcdt cut at +-0.33 into -1, 0 and 1, dmts at 0.5 into 0 and 1."""
    if shape.task == "dmts":
        return ((output >= 0.5) == (targets > 0.5)).mean(dtype=output.dtype)
    return (jnp.where(jnp.abs(output) > 0.33, jnp.sign(output), 0) == targets).mean(dtype=output.dtype)
