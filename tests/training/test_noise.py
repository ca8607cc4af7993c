"""The two generators of noise: random as far as tests tell, the same alone and in a batch, and resumed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import randomness
from scipy import special, stats

from ghostsweep import Run, UsageError, train_one
from ghostsweep.declare import Model, Shape, noise
from ghostsweep.declare.network import NOISE_SIGMA, RNG
from ghostsweep.spec import shape_of
from ghostsweep.training import train

LEAST = 1e-4
"""Chance below which one of the 70 tests of a few streams counts as failed."""
FIELDS: dict[str, Any] = {
    "model": "full_rank",
    "task": "dcdt",
    "n_units": 10,
    "input_ms": 10.0,
    "delay_ms": 15.0,
    "reaction_ms": 10.0,
    "trials_per_class": 8,
    "noise_sigma": 0.1,
    "r0_sigma": 0.1,
    "learning_rate": 0.3,
    "epochs": 20,
}
KEY = jnp.array([0x12345678, 0x9ABCDEF0], jnp.uint32)


def plain_word(position: int, first: int, second: int) -> int:
    """`noise.hashed` in whole numbers of Python."""

    def mixed(x: int, shifts: tuple[int, ...], factors: tuple[int, ...]) -> int:
        for shift, factor in zip(shifts, factors, strict=False):
            x = (x ^ (x >> shift)) * factor % 2**32
        return x ^ (x >> shifts[-1])

    x = mixed((position + first) % 2**32, (17, 11, 15, 14), (0xED5AD4BB, 0xAC4C1B51, 0x31848BAB))
    changed = (second << 16 | second >> 16) % 2**32
    return mixed(
        (x + position * (second | 1) + changed) % 2**32, (16, 14, 16, 17), (0xAECCEDAB, 0xAC613E37, 0x19C89935)
    )


def test_words_are_those_of_plain_arithmetic() -> None:
    found = np.asarray(noise.words(KEY, (5, 3))).ravel()
    assert found.tolist() == [plain_word(at, *map(int, KEY)) for at in range(15)]


def test_quantiles_are_normal_to_what_the_module_says() -> None:
    low = np.unique(np.r_[np.arange(4096), 2 ** np.linspace(0, 31, 100_000) - 1, 2**31 - 1].astype(np.uint32))
    z = np.asarray(randomness.NORMAL(low), float)
    chance = (low + 0.5) / 2**32
    off = abs(z + special.ndtri(chance))
    assert off[z < 4].max() < 4e-5 and off.max() < 4.1e-4  # 4.004e-4 without fused multiply-adds
    assert abs(stats.norm.sf(z) - chance).max() < 1e-5
    assert (np.diff(z) <= 0).all() and z[-1] == pytest.approx(0, abs=2e-6)
    assert z.max() == pytest.approx(6.34, abs=0.005)
    np.testing.assert_array_equal(randomness.NORMAL(low | np.uint32(1 << 31)), -z)


@pytest.mark.seldom
def test_no_test_tells_the_words_from_random_ones() -> None:
    for order, words in randomness.streams((16, 16, 32, 8, 16)):
        for test in randomness.TESTS:
            assert test(words) > LEAST, (order, test.__name__)


@pytest.mark.seldom
def test_neighbouring_keys_are_unlike_before_threefry_whitens_them() -> None:
    """From 1 on: position 0 of key (0, 0) is 0, the rarest number."""
    at = jnp.arange(1, 65, dtype=jnp.uint32)
    found = np.asarray(randomness.drawn(at, at, (256,), raw=True))
    for axis in range(3):
        words = np.moveaxis(found, axis, -1).ravel()
        for test in randomness.TESTS:
            assert test(words) > LEAST, (axis, test.__name__)


@pytest.mark.parametrize(
    ("bad", "found_by"),
    [
        (lambda words: np.sort(words), "lags"),
        (lambda words: words & np.uint32(0xFFFFFFFE), "low_pairs"),
        (lambda words: words * np.uint32(3) | np.uint32(1), "bytes_alike"),
        (lambda words: np.arange(words.size, dtype=np.uint32) * np.uint32(747796405) + np.uint32(9), "runs_test"),
        (lambda words: np.arange(words.size, dtype=np.uint32) * np.uint32(2654435769), "birthday_spacings"),
        (lambda words: np.repeat(words[::2], 2), "matrix_rank"),
        (lambda words: np.unique(words), "repeats"),
        (lambda words: np.where(words % 2000, words, words & np.uint32(0x800000FF)), "tails"),
        (lambda words: np.where(words % 2000, words, words & np.uint32(0x800000FF)), "moments"),
        (lambda words: words | (np.roll(words, 3) & np.uint32(0x01000000)), "bytes_alike"),
    ],
)
def test_the_tests_find_what_is_not_random(bad: Callable[[np.ndarray], np.ndarray], found_by: str) -> None:
    words = np.random.default_rng(0).integers(0, 2**32, 2**19, dtype=np.uint32)
    assert getattr(randomness, found_by)(words) > LEAST
    assert getattr(randomness, found_by)(bad(words)) < LEAST


def test_each_bit_of_position_and_key_changes_each_bit_of_a_word_half_the_time() -> None:
    random = np.random.default_rng(1)
    inputs = random.integers(0, 2**32, (3, 20_000), dtype=np.uint32)
    hashed = jax.jit(lambda at: noise.hashed(at[0], at[1:]))
    before = np.asarray(hashed(inputs))
    for part in range(3):
        for bit in range(32):
            flipped = inputs.copy()
            flipped[part] ^= np.uint32(1 << bit)
            changed = np.asarray(hashed(flipped)) ^ before
            shares = [(changed >> np.uint32(to) & 1).mean() for to in range(32)]
            assert np.abs(np.array(shares) - 0.5).max() < 5.5 * 0.5 / 20_000**0.5, (part, bit)


def test_no_two_seeds_and_epochs_share_a_key() -> None:
    at = jnp.arange(1024, dtype=jnp.uint32)
    of = jax.jit(jax.vmap(jax.vmap(randomness.key_of, (None, 0)), (0, None)))
    keys = np.asarray(of(at, at)).reshape(-1, 2)
    assert len(np.unique(keys.astype(np.uint64) @ np.array([2**32, 1], np.uint64))) == 2**20
    for half in keys.T:
        assert randomness.repeats(half) > LEAST


def setting(dtype: str = "float32", **fields: Any) -> tuple[Shape, dict[str, jax.Array]]:
    run = Run(**FIELDS | {"dtype": dtype} | fields)
    shape = shape_of(run.fields)
    return shape, {name: jnp.asarray(getattr(run, name), kind) for name, kind in shape.traced_types.items()}


@pytest.mark.parametrize("rng", RNG.options)
def test_both_precisions_draw_the_same(rng: str) -> None:
    found = {}
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            shape, traced = setting(dtype, rng=rng)
            found[dtype] = noise.normal(shape, {"key": jax.random.key(3)}, (7, 5), purpose=1)
        assert found[dtype].dtype == dtype
    np.testing.assert_array_equal(np.asarray(found["float64"]), np.asarray(found["float32"], np.float64))


def test_threefry_is_as_it_was() -> None:
    shape, _ = setting()
    key = jax.random.key(3)
    wanted = jax.random.normal(jax.random.fold_in(key, 1), (7, 5), jnp.float32)
    for unnamed in (shape, Shape("mine", None, "sgd", "float32")):
        np.testing.assert_array_equal(noise.normal(unnamed, {"key": key}, (7, 5), purpose=1), wanted)
    assert Run(**FIELDS).run_id == Run(**FIELDS, rng="threefry").run_id != Run(**FIELDS, rng="hash").run_id


def test_the_same_numbers_alone_and_anywhere_in_a_batch() -> None:
    shape, _ = setting(rng="hash")

    def of(seed: jax.Array) -> jax.Array:
        key = jax.random.fold_in(train.run_key({"seed": seed}, train.NOISE), 5)
        return noise.normal(shape, {"key": key}, (6, 16, 10), purpose=1)

    alone = np.asarray(jax.jit(of)(jnp.uint32(77)))
    for width, place in ((2, 0), (2, 1), (7, 3), (64, 63)):
        seeds = jnp.arange(width, dtype=jnp.uint32).at[place].set(77)
        np.testing.assert_array_equal(np.asarray(jax.jit(jax.vmap(of))(seeds))[place], alone)


def stretch(shape: Shape, traced: dict[str, jax.Array], state: train.State, first: int, last: int) -> Any:
    stops = jnp.full(train.MAX_STOPS + 1, last, jnp.int32).at[0].set(first)
    return jax.jit(train.batched(shape))(state, traced, stops, jnp.int32(1))


def test_a_resumed_stretch_and_a_later_phase_go_on_with_the_same_numbers() -> None:
    shape, traced = setting(rng="hash")
    traced = {name: value[None] for name, value in traced.items()}
    begun = train.start_batch(shape, traced)
    whole = stretch(shape, traced, begun, 0, 20)[0]
    half = stretch(shape, traced, stretch(shape, traced, begun, 0, 9)[0], 9, 20)[0]
    for name, value in whole.params.items():
        np.testing.assert_array_equal(half.params[name], value)
    run = Run(**FIELDS | {"rng": "hash"})
    first = train_one(Run(**FIELDS | {"rng": "hash", "epochs": 8}))
    later = train_one(Run(**FIELDS | {"rng": "hash", "epochs": 12}), after=first)
    np.testing.assert_array_equal(np.r_[first.loss, later.loss], train_one(run).loss)


@pytest.mark.seldom
def test_histories_of_either_generator_have_the_same_statistics() -> None:
    """Of one network, so that all that differs between runs is their noise, strong enough to change what is learned."""
    base = FIELDS | {"epochs": 60, "noise_sigma": 0.5, "r0_sigma": 0.5, "trials_per_class": 2}
    found = {}
    for rng in RNG.options:
        shape = shape_of(Run(**base | {"rng": rng}).fields)
        columns = {name: np.full(400, base.get(name, RUN_DEFAULTS.get(name))) for name in shape.traced}
        seeds = {"seed": np.arange(400), "first_epoch": np.zeros(400)}
        state, traced = train.start(shape, columns | seeds)
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), state)
        state, report = stretch(shape, traced, same, 0, 60)
        found[rng] = np.stack([np.asarray(state.loss_sum * 0 + report.loss_sum[0]) / 60, np.asarray(report.loss[0])])
    one, other = found.values()
    assert (one.std(axis=1) > 1e-4).all()
    for mine, its in zip(one, other, strict=True):
        assert stats.ttest_ind(mine, its).pvalue > 0.01
        assert stats.ks_2samp(mine, its).pvalue > 0.01


RUN_DEFAULTS = Run(**FIELDS).fields


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="rng: found 'philox'; allowed: one of 'threefry', 'hash'"):
        Run(**FIELDS, rng="philox")
    with pytest.raises(UsageError, match="task 'delayed_activation' has no such field"):
        Run(model="full_rank", timescale=5, learning_rate=0.1, epochs=1, rng="hash")
    shape, _ = setting(rng="hash")
    with pytest.raises(ValueError, match="size: found 4295032832 numbers; allowed: at most 4294967296 of rng 'hash'"):
        jax.eval_shape(lambda: noise.normal(shape, {"key": jax.random.key(0)}, (2**16, 2**16 + 1), purpose=0))


def test_the_field_is_in_the_program_only_where_something_is_random() -> None:
    assert setting(rng="hash")[0].rng == "hash"
    quiet = {"noise_sigma": 0.0, "r0_sigma": 0.0}
    assert setting(rng="hash", **quiet)[0] == setting(**quiet)[0]


def test_a_model_of_ones_own_draws_by_the_generator_of_its_run() -> None:
    def loss(shape: Shape, params: Any, traced: Any) -> tuple[jax.Array, jax.Array]:
        drawn = noise.normal(shape, traced, (4,), purpose=0)
        return ((params["x"] + traced["noise_sigma"] * drawn) ** 2).mean(), jnp.zeros((), shape.dtype)

    def initial(shape: Shape, traced: Any, key: jax.Array) -> dict[str, jax.Array]:
        return {"x": jnp.ones((4,), shape.dtype)}

    mine = Model("shaken", (NOISE_SIGMA, RNG), initial, loss=loss, version="1")
    run = {"model": mine, "noise_sigma": 0.5, "learning_rate": 0.1, "epochs": 3, "seed": 4}
    losses = {rng: train_one(Run(**run, rng=rng)).loss for rng in RNG.options}
    key = randomness.key_of(jnp.uint32(4), jnp.uint32(0), 0)
    drawn = {
        "hash": noise.quantile(noise.words(key, (4,))),
        "threefry": jax.random.normal(jax.random.wrap_key_data(key, impl="threefry2x32"), (4,), jnp.float32),
    }
    for rng, numbers in drawn.items():
        assert losses[rng][0] == pytest.approx(float(((1 + 0.5 * numbers) ** 2).mean()), rel=1e-6)
