"""`show`: a run is found by how its id begins, says where it came from, and comes out the same when trained alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.cli import app
from ghostsweep.spec import loads
from ghostsweep.store import parts, tables

NETWORK = """
title = "Two phases"
[run]
model = "low_rank"
n_units = 12
rank = 2
timescale = 5
epochs = 40
optimizer = "adam"
[axes]
learning_rate = [0.003, 0.01]
seed = { range = 3 }
[record]
points = 8
[[phases]]
epochs = 20
confidence = 2.0
"""
CANONICAL = """
[run]
model = "canonical"
timescale = 10.0
epochs = 300
[axes]
learning_rate = { logspace = [-7, -3.5, 12] }
[record]
points = 9
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    ghostsweep.run(loads(NETWORK, name="network"), out=folder)
    ghostsweep.run(loads(CANONICAL, name="canonical"), out=folder)
    ghostsweep.run(loads(CANONICAL.replace("12]", "1]"), name="one"), out=folder)
    return folder


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_run_is_found_and_its_fields_make_it_again(out: Path) -> None:
    for name, also in (("network", ()), ("canonical", ("one",))):
        found = ghostsweep.read(name, out)
        for run_id in found.runs["run_id"]:
            shown = ghostsweep.show(run_id[:12], out=out)
            assert (shown.run_id, shown.sweep) == (run_id, name)
            assert shown.also_in == (also if run_id == found.runs["run_id"].iloc[0] else ())
            assert Run(**shown.fields).run_id == run_id
            assert len(shown.curve) == (found.curves["run_id"] == run_id).sum()
    assert shown.fields.keys() == {"model", "timescale", "learning_rate", "epochs"}
    assert shown.outcome == ghostsweep.outcomes(found.runs)["outcome"].iloc[-1]
    assert shown.results["final_loss"] == found.runs["final_loss"].iloc[-1]


def test_a_run_says_where_it_came_from(out: Path) -> None:
    shown = ghostsweep.show(ghostsweep.read("network", out).runs["run_id"].iloc[7], out=out)
    assert shown.origin["ghostsweep"] == ghostsweep.__version__
    (session,) = shown.origin["sessions"]
    assert {"started", "git_commit", "jax", "ghostsweep", "devices", "compile_seconds", "run_seconds"} <= session.keys()


def test_meta_is_in_the_files_too(out: Path) -> None:
    meta = json.loads((out / "network/meta.json").read_text())
    assert (meta["counts"], meta["dtype"]) == ({"done": 12}, ["float32"])
    assert meta["spec"] == NETWORK
    said = {
        name: json.loads(pq.read_schema(out / f"network/{name}.parquet").metadata[b"ghostsweep"])
        for name in ("runs", "curves")
    }
    assert meta.pop("sha256") and meta["files"].pop("runs.parquet")["rows"] == 12
    assert said["runs"] == meta  # all but what it cannot say of itself
    assert said["curves"] == {
        key: value for key, value in meta.items() if key not in ("format", "generation", "files", "discard")
    }


@pytest.mark.parametrize("ends", ["stored", "gone"])
def test_trained_again_alone_the_numbers_are_the_same(out: Path, ends: str, tmp_path: Path) -> None:
    place = out if ends == "stored" else tmp_path
    for name in ("network", "canonical"):
        (place / name).mkdir(exist_ok=True)
        for file in ("runs.parquet", "curves.parquet", "meta.json"):
            if place != out:
                (place / name / file).write_bytes((out / name / file).read_bytes())
    before = files_of(place)
    for name, rows in (("network", (0, 10)), ("canonical", (2, 11))):
        for row in rows:
            shown = ghostsweep.show(ghostsweep.read(name, place).runs["run_id"].iloc[row], out=place, rerun=True)
            assert shown.again is not None
            assert (shown.again.apart_from, shown.again.outcome) == (None, shown.outcome)
            difference = shown.again.differences.set_index("result")["difference"].astype(float)
            assert difference["final_loss"] <= shown.again.tolerance
            assert (shown.again.differences["stored"].tolist())[0] == "done"
    assert files_of(place) == before


def test_a_number_that_is_not_what_comes_out_is_found(out: Path, tmp_path: Path) -> None:
    found = ghostsweep.read("canonical", out)
    curves = found.curves.copy()
    row = curves.index[curves["run_id"] == found.runs["run_id"].iloc[3]][4]
    curves.loc[row, "loss"] *= 1 + 1e-6
    (tmp_path / "changed").mkdir()
    parts.write(tmp_path / "changed", found.runs, curves)
    shown = ghostsweep.show(found.runs["run_id"].iloc[3], out=tmp_path, rerun=True)
    assert shown.again is not None
    assert shown.again.apart_from == curves.loc[row, "epoch"]
    np.testing.assert_allclose(shown.again.curve["loss"], shown.curve["loss"], rtol=2e-6)


def test_given_parameters_are_taken_from_the_folder_or_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "start.npz", r=np.array(0.3))
    sweep = loads('initial = "start.npz"\n' + CANONICAL, name="given", folder=tmp_path)
    run_id = ghostsweep.run(sweep, out=tmp_path / "results").runs["run_id"].iloc[0]
    shown = ghostsweep.show(run_id, out=tmp_path / "results", rerun=True)
    assert shown.again is not None and shown.again.apart_from is None
    for end in (tmp_path / "results/given/ends").iterdir():
        end.unlink()
    with pytest.raises(UsageError, match="the parameters that this run begins from"):
        ghostsweep.show(run_id, out=tmp_path / "results", rerun=True)


@pytest.mark.parametrize(
    ("run_id", "line"),
    [
        ("", "run id: found ''; allowed: up to 16 of the digits 0-9 and a-f"),
        ("../network", "run id: found '../network'; allowed:"),
        ("0" * 17, "no run in the 3 sweeps"),
    ],
)
def test_what_is_no_run_is_one_line(out: Path, run_id: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        ghostsweep.show(run_id, out=out)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_beginning_that_fits_several_names_them(out: Path) -> None:
    ids = pd.concat([ghostsweep.read(name, out).runs["run_id"] for name in ("network", "canonical")])
    digit = ids.str[0].mode()[0]
    with pytest.raises(UsageError, match=rf"{(ids.str[0] == digit).sum()} runs in .* begin so \({digit}"):
        ghostsweep.show(digit, out=out)


def test_the_command_prints_a_run(out: Path) -> None:
    run_id = ghostsweep.read("canonical", out).runs["run_id"].iloc[5]
    command = [sys.executable, "-W", "error", "-m", "ghostsweep", "show", run_id, "--out", str(out)]
    found = subprocess.run([*command, "--rerun", "--format", "json"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    shown: dict[str, Any] = json.loads(found.stdout)
    assert shown["run_id"] == run_id and len(shown["curve"]) > 5 and shown["again"]["apart_from"] is None
    environment = os.environ | {"COLUMNS": "80"}
    text = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
    for part in (f"run {run_id} of canonical: ", "learning_rate", "final_loss", "git_commit", "epoch"):
        assert part in text


def test_a_run_of_a_sweep_of_several_sessions_is_printed() -> None:
    results = Path(__file__).parents[2] / "results"
    found = tables.read("rank_one_lr_timescale", results)
    assert len(found.meta["sessions"]) > 1
    command = ["show", found.runs["run_id"].iloc[0], "--out", str(results)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0 and "cpu: cpu, cpu: cpu" in done.output
