"""One run after the other in a kernel (`train.in_turn`) trains as all runs side by side do (`train.batched`)."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ghostsweep import Run
from ghostsweep.declare.sums import total
from ghostsweep.machine import kernels
from ghostsweep.models.sizes import cost
from ghostsweep.spec import shape_of
from ghostsweep.tasks.delayed_activation import TASK
from ghostsweep.training import train

CUES = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}
DECAY = {"schedule": "cosine", "decay_epochs": 40, "warmup_epochs": 3}
RUNS: dict[str, dict[str, Any]] = {
    "one step": {"model": "rank_one", "timescale": 1},
    "rank-one": {"model": "rank_one", "timescale": 7, "momentum": 0.5, "clip_norm": 0.1},
    "confidence": {"model": "rank_one", "timescale": 20, "train_confidence": True, "optimizer": "adam"},
    "rank 1": {"model": "low_rank", "rank": 1, "timescale": 5, "n_units": 37},
    "many steps": {"model": "low_rank", "rank": 3, "timescale": 57, "n_units": 37, **DECAY},
    "two trials": {"model": "low_rank", "rank": 3, "n_units": 37, "task": "dcdt", **CUES, "weight_decay": 0.01},
    "four trials": {"model": "low_rank", "rank": 1, "task": "dmts", **CUES},
    "full rank": {"model": "full_rank", "timescale": 20, "momentum": 0.2, "nesterov": True},
    "readout": {"model": "full_rank", "timescale": 20, "n_units": 37, "readout_l1": 0.5},
    "full rank, two trials": {"model": "full_rank", "n_units": 37, "task": "dcdt", **CUES},
}

VARIANTS = ("one step", "confidence", "many steps", "four trials", "readout")
"""Runs like others here, of which fewer are tried every time."""
SOON: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options with which what kernels are held against is compiled in half the time."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.seldom] * (name in VARIANTS)) for name in RUNS])
def test_oracle_a_kernel_trains_as_all_runs_side_by_side(name: str) -> None:
    run = Run(learning_rate=0.05, epochs=60, dtype="float64", **RUNS[name])
    shape, results = shape_of(run.fields), []
    columns = {field: np.full(3, getattr(run, field)) for field in shape.traced}
    columns["learning_rate"] = np.array([0.05, 0.01, np.inf])  # the last one diverges
    stops = np.full(train.MAX_STOPS + 1, 60, np.int32)
    stops[:4] = 0, 1, 30, 60
    for function, kernel in ((train.batched(shape), False), (train.in_turn(shape), True)):
        state, traced = train.start(shape, columns | {"seed": np.arange(3)})
        with train.precision(shape):
            call = jax.jit(function).lower(state, traced, jnp.asarray(stops), jnp.int32(3))
            options = kernels.options("cpu", True) if kernel else SOON
            state, report = call.compile(compiler_options=options)(state, traced, jnp.asarray(stops), jnp.int32(3))
        results.append(jax.device_get((state, [values[:3] for values in report])))
    assert (results[0][0].epochs_done[:2] == 60).all()
    assert results[0][0].epochs_done[2] < 60
    for plain, found in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 15, 16, 100, 255, 256, 10_000])
def test_oracle_a_sum_in_a_kernel(size: int) -> None:
    shape = shape_of(Run(model="rank_one", timescale=5, learning_rate=0.1, epochs=1).fields)
    numbers = np.random.default_rng(size).normal(size=(size, 1))
    with jax.enable_x64(True):
        found = total(train.in_kernel(shape), jnp.asarray(numbers))
    np.testing.assert_allclose(found, numbers.sum(), rtol=1e-12)


def test_a_kernel_is_one_call() -> None:
    """On which all its speed depends: a version of XLA that does not know the mark runs operation by operation."""

    def steps(x: jax.Array) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            for _turn in range(8):
                x = jnp.tanh(weights @ x)
            return x, None

        return jax.lax.scan(step, x, None, length=2000)[0]

    x, weights, calls = jnp.ones(32), jnp.full((32, 32), 0.1), []
    for function in (steps, kernels.one_kernel(steps)):
        wrapped = jax.jit(lambda xs, function=function: jax.lax.map(function, xs))
        calls.append(wrapped.lower(x[None]).compile(compiler_options=kernels.options("cpu", True)))
    took = [0.0, 0.0]
    for _ in range(20):
        for i, call in enumerate(calls):
            began = time.process_time()  # which others on the machine tell on least
            jax.block_until_ready(call(x[None]))
            took[i] += time.process_time() - began
    assert took[0] > 1.5 * took[1], took  # 2.2, and 1 without the mark
    np.testing.assert_allclose(*(call(x[None]) for call in calls), rtol=1e-6)


def test_what_is_measured_slower_in_a_kernel_stays_out_of_it() -> None:
    def alone(**fields: Any) -> bool:
        return cost(shape_of(Run(learning_rate=0.1, epochs=1, **fields).fields)).kernel

    assert alone(model="rank_one", timescale=20)
    assert not alone(model="rank_one", timescale=20, n_units=20)
    assert alone(model="full_rank", timescale=20)
    assert not alone(model="full_rank", timescale=20, n_units=500)
    assert not alone(model="full_rank", task="dcdt", **CUES)
    assert alone(model="low_rank", rank=2, task="dmts", **CUES)
    assert not alone(model="low_rank", rank=2, task="dmts", **CUES, noise_sigma=0.01)


def test_what_could_stop_the_compiler_stays_out_of_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dataclasses.replace(TASK, name="own")
    for model in ("full_rank", "rank_one"):
        for task, kernel in (("delayed_activation", True), (own, False)):
            run = Run(model=model, task=task, timescale=20, learning_rate=0.1, epochs=1)
            assert cost(shape_of(run.fields)).kernel == kernel
    assert kernels.allowed()

    def names(kernel: bool) -> set[str]:
        return {*kernels.options("cpu", kernel=kernel)} - {"xla_cpu_use_fusion_emitters"}  # of tests

    assert names(False) == {"xla_cpu_prefer_vector_width"} < names(True)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=dot")
    assert not kernels.allowed()
    assert names(True) == names(False) == {"xla_cpu_prefer_vector_width"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    assert kernels.allowed()
    assert names(False) == set()
    assert kernels.options("gpu", kernel=True) == {}
