"""What must hold when an operation of a sweep failed or its process was killed there.

Run as a command it tries every operation of every kind of sweep; the test suite tries some of them:

    python tests/faults/check.py [--every N] [KIND ...]
"""

import argparse
import collections
import errno
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import pandas as pd

if __name__ == "__main__":  # as a package it is imported by the tests
    sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.inject import ERRORS, READING, Killed, injected
from faults.sweeps import KINDS, Kind, run
from ghostsweep import UsageError
from ghostsweep.errors import TrainingError
from ghostsweep.store import locks, tables

LEFT = {"curves.parquet", "meta.json", "runs.parquet", "ends", "snapshots", "unplanned_runs.parquet"}
LEFT |= {"unplanned_curves.parquet"}


class Outcome(NamedTuple):
    """What came of one fault: the operation, None where there were fewer, and how the sweep ended there."""

    operation: str | None
    ended: str


def whole(kind: Kind, out: Path) -> tables.Tables:
    """What comes out where nothing fails."""
    kind.before(out)
    kind.cut(out)
    return run(kind.text, out)


def prepared(kind: Kind, out: Path) -> None:
    """A folder as it is before what is cut off."""
    out.mkdir()
    kind.before(out)


def strike(
    kind: Kind, expected: tables.Tables, start: Path, out: Path, at: int, fault: int | None, only: tuple[str, ...] = ()
) -> Outcome:
    """Let one operation fail in a copy of `start`, look at what is left, and finish it. Asserts what must hold."""
    shutil.copytree(start, out)
    before = ids(out)
    ended = "done"
    with injected(out, at, fault, only) as done, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            kind.cut(out)
        except Killed:
            ended = "killed"
        except (OSError, UsageError, TrainingError) as error:
            ended = type(error).__name__
            assert len(str(error).splitlines()) <= 2, error
    if len(done) < at:
        return Outcome(None, ended)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what a fault leaves is never damage
        assert ids(out) >= before, "finished runs are gone"
        agree(out, expected, start)
        found = run(kind.text, out)
    pd.testing.assert_frame_equal(found.runs, expected.runs, check_exact=True)
    pd.testing.assert_frame_equal(found.curves, expected.curves, check_exact=True)
    for run_id, place in tables.stored(out / "x").snapshots.items():
        if run_id in set(expected.runs["run_id"]):
            assert place.file in tables.stored(out / "x").manifest.files
            taken, theirs = found.snapshots(run_id), expected.snapshots(run_id)
            assert all((taken[name] == theirs[name]).all() for name in theirs)
    assert before <= ids(out)
    names = set(os.listdir(out / "x"))
    assert names <= LEFT, f"left behind: {names - LEFT}"
    shutil.rmtree(out)
    return Outcome(done[at - 1], ended)


def ids(out: Path) -> set[str]:
    """Finished runs that a folder tells of."""
    return set(tables.stored(out / "x").runs["run_id"].to_pylist()) if (out / "x").is_dir() else set()


def agree(out: Path, expected: tables.Tables, start: Path) -> None:
    """All that can be read of a finished run is of one training: that of the end, or that which was there before."""
    if not (out / "x").is_dir():
        return
    sources = [expected] if not (start / "x").is_dir() else [expected, stored(start / "x")]
    found, left = stored(out / "x"), set(expected.runs["run_id"])
    for run_id in left & set(found.runs["run_id"]):
        assert any(same(found, source, run_id) for source in sources), f"{run_id} is of two trainings"


def stored(folder: Path) -> tables.Tables:
    """All that a folder holds."""
    runs, curves = tables.stored(folder).frames()
    return tables.Tables(folder.name, runs, curves, {}, folder)


def same(one: tables.Tables, other: tables.Tables, run_id: str) -> bool:
    """Whether a run's row and curve are the same to the last bit in two tables."""
    pairs = [(one.runs, other.runs), (one.curves, other.curves)]
    return all(
        a[a["run_id"] == run_id].reset_index(drop=True).equals(b[b["run_id"] == run_id].reset_index(drop=True))
        for a, b in pairs
    )


def count(kind: Kind, start: Path, out: Path, only: tuple[str, ...] = ()) -> int:
    """Operations of what is cut off."""
    shutil.copytree(start, out)
    with injected(out, 0, errno.EIO, only) as done:
        kind.cut(out)
    shutil.rmtree(out)
    return len(done)


def main() -> None:
    """Every operation of every kind, or every Nth: killed there, and failing there in one way, each in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    given = parser.parse_args()
    locks.PATIENCE_SECONDS = 0.0
    house = Path(tempfile.mkdtemp())
    for name in given.kinds:
        kind, began = KINDS[name], time.perf_counter()
        (house / name).mkdir()
        expected, start = whole(kind, house / name / "whole"), house / name / "start"
        prepared(kind, start)
        tally: collections.Counter[str] = collections.Counter()
        for turn, at in enumerate(range(1, count(kind, start, house / name / "out") + 1, given.every)):
            for fault in (None, ERRORS[turn % len(ERRORS)]):
                outcome = strike(kind, expected, start, house / name / "out", at, fault)
                shutil.rmtree(house / name / "out", ignore_errors=True)
                label = "killed" if fault is None else errno.errorcode[fault]
                tally[f"{label}: {outcome.ended}"] += 1
                tally["of them reading"] += str(outcome.operation).startswith(READING)
        seconds = time.perf_counter() - began
        print(f"{name}: {tally.total() - tally['of them reading']} in {seconds:.0f} s: {dict(tally)}", flush=True)
    shutil.rmtree(house)


if __name__ == "__main__":
    main()
