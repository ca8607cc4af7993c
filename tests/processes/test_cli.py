"""The command line as a stranger meets it: exit codes, one clear line, and files where they belong."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ghostsweep import cli

SWEEP = """
title = "A small question"
[run]
model = "canonical"
epochs = 4_000
[axes]
timescale = [10.0, 20.0, 40.0]
learning_rate = { logspace = [-9, -2, 40] }
[fit]
share = 0
[quick]
epochs = 50
"""


def ghostsweep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "ghostsweep", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def asked(*arguments: str) -> Any:
    """The same command in this process, in the current folder."""
    return CliRunner().invoke(cli.app, arguments, prog_name="ghostsweep")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "small.toml").write_text(SWEEP)
    return tmp_path


def test_from_list_to_figure(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    listed = asked("list")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines()[1].split() == ["small", "A", "small", "question", "120", "new", "1", "s"]
    rows = asked("list", "--format", "csv").stdout.splitlines()
    assert rows[0] == "sweep,question,runs,done,state,core_seconds_left" and len(rows) > 30
    assert rows[1].startswith("small,A small question,120,0,new,")
    dry = asked("run", "small", "--dry-run")
    assert "120 runs, 0 done, 120 to train" in dry.stdout
    assert not (house / "results").exists()
    run = asked("run", "small")
    assert run.exit_code == 0, run.stderr
    assert "120 done" in run.stdout
    assert sorted(p.name for p in (house / "results/small").iterdir()) == [
        "curves.parquet",
        "meta.json",
        "runs.parquet",
    ]
    again = asked("run", "small")
    assert "120 of them done before" in again.stdout
    assert "trained" not in again.stdout
    quick = asked("run", "small", "--quick")
    assert quick.exit_code == 0
    assert pd.read_parquet(house / "results/small-quick/runs.parquet")["epochs"].eq(50).all()
    fitted = asked("analyze", "small", "--format", "json")
    tables = json.loads(fitted.stdout)
    assert list(tables) == ["critical_lr", "learnable_band", "local_exponent", "power_law", "compare_scaling"]
    (law,) = [row for row in tables["power_law"] if row["boundary"] == "upper"]
    assert law["exponent"] == pytest.approx(-5, abs=0.3) and law["along"] == "timescale"
    cells = [(row["timescale"], row["boundary"]) for row in tables["critical_lr"]]
    assert cells == [(timescale, boundary) for timescale in (10, 20, 40) for boundary in ("upper", "lower")]
    assert [row["share"] for row in tables["learnable_band"]] == [1, 1, 1]
    for style, part in (("markdown", "| --- |"), ("table", "exponent")):
        assert part in asked("analyze", "small", "--format", style).stdout
    quick_fit = asked("analyze", "small", "--quick", "--table", "critical_lr", "--format", "csv")
    assert len(pd.read_csv(io.StringIO(quick_fit.stdout))) == 6
    drawn = asked("plot", "small")
    assert drawn.exit_code == 0, drawn.stderr
    names = {path.name for path in (house / "figures").iterdir() if path.name[0] != "."}
    kinds = ("phase_timescale", "scaling_timescale", "band_timescale", "eta")
    assert names == {f"small.{kind}.{end}" for kind in kinds for end in ("png", "pdf")}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("run", "smal"),
            "which `ghostsweep list` shows; --sweeps names another folder; did you mean small",
        ),
        (("run", "smal"), "did you mean small?"),
        (("run", "small-quick"), "the quick version of one is asked for by --quick"),
        (("run", "sweeps/nope.toml"), "sweeps/nope.toml: no such file here ("),
        (("run", "bad.toml"), "bad.toml, line 4: run.model: found 'rank_won'; allowed: one of"),
        (("analyze", "small"), "small: no results; `ghostsweep run` makes them"),
        (("plot", "fig2"), "no results; `ghostsweep run fig2_trajectories` makes them"),
        (("list", "--sweeps", "nowhere"), "nowhere: no sweep files"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(house: Path, arguments: tuple[str, ...], line: str) -> None:
    (house / "bad.toml").write_text(SWEEP.replace('"canonical"', '"rank_won"'))
    before = sorted(house.rglob("*"))
    found = ghostsweep(*arguments, cwd=house)
    assert found.returncode == 2
    assert line in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(house.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_a_failure_in_one_line(house: Path) -> None:
    (house / "taken").write_text("a file, not a folder")
    found = ghostsweep("run", "small", "--out", "taken", cwd=house)
    assert found.returncode == 1
    assert "taken/small" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("command", ["list", "run", "status", "analyze", "show", "export", "plot", "reproduce"])
def test_help_teaches(house: Path, command: str) -> None:
    text = ghostsweep(command, "--help", cwd=house).stdout
    assert len(text.split()) > 40
    assert "--out" in text
