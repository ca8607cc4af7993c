"""Delayed cue discrimination (dcdt) and delayed match to sample (dmts) (paper, section 2).

dcdt: a cue of +1 or -1 for the input, then delay, then reaction with the cue as target. dmts: cue, delay, cue, reaction
with target 1 where the cues match; pairs (+, +), (-, -), (-, +), (+, -). All else is 0.
"""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostsweep.declare.field import Field, steps, whole_steps
from ghostsweep.declare.model import Levels, Mistakes, Task, Traced, Trials, Values
from ghostsweep.declare.network import DT_MS, NOISE_SIGMA, R0_SIGMA, RNG
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax

CUES = {"dcdt": ((1,), (-1,)), "dmts": ((1, 1), (-1, -1), (-1, 1), (1, -1))}
"""The cues of each kind of trial, by task."""
CUT = {"dcdt": 0.33, "dmts": 0.5}
"""Where an output is cut into answers: at + and - this in dcdt, whose answers are -1, 0 and 1; else into 0 and 1."""


def _duration(name: str, meaning: str) -> Field:
    return Field(name, meaning, "ms", required=True, ge=0, le=1e6, traced=False)


FIELDS = (
    DT_MS,
    _duration("input_ms", "length of a cue"),
    _duration("delay_ms", "time between the first cue and what follows it"),
    _duration("reaction_ms", "time at the end in which the answer is due"),
    Field(
        "trials_per_class",
        "trials of each kind of cue in an epoch",
        kind=int,
        default=1,
        ge=1,
        le=1_000_000,
        traced=False,
    ),
    NOISE_SIGMA,
    R0_SIGMA,
    RNG,
)


def sizes(fields: Values, task: str) -> dict[str, Any]:
    """Durations in steps, and the steps and trials of an epoch.

    Where nothing is random all trials of a kind are the same, and one of each gives their mean; else `rng` says by
    which generator.
    """
    cue, delay, reaction = (steps(fields[f"{name}_ms"], fields["dt_ms"]) for name in ("input", "delay", "reaction"))
    random = any((fields.get(name) or 0) > 0 for name in ("noise_sigma", "r0_sigma"))
    each = int(fields["trials_per_class"])
    return {
        "input_steps": cue,
        "delay_steps": delay,
        "reaction_steps": reaction,
        "trials_per_class": each,
        "n_steps": cue * len(CUES[task][0]) + delay + reaction,
        "n_trials": len(CUES[task]) * (each if random else 1),
    } | ({"rng": fields["rng"]} if random else {})


def trials(shape: Shape, traced: Traced) -> Trials:
    """Trials of a cue task, each array of shape (steps, trials)."""
    assert shape.task is not None
    cues = np.array(CUES[shape.task], float)
    cues = cues.repeat(shape.n_trials // len(cues), axis=0)
    inputs, targets = np.zeros((2, shape.n_steps, len(cues)))
    for at, cue in zip((0, shape.input_steps + shape.delay_steps), cues.T, strict=False):
        inputs[at : at + shape.input_steps] = cue
    targets[shape.n_steps - shape.reaction_steps :] = cues.prod(axis=1).clip(0) if shape.task == "dmts" else cues[:, 0]
    return Trials(inputs, targets)


def check(fields: Values) -> Mistakes:
    """Durations are whole numbers of steps; only the delay may be none."""
    for name in ("input_ms", "delay_ms", "reaction_ms"):
        if said := whole_steps(fields, name, least=int(name != "delay_ms")):
            yield name, said


def dcdt_activation(readout: "jax.Array") -> "jax.Array":
    """The hyperbolic tangent."""
    import jax.numpy as jnp

    return jnp.tanh(readout)


def dmts_activation(readout: "jax.Array") -> "jax.Array":
    """The logistic function."""
    import jax

    return jax.nn.sigmoid(readout)


def dcdt_accuracy(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """Share of steps and trials that are right, of outputs cut at +-0.33 into -1, 0 and 1."""
    import jax.numpy as jnp

    answer = jnp.where(jnp.abs(output) > CUT["dcdt"], jnp.sign(output), 0)
    return (answer == trials.targets).mean(dtype=output.dtype)


def dmts_accuracy(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """Share of steps and trials that are right, of outputs cut at 0.5 into 0 and 1."""
    return ((output >= CUT["dmts"]) == (trials.targets > 0.5)).mean(dtype=output.dtype)


def _due(fields: Values, n_cues: int) -> float:
    """Share of steps in which an answer is due; half of them where nothing is said of it."""
    cue, delay, answer = (fields.get(f"{name}_ms", np.nan) for name in ("input", "delay", "reaction"))
    due = float(answer / (n_cues * cue + delay + answer))
    return 0.5 if np.isnan(due) else due


def dcdt_levels(fields: Values) -> Levels:
    """With q the share of steps in which an answer is due: output 0; 0; the same answer to both cues; 1 - q."""
    due = _due(fields, 1)
    return Levels(constant=due, blind=due, wrong=2 * due, chance=1 - due)


def dmts_levels(fields: Values) -> Levels:
    """Output q/2; 0 and then 1/2; output 0; 1 - q/2."""
    half = _due(fields, 2) / 2
    return Levels(constant=half * (1 - half), blind=half / 2, wrong=half, chance=1 - half)


DCDT = Task(
    "dcdt",
    FIELDS,
    trials,
    dcdt_activation,
    accuracy=dcdt_accuracy,
    learned_loss=0.03,
    sizes=functools.partial(sizes, task="dcdt"),
    levels=dcdt_levels,
    together=("dt_ms", "input_ms", "delay_ms", "reaction_ms"),
    check=check,
    version="1",
    about="delayed cue discrimination: which of two cues was it",
)
DMTS = Task(
    "dmts",
    FIELDS,
    trials,
    dmts_activation,
    accuracy=dmts_accuracy,
    learned_loss=0.013,  # as 0.03 of dcdt, a tenth of that of output 0, at 30/80/50 ms
    sizes=functools.partial(sizes, task="dmts"),
    levels=dmts_levels,
    together=("dt_ms", "input_ms", "delay_ms", "reaction_ms"),
    check=check,
    version="1",
    about="delayed match to sample: were two cues the same",
)
