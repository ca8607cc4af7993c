"""Property: which fields networks and tasks have, what they compile to, and which trials they mean."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from ghostsweep import Run, UsageError, plan
from ghostsweep.declare import Shape, Trials
from ghostsweep.declare.field import steps
from ghostsweep.spec import loads, shape_of
from ghostsweep.tasks.cues import dcdt_accuracy, dmts_accuracy
from ghostsweep.tasks.cues import trials as cue_trials

CUES: dict[str, Any] = {"input_ms": 10.0, "delay_ms": 15.0, "reaction_ms": 10.0}
BASE: dict[str, Any] = {"learning_rate": 0.1, "epochs": 3}


def shape(**fields: Any) -> Shape:
    return shape_of(Run(**BASE, **fields).fields)


def test_ids_of_runs_without_the_new_fields_have_not_changed() -> None:
    canonical = Run(model="canonical", timescale=100.0, learning_rate=1e-10, epochs=3001)
    rank_one = Run(model="rank_one", timescale=20, learning_rate=0.02, epochs=6000, seed=40)
    assert (canonical.run_id, rank_one.run_id) == ("bad6b03c61c5b010", "4599425cc5514594")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"model": "rank_one", "task": "dcdt"}, "task: found 'dcdt'; allowed: 'delayed_activation' for model"),
        ({"model": "canonical", "task": "dmts"}, "for model 'canonical'; dmts needs one of low_rank, full_rank"),
        ({"model": "full_rank", "task": "dcdt", "timescale": 20, **CUES}, "task 'dcdt' has no such"),
        ({"model": "full_rank", "timescale": 20, "delay_ms": 5.0}, "task 'delayed_activation' has no such"),
        ({"model": "full_rank", "timescale": 20, "rank": 2}, "rank: model 'full_rank' has"),
        ({"model": "low_rank", "timescale": 20}, "run.rank: missing; a whole number >= 1"),
        ({"model": "low_rank", "timescale": 20, "n_units": 5, "rank": 6}, "rank: found 6; allowed: at most n_units"),
        ({"model": "full_rank", "task": "dcdt", "delay_ms": 5.0, "input_ms": 5.0}, "run.reaction_ms: missing"),
        ({"model": "full_rank", "task": "dcdt", **CUES, "input_ms": 4.0}, "allowed: at least dt_ms = 5, one step"),
        ({"model": "full_rank", "task": "dcdt", **CUES, "delay_ms": 24.9},
         "run.delay_ms: found 24.9; allowed: a whole number of steps of dt_ms = 5; nearest: 20 or 25"),
        ({"model": "full_rank", "task": "dcdt", **CUES, "delay_ms": 1.0}, "dt_ms = 5; nearest: 0 or 5"),
        ({"model": "full_rank", "task": "dmts", **CUES, "reaction_ms": 7.5}, "run.reaction_ms: found 7.5; allowed: a"),
        ({"model": "low_rank", "rank": 2, "task": "dmts", **CUES, "input_ms": 6, "dt_ms": 5},
         "run.input_ms: found 6; allowed: a whole number of steps of dt_ms = 5; nearest: 5 or 10"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line_that_says_what_is_allowed(fields: dict[str, Any], line: str) -> None:
    text = "[run]\n" + "\n".join(f"{key} = {value!r}" for key, value in {**BASE, **fields}.items())
    with pytest.raises(UsageError) as error:
        loads(text, name="x")
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_run_that_lacks_a_duration_says_which() -> None:
    with pytest.raises(UsageError, match="input_ms: missing; .*\nreaction_ms: missing"):
        Run(model="full_rank", task="dcdt", delay_ms=10.0, **BASE)


@pytest.mark.parametrize(("duration", "dt", "n"), [(0.3, 0.1, 3), (30, 5, 6), (34.9, 5, 6), (0.7, 0.1, 7), (0, 5, 0)])
def test_steps_of_a_duration(duration: float, dt: float, n: int) -> None:
    assert steps(duration, dt) == n


@pytest.mark.parametrize(
    ("delay", "dt"), [(0.3, 0.1), (0.7, 0.1), (0.0, 5.0), (9e5, 0.1), (2.1, 0.7), (100 / 3, 5 / 3)]
)
def test_a_duration_of_whole_steps_is_one_whatever_its_last_bit(delay: float, dt: float) -> None:
    cues: dict[str, Any] = {"input_ms": dt, "delay_ms": delay, "reaction_ms": 2 * dt}
    run = Run(model="full_rank", task="dcdt", dt_ms=dt, tau_ms=10 * dt, **cues, **BASE)
    assert steps(run.delay_ms or 0.0, dt) == round(delay / dt)
    with pytest.raises(UsageError, match="a whole number of steps of dt_ms"):
        Run(model="full_rank", task="dcdt", dt_ms=dt, tau_ms=10 * dt, **cues | {"delay_ms": delay + 0.4 * dt}, **BASE)


@pytest.mark.parametrize("where", ["quick", "phases"])
def test_a_step_that_cuts_inherited_durations_is_refused_where_it_is_given(where: str) -> None:
    fields = {"model": "full_rank", "task": "dcdt", **CUES, **BASE}
    text = "[run]\n" + "\n".join(f"{key} = {value!r}" for key, value in fields.items())
    table = "[quick]\ndt_ms = 4.0" if where == "quick" else "[[phases]]\nepochs = 3\ndt_ms = 4.0"
    with pytest.raises(UsageError, match=rf"{where}.*delay_ms: found 15.0; allowed: a whole number of steps of dt_ms"):
        loads(f"{text}\n{table}", name="x", quick=where == "quick")


def test_every_value_of_long_axes_is_checked() -> None:
    lines = ["[run]", "model = 'full_rank'", "task = 'dcdt'", "input_ms = 10", "reaction_ms = 10", "epochs = 3"]
    lines += [
        "learning_rate = 0.1",
        "[axes]",
        "n_units = { range = [1, 41] }",
        f"delay_ms = {[5.0 * i for i in range(400)]}",
    ]
    assert len(loads("\n".join(lines), name="x").grids[0]) == 16_000
    with pytest.raises(UsageError, match="axes.delay_ms: found 1995.5; allowed: a whole number of steps"):
        loads("\n".join(lines).replace("1995.0", "1995.5"), name="x")


def test_noise_splits_a_grid_into_runs_with_and_without() -> None:
    axes = "[axes]\ntask = ['dcdt', 'dmts']\nnoise_sigma = [0.0, 0.1, 0.2]\nseed = { range = 2 }"
    text = "[run]\nmodel = 'full_rank'\nlearning_rate = 0.1\nepochs = 3\n" + "".join(
        f"{k} = {v}\n" for k, v in CUES.items()
    )
    planned = plan.Plan.of(loads(text + axes, name="x"))
    found = {(c.shape.task, "noise_sigma" in c.shape.random): len(c.runs) for c in plan.chunks(planned, 1, 1e9)}
    assert found == {("dcdt", False): 2, ("dcdt", True): 4, ("dmts", False): 2, ("dmts", True): 4}
    row = planned.runs.iloc[-1]
    again = Run(model="full_rank", task="dmts", noise_sigma=0.2, seed=1, **BASE, **CUES)
    assert row["run_id"] == again.run_id
    assert row["learned_loss"] == again.learned_loss == 0.013


def test_trials_of_delayed_cue_discrimination() -> None:
    trials = cue_trials(shape(model="full_rank", task="dcdt", **CUES), {})
    np.testing.assert_array_equal(trials.inputs.T, [[1, 1, 0, 0, 0, 0, 0], [-1, -1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(trials.targets.T, [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, -1, -1]])


def test_trials_of_delayed_match_to_sample() -> None:
    trials = cue_trials(shape(model="full_rank", task="dmts", trials_per_class=2, r0_sigma=0.1, **CUES), {})
    pairs = np.repeat([[1, 1], [-1, -1], [-1, 1], [1, -1]], 2, axis=0)
    first, second = trials.inputs[:2], trials.inputs[5:7]
    np.testing.assert_array_equal(first, np.tile(pairs[:, 0], (2, 1)))
    np.testing.assert_array_equal(second, np.tile(pairs[:, 1], (2, 1)))
    assert np.abs(trials.inputs).sum() == np.abs(first).sum() + np.abs(second).sum()
    np.testing.assert_array_equal(trials.targets[:7], 0)
    np.testing.assert_array_equal(trials.targets[7:], np.tile([1, 1, 1, 1, 0, 0, 0, 0], (2, 1)))


def test_accuracy_of_the_cue_tasks() -> None:
    answers = Trials(jnp.zeros(4), jnp.array([0.0, 1, -1, 0])), Trials(jnp.zeros(4), jnp.array([0.0, 1, 1, 0]))
    of_dcdt, of_dmts = (shape(model="full_rank", task=task, **CUES) for task in ("dcdt", "dmts"))
    dcdt = dcdt_accuracy(of_dcdt, jnp.array([0.32, 0.34, -0.34, 0.9]), answers[0])
    dmts = dmts_accuracy(of_dmts, jnp.array([0.49, 0.5, 0.2, 0.9]), answers[1])
    assert (float(dcdt), float(dmts)) == (0.75, 0.5)
