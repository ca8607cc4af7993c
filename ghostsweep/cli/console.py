"""What the command line shows: tables, progress, costs and times in words."""

import json
import math
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ghostsweep.declare import Shape
from ghostsweep.machine import resources
from ghostsweep.machine.terminal import reason, visible
from ghostsweep.running import estimating, ledger, showing, sweeping
from ghostsweep.spec import Sweep, spans
from ghostsweep.store import columns, tables
from ghostsweep.training.progress import Progress as Report
from ghostsweep.training.progress import harmless

MAX_EPOCHS = 16
"""Rows of a curve that are shown."""
MAX_WIDTH = 160
"""Characters of a line of a list that is not on a terminal."""
MIN_QUESTION = 12
"""Characters of a question below which it is left out of a list."""
MAX_REASON = 2_000
"""Bytes of a file that says why a chunk failed that are read for its line in the status."""
MAX_GROUPS = 20
"""Groups of a sweep whose costs are written out."""
PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
"""Texts are printed as they are: brackets of a path are no colours, and :cat: is no picture."""
console = Console(**PLAIN)
errors = Console(stderr=True, **PLAIN)


class Format(StrEnum):
    """How tables are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def is_live() -> bool:
    """Whether standard output is a terminal, on which a line may be drawn again; FORCE_COLOR does not make it one."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # none at all, or closed
        return False


class Meter:
    """Shows progress: a live bar on a terminal, else a line whenever runs are finished."""

    def __init__(self) -> None:
        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[runs]} runs"),
            TextColumn("{task.fields[rate]} epochs/s"),
            TextColumn("{task.fields[left]} left"),
            TimeElapsedColumn(),
            console=console,
            disable=not is_live(),
        )
        self.task = self.bar.add_task("", total=1.0, runs="0", rate="-", left="-")
        self.told = 0

    def __enter__(self) -> "Meter":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, now: Report) -> None:
        runs = f"{now.runs_done:,} / {now.runs:,}"
        rate, left = f"{now.updates / now.seconds:.2g}", duration(now.seconds_left)
        self.bar.update(self.task, completed=now.share, runs=runs, rate=rate, left=left)
        if self.bar.disable and now.runs_done > self.told:
            self.told = now.runs_done
            say(f"{runs} runs, {rate} epochs/s, {left} left")


def train(sweep: Sweep, out: Path, **options: Any) -> None:
    """Train what is missing of a sweep and tell how it goes; leave with 128 + signal where it is interrupted."""
    states = list[ledger.Status]()

    def standing(state: ledger.Status) -> None:
        if not states:
            reused = f", {state.done:,} of them done before" if state.done else ""
            say(f"{sweep.name}: {count(state)} runs{reused}")
            for change in state.changed:
                say(f"  {change}")
        states.append(state)

    before = len(_sessions(tables.read_meta(out / sweep.name)))
    try:
        with Meter() as meter:
            found = sweeping.run(sweep, out=out, progress=harmless(meter), standing=standing, **options)
    except KeyboardInterrupt as interrupt:
        state = ledger.status(sweep, out)
        complain(
            f"interrupted: {state.done:,} of {state.runs:,} runs are finished and kept in {out / sweep.name}; "
            "the same command goes on from there"
        )
        raise typer.Exit(128 + (interrupt.args or (signal.SIGINT,))[0]) from None
    counts = ", ".join(f"{n:,} {status}" for status, n in found.runs["status"].value_counts().items())
    spent = _sessions(found.meta)[before:]
    seconds = [sum(session.get(f"{what}_seconds", 0) for session in spent) for what in ("run", "compile")]
    took = f"; trained in {seconds[0]:.1f} s, compiled in {seconds[1]:.1f} s" if spent else ""
    say(f"{out / sweep.name}: {counts}{took}")
    if options.get("shard") and (state := states[-1]).left:
        say(f"{state.runs - state.done:,} of {count(state)} runs are left, for others or once these are done")


def _sessions(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sessions that a meta.json tells of, whatever else may stand there."""
    found = meta.get("sessions")
    return [session for session in found if isinstance(session, dict)] if isinstance(found, list) else []


def _joined(devices: object) -> str:
    return ", ".join(map(str, devices)) if isinstance(devices, list) else ""


def print_list(states: Sequence[ledger.Status], style: Format) -> None:
    """One line a sweep: its question, as far as there is room, its runs, how far it is, and the time left."""
    if style is not Format.table:
        columns = {
            "sweep": [state.sweep.name for state in states],
            "question": [state.sweep.title for state in states],
            "runs": [state.runs for state in states],
            "done": [state.done for state in states],
            "state": [state.state for state in states],
            "core_seconds_left": [round(state.core_seconds_left, 1) for state in states],
        }
        print_tables({"sweeps": pd.DataFrame(columns)}, style)
        return
    names = ("sweep", "question", "runs", "done", "state", "time left")
    rows = [
        (
            state.sweep.name,
            visible(state.sweep.title),
            count(state),
            f"{state.done:,}" if state.done else "",
            state.state,
            duration(state.core_seconds_left / resources.cores()) if state.left else "",
        )
        for state in states
    ]
    to = console if is_live() else Console(width=MAX_WIDTH, **PLAIN)
    widths = [max(map(len, column)) + 2 for column in zip(names, *rows, strict=True)]
    room = to.width - sum(widths) + widths[1] - 2
    shown = [i for i in range(len(names)) if i != 1 or room >= MIN_QUESTION]
    table = Table(box=None, pad_edge=False)
    for i in shown:
        table.add_column(names[i], no_wrap=True, justify="right" if i in (2, 3, 5) else "left")
    for row in rows:
        question = row[1] if len(row[1]) <= room else f"{row[1][: room - 1]}…"
        table.add_row(*(question if i == 1 else row[i] for i in shown))
    to.print(table)


def print_status(found: Sequence[tuple[ledger.Status, ledger.Activity]], style: Format) -> None:
    """How far sweeps are, a few lines each; in the other styles a row each."""
    if style is not Format.table:
        rows = [
            {"sweep": state.sweep.name, "state": state.state, "runs": state.runs, "done": state.done}
            | asdict(now)
            | {"at_work": "; ".join(now.at_work), "failed": "; ".join(map(str, now.failed))}
            | {"changed": "; ".join(state.changed)}
            for state, now in found
        ]
        print_tables({"status": pd.DataFrame(rows)}, style)
        return
    for state, now in found:
        seconds, cores = state.core_seconds_left, resources.cores()
        time = f"; about {duration(seconds / cores)} on {cores} cores" if state.left and seconds >= 0 else ""
        say(f"{_head(state)} ({state.state}){time}")
        for change in state.changed:
            say(f"  stale: {change}")
        for holder in now.at_work:
            say(f"  at work: {holder}")
        if now.checkpoints:
            say(f"  {now.checkpoints:,} chunks under way, the last checkpoint {duration(now.checkpoint_age)} ago")
        if now.parts:
            say(f"  {now.parts:,} finished chunks wait to be put into the tables; they are read as they are")
        for path in now.failed:
            say(f"  failed: {path}: {_first_line(path)}")


def _first_line(path: Path) -> str:
    """How a file that says why something failed begins; in words where it says nothing."""
    if not path.is_file():
        return "no plain file"
    try:
        with open(path, "rb") as file:
            lines = file.read(MAX_REASON).decode(errors="replace").splitlines()
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    return lines[0] if lines else "says nothing"


def print_jobs(sweep: Sweep, out: Path, jobs: Sequence[str]) -> None:
    """What was submitted, and how to follow it."""
    if not jobs:
        say(f"{sweep.name}: nothing to submit: all runs are done, or at work")
        return
    ids = jobs[0] if len(jobs) == 1 else f"{jobs[0]} to {jobs[-1]}"
    say(f"{sweep.name}: submitted {len(jobs)} jobs, {ids}; what they print is in {out / sweep.name / 'jobs'}")
    say("how far they are: `ghostsweep status`; if any fails, the same command submits what is missing")


def print_cost(state: ledger.Status) -> None:
    """One line on what is left of a sweep, by the constants of the plan, and its axes."""
    left = state.runs - state.done
    cores = resources.cores()
    time = f"; about {duration(state.core_seconds_left / cores)} on {cores} cores, compilation apart"
    say(f"{_head(state)}{time if left else ''}; {state.curve_rows:,} rows of curves")
    _print_axes(state)


def print_estimate(found: estimating.Estimate) -> None:
    """What a sweep will take: its axes, a line per group of runs, and the sum."""
    state = found.status
    say(f"{_head(state)}; {state.curve_rows:,} rows of curves")
    _print_axes(state)
    for cost in found.costs[:MAX_GROUPS]:
        group = cost.group
        phase = f"phase {group.phase}, " if state.sweep.phases else ""
        compiling = f"{duration(cost.compile_seconds)} of compilation, " if cost.compile_seconds else ""
        say(
            f"  {phase}{_words(group.shape)}: {group.runs:,} runs of {group.epochs:,} epochs, "
            f"{cost.chunks:,} x {cost.width:,} at once: {compiling}{duration(cost.run_seconds)}"
        )
    if len(found.costs) > MAX_GROUPS:
        say(f"  and {len(found.costs) - MAX_GROUPS:,} groups more")
    timed = sum(cost.measured for cost in found.costs)
    source = f"{timed:,} of {len(found.costs):,} groups timed here" if timed else "by the constants of the plan"
    total = f"about {duration(found.compile_seconds + found.run_seconds)} on {found.devices} devices ({source})"
    space = f"up to {found.memory_bytes / 1e6:,.0f} MB of memory, {found.disk_bytes / 1e6:,.1f} MB on disk"
    say(f"  in all {total if found.costs else 'nothing to train'}; {space}")


def say(line: str) -> None:
    """Print a line."""
    console.print(visible(line), soft_wrap=True)


def _head(state: ledger.Status) -> str:
    return f"{state.sweep.name}: {count(state)} runs, {state.done:,} done, {state.runs - state.done:,} to train"


def _print_axes(state: ledger.Status) -> None:
    for grid in state.sweep.grids:
        say("  " + (", ".join(spans(grid.axes)) or "one run"))
    for number, phase in enumerate(state.sweep.phases, 2):
        own = spans({name: phase.grids[0].axes[name] for name in phase.axes})
        say(f"  phase {number}, of each: {', '.join(own) or 'one run'}")


def _words(shape: Shape) -> str:
    """A shape in words: what is trained on what, and the sizes that decide the time."""
    task = [shape.task] if shape.task else []
    return ", ".join([shape.model, *task, *shape.sizes_in_words, shape.optimizer, shape.dtype])


def count(state: ledger.Status) -> str:
    """Number of runs; with a + where a refined sweep will want more."""
    return f"{state.runs:,}{'+' if state.growing else ''}"


def print_tables(found: dict[str, pd.DataFrame], style: Format) -> None:
    """Print tables by title; as JSON one object, as CSV blocks that a comment line heads.

    JSON and CSV have all digits of a number, and null or nothing for one that is none. Control characters in texts
    are written out, in JSON as its escapes.
    """
    if style is Format.json:
        print_json(found)
        return
    for title, table in found.items():
        table, title = _legible(table), visible(title)
        if style is Format.csv:
            print(f"# {title}\n{table.to_csv(index=False)}")
        elif style is Format.markdown:
            print(f"{title}\n\n{columns.markdown(table)}\n")
        else:
            table = table.drop(columns=[c for c in table if (table[c].isna() | (table[c] == "")).all()])
            constant = [] if len(table) < 2 else [c for c in table if table[c].astype(str).nunique() == 1]
            same = ", ".join(f"{column} = {_short(table[column].iloc[0])}" for column in constant)
            print(title + (f" ({same})" if same else ""))
            text = table.drop(columns=constant).map(_short)
            print(text.T.to_string(header=False) if len(table) == 1 else text.to_string(index=False), end="\n\n")


def print_json(data: Any) -> None:
    """Print data that may hold tables, as lists of records, and numbers of numpy."""
    print(json.dumps(_plain(data), allow_nan=False))


def _plain(value: Any) -> Any:
    """A value as JSON has it, every digit kept: what is no number is null, as is a field that is not there."""
    if isinstance(value, pd.DataFrame):
        columns = [[_plain(item) for item in value[name].tolist()] for name in value]
        return [dict(zip(map(str, value), row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)


def _legible(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts, and names of columns, have their control characters written out."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    legible = table.assign(**{str(c): table[c].map(lambda v: visible(v) if isinstance(v, str) else v) for c in texts})
    return legible.rename(columns=lambda name: visible(str(name)))


def print_run(shown: showing.Shown, style: Format) -> None:
    """Print one run: its fields, results, curve and origin, and how it compares with itself trained again."""
    again = shown.again
    frames = {
        f"run {shown.run_id} of {', '.join((shown.sweep, *shown.also_in))}: {shown.outcome}": pd.DataFrame(
            [shown.fields]
        ),
        "results": pd.DataFrame([shown.results]),
        "curve": shown.curve,
        "origin": pd.DataFrame([{k: v for k, v in shown.origin.items() if k != "sessions"}]),
        "sessions, of which one trained it": pd.DataFrame(
            [session | {"devices": _joined(session.get("devices"))} for session in _sessions(shown.origin)]
        ),
    }
    if again is not None:
        apart = "all numbers agree" if again.apart_from is None else f"they differ from epoch {again.apart_from} on"
        frames[f"trained again: {again.outcome}, {apart} (tolerance {again.tolerance:g})"] = again.differences
    if style is Format.json:
        print_json(vars(shown) | {"again": again and vars(again)})
        return
    if style is Format.table:
        kept = np.unique(np.linspace(0, len(shown.curve) - 1, MAX_EPOCHS).round().astype(int))
        frames["curve"] = shown.curve.iloc[kept]
    print_tables({title: table for title, table in frames.items() if not table.empty}, style)


def _short(value: object) -> str:
    """A table entry, numbers to five digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A time in words: 3 s, 2 min 10 s, 4 h 5 min."""
    if not seconds >= 0:
        return "?"
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    units = ("min", "s") if whole < 3600 else ("h", "min")
    big, small = divmod(whole if whole < 3600 else whole // 60, 60)
    return f"{big} {units[0]}" + (f" {small} {units[1]}" if small else "")


def complain(text: str) -> None:
    """Print lines as errors."""
    errors.print(visible(text, keep="\n"), soft_wrap=True)
