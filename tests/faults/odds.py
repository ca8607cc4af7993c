"""What must hold with senseless metadata, signals at any moment, clocks that jump, and too little memory.

Run as a command it tries as many of each as asked and counts what was lost, what was silent, what ended with a
traceback, and how often a command over all sweeps left out the others; the test suite tries a few of each:

    python tests/faults/odds.py [--senseless 1000] [--signals 200] [--clocks 50] [--memory 20] [--seed 0]
"""

import argparse
import collections
import contextlib
import copy
import datetime
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":  # as a package it is imported by the tests
    sys.path.insert(0, str(Path(__file__).parent.parent))

import ghostsweep
from faults.sweeps import BASE, OPTIONS, PHASES, SNAPSHOTS
from ghostsweep.cli import main as command
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources
from ghostsweep.spec import loads
from ghostsweep.store import files, tables

TEXT = BASE + PHASES + SNAPSHOTS
OVER_ALL = (["list"], ["status"])
OF_ONE = (["status", "x"], ["analyze", "x"], ["show", "x"], ["export", "x", "--to", "exported"])
PLOT = ["plot", "x"]
SENSELESS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2.5,
    2**70,
    "",
    "x",
    "../x",
    [],
    [1],
    ["x"],
    {},
    {"a": 1},
    [[{"a": None}]],
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
Counts = collections.Counter[str]
Kind = Callable[[Path, int, random.Random, Callable[[str], object]], Counts]


def say(what: str) -> None:
    print(what, flush=True)


def told(words: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, in this process."""
    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    shown = warnings.showwarning
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
            mock.patch.object(sys, "argv", ["ghostsweep", *words]),
        ):
            warnings.simplefilter("always")
            command()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    except BaseException as error:  # what would be a traceback
        return 70, out.getvalue(), f"Traceback: {type(error).__name__}: {error}"
    finally:
        os.chdir(before)
        warnings.showwarning = shown
    return 0, out.getvalue(), err.getvalue()


def trained(house: Path, **more: Any) -> tables.Tables:
    """The sweep x of a house, trained or finished."""
    return ghostsweep.run(loads(TEXT, name="x"), out=house / "results", **OPTIONS, **more)


def same(one: tables.Tables, other: tables.Tables) -> bool:
    return one.runs.equals(other.runs) and one.curves.equals(other.curves)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value of JSON could be another."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def senseless(house: Path, n: int, rng: random.Random, tell: Callable[[str], object] = say) -> Counts:
    """Sealed metadata with a value of any type in any place: read by every command, and run again every 25th time."""
    (house / "sweeps").mkdir(parents=True)
    (house / "sweeps" / "x.toml").write_text(TEXT)
    expected, counts = trained(house), Counts()
    ghostsweep.run(loads(BASE, name="healthy"), out=house / "results", **OPTIONS)
    path, keep = house / "results" / "x" / "meta.json", house / "kept"
    shutil.copytree(path.parent, keep)
    said = files.parsed_json(path.read_bytes(), path)
    where = list(places(said))
    for turn in range(n):
        changed, place, value = copy.deepcopy(said), rng.choice(where), rng.choice(SENSELESS)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        if inner[place[-1]] == value:
            continue
        inner[place[-1]] = value
        files.write_json(path, changed)
        counts["tried"] += 1
        for words in (OVER_ALL[turn % 2], OF_ONE[turn // 2 % 4] if turn % 40 != 39 else PLOT):
            code, out, err = told(words, house)
            if code == 70 or "Traceback" in err:
                counts["tracebacks"] += 1
                tell(f"{words} {place} = {value!r}: {err}")
            if words in OVER_ALL and "healthy" not in out:
                counts["others not named"] += 1
                tell(f"{words} {place} = {value!r}: {out} {err}")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = tables.read("x", house / "results")
                if not same(found, expected) and not warned:
                    counts["silent"] += 1
                    tell(f"read {place} = {value!r}")
                counts["named as damaged"] += bool(warned)
            except UsageError:
                counts["refused"] += 1
            except Exception as error:
                counts["tracebacks"] += 1
                tell(f"read {place} = {value!r}: {type(error).__name__}: {error}")
        if turn % 25 == 3:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(UsageError):  # of a later format
                    if not same(trained(house), expected):
                        counts["lost"] += 1
                        tell(f"run {place} = {value!r}")
        shutil.rmtree(path.parent)
        shutil.copytree(keep, path.parent)
    return counts


def signals(house: Path, n: int, rng: random.Random, tell: Callable[[str], object] = say) -> Counts:
    """One or two signals at any moment of a run, from the first import on; what is left is then finished."""
    (house / "sweeps").mkdir(parents=True)
    (house / "sweeps" / "x.toml").write_text(TEXT)
    expected, counts = trained(house / "whole"), Counts()
    words = [sys.executable, "-m", "ghostsweep", "run", "x", "--devices", "1"]
    began = time.monotonic()
    subprocess.run(words, cwd=house, capture_output=True, check=True)
    whole = time.monotonic() - began
    shutil.rmtree(house / "results")
    for _ in range(n):
        running = subprocess.Popen(words, cwd=house, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        sent = []
        for _ in range(rng.choice((1, 1, 2))):
            time.sleep(rng.uniform(0, whole / (1 + len(sent))))
            sent.append(rng.choice(SIGNALS))
            running.send_signal(sent[-1])
        assert running.stderr is not None
        err, code = running.stderr.read(), running.wait()
        counts["tried"] += 1
        counts["had ended"] += code == 0
        if "Traceback" in err:
            counts["tracebacks"] += 1
            tell(f"{sent}: {err}")
        if code and code not in {128 + each for each in sent} | {-each for each in sent}:
            counts["other exit statuses"] += 1
            tell(f"{sent}: {code}: {err}")
        if code == 0 or rng.random() < 0.3:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                if not same(trained(house), expected):
                    counts["lost"] += 1
            shutil.rmtree(house / "results")
    return counts


class _Stopped(Exception):
    pass


def clocks(house: Path, n: int, rng: random.Random, tell: Callable[[str], object] = say) -> Counts:
    """A sweep trained in pieces, twice over, with another clock and other times of files before each, and within."""
    expected, counts = trained(house / "whole"), Counts()
    usual, off = time.time, [0.0]

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumping":
            return cls.fromtimestamp(usual() + off[0], tz)

    def jump() -> None:
        off[0] = rng.uniform(-3e8, 3e8)
        counts["tried"] += 1
        for path in house.rglob("*"):
            with contextlib.suppress(OSError):
                os.utime(path, (usual() + rng.uniform(-3e8, 3e8),) * 2)

    def step(_: object) -> None:
        jump()
        if rng.random() < 0.3:
            raise _Stopped

    with mock.patch.object(datetime, "datetime", Jumping), mock.patch.object(time, "time", lambda: usual() + off[0]):
        while counts["tried"] < n:
            with contextlib.suppress(_Stopped):
                other = TEXT.replace("points = 5", f"points = {rng.choice((4, 5, 6))}")
                ghostsweep.run(loads(other, name="x"), out=house / "results", **OPTIONS, progress=step)
            jump()
            if rng.random() < 0.5:
                if not same(trained(house), expected):
                    counts["lost or mixed"] += 1
                    tell("a clock mixed two trainings")
                shutil.rmtree(house / "results")
    return counts


def memory(house: Path, n: int, rng: random.Random, tell: Callable[[str], object] = say) -> Counts:
    """Little memory, from 1 kB to 30 MB: refused in a line before anything is taken, by a dry run alike."""
    (house / "sweeps").mkdir(parents=True)
    text = BASE.replace("-4, 5]", "-4, 1_000]").replace("epochs = 120", "epochs = 20")
    (house / "sweeps" / "x.toml").write_text(text)
    expected, counts = ghostsweep.run(loads(text, name="x"), out=house / "whole", devices=1), Counts()
    for _ in range(n):
        limit = int(10 ** rng.uniform(3, 7.5))
        codes = []
        with mock.patch.object(resources, "free_bytes", lambda limit=limit: limit):
            for words in (["run", "x", "--dry-run"], ["run", "x"], ["analyze", "x"], ["plot", "x"]):
                code, _, err = told([*words, "--devices", "1"] if words[0] == "run" else words, house)
                codes.append(code)
                if code == 70 or "Traceback" in err:
                    counts["tracebacks"] += 1
                    tell(f"{limit} {words}: {err}")
                if code and not err.strip():
                    counts["silent"] += 1
        counts["tried"] += 1
        counts["refused"] += codes[1] == 2
        if codes[0] != codes[1]:
            counts["a dry run said otherwise"] += 1
            tell(f"{limit}: {codes}")
        if codes[1] == 0 and not same(tables.read("x", house / "results"), expected):
            counts["lost"] += 1
        shutil.rmtree(house / "results", ignore_errors=True)
    return counts


def main() -> None:
    """Try as many of each as asked, and print what came of them."""
    parser = argparse.ArgumentParser()
    for kind, usual in (("senseless", 1000), ("signals", 200), ("clocks", 50), ("memory", 20), ("seed", 0)):
        parser.add_argument(f"--{kind}", type=int, default=usual)
    given = parser.parse_args()
    for kind in (senseless, signals, clocks, memory):
        if n := getattr(given, kind.__name__):
            house, began = Path(tempfile.mkdtemp()), time.monotonic()
            counts = kind(house / "here", n, random.Random(given.seed))
            print(f"{kind.__name__}: {dict(counts)}, {time.monotonic() - began:.0f} s", flush=True)
            shutil.rmtree(house)


if __name__ == "__main__":
    main()
