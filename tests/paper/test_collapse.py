"""Where a run collapses, and the firing rates and output of a stored cue network, against training itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import UsageError
from ghostsweep.dynamics import cue_inputs
from ghostsweep.paper.collapse import around_collapse, cue_responses
from ghostsweep.spec import loads, shape_of
from ghostsweep.tasks import TASKS
from ghostsweep.tasks.cues import trials as cue_trials

TEXT = """
[run]
model = "full_rank"
task = "{task}"
n_units = 12
input_ms = 15.0
delay_ms = 30.0
reaction_ms = 20.0
tau_ms = 12.5
confidence = 1.7
learning_rate = 0.5
epochs = 40
[record]
epochs = [0, 11, 39]
[record.snapshots]
epochs = [0, 11, 39]
"""
RUN = {"run_id": "ab", "mean_grad_norm": 0.1, "initial_grad_norm": 2.0}


@pytest.mark.parametrize("task", ["dcdt", "dmts"])
def test_responses_have_the_loss_and_accuracy_of_training(task: str, tmp_path: Path) -> None:
    found = ghostsweep.run(loads(TEXT.format(task=task), name="x"), out=tmp_path)
    run = found.runs.iloc[0].to_dict()
    snapshots, shape = found.snapshots(run["run_id"]), shape_of(run)
    trials = cue_trials(shape, {})
    np.testing.assert_array_equal(cue_inputs(run), trials.inputs)
    for index, row in enumerate(found.curves.itertuples()):
        assert row.epoch == snapshots["epochs"][index]
        params = {name: values[index] for name, values in snapshots.items() if name != "epochs"}
        rates, output = cue_responses(params, run)
        assert rates.shape == (*trials.inputs.shape, 12)
        assert not rates[0].any() and rates[1].any()  # as the output is read: before each step
        assert ((output - trials.targets) ** 2).mean() == pytest.approx(row.loss, rel=1e-5)
        assert float(TASKS[task].accuracy(shape, output.astype(np.float32), trials)) == pytest.approx(row.accuracy)


def test_responses_need_a_full_rank_cue_network() -> None:
    with pytest.raises(UsageError, match="params: found b, m, n; allowed: a full_rank network of a cue task"):
        cue_responses({"m": np.ones(3), "n": np.ones(3), "b": np.ones(3)}, {})
    with pytest.raises(UsageError, match="task: found 'delayed_activation'; allowed: 'dcdt', 'dmts'"):
        cue_inputs({"task": "delayed_activation"})


def curve(gradients: dict[int, float]) -> pd.DataFrame:
    return pd.DataFrame({"epoch": list(gradients), "grad_norm": list(gradients.values())})


def test_the_collapse_lies_where_the_gradient_vanishes_for_good() -> None:
    # The peak is 2, so a gradient of 0.002 and less has vanished: first at epoch 10, from epoch 41 on for good.
    bursts = curve({0: 2.0, 10: 1e-4, 20: 3e-3, 40: 1.0, 41: 2e-3, 60: 0.0})
    assert around_collapse(RUN, bursts, [0, 30, 40, 41, 60]) == (40, 41)
    assert around_collapse(RUN, bursts, [50, 10, 30, 60]) == (30, 50)
    assert around_collapse(RUN, bursts.iloc[::-1], [0, 60]) == (0, 60)
    gap = curve({0: 2.0, 10: 1.0, 20: 0.0})
    assert around_collapse(RUN, gap, [5, 15, 25]) == (5, 25)  # whether epoch 15 is before or after is not known
    tiny = RUN | {"mean_grad_norm": 1e-5, "initial_grad_norm": 1e-5}  # the absolute limit of 1e-6 holds
    assert around_collapse(tiny, curve({0: 1e-5, 1: 9e-7}), [0, 1]) == (0, 1)


@pytest.mark.parametrize(
    ("gradients", "epochs", "message"),
    [
        ({0: 2.0, 9: 1.0}, [0, 9], "run ab: no collapse found, its gradient is above 0.002 at the last epoch, 9"),
        ({0: 1e-3, 9: 0.0}, [0, 9], "run ab: no collapse found, its gradient is above 0.002 at no recorded epoch"),
        ({0: 2.0, 5: 1.0, 9: 0.0}, [6, 9], "collapses between epochs 5 and 9; found snapshots from epoch 6 to 9"),
        ({0: 2.0, 5: 1.0, 9: 0.0}, [0, 8], "collapses between epochs 5 and 9; found snapshots from epoch 0 to 8"),
    ],
)
def test_no_collapse_between_two_snapshots_is_an_error(
    gradients: dict[int, float], epochs: list[int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        around_collapse(RUN, curve(gradients), epochs)
