"""Golden: networks with a trained readout or confidence against histories of an independent implementation."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

from ghostsweep import Run, train, train_one
from ghostsweep.models import model_of
from ghostsweep.spec import Shape

GOLDEN = Path(__file__).parent / "golden"
HORIZONS = pd.read_csv(GOLDEN / "horizons.csv", index_col="file")
CUES: dict[str, Any] = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}
FLOW_MAP: dict[str, Any] = {"input_ms": 10.0, "delay_ms": 50.0, "reaction_ms": 50.0}
KINDS: dict[str, dict[str, Any]] = {
    "rank1_delayed_activation.learn_c": {"model": "rank_one", "timescale": 20, "train_confidence": True},
    "rank1_readout": {"model": "low_rank", "rank": 1, "timescale": 20},
    "rank3_readout": {"model": "low_rank", "rank": 3, "timescale": 20},
    "rank10_readout": {"model": "low_rank", "rank": 10, "timescale": 20},
    "rank100_readout": {"model": "low_rank", "rank": 100, "timescale": 20},
    "full_readout": {"model": "full_rank", "timescale": 20},
    "full_dcdt": {"model": "full_rank", "task": "dcdt"} | CUES,
    "full_dmts": {"model": "full_rank", "task": "dmts"} | CUES,
    "rank2_dcdt": {"model": "low_rank", "rank": 2, "task": "dcdt"} | FLOW_MAP,
    "rank2_dmts_adam": {"model": "low_rank", "rank": 2, "task": "dmts"} | CUES,
    "full_dcdt_adam_normalised": {"model": "full_rank", "task": "dcdt"} | FLOW_MAP,
}
HORIZON = {"float64": ("float64_1e-9", 1e-9), "float32": ("float32_1e-3", 1e-3)}
FILES = [name for name in HORIZONS.index if name.split(".seed")[0] in KINDS]


def golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Fields of a golden run, its initial parameters, and everything the file holds."""
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    rate = float(re.search(r"\.lr([\d.]*\d)", name)[1])  # type: ignore[index]
    params = {key.removeprefix("init."): value for key, value in arrays.items() if key.startswith("init.")}
    return KINDS[name.split(".seed")[0]] | {"learning_rate": rate}, params, arrays


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in FILES if "adam" not in name])
def test_sgd_runs_repeat_the_golden_histories(name: str, dtype: str) -> None:
    fields, params, arrays = golden(name)
    horizon, rtol = HORIZON[dtype]
    epochs = HORIZONS.loc[name, horizon]
    found = train_one(Run(**fields, dtype=dtype, epochs=int(epochs)), initial=params)
    np.testing.assert_allclose(found.loss, arrays["loss"][:epochs], rtol=rtol)
    np.testing.assert_allclose(found.accuracy, arrays["accuracy"][:epochs], atol=1e-6)
    alive = arrays["grad_norm"][:epochs] > 1e-6 * arrays["grad_norm"].max()
    np.testing.assert_allclose(found.grad_norm[alive], arrays["grad_norm"][:epochs][alive], rtol=100 * rtol)
    if epochs == len(arrays["loss"]):
        for key, value in found.params.items():
            np.testing.assert_allclose(value, arrays[f"final.{key}"], rtol=100 * rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in FILES if "adam" in name])
def test_models_under_adam_repeat_the_golden_histories(name: str, dtype: str) -> None:
    """The models under plain optax.adam; from epoch 150 on, the one of Fig. 8c with its readout scaled to 0.5."""
    fields, params, arrays = golden(name)
    horizon, rtol = HORIZON[dtype]
    epochs = int(HORIZONS.loc[name, horizon])
    runs = [Run(**fields, dtype=dtype, epochs=1)] * 2
    if "normalised" in name:
        runs[1] = Run(**fields, dtype=dtype, epochs=1, readout_l1=0.5)
    losses = []
    with train.precision(Shape.of(runs[0].model_dump())):
        adam = optax.adam(fields["learning_rate"])
        values = {key: jnp.asarray(value, dtype) for key, value in params.items()}
        state = adam.init(values)
        steps = [adam_step(run, adam) for run in runs]
        for epoch in range(epochs):
            loss, values, state = steps[epoch >= 150](values, state)
            losses.append(float(loss))
    np.testing.assert_allclose(losses, arrays["loss"][:epochs], rtol=rtol)


def adam_step(run: Run, adam: optax.GradientTransformation) -> Any:
    fields = run.model_dump()
    shape = Shape.of(fields)
    traced = {name: jnp.asarray(fields[name], shape.dtype) for name in shape.traced}

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        if run.readout_l1:
            params = train._scaled_readout(params, traced["readout_l1"])
        loss, _, grads = model_of(shape).evaluate(shape, params, traced)
        updates, state = adam.update(grads, state)
        return loss, optax.apply_updates(params, updates), state

    return step
