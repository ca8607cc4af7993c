"""Delayed cue discrimination with a channel for each cue (arXiv 2502.17433), and a cue that needs no memory.

dcdt_onehot: a cue for the input, [0, 1] or [1, 0], then delay, then reaction with the cue as target, then, if there is
one, a window in which the answer is to end. All else is 0. onehot_control, that paper's control without memory: a cue,
then nothing; the cue is the target in every step, and the readout is linear. onehot_cue, a task of another kind: the
cue lasts as long as the answer is due.

Accuracy and reliability of dcdt_onehot are those of the steps that its field `scored` names: "reaction", in which the
answer is due, or "shifted", the authors' window, for comparison. It begins a step before the reaction and leaves out
its last step. In that first step the target is 0 in both channels and its argmax is the first one, which counts as
right whatever the cue was. The loss is of all steps, and the same.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostsweep.declare.field import Field, steps, whole_steps
from ghostsweep.declare.model import Levels, Mistakes, Outcomes, Result, Tally, Task, Traced, Trials, Values
from ghostsweep.declare.network import DT_MS, NOISE_SIGMA, R0_SIGMA, RNG
from ghostsweep.declare.shape import Shape
from ghostsweep.tasks import cues

if TYPE_CHECKING:
    import jax

HIGH, LOW = 0.8, 0.6
"""Accuracy and reliability above which an epoch counts as good, and below which, after a good one, as lost again."""
STABLE = 0.1
"""Share of lost values to kept ones below which a run is stable."""
CYCLE = 0.5
"""Index of the mechanism below which it is a limit cycle."""
LAST_SHARE = 10
"""The means are over the last epochs / LAST_SHARE epochs."""


def sizes(fields: Values) -> dict[str, Any]:
    """Durations in steps, and the steps and trials of an epoch; one trial of each class where nothing is random."""
    cue, delay, reaction, post = (
        steps(fields[f"{name}_ms"], fields["dt_ms"]) for name in ("input", "delay", "reaction", "post")
    )
    return {
        "input_steps": cue,
        "reaction_steps": reaction,
        "post_steps": post,
        "n_steps": cue + delay + reaction + post,
        **({"early_steps": 1} if fields.get("scored") == "shifted" else {}),
        **_drawn(fields),
    }


def _drawn(fields: Values) -> dict[str, Any]:
    """Trials of an epoch, as many of each class as differ, and the generator where anything is random."""
    if any((fields.get(name) or 0) > 0 for name in ("noise_sigma", "r0_sigma")):
        return {"n_trials": 2 * int(fields["trials_per_class"]), "rng": fields["rng"]}
    return {"n_trials": 2}


def trials(shape: Shape, traced: Traced) -> Trials:
    """Trials, arrays of shape (steps, trials, 2), and weights (steps, 1, 1).

    With a share p of steps in the reaction and after it, those weigh 1 - p and all before p.
    """
    classes = np.eye(2)[::-1].repeat(shape.n_trials // 2, axis=0)
    inputs, targets = np.zeros((2, shape.n_steps, *classes.shape))
    inputs[: shape.input_steps] = classes
    targets[due(shape)] = classes
    last = shape.reaction_steps + shape.post_steps
    share = last / shape.n_steps
    weights = np.where(np.arange(shape.n_steps) < shape.n_steps - last, share, 1 - share)
    return Trials(inputs, targets, weights[:, None, None])


def due(shape: Shape) -> slice:
    """The steps in which an answer is due."""
    end: int = shape.n_steps - shape.post_steps
    return slice(end - shape.reaction_steps, end)


def scored(shape: Shape) -> slice:
    """The steps of which accuracy and reliability are: those in which an answer is due, or as many one step before."""
    early = shape.get("early_steps", 0)
    return slice(due(shape).start - early, due(shape).stop - early)


def activation(readout: "jax.Array") -> "jax.Array":
    """The logistic function."""
    import jax

    return jax.nn.sigmoid(readout)


def loss(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """Mean over steps, trials and channels of w (o - target)^2, not divided by the sum of the weights."""
    error = output - trials.targets
    weighted = error * error if trials.weights is None else trials.weights * error * error
    return weighted.mean()


def accuracy(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """Share of scored steps and trials with the right output the larger, of two equal ones, or targets, the first."""
    window = scored(shape)
    return (output[window].argmax(axis=-1) == trials.targets[window].argmax(axis=-1)).mean(dtype=output.dtype)


def reliability(shape: Shape, output: "jax.Array", trials: Trials) -> "jax.Array":
    """Mean over the same steps and trials of the right output divided by the sum of both; 1/2 where both are 0."""
    import jax.numpy as jnp

    window = scored(shape)
    read, targets = output[window], trials.targets[window]
    if shape.get("early_steps"):  # the first channel where no answer is due, as of the accuracy
        is_due = jnp.asarray(targets.sum(axis=-1, keepdims=True) > 0)
        targets = jnp.where(is_due, jnp.asarray(targets, read.dtype), jnp.asarray([1, 0], read.dtype))
    right, both = (read * targets).sum(axis=-1), read.sum(axis=-1)
    return jnp.where(both != 0, right / both, 0.5).mean()


def start(shape: Shape, traced: Traced) -> "dict[str, jax.Array]":
    """Counters at 0, means of nothing, and no good epoch yet."""
    import jax.numpy as jnp

    zero = jnp.zeros((), shape.dtype)
    return {result.name: zero - 1 if result.name == "good_epoch" else zero for result in RESULTS}


def update(shape: Shape, traced: Traced, tally: Traced, epoch: "jax.Array", measured: Traced) -> "dict[str, jax.Array]":
    """The counters behind `stable` and the means behind `learned` (arXiv 2502.17433) after an epoch."""
    import jax.numpy as jnp

    both = jnp.stack([measured["accuracy"], measured["reliability"]])
    now = epoch.astype(shape.dtype)
    is_first = (tally["good_epoch"] < 0) & (both > HIGH).all()
    good_epoch = jnp.where(is_first, now, tally["good_epoch"])
    low, high = (jnp.where(good_epoch >= 0, side.sum(dtype=shape.dtype), 0) for side in (both < LOW, both > LOW))
    window = jnp.maximum(jnp.floor(traced["epochs"] / LAST_SHARE), 1)
    place = now - (traced["epochs"] - window) + 1  # 1 in the first epoch of the window
    means = jnp.stack([tally["late_accuracy"], tally["late_reliability"]])
    means = jnp.where(place >= 1, means + (both - means) / jnp.maximum(place, 1), means)
    return {
        "final_reliability": both[1],
        "late_accuracy": means[0],
        "late_reliability": means[1],
        "good_epoch": good_epoch,
        "low_count": tally["low_count"] + low,
        "high_count": tally["high_count"] + high,
    }


RESULTS = (
    Result(
        "final_reliability", "right output over the sum of both in the steps that are scored, mean, at the last epoch"
    ),
    Result("late_accuracy", "mean accuracy over the last tenth of the epochs"),
    Result("late_reliability", "mean reliability over the last tenth of the epochs"),
    Result("good_epoch", "first epoch with accuracy and reliability above 0.8; -1 if never", "epochs"),
    Result("low_count", "accuracies and reliabilities below 0.6 from that epoch on, both counted"),
    Result("high_count", "accuracies and reliabilities above 0.6 from that epoch on, both counted"),
)


def is_stable(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """From the first good epoch on, values below 0.6 are less than a tenth of those above; or there is none."""
    low, high = columns["low_count"], columns["high_count"]
    return (columns["good_epoch"] < 0) | (low < STABLE * high)


def is_learned(columns: Mapping[str, np.ndarray], *, lasting: bool = True) -> np.ndarray:
    """Both means over the last tenth of the epochs are above 0.8 and, if `lasting`, the run is stable."""
    good = (columns["late_accuracy"] > HIGH) & (columns["late_reliability"] > HIGH)
    return good & is_stable(columns) if lasting else good


def outcome(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """What became of every run, by the definitions of arXiv 2502.17433; "learned" where no mechanism was looked for."""
    index = columns.get("power_index", np.full(len(columns["good_epoch"]), np.nan))
    found = np.select([index < CYCLE, index >= CYCLE], ["limit_cycle", "slow_point_manifold"], "learned")
    return np.where(is_learned(columns), found, "no_solution")


def control_outcome(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether a run of onehot_control learned: by the means alone, and not where it was stopped."""
    good = is_learned(columns, lasting=False) & (columns["status"] == "done")
    return np.where(good, "learned", "no_solution")


def cue_outcome(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether a run of onehot_cue learned, by the means alone."""
    return np.where(is_learned(columns, lasting=False), "learned", "no_solution")


OUTCOMES = Outcomes(
    {
        "slow_point_manifold": "Learned, and what goes on without input does not come back: the index of its mechanism "
        "is 0.5 or more.",
        "limit_cycle": "Learned, and what goes on without input comes back: the index of its mechanism is below 0.5.",
        "learned": "Mean accuracy and reliability of the last tenth of the epochs are above 0.8, and were not lost "
        "again for long.",
        "no_solution": "Not learned, or lost again for more than a tenth of the time.",
    },
    outcome,
)


LEARNED_OR_NOT = {name: OUTCOMES.meanings[name] for name in ("learned", "no_solution")}


def levels(fields: Values) -> Levels:
    """With q the share of steps in which an answer is due: output q / 4 p; 0 and then 1/2; output 0; 1/2.

    The last one is more in the shifted window, in one step of which the first channel is always right.
    """
    cue, delay, reaction, post = (fields.get(f"{name}_ms", np.nan) for name in ("input", "delay", "reaction", "post"))
    whole = cue + delay + reaction + post
    share, answer = (reaction + post) / whole, reaction / whole
    silent = (1 - share) * answer / 2
    chance = 0.5 + (0.5 * fields["dt_ms"] / reaction if fields.get("scored") == "shifted" else 0)
    return Levels(constant=silent * (1 - answer / share / 4), blind=silent / 2, wrong=silent, chance=chance)


def check(fields: Values) -> Mistakes:
    """Durations are whole numbers of steps; delay and post-reaction may be none. A shifted window has an answer."""
    for name in ("input_ms", "delay_ms", "reaction_ms", "post_ms"):
        if said := whole_steps(fields, name, least=int(name in ("input_ms", "reaction_ms"))):
            yield name, said
    if fields.get("scored") == "shifted" and steps(fields["reaction_ms"], fields["dt_ms"]) == 1:
        yield "reaction_ms", f"at least {2 * fields['dt_ms']:g}, two steps, where scored is 'shifted'"


_OF_CUES = {field.name: field for field in cues.FIELDS}
POST_MS = Field(
    "post_ms", "time after the reaction in which the target is 0 again", "ms", default=0.0, ge=0, le=1e6, traced=False
)
SCORED = Field(
    "scored",
    "steps that are scored: 'reaction', where the answer is due; 'shifted', as many a step earlier, as the authors do",
    kind=str,
    default="reaction",
    options=("reaction", "shifted"),
    traced=False,
)
TASK = Task(
    "dcdt_onehot",
    (
        DT_MS,
        *(_OF_CUES[name] for name in ("input_ms", "delay_ms", "reaction_ms")),
        POST_MS,
        SCORED,
        _OF_CUES["trials_per_class"],
        NOISE_SIGMA,
        R0_SIGMA,
        RNG,
    ),
    trials,
    activation,
    loss,
    accuracy,
    channels=(2, 2),
    learned_loss=0.01,  # about a tenth of that of output 0, at 30/80/50 ms
    sizes=sizes,
    levels=levels,
    together=("dt_ms", "input_ms", "delay_ms", "reaction_ms", "post_ms", "scored"),
    check=check,
    tally=Tally(RESULTS, start, update, {"reliability": reliability}),
    outcomes=OUTCOMES,
    version="1",
    about="delayed cue discrimination with a channel for each cue: which of two cues was it",
)


def cue_sizes(fields: Values) -> dict[str, Any]:
    """The window in steps; only its last step is scored."""
    window = steps(fields["reaction_ms"], fields["dt_ms"])
    return {"reaction_steps": 1, "post_steps": 0, "n_steps": window, **_drawn(fields)}


def cue_trials(shape: Shape, traced: Traced) -> Trials:
    """The cue, and the same as target, in every step; (steps, trials, 2)."""
    classes = np.eye(2)[::-1].repeat(shape.n_trials // 2, axis=0)
    whole = np.broadcast_to(classes, (shape.n_steps, *classes.shape))
    return Trials(whole, whole)


def cue_levels(fields: Values) -> Levels:
    """Output 1/2; the same; output 0 or 1; 1/2."""
    return Levels(constant=0.25, blind=0.25, wrong=0.5, chance=0.5)


def cue_check(fields: Values) -> Mistakes:
    """The window is a whole number of steps."""
    if said := whole_steps(fields, "reaction_ms"):
        yield "reaction_ms", said


SHOWN = dataclasses.replace(
    TASK,
    name="onehot_cue",
    fields=tuple(field for field in TASK.fields if field.name not in ("input_ms", "delay_ms", "post_ms", "scored")),
    trials=cue_trials,
    learned_loss=0.05,
    sizes=cue_sizes,
    levels=cue_levels,
    together=("dt_ms", "reaction_ms"),
    check=cue_check,
    outcomes=Outcomes(LEARNED_OR_NOT, cue_outcome),
    about="which of two cues is it, while it lasts: a task without memory",
)


def control_sizes(fields: Values) -> dict[str, Any]:
    """The cue and the whole trial in steps; only its last step is scored."""
    cue, window = (steps(fields[f"{name}_ms"], fields["dt_ms"]) for name in ("input", "reaction"))
    return {"input_steps": cue, "reaction_steps": 1, "post_steps": 0, "n_steps": cue + window, **_drawn(fields)}


def control_trials(shape: Shape, traced: Traced) -> Trials:
    """The cue in its steps, and the same as target in every step; (steps, trials, 2)."""
    shown = cue_trials(shape, traced)
    during = np.arange(shape.n_steps)[:, None, None] < shape.input_steps
    return Trials(shown.inputs * during, shown.targets)


def control_check(fields: Values) -> Mistakes:
    """The cue and the window are whole numbers of steps."""
    for name in ("input_ms", "reaction_ms"):
        if said := whole_steps(fields, name):
            yield name, said


CONTROL = dataclasses.replace(
    SHOWN,
    name="onehot_control",
    fields=(DT_MS, _OF_CUES["input_ms"], *SHOWN.fields[1:]),
    trials=control_trials,
    activation=None,
    sizes=control_sizes,
    together=("dt_ms", "input_ms", "reaction_ms"),
    check=control_check,
    outcomes=Outcomes(LEARNED_OR_NOT, control_outcome),
    about="which of two cues was it, answered from the first step on with a linear readout: the control without memory",
)
