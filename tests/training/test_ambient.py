"""Settings of JAX that the user has: none changes a draw, a digit or the end of a sweep; others are kept or refused."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from jax.experimental.compilation_cache import compilation_cache

import ghostsweep
from ghostsweep import plan
from ghostsweep.machine import ambient
from ghostsweep.spec import Record, Run, loads, shape_of
from ghostsweep.training import engine, programs, train

SWEEP = """
[run]
model = "rank_one"
n_units = 9
timescale = 4
epochs = 50
[axes]
seed = { range = 2 }
learning_rate = [0.3, 3e38]
[record]
points = 5
"""
NOISY = Run(
    model="low_rank", task="dcdt", rank=1, n_units=4, noise_sigma=0.1, epochs=3, input_ms=10, delay_ms=10,
    reaction_ms=10, learning_rate=0.05, seed=3,
)  # fmt: skip
Setting = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def update(name: str, value: Any) -> Iterator[None]:
    """A setting as a program makes it for all threads, taken back at the end."""
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


DECIDE: dict[str, Setting] = {
    "another generator": lambda: update("jax_default_prng_impl", "rbg"),
    "another generator, in this thread": lambda: jax.default_prng_impl("unsafe_rbg"),
    "draws of old": lambda: update("jax_threefry_partitionable", False),
    "seeds with an offset": lambda: update("jax_random_seed_offset", 7),
    "64 bits": lambda: update("jax_enable_x64", True),
    "coarse products": lambda: update("jax_default_matmul_precision", "bfloat16"),
}
INTERFERE: dict[str, Setting] = {
    "no transfers": lambda: update("jax_transfer_guard", "disallow"),
    "no transfers one way": lambda: jax.transfer_guard_device_to_host("disallow_explicit"),
    "NaN": lambda: update("jax_debug_nans", True),
    "infinity": lambda: update("jax_debug_infs", True),
    "no compilation": lambda: update("jax_disable_jit", True),
    "no tracing": lambda: jax.no_tracing(True),
    "no execution": lambda: jax.no_execution(True),
    "a mesh": lambda: jax.set_mesh(jax.make_mesh((2,), ("runs",))),
}


@pytest.fixture(autouse=True)
def compiled_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under a setting that decides numbers no program is taken that was kept: what it does to compilation must show."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is None or callspec.params.get("name") not in DECIDE:
        yield
        return
    with update("jax_enable_compilation_cache", False):
        compilation_cache.reset_cache()  # or it does not look
        yield
    compilation_cache.reset_cache()


def trained(out: Path, setting: Setting) -> ghostsweep.Tables:
    """The sweep under a setting, with nothing left of what was compiled before."""
    programs._kept.cache_clear()
    jax.clear_caches()
    with setting():
        return ghostsweep.run(loads(SWEEP, name="x"), out=out)


def history() -> list[np.ndarray]:
    jax.clear_caches()
    found = ghostsweep.train_one(NOISY)
    return [found.loss, found.grad_norm, found.weight_norm, *found.params.values()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ghostsweep.Tables:
    found = trained(tmp_path_factory.mktemp("plain"), contextlib.nullcontext)
    assert found.runs["status"].tolist() == ["done", "done", "diverged", "diverged"]
    return found


@pytest.fixture(scope="module")
def plain_history() -> list[np.ndarray]:
    return history()


USUAL = {"64 bits", "seeds with an offset", "NaN", "no transfers"}
"""Settings that are tried every time; the others are all of their kind, and are seldom."""
SETTINGS = [pytest.param(name, marks=[] if name in USUAL else pytest.mark.seldom) for name in DECIDE | INTERFERE]


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit_of_a_sweep_or_stops_it(tmp_path: Path, plain: ghostsweep.Tables, name: str) -> None:
    found = trained(tmp_path, (DECIDE | INTERFERE)[name])
    pd.testing.assert_frame_equal(found.runs, plain.runs, check_exact=True)
    pd.testing.assert_frame_equal(found.curves, plain.curves, check_exact=True)


@pytest.mark.seldom
@pytest.mark.parametrize("name", [*DECIDE, "no transfers", "no compilation"])
def test_no_setting_changes_a_bit_of_a_noisy_history(plain_history: list[np.ndarray], name: str) -> None:
    with (DECIDE | INTERFERE)[name]():
        for found, expected in zip(history(), plain_history, strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)


def test_keys_are_those_of_jax_where_nobody_has_set_anything() -> None:
    for seed in (0, 1, 2**32 - 1):
        found = train.run_key({"seed": jax.numpy.uint32(seed)}, 1)
        expected = jax.random.fold_in(jax.random.key(np.uint32(seed)), 1)
        assert jax.random.key_data(found).tolist() == jax.random.key_data(expected).tolist()


def test_the_users_settings_are_back_afterwards() -> None:
    with update("jax_threefry_partitionable", False), jax.transfer_guard("log"):
        before = dict(jax.config.values)
        with contextlib.suppress(ZeroDivisionError), ambient.pinned(True):
            assert jax.config.values["jax_enable_x64"] and jax.config.values["jax_threefry_partitionable"]
            raise ZeroDivisionError
        assert jax.config.values == before


@pytest.mark.parametrize("name", ambient.FORBIDDEN)
def test_a_setting_that_no_training_goes_with_is_refused(tmp_path: Path, name: str) -> None:
    other = "raise" if ambient.FORBIDDEN[name] == "ignore" else True
    with update(name, other):
        with pytest.raises(ghostsweep.UsageError, match=f"{name}: found {other!r}; allowed .*: "):
            ghostsweep.train_one(NOISY)
        with pytest.raises(ghostsweep.UsageError, match=f"{name}: found {other!r}; allowed .*: "):
            ghostsweep.run(loads(SWEEP, name="x"), out=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("jax_disable_most_optimizations", True), ("jax_optimization_level", "O0"), ("jax_use_shardy_partitioner", False)],
)
def test_what_cannot_be_pinned_is_recorded_and_part_of_the_identity(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    runs = plan.expand(loads(SWEEP, name="x"))
    chunk = plan.Chunk(shape_of(runs.iloc[0].to_dict()), 50, 4, runs)

    def identity() -> str:
        return engine._identity(chunk, Record(), np.zeros(4, bool), jax.local_devices())

    usual = ambient.settings(), identity()
    with update(name, value):
        assert ambient.settings() == usual[0] | {name: value}
        assert identity() != usual[1]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=SSE4_2")
    assert ambient.settings() == usual[0] | {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}
    assert identity() != usual[1]
    with jax.default_device(jax.local_devices()[-1]):
        assert json.loads(json.dumps(ambient.settings()))["jax_default_device"]


def test_of_flags_in_a_file_what_is_in_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flags").write_text("--xla_cpu_max_isa=AVX")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    assert ambient.settings()["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX"
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none"))
    assert ambient.settings()["XLA_FLAGS"] == str(tmp_path / "none")


def test_what_strict_tests_set_stays_in_force_inside(plain: ghostsweep.Tables) -> None:
    with ambient.pinned(False):
        assert jax.config.values["jax_numpy_rank_promotion"] == "raise"
        assert jax.config.values["jax_numpy_dtype_promotion"].value == "strict"


def test_a_session_says_under_which_settings_it_trained(plain: ghostsweep.Tables) -> None:
    assert plain.meta["sessions"][0]["jax_config"] == ambient.settings()
    assert {"jax_threefry_partitionable", "jax_default_prng_impl", "jaxlib"} <= ambient.settings().keys()
