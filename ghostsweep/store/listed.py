"""The columns that result tables have, beside fields of their runs, and what is said of each."""

from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """One column of a result table."""

    name: str
    kind: str
    unit: str
    meaning: str
    symbol: str = ""
    role: str = "result"
    """What it is of a run: field, result, tally (of its task), evidence (of its model) or outcome (of its task)."""


RESULTS = (
    Column("status", "string", "", "done, or diverged: a loss or gradient was not finite"),
    Column("epochs_done", "int64", "epochs", "epochs with finite numbers; where diverged, the epoch that was not"),
    Column("initial_loss", "float64", "", "loss at epoch 0"),
    Column("final_loss", "float64", "", "loss at the last epoch"),
    Column("mean_loss", "float64", "", "mean loss over all finite epochs; in float32 to about 1e-5"),
    Column("min_loss", "float64", "", "lowest loss of any epoch"),
    Column("min_loss_epoch", "int64", "epochs", "first epoch of the lowest loss"),
    Column("recent_mean_loss", "float64", "", "mean loss over the last 50 epochs"),
    Column("min_recent_mean_loss", "float64", "", "lowest mean over epochs 0 to 49, 50 to 99 ... or the last "
           "50; of noisy losses alone; not in older tables"),
    Column("initial_grad_norm", "float64", "", "gradient norm at epoch 0"),
    Column("final_grad_norm", "float64", "", "gradient norm at the last epoch"),
    Column("mean_grad_norm", "float64", "", "mean gradient norm over all finite epochs"),
    Column("recent_mean_grad_norm", "float64", "", "mean gradient norm over the last 50 epochs"),
    Column("final_accuracy", "float64", "", "share of right steps at the last epoch"),
    Column("max_accuracy", "float64", "", "highest accuracy of any epoch"),
    Column("recent_max_accuracy", "float64", "", "highest accuracy of the last 50 epochs"),
    Column("learned_epoch", "int64", "epochs", "first epoch with loss below learned_loss; null if never"),
    Column("final_weight_norm", "float64", "", "norm of all parameters at the last epoch, before its update"),
    Column("begins_from", "string", "", "of a later phase: digest of the parameters and moments it begins from"),
    Column("ends_at", "string", "", "where a later phase goes on from it: digest of the same at its end"),
)  # fmt: skip
LEVELS = (
    Column("constant_loss", "float64", "", "of a user's task: loss of the best constant output"),
    Column("blind_loss", "float64", "", "of a user's task: loss of the best output that depends on time alone"),
    Column("wrong_loss", "float64", "", "of a user's task: loss of a constant output at either end of its range"),
    Column("chance_accuracy", "float64", "", "of a user's task: accuracy of the best constant output"),
    Column("floor_loss", "float64", "", "of a user's model: loss that no parameters can undercut"),
    Column("gradient_unit", "float64", "", "of a user's model: what a gradient norm is multiplied by to be judged"),
    Column("theory_lr", "float64", "", "of a user's model: rate at which theory puts the upper boundary"),
)
"""Columns of results that tables have where a user's model or task says so."""
CURVES = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch, from 0"),
    Column("loss", "float64", "", "loss; 0 where all is right, and 1 for an output of 0 in delayed activation"),
    Column("grad_norm", "float64", "", "norm of the gradient; in cue tasks, of that of the recurrent weights"),
    Column("accuracy", "float64", "", "share of right steps"),
    Column("weight_norm", "float64", "", "norm of all parameters; for the canonical form the size of r"),
)


REDUCTION = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch before whose update the parameters are"),
    Column("trial", "int64", "", "kind of trial, from 0, of those whose target switches once; of several outputs each"),
    Column("loss", "float64", "", "loss, without the noise of training"),
    Column("grad_norm", "float64", "", "norm of its gradient by all parameters"),
    Column("due", "float64", "steps", "T: when the target switches, from the end of the first input or the beginning"),
    Column("time", "float64", "steps", "t: when the output switches, linear between two steps; null if it does not"),
    Column("s", "float64", "", "(T / t)^2; of the canonical form r / r*"),
    Column("s_grad_norm", "float64", "", "norm of the gradient of s by all parameters"),
    Column("eta", "float64", "", "scale parameter, learning_rate C s_grad_norm^2 / 2 (C: T times the loss of a step's "
           "delay); null but for sgd"),
    Column("eta_critical", "float64", "", "eta above which a step from the optimum can lead out of the trial: 3/4 "
           "where it lasts 2T"),
    Column("lr_critical", "float64", "", "learning rate at which eta is the critical one"),
    Column("canonical_loss", "float64", "", "loss of outputs that are steps at the same times"),
    Column("cosine", "float64", "", "cosine between the gradients of the loss and of the canonical loss"),
    Column("norm_ratio", "float64", "", "norm of the gradient of the loss over that of the canonical loss"),
    Column("s_next", "float64", "", "s after the next step by the canonical map with this eta; null as eta is"),
    Column("s_after", "float64", "", "s as the next step of plain gradient descent leaves it; null where the output "
           "does not switch then"),
    Column("outcome", "string", "", "what became of the run by the end of its training"),
)  # fmt: skip
"""The columns of a reduction to the canonical form, beside fields of its runs."""


RUN_ID = Column("run_id", "string", "", "identity of the run: a hash of its fields", role="identity")
TASK_OUTCOME = "task_outcome"
"""Column of the outcomes that users' tasks declare, as they were judged when runs were stored."""
DECLARED = b"outcomes"
"""Key of what these outcomes mean in the metadata of that column, in JSON: see `declared.Declared`."""
GHOSTS = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "the snapshot: parameters before the update of this epoch"),
    Column("place", "int64", "", "number of the place in its network, fixed points first, then by speed"),
    Column(
        "verdict",
        "string",
        "",
        "ghost, fixed point, passed at once, not passed, or out of reach; decided by the criteria",
    ),
    Column("stability", "string", "", "stable, saddle or unstable: by the eigenvalues that are not 0"),
    Column("position", "list", "", "the state, in the coordinates of the model's step"),
    Column("speed", "float64", "1/tau", "size of the velocity there; at most 1e-9 at a fixed point"),
    Column("reachable", "bool", "", "criterion: states can be at both ends of the bottleneck"),
    Column("passed", "bool", "", "criterion: distance is at most half_width"),
    Column("lasting", "bool", "", "criterion: passage is at least `separation` times next_time"),
    Column("distance", "float64", "", "to the nearest trajectory of the task, of its steps at the same input"),
    Column("trial", "int64", "", "the trial of that trajectory"),
    Column("eigenvalue", "float64", "1/tau", "real part of the eigenvalue of the Jacobian nearest to 0"),
    Column("next_eigenvalue", "float64", "1/tau", "real part of the next one, of the whole network"),
    Column("next_time", "float64", "tau", "one over the size of that one"),
    Column("v", "list", "", "right null vector of the Jacobian, the slow direction; size 1"),
    Column("w", "list", "", "left null vector, with w . v = 1"),
    Column("r", "float64", "1/tau", "w . F, first order"),
    Column("a", "float64", "1/tau", "w . D2F(v, v) / 2, first order"),
    Column("half_width", "float64", "", "sqrt(r / a), along v"),
    Column("passage", "float64", "tau", "pi / sqrt(r a), the time of a whole passage, first order"),
    Column("r_bent", "float64", "1/tau", "r of second order, with the slow manifold bent and shifted"),
    Column("a_bent", "float64", "1/tau", "a of second order"),
    Column("cubic", "float64", "1/tau", "coefficient of s^3 in the reduced flow"),
    Column("bend", "float64", "", "how far the slow manifold bends off v over a half-width, in half-widths"),
    Column("passage_bent", "float64", "tau", "time of a whole passage, second order"),
    Column("passage_steps", "float64", "steps", "steps of the network of a whole passage, second order"),
    Column(
        "discrete", "float64", "", "passage_steps over those of the flow, less 1: what steps of finite length change"
    ),
    Column("enters", "float64", "", "where the trajectory enters the bottleneck, in half-widths from the place"),
    Column("leaves", "float64", "", "where it leaves"),
    Column("crossing", "float64", "steps", "steps of the trajectory from there to there"),
    Column("crossing_canonical", "float64", "steps", "the same by the arctangent of r and a"),
    Column("crossing_bent", "float64", "steps", "the same in second order, of steps of finite length"),
    Column(
        "to_switch", "float64", "steps", "steps from where it enters to where its output changes, at the same input"
    ),
    Column("to_switch_canonical", "float64", "steps", "the same by the arctangent of r and a"),
)
"""Columns of `ghostsweep.ghosts`, a row for each slow place of a network."""
TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list": pa.list_(pa.float64()),
}
RESULT_NAMES = {column.name for column in (*RESULTS, *LEVELS)}
