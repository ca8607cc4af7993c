"""How JAX starts in this process: its errors as one line, the number of devices, and pools of forked processes."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

import ghostsweep
from ghostsweep.machine import ambient, resources
from ghostsweep.training import engine

SWEEP = '[run]\nmodel = "canonical"\ntimescale = 10.0\nepochs = 5\nlearning_rate = 0.1\n'
RUN = 'ghostsweep.Run(model="canonical", timescale=10.0, epochs=5, learning_rate=0.1)'


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "x.toml").write_text(SWEEP)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("value", ["cuda", "xyz"])
@pytest.mark.parametrize("arguments", [("run", "x.toml"), ("run", "x.toml", "--dry-run")], ids=str)
def test_a_platform_that_is_not_here_is_one_line(tmp_path: Path, value: str, arguments: tuple[str, ...]) -> None:
    if value == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("there is a card here")
    done = python(tmp_path, "-m", "ghostsweep", *arguments, JAX_PLATFORMS=value)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert sum(f"JAX_PLATFORMS: found {value!r}" in line and "allowed: " in line for line in lines) == 1
    assert not (tmp_path / "results" / "x" / "sessions").exists()


@pytest.mark.parametrize(
    ("variable", "value"), [("JAX_PLATFORMS", "xyz"), ("JAX_PLATFORM_NAME", "cuda"), ("JAX_ENABLE_X64", "maybe")]
)
def test_training_one_run_without_the_platform_is_a_usage_error(tmp_path: Path, variable: str, value: str) -> None:
    code = f"import ghostsweep\ntry: ghostsweep.train_one({RUN})\nexcept ghostsweep.UsageError as e: print(e)"
    done = python(tmp_path, "-c", code, **{variable: value})
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert variable in line and value in line and "allowed: " in line


def test_an_estimate_with_a_variable_that_jax_cannot_read_is_one_line(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "ghostsweep", "run", "x.toml", "--dry-run", JAX_ENABLE_X64="maybe")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "JAX_ENABLE_X64" in done.stderr and "allowed: " in done.stderr


def test_more_devices_than_jax_was_started_with_says_how_to_get_them() -> None:
    n = len(engine.local_devices(2))
    assert ambient.is_started()
    said = rf"found {n + 1}; allowed: .* 1 to {n}, since .* JAX_NUM_CPU_DEVICES={n + 1}"
    with pytest.raises(ghostsweep.UsageError, match=said):
        engine.local_devices(2, n + 1)
    with pytest.raises(ghostsweep.UsageError, match=f"found 0; allowed: a whole number from 1 to {n}"):
        engine.local_devices(2, 0)


def test_few_devices_for_one_sweep_leave_the_others_for_the_next(tmp_path: Path) -> None:
    code = """
import ghostsweep
from ghostsweep.machine import ambient
from ghostsweep.training import engine
from ghostsweep.spec import loads
assert not ambient.is_started()
assert len(engine.local_devices(2, 1)) == 1
assert ambient.is_started()
assert len(engine.local_devices(2)) == len(engine.local_devices(2, 2)) == 2
ghostsweep.run("x.toml", devices=2)
"""
    done = python(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def test_asking_whether_jax_has_started_neither_starts_it_nor_sets_anything(tmp_path: Path) -> None:
    code = """
import jax
from ghostsweep.machine import ambient
for n in (-1, 3):
    jax.config.update("jax_num_cpu_devices", n)
    assert not ambient.is_started() and jax.config.jax_num_cpu_devices == n
assert len(jax.local_devices()) == 3 and ambient.is_started() and jax.config.jax_num_cpu_devices == 3
"""
    done = python(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_pool_of_forks_is_refused_once_jax_has_started(tmp_path: Path) -> None:
    jax.local_devices()
    for name in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(name)) as pool:
            if name == "fork":
                with pytest.raises(ghostsweep.UsageError, match="executor: found .* forked .*; allowed: .*spawn"):
                    resources.check_executor(pool)
            else:
                resources.check_executor(pool)
    with ThreadPoolExecutor(1) as threads:
        resources.check_executor(threads)
    resources.check_executor(object())


def test_a_pool_of_forks_may_be_given_before_jax_is_used(tmp_path: Path) -> None:
    code = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from ghostsweep import UsageError
from ghostsweep.machine import resources
multiprocessing.set_start_method("fork")
pool = ProcessPoolExecutor(1)
resources.check_executor(pool)
assert "jax" not in sys.modules
import jax
resources.check_executor(pool)
jax.local_devices()
try: resources.check_executor(pool)
except UsageError: print("refused")
"""
    done = python(tmp_path, "-c", code)
    assert done.stdout == "refused\n", done.stderr
