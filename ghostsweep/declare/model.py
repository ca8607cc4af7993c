"""The contract: what a model, a task and an update rule declare. Frozen data and pure functions of one run.

A function of a model or task gets `shape`, what the program is compiled for (`shape.n_units`: whole numbers and texts),
and `traced`, a JAX scalar by name for every other field of the run that is not null; where an epoch draws random
numbers also `traced["key"]`, a key of the run and the epoch, for `noise.normal`. The trainer vectorises over runs,
takes the gradient and updates. Functions are traced by JAX: no side effects, no Python branches on traced numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ghostsweep.declare.data import Data
from ghostsweep.declare.field import Field
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax
    import numpy as np

Params = Mapping[str, "jax.Array"]
Traced = Mapping[str, "jax.Array"]
Values = Mapping[str, Any]
"""The fields of one run by name, null where absent."""
Mistakes = Iterator[tuple[str, str]]
"""Names of fields, each with what is allowed, in words."""


class Trials(NamedTuple):
    """What comes in and what should come out.

    inputs: (steps, trials) of one channel or (steps, trials, channels); no channels where nothing comes in. targets:
    likewise. weights: how much each target counts in the loss, its shape broadcast to that of targets; None: 1. read:
    whether the output is read before each step or after it. x_start: initial state of every unit.
    """

    inputs: "np.ndarray | jax.Array"
    targets: "np.ndarray | jax.Array"
    weights: "np.ndarray | jax.Array | None" = None
    read: Literal["before", "after"] = "before"
    x_start: float = 0.0


class Evaluation(NamedTuple):
    """One epoch's forward and backward pass of one run; `measured` has what the task's tally measures of its output."""

    loss: "jax.Array"
    accuracy: "jax.Array"
    grads: "dict[str, jax.Array]"
    measured: "dict[str, jax.Array]" = {}


class Result(NamedTuple):
    """A number that a task or model adds to the row of each of its runs: a column of runs.parquet."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Tally:
    """Numbers of a task's own that are kept up from epoch to epoch, as loss and accuracy are.

    measures: functions (shape, output, trials) of an epoch's outputs by name, each a mean over trials; taken before the
    update of the epoch, as the loss is. start(shape, traced): the numbers before the first epoch, by name, each a
    scalar. update(shape, traced, tally, epoch, measured): those after an epoch, counted from 0, with `measured` the
    measures and "loss" and "accuracy". traced["epochs"] is the number of epochs. Both pure and traced by JAX. A run
    that is no longer finite keeps its numbers. results: what the last ones mean, columns of runs.parquet.
    """

    results: tuple[Result, ...]
    start: "Callable[[Shape, Traced], dict[str, jax.Array]]"
    update: "Callable[[Shape, Traced, Traced, jax.Array, Traced], dict[str, jax.Array]]"
    measures: "Mapping[str, Callable[[Shape, jax.Array, Trials], jax.Array]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Numbers that are computed once of the parameters after the last update.

    of(shape, traced, params): scalars by name, pure and traced by JAX; NaN for what there is not. results: what they
    mean, columns of runs.parquet, null where a run diverged.
    """

    results: tuple[Result, ...]
    of: "Callable[[Shape, Traced, Params], dict[str, jax.Array]]"


class Activation(NamedTuple):
    """When an output switches, and what being late costs, each a number or (kinds of trial,).

    time: of the switch, in steps; NaN or infinite if never. due: when it should. end: of the trial. late: what the loss
    whose gradient is taken grows by for each step that a right output is late.
    """

    time: "jax.Array"
    due: "jax.Array"
    end: "jax.Array"
    late: "jax.Array"


class Levels(NamedTuple):
    """What outputs that know nothing reach: see `ghostsweep.analysis.levels`."""

    constant: float
    blind: float
    wrong: float
    chance: float


class Outcomes(NamedTuple):
    """What may become of a run of a task, where that is not only whether its loss comes down.

    meanings: a sentence for each outcome, by name, from mild to bad. of(columns): the outcome of every run by name, an
    array, from all columns of a table of runs, an array each: numbers with NaN for null, texts with None. Of users'
    tasks it is called when runs are stored, and again by `run` where it says something else by then; tables keep what
    it said.
    """

    meanings: Mapping[str, str]
    of: "Callable[[Mapping[str, np.ndarray]], np.ndarray]"


class Cost(NamedTuple):
    """Measured cost of one run, for chunk widths and estimates; never part of a result."""

    lanes: int
    """Runs per CPU device beyond which a wider batch is not faster."""
    epoch_seconds: float
    """Seconds that one epoch of one run takes on one core."""
    run_bytes: int
    """Working memory of one run in a batch."""
    kernel: bool = False
    """Whether a CPU core trains one run after the other, each from stop to stop in one kernel (`Shape.kernel`); else,
    and on GPUs, all of a batch go through every operation side by side."""


def no_mistakes(fields: Values) -> Mistakes:
    """A part of which every combination of allowed values is allowed."""
    return iter(())


@dataclass(frozen=True)
class Task:
    """What a model is trained to do.

    trials(shape, traced): the same every epoch, or `drawn` from traced["key"]. activation: from the model's readout to
    its output. loss(shape, output, trials), by default the (weighted) mean squared error; accuracy(shape, output,
    trials), by default the share of outputs on the same side of 1/2 as their targets. channels: of inputs and targets.
    learned_loss: default of the field of that name, which every task has. sizes(fields): the numbers and texts that a
    program is compiled for, by default its fields that are not traced. levels(fields): the losses and the accuracy
    that outputs reach which know nothing; by default computed from the trials. check(fields) yields what is wrong with
    a combination of values of the fields `together`. tally: numbers of its own that are kept up through the epochs.
    outcomes: of its own, in phase diagrams instead of the usual ones and in tables beside them. data: arrays, in
    `traced` by name. version: raised by hand with what changes its numbers; "" for the digest of its file and of all
    else that its functions reach. about: what it is, in a line; "" for the first of its file.
    """

    name: str
    fields: tuple[Field, ...]
    trials: Callable[[Shape, Traced], Trials]
    activation: "Callable[[jax.Array], jax.Array] | None" = None
    loss: "Callable[[Shape, jax.Array, Trials], jax.Array] | None" = None
    accuracy: "Callable[[Shape, jax.Array, Trials], jax.Array] | None" = None
    channels: tuple[int, int] = (1, 1)
    drawn: bool = False
    learned_loss: float = 0.1
    sizes: Callable[[Values], dict[str, Any]] | None = None
    levels: Callable[[Values], Levels] | None = None
    together: tuple[str, ...] = ()
    check: Callable[[Values], Mistakes] = no_mistakes
    tally: Tally | None = None
    outcomes: Outcomes | None = None
    data: Data | None = None
    version: str = ""
    about: str = ""


@dataclass(frozen=True)
class Model:
    """What is trained.

    initial(shape, traced, key) draws parameters by name. Then one of:

    - step(shape, params, traced, x, u), the state (units,) after one time step with the inputs u (inputs,), and
      readout(shape, params, traced, x), what is read (outputs,) from a state. The trainer takes the steps of any task
      and fixed points, ghosts and trajectories are found. start(shape, params, traced): the state before the first
      step, where units begin at traced["x_start"] of the trials; by default that in each of `shape.n_units`;
    - outputs(shape, params, traced, trials), readouts shaped like `trials.targets` of any task; preferred to steps;
    - evaluate(shape, params, traced), loss, accuracy and gradient written by hand, for the tasks named in `tasks`;
      preferred to all others;
    - loss(shape, params, traced), loss and accuracy of a model that has no task.

    channels: numbers of inputs and of outputs that it can serve, None for any. noise: names of a task's fields of noise
    that it draws; of others only 0 is allowed. defaults: of fields of the run that are not the model's own (dtype).
    sizes(fields), from the fields `sizes_from`: what its program is compiled for, where that is not the sizes of its
    task and its fields that are not traced. normed: parameters whose gradient counts in the gradient norm, where they
    are there; none: all. bounded: whether loss and gradient are finite whatever the parameters. unroll: epochs per turn
    of the training loop. accuracy_of(loss), where accuracy is a falling function of it. cost(shape) and
    n_parameters(shape), else from the sizes of parameters and trials. before_epoch(params, traced): parameters as an
    epoch begins. evidence: numbers of its own from the parameters at the end. activation(shape, params, traced): when a
    model without outputs becomes active. persistent(shape, params, traced): as `evaluate`, of what a kernel of a GPU
    has (`training.persistent`). check(fields), data and version as of a task.

    Plain numbers of a run's fields, for its analysis: theory(fields), the learning rate at which theory puts the upper
    boundary of what can be learned (NaN: it says nothing); floor(fields), a loss that no parameters can undercut;
    gradient_unit(fields), what a gradient norm is multiplied by before it is held against `vanished_norm`.
    """

    name: str
    fields: tuple[Field, ...]
    initial: "Callable[[Shape, Traced, jax.Array], dict[str, jax.Array]]"
    outputs: "Callable[[Shape, Params, Traced, Trials], jax.Array] | None" = None
    evaluate: Callable[[Shape, Params, Traced], Evaluation] | None = None
    step: "Callable[[Shape, Params, Traced, jax.Array, jax.Array], jax.Array] | None" = None
    readout: "Callable[[Shape, Params, Traced, jax.Array], jax.Array] | None" = None
    start: "Callable[[Shape, Params, Traced], jax.Array] | None" = None
    loss: "Callable[[Shape, Params, Traced], tuple[jax.Array, jax.Array]] | None" = None
    tasks: tuple[str, ...] = ()
    channels: tuple[int | None, int | None] = (None, None)
    noise: tuple[str, ...] = ()
    defaults: Mapping[str, Any] | None = None
    sizes: Callable[[Values], dict[str, Any]] | None = None
    sizes_from: tuple[str, ...] = ()
    normed: tuple[str, ...] = ()
    bounded: bool = False
    unroll: int = 1
    accuracy_of: "Callable[[jax.Array], jax.Array] | None" = None
    cost: Callable[[Shape], Cost] | None = None
    n_parameters: Callable[[Shape], int] | None = None
    before_epoch: "Callable[[Params, Traced], dict[str, jax.Array]] | None" = None
    activation: "Callable[[Shape, Params, Traced], Activation] | None" = None
    theory: Callable[[Values], float] | None = None
    floor: Callable[[Values], float] | None = None
    gradient_unit: Callable[[Values], float] | None = None
    evidence: Evidence | None = None
    persistent: Callable[[Shape, Params, Traced], Evaluation] | None = None
    together: tuple[str, ...] = ()
    check: Callable[[Values], Mistakes] = no_mistakes
    data: Data | None = None
    version: str = ""
    about: str = ""


class Rule(NamedTuple):
    """An update rule, or how a learning rate goes down: its fields and what of them is wrong together."""

    name: str
    fields: tuple[Field, ...]
    check: Callable[[Values], Mistakes] = no_mistakes
    together: tuple[str, ...] = ()
