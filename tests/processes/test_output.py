"""What is printed: to pipes that close, full disks and other encodings; texts that are no commands; all digits."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ghostsweep import cli
from ghostsweep.analysis import analyzing
from ghostsweep.cli import console, printing, training
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine import terminal
from ghostsweep.running import finding, showing
from ghostsweep.training import progress

ESCAPES = "\x1b[2J\x1b]0;gone\x07 \x9b31m \u202eback \r over \u2028"
SWEEP = """
title = "A small question"
[run]
model = "canonical"
epochs = 2_000
[axes]
timescale = [10.0, 20.0]
learning_rate = { logspace = [-9, -2, 20] }
[quick]
epochs = 50
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "small.toml").write_text(SWEEP)
    return tmp_path


def started(*arguments: str, cwd: Path, stdout: Any = subprocess.PIPE, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "ghostsweep", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | more)


def unread(*arguments: str, cwd: Path) -> tuple[int, bytes]:
    """Exit code and errors of a command whose output nobody reads."""
    with started(*arguments, cwd=cwd) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        return process.wait(200), said


def runs(house: Path) -> int:
    return len(pd.read_parquet(house / "results" / "small" / "runs.parquet"))


def test_a_training_goes_on_when_its_reader_goes_away(house: Path) -> None:
    code, said = unread("run", "small", cwd=house)
    assert code == 0 and runs(house) == 40
    assert said and all(b" runs, " in line and line.endswith(b" left") for line in said.splitlines())  # progress alone


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_training_whose_log_is_on_a_full_disk_is_done_and_says_so(house: Path) -> None:
    with open("/dev/full", "w") as full:
        process = started("run", "small", cwd=house, stdout=full)
        _, said = process.communicate(timeout=200)
    line = b"stdout: No space left on device; what was to be printed there is lost\n"
    assert process.returncode == 0 and said.endswith(b" left\n" + line) and runs(house) == 40
    with open("/dev/full", "w") as full:
        process = started("run", "small", "--quiet", cwd=house, stdout=full)
        assert process.communicate(timeout=200) == (None, b"") and process.returncode == 0
    with open("/dev/full", "w") as full:
        process = started("list", cwd=house, stdout=full)
        _, said = process.communicate(timeout=200)
    assert (process.returncode, said) == (1, line)


def test_what_only_prints_ends_quietly_without_a_reader(house: Path) -> None:
    assert unread("list", "--format", "csv", cwd=house) == (0, b"")


def test_characters_that_an_encoding_lacks_and_forced_colours_in_a_file(house: Path) -> None:
    (house / "sweeps" / "small.toml").write_text(SWEEP.replace("A small question", "η ≤ ¾ of … 💥"))
    process = started("list", cwd=house, PYTHONIOENCODING="ascii")
    found, said = process.communicate(timeout=200)
    assert (process.returncode, said) == (0, b"") and rb"\u03b7 \u2264 \xbe of \u2026 \U0001f4a5" in found
    process = started("run", "smäll", cwd=house, PYTHONIOENCODING="latin-1", PYTHONUTF8="0", LC_ALL="C")
    _, said = process.communicate(timeout=200)
    assert process.returncode == 2 and said.startswith(b"sm") and b"no such sweep" in said
    process = started("run", "small", "--quick", cwd=house, FORCE_COLOR="1", PYTHONIOENCODING="ascii")
    found, said = process.communicate(timeout=200)
    assert process.returncode == 0 and b"40 / 40 runs" in said and b" runs, " not in found
    assert all(c not in found + said for c in (b"\x1b", b"\r"))


def test_control_characters_are_written_out_and_all_else_stays() -> None:
    shown = terminal.visible(ESCAPES)
    assert shown == r"\x1b[2J\x1b]0;gone\x07 \x9b31m \u202eback \r over \u2028"
    assert terminal.visible("a\nb\t", keep="\n") == "a\nb\\t"
    for text in ("η = 3/4, ≥ 10⁻³ “Ä”", "[/x] :cat: [old]", "名前", ""):
        assert terminal.visible(text) == text
    assert terminal.visible("\udcff") == r"\udcff"  # a name of a file that is no UTF-8


def hidden(text: str) -> bool:
    return any(c in text for c in "\x1b\x07\x9b\u202e\r\u2028")


def test_texts_of_files_never_command_the_terminal(house: Path) -> None:
    quoted = json.dumps(ESCAPES + " [old] :cat: [/x]")
    (house / "sweeps" / "small.toml").write_text(SWEEP.replace('"A small question"', quoted))
    (house / "sweeps" / "bad.toml").write_text(SWEEP.replace("epochs", json.dumps(ESCAPES + "key"), 1))
    out = house / "results"
    (out / "small" / "failed").mkdir(parents=True)
    (out / "small" / "failed" / "a.txt").write_text(ESCAPES)
    (out / "small" / "failed" / "b.txt").write_bytes(b"")
    (out / "small" / "failed" / "c.txt").mkdir()
    (out / "small" / "failed" / "d.txt").write_bytes(b"\xff\xfe\x1b\n")
    options = ["--sweeps", str(house / "sweeps"), "--out", str(out)]
    for style in ("table", "csv", "json", "markdown"):
        listed = CliRunner().invoke(cli.app, ["list", *options, "--format", style])
        assert isinstance(listed.exception, UsageError)
        assert not hidden(listed.output) and "small" in listed.output
        assert not hidden(str(listed.exception)) and r"\x1b[2J" in str(listed.exception)
        status = CliRunner().invoke(cli.app, ["status", *options, "--format", style])
        assert not hidden(status.output) and status.exit_code == 0, status.exception
    listed = CliRunner().invoke(cli.app, ["list", *options])
    assert "[old] :cat: [/x]" in listed.output or "…" in listed.output
    said = CliRunner().invoke(cli.app, ["status", *options]).output
    assert r"a.txt: \x1b[2J" in said and "b.txt: says nothing" in said and "c.txt: no plain file" in said


def test_brackets_and_colons_of_paths_are_printed_as_they_are(house: Path) -> None:
    out = house / "res[" / "x]:cat:[old]"
    done = CliRunner().invoke(
        cli.app,
        ["run", "small", "--quick", "--sweeps", str(house / "sweeps"), "--out", str(out)],
        catch_exceptions=False,
    )
    assert f"{out / 'small-quick'}: 40 done" in done.output


def test_a_shown_run_is_legible(capsys: pytest.CaptureFixture[str]) -> None:
    origin = {"git_commit": ESCAPES, "sessions": [{"host": ESCAPES, ESCAPES: 1, "devices": [ESCAPES]}]}
    curve = pd.DataFrame({"epoch": [0, 1], "loss": [1e-11, np.nan]})
    shown = showing.Shown(
        "ab", "x", (), {"model": "canonical", "r": np.float64(1e-300)}, ESCAPES, {"a": None}, curve, origin
    )
    for style in printing.Format:
        console.print_run(shown, style, only="curve" if style is printing.Format.csv else None)
        assert not hidden(capsys.readouterr().out.replace("\r\n", "\n"))
    console.print_run(shown, printing.Format.json)
    found = json.loads(capsys.readouterr().out)
    assert found["fields"]["r"] == 1e-300 and found["outcome"] == ESCAPES and found["again"] is None
    assert found["curve"] == [{"epoch": 0, "loss": 1e-11}, {"epoch": 1, "loss": None}]


@pytest.mark.parametrize("sessions", [None, 3, "x", [3, None, {"devices": 3}, {"devices": [1]}], [[]]])
def test_sessions_that_are_none_are_not_shown(sessions: Any, capsys: pytest.CaptureFixture[str]) -> None:
    curve = pd.DataFrame({"epoch": [0], "loss": [0.5]})
    shown = showing.Shown("ab", "x", (), {"model": "canonical"}, "learned", {}, curve, {"sessions": sessions})
    for style in printing.Format:
        console.print_run(shown, style, only="curve" if style is printing.Format.csv else None)
    assert "run ab of x" in capsys.readouterr().out


NUMBERS = pd.DataFrame(
    {
        "small": [1e-11, 1e-300, 0.1 + 0.2],
        "odd": [float("nan"), float("inf"), -1e300],
        "whole": pd.array([2**53 + 1, None, -(2**63)], "Int64"),
        "plain": np.array([2**63 - 1, 0, 2**53 + 1]),
        "text": ['a "quoted", text', None, "η"],
        "true": [True, False, True],
    }
)


def test_json_and_csv_have_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_tables({"numbers": NUMBERS}, printing.Format.json)
    rows = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(text))["numbers"]
    assert [row["small"] for row in rows] == [1e-11, 1e-300, 0.1 + 0.2]
    assert [row["odd"] for row in rows] == [None, None, -1e300]
    assert [row["whole"] for row in rows] == [2**53 + 1, None, -(2**63)]
    assert [row["plain"] for row in rows] == [2**63 - 1, 0, 2**53 + 1]
    assert [row["text"] for row in rows] == ['a "quoted", text', None, "η"]
    assert [row["true"] for row in rows] == [True, False, True]
    printing.print_tables({"numbers": NUMBERS}, printing.Format.csv)
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["small"]) for row in table] == [1e-11, 1e-300, 0.1 + 0.2]
    assert [row["whole"] for row in table] == [str(2**53 + 1), "", str(-(2**63))]
    assert [int(row["plain"]) for row in table] == [2**63 - 1, 0, 2**53 + 1]


def test_json_of_the_results_is_what_the_tables_have() -> None:
    path = Path(__file__).parents[2] / "results"
    done = CliRunner().invoke(
        cli.app, ["analyze", "canonical_lr_timescale_refined", "--out", str(path), "--format", "json"]
    )
    found = json.loads(done.output)["critical_lr"]
    expected = analyzing.analyze("canonical_lr_timescale_refined", out=path).critical
    assert [row["lr_critical"] for row in found] == [None if x != x else x for x in expected["lr_critical"].tolist()]


def test_progress_that_cannot_be_written_is_given_up_once() -> None:
    calls = []

    def report(now: progress.Progress) -> None:
        calls.append(now)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    tell = progress.harmless(report)
    now = progress.Progress(1, 2, 3, 0.5, 1.0, 1.0)
    with pytest.warns(UserWarning, match="progress is no longer reported: .*Broken pipe"):
        tell(now)
    tell(now)
    assert len(calls) == 1
    progress.harmless(report)(now)  # warnings are errors here, and stop no training either
    with pytest.raises(KeyboardInterrupt):
        progress.harmless(lambda _: (_ for _ in ()).throw(KeyboardInterrupt))(now)


def test_streams_are_given_back_and_remember_what_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "log", "w", encoding="latin-1") as log, open(os.devnull) as unwritable:
        monkeypatch.setattr(sys, "stdout", log)
        monkeypatch.setattr(sys, "stderr", unwritable)
        with terminal.forgiving() as lost:
            print("Ä … \x1b")
            print("lost", file=sys.stderr)
        assert sys.stdout is log and sys.stderr is unwritable
        assert [line.split("; ")[0] for line in lost.lines()] == ["stderr: Bad file descriptor"]
    assert (tmp_path / "log").read_bytes() == b"\xc4 \\u2026 \x1b\n"
    monkeypatch.setattr(sys, "stdout", None)
    with terminal.forgiving() as lost:
        print("nowhere")
    assert lost.lines() == [] and not terminal.is_live()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(), 1, "OSError"),
        (OSError("odd\x1b"), 1, r"odd\x1b"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, "a/b: No space left on device; what is finished"),
        (MemoryError(), 1, "no memory: MemoryError; what is finished is kept"),
        (np._core._exceptions._ArrayMemoryError((10**15,), np.dtype(float)), 1, "no memory: Unable to allocate"),
        (KeyboardInterrupt(), 130, ""),
        (TrainingError("a\x1b\nb"), 1, "a\\x1b\nb"),
        (UsageError("x: found y; allowed: z"), 2, "x: found y; allowed: z"),
    ],
)
def test_every_failure_is_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(training, "load", fail)
    monkeypatch.setattr(finding, "find", lambda *_: Path("x.toml"))
    monkeypatch.setattr(sys, "argv", ["ghostsweep", "run", "x"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (code, "") and said.err.startswith(line)
    assert len(said.err.splitlines()) == (line.count("\n") + 1 if line else 0)
