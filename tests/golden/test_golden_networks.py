"""Golden: networks with a trained readout or confidence against histories of an independent implementation."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ghostsweep import Run, train_one

GOLDEN = Path(__file__).parents[1] / "golden"
HORIZONS = pd.read_csv(GOLDEN / "horizons.csv", index_col="file")
CUES: dict[str, Any] = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}
ONEHOT: dict[str, Any] = {"input_ms": 30.0, "momentum": 0.9, "weight_decay": 1e-7}
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
    "rank2_dmts_adam": {"model": "low_rank", "rank": 2, "task": "dmts", "optimizer": "adam"} | CUES,
    "full_dcdt_adam_normalised": {"model": "full_rank", "task": "dcdt", "optimizer": "adam"} | FLOW_MAP,
    "full_dcdt_onehot": {"model": "two_bias", "task": "dcdt_onehot", "reaction_ms": 50.0} | ONEHOT,
    "full_onehot_control": {"model": "two_bias", "task": "onehot_control"} | ONEHOT,
}
RESOLVED = {"float64": 1e-6, "float32": 1e-5}
"""Least gradient norm, over the largest, that is held: of saturated outputs float32 has few digits of 1 - tanh^2."""
HORIZON = {"float64": ("float64_1e-9", 1e-9), "float32": ("float32_1e-3", 1e-3)}
FILES = [name for name in HORIZONS.index if name.split(".seed")[0] in KINDS]


def golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Fields of a golden run, its initial parameters, and everything the file holds."""
    arrays = dict(np.load(GOLDEN / f"{name}.npz"))
    rate = float(re.search(r"\.lr([\d.]*\d)", name)[1])  # type: ignore[index]
    params = {key.removeprefix("init."): value for key, value in arrays.items() if key.startswith("init.")}
    durations = re.findall(r"\.(delay|post|window)(\d+)", name)
    named = {"reaction_ms" if part == "window" else f"{part}_ms": float(ms) for part, ms in durations}
    return KINDS[name.split(".seed")[0]] | named | {"learning_rate": rate}, params, arrays


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in FILES if "normalised" not in name])
def test_runs_repeat_the_golden_histories(name: str, dtype: str) -> None:
    fields, params, arrays = golden(name)
    horizon, rtol = HORIZON[dtype]
    epochs = HORIZONS.loc[name, horizon]
    found = train_one(Run(**fields, dtype=dtype, epochs=int(epochs)), initial=params)
    np.testing.assert_allclose(found.loss, arrays["loss"][:epochs], rtol=rtol)
    np.testing.assert_allclose(found.accuracy, arrays["accuracy"][:epochs], atol=1e-6)
    if "reliability" in arrays:
        np.testing.assert_allclose(found.tally["final_reliability"], arrays["reliability"][:epochs], rtol=rtol)
    alive = arrays["grad_norm"][:epochs] > RESOLVED[dtype] * arrays["grad_norm"].max()
    np.testing.assert_allclose(found.grad_norm[alive], arrays["grad_norm"][:epochs][alive], rtol=100 * rtol)
    if epochs == len(arrays["loss"]):
        for key, value in found.params.items():
            np.testing.assert_allclose(value, arrays[f"final.{key}"], rtol=100 * rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_readout_scaled_from_epoch_150_on_repeats_the_golden_history(dtype: str) -> None:
    """Two phases as in Fig. 8c: the second goes on with the parameters and the optimizer's state of the first."""
    (name,) = (name for name in FILES if "normalised" in name)
    fields, params, arrays = golden(name)
    horizon, rtol = HORIZON[dtype]
    epochs = int(HORIZONS.loc[name, horizon])
    first = train_one(Run(**fields, dtype=dtype, epochs=150), initial=params)
    second = train_one(Run(**fields, dtype=dtype, epochs=epochs - 150, readout_l1=0.5), after=first)
    np.testing.assert_allclose(np.concatenate([first.loss, second.loss]), arrays["loss"][:epochs], rtol=rtol)


def test_a_run_is_stopped_once_its_loss_is_above_what_stops_it() -> None:
    (name,) = (name for name in FILES if "window120" in name)
    fields, params, arrays = golden(name)
    found = train_one(Run(**fields, dtype="float64", epochs=6, stop_loss=100.0), initial=params)
    above = int(np.argmax(arrays["loss"] > 100))
    np.testing.assert_allclose(found.loss[:above], arrays["loss"][:above], rtol=1e-9)
    assert above == 3 and np.isinf(found.loss[above:]).all()
    assert found.tally["good_epoch"][-1] == -1
