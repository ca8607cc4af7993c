"""Flows of models that declare a step: against the closed forms of the same network, and of an own file."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run, UsageError, dynamics
from ghostsweep.declare import Shape
from ghostsweep.models import readout
from ghostsweep.spec import load

CUES: dict[str, Any] = {"task": "dcdt", "input_ms": 10.0, "delay_ms": 20.0, "reaction_ms": 10.0}


def step(shape: Shape, p: Any, traced: Any, x: Any, u: Any) -> Any:
    """The full-rank network's own, as anyone would write it."""
    import jax.numpy as jnp

    leak = traced["dt_ms"] / traced["tau_ms"]
    return (1 - leak) * x + leak * jnp.tanh(x @ p["w_rec"] + u[0] * p["w_in"] + p["b_in"])


def read(shape: Shape, p: Any, traced: Any, x: Any) -> Any:
    """The full-rank network's readout."""
    return traced["confidence"] * (x @ p["w_out"] + p["b_out"][0])[None]


PLAIN = dataclasses.replace(
    readout.FULL_RANK, name="plain_full_rank", outputs=None, step=step, readout=read, cost=None, n_parameters=None
)
FIELDS: dict[str, Any] = {"n_units": 5, "learning_rate": 0.05, "epochs": 30, "dtype": "float64", **CUES}
RUN = Run(model=PLAIN, **FIELDS)
LEAK = 0.5


@pytest.fixture(scope="module")
def params() -> dict[str, np.ndarray]:
    return ghostsweep.train_one(Run(model="full_rank", **FIELDS)).params


def test_the_engine_takes_the_steps_that_a_model_declares(params: dict[str, np.ndarray]) -> None:
    by_steps = ghostsweep.train_one(RUN)
    for name, value in params.items():
        np.testing.assert_allclose(by_steps.params[name], value, rtol=1e-11, atol=1e-13)


def test_the_flow_of_steps_is_the_closed_form_times_the_leak(params: dict[str, np.ndarray]) -> None:
    closed, steps = dynamics.flow_of(params), dynamics.step_flow(RUN, params)
    y = np.random.default_rng(0).normal(size=(3, 4, 5)) / 2
    for u in (0.0, 0.7):
        np.testing.assert_allclose(steps.velocity(y, u), LEAK * closed.velocity(y, u), atol=1e-14)
        np.testing.assert_allclose(steps.jacobian(y, u), LEAK * closed.jacobian(y, u), atol=1e-14)


def test_slow_points_and_trajectories_are_those_of_the_closed_form(params: dict[str, np.ndarray]) -> None:
    flow = dynamics.step_flow(RUN, params)
    inputs = dynamics.cue_inputs(RUN.fields)
    paths = dynamics.trajectories(flow, inputs)
    np.testing.assert_allclose(paths, dynamics.trajectories(params, inputs, leak=LEAK), atol=1e-13)
    mine, theirs = dynamics.slow_points(flow, paths), dynamics.slow_points(params, paths)
    np.testing.assert_allclose(mine.points, theirs.points, atol=1e-7)
    np.testing.assert_allclose(mine.eigenvalues, LEAK * theirs.eigenvalues, atol=1e-7)
    slow = np.flatnonzero(theirs.table["kind"] == "slow point")
    assert len(dynamics.ghosts(flow, mine.points[slow], paths)) == len(slow)


def test_fixed_points_of_an_own_file() -> None:
    grid = load("sweeps/gru_lr_delay.toml", quick=True).grids[0]
    run = Run(
        **dict(grid.shared) | {name: values[0] for name, values in grid.axes.items()} | {"n_units": 2, "epochs": 5}
    )
    params = ghostsweep.train_one(run).params
    flow = dynamics.step_flow(run, params)
    found = dynamics.slow_points(flow, np.random.default_rng(1).uniform(-1, 1, (20, 2)))
    fixed = found.points[found.table["kind"] == "fixed point"]
    assert len(fixed)
    np.testing.assert_allclose(flow.velocity(fixed), 0, atol=1e-9)
    table = dynamics.flow_map(flow, span=(-1.0, 1.0), n_points=5)
    np.testing.assert_allclose(table["output"], flow.readout(table[["kappa_1", "kappa_2"]].to_numpy())[:, 0])


def test_what_is_no_flow_is_refused(params: dict[str, np.ndarray]) -> None:
    flow = dynamics.step_flow(RUN, params)
    with pytest.raises(UsageError, match="found no step"):
        dynamics.step_flow(Run(model="canonical", timescale=4, learning_rate=0.1, epochs=9), {"r": np.ones(())})
    with pytest.raises(UsageError, match=r"params: found \{'w_rec'"):
        dynamics.step_flow(RUN, {"w_rec": params["w_rec"]})
    with pytest.raises(UsageError, match="leak: found 0.5; allowed: none"):
        dynamics.trajectories(flow, np.zeros((3, 1)), leak=LEAK)


def test_noise_that_a_model_does_not_draw_is_refused() -> None:
    quiet = dataclasses.replace(PLAIN, name="quiet", noise=())
    with pytest.raises(UsageError, match="noise_sigma: found 0.1; allowed: 0: model 'quiet.*' draws no such noise"):
        Run(model=quiet, noise_sigma=0.1, **FIELDS)
