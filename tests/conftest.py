"""Several CPU devices, so that sharding is tested, and JAX's strictest checks; results that several files compare with.

There are two devices, or as many as GHOSTSWEEP_TEST_DEVICES says.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import installed
import programs
import pytest

# Both before NumPy and JAX are imported, for children too. Threads of BLAS, idle between small matrices, took as much
# time again as the work itself.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
EMITTERS = "xla_cpu_use_fusion_emitters"
"""XLA's newer way to write loops, and its own choice. The older one is compiled in two thirds of the time; its
logarithms have seven digits in float64 too, so that compiled and uncompiled random numbers differ there."""
OLDER = EMITTERS not in os.environ.get("XLA_FLAGS", "")
if OLDER:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{EMITTERS}=false".strip()
programs.keep()

import apart  # noqa: E402
import jax  # noqa: E402

from ghostsweep.machine import kernels  # noqa: E402
from ghostsweep.training import programs as train_programs  # noqa: E402

jax.config.update("jax_num_cpu_devices", int(os.environ.get("GHOSTSWEEP_TEST_DEVICES", "2")))
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


AS_USERS = {"golden", "test_kernels", "test_still", "test_ambient", "test_noise"}
"""Folders and files of tests whose programs are compiled as users' are. They hold numbers against independent
histories, kernels against what they replace, random numbers and JAX's settings against what is known of them. Others
ask for equations, files, processes, messages and pictures: few optimizations do there, in a quarter of the time."""
QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
OPTIONS = kernels.options


def _as_users(platform: str, kernel: bool) -> dict[str, Any]:
    """Options of a training program as users have it, whatever is in XLA_FLAGS for all others."""
    return OPTIONS(platform, kernel) | ({EMITTERS: True} if platform == "cpu" and OLDER else {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process waits for another at the end (`--no-loadscope-reorder`); or shuffled.

    By the seed that GHOSTSWEEP_TEST_ORDER gives, the files and the tests of each.
    """
    items.sort(key=lambda item: item.path.parent.name not in ("whole", "processes"))
    if seed := os.environ.get("GHOSTSWEEP_TEST_ORDER"):
        items.sort(key=lambda item: hashlib.sha256(f"{seed} {item.nodeid}".encode()).digest())
        items.sort(key=lambda item: hashlib.sha256(f"{seed} {item.path}".encode()).digest())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set how programs are compiled, before any fixture of the test, here and in processes that it starts."""
    quickly = AS_USERS.isdisjoint((item.path.parent.name, item.path.stem))
    if (os.environ.get(QUICKLY) == "1") != quickly:
        os.environ[QUICKLY] = "1" if quickly else "0"
        jax.config.update("jax_disable_most_optimizations", quickly)
        kernels.options = OPTIONS if quickly else _as_users
        train_programs._kept.cache_clear()
        jax.clear_caches()


MAX_MAPS = 20_000
"""Mappings of memory of a process, above which programs are dropped; Linux allows 65,530, and each has three to ten."""


@pytest.fixture(scope="module", autouse=True)
def _programs_dropped() -> Iterator[None]:
    """No process holds the programs of so many files of tests that the next one finds no room, and crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MAX_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _parts_forgotten() -> Iterator[None]:
    """Models and tasks that a test brings are known to no other."""
    with apart.forgotten():
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tables of the long sweep of `cluster` in two shards, nothing interrupted."""
    import cluster

    found = cluster.in_shards(tmp_path_factory.mktemp("whole"), 2, cluster.TEXT)
    assert cluster.names(found.folder) == cluster.FINISHED and len(found.runs) == 24
    return found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of the whole-product check (tests/whole), where it was run."""
    reports = [
        each for name in ("passed", "failed") for each in terminalreporter.stats.get(name, ()) if each.when == "call"
    ]
    if found := installed.summary(reports):
        terminalreporter.write_sep("=", "tried")
        terminalreporter.write_line("\n".join(found))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a wheel of this checkout is installed."""
    return installed.site(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def tried(package: Path, record_property: Any) -> Any:
    """Try commands and code of the installed package, tell each in the table, and fail where one is bad."""

    def each(wanted: list[dict[str, Any]], about: str = "") -> list[installed.Tried]:
        found = installed.attempts(package, wanted)
        for line in installed.lines(found, about):
            record_property(installed.TOLD, line)
        bad = [f"{one.what}:\n{one.said[-300:]}\n{one.erred}" for one in found if not one.good]
        assert not bad, "\n\n".join(bad)
        return found

    return each
