"""The trainer against plain formulations: autodiff of the N-dimensional network, loops, histories."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ghostsweep import Run, theory, train_one
from ghostsweep.declare import Shape
from ghostsweep.models import rank_one
from ghostsweep.models.rank_one import THRESHOLD
from ghostsweep.spec import shape_of
from ghostsweep.tasks.delayed_activation import X_START
from ghostsweep.training import train
from ghostsweep.training.evaluation import evaluate


def plain_rank_one_loss(params: dict[str, jax.Array], timescale: int, leak: float, confidence: float) -> jax.Array:
    """The N-dimensional network as the paper writes it, for autodiff."""
    x = jnp.full_like(params["n"], X_START)
    loss = 0.0
    for step in range(2 * timescale):
        x = (1 - leak) * x + leak * jnp.tanh(params["m"] * jnp.dot(params["n"], x) + params["b"])
        output = jax.nn.sigmoid(confidence * (jnp.dot(params["n"], x) - THRESHOLD))
        loss += (output - (1.0 if step >= timescale else 0.0)) ** 2 / timescale
    return jnp.asarray(loss)


@pytest.mark.parametrize("timescale", [1, 3, 20, 41])
@pytest.mark.parametrize(("dt_ms", "confidence"), [(5.0, 10.0), (10.0, 1.0), (1.0, 4.0)])
def test_rank_one_gradient_equals_autodiff_of_the_network(timescale: int, dt_ms: float, confidence: float) -> None:
    run = Run(
        model="rank_one", timescale=timescale, dt_ms=dt_ms, confidence=confidence, n_units=13, learning_rate=1.0,
        epochs=1, dtype="float64",
    )  # fmt: skip
    shape, rng = shape_of(run.fields), np.random.default_rng(timescale)
    with train.precision(shape):
        params = {key: jnp.asarray(rng.normal(size=13) * scale) for key, scale in (("m", 1.0), ("n", 0.4), ("b", 0.2))}
        traced = {name: jnp.asarray(float(getattr(run, name))) for name in shape.traced}
        found = rank_one.MODEL.evaluate(shape, params, traced)
        loss, grads = jax.value_and_grad(plain_rank_one_loss)(params, timescale, dt_ms / 10.0, confidence)
        np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
        assert float(loss) > 1e-3
        for key, gradient in grads.items():
            np.testing.assert_allclose(found.grads[key], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("s", [-1.0, 0.0, 0.2, 0.25, 0.2500001, 0.6, 1.0, 1.0000001, 7.0])
def test_canonical_model_equals_the_closed_form(s: float) -> None:
    timescale = 30.0
    r = s * float(theory.optimum(timescale))
    history = train_one(Run(model="canonical", timescale=timescale, learning_rate=1e-9, epochs=1), {"r": np.array(r)})
    np.testing.assert_allclose(history.loss[0], theory.loss(r, timescale), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(history.accuracy[0], theory.accuracy(r, timescale), rtol=1e-12)
    step = (r - history.params["r"]) / 1e-9
    np.testing.assert_allclose(step, theory.gradient(r, timescale), rtol=1e-6)


def test_sgd_with_a_traced_rate_equals_plain_optax() -> None:
    run = Run(model="rank_one", timescale=5, n_units=20, learning_rate=0.3, epochs=40, dtype="float64", seed=3)
    shape = shape_of(run.fields)
    with train.precision(shape):
        traced = {name: jnp.asarray(float(getattr(run, name))) for name in shape.traced}
        begun, _ = train.start(shape, {name: np.full(1, getattr(run, name)) for name in shape.traced_types})
        params = {name: value[0] for name, value in begun.params.items()}
        optimizer = optax.sgd(0.3)
        state = optimizer.init(params)
        gradient = jax.jit(lambda params: rank_one.MODEL.evaluate(shape, params, traced).grads)
        for _ in range(40):
            updates, state = optimizer.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
        for key, value in train_one(run).params.items():
            np.testing.assert_allclose(value, params[key], rtol=1e-10, atol=1e-14)


def test_initial_networks_have_the_papers_distribution_and_depend_on_the_seed_alone() -> None:
    def draw(seed: int, **fields: Any) -> dict[str, np.ndarray]:
        given = {"timescale": 2, "learning_rate": 1e-30, "epochs": 1, "n_units": 400} | fields
        return train_one(Run(model="rank_one", seed=seed, **given)).params

    first, second = draw(0), draw(1)
    for key in ("m", "n"):
        assert np.std(first[key]) == pytest.approx(1 / 20, rel=0.15)
        assert abs(np.mean(first[key])) < 3 / 400
        assert not np.allclose(first[key], second[key])
    assert abs(np.corrcoef(first["m"], first["n"])[0, 1]) < 0.2
    np.testing.assert_allclose(first["b"], 0, atol=1e-25)
    for changed in ({"timescale": 3}, {"confidence": 2.0}, {"learning_rate": 1e-25}, {"dtype": "float64"}):
        np.testing.assert_allclose(draw(0, **changed)["m"], first["m"], rtol=3e-7)


def test_a_run_that_is_not_finite_freezes_and_leaves_its_neighbours_alone() -> None:
    run = Run(model="rank_one", timescale=5, n_units=10, learning_rate=0.1, epochs=30, seed=1)
    shape = shape_of(run.fields)
    columns = {name: np.full(3, getattr(run, name)) for name in shape.traced_types}
    state, traced = train.start(shape, columns)
    wild = {key: value.at[1].set(jnp.inf) for key, value in state.params.items()}
    stops = jnp.minimum(jnp.arange(train.MAX_STOPS + 1, dtype=jnp.int32), 30)
    state, report = jax.jit(train.batched(shape))(state._replace(params=wild), traced, stops, jnp.int32(30))
    assert np.isnan(report.loss[:30, 1]).all()
    np.testing.assert_array_equal(state.epochs_done, [30, 0, 30])
    np.testing.assert_array_equal(state.params["m"][1], np.inf)
    alone = train_one(run)
    for lane in (0, 2):
        np.testing.assert_allclose(report.loss[:30, lane], alone.loss, rtol=1e-6)


def test_divergence_during_training_is_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(shape: Shape, params: Any, traced: Any) -> Any:
        found = evaluate(shape, params, traced)
        return found._replace(loss=jnp.where(params["b"][0] > 6.5e-3, jnp.inf, found.loss), grads={
            key: -jnp.ones_like(value) if key == "b" else jnp.zeros_like(value) for key, value in params.items()
        })  # fmt: skip

    monkeypatch.setattr(train, "evaluate", explode)
    run = Run(model="rank_one", timescale=5, n_units=11, learning_rate=1e-3, epochs=20)
    history = train_one(run)  # b grows by the learning rate each epoch: over 6.5e-3 first at epoch 7
    assert np.isfinite(history.loss[:7]).all()
    assert np.isinf(history.loss[7:]).all()
    np.testing.assert_allclose(history.params["b"], 7e-3, rtol=1e-5)


def test_stretches_do_not_depend_on_where_they_stop() -> None:
    run = Run(model="canonical", timescale=50, learning_rate=2e-8, epochs=100)
    shape = shape_of(run.fields)
    columns = {name: np.full(2, getattr(run, name)) for name in shape.traced_types}
    results = []
    step: Callable[..., Any] = jax.jit(train.batched(shape))
    for stops in ([0, 100], [0, 1, 2, 50, 99, 100], list(range(101))):
        with train.precision(shape):
            state, traced = train.start(shape, columns)
            loss_sum = np.zeros(2)
            for first in range(0, len(stops) - 1, train.MAX_STOPS):
                part = stops[first : first + train.MAX_STOPS + 1]
                padded = jnp.asarray(part + [100] * (train.MAX_STOPS + 1 - len(part)), jnp.int32)
                state, report = step(state, traced, padded, jnp.int32(len(part) - 1))
                loss_sum += np.asarray(report.loss_sum[: len(part) - 1]).sum(axis=0)
            results.append((np.asarray(state.params["r"]), np.asarray(state.min_loss), loss_sum))
    history = train_one(run)
    for r, min_loss, loss_sum in results:
        np.testing.assert_allclose(r, history.params["r"], rtol=1e-12)
        np.testing.assert_allclose(min_loss, history.loss.min(), rtol=1e-12)
        np.testing.assert_allclose(loss_sum, history.loss.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("initial", "message"),
    [({"m": np.zeros(10)}, "exactly"), ({"m": np.zeros(10), "n": np.zeros(10), "b": np.zeros(9)}, "shape")],
)
def test_wrong_initial_parameters_are_named(initial: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_one(Run(model="rank_one", timescale=2, n_units=10, learning_rate=1.0, epochs=1), initial)
