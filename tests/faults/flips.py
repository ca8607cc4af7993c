"""Flips bits of every file of a small result folder, one at a time, and looks for changes that nothing tells of.

Run as a command it flips every bit of the small files, and of the tables as many as are asked for:

    python tests/faults/flips.py [BITS_OF_A_TABLE]
"""

import collections
import contextlib
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

if __name__ == "__main__":  # as a package it is imported by the tests
    sys.path.insert(0, str(Path(__file__).parent.parent))

from faults.sweeps import run
from ghostsweep import UsageError
from ghostsweep.store import tables
from ghostsweep.store.ends import Ends
from ghostsweep.store.files import Damaged
from ghostsweep.training.checkpoint import Checkpoint

TEXT = """
[run]
model = "canonical"
timescale = 10.0
epochs = 60
[axes]
learning_rate = [1e-6, 1e-5]
[record.snapshots]
epochs = [0, 60]
runs = { learning_rate = [1e-6] }
[[phases]]
epochs = 30
"""
MANY = 100_000
"""Bits of a file that are flipped one and all; of larger ones a sample."""


def made(out: Path) -> Path:
    """A finished sweep with a part, a session and a checkpoint of another one beside its tables."""
    folder, more = run(TEXT, out).folder, out / "more"
    other = TEXT.replace("[1e-6, 1e-5]", "[1e-4, 2e-4]").replace("[1e-6]", "[1e-4]")
    run(other, more, shard="1/2")

    def stop(now: object) -> None:
        told.append(now)
        if len(told) == 4:
            raise KeyboardInterrupt

    told: list[object] = []
    with contextlib.suppress(KeyboardInterrupt):
        run(other, more, shard="2/2", progress=stop)
    for place in ("parts", "checkpoints"):
        (more / "x" / place).rename(folder / place)
    return folder


def everything(folder: Path) -> list[object]:
    """All that is read back of a folder: tables, meta.json, snapshots, ends and checkpoints."""
    found = tables.stored(folder)
    runs, curves = found.frames()
    snapshots = [tables.read_snapshots(folder, run_id) for run_id in sorted(found.snapshots)]
    ends = Ends(folder, found).of(sorted(found.ends))
    saved = [files_of(path) for path in sorted((folder / "checkpoints").glob("*"))]
    return [runs, curves, dict(found.manifest.about), snapshots, ends, saved]


def files_of(path: Path) -> object:
    """The arrays of a checkpoint, whatever it belongs to."""
    checkpoint = Checkpoint(path, "", 60.0)
    if path not in IDENTITY:
        IDENTITY[path] = _identity(path)
    checkpoint.identity = IDENTITY[path]
    return checkpoint.read()


IDENTITY: dict[Path, str] = {}
"""What checkpoints belong to, before any bit is flipped."""


def _identity(path: Path) -> str:
    with np.load(path) as arrays:
        return str(arrays["identity"])


def same(one: object, other: object) -> bool:
    """Whether two of them are equal to the last bit."""
    if isinstance(one, pd.DataFrame):
        return isinstance(other, pd.DataFrame) and one.equals(other)
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, type(one)) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def flipped(folder: Path, path: Path, bits: Iterable[int]) -> collections.Counter[str]:
    """Flip bits of a file, one at a time: how often that was told, changed nothing, or changed something in silence."""
    sound, before = path.read_bytes(), everything(folder)
    tally: collections.Counter[str] = collections.Counter()
    for bit in bits:
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(damaged))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                tally["no change" if same(everything(folder), before) else "SILENT"] += 1
            except (UserWarning, UsageError, Damaged):
                tally["told"] += 1
            except Exception as error:  # what a user would see as a traceback
                tally[f"TRACEBACK {type(error).__name__}"] += 1
        if (aside := folder / "damaged").is_dir():
            for each in aside.iterdir():
                each.unlink()
            aside.rmdir()
    path.write_bytes(sound)
    assert same(everything(folder), before)
    return tally


def chosen(path: Path, most: int, rng: random.Random) -> Iterable[int]:
    """The bits of a file, or a sample of so many."""
    size = 8 * path.stat().st_size
    return range(size) if size <= most else sorted(rng.sample(range(size), most))


def main(say: Callable[[str], object] = print) -> None:
    """All files, and what came of each."""
    most, rng = int(sys.argv[1]) if len(sys.argv) > 1 else MANY, random.Random(0)
    with tempfile.TemporaryDirectory() as house:
        folder = made(Path(house))
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            bits = chosen(path, most, rng)
            tally = flipped(folder, path, bits)
            say(f"{path.relative_to(folder)}: {len(list(bits))} of {8 * path.stat().st_size} bits: {dict(tally)}")


if __name__ == "__main__":
    main()
