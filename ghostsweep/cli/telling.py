"""The commands that tell what there is and what came of it: list, status, analyze, show, export."""

from pathlib import Path
from typing import Annotated

import typer

from ghostsweep import drawing
from ghostsweep.analysis import analyzing
from ghostsweep.analysis.outcomes import CRITERIA
from ghostsweep.cli.app import (
    FormatOption,
    OfQuickOption,
    OutOption,
    ResultsArgument,
    SweepsOption,
    TableOption,
    ToOption,
    app,
    named,
    sweep_names,
)
from ghostsweep.cli.console import print_list, print_run, print_status, say
from ghostsweep.cli.printing import Format, print_tables
from ghostsweep.errors import UsageError
from ghostsweep.running import exporting, finding, lacking, ledger, showing
from ghostsweep.spec import load
from ghostsweep.store import tables


@app.command("list")
def list_command(
    sweeps: SweepsOption = Path("sweeps"),
    out: OutOption = Path("results"),
    style: FormatOption = Format.table,
) -> None:
    """Show every sweep, and every -quick one with results: its question, its runs, how far it is, and the time left.

    The state is new, partial or done; or stale, where the tables are of another text of the file or another version
    of the engine, and `run` brings them up to date with what still applies. The time is an estimate for the cores of
    this machine, compilation apart; `run --dry-run` measures.
    """
    paths = finding.sweep_files(sweeps)
    if not paths:
        raise UsageError(f"{sweeps.absolute()}: no sweep files there; --sweeps names another folder")
    broken, states = list[str](), list[ledger.Status]()
    for path in paths:
        for quick in (False, True):
            with finding.apart(out / f"{path.stem}{'-quick' * quick}", broken):
                if not quick or tables.has_runs(out / f"{path.stem}-quick"):
                    states.append(ledger.status(load(path, quick=quick, execute=False), out))
    for sweep in lacking.without_file(out, sweeps, broken):
        with finding.apart(out / sweep.name, broken):
            states.append(ledger.status(sweep, out))
    if states:
        print_list(states, style)
    if broken:
        raise UsageError("\n".join(dict.fromkeys(broken)))


@app.command("status")
def status_command(
    specs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sweeps: names below sweeps/, or .toml files; none: all with results.", autocompletion=sweep_names
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The file's [quick] version.")] = False,
    out: OutOption = Path("results"),
    sweeps: SweepsOption = Path("sweeps"),
    style: FormatOption = Format.table,
) -> None:
    """Tell how far sweeps are, also those that other machines train: it reads nothing but their folders.

    Runs done and left, the processes at work there and the shares they have, how old the last checkpoint is, finished
    chunks that wait to be put into the tables, and chunks that could not be trained, with the files that say why.

    Example: ghostsweep status rank_one_lr_timescale
    """
    broken, found = list[str](), list[tuple[ledger.Status, ledger.Activity]]()
    made = {sweep.name: sweep for sweep in lacking.without_file(out, sweeps, broken)}
    paths, others = list[tuple[Path, bool]](), list(made.values())
    if specs:
        asked = {spec: made.get(named(spec, quick)) for spec in specs}
        others = [sweep for sweep in asked.values() if sweep is not None]
        for spec in (spec for spec, sweep in asked.items() if sweep is None):
            base = spec.removesuffix("-quick") if tables.has_runs(out / spec) else spec  # as results are named
            paths.append((finding.find(base, sweeps), quick or base != spec))
    else:
        both = [(path, small) for path in finding.sweep_files(sweeps) for small in (False, True) if small or not quick]
        paths = [(path, small) for path, small in both if (out / f"{path.stem}{'-quick' * small}").is_dir()]
    if not paths and not others and not broken:
        raise UsageError(f"{out.absolute()}: no results of any sweep there; --out names another folder")
    for path, small in paths:
        with finding.apart(out / f"{path.stem}{'-quick' * small}", broken):
            state = ledger.status(load(path, quick=small, execute=False), out)
            found.append((state, ledger.activity(state.sweep.name, out)))
    for sweep in others:
        with finding.apart(out / sweep.name, broken):
            found.append((ledger.status(sweep, out), ledger.activity(sweep.name, out)))
    if found:
        print_status(found, style)
    if broken:
        raise UsageError("\n".join(dict.fromkeys(broken)))


MAX_ROWS = 24
"""Rows of a table of boundaries or laws that a terminal shows."""
DETAILS = (
    "share", "lr_below", "lr_above", "method", "n_rates", "monotone", "level", "counted", "r_squared",
    "exponent_se", "scatter", "prefactor_low", "prefactor_high", "se_from_TL", "se_from_L", "learned_loss", *CRITERIA,
)  # fmt: skip
"""Columns of tables of boundaries and laws that a terminal does without."""
DETAILS_OF_RIVALS = (
    "prefactor", "exponent", "exponent_above", "knee", "rate", "n_parameters", "aicc", "bic", "delta_bic", "curvature",
    "n_used", "n_censored", "power_knee", "power_exponential",
)  # fmt: skip
"""And of the comparison of laws."""


@app.command("analyze")
def analyze_command(
    name: ResultsArgument,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
    share: Annotated[
        float | None,
        typer.Option(help="Share of seeds that a boundary takes; 0: the first seed. Default: what the sweep says."),
    ] = None,
    style: FormatOption = Format.table,
    table: TableOption = None,
    to: ToOption = None,
    sweeps: SweepsOption = Path("sweeps"),
) -> None:
    """Print the critical learning rates and the learnable band of every cell, and the laws through the rates.

    A cell is a combination of fields other than learning rate and seed. The upper boundary is where the share of its
    seeds that have collapsed (fallen back, unstable, trapped, trapped at start, diverged) passes the one asked for, the
    lower one where that of seeds still on the plateau does; where shares turn back, of all such places the likeliest.
    Each comes with its bracket on the grid, a 95% interval (of all seeds that could be drawn, and of the grid), the
    method, `censored` where it lies below or above the grid or too few epochs hide it, and `monotone`, false
    where the share turns back by more than chance. The band is the range of rates at which the other seeds learn. Along
    every field that takes three values or more follow the local exponents, the power law with its 95% interval (and how
    many standard errors it lies from the canonical T^-5 and T^-4), and its comparison with an exponential, a broken
    power law and a bent one.

    First comes the answer in a few lines, and of a task that declares outcomes of its own, which boundaries are not of,
    how many runs have which. The tables are critical_lr, learnable_band and, where there are laws, local_exponent,
    power_law, compare_scaling: on a terminal their main columns, with --table all of one, as CSV one of them or a file
    each (--to).

    Example: ghostsweep analyze rank_one_lr_timescale --table power_law --format csv
    """
    results = tables.read(named(name, quick), out)
    note = drawing.lack(results, sweeps)
    fitted = analyzing.analyze(results, share=lacking.share(results, sweeps) if share is None else share)
    for each in (fitted.critical, fitted.band):
        each.attrs["lacks"] = note
    laws = {
        "local_exponent": fitted.local_exponent,
        "power_law": fitted.power_law,
        "compare_scaling": fitted.scaling,
    }
    found = {"critical_lr": fitted.critical, "learnable_band": fitted.band}
    found |= {title: law for title, law in laws.items() if law is not None}
    titles = dict[str, str]()
    if style is Format.table and table is None and to is None:
        print(f"{note}\n" * bool(note) + fitted.summary, end="\n\n")
        if fitted.scaling is not None and fitted.scaling["delta_aicc"].isna().all():
            del found["compare_scaling"]  # laws are compared from five cells on
        titles = {
            name: f"{name}, the first {MAX_ROWS} of {len(each)} rows; --table {name} has all"
            for name, each in found.items()
            if len(each) > MAX_ROWS
        }
        found = {name: each.head(MAX_ROWS) for name, each in found.items()}
        less = {"compare_scaling": [*DETAILS, *DETAILS_OF_RIVALS]}
        found = {
            name: each.drop(columns=less.get(name, list(DETAILS)), errors="ignore") for name, each in found.items()
        }
    print_tables(found, style, only=table, to=to, titles=titles)


@app.command("show")
def show_command(
    run_id: Annotated[str, typer.Argument(help="Id of a run, or how it begins.")],
    out: OutOption = Path("results"),
    rerun: Annotated[bool, typer.Option("--rerun", help="Train it again, alone, and print what differs.")] = False,
    style: FormatOption = Format.table,
    table: TableOption = None,
    to: ToOption = None,
) -> None:
    """Show one run out of all results: its fields, its outcome, its curve, and where it came from.

    Where its task declares outcomes of its own, that one stands beside the usual one. Fields are those that are not the
    default. With --rerun it is trained again, alone, and beside each result stands what came out; before its dynamics
    are chaotic all numbers agree within the tolerance (1e-9 in float64, 1e-3 in float32), and the first recorded epoch
    where they do not is named. The results stay as they are. The tables are run, results, curve, origin, sessions and,
    with --rerun, again; as CSV one of them (--table), or a file each (--to).

    Example: ghostsweep show 3f9a --rerun
    """
    print_run(showing.show(run_id, out=out, rerun=rerun), style, only=table, to=to)


@app.command("export")
def export_command(
    name: ResultsArgument,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to write. Default: exports/NAME.")
    ] = None,
    style: Annotated[exporting.Kind, typer.Option("--format", help="The kind of the files.")] = exporting.Kind.csv,
) -> None:
    """Write the tables of a sweep for other programs: runs, curves, and columns, which says what each column is.

    runs has a row per run, its fields, its results and its `outcome`: plateau, learned, oscillating, fallen_back,
    unstable, trapped, trapped_at_start or diverged; of a task that declares outcomes of its own also `task_outcome`,
    whose names columns explains. curves has a row per run and recorded epoch, measured before its update; `run_id`
    joins the two. Fields that end in _ms are in ms, the timescale of a network in time steps or as columns says, epochs
    counted from 0; losses, rates and norms have no unit. All digits of each number are there; a field that a run does
    not have is empty. Either all three files are replaced or none.

    Example: ghostsweep export rank_one_lr_timescale --to tables --format parquet
    """
    name = named(name, quick)
    for path in exporting.export(name, out=out, to=to or Path("exports") / Path(name).name, kind=style):
        say(f"wrote {path}")
