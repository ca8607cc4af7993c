"""A sweep that is killed or interrupted at any moment ends in the same tables, to the last bit.

GHOSTSWEEP_KILLS=30 python -m pytest tests/processes/test_resume.py -s -k killed  kills it more often and prints them.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import loads
from ghostsweep.store import tables
from ghostsweep.store.ends import Ends
from ghostsweep.training import chunk, engine
from ghostsweep.training.progress import Progress

KILLS = int(os.environ.get("GHOSTSWEEP_KILLS", "4"))
TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 9
learning_rate = 0.3
epochs = 20_000
[axes]
seed = { range = 6 }
[record]
points = 30
[record.snapshots]
epochs = [0, 17, 10_000, 20_000]
runs = { seed = [0, 5] }
[[phases]]
epochs = 10_000
axes.confidence = [1.0, 10.0]
"""
CHUNK_BYTES = 2 * 2 * 4 * 9 * (2 * 8 + 24)  # of two runs on each of two devices
FINISHED = ["curves.parquet", "ends", "meta.json", "runs.parquet", "snapshots"]


def contents(folder: Path) -> dict[str, Any]:
    """All numbers that a sweep leaves; of ends and snapshots by file."""
    found = tables.read(folder)
    arrays = {path.name: dict(np.load(path)) for path in [*folder.glob("snapshots/*.npz"), *folder.glob("ends/*.npz")]}
    return {"runs": found.runs, "curves": found.curves} | arrays


def assert_same(folder: Path, like: Path) -> None:
    one, other = contents(folder), contents(like)
    assert one.keys() == other.keys()
    for name in ("runs", "curves"):
        pd.testing.assert_frame_equal(one.pop(name), other.pop(name), check_exact=True)
    for name, arrays in one.items():
        assert arrays.keys() == other[name].keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, other[name][key], err_msg=f"{name}: {key}")
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in like.iterdir())


def start(house: Path, out: str, checkpoint_seconds: float = 0.0) -> "subprocess.Popen[bytes]":
    options = ["--checkpoint-seconds", str(checkpoint_seconds), "--memory-gb", str(CHUNK_BYTES / 1e9), "--out", out]
    command = [sys.executable, "-m", "ghostsweep", "run", "x.toml", *options]
    with open(house / "log", "ab") as log:
        return subprocess.Popen(command, cwd=house, stdout=log, stderr=log)


def wait_for(process: "subprocess.Popen[bytes]", pattern: str, folder: Path) -> bool:
    """Wait until the process has written a file of that name, or has ended; whether it has written it."""
    began = time.time()
    while process.poll() is None:
        for path in folder.glob(pattern):
            try:
                if path.stat().st_mtime >= began - 0.01:
                    return True
            except FileNotFoundError:
                continue
        time.sleep(0.002)
    return False


def test_a_sweep_killed_at_random_moments_ends_in_the_same_tables(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(TEXT)
    whole, killed = tmp_path / "whole" / "x", tmp_path / "killed" / "x"
    process = start(tmp_path, "whole")
    assert wait_for(process, "lock", whole)
    began = time.perf_counter()
    assert process.wait() == 0, (tmp_path / "log").read_text()
    seconds = time.perf_counter() - began
    assert sorted(path.name for path in whole.iterdir()) == FINISHED

    process = start(tmp_path, "killed", 1e9)
    assert wait_for(process, "parts/*.npz", killed)
    process.send_signal(signal.SIGTERM)  # asked, it merges what it has
    assert process.wait() == 128 + signal.SIGTERM
    assert len(tables.read(killed).runs) >= 4
    assert not (killed / "parts").exists() and not (killed / "lock").exists()
    rng = random.Random(KILLS)
    landed, within, writing, rounds = 0, 0, 0, 0
    while landed < KILLS:
        process = start(tmp_path, "killed")
        wait_for(process, ("lock", "checkpoints/*.npz")[landed % 2], killed)
        time.sleep(rng.uniform(0, seconds / 2))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            landed += 1
            within += any(killed.glob("checkpoints/*.npz"))
            writing += any(killed.rglob("*.tmp"))
        else:  # it had ended: once more from the start
            assert process.returncode == 0, (tmp_path / "log").read_text()
            assert_same(killed, whole)
            shutil.rmtree(killed)
            rounds += 1
    process = start(tmp_path, "killed")
    assert process.wait() == 0, (tmp_path / "log").read_text()
    assert_same(killed, whole)
    print(
        f"\n{landed} kills of a sweep of {seconds:.1f} s: {within} within a chunk that had a checkpoint, "
        f"{writing} while a file was written; finished and compared {rounds + 1} times, all tables equal"
    )


SMALL = TEXT.replace("0_000", "00").replace("[axes]", 'optimizer = "adam"\n[axes]')
KINDS = {
    "phases and snapshots": SMALL,
    "noise": """
        [run]
        model = "full_rank"
        task = "dcdt"
        n_units = 5
        epochs = 120
        momentum = 0.9
        learning_rate = 0.1
        input_ms = 10.0
        delay_ms = 10.0
        reaction_ms = 10.0
        r0_sigma = 0.2
        noise_sigma = 0.1
        [axes]
        seed = { range = 6 }
        """,
    "runs that stand still in kernels": """
        [run]
        model = "rank_one"
        epochs = 3_000
        timescale = 3
        n_units = 32
        [axes]
        learning_rate = { logspace = [-3, 3, 7] }
        seed = { range = 3 }
        [record]
        points = 90
        [record.snapshots]
        epochs = [0, 1_000]
        [[phases]]
        epochs = 90
        confidence = 1.0
        """,
    "runs that are dropped": """
        [run]
        model = "canonical"
        epochs = 3_000
        timescale = 50.0
        r_start_sigma = 0.1
        [axes]
        learning_rate = { logspace = [-10, -4, 24] }
        seed = { range = 2 }
        [record]
        points = 30
        [record.snapshots]
        epochs = [0, 1_000]
        """,
}


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_stopped_at_every_third_call_it_is_the_same(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "WORTHWHILE_SECONDS", 0.0)
    sweep = loads(text, name="x")
    planned = plan.Plan.of(sweep)
    parents = set(planned.runs["parent"].dropna())
    stops, devices = 0, jax.local_devices()[:2]
    for each in plan.chunks(planned, 2, 5e4):
        told: list[float] = []

        def stop(now: Progress, told: list[float] = told) -> None:
            told.append(now.share)
            if len(told) == 4 and now.share < 1:
                raise KeyboardInterrupt

        def train(out: str, *options: Any, each: plan.Chunk = each) -> engine.Spent:
            folder = tmp_path / out
            folder.mkdir(exist_ok=True)
            store = engine.Store(folder, Ends(folder, tables.stored(folder)))
            return engine.train_chunks([each], sweep.record_of, store, devices, *options)

        train("whole", lambda _: None, parents, float("inf"))  # a checkpoint would be due on a slow machine
        train("often", lambda _: None, parents, 0.0)
        while True:
            told.clear()
            try:
                train("parts", stop, parents)
                break
            except KeyboardInterrupt:
                stops += 1
    assert stops >= 2
    for name in ("often", "parts"):
        assert not any((tmp_path / name / "checkpoints").iterdir())
        (tmp_path / name / "checkpoints").rmdir()
        assert_same(tmp_path / name, tmp_path / "whole")


def test_a_signal_leaves_a_checkpoint_and_its_number(tmp_path: Path) -> None:
    for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        signal.signal(number, usual)  # a process in the background may have been started with one ignored
        with pytest.raises(KeyboardInterrupt) as caught:
            ghostsweep.run(loads(SMALL, name="x"), out=tmp_path, progress=lambda _, n=number: os.kill(os.getpid(), n))  # type: ignore[misc]
        assert caught.value.args == (number,)
        assert len(list((tmp_path / "x" / "checkpoints").iterdir())) == 1
        assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)


def interrupted(tmp_path: Path, text: str = SMALL, **options: Any) -> Path:
    """The checkpoint of a sweep that was stopped in its first chunk."""

    def stop(now: Progress) -> None:
        if now.updates > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ghostsweep.run(loads(text, name="x"), out=tmp_path, progress=stop, **options)
    (path,) = (tmp_path / "x" / "checkpoints").iterdir()
    return path


def first_share(tmp_path: Path, text: str = SMALL, **options: Any) -> float:
    """Where a sweep goes on."""
    told: list[Progress] = []
    ghostsweep.run(loads(text, name="x"), out=tmp_path, progress=told.append, **options)
    assert told[-1].share == pytest.approx(1)
    return told[0].share


def test_a_checkpoint_serves_exactly_its_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "same")
    assert first_share(tmp_path / "same") > 0
    interrupted(tmp_path / "width")
    assert first_share(tmp_path / "width", memory_bytes=CHUNK_BYTES) == 0
    interrupted(tmp_path / "record")
    assert first_share(tmp_path / "record", SMALL.replace("points = 30", "points = 31")) == 0
    interrupted(tmp_path / "version")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "ENGINE_VERSION", engine.ENGINE_VERSION + 1)
        assert first_share(tmp_path / "version") == 0
    for name in ("width", "record", "version"):
        assert not (tmp_path / name / "x" / "checkpoints").exists()  # nor is it left behind


@pytest.mark.parametrize("size", [0, 1, 100, -200, -1])
def test_a_damaged_checkpoint_is_named_and_costs_no_more_than_its_chunk(tmp_path: Path, size: int) -> None:
    path = interrupted(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.warns(UserWarning, match=f"{path.name}: not the bytes that were written .*damaged.* begins anew"):
        assert first_share(tmp_path) == 0


def test_flipped_bits_of_a_checkpoint_never_reach_a_result(tmp_path: Path) -> None:
    ghostsweep.run(loads(SMALL, name="x"), out=tmp_path / "whole")
    path = interrupted(tmp_path)
    saved = path.read_bytes()
    checkpoint = chunk.Checkpoint(path, str(np.load(path)["identity"]), 60.0)
    like = checkpoint.read()
    assert like is not None
    rng = random.Random(0)
    for _ in range(200):
        damaged = bytearray(saved)
        damaged[rng.randrange(len(saved))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            found = checkpoint.read()
        except UserWarning:  # warnings are errors here
            continue
        assert found is None or (
            found.keys() == like.keys() and all(np.array_equal(found[name], like[name]) for name in like)
        )
