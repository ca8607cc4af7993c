"""The losses and accuracies that runs are judged against, computed from their fields: floor, chance, wrong."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.tasks import TASKS


class Levels(NamedTuple):
    """What outputs that know nothing reach in each run's task, arrays of a value per run.

    constant: loss of the best constant output. blind: that of the best output that depends on time alone where there
    are cues, else of the best constant one. wrong: loss of an output that is sure of itself and knows nothing. chance:
    accuracy of the best constant output. floor: loss that no network can undercut.
    """

    constant: np.ndarray
    blind: np.ndarray
    wrong: np.ndarray
    chance: np.ndarray
    floor: np.ndarray


def levels(runs: pd.DataFrame) -> Levels:
    """Return the levels of every run.

    With q the share of steps in which an answer is due (half of them in delayed activation, whose loss is twice the
    mean over steps):

    | task | constant | blind | wrong | chance |
    |---|---|---|---|---|
    | delayed activation | output 1/2: 1/2 | 1/2 | output 0 or 1: 1 | 1/2 |
    | dcdt | output 0: q | q | the same answer to both cues: 2q | 1 - q |
    | dmts | output q/2: q/2 (1 - q/2) | 0, then 1/2: q/4 | output 0: q/2 | 1 - q/2 |

    The floor is 0 but where `readout_l1` S is given and what is read are rates, which lie in -1..1 (not so for networks
    of rank K on cue tasks, of which the unbounded n . r are read): the argument c (w . r + b) of the output then lies
    within s = c S of c b. dcdt: q (1 - tanh(s))^2, at b = 0. The others, with a share p of steps of target 1: the
    least over b of p sigmoid(-b - s)^2 + (1 - p) sigmoid(b - s)^2, times 2 in delayed activation.
    """
    own = {name: _field(runs, column, np.nan) for name, column in _COLUMNS.items()}
    for name, task in TASKS.items():
        rows = np.flatnonzero(runs["task"] == name) if "task" in runs else np.zeros(0, int)
        if len(rows) and task.levels is not None:
            fields = runs.iloc[rows][[field.name for field in task.fields if field.name in runs]]
            alike = (
                fields.groupby(list(fields), dropna=False).indices.values()
                if len(fields.columns)
                else [np.arange(len(rows))]
            )
            for places in alike:
                values = fields.iloc[places[0]].to_dict()
                found = task.levels({str(name): value for name, value in values.items()})
                for level, value in found._asdict().items():
                    own[level][rows[places]] = value
    first = _field(runs, "initial_loss", np.nan)  # of a model without a task: where it begins knows nothing
    for level, otherwise in (("constant", first), ("blind", first), ("wrong", np.inf * first), ("chance", 0 * first)):
        own[level] = np.where(np.isnan(own[level]), otherwise, own[level])
    return Levels(**own, floor=_floor(runs))


_COLUMNS = {
    "constant": "constant_loss",
    "blind": "blind_loss",
    "wrong": "wrong_loss",
    "chance": "chance_accuracy",
}
"""Columns in which tables have the levels of users' tasks."""


def _field(runs: pd.DataFrame, name: str, absent: float) -> np.ndarray:
    """A field as float64, `absent` where it is null or the table lacks it."""
    if name not in runs.columns:
        return np.full(len(runs), absent)
    return runs[name].to_numpy(dtype=np.float64, na_value=absent)


def _floor(runs: pd.DataFrame) -> np.ndarray:
    """The floor of `levels`."""
    scale = _field(runs, "readout_l1", np.nan)
    if np.isnan(scale).all():
        return np.zeros(len(runs))
    model, task = runs["model"].to_numpy(dtype=object), runs["task"].to_numpy(dtype=object)
    dcdt, dmts = task == "dcdt", task == "dmts"
    cue, delay, answer = (_field(runs, name, 0.0) for name in ("input_ms", "delay_ms", "reaction_ms"))
    steps = cue * np.where(dmts, 2, 1) + delay + answer
    due = np.divide(answer, steps, out=np.full(len(runs), 0.5), where=steps > 0)
    ones = np.where(dmts, due / 2, 0.5)  # share of steps whose target is 1, where the output is a sigmoid
    reach = np.abs(_field(runs, "confidence", np.nan) * scale)
    bounded = np.isfinite(reach) & ((model == "full_rank") | (task == "delayed_activation"))
    floor = np.zeros(len(runs))
    tanh = dcdt & bounded
    floor[tanh] = due[tanh] * (1 - np.tanh(reach[tanh])) ** 2
    bias = np.linspace(-20, 20, 4001)  # the least is flat, so that this is exact to 1e-5
    for i in np.flatnonzero(~dcdt & bounded):
        missed, raised = _sigmoid(-bias - reach[i]), _sigmoid(bias - reach[i])
        loss = (ones[i] * missed**2 + (1 - ones[i]) * raised**2).min()
        floor[i] = loss if task[i] == "dmts" else 2 * loss
    return floor


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray((1 + np.tanh(x / 2)) / 2)
