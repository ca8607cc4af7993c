"""What scripts read: CSV that is one table, exported files, JSON of runs; completion; pictures of several sweeps."""

import importlib.metadata
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ghostsweep import analysis, cli, drawing
from ghostsweep.errors import UsageError
from ghostsweep.running import exporting
from ghostsweep.store import files, tables
from ghostsweep.training import programs

ROOT = Path(__file__).parents[2]
REFINED = "canonical_lr_timescale_refined"
TABLES = ["critical_lr", "learnable_band", "local_exponent", "power_law", "compare_scaling"]
SWEEP = """
[run]
model = "canonical"
timescale = 10.0
epochs = 300
[axes]
learning_rate = { geomspace = [1e-9, 1e-4, 6] }
[quick]
epochs = 50
"""


def asked(*arguments: str, out: Path = ROOT / "results", **options: Any) -> Any:
    where = ["--out", str(out)] if arguments[0] != "-V" else []
    return CliRunner().invoke(cli.app, [*arguments, *where], prog_name="ghostsweep", **options)


def test_several_tables_are_no_csv_and_the_error_says_the_ways(tmp_path: Path) -> None:
    found = asked("analyze", REFINED, "--format", "csv")
    assert isinstance(found.exception, UsageError) and found.stdout == ""
    assert all(part in str(found.exception) for part in ("5 tables", "--table NAME", "--to FOLDER", *TABLES))
    one = pd.read_csv(io.StringIO(asked("analyze", REFINED, "--table", "power_law", "--format", "csv").stdout))
    wrote = asked("analyze", REFINED, "--to", str(tmp_path / "a" / "b")).stdout.splitlines()
    assert wrote == [f"wrote {tmp_path / 'a' / 'b' / name}.csv" for name in TABLES]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a" / "b" / "power_law.csv"), one)
    law = json.loads(asked("analyze", REFINED, "--table", "power_law", "--format", "json").stdout)
    assert list(law) == ["power_law"]
    exact = [row["exponent"] for row in law["power_law"]]
    assert [None if x != x else x for x in one["exponent"]] == exact  # to the last digit
    asked("analyze", REFINED, "--to", str(tmp_path), "--format", "json", "--table", "critical_lr")
    assert [path.name for path in tmp_path.glob("*.*")] == ["critical_lr.json"]
    assert len(json.loads((tmp_path / "critical_lr.json").read_text())) == 18
    absent = asked("analyze", REFINED, "--table", "laws")
    assert str(absent.exception) == f"--table: found 'laws'; allowed: {', '.join(TABLES)}"


def test_a_shown_runs_tables_are_csv_too() -> None:
    run = tables.read(REFINED, ROOT / "results").runs["run_id"].iloc[0]
    curve = pd.read_csv(io.StringIO(asked("show", run, "--table", "curve", "--format", "csv").stdout))
    assert list(curve) == ["epoch", "loss", "grad_norm", "accuracy", "weight_norm"]
    assert "(run, results, curve, origin, sessions)" in str(asked("show", run, "--format", "csv").exception)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_exported_tables_are_whole_and_say_what_they_are(kind: str, tmp_path: Path) -> None:
    found = tables.read("fig5_dmts", ROOT / "results")
    done = asked("export", "fig5_dmts", "--to", str(tmp_path / "x"), "--format", kind)
    assert done.stdout.splitlines() == [
        f"wrote {tmp_path / 'x' / name}.{kind}" for name in ("runs", "curves", "columns")
    ]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        f"{name}.{kind}" for name in ("columns", "curves", "runs")
    ]
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    runs, curves, columns = (read(tmp_path / "x" / f"{name}.{kind}") for name in ("runs", "curves", "columns"))
    assert runs["outcome"].tolist() == analysis.outcomes(found.runs)["outcome"].tolist()
    for name in ("learning_rate", "final_loss", "mean_grad_norm"):
        np.testing.assert_array_equal(runs[name], found.runs[name])
    np.testing.assert_array_equal(curves["loss"], found.curves["loss"])
    said = columns.set_index(["table", "column"])
    assert list(said.loc["runs"].index) == list(runs) and list(said.loc["curves"].index) == list(curves)
    assert said.loc[("runs", "delay_ms"), "unit"] == "ms" and "plateau: " in said.loc[("runs", "outcome"), "meaning"]
    assert said["meaning"].fillna("").ne("").mean() > 0.8


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporting.export("fig3_learns", out=ROOT / "results", to=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write, calls = files.write, []

    def full(path: Path, fill: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(path))
        write(path, fill)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        exporting.export("fig5_dmts", out=ROOT / "results", to=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_runs_and_estimates_are_json(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SWEEP)
    options = ("--sweeps", str(tmp_path), "--format", "json")
    dry = asked("run", "small", "--dry-run", "--no-calibrate", *options, out=tmp_path / "out")
    (cost,) = json.loads(dry.stdout)["sweeps"]
    assert (cost["sweep"], cost["runs"], cost["done"], cost["left"], cost["state"]) == ("small", 6, 0, 6, "new")
    assert all(cost[name] > 0 for name in ("devices", "compile_seconds", "run_seconds", "memory_bytes", "disk_bytes"))
    (group,) = cost["groups"]
    assert (group["model"], group["runs"], group["epochs"], group["optimizer"]) == ("canonical", 6, 300, "sgd")
    programs._kept.cache_clear()  # which other tests of this process may have filled
    run = asked("run", "small", *options, out=tmp_path / "out")
    assert run.exit_code == 0, run.exception
    (done,) = json.loads(run.stdout)["sweeps"]
    assert (done["sweep"], done["folder"], done["runs"], done["left"]) == ("small", str(tmp_path / "out/small"), 6, 0)
    assert sum(done["counts"].values()) == 6 and done["run_seconds"] > 0 and done["compile_seconds"] > 0
    assert "6 / 6 runs" in run.stderr and "small: 6 runs" in run.stderr
    quiet = asked("run", "small", "--quick", "-q", "--sweeps", str(tmp_path), out=tmp_path / "out")
    assert (quiet.exit_code, quiet.output) == (0, "")
    status = asked("status", *options, out=tmp_path / "out")
    state, small = json.loads(status.stdout)["status"]
    assert (state["sweep"], small["sweep"]) == ("small", "small-quick")
    one = asked("status", "small-quick", *options, out=tmp_path / "out")
    assert [each["sweep"] for each in json.loads(one.stdout)["status"]] == ["small-quick"]
    assert state["checkpoint_age_seconds"] is None and state["at_work"] is None and state["core_seconds_left"] == 0
    refused = asked("run", "small", "--slurm", "", *options, out=tmp_path / "out")
    assert "--format json: not together with --slurm" in str(refused.exception)
    quick = asked("export", "small", "--quick", "--to", str(tmp_path / "e"), out=tmp_path / "out")
    assert quick.exit_code == 0 and set(pd.read_csv(tmp_path / "e/runs.csv")["epochs"]) == {50}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("ghostsweep run fig3_le", ["fig3_learns", "fig3_learns_seeds"]),
        ("ghostsweep status rank_l", ["rank_lr", "rank_lr_reduction"]),
        ("ghostsweep analyze fig8c", ["fig8c_readout"]),
        ("ghostsweep plot fig3_c", ["fig3_collapses", "fig3_collapses_seeds"]),
        ("ghostsweep plot rank_lr al", ["all"]),
        ("ghostsweep export zzz", []),
    ],
)
def test_names_complete(words: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    asking = {"_GHOSTSWEEP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    found = CliRunner().invoke(cli.app, [], prog_name="ghostsweep", env=os.environ | asking)
    assert found.stdout.split() == names


def test_names_of_the_package_complete_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asking = {"_GHOSTSWEEP_COMPLETE": "complete_bash", "COMP_WORDS": "ghostsweep run fl", "COMP_CWORD": "2"}
    found = CliRunner().invoke(cli.app, [], prog_name="ghostsweep", env=os.environ | asking).stdout
    assert found.split() == ["flip_flop_lr_rank"]


def test_the_version_has_a_short_option() -> None:
    assert asked("-V").stdout.strip() == importlib.metadata.version("ghostsweep")


def test_several_sweeps_are_drawn_each_or_into_one_picture(tmp_path: Path) -> None:
    two = ("fig3_learns", "fig3_collapses")
    drawn = asked("plot", *two, "--overlay", "--to", str(tmp_path))
    assert drawn.exit_code == 0, drawn.exception
    name = "fig3_learns+fig3_collapses"
    assert {path.name for path in tmp_path.glob("[!.]*")} == {f"{name}.phase_epochs.{end}" for end in ("png", "pdf")}
    quiet = asked("plot", *two, "-q", "--to", str(tmp_path / "each"))
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert {path.name.split(".")[0] for path in (tmp_path / "each").glob("[!.]*")} == set(two)


def test_fields_that_only_some_sweeps_have_are_drawn_where_they_are(tmp_path: Path) -> None:
    drawn = drawing.overlay(["rank_lr", "fig6b_rank"], out=ROOT / "results", to=tmp_path)
    assert "rank_lr+fig6b_rank.phase_rank.png" in {path.name for path in drawn}


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["fig3_learns"], "found fig3_learns; allowed: two sweeps or more"),
        (["fig3_learns", "fig3_learns"], "allowed: two sweeps or more"),
        (["fig3_learns", "fig2"], "fig2 cannot be overlaid, only sweeps"),
        ([REFINED, "rank_one_lr_timescale"], f"different shares of seeds (0.0 of {REFINED}, 0.5 of rank_one"),
        (["fig3_learns", "fig3_lerns"], "fig3_lerns: no results; did you mean fig3_learns"),
        (["rank_one_lr_confidence", "rank_one_lr_epochs"], "differ in timescale, confidence, epochs; allowed: at most"),
    ],
)
def test_what_cannot_be_overlaid_says_why(names: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        drawing.overlay(names, out=ROOT / "results", to=tmp_path)
    assert line in str(caught.value) and len(str(caught.value).splitlines()) == 1 and not any(tmp_path.iterdir())
