"""Delayed activation: the output is to switch on after a delay, without any input (paper, section 2)."""

from typing import TYPE_CHECKING

import numpy as np

from ghostsweep.declare.field import MAX_STEPS, Field
from ghostsweep.declare.model import Levels, Mistakes, Task, Traced, Trials, Values
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax

X_START = -0.3  # initial state of every unit
TIMESCALE = Field(
    "timescale",
    "delay T before the output must switch on; the trial lasts 2T",
    "steps",
    required=True,
    gt=0,
    le=MAX_STEPS,
    traced=False,
    symbol="T",
)


def target(timescale: int) -> np.ndarray:
    """Target of the output, shape (2T,): 0 for the first T steps, 1 for the last T."""
    return np.repeat([0.0, 1.0], timescale)


def trials(shape: Shape, traced: Traced) -> Trials:
    """One trial of 2T steps in which nothing comes in."""
    return Trials(
        np.zeros((2 * shape.timescale, 1, 0)), target(shape.timescale)[:, None], read="after", x_start=X_START
    )


def activation(readout: "jax.Array") -> "jax.Array":
    """The logistic function."""
    import jax

    return jax.nn.sigmoid(readout)


def loss(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """sum_t (o_t - target_t)^2 / T."""
    error = output - trials.targets
    timescale: int = shape.timescale
    return (error * error).sum() / timescale


def levels(fields: Values) -> Levels:
    """The best constant output is 1/2; one that is sure of itself and knows nothing is 0 or 1."""
    return Levels(constant=0.5, blind=0.5, wrong=1.0, chance=0.5)


def sizes(fields: Values) -> dict[str, int]:
    """T in steps, and the steps and trials of an epoch."""
    timescale = int(fields["timescale"])
    return {"timescale": timescale, "n_steps": 2 * timescale, "n_trials": 1}


def check(fields: Values) -> Mistakes:
    """T is a number of steps."""
    if not float(fields["timescale"]).is_integer():
        yield "timescale", "a whole number of steps for a network"


TASK = Task(
    "delayed_activation",
    (TIMESCALE,),
    trials,
    activation,
    loss,
    channels=(0, 1),
    learned_loss=0.1,
    sizes=sizes,
    levels=levels,
    together=("timescale",),
    check=check,
    version="1",
    about="switch the output on after T steps, without any input",
)
