"""One device of a machine and four: the same tables, and the same bits where each device has as many runs."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import loads

TEXT = """
[run]
learning_rate = 0.05
{fields}
[axes]
seed = {{ range = 12 }}
[record]
points = 12
"""
SWEEPS = {
    "canonical": 'model = "canonical"\ntimescale = 10.0\nr_start_sigma = 0.2\nepochs = 400',
    "full_rank": 'model = "full_rank"\ntask = "dcdt"\nn_units = 10\nnoise_sigma = 0.1\nepochs = 60\n'
    "input_ms = 20\ndelay_ms = 20\nreaction_ms = 20",
}
CODE = """
import sys
from pathlib import Path
import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import loads
n, out = int(sys.argv[1]), Path(sys.argv[2])
for path in sorted(Path(sys.argv[3]).glob("*.toml")):
    sweep = ghostsweep.load(path)
    ghostsweep.run(sweep, out=out / "wide", devices=n)
    one = plan.cost(plan.Plan.of(sweep).programs[0][0]).run_bytes
    ghostsweep.run(sweep, out=out / "three", devices=n, memory_bytes=3.5 * one * n)  # three runs a device
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The sweeps trained in processes of 1 and 4 devices."""
    root = tmp_path_factory.mktemp("devices")
    for name, fields in SWEEPS.items():
        text = TEXT.format(fields=fields)
        text = text.replace("0.05", "1e-6") if name == "canonical" else text
        (root / f"{name}.toml").write_text(text)
    for n in (1, 4):
        command = [sys.executable, "-W", "error", "-c", CODE, str(n), str(root / str(n)), str(root)]
        subprocess.run(command, check=True, timeout=300)
    return {n: root / str(n) for n in (1, 4)}


@pytest.mark.parametrize("name", SWEEPS)
def test_results_do_not_depend_on_the_number_of_devices(results: dict[int, Path], name: str) -> None:
    one = ghostsweep.read(name, results[1] / "wide")
    tolerance = {"float64": 1e-9, "float32": 1e-3}[one.runs["dtype"].iloc[0]]
    assert one.runs["final_loss"].nunique() == 12
    other = ghostsweep.read(name, results[4] / "wide")
    assert len(other.meta["sessions"][0]["devices"]) == 4
    pd.testing.assert_frame_equal(other.runs, one.runs, rtol=tolerance, atol=1e-9)
    pd.testing.assert_frame_equal(other.curves, one.curves, rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize("name", SWEEPS)
def test_bits_are_the_same_where_each_device_has_as_many_runs(results: dict[int, Path], name: str) -> None:
    one = ghostsweep.read(name, results[1] / "three")
    other = ghostsweep.read(name, results[4] / "three")
    pd.testing.assert_frame_equal(other.runs, one.runs, check_exact=True)
    pd.testing.assert_frame_equal(other.curves, one.curves, check_exact=True)


def test_chunks_are_cut_for_the_devices_given() -> None:
    planned = plan.Plan.of(loads(TEXT.format(fields=SWEEPS["full_rank"]), name="x"))
    one = plan.cost(planned.programs[0][0]).run_bytes
    for n in (1, 4):
        widths = [chunk.width for chunk in plan.chunks(planned, n, 3.5 * one)]
        assert widths == [3 * n] * (12 // (3 * n))


@pytest.mark.parametrize("flags", ["", "--xla_force_host_platform_device_count=3"])
def test_the_command_takes_as_many_devices_as_it_is_told(tmp_path: Path, flags: str) -> None:
    (tmp_path / "x.toml").write_text(TEXT.format(fields=SWEEPS["canonical"]))
    command = ["-W", "error", "-m", "ghostsweep", "run", "x.toml", "--devices", "3"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": flags}
    )
    assert done.returncode == 0, done.stderr
    assert len(ghostsweep.read("x", tmp_path / "results").meta["sessions"][0]["devices"]) == 3


def test_more_devices_than_there_are_is_one_line(tmp_path: Path) -> None:
    n = len(jax.local_devices())  # JAX runs from here on
    sweep = loads(TEXT.format(fields=SWEEPS["canonical"]), name="x")
    with pytest.raises(ghostsweep.UsageError, match=f"devices: found {n + 1}; allowed: a whole number from 1 to {n}"):
        ghostsweep.run(sweep, out=tmp_path, devices=n + 1)
    assert not (tmp_path / "x").exists()
    assert np.isfinite(ghostsweep.run(sweep, out=tmp_path, devices=1).runs["final_loss"]).all()
