"""Optimizers: the same numbers as plain optax, one program for a grid, and clear errors for what does not fit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ghostsweep
from ghostsweep import plan
from ghostsweep.declare import Shape
from ghostsweep.models.rules import OPTIMIZERS
from ghostsweep.spec import Run, every_field, loads, shape_of
from ghostsweep.training import optimizers, programs, train
from ghostsweep.training.evaluation import evaluate

CANONICAL = {"model": "canonical", "timescale": 10, "learning_rate": 1e-5, "epochs": 50}
RANK_ONE = {"model": "rank_one", "timescale": 5, "n_units": 20, "learning_rate": 0.01, "epochs": 50}
PARAMS = {"a": np.array([0.5, -1.2, 2.0]), "b": np.array(0.3)}


def gradient(params: Any, scale: Any = 1.0) -> Any:
    """Gradient of a loss that is neither convex nor the same for any two parameters."""
    return jax.grad(lambda p: scale * jnp.sum(jnp.sin(3 * p["a"]) + p["a"] ** 2 * p["b"]) + p["b"] ** 4)(params)


def inputs(run: Run) -> tuple[Shape, dict[str, np.ndarray]]:
    """Shape and traced fields of a run."""
    shape = shape_of(run.fields)
    return shape, {name: np.asarray(getattr(run, name), dtype) for name, dtype in shape.traced_types.items()}


def path(build: Callable[[Any], optax.GradientTransformation], traced: Any, steps: int = 50) -> dict[str, np.ndarray]:
    """Parameters after each of `steps` updates, by an optimizer built inside the compiled program."""

    def descend(traced: Any, params: Any) -> Any:
        rule = build(traced)

        def step(carry: Any, _: None) -> Any:
            params, state = carry
            updates, state = rule.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(step, (params, rule.init(params)), None, length=steps)[1]

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # optax itself needs it
        return jax.tree.map(np.asarray, jax.jit(descend)(traced, jax.tree.map(jnp.asarray, PARAMS)))


def warm_up(epoch: Any) -> Any:
    """The rate 0.01 reached linearly in 10 epochs; in float64, where optax's is float32 for a whole number."""
    return optax.linear_schedule(0, 0.01, 10)(epoch.astype(float))


def schedule_of(name: str) -> Any:
    """The schedules of the tests by optax's own functions: rate 0.01, 10 epochs of warm-up, 25 of decay."""
    decays = {
        "linear": optax.linear_schedule(0.01, 0.002, 25),
        "cosine": optax.cosine_decay_schedule(0.01, 25, alpha=0.2),
        "exponential": optax.exponential_decay(0.01, 25, 0.2, end_value=0.002),
    }
    joined = optax.join_schedules([warm_up, decays[name]], [10])
    return lambda epoch: joined(epoch.astype(float))


ADAM = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
DECAY = {"warmup_epochs": 10, "decay_epochs": 25, "final_learning_rate": 0.2}
CASES: list[tuple[dict[str, Any], Callable[[], optax.GradientTransformation]]] = [
    ({}, lambda: optax.sgd(0.01)),
    ({"momentum": 0.7}, lambda: optax.sgd(0.01, 0.7)),
    ({"momentum": 0.7, "nesterov": True}, lambda: optax.sgd(0.01, 0.7, nesterov=True)),
    ({"weight_decay": 0.1}, lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.01))),
    (
        {"clip_norm": 2.0, "weight_decay": 0.1},
        lambda: optax.chain(optax.clip_by_global_norm(2.0), optax.add_decayed_weights(0.1), optax.sgd(0.01)),
    ),
    ({"optimizer": "adam"}, lambda: optax.adam(0.01)),
    ({"optimizer": "adam", **ADAM}, lambda: optax.adam(0.01, 0.8, 0.95, 1e-3)),
    ({"optimizer": "adam", "beta1": 0.0}, lambda: optax.adam(0.01, 0.0)),
    ({"optimizer": "adam", "nesterov": True, **ADAM}, lambda: optax.nadam(0.01, 0.8, 0.95, 1e-3)),
    ({"optimizer": "adamw"}, lambda: optax.adamw(0.01)),
    (
        {"optimizer": "adamw", "weight_decay": 0.3, "nesterov": True, "clip_norm": 1.0},
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.nadamw(0.01, weight_decay=0.3)),
    ),
    ({"optimizer": "adamax", **ADAM}, lambda: optax.adamax(0.01, 0.8, 0.95, 1e-3)),
    ({"optimizer": "amsgrad", **ADAM}, lambda: optax.amsgrad(0.01, 0.8, 0.95, 1e-3)),
    ({"optimizer": "lion"}, lambda: optax.lion(0.01)),
    (
        {"optimizer": "lion", "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.3},
        lambda: optax.lion(0.01, 0.8, 0.95, weight_decay=0.3),
    ),
    ({"optimizer": "rmsprop"}, lambda: optax.rmsprop(0.01)),
    (
        {"optimizer": "rmsprop", "beta2": 0.8, "momentum": 0.5, "nesterov": True},
        lambda: optax.rmsprop(0.01, 0.8, momentum=0.5, nesterov=True),
    ),
    ({"optimizer": "adagrad"}, lambda: optax.adagrad(0.01)),
    ({"optimizer": "adagrad", "epsilon": 0.1}, lambda: optax.adagrad(0.01, eps=0.1)),
    ({"warmup_epochs": 10}, lambda: optax.sgd(warm_up)),
    ({"schedule": "linear", **DECAY}, lambda: optax.sgd(schedule_of("linear"))),
    ({"schedule": "cosine", **DECAY, "optimizer": "lion"}, lambda: optax.lion(schedule_of("cosine"))),
    ({"schedule": "exponential", **DECAY, "optimizer": "adamw"}, lambda: optax.adamw(schedule_of("exponential"))),
]


@pytest.mark.parametrize(("fields", "plain"), CASES, ids=[" ".join(map(str, c[0].values())) or "sgd" for c in CASES])
def test_oracle_equals_optax_with_python_numbers(
    fields: dict[str, Any], plain: Callable[[], optax.GradientTransformation]
) -> None:
    shape, traced = inputs(Run(**CANONICAL | {"learning_rate": 0.01} | fields))
    found = path(lambda traced: optimizers.build(shape, traced), traced)
    expected = path(lambda _: plain(), {})
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)
        assert np.abs(values[-1] - PARAMS[name]).max() > 1e-3


def test_every_optimizer_is_compared_with_optax() -> None:
    assert {fields.get("optimizer", "sgd") for fields, _ in CASES} == set(OPTIMIZERS)
    assert every_field()["optimizer"].options == tuple(OPTIMIZERS)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("linear", 0.6, 0.2), ("cosine", 0.6, 0.2), ("exponential", 0.2**0.5, 0.2), ("constant", 1.0, 1.0)],
)
def test_theory_schedules_hit_their_documented_values(schedule: str, middle: float, end: float) -> None:
    fields = {"schedule": schedule, "warmup_epochs": 10}
    if schedule != "constant":
        fields |= {"decay_epochs": 20, "final_learning_rate": 0.2}
    shape, traced = inputs(Run(**CANONICAL | fields))
    with jax.enable_x64(True):
        rates = [optimizers.learning_rate(shape, traced, jnp.int32(e)) for e in (0, 5, 10, 20, 30, 1000)]
    np.testing.assert_allclose(np.array(rates) / 1e-5, [0, 0.5, 1, middle, end, end], rtol=1e-14)


def test_property_clipping_is_by_the_norm_of_one_run() -> None:
    shape, traced = inputs(Run(**CANONICAL | {"learning_rate": 1.0, "clip_norm": 1.0}))
    norms = np.array([0.5, 3.0, 40.0])
    with jax.enable_x64(True):
        grads = {"a": norms[:, None] * np.array([0.6, 0.0]), "b": norms * 0.8}
        many = {name: np.repeat(value, 3) for name, value in traced.items()} | {"clip_norm": np.array([1.0, 2.0, 1e9])}

        def update(traced: Any, grads: Any) -> Any:
            rule = optimizers.build(shape, traced)
            return rule.update(grads, rule.init(grads), grads)[0]

        updates = jax.vmap(update)(many, grads)
        np.testing.assert_allclose(jax.vmap(optax.tree.norm)(updates), [0.5, 2.0, 40.0], rtol=1e-14)


def test_property_the_first_updates_of_adam_are_exact_in_float32() -> None:
    shape, traced = inputs(Run(**CANONICAL | {"optimizer": "adam", "dtype": "float32", "learning_rate": 1.0}))
    rule = optimizers.build(shape, jax.tree.map(jnp.asarray, traced))
    state = rule.init(jnp.float32(0))
    for _ in range(20):  # of a constant gradient both means are that gradient, so every update is -1
        update, state = rule.update(jnp.float32(0.3), state)
        np.testing.assert_allclose(update, -1, rtol=1e-6)


def test_compile_count_a_grid_over_numbers_is_one_program() -> None:
    fields = CANONICAL | {"optimizer": "adamw", "schedule": "cosine", "clip_norm": 1.0, "warmup_epochs": 2}
    fields |= {"decay_epochs": 11, "dtype": "float32"}
    before = programs.made()
    changes: list[dict[str, Any]] = [{}, {"learning_rate": 0.5}, {"beta1": 0.5}, {"beta2": 0.5}, {"epsilon": 0.1}]
    changes += [{"weight_decay": 0.0}, {"clip_norm": 7.0}, {"warmup_epochs": 3}, {"decay_epochs": 7}, {"seed": 1}]
    changes += [{"final_learning_rate": 0.5}]
    for change in changes:
        ghostsweep.train_one(Run(**fields | change))
    assert programs.made() == before + 1


@pytest.mark.parametrize("base", [CANONICAL, RANK_ONE], ids=["canonical", "rank_one"])
def test_oracle_a_run_trains_as_with_a_plain_loop(base: dict[str, Any]) -> None:
    run = Run(**base | {"optimizer": "adam", "learning_rate": 1e-3, "dtype": "float64"})
    shape, traced = inputs(run)
    losses = []
    with train.precision(shape), jax.numpy_dtype_promotion("standard"):  # optax itself needs it
        params = train.initial_params(shape, traced)
        rule = optax.adam(1e-3)
        measured = jax.jit(lambda p: evaluate(shape, p, traced))
        state = rule.init(params)
        for _ in range(20):
            found = measured(params)
            losses.append(float(found.loss))
            updates, state = rule.update(found.grads, state, params)
            params = optax.apply_updates(params, updates)
    history = ghostsweep.train_one(run)
    np.testing.assert_allclose(history.loss[:20], losses, rtol=1e-9)
    assert history.loss[-1] < history.loss[0]


SWEEP = """
[run]
timescale = 5
epochs = 50
dtype = "float64"
optimizer = "adam"
[[axes]]
model = ["canonical"]
learning_rate = [1e-3, 1e-2]
[[axes]]
model = ["rank_one"]
n_units = [20]
beta1 = [0.0, 0.9]
learning_rate = [0.01, 1e300]
"""


def test_oracle_a_sweep_equals_single_runs_and_diverged_ones_freeze(tmp_path: Path) -> None:
    tables = ghostsweep.run(loads(SWEEP, name="adam"), out=tmp_path)
    runs = tables.runs
    assert tables.meta["sessions"][0]["programs"] == 2
    assert runs["status"].tolist() == ["done", "done", "done", "diverged", "done", "diverged"]
    for row in runs[runs["status"] == "done"].to_dict("records"):
        fields = {name: row[name] for name in ("model", "timescale", "learning_rate", "optimizer", "beta1", "dtype")}
        run = Run(**fields, epochs=50, n_units=20 if row["model"] == "rank_one" else None)
        assert run.run_id == row["run_id"]
        np.testing.assert_allclose(row["final_loss"], ghostsweep.train_one(run).loss[-1], rtol=1e-12)


def test_plan_runs_share_a_program_where_the_same_parts_are_on() -> None:
    text = """
    run = { model = "canonical", timescale = 5, epochs = 50 }
    axes = [
        { optimizer = ["adam", "sgd"], learning_rate = [1e-3, 1e-2] },
        { optimizer = ["adam"], learning_rate = [1e-3], beta1 = [0.5] },
        { learning_rate = [1e-3], momentum = [0.0, 0.9], clip_norm = [1.0] },
        { learning_rate = [1e-3], momentum = [0.0, 0.9], nesterov = [true, false] },
    ]
    """
    chunks = plan.chunks(plan.Plan.of(loads(text, name="parts")), 1, 1e9)
    assert [len(chunk.runs) for chunk in chunks] == [3, 2, 2, 2, 2]
    for chunk in chunks:
        assert len({chunk.shape} | set(map(shape_of, chunk.runs.to_dict("records")))) == 1
    optional = [[n for n in ("momentum", "beta1", "clip_norm") if n in chunk.shape.traced] for chunk in chunks]
    assert optional == [["beta1"], [], ["momentum", "clip_norm"], ["momentum"], ["momentum"]]


def test_golden_run_ids_have_not_changed() -> None:
    canonical = Run(model="canonical", timescale=100, learning_rate=1e-10, epochs=3000, seed=3)
    rank_one = Run(model="rank_one", timescale=20, learning_rate=0.003, epochs=500_000, seed=40, n_units=50)
    assert (canonical.run_id, rank_one.run_id) == ("9d3808d5e66164f1", "c2a0d61897fd1ed2")


def test_property_defaults_of_an_optimizer_are_filled_and_left_out_of_the_id() -> None:
    adam = Run(**CANONICAL, optimizer="adam")
    assert (adam.beta1, adam.beta2, adam.epsilon, adam.weight_decay) == (0.9, 0.999, 1e-8, None)
    assert "momentum" not in adam.fields
    assert Run(**CANONICAL, optimizer="adam", beta2=0.999).run_id == adam.run_id
    assert Run(**CANONICAL, optimizer="rmsprop").beta2 == 0.9
    others = [{}, {"optimizer": "adamw"}, {"optimizer": "adam", "beta2": 0.99}, {"momentum": 0.0}, {"nesterov": None}]
    assert len({Run(**CANONICAL, **fields).run_id for fields in others} | {adam.run_id}) == 5


ERRORS = {
    'optimizer = "admw"': "optimizer: found 'admw'; allowed: one of 'sgd', 'adam', 'adamw', 'adamax', 'amsgrad', "
    "'lion', 'rmsprop', 'adagrad'; did you mean 'adamw'?",
    "beta1 = 0.9": "beta1: optimizer 'sgd' has no such field",
    'optimizer = "adam"\nmomentum = 0.9': "momentum: optimizer 'adam' has no such field",
    'optimizer = "adam"\nbeta1 = 1.0': "beta1: found 1.0; allowed: a finite number >= 0 and < 1",
    "beta_1 = 0.9": "beta_1: no such field; did you mean 'beta1' or 'beta2'? `ghostsweep fields` lists all",
    "clip_norm = 0.0": "clip_norm: found 0.0; allowed: a finite number > 0",
    "nesterov = true": "nesterov: found True; allowed: false without momentum, where the optimizer is 'sgd'",
    "nesterov = 1\nmomentum = 0.5": "nesterov: found 1; allowed: true or false",
    'schedule = "cosine"': "decay_epochs: missing; a whole number >= 1, which schedule 'cosine' needs",
    "decay_epochs = 10": "decay_epochs: schedule 'constant' has no such field",
    'schedule = "exponential"\ndecay_epochs = 10\nfinal_learning_rate = 0.0': "final_learning_rate: found 0.0; "
    "allowed: a finite number > 0, where the schedule is 'exponential'",
    "warmup_epochs = 0": "warmup_epochs: found 0; allowed: a whole number >= 1",
}


@pytest.mark.parametrize(("fields", "line"), ERRORS.items())
def test_errors_are_one_line_that_names_key_found_and_allowed(fields: str, line: str) -> None:
    text = f'[run]\nmodel = "canonical"\ntimescale = 10\nlearning_rate = 1e-5\nepochs = 10\n{fields}\n'
    with pytest.raises(ghostsweep.UsageError) as error:
        loads(text, name="bad", source="bad.toml")
    assert len(str(error.value).splitlines()) == 1
    assert re.match(rf"bad.toml(, line \d+)?: run\.{re.escape(line)}", str(error.value))


def test_errors_of_an_axis_of_optimizers() -> None:
    text = '[run]\nmodel = "canonical"\ntimescale = 10\nlearning_rate = 1e-5\nepochs = 10\nbeta1 = 0.5\n'
    with pytest.raises(ghostsweep.UsageError, match=r"run\.beta1: optimizer 'sgd'"):
        loads(text + '[axes]\noptimizer = ["adam", "sgd"]', name="bad")


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ('optimizer = ["adam", "sgd"]\nnesterov = [false, true]', r"nesterov: found True; allowed: false without"),
        (
            'schedule = ["linear", "exponential"]\nfinal_learning_rate = [0.1, 0.0]\ndecay_epochs = [5]',
            r"final_learning_rate: found 0\.0; allowed: a finite number > 0",
        ),
    ],
)
def test_errors_of_a_combination_that_only_the_product_of_axes_has(axes: str, line: str) -> None:
    text = '[run]\nmodel = "canonical"\ntimescale = 10\nlearning_rate = 1e-5\nepochs = 10\n[axes]\n'
    with pytest.raises(ghostsweep.UsageError, match=r"axes\." + line):
        loads(text + axes, name="bad")


def test_shape_is_the_same_from_a_run_and_from_its_row() -> None:
    text = '[run]\nmodel = "rank_one"\ntimescale = 10\nlearning_rate = 1e-5\nepochs = 10\noptimizer = "lion"\n'
    row = plan.expand(loads(text, name="one"))
    shape = shape_of(row.iloc[0].to_dict())
    run = Run(model="rank_one", timescale=10, learning_rate=1e-5, epochs=10, optimizer="lion")
    assert shape == shape_of(run.fields)
    assert shape.get("nesterov") is None
