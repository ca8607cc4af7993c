"""What runs are judged against, as their models and tasks declare it: floor, chance, wrong, and a theory's rate."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.store import declared


class Levels(NamedTuple):
    """What outputs that know nothing reach in each run's task, arrays of a value per run.

    constant: loss of the best constant output. blind: that of the best output that depends on time alone where there
    are cues, else of the best constant one. wrong: loss of an output that is sure of itself and knows nothing. chance:
    accuracy of the best constant output. floor: loss that no parameters can undercut. unit: what a gradient norm is
    multiplied by. theory: the learning rate at which theory puts the upper boundary; NaN where there is none.
    """

    constant: np.ndarray
    blind: np.ndarray
    wrong: np.ndarray
    chance: np.ndarray
    floor: np.ndarray
    unit: np.ndarray
    theory: np.ndarray


def levels(runs: pd.DataFrame) -> Levels:
    """Return the levels of every run, of users' models and tasks as their tables have them.

    With q the share of steps in which an answer is due (half of them in delayed activation, whose loss is twice the
    mean over steps):

    | task | constant | blind | wrong | chance |
    |---|---|---|---|---|
    | delayed activation | output 1/2: 1/2 | 1/2 | output 0 or 1: 1 | 1/2 |
    | dcdt | output 0: q | q | the same answer to both cues: 2q | 1 - q |
    | dmts | output q/2: q/2 (1 - q/2) | 0, then 1/2: q/4 | output 0: q/2 | 1 - q/2 |

    The floor is 0 but for networks with `readout_l1` (`ghostsweep.models.readout.floor`).
    """
    told = declared.numbers(runs)
    found = {name: np.where(np.isnan(values), _field(runs, name), values) for name, values in told.items()}
    # Of a model without a task, where it begins knows nothing; a run is then as right as its loss is low.
    first = _field(runs, "initial_loss")
    for name, otherwise in (
        ("constant_loss", first),
        ("blind_loss", first),
        ("wrong_loss", np.full_like(first, np.inf)),
        ("chance_accuracy", 0 * first),
        ("floor_loss", np.zeros(len(runs))),
        ("gradient_unit", np.ones(len(runs))),
    ):
        found[name] = np.where(np.isnan(found[name]), otherwise, found[name])
    return Levels(*found.values())


def _field(runs: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64, NaN where it is null or the table lacks it."""
    if name not in runs.columns:
        return np.full(len(runs), np.nan)
    return runs[name].to_numpy(dtype=np.float64, na_value=np.nan)
