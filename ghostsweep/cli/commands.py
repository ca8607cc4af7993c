"""The command line. Parsing only; what it prints is in `console`, the work elsewhere."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from ghostsweep import drawing
from ghostsweep.analysis import fitting
from ghostsweep.cli.console import (
    Format,
    duration,
    print_cost,
    print_estimate,
    print_jobs,
    print_list,
    print_run,
    print_status,
    print_tables,
    say,
    train,
)
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine import resources
from ghostsweep.machine.terminal import reason
from ghostsweep.plan import Shard
from ghostsweep.running import estimating, ledger, showing
from ghostsweep.running import slurm as jobs
from ghostsweep.running.sessions import Options
from ghostsweep.spec import load
from ghostsweep.store import tables
from ghostsweep.training.checkpoint import CHECKPOINT_SECONDS

app = typer.Typer(
    help="Learning-rate phase diagrams: train sweeps, fit critical learning rates, draw figures.\n\n"
    "A sweep is a TOML file below sweeps/; its tables go to results/NAME/. Begin with `ghostsweep list`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OutOption = Annotated[Path, typer.Option("--out", help="Folder that holds the results, one subfolder per sweep.")]
PRINTING = ("list", "status", "fit", "show", "findings")
"""Commands whose result is what they print."""
SweepsOption = Annotated[Path, typer.Option("--sweeps", help="Folder that holds the sweep files.")]


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
def list_command(
    sweeps: SweepsOption = Path("sweeps"),
    out: OutOption = Path("results"),
    style: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
) -> None:
    """Show every sweep, and every -quick one with results: its question, its runs, how far it is, and the time left.

    The state is new, partial or done; or stale, where the tables are of another text of the file or another version
    of the engine, and `run` brings them up to date with what still applies. The time is an estimate for the cores of
    this machine, compilation apart; `run --dry-run` measures.
    """
    paths = _sweep_files(sweeps)
    if not paths:
        raise UsageError(f"{sweeps}: found no sweep files; allowed: a folder with .toml files")
    broken, states = [], list[ledger.Status]()
    for path in paths:
        for quick in (False, True):
            try:
                if not quick or tables.has_runs(out / f"{path.stem}-quick"):
                    states.append(ledger.status(load(path, quick=quick, execute=False), out))
            except (UsageError, OSError) as error:
                broken.append(_named(path, error))
    if states:
        print_list(states, style)
    if broken:
        raise UsageError("\n".join(dict.fromkeys(broken)))


def _sweep_files(folder: Path) -> list[Path]:
    """The sweep files of a folder. Hidden ones are none: editors and other systems leave them beside each file."""
    return sorted(path for path in folder.glob("*.toml") if not path.name.startswith("."))


def _named(path: Path, error: UsageError | OSError) -> str:
    """What is wrong with a sweep or its results; our own words name the file."""
    return str(error) if isinstance(error, UsageError) else f"{path}: its results cannot be read: {reason(error)}"


@app.command("run")
def run_command(
    specs: Annotated[list[str], typer.Argument(help="Sweeps to train: names below sweeps/, or .toml files.")],
    quick: Annotated[bool, typer.Option("--quick", help="Ask the file's [quick] version, into NAME-quick.")] = False,
    out: OutOption = Path("results"),
    sweeps: SweepsOption = Path("sweeps"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print groups, time, memory and disk; train and write nothing.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Whether a dry run times a few epochs here, for about 5 s, or takes known constants.")
    ] = True,
    devices: Annotated[
        int | None, typer.Option(min=1, help="How many GPUs, or else CPU cores, to use. Default: all.")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="How much work a kill may cost, in seconds of training.")
    ] = CHECKPOINT_SECONDS,
    memory_gb: Annotated[
        float | None, typer.Option(min=0, help="GB of memory that training may take. Default: half of what is free.")
    ] = None,
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Train one of N fixed shares.")] = None,
    slurm: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE,...", help="Submit a SLURM job for each share with runs left, and return."),
    ] = None,
    print_sbatch: Annotated[
        bool, typer.Option("--print-sbatch", help="Print the script of the job array instead, to change and submit.")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Shares for SLURM. Default: one for each minute that a core takes.")
    ] = None,
    expect: Annotated[str | None, typer.Option(hidden=True, help="Train only this text of the sweep's files.")] = None,
) -> None:
    """Train what is missing of each sweep and write its tables. Never draws.

    Runs that are already in the results are reused, also after the sweep has grown. Ctrl-C keeps all that is
    done; after it, and after a kill, the same command goes on from there. Runs that cannot be trained are listed at
    the end with a file that says why, and do not stop the others.

    Several machines that share the results folder can train one sweep. Without a scheduler, run --shard 1/4, 2/4,
    3/4 and 4/4, each once and in any order; again, where one was killed. The last one to end puts the tables together.
    On a cluster, --slurm submits a job array of what is missing, with the parameters of submitit (partition,
    timeout_min: 5 unless given, gpus_per_node, cpus_per_task, mem_gb, account, qos, array_parallelism and others),
    and returns; `ghostsweep status` tells how far it is, and the same command submits what failed once more. A refined
    sweep wants such commands once a level.

    Example: ghostsweep run canonical_lr_timescale

    Example: ghostsweep run fig6b_rank --slurm partition=gpu,timeout_min=240 --shards 32
    """
    if shard is not None and (slurm is not None or print_sbatch):
        raise UsageError("--shard: found --slurm or --print-sbatch too; allowed: one of them")
    if shards is not None and slurm is None and not print_sbatch:
        raise UsageError("--shards: found neither --slurm nor --print-sbatch; allowed: with one of them")
    memory_bytes = None if memory_gb is None else memory_gb * 1e9
    if print_sbatch and len(specs) > 1:
        raise UsageError(f"--print-sbatch: found {len(specs)} sweeps; allowed: one, for a script is of one")
    options = Options(checkpoint_seconds, memory_bytes, devices)
    share = None if shard is None else Shard.parse(shard)
    job = jobs.parameters(jobs.parse(slurm or "")) if slurm is not None or print_sbatch else {}
    paths = [ledger.find(spec, sweeps) for spec in specs]
    failed = []
    for path, sweep in [(path, load(path, quick=quick)) for path in paths]:
        if expect not in (None, sweep.digest):
            raise UsageError(
                f"{path}: found another text of it or of its models and tasks ({sweep.digest}) than the script was "
                f"made for ({expect}); allowed: that one, or a new script by --print-sbatch"
            )
        try:
            if dry_run:
                print_estimate(
                    estimating.estimate(
                        sweep, out=out, calibrate=calibrate, devices=devices, memory_bytes=memory_bytes, shard=share
                    )
                )
            elif print_sbatch:
                print(jobs.script(sweep, path, job, out=out, shards=shards, quick=quick, options=options))
            elif slurm is not None:
                print_jobs(sweep, out, jobs.submit(sweep, job, out=out, shards=shards, options=options))
            else:
                train(sweep, out, shard=shard, **vars(options))
        except TrainingError as error:
            failed.append(str(error))
    if failed:
        raise TrainingError("\n".join(failed))


@app.command("status")
def status_command(
    specs: Annotated[
        list[str] | None, typer.Argument(help="Sweeps: names below sweeps/, or .toml files; none: all with results.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The file's [quick] version.")] = False,
    out: OutOption = Path("results"),
    sweeps: SweepsOption = Path("sweeps"),
    style: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
) -> None:
    """Tell how far sweeps are, also those that other machines train: it reads nothing but their folders.

    Runs done and left, the processes at work there and the shares they have, how old the last checkpoint is, finished
    chunks that wait to be put into the tables, and chunks that could not be trained, with the files that say why.

    Example: ghostsweep status rank_one_lr_timescale
    """
    paths = [ledger.find(spec, sweeps) for spec in specs or ()]
    if not specs:
        suffix = "-quick" if quick else ""
        paths = [path for path in _sweep_files(sweeps) if (out / f"{path.stem}{suffix}").is_dir()]
    if not paths:
        raise UsageError(f"{out}: found no results of the sweeps in {sweeps}; allowed: after `ghostsweep run`")
    broken, found = [], []
    for path in paths:
        try:
            state = ledger.status(load(path, quick=quick, execute=False), out)
            found.append((state, ledger.activity(state.sweep.name, out)))
        except (UsageError, OSError) as error:
            broken.append(_named(path, error))
    if found:
        print_status(found, style)
    if broken:
        raise UsageError("\n".join(broken))


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
    which more than a share of a cell's seeds have collapsed (fallen back, unstable, thrown, never left, diverged), the
    lower one the highest at which more than that share are still on the plateau. Each comes with its bracket on the
    grid, a 95% interval (of all seeds that could be drawn, and of the grid), the method of the estimate, `censored`
    where it lies below or above the grid or too few epochs hide it, and `monotone`, false where the share turns back by
    more than chance. The band is the range of rates at which the other seeds learn. Along every field that takes three
    values or more follow the local exponents, the power law with its 95% interval (and how many standard errors it lies
    from the canonical T^-5 and T^-4), and its comparison with an exponential, a broken power law and a bent one.

    Example: ghostsweep fit rank_one_lr_timescale --format csv
    """
    fitted = fitting.fit(name, out=out, share=share)
    laws = {
        "local_exponent": fitted.local_exponent,
        "power_law": fitted.power_law,
        "compare_scaling": fitted.scaling,
    }
    found = {"critical_lr": fitted.critical, "learnable_band": fitted.band}
    found |= {title: table for title, table in laws.items() if table is not None}
    print_tables(found, style)


@app.command("show")
def show_command(
    run_id: Annotated[str, typer.Argument(help="Id of a run, or how it begins.")],
    out: OutOption = Path("results"),
    rerun: Annotated[bool, typer.Option("--rerun", help="Train it again, alone, and print what differs.")] = False,
    style: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
) -> None:
    """Show one run out of all results: its fields, its outcome, its curve, and where it came from.

    Fields are those that are not the default. With --rerun it is trained again, alone, and beside each result stands
    what came out; before its dynamics are chaotic all numbers agree within the tolerance (1e-9 in float64, 1e-3 in
    float32), and the first recorded epoch where they do not is named. The results stay as they are.

    Example: ghostsweep show 3f9a --rerun
    """
    print_run(showing.show(run_id, out=out, rerun=rerun), style)


@app.command("plot")
def plot_command(
    name: Annotated[str, typer.Argument(help="A sweep that has results, a paper figure (fig1 to fig8), or all.")],
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figures.")] = Path("figures"),
    sweeps: SweepsOption = Path("sweeps"),
) -> None:
    """Draw figures from finished tables, as PNG and PDF. Never trains.

    Where runs that the sweep file asks for are missing, or it has changed since, each figure says so. Pictures of a
    sweep from earlier that are no longer drawn are removed.

    Example: ghostsweep plot canonical_lr_timescale
    """
    names = [name] if name != "all" else drawing.drawable(out)
    failed = []
    for each in names:
        try:
            drawn = drawing.plot(each, out=out, to=to, sweeps=sweeps)
        except UsageError as error:
            failed.append(f"{each}: not drawn: {error}")
            continue
        except OSError as error:
            if len(names) == 1:
                raise
            failed.append(f"{each}: not drawn: {reason(error)}")
            continue
        for path in drawn:
            say(f"drew {path}")
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
    from ghostsweep.paper import reproduction  # here, as in `findings`, for what draws is slow to import

    if quick and from_results:
        raise UsageError("--quick and --from-results: found both; allowed: one of them")
    work = reproduction.planned(names or (), quick=quick, sweeps=sweeps)
    if not from_results:
        states = [ledger.status(sweep, out) for sweep in {s.name: s for each in work.values() for s in each}.values()]
        left = [state for state in states if state.done < state.runs]
        for state in left:
            print_cost(state)
        total = sum(state.core_seconds_left for state in left) / resources.cores()
        if left:
            say(f"in all about {duration(total)} on {resources.cores()} cores, compilation apart")
    made = reproduction.reproduce(
        work, quick=quick, from_results=from_results, out=out, to=to, sweeps=sweeps, train=lambda s: train(s, out)
    )
    for path in made.figures:
        say(f"drew {path}")
    for claim in made.claims.itertuples():
        verdict = "holds" if claim.holds else "DOES NOT HOLD"
        say(f"{claim.figure}: {claim.claim}: {verdict}")
        say(f"    {claim.measured} [{claim.scale}]")
    for cost in made.costs.itertuples():
        say(
            f"{cost.figure}: trained in {cost.training_s:.1f} s, drawn in {cost.drawing_s:.1f} s, "
            f"peak memory so far {cost.peak_memory_mb:.0f} MB"
        )
    if made.failed:
        raise UsageError("\n".join(f"{name}: not drawn: {reason}" for name, reason in made.failed.items()))


@app.command("findings")
def findings_command(
    out: OutOption = Path("results"),
    insert: Annotated[
        Path | None, typer.Option("--insert", metavar="FILE", help="Put them into this document, which says where.")
    ] = None,
) -> None:
    """Print what the results show, as a table in Markdown: questions, sweeps, and answers computed from their tables.

    Sweeps without results have no row. With --insert it replaces what stands between the lines <!-- findings --> and
    <!-- end findings --> of a document, and between <!-- claims --> and <!-- end claims --> if they are there, with the
    claims of the paper as the same tables have them. The document stays whole if that fails.

    Example: ghostsweep findings --insert README.md
    """
    from ghostsweep import findings
    from ghostsweep.paper import reproduction

    texts = {"findings": findings.findings(out)}
    if insert is None:
        print(texts["findings"])
        return
    if findings.marks("claims")[0].encode() in insert.read_bytes():
        texts["claims"] = reproduction.claims_text(reproduction.claims(out))
    for mark, text in texts.items():
        findings.insert(text, insert, mark)
    say(f"put the findings into {insert}")
