"""Files that are no sweeps, or claim to be more than they are: one line each, and the others are listed still."""

import io
import os
import resource
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import UsageError, cli, load
from ghostsweep.paper import catalog
from ghostsweep.running import ledger
from ghostsweep.spec import loads
from ghostsweep.spec.load import MAX_BYTES, RESERVED

TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 5
learning_rate = 0.1
epochs = 40
[axes]
seed = { range = 3 }
[quick]
epochs = 4
"""
DIGITS = "9" * 5000
HEX = "0x" + "f" * 5000  # TOML's other way, which Python reads and does not print


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("range = 3", f"range = {10**23}", "axes.seed.range: found 1[0]+; allowed: whole numbers of at most 64 bits"),
        ("range = 3", "range = [-9223372036854775808, 9223372036854775807]", "axes.seed.*at most 1000000 values"),
        ("range = 3", f"range = {2**62}", "axes.seed.*at most 1000000 values"),
        ("range = 3", f"linspace = [0, 1, {10**23}]", "axes.seed.linspace: found 1[0]+; allowed: whole numbers of"),
        ("range = 3", "linspace = [0, 1, 1000000000]", "a number of points from 1 to 1000000"),
        ("range = 3", "logspace = [0, 1, 1000000000]", "a number of points from 1 to 1000000"),
        ("epochs = 40", f"epochs = {DIGITS}", "not valid TOML: .*digits"),
        ("epochs = 40", f"epochs = {HEX}", "run.epochs: found a whole number of 20,000 bits; allowed: whole"),
        ("epochs = 40", f"epochs = [1, {HEX}]", "run.epochs: found a whole number of 20,000 bits; allowed: whole"),
        ("epochs = 40", f"epochs = -{10**23}", "run.epochs: found -1[0]+; allowed: whole numbers of"),
        ("epochs = 40", f"a{'.a' * 5000} = 1", "keys: found one of more than 100 parts with dots between; allowed"),
        ("epochs = 40", f"epochs = {'[' * 5000}", "not valid TOML: "),
        ("epochs = 40", f"epochs = {'[' * 90}{']' * 90}", "run.epochs: found more tables and lists"),
        ("epochs = 40", '"e\\u001b[2Jx" = 40', r"run.e\\x1b\[2Jx: no such field"),
        ("[run]", 'title = "a\\u0000"\n"\\u009b" = 2\n[run]', r"\\x9b: no such key; allowed: title, "),
    ],
)  # fmt: skip
def test_absurd_numbers_and_keys_are_one_line(before: str, after: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(TEXT.replace(before, after, 1))
    for quick in (False, True):
        with pytest.raises(UsageError, match=line) as caught:
            load(path, quick=quick)
        for said in str(caught.value).splitlines():
            assert said.startswith((f"{path}: ", f"{path}, line ")) and len(said) < 1500 and said.isprintable()


def test_numbers_of_64_bits_are_numbers() -> None:
    assert loads(TEXT.replace("range = 3", f"range = [0, {2**32 - 1}, {2**30}]"), name="x").n_runs == 4


def test_a_repeated_value_is_found_at_the_end_of_a_long_axis() -> None:
    values = [*range(200_000), 199_999]
    with pytest.raises(UsageError, match="axes.seed: found 199999; allowed: every value once"):
        loads(TEXT.replace("{ range = 3 }", str(values)), name="x")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _unreadable(path: Path) -> None:
    path.symlink_to(path)  # a loop, since root may read everything


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)


ODD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "folder": (Path.mkdir, "cannot be read: no plain file"),
    "fifo": (_fifo, "cannot be read: no plain file"),
    "dangling": (lambda path: path.symlink_to("nowhere@host.1"), "cannot be read: No such file"),
    "loop": (_unreadable, "cannot be read: Too many levels of symbolic links"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "cannot be read: no plain file"),
    "huge": (_sparse, f"found {MAX_BYTES + 1} bytes; allowed: at most {MAX_BYTES}"),
    "binary": (lambda path: path.write_bytes(b"\x00\x05\x16\x07\xff\xfe"), "is not UTF-8 text"),
    "b-quick": (lambda path: path.write_text(TEXT), "file name: b-quick is taken"),
    "fig3": (lambda path: path.write_text(TEXT), "file name: fig3 is taken"),
    "all": (lambda path: path.write_text(TEXT), "file name: all is taken"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_no_sweep_does_not_hide_the_others(name: str, tmp_path: Path) -> None:
    make, line = ODD[name]
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    for good in ("a", "c_zoom", "d_reduced"):
        (sweeps / f"{good}.toml").write_text(TEXT)
    make(sweeps / f"{name}.toml")
    for hidden in ("._a.toml", ".x.toml"):  # as other systems leave them
        (sweeps / hidden).write_bytes(b"\x00\x05\x16\x07\xff")
    (sweeps / ".#a.toml").symlink_to("me@host.1:2")
    with pytest.raises(UsageError) as caught:
        load(sweeps / f"{name}.toml")
    listed = CliRunner().invoke(cli.app, ["list", "--sweeps", str(sweeps), "--out", str(tmp_path / "out")])
    assert isinstance(listed.exception, UsageError) and str(listed.exception) == str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and line in str(caught.value)
    assert [row.split()[0] for row in listed.output.splitlines()[1:]] == ["a", "c_zoom", "d_reduced"]


def test_names_that_plot_takes_are_no_names_of_sweeps() -> None:
    assert {*catalog.every(), "all"} == set(RESERVED)
    for name in ("", ".", ".."):
        with pytest.raises(UsageError, match="allowed: the name of a sweep"):
            ghostsweep.plot(name)


@pytest.mark.parametrize("error", [UsageError("out/b: odd"), PermissionError(13, "Permission denied", "out/b")])
def test_a_folder_that_cannot_be_read_does_not_hide_the_others(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps, out = tmp_path / "sweeps", tmp_path / "out"
    sweeps.mkdir()
    for name in "abc":
        (sweeps / f"{name}.toml").write_text(TEXT)
        (out / name).mkdir(parents=True)

    asked = ledger.status

    def status(sweep: Any, *_: Any) -> ledger.Status:
        if sweep.name == "b":
            raise error
        return asked(sweep, out)

    monkeypatch.setattr(ledger, "status", status)
    for command in ("list", "status"):
        done = CliRunner().invoke(cli.app, [command, "--sweeps", str(sweeps), "--out", str(out)])
        assert isinstance(done.exception, UsageError)
        assert "out/b: " in str(done.exception) and len(str(done.exception).splitlines()) == 1
        assert [line[0] for line in done.output.splitlines() if line[0] in "abc"] == ["a", "c"]


def claiming(shape: tuple[int, ...], path: Path, data: bytes = b"\0" * 64, descr: str = "<f8") -> None:
    """An .npz of an array that says it has this shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.npy", header.getvalue() + data)


def test_initial_parameters_that_claim_what_is_not_there_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('initial = "x.npz"\n' + TEXT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ((10**15,), (10**9,), (10**10, 10**10), (-1,), (3, -(10**9)), (10**400,)):
        claiming(shape, tmp_path / "x.npz")
        with pytest.raises(
            UsageError, match=r"x.toml, line 1: initial: .*x.npz.*; allowed: an .npz file beside"
        ) as caught:
            load(tmp_path / "x.toml")
        assert len(str(caught.value).splitlines()) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    claiming((8,), tmp_path / "x.npz")
    initial = load(tmp_path / "x.toml").initial
    assert initial is not None and initial.params["m"].tolist() == [0] * 8


def test_initial_parameters_beyond_all_sizes_are_refused_by_what_the_archive_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.toml").write_text('initial = "x.npz"\n' + TEXT)
    monkeypatch.setattr(ghostsweep.spec.initial, "MAX_BYTES", 100)
    claiming((8,), tmp_path / "x.npz")
    with pytest.raises(UsageError, match="192 bytes of numbers, at most 100"):
        load(tmp_path / "x.toml")


def test_any_damage_of_initial_parameters_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('initial = "x.npz"\n' + TEXT)
    claiming((8,), tmp_path / "x.npz", data=np.arange(8.0).tobytes())
    whole = (tmp_path / "x.npz").read_bytes()
    rng = np.random.default_rng(3)
    kept = 0
    for _ in range(400):
        bad = bytearray(whole)
        for at in rng.integers(len(bad), size=rng.integers(1, 4)):
            bad[at] ^= 1 << rng.integers(8)
        (tmp_path / "x.npz").write_bytes(bad[: len(bad) - int(rng.integers(20)) * int(rng.integers(2))])
        try:
            load(tmp_path / "x.toml")
            kept += 1
        except UsageError as error:
            assert len(str(error).splitlines()) == 1 and "initial: " in str(error)
    assert kept < 200  # a date, say, tells nothing
    for make in (Path.mkdir, _fifo, _unreadable):
        (tmp_path / "x.npz").unlink() if not (tmp_path / "x.npz").is_dir() else (tmp_path / "x.npz").rmdir()
        make(tmp_path / "x.npz")
        with pytest.raises(UsageError, match="initial: .*(no plain file|symbolic links)"):
            load(tmp_path / "x.toml")


def test_a_pipe_is_no_result_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "a.toml").write_text(TEXT)
    failed = tmp_path / "out" / "a" / "failed"
    failed.mkdir(parents=True)
    os.mkfifo(failed / "x.txt")
    assert stat.S_ISFIFO((failed / "x.txt").stat().st_mode)
    options = ["--sweeps", str(tmp_path / "sweeps"), "--out", str(tmp_path / "out")]
    assert "x.txt: no plain file" in CliRunner().invoke(cli.app, ["status", *options]).output
