"""Small sweeps of each kind: what is on disk before, what is cut off, and the sweep that is finished after it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ghostsweep
from ghostsweep import Sweep
from ghostsweep.spec import loads
from ghostsweep.store import tables

BASE = """
[run]
model = "canonical"
timescale = 10.0
epochs = 120
r_start_sigma = 0.1
[axes]
learning_rate = { logspace = [-6, -4, 5] }
seed = { range = 2 }
[record]
points = 5
"""
PHASES = '[[phases]]\nepochs = 30\naxes.clip_norm = ["none", 1.0]\n[[phases]]\nepochs = 20\n'
SNAPSHOTS = "[record.snapshots]\nepochs = [0, 60, 120]\nruns = { seed = [1] }\n"
REFINED = BASE.replace("[-6, -4, 5]", "[-6, -4, 17]") + "[refine]\nlevels = 2\n"
OPTIONS: dict[str, Any] = {"devices": 1, "checkpoint_seconds": 0.0, "memory_bytes": 5 * 16 * 8 * 64}
"""A checkpoint at every call, and chunks of five runs."""


def sweep_of(text: str) -> Sweep:
    return loads(text, name="x")


def run(text: str, out: Path, **options: Any) -> tables.Tables:
    return ghostsweep.run(sweep_of(text), out=out, **OPTIONS, **options)


def in_shards(text: str, out: Path) -> None:
    """Two shards at once: the second begins and ends while the first is in its first chunk."""
    begun: list[bool] = []

    def other(_: object) -> None:
        if not begun:
            begun.append(True)
            run(text, out, shard="2/2")

    run(text, out, shard="1/2", progress=other)


class Kind(NamedTuple):
    """before: what was run there before. cut: what is cut off. text: the sweep that a plain run finishes after it."""

    text: str
    cut: Callable[[Path], object]
    before: Callable[[Path], object] = lambda out: None


def _kind(text: str, before: str = "") -> Kind:
    return Kind(text, functools.partial(run, text), functools.partial(run, before) if before else lambda out: None)


KINDS = {
    "training": _kind(BASE),
    "phases": _kind(BASE + PHASES),
    "snapshots": _kind(BASE + SNAPSHOTS),
    "refined": _kind(REFINED),
    "grown": _kind(BASE.replace("range = 2", "range = 3"), BASE),
    "shrunk": _kind(BASE.replace("range = 2", "range = 1") + SNAPSHOTS.replace("[1]", "[0]"), BASE),
    "recorded": _kind((BASE + PHASES).replace("points = 5", "points = 6"), BASE + PHASES),
    "nothing left": _kind(BASE + SNAPSHOTS, BASE + SNAPSHOTS),
    "shards": Kind(BASE + PHASES, functools.partial(in_shards, BASE + PHASES)),
}
