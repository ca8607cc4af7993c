"""The persistent kernel, interpreted on a CPU, against the program that trains everywhere; and lowered for a GPU."""

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import Run
from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.spec import shape_of
from ghostsweep.training import engine, one, persistent, train

GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import test_golden_networks as networks  # noqa: E402

SMALL: dict[str, Any] = {"model": "rank_one", "timescale": 3, "n_units": 10, "confidence": 3.0, "epochs": 200}
"""Seeds of it learn at a rate of 0.02 in 100 epochs or so, and no rounding of the start grows on the way."""
STOPS = ([0, 1, 2, 70], [70, 140, 141, 200])
SWEEP = """
title = "Small"
[run]
model = "rank_one"
n_units = 10
confidence = 3.0
dtype = "float64"
epochs = 150
[axes]
timescale = [3, 4]
learning_rate = [0.005, 0.01]
seed = { range = 3 }
"""


def _kernel(shape: Shape) -> Shape:
    return dataclasses.replace(shape, persistent=True)


def _run(**fields: Any) -> Run:
    return Run(**{"learning_rate": 0.02} | SMALL | fields)


def _trained(shape: Shape, rates: np.ndarray, stretches: Any = STOPS, **fields: Any) -> tuple[train.State, Any]:
    """The state of seeds 0, 1, ... at the end of some stretches of training, and the reports on the way."""
    batched = persistent.batched(shape, interpret=True) if shape.persistent else train.batched(shape)
    program, run = jax.jit(batched), _run(**fields)
    columns = {name: np.full(len(rates), getattr(run, name)) for name in shape.traced} | {"learning_rate": rates}
    state, traced = train.start(shape, columns | {"seed": np.arange(len(rates))})
    reports = []
    with train.precision(shape):
        for stops in stretches:
            count, padded = len(stops) - 1, np.full(train.MAX_STOPS + 1, stops[-1], np.int32)
            padded[: count + 1] = stops
            state, report = program(state, traced, jnp.asarray(padded), jnp.asarray(count, jnp.int32))
            assert all(rows.shape == (train.MAX_STOPS, len(rates)) for rows in report)
            reports.append(np.stack([np.asarray(rows)[:count] for rows in report]))
    return jax.device_get(state), np.concatenate(reports, axis=1)


def _same(one: Any, other: Any, rtol: float, atol: float) -> None:
    """Two trees of arrays: of one type, equal where they count, not finite at the same places, and else close."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        exact = not np.issubdtype(x.dtype, np.floating)
        np.testing.assert_allclose(x, y, rtol=0 if exact else rtol, atol=0 if exact else atol)


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [("float64", 1e-10, 1e-12), ("float32", 1e-3, 1e-5)])
def test_states_and_reports_are_those_of_the_plain_program(dtype: str, rtol: float, atol: float) -> None:
    shape = shape_of(_run(dtype=dtype).fields)
    rates = np.array([0.001, 0.01, 0.02, 0.02, 0.02, np.finfo(dtype).max])
    plain, found = (_trained(each, rates, dtype=dtype) for each in (shape, _kernel(shape)))
    _same(plain, found, rtol, atol)
    state = found[0]
    assert (state.learned_epoch >= 0).any() and (state.learned_epoch < 0).any()
    assert state.epochs_done[-1] < 70 and (state.epochs_done[:-1] == 200).all()  # the last one diverged
    assert len(np.unique(state.max_accuracy)) > 1 and len(np.unique(state.min_loss_epoch)) > 1
    assert not np.isfinite(found[1][:2, -1, -1]).all()


@pytest.mark.seldom
@pytest.mark.parametrize(
    "fields",
    [
        {"train_confidence": True, "momentum": 0.9, "nesterov": True, "n_units": 16},
        {"optimizer": "adam", "weight_decay": 1e-3, "n_units": 2, "timescale": 1},
    ],
    ids=str,
)
def test_other_sizes_and_rules_are_those_of_the_plain_program(fields: dict[str, Any]) -> None:
    fields = {"dtype": "float64"} | fields
    shape = shape_of(_run(**fields).fields)
    rates = np.array([0.01, 0.02])
    plain, found = (_trained(each, rates, ([0, 1, 30],), **fields) for each in (shape, _kernel(shape)))
    _same(plain, found, 1e-9, 1e-13)


@pytest.mark.seldom
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_golden_histories_hold(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one, "shape_of", lambda fields: persistent.chosen(shape_of(fields), "gpu"))
    (name, *_) = [name for name in networks.FILES if name.startswith("rank1_delayed_activation.learn_c")]
    fields, params, arrays = networks.golden(name)
    horizon, rtol = networks.HORIZON[dtype]
    epochs = min(int(networks.HORIZONS.loc[name, horizon]), 300)
    found = ghostsweep.train_one(Run(**fields, dtype=dtype, epochs=epochs), initial=params)
    np.testing.assert_allclose(found.loss, arrays["loss"][:epochs], rtol=rtol)
    np.testing.assert_allclose(found.accuracy, arrays["accuracy"][:epochs], atol=1e-6)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "fields",
    [
        {"n_units": 100, "timescale": 20},
        {"dtype": "float64", "timescale": 56},
        {"train_confidence": True},
        {"momentum": 0.9, "weight_decay": 1e-3},
        *({"optimizer": name} for name in ("adam", "adamw", "adamax", "amsgrad", "lion", "rmsprop", "adagrad")),
    ],
    ids=str,
)
def test_what_is_allowed_can_be_lowered_for_a_gpu(fields: dict[str, Any]) -> None:
    shape = persistent.chosen(shape_of(_run(**fields).fields), "gpu")
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    with train.precision(shape), jax.sharding.use_abstract_mesh(mesh):
        traced = {name: jax.ShapeDtypeStruct((300,), dtype) for name, dtype in shape.traced_types.items()}
        state = jax.eval_shape(functools.partial(train.start_batch, shape), traced)
        stops, count = jax.ShapeDtypeStruct((train.MAX_STOPS + 1,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
        with jax.numpy_dtype_promotion("standard"):  # of Pallas' own
            program = jax.jit(persistent.batched(shape)).trace(state, traced, stops, count)
            text = program.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("xla.gpu.triton") == 1 and "grid_x = 300" in text and "num_warps = 1" in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "full_rank"},
            "persistent: found full_rank on delayed_activation; allowed: rank_one on delayed",
        ),
        (
            {"model": "canonical", "timescale": 10.0},
            "persistent: found canonical on delayed_activation; allowed",
        ),
        ({"clip_norm": 1.0}, "clip_norm: found a number; allowed where runs are persistent: null"),
        ({"schedule": "linear", "decay_epochs": 9, "final_learning_rate": 0.1}, "schedule: found 'linear'; allowed wh"),
    ],
)
def test_where_there_is_no_such_kernel_one_line_says_so(fields: dict[str, Any], message: str) -> None:
    own = {"model": "rank_one", "timescale": 3, "learning_rate": 0.1, "epochs": 1}
    with pytest.raises(UsageError) as caught:
        persistent.chosen(shape_of(Run(**own | fields).fields), "gpu")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_sweep_on_a_cpu_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^persistent: found devices of platform 'cpu'; allowed: 'gpu'$"):
        ghostsweep.run(_sweep(), out=tmp_path, progress=False, persistent=True)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.seldom
def test_a_sweep_says_that_it_was_trained_so_and_a_checkpoint_goes_with_one_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, identities = persistent.chosen, set()
    identity = engine._identity

    def told(*arguments: Any) -> str:
        identities.add(identity(*arguments))
        return identity(*arguments)

    monkeypatch.setattr(persistent, "chosen", lambda shape, platform: real(shape, "gpu"))
    monkeypatch.setattr(engine, "_identity", told)
    tables = [
        ghostsweep.run(_sweep(), out=tmp_path / str(way), progress=False, persistent=way) for way in (False, True)
    ]
    plain, found = (each.runs.sort_values("run_id", ignore_index=True) for each in tables)
    pd.testing.assert_frame_equal(plain, found, rtol=1e-8, atol=1e-12)
    assert len(identities) == 4  # of two programs, in both ways
    for way, folder in ((False, "False"), (True, "True")):
        about = json.loads((tmp_path / folder / "small" / "meta.json").read_text())
        assert about["sessions"][0]["persistent"] is way


def _sweep() -> ghostsweep.Sweep:
    from ghostsweep.spec import loads

    return loads(SWEEP, name="small")
