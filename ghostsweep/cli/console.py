"""What the command line shows: tables, progress, costs and times in words."""

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from ghostsweep.cli.printing import Format, print_json, print_tables
from ghostsweep.declare import Shape
from ghostsweep.front.progress import Meter
from ghostsweep.machine import resources
from ghostsweep.machine.terminal import duration, is_live, reason, visible
from ghostsweep.plan.groups import Group
from ghostsweep.running import estimating, ledger, showing, sweeping
from ghostsweep.spec import Sweep, spans
from ghostsweep.store import tables
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
Tell = Callable[[str], None]
"""What prints a line: `say`, `note` or `silent`."""


def train(sweep: Sweep, out: Path, tell: Tell, **options: Any) -> dict[str, Any]:
    """Train what is missing of a sweep and `tell` how it goes, or be silent; leave with 128 + signal if interrupted.

    Returns what came of it, in numbers.
    """
    states = list[ledger.Status]()

    def standing(state: ledger.Status) -> None:
        if not states:
            reused = f", {state.done:,} of them done before" if state.done else ""
            tell(f"{sweep.name}: {count(state)} runs{reused}")
            for change in state.changed:
                tell(f"  {change}")
        states.append(state)

    before = len(_sessions(tables.read_meta(out / sweep.name)))
    try:
        with contextlib.nullcontext() if tell is silent else Meter(errors, note) as meter:
            found = sweeping.run(sweep, out=out, progress=meter and harmless(meter), standing=standing, **options)
    except KeyboardInterrupt as interrupt:
        state = ledger.status(sweep, out)
        complain(
            f"interrupted: {state.done:,} of {state.runs:,} runs are finished and kept in {out / sweep.name}; "
            "the same command goes on from there"
        )
        raise typer.Exit(128 + (interrupt.args or (signal.SIGINT,))[0]) from None
    counts = {str(status): int(n) for status, n in found.runs["status"].value_counts().items()}
    spent = _sessions(found.meta)[before:]
    seconds = [sum(session.get(f"{what}_seconds", 0) for session in spent) for what in ("run", "compile")]
    took = f"; trained in {seconds[0]:.1f} s, compiled in {seconds[1]:.1f} s" if spent else ""
    tell(f"{out / sweep.name}: {', '.join(f'{n:,} {status}' for status, n in counts.items())}{took}")
    others = states[-1] if options.get("shard") else None
    if others and others.left:
        state = others
        tell(f"{state.runs - state.done:,} of {count(state)} runs are left, for others or once these are done")
    return {
        "sweep": sweep.name,
        "folder": str(out / sweep.name),
        "runs": len(found.runs),
        "counts": counts,
        "left": others.runs - others.done if others else 0,
        "run_seconds": seconds[0],
        "compile_seconds": seconds[1],
    }


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
            "core_seconds_left": [state.core_seconds_left for state in states],
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
    room_of_names = max(to.width - sum(widths[i] for i in shown[1:] if i != 1) - 2, 8)  # numbers are never cut
    for row in rows:
        question = row[1] if len(row[1]) <= room else f"{row[1][: room - 1]}…"
        name = row[0] if 1 in shown or len(row[0]) <= room_of_names else f"{row[0][: room_of_names - 1]}…"
        table.add_row(*({0: name, 1: question}.get(i, row[i]) for i in shown))
    to.print(table)


def print_status(found: Sequence[tuple[ledger.Status, ledger.Activity]], style: Format) -> None:
    """How far sweeps are, a few lines each; in the other styles a row each."""
    if style is not Format.table:
        rows = [
            {"sweep": state.sweep.name, "state": state.state, "runs": state.runs, "done": state.done}
            | {"at_work": "; ".join(now.at_work) or None, "checkpoints": now.checkpoints}
            | {"checkpoint_age_seconds": now.checkpoint_age, "parts": now.parts}
            | {"failed": "; ".join(map(str, now.failed)) or None, "changed": "; ".join(state.changed) or None}
            | {"core_seconds_left": state.core_seconds_left}
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
            what = "chunk" if now.checkpoints == 1 else "chunks"
            say(f"  {now.checkpoints:,} {what} under way, the last checkpoint {duration(now.checkpoint_age)} ago")
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


def print_cost(state: ledger.Status, tell: Tell) -> None:
    """One line on what is left of a sweep, by the constants of the plan, and its axes."""
    left = state.runs - state.done
    cores = resources.cores()
    time = f"; about {duration(state.core_seconds_left / cores)} on {cores} cores, compilation apart"
    tell(f"{_head(state)}{time if left else ''}; {state.curve_rows:,} rows of curves")
    _print_axes(state, tell)


def print_estimate(found: estimating.Estimate) -> None:
    """What a sweep will take: its axes, a line per group of runs, and the sum."""
    state = found.status
    say(f"{_head(state)}; {state.curve_rows:,} rows of curves")
    _print_axes(state, say)
    for cost in found.costs[:MAX_GROUPS]:
        group = cost.group
        phase = f"phase {group.phase}, " if state.sweep.phases else ""
        if does := _schedule(state.sweep, group):
            phase += f"its {group.shape.schedule} schedule {does}, "
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


def _schedule(sweep: Sweep, group: Group) -> str:
    """What the schedule of a later phase does, in words; empty where there is none."""
    shape, grids = group.shape, (sweep.grids, *(phase.grids for phase in sweep.phases))
    if group.phase == 1 or shape.schedule == "constant":
        return ""
    usual = {"schedule": "constant", "optimizer": "sgd"}
    before = [{n: grid.axes.get(n, [grid.shared.get(n, usual[n])]) for n in usual} for grid in grids[group.phase - 2]]
    same = any(shape.schedule in each["schedule"] and shape.optimizer in each["optimizer"] for each in before)
    return "begins anew" if shape.get("schedule_anew") or not same else "goes on"


def estimate_record(found: estimating.Estimate) -> dict[str, Any]:
    """What a sweep will take, in numbers."""
    state = found.status
    groups = [
        {"phase": cost.group.phase, "model": shape.model, "task": shape.task, "optimizer": shape.optimizer}
        | {"schedule": _schedule(state.sweep, cost.group) or None}
        | {"dtype": shape.dtype, "sizes": dict(shape.sizes), "runs": cost.group.runs, "epochs": cost.group.epochs}
        | {"width": cost.width, "chunks": cost.chunks, "measured": cost.measured}
        | {"compile_seconds": cost.compile_seconds, "run_seconds": cost.run_seconds}
        for cost in found.costs
        for shape in [cost.group.shape]
    ]
    return {
        "sweep": state.sweep.name,
        "state": state.state,
        "changed": list(state.changed),
        "runs": state.runs,
        "done": state.done,
        "left": state.runs - state.done,
        "growing": state.growing,
        "curve_rows": state.curve_rows,
        "devices": found.devices,
        "compile_seconds": found.compile_seconds,
        "run_seconds": found.run_seconds,
        "memory_bytes": found.memory_bytes,
        "disk_bytes": found.disk_bytes,
        "groups": groups,
    }


def say(line: str) -> None:
    """Print a line."""
    console.print(visible(line), soft_wrap=True)


def note(line: str) -> None:
    """Print a line on standard error."""
    errors.print(visible(line), soft_wrap=True)


def silent(line: str) -> None:
    """Print nothing."""


def _head(state: ledger.Status) -> str:
    return f"{state.sweep.name}: {count(state)} runs, {state.done:,} done, {state.runs - state.done:,} to train"


def _print_axes(state: ledger.Status, tell: Tell) -> None:
    for grid in state.sweep.grids:
        tell("  " + (", ".join(spans(grid.axes)) or "one run"))
    for number, phase in enumerate(state.sweep.phases, 2):
        own = spans({name: phase.grids[0].axes[name] for name in phase.axes})
        tell(f"  phase {number}, of each: {', '.join(own) or 'one run'}")


def _words(shape: Shape) -> str:
    """A shape in words: what is trained on what, and the sizes that decide the time."""
    task = [shape.task] if shape.task else []
    return ", ".join([shape.model, *task, *shape.sizes_in_words, shape.optimizer, shape.dtype])


def count(state: ledger.Status) -> str:
    """Number of runs; with a + where a refined sweep will want more."""
    return f"{state.runs:,}{'+' if state.growing else ''}"


def print_run(shown: showing.Shown, style: Format, *, only: str | None = None, to: Path | None = None) -> None:
    """Print one run: its fields, results, curve and origin, and how it compares with itself trained again.

    `only` and `to` are as in `print_tables`.
    """
    again = shown.again
    if style is Format.json and only is None and to is None:
        print_json(vars(shown) | {"again": again and vars(again)})
        return
    sessions = [each | {"devices": _joined(each.get("devices"))} for each in _sessions(shown.origin)]
    frames = {
        "run": pd.DataFrame([shown.fields]),
        "results": pd.DataFrame([shown.results]),
        "curve": shown.curve,
        "origin": pd.DataFrame([{k: v for k, v in shown.origin.items() if k != "sessions"}]),
        "sessions": pd.DataFrame(sessions),
    }
    titles = {
        "run": f"run {shown.run_id} of {', '.join((shown.sweep, *shown.also_in))}: {_became(shown)}",
        "sessions": "sessions, of which one trained it",
    }
    if again is not None:
        apart = "all numbers agree" if again.apart_from is None else f"they differ from epoch {again.apart_from} on"
        frames["again"] = again.differences
        titles["again"] = f"trained again: {_became(again)}, {apart} (tolerance {again.tolerance:g})"
    if style is Format.table and to is None:
        kept = np.unique(np.linspace(0, len(shown.curve) - 1, MAX_EPOCHS).round().astype(int))
        frames["curve"] = shown.curve.iloc[kept]
    frames = {name: table for name, table in frames.items() if not table.empty}
    print_tables(frames, style, only=only, to=to, titles=titles)


def _became(one: showing.Shown | showing.Rerun) -> str:
    """The outcome of a run, and the one of its task's own."""
    return one.outcome + (f" (of its task: {one.task_outcome})" if one.task_outcome else "")


def complain(text: str) -> None:
    """Print lines as errors."""
    errors.print(visible(text, keep="\n"), soft_wrap=True)
