"""A sweep for tests of several processes, and what they say of it."""

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import slurm_node
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import cli
from ghostsweep.running import ledger
from ghostsweep.spec import Sweep, loads
from ghostsweep.store import tables

TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 9
epochs = 20_000
[axes]
seed = { range = 4 }
learning_rate = [0.1, 0.3]
[record]
points = 30
[[phases]]
epochs = 20_000
axes.confidence = [1.0, 10.0]
"""
SHORT = TEXT.replace("20_000", "200")
FINISHED = ["curves.parquet", "ends", "meta.json", "runs.parquet"]
OPTIONS: dict[str, Any] = {"devices": 1, "checkpoint_seconds": 0.0}


def sweep_of(text: str = SHORT) -> Sweep:
    return loads(text, name="x")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(one: tables.Tables, other: tables.Tables, **tolerance: Any) -> None:
    how = tolerance or {"check_exact": True}
    pd.testing.assert_frame_equal(one.runs, other.runs, **how)
    pd.testing.assert_frame_equal(one.curves, other.curves, **how)


def in_shards(out: Path, n: int, text: str = SHORT) -> tables.Tables:
    """The sweep in shards, one after the other, nothing interrupted."""
    for number in range(1, n + 1):
        found = ghostsweep.run(sweep_of(text), out=out, shard=f"{number}/{n}", **OPTIONS)
    return found


def status(house: Path, *options: str) -> str:
    places = ["--out", str(house / "out"), "--sweeps", str(house)]
    done = CliRunner().invoke(cli.app, ["status", *options, *places], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def kill_in_a_chunk(folder: Path) -> int:
    """Wait until there is a checkpoint, kill a process that is at work on a shard, and return its id."""
    slurm_node.wait(lambda: any(folder.glob("checkpoints/*.npz")), 120, "a checkpoint")
    holder = next(text for text in ledger.activity(folder.name, folder.parent).at_work if text.startswith("shard"))
    pid = int(holder.split("pid ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    return pid
