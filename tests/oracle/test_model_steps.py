"""The steps that built-in models declare, against the programs that train them."""

from typing import Any

import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run
from ghostsweep.models import MODELS, model_of, steps, task_of
from ghostsweep.spec import shape_of
from ghostsweep.training import evaluation

ACTIVATION: dict[str, Any] = {"task": "delayed_activation", "timescale": 6}
CUES: dict[str, Any] = {"task": "dmts", "input_ms": 10.0, "delay_ms": 20.0, "reaction_ms": 10.0}
RUNS = {
    "rank_one": {"model": "rank_one", **ACTIVATION},
    "rank_one, c trained": {"model": "rank_one", "train_confidence": True, **ACTIVATION},
    "low_rank": {"model": "low_rank", "rank": 3, "confidence": 2.0, **ACTIVATION},
    "full_rank": {"model": "full_rank", **ACTIVATION},
    "low_rank, cues": {"model": "low_rank", "rank": 2, **CUES},
    "full_rank, cues": {"model": "full_rank", "confidence": 3.0, **CUES},
}


def test_all_built_in_models_but_the_closed_form_have_steps() -> None:
    assert {name for name, model in MODELS.items() if model.step is None} == {"canonical"}


@pytest.mark.parametrize("name", RUNS)
def test_steps_give_the_outputs_that_are_trained(name: str) -> None:
    import jax
    import jax.numpy as jnp

    run = Run(**RUNS[name], n_units=7, learning_rate=0.1, epochs=3, dtype="float64")
    params = ghostsweep.train_one(run).params
    shape = shape_of(run.fields)
    model, task = model_of(shape), task_of(shape)
    assert model.outputs is not None and task is not None
    with jax.enable_x64(True):
        given = {key: jnp.asarray(value) for key, value in params.items()}
        traced = {key: jnp.asarray(float(run.fields[key])) for key in shape.traced}
        trials = evaluation.typed(shape, task.trials(shape, traced))
        fast = np.array(model.outputs(shape, given, traced, trials))
        slow = np.array(steps.outputs(model, shape, given, traced, trials))
    np.testing.assert_allclose(slow, fast, rtol=1e-12, atol=1e-13)
    assert np.ptp(fast) > 0


def test_steps_of_the_canonical_form_give_its_loss() -> None:
    """The loss by hand, of outputs read after each Euler step."""
    run = Run(model="canonical_simulated", timescale=5, dt_steps=0.1, threshold=2.0, learning_rate=1e-3, epochs=1)
    r = np.float64(1.3 * np.pi**2 / 100)
    loss = ghostsweep.train_one(run, {"r": r}).loss[0]
    simulated = ghostsweep.simulate(run, {"r": r})
    assert simulated.loss == pytest.approx(loss, rel=1e-12)
    flow = ghostsweep.dynamics.step_flow(run, {"r": r})
    x = ghostsweep.dynamics.trajectories(flow, np.zeros((100, 1)))[1:, 0]
    np.testing.assert_array_equal(simulated.states[1:, 0], x)
    output = 1 / (1 + np.exp(-flow.readout(x)[:, 0]))
    target = np.repeat([0.0, 1.0], 50)
    assert 0.1 / 5 * ((output - target) ** 2).sum() == pytest.approx(loss, rel=1e-12)
    with pytest.raises(ghostsweep.UsageError, match="task"):
        Run(model="canonical_simulated", learning_rate=1e-3, epochs=1, **CUES)
