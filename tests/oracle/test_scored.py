"""Oracle: the steps that dcdt_onehot scores, in plain NumPy, by hand from simulated outputs, and in what is trained."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import Run, analysis, train_one
from ghostsweep.errors import UsageError
from ghostsweep.spec import shape_of
from ghostsweep.tasks import onehot

NETWORK: dict[str, Any] = {
    "model": "two_bias", "task": "dcdt_onehot", "n_units": 12, "input_ms": 30, "reaction_ms": 50, "momentum": 0.9,
    "learning_rate": 0.3, "epochs": 60, "dtype": "float64",
}  # fmt: skip
EDGES: dict[str, dict[str, float]] = {
    "usual": {"delay_ms": 40},
    "then silence": {"delay_ms": 40, "post_ms": 30},
    "no delay: it begins in the cue": {"delay_ms": 0},
    "and that is one step": {"delay_ms": 0, "input_ms": 5, "reaction_ms": 10},
}


def by_hand(fields: dict[str, Any], output: np.ndarray, shifted: bool) -> tuple[float, float]:
    """Accuracy and reliability in loops over steps and trials; where no answer is due the first channel is right."""
    steps = {name: round(fields.get(f"{name}_ms", 0) / 5) for name in ("input", "delay", "reaction", "post")}
    first = steps["input"] + steps["delay"]
    right, shares = [], []
    for step in range(first - shifted, first + steps["reaction"] - shifted):
        for trial in range(output.shape[1]):
            cue = 1 if trial < output.shape[1] // 2 else 0
            wanted = cue if step >= first else 0
            one, other = output[step, trial, wanted], output[step, trial, 1 - wanted]
            right.append(one > other or (one == other and wanted == 0))
            shares.append(one / (one + other))
    return float(np.mean(right)), float(np.mean(shares))


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("scored", ["reaction", "shifted"])
def test_both_windows_are_those_of_plain_loops(edge: str, scored: str) -> None:
    fields = NETWORK | EDGES[edge] | {"scored": scored, "trials_per_class": 3, "noise_sigma": 0.1, "dtype": "float32"}
    shape = shape_of(Run(**fields).fields)
    trials = onehot.trials(shape, {})
    output = np.random.default_rng(3).random((shape.n_steps, 6, 2)).astype(np.float32)
    output[:, 2] = 0.25  # where both are alike the first counts as the larger
    accuracy, reliability = by_hand(fields, output.astype(float), scored == "shifted")
    assert float(onehot.accuracy(shape, jnp.asarray(output), trials)) == pytest.approx(accuracy, abs=1e-6)
    assert float(onehot.reliability(shape, jnp.asarray(output), trials)) == pytest.approx(reliability, abs=1e-6)
    other = by_hand(fields, output.astype(float), scored != "shifted")
    assert abs(other[1] - reliability) > 1e-3


@pytest.mark.parametrize("edge", EDGES)
def test_a_run_scores_its_outputs_so_and_learns_the_same(edge: str) -> None:
    plain, shifted = (Run(**NETWORK | EDGES[edge], scored=scored) for scored in ("reaction", "shifted"))
    found = [train_one(run) for run in (plain, shifted)]
    np.testing.assert_array_equal(found[0].loss, found[1].loss)
    for name, value in found[0].params.items():
        np.testing.assert_array_equal(value, found[1].params[name])
    assert not np.array_equal(found[0].tally["final_reliability"], found[1].tally["final_reliability"])
    for history, is_shifted in zip(found, (False, True), strict=True):
        done = history.simulate()
        accuracy, reliability = by_hand(dict(history.run.fields), done.outputs, is_shifted)
        assert done.accuracy == pytest.approx(accuracy, abs=1e-12)
        after = train_one(Run(**{**history.run.fields, "epochs": 61}))  # its last epoch is scored before its update
        assert after.accuracy[-1] == pytest.approx(accuracy, abs=1e-12)
        assert after.tally["final_reliability"][-1] == pytest.approx(reliability, rel=1e-9)
        assert after.tally["late_accuracy"][-1] == pytest.approx(after.accuracy[-6:].mean(), rel=1e-9)


def test_the_default_is_the_run_that_it_was() -> None:
    run = Run(**NETWORK, delay_ms=40)
    assert run.run_id == Run(**NETWORK, delay_ms=40, scored="reaction").run_id
    assert run.run_id != Run(**NETWORK, delay_ms=40, scored="shifted").run_id
    assert "early_steps" not in dict(shape_of(run.fields).sizes)
    stored = analysis.levels(pd.DataFrame([{k: v for k, v in run.fields.items() if k != "scored"}]))
    assert stored.chance.item() == 0.5


@pytest.mark.parametrize("scored", ["reaction", "shifted"])
def test_chance_is_the_accuracy_of_the_best_constant_output(scored: str) -> None:
    run = Run(**NETWORK, delay_ms=40, scored=scored)
    shape = shape_of(run.fields)
    trials = onehot.trials(shape, {})
    constant = [np.broadcast_to(each, trials.targets.shape) for each in ([0.6, 0.4], [0.4, 0.6], [0.5, 0.5])]
    best = max(float(onehot.accuracy(shape, jnp.asarray(each), trials)) for each in constant)
    assert analysis.levels(pd.DataFrame([run.fields])).chance.item() == pytest.approx(best)


def test_a_shifted_window_wants_a_step_with_an_answer() -> None:
    fields = NETWORK | {"delay_ms": 0, "reaction_ms": 5}
    assert Run(**fields).scored == "reaction"
    with pytest.raises(
        UsageError, match=r"reaction_ms: found 5\S*; allowed: at least 10, two steps, where scored is 'shifted'"
    ):
        Run(**fields, scored="shifted")
    with pytest.raises(UsageError, match=r"scored: found 'early'; allowed: one of 'reaction', 'shifted'"):
        Run(**fields, scored="early")
    with pytest.raises(UsageError, match="scored"):  # the control scores its last step alone
        Run(model="two_bias", task="onehot_cue", reaction_ms=50, learning_rate=0.1, epochs=2, scored="shifted")


def test_a_sweep_has_both_windows_side_by_side(tmp_path: Any) -> None:
    axes = {"scored": ["reaction", "shifted"], "learning_rate": [0.3, 0.1], "seed": [0, 1]}
    fields = {k: v for k, v in NETWORK.items() if k != "learning_rate"}
    runs = ghostsweep.run(ghostsweep.sweep("both", **fields, delay_ms=20, axes=axes), out=tmp_path, progress=False).runs
    plain, shifted = (part.set_index(["learning_rate", "seed"]) for _, part in runs.groupby("scored"))
    np.testing.assert_array_equal(plain["final_loss"], shifted["final_loss"])
    assert (plain["final_reliability"] != shifted["final_reliability"]).all()
    assert set(analysis.shares(analysis.own_outcomes(runs), ["scored"])["n_seeds"]) == {4}
