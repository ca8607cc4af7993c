"""Five processes with one command on one folder, and four that read it meanwhile.

    python tests/faults/crowd.py [SECONDS]

Each command grows or shrinks the same sweep, so tables are replaced all the time. A read is torn where it is damaged,
lacks a run that every version of the sweep has, or has a row or a point that is not what comes out. A refusal is false
where it names a process that is not at work on the folder.
"""

import collections
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

if __name__ == "__main__":  # as a package it is imported by the tests
    sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.sweeps import BASE, run
from ghostsweep import UsageError
from ghostsweep.running import ledger
from ghostsweep.spec import loads
from ghostsweep.store import tables

WRITERS, READERS, SEEDS = 5, 4, (2, 3, 4, 5, 6)


def text_of(seeds: int) -> str:
    return BASE.replace("range = 2", f"range = {seeds}")


def write(out: Path, end: float, number: int, told: Any) -> None:
    """Run one version of the sweep after the other."""
    rng, tally = random.Random(number), collections.Counter[str]()
    while time.time() < end:
        try:
            run(text_of(rng.choice(SEEDS)), out)
            tally["commands done"] += 1
        except UsageError as error:
            tally["refused"] += "found another run at work there" in str(error)
            others = {int(word) for word in str(error).split() if word.isdecimal()}
            tally["FALSE REFUSALS"] += os.getpid() in others or "at work there" not in str(error)
        except Exception as error:  # what a user would see as a traceback
            tally[f"WRITER {type(error).__name__}: {error}"] += 1
    told.put(tally)


def read(out: Path, end: float, whole: tables.Tables, told: Any) -> None:
    """Read tables and status again and again."""
    tally, sweep = collections.Counter[str](), loads(text_of(2), name="x")
    runs, curves = whole.runs.set_index("run_id"), whole.curves.set_index(["run_id", "epoch"])
    always = set(whole.runs.loc[whole.runs["seed"] < 2, "run_id"])
    while time.time() < end:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = tables.read("x", out)
                ledger.status(sweep, out)
                ledger.activity("x", out)
            except Exception as error:
                tally[f"TORN {type(error).__name__}: {error}"] += 1
                continue
        theirs, points = found.runs.set_index("run_id"), found.curves.set_index(["run_id", "epoch"])
        good = always <= set(theirs.index) and len(points) == 5 * len(theirs) and points.index.is_unique
        good = good and theirs["final_loss"].equals(runs["final_loss"].loc[theirs.index])
        good = good and points["loss"].equals(curves["loss"].loc[points.index])
        tally["reads" if good else "TORN rows"] += 1
    told.put(tally)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as house:
        whole = run(text_of(max(SEEDS)), Path(house, "whole"))
        run(text_of(2), Path(house, "out"))
        told, end, out = spawn.Queue(), time.time() + seconds, Path(house, "out")
        crowd = [spawn.Process(target=write, args=(out, end, i, told)) for i in range(WRITERS)]
        crowd += [spawn.Process(target=read, args=(out, end, whole, told)) for _ in range(READERS)]
        for each in crowd:
            each.start()
        tally = sum((told.get() for _ in crowd), collections.Counter[str]())
        for each in crowd:
            each.join()
        pd.testing.assert_frame_equal(run(text_of(max(SEEDS)), out).runs, whole.runs, check_exact=True)
        print(f"{WRITERS} writers and {READERS} readers for {seconds:.0f} s: {dict(tally)}")


if __name__ == "__main__":
    main()
