"""Runs in a kernel that an epoch leaves as they were skip the rest, and all is, bit for bit, as if they had gone on."""

import time
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
from ghostsweep.declare.model import Evaluation
from ghostsweep.machine import kernels
from ghostsweep.plan.groups import Group
from ghostsweep.spec import loads, shape_of
from ghostsweep.store import tables
from ghostsweep.training import calibrate, chunk, train

CUES = {"task": "dcdt", "input_ms": 30.0, "delay_ms": 20.0, "reaction_ms": 20.0}
RUNS: dict[str, dict[str, Any]] = {
    "rank-one": {"model": "rank_one", "timescale": 10},
    "confidence": {"model": "rank_one", "timescale": 10, "train_confidence": True, "momentum": 0.3, "dtype": "float64"},
    "low rank": {"model": "low_rank", "rank": 2, "timescale": 10, "n_units": 40, "weight_decay": 1e-9},
    "two trials": {"model": "low_rank", "rank": 2, "n_units": 40, **CUES},
    "full rank": {"model": "full_rank", "timescale": 10, "n_units": 40},
    "readout": {"model": "full_rank", "timescale": 10, "n_units": 40, "readout_l1": 5.0},
}
VARIANTS = ("confidence", "low rank", "readout")
"""Runs like others here, of which fewer are tried every time."""
EPOCHS = 2500
RATES = [
    1e-25,
    1e-9,
    0.01,
    1.0,
    100.0,
    1e4,
    np.inf,
]  # whose updates are lost in rounding; that learn; trapped; diverged
STOPS = [0, 1, 2, 65, 130, 1154, 2178, 2499, EPOCHS]


def compiled(shape: Shape, state: train.State, traced: Any) -> Any:
    stops = jnp.zeros(train.MAX_STOPS + 1, jnp.int32)
    call = jax.jit(train.in_turn(shape)).lower(state, traced, stops, jnp.int32(1))
    return call.compile(compiler_options=kernels.options("cpu", True))


def started(run: Run, rates: list[float]) -> tuple[Shape, train.State, dict[str, jax.Array]]:
    shape = shape_of(run.fields)
    columns = {field: np.full(len(rates), getattr(run, field)) for field in shape.traced_types}
    seeds = np.arange(len(rates))
    return shape, *train.start(shape, columns | {"seed": seeds, "learning_rate": np.array(rates)})


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.seldom] * (name in VARIANTS)) for name in RUNS])
def test_oracle_runs_that_skip_end_as_those_that_do_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(learning_rate=0.1, epochs=EPOCHS, **RUNS[name])
    stops = np.full(train.MAX_STOPS + 1, EPOCHS, np.int32)
    stops[: len(STOPS)] = STOPS
    same = train._same

    def both(state: train.State, traced: Any, stops: jax.Array, count: jax.Array, skips: jax.Array) -> Any:
        """The runs, which skip or do not, in one program: two may round otherwise, which chaos shows."""
        monkeypatch.setattr(train, "_same", lambda before, after: same(before, after) & skips)
        return train.in_turn(shape)(state, traced, stops, count)

    shape, state, traced = started(run, RATES)
    with train.precision(shape):
        given = state, traced, jnp.asarray(stops), jnp.int32(len(STOPS) - 1)
        call = jax.jit(both).lower(*given, jnp.array(True)).compile(compiler_options=kernels.options("cpu", True))
        results = []
        for skips in (True, False):
            state, report = jax.device_get(call(*given, jnp.array(skips)))
            results.append((state, [values[: len(STOPS) - 1] for values in report]))
    assert (results[0][0].epochs_done == [EPOCHS] * 6 + [1]).all()
    for (path, found), plain in zip(jax.tree.leaves_with_path(results[0]), jax.tree.leaves(results[1]), strict=True):
        np.testing.assert_array_equal(found, plain, err_msg=jax.tree_util.keystr(path))
    ends = [np.stack([values[at] for values in results[0][1]][:4]) for at in (-2, -1)]
    still = (ends[0] == ends[1]).all(axis=0)
    assert still[0] and still[:-1].sum() >= 2 and not still.all()


@pytest.mark.parametrize("period", [3, 7])  # of which the epochs between two looks are a multiple
def test_a_cycle_does_not_stand_still(period: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def around(shape: Shape, params: Any, traced: Any) -> Evaluation:
        b = params["b"]
        step = jnp.where(b == period - 1, period - 1.0, -1.0)  # 0, 1, .., period - 1, 0, ..
        return Evaluation(b[0], b[0] * 0, {name: values * 0 for name, values in params.items()} | {"b": step})

    monkeypatch.setattr(train, "evaluate", around)
    shape, state, traced = started(Run(model="rank_one", timescale=5, learning_rate=1.0, epochs=999), [1.0])
    stops = jnp.full(train.MAX_STOPS + 1, 999, jnp.int32).at[0].set(0)
    state, report = compiled(shape, state, traced)(state, traced, stops, jnp.int32(1))
    assert state.params["b"][0, 0] == 999 % period
    assert report.loss_sum[0, 0] == sum(epoch % period for epoch in range(999))


def test_a_run_that_stands_still_costs_next_to_nothing() -> None:
    shape, state, traced = started(Run(model="rank_one", timescale=20, learning_rate=0.1, epochs=9), [1e4, 1e-3])
    pick = [jax.tree.map(lambda array, lane=lane: array[lane : lane + 1], (state, traced)) for lane in (0, 1)]
    call = compiled(shape, *pick[0])
    stops = jnp.asarray(np.arange(train.MAX_STOPS + 1) * train.MAX_GAP, jnp.int32)
    (trapped, _), (learns, _) = (call(*each, stops, jnp.int32(8)) for each in pick)
    assert (trapped.epochs_done, learns.epochs_done) == (8192, 8192)
    times: list[list[float]] = [[], []]
    for _ in range(5):
        for each, took in zip(pick, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(call(*each, stops, jnp.int32(8)))
            took.append(time.perf_counter() - began)
    assert min(times[0]) < min(times[1]) / 10, times


def test_what_is_timed_for_an_estimate_is_not_skipped() -> None:
    def slowness(rate: float) -> float:
        fields = Run(model="rank_one", timescale=20, learning_rate=rate, epochs=9_999).fields
        group = Group(shape_of(fields), 9_999, 1, 4, fields)
        return calibrate.measure([(group, 4)], jax.local_devices()[:1], 0.0)[0].slowness

    turns = [(slowness(1e4), slowness(1e-3)) for _ in range(8)]  # by turns, so that others slow both
    trapped, learns = map(min, zip(*turns, strict=True))
    assert 0.4 < trapped / learns < 2.5, turns


@pytest.mark.parametrize(
    ("fields", "repeats"),
    [
        ({}, True),
        ({"momentum": 0.9, "weight_decay": 0.1, "clip_norm": 1.0}, True),
        ({"schedule": "linear", "decay_epochs": 3}, False),
        ({"warmup_epochs": 3}, False),
        ({"optimizer": "adam"}, False),
        ({"model": "full_rank", **CUES}, True),
        ({"model": "full_rank", **CUES, "noise_sigma": 0.1}, False),
        ({"model": "two_bias", **CUES, "task": "dcdt_onehot"}, False),  # which keeps a tally
    ],
)
def test_what_counts_its_epochs_never_stands_still(fields: dict[str, Any], repeats: bool) -> None:
    given = fields if "task" in fields else {"model": "rank_one", "timescale": 5, **fields}
    shape, state, _ = started(Run(learning_rate=0.1, epochs=9, **given), [0.1])
    assert train.repeats_itself(shape, state) == repeats


def test_bits_tell_zeros_apart_and_know_what_is_not_a_number() -> None:
    def same(a: float, b: float) -> bool:
        return bool(train._same({"x": jnp.float32(a)}, {"x": jnp.float32(b)}))

    assert same(1.0, 1.0) and same(np.nan, np.nan)
    assert not same(0.0, -0.0) and not same(1.0, np.nextafter(np.float32(1), np.float32(2)))


@pytest.mark.parametrize(("n_runs", "width", "devices"), [(8, 8, 2), (7, 8, 2), (9, 12, 4), (1, 1, 1), (3, 3, 3)])
def test_neighbours_are_dealt_to_different_devices(n_runs: int, width: int, devices: int) -> None:
    lanes = chunk._dealt(n_runs, width, devices)
    assert sorted(lanes) == list(range(n_runs))
    assert lanes[: width // devices].tolist() == list(range(0, n_runs, devices))


def test_runs_that_are_dealt_out_keep_their_places(tmp_path: Path) -> None:
    text = """
    [run]
    model = "rank_one"
    timescale = 5
    n_units = 33
    epochs = 300
    dtype = "float64"
    [axes]
    learning_rate = [1e-17, 0.001, 0.002, 0.005, 0.01, 1e3, 1e4]
    seed = { range = 2 }
    [record]
    points = 9
    [record.snapshots]
    epochs = [0, 100, 300]
    runs = { learning_rate = [1e-17, 0.002, 0.01, 1e3] }
    [[phases]]
    epochs = 40
    axes.confidence = [0.1, 1.0]
    """
    most = min(2, len(jax.local_devices()))  # on a machine that gives one, the same twice
    sweeps = [loads(text, name=f"on_{n}") for n in (1, 2)]
    one, two = (ghostsweep.run(each, out=tmp_path, devices=n) for each, n in zip(sweeps, (1, most), strict=True))
    digests = ["begins_from", "ends_at"]
    pd.testing.assert_frame_equal(one.runs.drop(columns=digests), two.runs.drop(columns=digests), rtol=1e-6)
    pd.testing.assert_frame_equal(one.curves, two.curves, rtol=1e-6)
    kept = one.runs.query("phase == 1 and learning_rate in (1e-17, 0.002, 0.01, 1e3)")
    assert len(kept) == 8
    for run_id in kept["run_id"]:
        single, dealt = (tables.read_snapshots(tmp_path / name, run_id) for name in ("on_1", "on_2"))
        for name, values in single.items():
            np.testing.assert_allclose(values, dealt[name], rtol=1e-6)
