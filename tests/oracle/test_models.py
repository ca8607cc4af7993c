"""Oracle and property: the networks' numbers against plain autodiff, each other, and themselves in a batch."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ghostsweep import Run, train_one
from ghostsweep.declare import Shape
from ghostsweep.spec import shape_of
from ghostsweep.tasks.cues import trials as cue_trials
from ghostsweep.tasks.delayed_activation import target as delayed_activation_target
from ghostsweep.training import evaluation, train
from ghostsweep.training.evaluation import evaluate

CUES: dict[str, Any] = {"input_ms": 10.0, "delay_ms": 15.0, "reaction_ms": 10.0}
NOISE: dict[str, Any] = {"trials_per_class": 3, "r0_sigma": 0.3, "noise_sigma": 0.1}
SMALL: dict[str, dict[str, Any]] = {
    "rank one": {"model": "rank_one", "timescale": 6, "confidence": 3.0},
    "rank one, c trained": {"model": "rank_one", "timescale": 6, "confidence": 3.0, "train_confidence": True},
    "rank 3": {"model": "low_rank", "rank": 3, "timescale": 6},
    "full": {"model": "full_rank", "timescale": 6, "confidence": -2.0},
    "rank 2, dcdt": {"model": "low_rank", "rank": 2, "task": "dcdt", "confidence": -2.0, **CUES, **NOISE},
    "rank 2, dmts": {"model": "low_rank", "rank": 2, "task": "dmts", **CUES},
    "full, dcdt": {"model": "full_rank", "task": "dcdt", **CUES},
    "full, dmts": {"model": "full_rank", "task": "dmts", "confidence": 3.0, **CUES, **NOISE},
}


def setting(dtype: str = "float64", **fields: Any) -> tuple[Shape, dict[str, jax.Array]]:
    """Shape and traced values of one run; call it inside `precision`."""
    values = Run(**{"learning_rate": 0.1, "epochs": 3, "n_units": 12, "dtype": dtype} | fields).fields
    shape = shape_of(values)
    traced = {name: jnp.asarray(values[name], kind) for name, kind in shape.traced_types.items()}
    return shape, traced | {"key": jax.random.key(7)}


def plain_loss(shape: Shape, traced: dict[str, jax.Array], p: dict[str, jax.Array]) -> jax.Array:
    """The equations of the paper, section 2, in N dimensions, step by step."""
    leak = traced["dt_ms"] / traced["tau_ms"]
    cue = shape.task != "delayed_activation"
    recurrent = {
        "rank_one": lambda x: (x @ p["n"])[:, None] * p["m"],
        "low_rank": lambda x: x @ p["s_l"] @ p["s_r"] if cue else x @ p["m"] @ p["n"],
        "full_rank": lambda x: x @ p["w_rec" if cue else "w"],
    }[shape.model]
    c = p.get("c", traced["confidence"])

    def read(x: jax.Array) -> jax.Array:
        if shape.model == "rank_one":
            return c * (x @ p["n"] - 1)
        return c * ((x @ p["s_l"] if "s_l" in p else x) @ p["w_out"] + p["b_out"])

    if not cue:
        start, drive = jnp.full((1, len(p["b"])), -0.3), jnp.tile(p["b"], (shape.n_steps, 1, 1))
    else:
        inputs, targets = map(jnp.asarray, cue_trials(shape, {})[:2])
        shapes = [(shape.n_trials, len(p["b_in"])), (shape.n_steps - 1, shape.n_trials, len(p["b_in"]))]
        start, noise = (
            jax.random.normal(jax.random.fold_in(traced["key"], i), s, jnp.float32).astype(shape.dtype)
            for i, s in enumerate(shapes)
        )
        start = jnp.tanh(traced["r0_sigma"] * start)
        drive = inputs[:-1, :, None] * p["w_in"] + p["b_in"] + traced["noise_sigma"] * noise

    def step(x: jax.Array, drive: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = (1 - leak) * x + leak * jnp.tanh(recurrent(x) + drive)
        return x, x

    _, after = lax.scan(step, start, drive)
    if not cue:
        error = jax.nn.sigmoid(read(after)[:, 0]) - delayed_activation_target(shape.n_steps // 2)
        return (error**2).sum() / (shape.n_steps // 2)
    outputs = read(jnp.concatenate([start[None], after]))
    return (((jnp.tanh(outputs) if shape.task == "dcdt" else jax.nn.sigmoid(outputs)) - targets) ** 2).mean()


@pytest.mark.parametrize("name", SMALL)
def test_hand_written_gradients_equal_autodiff_through_the_plain_recurrence(name: str) -> None:
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):  # for the equations as the paper writes them
        shape, traced = setting(**SMALL[name])
        params = train.initial_params(shape, traced)
        params = {k: v + 0.1 * jax.random.normal(jax.random.key(1), v.shape, v.dtype) for k, v in params.items()}
        found = jax.jit(evaluate, static_argnums=0)(shape, params, traced)
        loss, grads = jax.jit(jax.value_and_grad(lambda p: plain_loss(shape, traced, p)))(params)
    assert found.loss == pytest.approx(float(loss), rel=1e-12)
    assert set(found.grads) == set(params)
    for key, value in grads.items():
        assert found.grads[key].shape == value.shape
        np.testing.assert_allclose(found.grads[key], value, rtol=1e-10, atol=1e-12, err_msg=key)


def test_full_rank_equals_rank_n_with_an_identity() -> None:
    one = np.eye(12)
    for task, low_names, w in (("delayed_activation", ("n", "m"), "w"), ("dcdt", ("s_l", "s_r"), "w_rec")):
        fields = {"task": task} | ({"timescale": 6} if task == "delayed_activation" else CUES)
        with jax.enable_x64(True):
            shape, traced = setting(model="full_rank", **fields)
            params = train.initial_params(shape, traced)
            full = evaluate(shape, params, traced)
            low_shape, _ = setting(model="low_rank", rank=12, **fields)
            weights = params.pop(w)
            low_params = params | dict(zip(low_names, (jnp.asarray(one), weights), strict=True))
            low = evaluate(low_shape, low_params, traced)
        assert low.loss == pytest.approx(float(full.loss), rel=1e-13)
        np.testing.assert_allclose(low.grads[low_names[1]], full.grads[w], rtol=1e-10, atol=1e-15)
        for key in params:
            np.testing.assert_allclose(low.grads[key], full.grads[key], rtol=1e-10, atol=1e-15)


def start(fields: dict[str, Any], seeds: Sequence[int]) -> tuple[Shape, train.State, dict[str, jax.Array]]:
    """Shape, states and traced values of runs that differ by seed."""
    values = Run(**{"learning_rate": 1.0} | fields, epochs=1).fields
    columns = {k: np.full(len(seeds), v) for k, v in values.items() if v is not None} | {"seed": np.array(seeds)}
    shape = shape_of(values)
    return shape, *train.start(shape, columns)


@functools.cache
def compiled(shape: Shape) -> Any:
    return jax.jit(train.batched(shape))


def batch_losses(fields: dict[str, Any], seeds: Sequence[int], epochs: int, calls: int = 1) -> np.ndarray:
    """Losses (epochs, runs) of runs that differ by seed, trained in a number of calls."""
    shape, state, traced = start(fields, seeds)
    program = compiled(shape)
    rows = []
    with train.precision(shape):
        for part in np.array_split(np.arange(epochs), calls):
            stops = np.full(train.MAX_STOPS + 1, epochs, np.int32)
            stops[: len(part) + 1] = np.arange(part[0], part[-1] + 2)
            state, report = program(state, traced, stops, np.int32(len(part)))
            rows.append(np.asarray(report.loss)[: len(part)])
    return np.concatenate(rows)


@pytest.mark.parametrize("name", ["rank 3", "rank 2, dcdt", "full, dmts"])
def test_a_run_is_the_same_alone_in_a_batch_and_resumed(name: str) -> None:
    """Of a noisy one so are its random numbers, epoch by epoch."""
    fields = SMALL[name] | {"n_units": 12, "learning_rate": 0.05, "dtype": "float64"}
    batch = batch_losses(fields, range(500), epochs=4)
    alone = train_one(Run(**fields, seed=321, epochs=4)).loss
    np.testing.assert_allclose(batch[:, 321], alone, rtol=1e-11)
    np.testing.assert_array_equal(batch_losses(fields, range(500), epochs=4, calls=2), batch)


def test_noise_is_drawn_anew_for_every_epoch_and_seed() -> None:
    fields = SMALL["rank 2, dcdt"] | {"n_units": 12, "learning_rate": 1e-12, "dtype": "float64"}
    params = {name: np.asarray(value[0]) for name, value in start(fields, [0])[1].params.items()}
    losses = [train_one(Run(**fields, seed=seed, epochs=50), initial=params).loss for seed in (0, 1)]
    assert len(np.unique(np.round(losses, 9))) == 100  # the parameters do not move, the noise does


def test_a_run_without_noise_draws_none_and_computes_one_trial_of_a_kind() -> None:
    quiet = SMALL["rank 2, dcdt"] | {"n_units": 12, "noise_sigma": 0.0, "r0_sigma": 0.0, "learning_rate": 0.1}
    for fields, draws in ((quiet, False), (quiet | {"r0_sigma": 0.1}, True), (quiet | {"noise_sigma": 0.1}, True)):
        shape, state, traced = start(fields, [0])
        stops = jnp.arange(train.MAX_STOPS + 1)
        program = jax.make_jaxpr(train.batched(shape))(state, traced, stops, jnp.int32(1))
        assert ("random_bits" in str(program)) == draws
    one, three = (train_one(Run(**quiet | {"trials_per_class": n}, epochs=3)).loss for n in (1, 3))
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("name", ["rank 2, dcdt", "full, dmts"])
def test_trials_in_batches_give_what_they_give_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with jax.enable_x64(True):
        shape, traced = setting(**SMALL[name] | {"trials_per_class": 24})
        silent = traced | {"r0_sigma": jnp.asarray(0.0), "noise_sigma": jnp.asarray(0.0)}
        params = train.initial_params(shape, traced)
        evaluate, batched = (jax.jit(functools.partial(each, shape)) for each in [evaluation.evaluate] * 2)
        noisy = [evaluate(params, traced | {"key": jax.random.key(i)}) for i in range(40)]
        together = evaluate(params, silent)
        monkeypatch.setattr(evaluation, "LARGEST_BATCH", 8)
        batches = batched(params, silent)
        noisy_batches = [batched(params, traced | {"key": jax.random.key(i)}) for i in range(40)]
    assert batches.loss == pytest.approx(float(together.loss), rel=1e-13)
    assert batches.accuracy == pytest.approx(float(together.accuracy), rel=1e-13)
    for key in params:
        np.testing.assert_allclose(batches.grads[key], together.grads[key], rtol=1e-9, atol=1e-14, err_msg=key)
    # Every batch draws its own noise: the mean of all trials scatters as little as before.
    scatter = [np.std([found.loss for found in many]) for many in (noisy, noisy_batches)]
    assert scatter[1] == pytest.approx(scatter[0], rel=0.5) and scatter[0] > 0


N = 200
DISTRIBUTIONS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, float]]]] = {
    "rank 4": (
        {"model": "low_rank", "rank": 4, "timescale": 6},
        dict.fromkeys(("m", "n", "w_out", "b_out"), ("normal", N**-0.5)) | {"b": ("normal", 0.0)},
    ),
    "full": (
        {"model": "full_rank", "timescale": 6},
        dict.fromkeys(("w", "w_out", "b_out"), ("normal", N**-0.5)) | {"b": ("normal", 0.0)},
    ),
    "rank 4, dcdt": (
        {"model": "low_rank", "rank": 4, "task": "dcdt", **CUES},
        {
            "s_l": ("normal", N**-0.5),
            "s_r": ("normal", 1.0),
            "w_in": ("uniform", (6 / (1 + N)) ** 0.5),
            "b_in": ("normal", 0.1),
            "w_out": ("uniform", (6 / 5) ** 0.5),
            "b_out": ("uniform", 0.5),
        },
    ),
    "full, dmts": (
        {"model": "full_rank", "task": "dmts", **CUES},
        {
            "w_rec": ("uniform", (3 / N) ** 0.5),
            "w_in": ("uniform", (6 / (1 + N)) ** 0.5),
            "b_in": ("uniform", 1.0),
            "w_out": ("uniform", (6 / (1 + N)) ** 0.5),
            "b_out": ("uniform", N**-0.5),
        },
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_initial_parameters_have_the_distributions_of_the_paper(name: str) -> None:
    fields, distributions = DISTRIBUTIONS[name]
    seeds = list(range(200))
    params = start(fields | {"n_units": N, "dtype": "float64"}, seeds)[1].params
    narrow = start(fields | {"n_units": N, "dtype": "float32"}, seeds)[1].params
    assert set(params) == set(distributions)
    for key, (kind, scale) in distributions.items():
        values = np.asarray(params[key])
        np.testing.assert_allclose(narrow[key], values, rtol=1e-6)
        if scale == 0:
            assert not values.any()
            continue
        error = 5 / values.size**0.5
        assert abs(values.mean()) < scale * error
        spread = scale if kind == "normal" else scale / 3**0.5
        assert values.std() == pytest.approx(spread, rel=error)
        kurtosis = (values**4).mean() / (values**2).mean() ** 2
        assert kurtosis == pytest.approx(3.0 if kind == "normal" else 1.8, abs=10 * error)
        assert kind == "normal" or abs(values).max() <= scale * (1 + 1e-6)


def test_a_scaled_readout_is_scaled_for_good_before_every_epoch() -> None:
    fields = SMALL["full, dcdt"] | {"n_units": 12, "learning_rate": 0.1, "dtype": "float64"}
    params = {name: np.asarray(value[0]) for name, value in start(fields, [0])[1].params.items()}
    for _ in range(3):
        scale = 0.5 / np.abs(params["w_out"]).sum()
        scaled = params | {name: scale * params[name] for name in ("w_out", "b_out")}
        plain = train_one(Run(**fields, epochs=1), initial=scaled)
        found = train_one(Run(**fields, epochs=1, readout_l1=0.5), initial=params)
        np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-12)
        for name, value in plain.params.items():
            np.testing.assert_allclose(found.params[name], value, rtol=1e-10)
        params = found.params


def test_the_gradient_norm_of_cue_tasks_counts_the_recurrent_weights_alone() -> None:
    for name, counted in (("full, dcdt", ["w_rec"]), ("rank 2, dmts", ["s_l", "s_r"])):
        fields = SMALL[name] | {"n_units": 12, "learning_rate": 1.0, "dtype": "float64"}
        before = {key: np.asarray(value[0]) for key, value in start(fields, [0])[1].params.items()}
        run = train_one(Run(**fields, epochs=1))
        steps = [run.params[key] - before[key] for key in counted]
        assert run.grad_norm[0] == pytest.approx(np.sqrt(sum((step**2).sum() for step in steps)), rel=1e-10)
