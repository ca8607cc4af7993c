"""Damaged files, two writers, full disks, too little memory and chunks that fail: named, and nothing finished lost."""

import errno
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import UsageError, cli, plan
from ghostsweep.errors import TrainingError
from ghostsweep.machine import memory
from ghostsweep.spec import loads
from ghostsweep.store import files, locks, parts, tables
from ghostsweep.training import engine
from ghostsweep.training.progress import Progress

TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 9
epochs = 300
[axes]
learning_rate = [0.1, 0.2, 0.3]
seed = { range = 6 }
"""
RUN_BYTES = 4 * 9 * (2 * 8 + 24)
DEVICES = min(2, len(jax.local_devices()))
"""Of more, chunks would be cut otherwise than is asked here."""


def run(out: Path, text: str = TEXT, **options: Any) -> tables.Tables:
    return ghostsweep.run(loads(text, name="x"), out=out, **{"devices": DEVICES, **options})


def several(out: Path, **options: Any) -> tables.Tables:
    """As three chunks of six."""
    return run(out, memory_bytes=6 * RUN_BYTES, **options)


def flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def test_damaged_parts_are_named_and_never_become_rows(tmp_path: Path) -> None:
    whole = several(tmp_path / "whole")
    (tmp_path / "x").mkdir()
    for i in range(2):
        rows = slice(6 * i, 6 * i + 6)
        ids = whole.runs["run_id"][rows]
        parts.write(tmp_path / "x", whole.runs[rows], whole.curves[whole.curves["run_id"].isin(ids)])
    rng = random.Random(0)
    for path in sorted((tmp_path / "x" / "parts").iterdir()):
        sound = path.read_bytes()
        variants: list[bytes] = [b"", b"PK", b"{}", sound + b"\0", sound[::-1]]
        variants += [sound[: rng.randrange(len(sound))] for _ in range(8)] + [flip(sound, rng) for _ in range(64)]
        for variant in variants:
            path.write_bytes(variant)
            with pytest.warns(UserWarning, match=f"{path.name}: .*count as missing"):
                runs, curves = tables.stored(tmp_path / "x").frames()
            assert len(runs) == 6
            expected = whole.runs[whole.runs["run_id"].isin(runs["run_id"])].reset_index(drop=True)
            pd.testing.assert_frame_equal(runs.set_index("run_id").loc[expected["run_id"]].reset_index(), expected)
            known = curves.merge(whole.curves, on=["run_id", "epoch"], suffixes=("", "_true"))
            assert (known["loss"] == known["loss_true"]).all() and len(known) == len(curves)
        path.write_bytes(sound)


def test_what_was_damaged_is_trained_again_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = several(tmp_path / "whole")
    original = engine.train_chunks
    trained: list[int] = []

    def spy(chunks: list[plan.Chunk], *args: Any) -> engine.Spent:
        trained.append(sum(len(chunk.runs) for chunk in chunks))
        return original(chunks, *args)

    monkeypatch.setattr(engine, "train_chunks", spy)

    def stop(now: Progress) -> None:
        if now.runs_done == 12:
            raise SystemExit  # as a kill after two chunks, but for the merge

    with pytest.raises(SystemExit):
        several(tmp_path, progress=stop)
    victim = next((tmp_path / "x" / "parts").iterdir())
    victim.write_bytes(damaged := victim.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=f"{victim.name}.*not the bytes.*damaged/{victim.name}.*count as missing"):
        found = several(tmp_path)
    assert trained == [18, 12]
    assert (tmp_path / "x" / "damaged" / f"{victim.name}.0").read_bytes() == damaged
    pd.testing.assert_frame_equal(found.runs, whole.runs, check_exact=True)


def test_leftovers_of_killed_writers_are_cleaned_and_those_of_live_ones_kept(tmp_path: Path) -> None:
    folder = tmp_path / "x" / "parts"
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, live = (folder / f".a.parquet{files._mark(pid)}" for pid in (ended.pid, os.getppid()))
    far, old = (folder / f".{name}.parquet.elsewhere.7.tmp" for name in "bc")
    for path in (dead, live, far, old):
        path.write_text("half")
    os.utime(old, (time.time() - 2 * files.FOREIGN_SECONDS,) * 2)
    run(tmp_path)
    assert sorted(folder.iterdir()) == sorted([live, far])


def test_a_second_run_in_a_folder_is_refused_and_a_killed_one_is_no_hindrance(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from ghostsweep.store import locks\n"
    code += "with locks.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    folder = tmp_path / "x"
    holder = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError) as caught:
            run(tmp_path)
        assert f"{folder}: found another run at work there (pid {holder.pid} on " in str(caught.value)
        assert str(caught.value).count("\n") == 0
        holder.kill()
    assert (folder / "lock").exists()
    with locks.locked(folder), pytest.raises(UsageError, match=f"pid {os.getpid()} on"), locks.locked(folder):
        pass
    assert not folder.exists()  # nothing was put there


def unlockable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems that cannot lock."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)


@pytest.mark.parametrize("shared", [(False, False), (False, True), (True, False)])
def test_where_files_cannot_be_locked_a_file_made_at_once_stands_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: tuple[bool, bool]
) -> None:
    unlockable(monkeypatch)
    assert len(run(tmp_path).runs) == 18 and not list((tmp_path / "x").glob("lock*"))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("lock.alone", f"lock.{os.uname().nodename}.{ended.pid}"):
        (tmp_path / "x" / name).write_text(f"pid {ended.pid} on {os.uname().nodename}")  # killed: no hindrance
    with locks.locked(tmp_path / "x", shared=shared[0]):
        assert locks.is_locked(tmp_path / "x").startswith(f"pid {os.getpid()} on ")
        with pytest.raises(UsageError, match=f"pid {os.getpid()} on"), locks.locked(tmp_path / "x", shared=shared[1]):
            pass
    (tmp_path / "x" / "lock.alone").write_text("pid 7 on elsewhere")
    with pytest.raises(UsageError, match="pid 7 on elsewhere"):
        run(tmp_path)


def test_shards_share_a_folder_where_nothing_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlockable(monkeypatch)
    with locks.locked(tmp_path, shared=True):
        other = tmp_path / "lock.elsewhere.7"
        other.write_text("pid 7 on elsewhere")  # another shard
        with pytest.raises(UsageError, match="pid"), locks.locked(tmp_path):
            pass
    assert other.exists()
    with pytest.raises(UsageError, match="elsewhere"), locks.locked(tmp_path):
        pass


@pytest.mark.parametrize("after", [0, 2, 5, 9])
def test_a_full_disk_is_one_clear_error_and_loses_nothing_finished(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = several(tmp_path / "whole")
    (tmp_path / "x.toml").write_text(TEXT)
    original, written = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        written[0] += 1
        if written[0] > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    argv = ["ghostsweep", "run", str(tmp_path / "x.toml"), "--out", str(tmp_path), "--devices", str(DEVICES)]
    monkeypatch.setattr(sys, "argv", [*argv, "--memory-gb", str(6 * RUN_BYTES / 1e9)])
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert caught.value.code == 1
    *progress, said = capsys.readouterr().err.strip().splitlines()
    assert "No space left on device; what is finished is kept" in said
    assert all(" runs, " in line for line in progress)
    assert not list((tmp_path / "x").rglob("*.tmp"))
    done = ghostsweep.status(loads(TEXT, name="x"), tmp_path).done
    assert done == 6 * max(0, (after - 3) // 2)  # after meta.json and the session a part is a file and a folder each
    found = several(tmp_path)
    pd.testing.assert_frame_equal(found.runs, whole.runs, check_exact=True)
    assert sum(session["runs_trained"] for session in found.meta["sessions"]) == 18


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[plan.Chunk], Exception | None]) -> list[int]:
    """Make training fail where `fails` says; how many runs each chunk tried has."""
    original, tried = engine.train_chunk, list[int]()

    def train_chunk(chunk: plan.Chunk, *args: Any, **options: Any) -> Any:
        tried.append(len(chunk.runs))
        if (error := fails(chunk)) is not None:
            raise error
        return original(chunk, *args, **options)

    monkeypatch.setattr(engine, "train_chunk", train_chunk)
    return tried


def test_a_failing_chunk_is_listed_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = several(tmp_path / "whole")
    with monkeypatch.context() as patch:
        failing(patch, lambda chunk: ValueError("bad\nluck") if (chunk.runs["learning_rate"] == 0.2).all() else None)
        with pytest.raises(TrainingError) as caught:
            several(tmp_path)
    first, line = str(caught.value).splitlines()
    assert "1 of 3 chunks could not be trained; all others are stored" in first
    assert "6 runs" in line and "learning_rate 0.2" in line and "seed 0 .. 5 (6)" in line and "ValueError: bad" in line
    (path,) = (tmp_path / "x" / "failed").iterdir()
    assert line.endswith(f"traceback in {path}")
    assert "Traceback" in path.read_text() and "learning_rate 0.2" in path.read_text()
    assert sorted(tables.read("x", tmp_path).runs["learning_rate"].unique()) == [0.1, 0.3]
    found = several(tmp_path)
    assert not (tmp_path / "x" / "failed").exists()
    pd.testing.assert_frame_equal(found.runs, whole.runs, check_exact=True)


@pytest.mark.parametrize(("alike", "n_tried"), [(True, 3), (False, 9)])
def test_when_the_first_chunks_all_fail_alike_the_sweep_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: bool, n_tried: int
) -> None:
    kinds = [ValueError, TypeError]
    tried = failing(monkeypatch, lambda chunk: kinds[0 if alike else len(tried) % 2](f"no luck with {len(tried)}"))
    with pytest.raises(TrainingError, match="3 fail alike, so the sweep was stopped" if alike else "9 of 9") as caught:
        run(tmp_path, memory_bytes=2 * RUN_BYTES)
    assert len(tried) == n_tried
    assert str(caught.value).count("traceback in") == n_tried


def test_a_failure_is_exit_code_1_and_the_next_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, lambda chunk: ValueError("bad luck") if (chunk.runs["learning_rate"] == 0.7).all() else None)
    for name, text in (("a", TEXT.replace("[0.1, 0.2, 0.3]", "[0.7]")), ("b", TEXT)):
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["ghostsweep", "run", "a", "b", "--out", str(tmp_path), "--sweeps", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "1 of 1 chunks could not be trained" in capsys.readouterr().err
    assert len(tables.read("b", tmp_path).runs) == 18


@pytest.mark.parametrize("error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")])
def test_out_of_memory_halves_the_chunk_and_what_waits(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace('"rank_one"', '"canonical"').replace("n_units = 9", "r_start_sigma = 0.2")
    text = text.replace("[0.1, 0.2, 0.3]", "[1e-7, 1e-6, 1e-5]").replace("= 4\n", "= 20.0\n")
    whole = run(tmp_path / "whole", text)
    tried = failing(monkeypatch, lambda chunk: error if chunk.width > 4 else None)
    with pytest.warns(UserWarning) as told:
        found = run(tmp_path, text, memory_bytes=10 * 8192)
    said = [str(warning.message) for warning in told]
    first, second = {1: (9, 5), 2: (10, 6)}[DEVICES]  # widths are of as many on each
    assert [text.split(" runs ")[0] for text in said] == [f"out of memory with {n}" for n in (first, second)]
    assert sum(size for size in tried if size <= 4) == 18
    pd.testing.assert_frame_equal(found.runs, whole.runs, check_exact=True)  # the canonical form: at any width
    assert not (tmp_path / "x" / "failed").exists()


def test_memory_given_sets_the_width_and_one_run_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    planned = plan.Plan.of(loads(TEXT, name="x"))
    assert [len(chunk.runs) for chunk in plan.chunks(planned, 2, 3 * RUN_BYTES)] == [6, 6, 6]
    least = 0.00144 * DEVICES
    with pytest.raises(UsageError, match=rf"found 0.001 MB; allowed: {least:g} MB or more, .*rank_one, 9 units"):
        run(tmp_path, memory_bytes=1000)
    with pytest.raises(UsageError, match="memory_bytes: found nan; allowed: a number from 0"):
        run(tmp_path, memory_bytes=float("nan"))
    assert not (tmp_path / "x").exists()


def test_a_run_that_exhausts_memory_alone_is_a_failure_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda chunk: MemoryError() if 5 in chunk.runs["seed"].to_list() else None)
    with pytest.warns(UserWarning, match="out of memory"), pytest.raises(TrainingError, match="MemoryError") as caught:
        run(tmp_path, TEXT.replace("[0.1, 0.2, 0.3]", "[0.1]"))
    assert re.search(r"1 of \d chunks", str(caught.value))
    lost = {5} if DEVICES == 1 else {4, 5}  # two devices train two runs at the least
    assert {*range(6)} - {*tables.read("x", tmp_path).runs["seed"]} == lost


class Device:
    """A stand-in for a GPU: its free memory."""

    def __init__(self, free: int) -> None:
        self.free = free

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": self.free + 5, "bytes_in_use": 5}


def test_memory_that_is_free() -> None:
    assert memory.usable_bytes([Device(80), Device(70)]) == 64  # type: ignore[list-item]
    usable = memory.usable_bytes(jax.local_devices())
    assert 1e7 < usable < 1e14
    assert np.log2(usable).is_integer()


GRID = plan.Plan.of(loads(TEXT.replace("range = 6", "range = 15"), name="x"))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_of_a_sweep_is_cut_into_the_same_chunks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lanes = int(rng.integers(1, 30))
    every = plan.chunks(GRID, 2, lanes * RUN_BYTES)
    kept = [chunk for chunk in every if rng.random() < 0.5]
    left = GRID.runs["run_id"].isin([run_id for chunk in kept for run_id in chunk.runs["run_id"]]).to_numpy()
    again = plan.chunks(GRID.leaving(left), 2, lanes * RUN_BYTES)
    assert [(c.width, list(c.runs["run_id"])) for c in again] == [(c.width, list(c.runs["run_id"])) for c in kept]
    left = rng.random(len(GRID.runs)) < 0.7
    ragged = plan.chunks(GRID.leaving(left), 2, lanes * RUN_BYTES)
    trained = [run_id for chunk in ragged for run_id in chunk.runs["run_id"]]
    assert sorted(trained) == sorted(GRID.runs["run_id"][left])
    assert all(len(chunk.runs) <= chunk.width <= every[0].width for chunk in ragged)
    some = [chunk for chunk in ragged if rng.random() < 0.5]  # and so after a second kill
    left = GRID.runs["run_id"].isin([run_id for chunk in some for run_id in chunk.runs["run_id"]]).to_numpy()
    ids = {tuple(chunk.runs["run_id"]): chunk.width for chunk in plan.chunks(GRID.leaving(left), 2, lanes * RUN_BYTES)}
    assert ids.keys() >= {tuple(chunk.runs["run_id"]) for chunk in some if len(chunk.runs) == every[0].width}
