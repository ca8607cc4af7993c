"""Networks reduced to the canonical form: s and its gradient against differences, and the canonical form itself."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run, UsageError, theory
from ghostsweep.declare import Model, Shape
from ghostsweep.models import readout
from ghostsweep.models.sizes import parameter_shapes
from ghostsweep.training import reduction as reducing

CUES: dict[str, Any] = {"input_ms": 15.0, "delay_ms": 30.0, "reaction_ms": 45.0}


def step(shape: Shape, p: Any, traced: Any, x: Any, u: Any) -> Any:
    """The full-rank network's own, as a user would write it."""
    import jax.numpy as jnp

    leak = traced["dt_ms"] / traced["tau_ms"]
    return (1 - leak) * x + leak * jnp.tanh(x @ p["w_rec"] + u[0] * p["w_in"] + p["b_in"])


def read(shape: Shape, p: Any, traced: Any, x: Any) -> Any:
    return traced["confidence"] * (x @ p["w_out"] + p["b_out"][0])[None]


OWN = dataclasses.replace(
    readout.FULL_RANK, name="own_full_rank", outputs=None, step=step, readout=read, cost=None, n_parameters=None
)
LOSS = Model(
    "loss_alone",
    (),
    initial=lambda shape, traced, key: {"r": traced["learning_rate"]},
    loss=lambda shape, params, traced: (params["r"] ** 2, params["r"] * 0),
)
SMALL: dict[str, Any] = {"n_units": 3, "learning_rate": 0.01, "epochs": 10}
RUNS = {
    "rank one": (Run(model="rank_one", timescale=9, **SMALL), 1.5),
    "rank two": (Run(model="low_rank", rank=2, timescale=9, **SMALL), 1.5),
    "full rank": (Run(model="full_rank", timescale=9, **SMALL), 1.5),
    "cues": (Run(model="full_rank", task="dcdt", noise_sigma=0.1, r0_sigma=0.2, **SMALL, **CUES), 0.8),
    "match": (Run(model="full_rank", task="dmts", **SMALL, **CUES), 0.8),
    "own": (Run(model=OWN, task="dcdt", **SMALL, **CUES), 0.8),
}


def drawn(run: Run, spread: float, count: int = 2000) -> dict[str, np.ndarray]:
    """Parameters, of which some make the output switch inside the trial."""
    rng = np.random.default_rng(1)
    shape, _ = reducing.quiet_shape(run.fields)
    return {name: spread * rng.normal(size=(count, *size)) for name, size in parameter_shapes(shape).items()}


def quiet(run: Run) -> Run:
    return Run.of({**run.fields, "dtype": "float64"} | {n: 0.0 for n in ("noise_sigma", "r0_sigma") if n in run.fields})


def switch(run: Run, params: dict[str, np.ndarray], kind: int) -> float:
    """s by an independent reading of what the network does: where its readout crosses the middle of its targets."""
    done = ghostsweep.simulate(quiet(run), params)
    assert done.outputs is not None and done.targets is not None and done.inputs is not None
    target, output = (
        done.targets.reshape(len(done.targets), -1)[:, kind],
        done.outputs.reshape(len(done.targets), -1)[:, kind],
    )
    middle = (target[0] + target[-1]) / 2
    inverse = np.arctanh if run.fields["task"] == "dcdt" else lambda o: np.log(o / (1 - o))
    height = (inverse(output) - inverse(middle)) * np.sign(target[-1] - target[0])
    inputs = done.inputs.reshape(len(target), -1)
    began = 0
    if inputs.shape[1]:
        off = np.flatnonzero(inputs[:, kind] == 0)
        began = int(off[0])
    onset = int(np.flatnonzero(target != target[0])[0])
    for i in range(began + 1, len(height)):
        if height[i - 1] < 0 <= height[i]:
            part = -height[i - 1] / (height[i] - height[i - 1])
            return float(((onset - began) / (i - 0.5 + part - began)) ** 2)
    return np.nan


@pytest.fixture(scope="module", params=RUNS)
def case(request: pytest.FixtureRequest) -> tuple[Run, dict[str, np.ndarray], Any]:
    """A run, parameters of it for which every kind of trial switches inside, and the rows of their reduction."""
    run, spread = RUNS[request.param]
    every = drawn(run, spread)
    epochs = np.arange(len(next(iter(every.values()))))
    table = reducing.reduction([(run, every | {"epochs": epochs})])
    fits = table["s"].between(1.3 * (1 - table["eta_critical"]), 8) & (table["grad_norm"] > 1e-6)
    at = int(fits.groupby(table["epoch"]).all().pipe(lambda whole: whole.index[whole])[0])
    return run, {name: value[at] for name, value in every.items()}, table[table["epoch"] == at]


def test_s_is_that_of_an_independent_reading(case: Any) -> None:
    run, params, rows = case
    for row in rows.itertuples():
        assert row.s == pytest.approx(switch(run, params, row.trial), rel=1e-12)
    kinds = {"dcdt": [0, 1], "dmts": [0, 1]}.get(str(run.fields["task"]), [0])
    assert rows["trial"].tolist() == kinds  # of match to sample, only where the cues match is there an answer


def test_its_gradient_by_all_parameters_is_that_of_differences(case: Any) -> None:
    run, params, rows = case
    h = 1e-6
    for row in rows.itertuples():
        squared = 0.0
        for name, value in params.items():
            for at in np.ndindex(value.shape):
                moved = []
                for sign in (1, -1):
                    other = value.copy()
                    other[at] += sign * h
                    moved.append(switch(run, params | {name: other}, row.trial))
                squared += ((moved[0] - moved[1]) / (2 * h)) ** 2
        assert row.s_grad_norm == pytest.approx(squared**0.5, rel=1e-6)


def test_eta_and_the_canonical_loss_follow_from_the_loss_of_a_step(case: Any) -> None:
    """C is T times what an output that is right loses by being a step late, by the task's own loss."""
    run, params, rows = case
    done = ghostsweep.simulate(quiet(run), params)
    assert done.targets is not None
    steps, kinds = len(done.targets), done.targets.reshape(len(done.targets), -1).shape[1]
    per_step = 1 / rows["due"] if run.fields["task"] == "delayed_activation" else 1 / (steps * kinds)
    scale = per_step * rows["due"]
    np.testing.assert_allclose(rows["eta"], 0.01 * scale * rows["s_grad_norm"] ** 2 / 2, rtol=1e-12)
    np.testing.assert_allclose(rows["canonical_loss"], (scale * (1 - rows["s"] ** -0.5).abs()).sum(), rtol=1e-12)
    np.testing.assert_allclose(rows["lr_critical"], rows["eta_critical"] / rows["eta"] * 0.01, rtol=1e-12)
    assert rows["loss"].iloc[0] == pytest.approx(done.loss, rel=1e-12)


def test_s_after_a_step_is_that_of_the_trained_network(case: Any) -> None:
    run, params, rows = case
    one = ghostsweep.train_one(Run.of({**quiet(run).fields, "epochs": 1}), params)
    for row in rows.itertuples():
        found = switch(run, one.params, row.trial)
        if np.isfinite(found):
            assert row.s_after == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("timescale", [5.0, 100.0, 3_000.0])
def test_the_canonical_form_has_its_own_eta_at_every_place(timescale: float) -> None:
    best = theory.optimum(timescale)
    rate = float(theory.critical_lr(timescale)) / 3
    run = Run(model="canonical", timescale=timescale, learning_rate=rate, epochs=10)
    s = np.array([0.3, 0.9, 1.5, 10.0, 0.2, -1.0])
    table = reducing.reduction([(run, {"r": s * best, "epochs": np.arange(6)})])
    np.testing.assert_allclose(table["s"][:5], s[:5], rtol=1e-12)
    np.testing.assert_allclose(table["eta"][:5], theory.eta(rate, timescale), rtol=1e-12)
    np.testing.assert_allclose(table["lr_critical"][:5], theory.critical_lr(timescale), rtol=1e-12)
    np.testing.assert_allclose(table["cosine"][:4], 1.0, rtol=1e-12)
    np.testing.assert_allclose(table["norm_ratio"][:4], 1.0, rtol=1e-12)
    np.testing.assert_allclose(table["s_after"][:4], table["s_next"][:4], rtol=1e-12)
    assert table["s_after"][4] == pytest.approx(0.2) and table["cosine"][4:].isna().all()
    assert table[["s_grad_norm", "eta"]].iloc[5].isna().all() or table["s"][5] == 0  # it never becomes active


def test_the_rates_of_other_rules_are_not_told() -> None:
    run = Run(model="canonical", timescale=10.0, learning_rate=1e-5, epochs=10, optimizer="adam")
    table = reducing.reduction([(run, {"r": np.array([0.03]), "epochs": np.zeros(1)})])
    assert table[["eta", "s_next", "s_after"]].isna().all(axis=None) and table["lr_critical"].notna().all()


def test_the_simulated_canonical_form_comes_near_the_exact_one() -> None:
    r = np.pi**2 / 4 / 20**2 * np.array([0.5, 1.0, 4.0])
    run = Run(model="canonical_simulated", timescale=20.0, dt_steps=0.002, learning_rate=1e-7, epochs=10)
    table = reducing.reduction([(run, {"r": r, "epochs": np.arange(3)})])
    closed = 4 * 20**2 / np.pi**2 * r
    assert (table["s"] / closed).between(1.0, 1.03).all()  # x is at the threshold 1 / threshold before it blows up
    assert table["eta"].to_numpy() == pytest.approx(8e-7 * 20**5 / np.pi**4, rel=0.08)
    assert (reducing.reduction([(run, {"r": r[:1] * -1, "epochs": np.zeros(1)})])["s"] == 0).all()


def test_what_has_no_switch_is_refused() -> None:
    run = Run(model=LOSS, learning_rate=1e-5, epochs=10)
    with pytest.raises(UsageError, match="found no outputs; allowed"):
        reducing.reduction([(run, {"r": np.array([0.03]), "epochs": np.zeros(1)})])
    rank_one = RUNS["rank one"][0]
    with pytest.raises(UsageError, match="snapshots: found .*; allowed: epochs"):
        reducing.reduction([(rank_one, {"r": np.array([0.03]), "epochs": np.zeros(1)})])
    with pytest.raises(UsageError, match="found none; allowed: runs whose parameters were kept"):
        reducing.reduction([])


def test_section_of_the_collapse_of_figure_three() -> None:
    """Numbers that were worked out by hand, time counted at the end of a step: half a step later than here."""
    table = ghostsweep.reduce("fig3_collapses").set_index("epoch")
    rows = table.loc[5_118:5_132]
    assert rows["cosine"].between(0.986, 1).all() and rows["norm_ratio"].between(1.0, 1.26).all()
    last = table.loc[5_136]
    assert last["eta"] * (last["time"] / (last["time"] + 0.5)) ** 6 == pytest.approx(7.5, abs=0.05)
    assert np.isnan(table.loc[5_138, "s"])
    learned = ghostsweep.reduce("fig3_learns").set_index("epoch").loc[34_000]
    by_hand = learned["eta"] * (learned["time"] / (learned["time"] + 0.5)) ** 6
    assert by_hand == pytest.approx(0.26, abs=0.005) and by_hand * 0.02 / 0.003 == pytest.approx(1.76, abs=0.01)
