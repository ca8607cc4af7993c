"""The simulated canonical form: against autodiff, theory, an independent simulation and the closed form."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax import lax

import ghostsweep
from ghostsweep import Run, UsageError, analysis, figures, plan, theory, train_one
from ghostsweep.declare import Evaluation, Shape
from ghostsweep.models import canonical, model_of
from ghostsweep.spec import every_field, loads, shape_of
from ghostsweep.store import parts, tables
from ghostsweep.training import train

ROOT = Path(__file__).parents[2]
GOLDEN = np.load(ROOT / "tests/golden/simulated_loss.T100.npz")
RUN: dict[str, Any] = {
    "model": "canonical_simulated",
    "timescale": 10.0,
    "confidence": 1.0,
    "learning_rate": 1e-5,
    "epochs": 1,
}
BEST = float(theory.optimum(10.0))


def evaluate(r: Any, confidence: Any, **fields: Any) -> Evaluation:
    """What the model says at every r and confidence, which broadcast."""
    values = Run(**RUN | fields).fields
    shape = shape_of(values)
    points = [np.ravel(column) for column in np.broadcast_arrays(r, confidence)]
    with train.precision(shape):
        traced = {name: jnp.asarray(values[name], shape.dtype) for name in shape.traced}

        def one(r: jax.Array, confidence: jax.Array) -> Evaluation:
            return canonical.simulate(shape, {"r": r}, traced | {"confidence": confidence})

        found = jax.jit(jax.vmap(one))(*(jnp.asarray(column, shape.dtype) for column in points))
    return jax.tree.map(np.asarray, found)  # type: ignore[no-any-return]


def plain_loss(r: jax.Array, confidence: jax.Array, timescale: float, dt: float, threshold: float) -> jax.Array:
    """T L as the paper writes it, for autodiff."""
    target = np.arange(round(2 * timescale / dt)) + 1 > timescale / dt

    def step(x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jnp.minimum(x + dt * (x**2 + r), 1e6)
        return x, (jax.nn.sigmoid(confidence * (x - threshold)) - target) ** 2

    return dt * lax.scan(step, jnp.zeros_like(r), jnp.asarray(target, float))[1].sum()


@pytest.mark.parametrize(
    ("timescale", "dt", "threshold"), [(10.0, 0.1, 10.0), (10.0, 0.02, 3.0), (2.5, 0.5, 1.0), (100.0, 0.1, 10.0)]
)
def test_gradient_equals_autodiff_through_the_steps(timescale: float, dt: float, threshold: float) -> None:
    s = np.array([-20.0, -2.0, -0.1, 0.0, 0.2, 0.249, 0.2501, 0.26, 0.6, 0.999, 1.001, 1.05, 1.3, 3.0, 20.0, 1e4])
    r, confidence = np.meshgrid(s * theory.optimum(timescale), np.logspace(-2, 1, 7))
    found = evaluate(r, confidence, timescale=timescale, dt_steps=dt, threshold=threshold)
    with jax.enable_x64(True):
        plain = jax.vmap(jax.value_and_grad(lambda r, c: plain_loss(r, c, timescale, dt, threshold)))
        points = jnp.asarray(r.ravel()), jnp.asarray(confidence.ravel())
        loss, gradient = (np.asarray(value) for value in jax.jit(plain)(*points))
    np.testing.assert_allclose(found.loss, loss / timescale, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.grads["r"], gradient, rtol=1e-10)
    assert (np.abs(gradient) > 1e-3).mean() > 0.5


def test_gradient_is_the_slope_of_T_times_the_loss() -> None:
    r, confidence = (v.ravel() for v in np.meshgrid(BEST * np.array([-1.0, 0.24, 0.7, 0.99, 1.2, 9.0]), [0.05, 0.3, 1]))
    h = 1e-6 * BEST
    slope = [
        10 * (theory.simulated_loss(a + h, 10.0, c) - theory.simulated_loss(a - h, 10.0, c)) / (2 * h)
        for a, c in zip(r, confidence, strict=True)
    ]
    np.testing.assert_allclose(evaluate(r, confidence).grads["r"], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("confidence", ["0.01", "0.1", "0.5", "1", "2"])
def test_golden_loss(confidence: str) -> None:
    found = evaluate(GOLDEN["r"], float(confidence), timescale=100.0)
    np.testing.assert_allclose(found.loss, GOLDEN[f"loss_a{confidence}"], rtol=1e-9)


def test_accuracy_is_the_share_of_right_steps() -> None:
    r, x, right = BEST * np.array([-1.0, 0.3, 1.0, 1.1, 5.0]), np.zeros(5), np.zeros(5)
    for i in range(200):
        x = np.minimum(x + 0.1 * (x * x + r), 1e6)
        right += (x > 10) == (i >= 100)
    np.testing.assert_allclose(evaluate(r, 0.3).accuracy, right / 200, rtol=1e-15)


def test_confident_and_finely_stepped_it_is_the_closed_form() -> None:
    """As the docstring says: within a tenth while a dt threshold^2 <= 3, and spikes where it is large."""
    r = BEST * np.concatenate([np.linspace(0.3, 0.9, 300), np.linspace(1.5, 10, 300)])
    near = evaluate(r, 3.0, dt_steps=0.01)
    np.testing.assert_allclose(near.loss, theory.loss(r, 10.0), atol=0.02)
    np.testing.assert_allclose(near.grads["r"], theory.gradient(r, 10.0), rtol=0.1)
    spiked = evaluate(r, 3.0, dt_steps=0.1).grads["r"] / theory.gradient(r, 10.0)
    assert spiked.min() < 0.01 and spiked.max() > 3


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("timescale", [10.0, 100.0])
def test_finite_everywhere(timescale: float, dtype: str) -> None:
    s = np.concatenate([np.linspace(-2, 20, 1101), [-1e6, 1e6]])
    r, confidence = np.meshgrid(s * theory.optimum(timescale), np.logspace(-3, 3, 25))
    found = evaluate(r, confidence, timescale=timescale, dtype=dtype)
    assert found.loss.dtype == dtype
    assert np.isfinite(found.loss).all() and np.isfinite(found.grads["r"]).all()
    stopped = evaluate(1e30, [0.01, 1e30], timescale=timescale, dtype=dtype)  # at once
    np.testing.assert_allclose(stopped.loss, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(stopped.grads["r"], 0)


def test_single_precision_is_close() -> None:
    r = BEST * np.linspace(-2, 20, 200)
    double, single = (evaluate(r, 0.3, dtype=dtype) for dtype in ("float64", "float32"))
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-4)
    np.testing.assert_allclose(single.grads["r"], double.grads["r"], rtol=1e-2)


@pytest.mark.parametrize("start", [0.3, 3.0])
def test_training_ends_in_the_minimum(start: float) -> None:
    r = BEST * np.linspace(0.25, 3, 20_001)
    loss = theory.simulated_loss(r, 10.0, 1.0)
    history = train_one(Run(**RUN | {"learning_rate": 1e-6, "epochs": 6000}), {"r": np.array(start * BEST)})
    assert history.loss[0] > 0.4
    assert history.loss[-1] == pytest.approx(loss.min(), abs=1e-3)
    assert float(history.params["r"]) == pytest.approx(r[loss.argmin()], rel=0.02)


def test_low_confidence_brings_back_what_is_in_the_no_learning_zone() -> None:
    start = {"r": np.array(-BEST)}
    accuracy = {
        c: train_one(Run(**RUN | {"confidence": c, "learning_rate": 3e-5, "epochs": 2000}), start).accuracy[-1]
        for c in (0.3, 2.0, None)
    }
    assert accuracy[0.3] > 0.95
    assert accuracy[2.0] == accuracy[None] == 0.5


def test_a_gradient_that_overflows_where_the_steps_are_chaotic_is_a_divergence() -> None:
    start = {"r": np.array(-2.15 / 0.1**2)}
    history = train_one(Run(**RUN | {"timescale": 100.0, "confidence": 0.3, "epochs": 2}), start)
    assert np.isfinite(history.loss).all() and np.isnan(history.grad_norm).all()
    assert history.params == start  # frozen


def test_what_shares_a_program() -> None:
    def shape(**fields: Any) -> Shape:
        return shape_of(Run(**RUN | fields).fields)

    assert (shape().timescale, shape().n_steps) == (100, 200)
    same = [{"confidence": 2.0}, {"threshold": 3.0}, {"learning_rate": 0.1}, {"timescale": 5.0, "dt_steps": 0.05}]
    assert {shape(**fields) for fields in same} == {shape()}
    assert shape(timescale=20.0) != shape() != shape(dt_steps=0.05)
    one, two = (plan.cost(shape(timescale=t)).epoch_seconds for t in (10.0, 20.0))
    assert two == pytest.approx(2 * one)
    fields = {name: value for name, value in RUN.items() if name != "confidence"} | {"model": "canonical"}
    closed = {shape_of(Run(**fields | {"timescale": t}).fields) for t in (10.0, 20.5)}
    assert [model_of(one) for one in closed] == [canonical.MODEL]
    assert model_of(shape()) is canonical.SIMULATED
    text = """
    [run]
    epochs = 9
    learning_rate = 1e-5
    [[axes]]
    model = ["canonical_simulated"]
    timescale = [10, 20]
    dt_steps = [0.1, 0.05]
    confidence = [0.1, 1.0]
    [[axes]]
    model = ["canonical"]
    timescale = [10, 20, 30.3]
    """
    chunks = plan.chunks(plan.Plan.of(loads(text, name="x")), 1, 1e9)
    assert {chunk.shape.get("timescale"): len(chunk.runs) for chunk in chunks} == {100: 2, 200: 4, 400: 2, None: 3}


def test_ids_of_runs_in_closed_form_are_as_before() -> None:
    stored = pd.read_parquet(ROOT / "results/fig2_loss_vs_lr/runs.parquet")
    assert len(stored) == 1000
    for row in stored.to_dict("records"):
        given = {name: row[name] for name in every_field() if name in row and not pd.isna(row[name])}
        assert Run(**given | {"nesterov": bool(given["nesterov"])}).run_id == row["run_id"]


def test_ids_ignore_the_defaults_and_nothing_else() -> None:
    ids = [Run(**RUN | given).run_id for given in ({}, {"dt_steps": 0.1, "threshold": 10.0})]
    assert len(set(ids)) == 1
    changes = ({"confidence": 1.5}, {"confidence": 2.0}, {"dt_steps": 0.05}, {"threshold": 9.0})
    assert len({*ids, *(Run(**RUN | given).run_id for given in changes)}) == 5


def test_tables_older_than_the_fields_are_filled_in(tmp_path: Path) -> None:
    found_there = tables.read("fig2_loss_vs_lr", ROOT / "results")
    closed = found_there.runs
    assert not {"confidence", "dt_steps", "threshold"} & set(closed)
    curves = found_there.curves[found_there.curves["run_id"].isin(closed["run_id"].head(2))]
    tmp_path / parts.write(tmp_path, closed.head(2).assign(model=["canonical_simulated", "canonical"]), curves)
    found = tables.stored(tmp_path).frames()[0]
    np.testing.assert_array_equal(found[["dt_steps", "threshold"]], [[0.1, 10.0], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"timescale": 10.05}, "run.dt_steps: found 0.1; allowed: timescale = 10.05 divided by a whole number from 1"),
        (
            {"dt_steps": 0.3},
            "run.dt_steps: found 0.3; allowed: timescale = 10 divided by a whole number from 1 to 1000",
        ),
        ({"dt_steps": 20.0}, "run.dt_steps: found 20.0; allowed: timescale = 10 divided by"),
        ({"dt_steps": 1e-6}, "run.dt_steps: found 1e-06; allowed: timescale = 10 divided by a whole number from 1 to"),
        ({"dt_steps": -0.1}, "run.dt_steps: found -0.1; allowed: a finite number > 0"),
        ({"model": "canonical"}, "run.confidence: model 'canonical' has no such field"),
        ({"model": "rank_one", "threshold": 3.0}, "model 'rank_one' has no such field"),
    ],
)
def test_mistakes_are_one_line(fields: dict[str, Any], line: str) -> None:
    given = {key: value for key, value in (RUN | fields).items() if value is not None}
    with pytest.raises(UsageError) as error:
        loads("[run]\n" + "\n".join(f"{key} = {value!r}" for key, value in given.items()), name="x")
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UsageError):
        Run(**given)


def test_every_step_on_an_axis_is_checked_against_every_timescale() -> None:
    axes = "[axes]\ntimescale = [10.0, 10.05]\ndt_steps = [0.05, 0.1]"
    with pytest.raises(UsageError, match=r"axes.dt_steps: found 0.1; allowed: timescale = 10.05 divided"):
        loads(
            "[run]\nmodel = 'canonical_simulated'\nconfidence = 1.0\nlearning_rate = 0.1\nepochs = 2\n" + axes, name="x"
        )


def test_the_exact_rate_is_claimed_of_the_closed_form_alone(tmp_path: Path) -> None:
    text = """
    [run]
    model = "canonical"
    epochs = 300
    [axes]
    timescale = [2.0, 3.0, 4.0]
    learning_rate = { logspace = [-3, 0, 7] }
    """
    closed = ghostsweep.run(loads(text, name="closed"), out=tmp_path)
    simulated = ghostsweep.run(
        loads(text.replace('canonical"', 'canonical_simulated"'), name="simulated"), out=tmp_path
    )
    assert analysis.is_closed_form(closed.runs)
    assert not analysis.is_closed_form(simulated.runs)
    for found, exact in ((closed, True), (simulated, False)):
        laws = ghostsweep.analyze(found, share=0).power_law
        assert laws is not None
        assert laws.loc[laws["boundary"] == "upper", "theory_exponent"].notna().all() == exact
    with pytest.raises(UsageError, match="found 'canonical_simulated'"):
        figures.eta_collapse(simulated.runs)
