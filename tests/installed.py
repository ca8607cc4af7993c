"""The package as a user has it: a wheel of this checkout, installed in a folder, and tried in an empty one."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(os.environ.get("GHOSTSWEEP_TEST_CHECKOUT", Path(__file__).parents[1]))
"""Of which checkout the package and the committed tables are."""
DRIVER = Path(__file__).parent / "whole" / "driver.py"


class Tried(NamedTuple):
    """One thing that was tried: seconds of the clock and of processors, and what it printed."""

    what: str
    good: bool
    seconds: float
    processor: float
    said: str
    erred: str


def site(folder: Path) -> Path:
    """Build the wheel and install it, without what it depends on, which is there."""
    commands = (
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder / "site")],
    )
    for command in commands:
        wheels = [str(path) for path in folder.glob("*.whl")]
        done = subprocess.run([*command, *wheels], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder / "site"


def environment(package: Path) -> dict[str, str]:
    """In which Python finds the installed package before any other."""
    return os.environ | {"PYTHONPATH": str(package)}


def attempts(package: Path, wanted: Iterable[dict[str, Any]]) -> list[Tried]:
    """Try commands and code one after the other, in one process, where warnings are errors."""
    began, wanted = time.perf_counter(), list(wanted)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(DRIVER), str(package)],
        cwd=package,
        env=os.environ
        | {"PYTHONPATH": str(package), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},  # compiled in half the time
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
    )
    found = [Tried(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(found) < len(wanted):  # the process has ended
        what = wanted[len(found)]["what"]
        found.append(Tried(what, False, time.perf_counter() - began, 0.0, done.stdout, done.stderr[-2000:]))
    return found


def command(folder: Path, words: str, *, wanted: int = 0, what: str = "") -> dict[str, Any]:
    """A command line without its first word, and the exit code that it is to have."""
    return {"what": what or f"ghostsweep {words}", "folder": str(folder), "words": shlex.split(words), "wanted": wanted}


def python(folder: Path, what: str, code: str) -> dict[str, Any]:
    """Code, and what it is called."""
    return {"what": what, "folder": str(folder), "code": code}


TOLD = "tried"
"""Under this name a test tells what it tried, a line each, for the table at the end of a run."""


def lines(found: Iterable[Tried], about: str = "") -> list[str]:
    """A line of the table for each: good or bad, seconds of the clock and of processors, and what it was."""
    start = f"{about}: " if about else ""
    return [
        f"{'good' if one.good else 'BAD '} {one.seconds:6.1f} s {one.processor:6.1f} s  {start}{one.what}"
        for one in found
    ]


def summary(reports: Iterable[Any]) -> list[str]:
    """The table of all that was tried, from the reports of tests; empty where none tells any."""
    told = [line for report in reports for name, line in getattr(report, "user_properties", ()) if name == TOLD]
    if not told:
        return []
    seconds = [float(line.split()[3]) for line in told]
    n_bad = sum(line.startswith("BAD") for line in told)
    head = "     clock     processors  the package as it is installed"
    return [head, *told, f"{len(told)} tried, {n_bad} bad, {sum(seconds):.0f} s of processors"]
