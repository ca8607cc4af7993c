"""The command line: `list`, `run`, `fit`, `plot`, `reproduce`. Parsing and printing only; the work is in `api`."""

import errno
import importlib.metadata
import json
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ghostsweep import api, reproduction, tables
from ghostsweep.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.spec import Sweep, load

if TYPE_CHECKING:
    from ghostsweep.engine import Progress as Report

app = typer.Typer(
    help="Learning-rate phase diagrams: train sweeps, fit critical learning rates, draw figures.\n\n"
    "A sweep is a TOML file below sweeps/; its tables go to results/NAME/. Begin with `ghostsweep list`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
errors = Console(stderr=True)

OutOption = Annotated[Path, typer.Option("--out", help="Folder that holds the results, one subfolder per sweep.")]
SweepsOption = Annotated[Path, typer.Option("--sweeps", help="Folder that holds the sweep files.")]


class Format(StrEnum):
    """How tables are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(importlib.metadata.version("ghostsweep"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command("list")
def list_command(sweeps: SweepsOption = Path("sweeps"), out: OutOption = Path("results")) -> None:
    """Show every sweep: its question, its runs, how many are done, and what the rest would cost.

    The time is an estimate for the cores of this machine, compilation apart.
    """
    paths = sorted(sweeps.glob("*.toml"))
    if not paths:
        raise UsageError(f"{sweeps}: found no sweep files; allowed: a folder with .toml files")
    table = Table("sweep", "question", "runs", "done", "time left")
    table.columns[0].no_wrap = True
    table.columns[2].justify = table.columns[3].justify = table.columns[4].justify = "right"
    broken = []
    for path in paths:
        try:
            state = api.status(load(path), out)
        except UsageError as error:
            broken.append(str(error))
            continue
        share = f"{state.done:,}" if state.done else "-"
        left = _duration(state.core_seconds_left / api.cores()) if state.done < state.runs else "done"
        table.add_row(path.stem, state.sweep.title, _count(state), share, left)
    console.print(table)
    if broken:
        raise UsageError("\n".join(broken))


@app.command("run")
def run_command(
    specs: Annotated[list[str], typer.Argument(help="Sweeps to train: names below sweeps/, or .toml files.")],
    quick: Annotated[bool, typer.Option("--quick", help="Ask the file's [quick] version, into NAME-quick.")] = False,
    out: OutOption = Path("results"),
    sweeps: SweepsOption = Path("sweeps"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost; train nothing.")] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="How much work a kill may cost, in seconds of training.")
    ] = CHECKPOINT_SECONDS,
    memory_gb: Annotated[
        float | None, typer.Option(min=0, help="GB of memory that training may take. Default: half of what is free.")
    ] = None,
) -> None:
    """Train what is missing of each sweep and write its tables. Never draws.

    Runs that are already in the results are reused, also after the sweep has grown. Ctrl-C keeps all that is
    done; after it, and after a kill, the same command goes on from there. Runs that cannot be trained are listed at
    the end with a file that says why, and do not stop the others.

    Example: ghostsweep run canonical_lr_timescale
    """
    loaded = [load(api.find(spec, sweeps), quick=quick) for spec in specs]
    failed = []
    for sweep in loaded:
        if dry_run:
            _print_cost(api.status(sweep, out))
            continue
        try:
            _run(sweep, out, checkpoint_seconds, None if memory_gb is None else memory_gb * 1e9)
        except TrainingError as error:
            failed.append(str(error))
    if failed:
        raise TrainingError("\n".join(failed))


@app.command("fit")
def fit_command(
    name: Annotated[str, typer.Argument(help="A sweep that has results, or a result folder.")],
    out: OutOption = Path("results"),
    share: Annotated[
        float | None,
        typer.Option(help="Share of seeds that a boundary takes; 0: the first seed. Default: what the sweep says."),
    ] = None,
    style: Annotated[Format, typer.Option("--format", help="How to print the tables.")] = Format.table,
) -> None:
    """Print the critical learning rates and the learnable band of every cell, and the laws through the rates.

    A cell is a combination of fields other than learning rate and seed. The upper boundary is the lowest rate at
    which more than a share of a cell's seeds have collapsed (thrown, never left, diverged), the lower one the
    highest at which more than that share are still on the plateau. Each comes with its bracket on the grid, a 95%
    interval (bootstrap over seeds, and the width of the bracket), the method of the estimate, `censored` where it
    lies below or above the grid, and `monotone`, false where the share turns back by more than chance. The band is
    the range of rates at which the other seeds learn. Along every field that takes three values or more follow the
    local exponents, the power law with its 95% interval (and how many standard errors it lies from the canonical
    T^-5 and T^-4), and its comparison with an exponential and a broken power law.

    Example: ghostsweep fit canonical_lr_timescale --format csv
    """
    fitted = api.fit(name, out=out, share=share)
    laws = {
        "local_exponent": fitted.local_exponent,
        "power_law": fitted.power_law,
        "compare_scaling": fitted.scaling,
    }
    found = {"critical_lr": fitted.critical, "learnable_band": fitted.band}
    found |= {title: table for title, table in laws.items() if table is not None}
    _print_tables(found, style)


@app.command("plot")
def plot_command(
    name: Annotated[str, typer.Argument(help="A sweep that has results, a paper figure (fig1 to fig8), or all.")],
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figures.")] = Path("figures"),
) -> None:
    """Draw figures from finished tables, as PNG and PDF. Never trains.

    Example: ghostsweep plot canonical_lr_timescale
    """
    names = [name] if name != "all" else api.drawable(out)
    failed = []
    for each in names:
        try:
            drawn = api.plot(each, out=out, to=to)
        except UsageError as error:
            failed.append(f"{each}: not drawn: {error}")
            continue
        for path in drawn:
            console.print(f"drew {path}", highlight=False, soft_wrap=True)
    if failed:
        raise UsageError("\n".join(failed))


@app.command("reproduce")
def reproduce_command(
    names: Annotated[list[str] | None, typer.Argument(help="Figures, fig1 to fig8; none: all of them.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same questions at a scale that takes minutes.")] = False,
    from_results: Annotated[
        bool, typer.Option("--from-results", help="Train nothing: draw from the best results there are.")
    ] = False,
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figures and the table of claims.")] = Path("figures"),
    sweeps: SweepsOption = Path("sweeps"),
) -> None:
    """Draw the figures of the paper from runs trained here, and test the claims they support.

    Trains what is missing of the sweeps behind each figure, after printing what that costs, draws every panel (PNG
    and PDF), and prints each claim of the paper with what was measured and whether it holds; claims.csv and
    claims.md beside the figures have the same. Figures state their scale. Interrupted, the same command goes on
    where it was. The exit code is 0 only if all figures asked for were drawn.

    Example: ghostsweep reproduce fig2 fig3 --quick
    """
    if quick and from_results:
        raise UsageError("--quick and --from-results: found both; allowed: one of them")
    work = reproduction.planned(names or (), quick=quick, sweeps=sweeps)
    if not from_results:
        states = [api.status(sweep, out) for sweep in {s.name: s for each in work.values() for s in each}.values()]
        left = [state for state in states if state.done < state.runs]
        for state in left:
            _print_cost(state)
        total = sum(state.core_seconds_left for state in left) / api.cores()
        if left:
            console.print(f"in all about {_duration(total)} on {api.cores()} cores, compilation apart", highlight=False)
    made = reproduction.reproduce(
        work, quick=quick, from_results=from_results, out=out, to=to, sweeps=sweeps, train=lambda s: _run(s, out)
    )
    for path in made.figures:
        console.print(f"drew {path}", highlight=False, soft_wrap=True)
    for claim in made.claims.itertuples():
        verdict = "holds" if claim.holds else "DOES NOT HOLD"
        console.print(f"{claim.figure}: {claim.claim}: {verdict}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"    {claim.measured} [{claim.scale}]", highlight=False, markup=False, soft_wrap=True)
    for cost in made.costs.itertuples():
        console.print(
            f"{cost.figure}: trained in {cost.training_s:.1f} s, drawn in {cost.drawing_s:.1f} s, "
            f"peak memory so far {cost.peak_memory_mb:.0f} MB",
            highlight=False,
        )
    if made.failed:
        raise UsageError("\n".join(f"{name}: not drawn: {reason}" for name, reason in made.failed.items()))


def _run(sweep: Sweep, out: Path, checkpoint_seconds: float = 60.0, memory_bytes: float | None = None) -> None:
    state = api.status(sweep, out)
    reused = f", {state.done:,} of them done before" if state.done else ""
    console.print(f"{sweep.name}: {_count(state)} runs{reused}", highlight=False)
    before = len(tables.read_meta(out / sweep.name).get("sessions", []))
    try:
        with _Meter() as meter:
            found = api.run(
                sweep, out=out, progress=meter, checkpoint_seconds=checkpoint_seconds, memory_bytes=memory_bytes
            )
    except KeyboardInterrupt as interrupt:
        state = api.status(sweep, out)
        errors.print(
            f"interrupted: {state.done:,} of {state.runs:,} runs are finished and kept in {out / sweep.name}; "
            "the same command goes on from there",
            highlight=False,
        )
        raise typer.Exit(128 + (interrupt.args or (signal.SIGINT,))[0]) from None
    counts = ", ".join(f"{n:,} {status}" for status, n in found.runs["status"].value_counts().items())
    spent = found.meta["sessions"][before:]
    seconds = [sum(session[f"{what}_seconds"] for session in spent) for what in ("run", "compile")]
    took = f"; trained in {seconds[0]:.1f} s, compiled in {seconds[1]:.1f} s" if spent else ""
    console.print(f"{out / sweep.name}: {counts}{took}", highlight=False, soft_wrap=True)


class _Meter:
    """Shows progress: a live bar on a terminal, else a line whenever runs are finished."""

    def __init__(self) -> None:
        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[runs]} runs"),
            TextColumn("{task.fields[rate]} epochs/s"),
            TextColumn("{task.fields[left]} left"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0, runs="0", rate="-", left="-")
        self.told = 0

    def __enter__(self) -> "_Meter":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, now: "Report") -> None:
        runs = f"{now.runs_done:,} / {now.runs:,}"
        rate, left = f"{now.updates / now.seconds:.2g}", _duration(now.seconds_left)
        self.bar.update(self.task, completed=now.share, runs=runs, rate=rate, left=left)
        if not console.is_terminal and now.runs_done > self.told:
            self.told = now.runs_done
            console.print(f"{runs} runs, {rate} epochs/s, {left} left", highlight=False)


def _print_cost(state: api.Status) -> None:
    left = state.runs - state.done
    time = f"; about {_duration(state.core_seconds_left / api.cores())} on {api.cores()} cores, compilation apart"
    console.print(
        f"{state.sweep.name}: {_count(state)} runs, {state.done:,} done, {left:,} to train{time if left else ''}; "
        f"{state.curve_rows:,} rows of curves, about {state.curve_rows * 40 / 1e6:,.1f} MB",
        highlight=False,
    )
    for grid in state.sweep.grids:
        console.print("  " + ", ".join(_spans(grid.axes)), highlight=False, soft_wrap=True)
    for number, phase in enumerate(state.sweep.phases, 2):
        own = _spans({name: phase.grids[0].axes[name] for name in phase.axes})
        console.print(f"  phase {number}, of each: {', '.join(own) or 'one run'}", highlight=False, soft_wrap=True)


def _count(state: api.Status) -> str:
    """Number of runs; with a + where a refined sweep will want more."""
    return f"{state.runs:,}{'+' if state.growing else ''}"


def _spans(axes: Mapping[str, Sequence[object]]) -> list[str]:
    return [
        f"{key} {values[0]} .. {values[-1]} ({len(values)})" if len(values) > 1 else f"{key} {values[0]}"
        for key, values in axes.items()
    ]


def _print_tables(found: dict[str, pd.DataFrame], style: Format) -> None:
    """Print tables by title; as JSON one object, as CSV blocks that a comment line heads."""
    if style is Format.json:
        print(json.dumps({title: json.loads(table.to_json(orient="records")) for title, table in found.items()}))
        return
    for title, table in found.items():
        if style is Format.csv:
            print(f"# {title}\n{table.to_csv(index=False)}")
        elif style is Format.markdown:
            print(f"{title}\n\n{tables.markdown(table)}\n")
        else:
            table = table.drop(columns=[c for c in table if (table[c].isna() | (table[c] == "")).all()])
            constant = [] if len(table) < 2 else [c for c in table if table[c].nunique(dropna=False) == 1]
            same = ", ".join(f"{column} = {_short(table[column].iloc[0])}" for column in constant)
            print(title + (f" ({same})" if same else ""))
            text = table.drop(columns=constant).map(_short)
            print(text.T.to_string(header=False) if len(table) == 1 else text.to_string(index=False), end="\n\n")


def _short(value: object) -> str:
    """A table entry, numbers to five digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    """A time in words: 3 s, 2 min 10 s, 4 h 5 min."""
    if not seconds >= 0:
        return "?"
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    units = ("min", "s") if whole < 3600 else ("h", "min")
    big, small = divmod(whole if whole < 3600 else whole // 60, 60)
    return f"{big} {units[0]}" + (f" {small} {units[1]}" if small else "")


def main() -> None:
    """Run the command line; a mistake of the user is one clear line and exit code 2, a failure 1."""
    warnings.showwarning = lambda message, *_: _complain(f"warning: {message}")
    try:
        app()
    except UsageError as error:
        _complain(str(error))
        sys.exit(2)
    except TrainingError as error:
        _complain(str(error))
        sys.exit(1)
    except OSError as error:
        kept = "; what is finished is kept, and the same command goes on from there"
        _complain(f"{error.filename}: {error.strerror}{kept if error.errno == errno.ENOSPC else ''}")
        sys.exit(1)


def _complain(text: str) -> None:
    errors.print(text, highlight=False, markup=False, soft_wrap=True)
