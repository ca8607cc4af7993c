"""The commands that draw and put findings together: plot, reproduce, findings."""

from pathlib import Path
from typing import Annotated

import typer

from ghostsweep import drawing
from ghostsweep.cli.app import OfQuickOption, OutOption, QuietOption, SweepsOption, app, figure_names, named
from ghostsweep.cli.console import print_cost, say, silent, train
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources
from ghostsweep.machine.terminal import duration, reason
from ghostsweep.running import ledger


@app.command("plot")
def plot_command(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Sweeps that have results, paper figures (fig1 to fig8, companion), or all.",
            autocompletion=figure_names,
        ),
    ],
    overlay: Annotated[bool, typer.Option("--overlay", help="Draw several sweeps into one picture.")] = False,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figures.")] = Path("figures"),
    sweeps: SweepsOption = Path("sweeps"),
    quiet: QuietOption = False,
) -> None:
    """Draw figures from finished tables, as PNG and PDF. Never trains.

    Where runs that the sweep file asks for are missing, or it has changed since, each figure says so. Pictures of a
    sweep from earlier that are no longer drawn are removed. With --overlay the runs of several sweeps are drawn as
    those of one, told apart by the fields in which they differ.

    Example: ghostsweep plot canonical_lr_timescale

    Example: ghostsweep plot rank_one_lr_timescale canonical_lr_timescale --overlay
    """
    every = drawing.drawable(out) if "all" in names else []
    every = [name for name in every if name.endswith("-quick") or not quick]
    names = [each for name in names for each in (every if name == "all" else [named(name, quick)])]
    tell = silent if quiet else say
    if overlay:
        for path in drawing.overlay(names, out=out, to=to):
            tell(f"drew {path}")
        return
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
            tell(f"drew {path}")
    if failed:
        raise UsageError("\n".join(failed))


@app.command("curves")
def curves_command(
    run_ids: Annotated[list[str], typer.Argument(help="Ids of runs, or how they begin.")],
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figure.")] = Path("figures"),
    quiet: QuietOption = False,
) -> None:
    """Draw loss, accuracy and gradient norm of one or several runs against epoch, as far as epochs were recorded.

    Example: ghostsweep curves 92a2 8522
    """
    tell = silent if quiet else say
    for path in drawing.curves(run_ids, out=out, to=to):
        tell(f"drew {path}")


@app.command("reproduce")
def reproduce_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures, fig1 to fig8, or companion; none: all eight.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same questions at a scale that takes minutes.")] = False,
    from_results: Annotated[
        bool, typer.Option("--from-results", help="Train nothing: draw from the best results there are.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the slow points found in the result folders, for later calls.")
    ] = False,
    out: OutOption = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="Folder for the figures and the table of claims.")] = Path("figures"),
    sweeps: SweepsOption = Path("sweeps"),
    quiet: QuietOption = False,
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
        raise UsageError("--quick and --from-results: not together")
    work = reproduction.planned(names or (), quick=quick, sweeps=sweeps)
    tell = silent if quiet else say
    if not from_results:
        states = [ledger.status(sweep, out) for sweep in {s.name: s for each in work.values() for s in each}.values()]
        left = [state for state in states if state.done < state.runs]
        for state in left:
            print_cost(state, tell)
        total = sum(state.core_seconds_left for state in left) / resources.cores()
        if left:
            tell(f"in all about {duration(total)} on {resources.cores()} cores, compilation apart")
    made = reproduction.reproduce(
        work,
        quick=quick,
        from_results=from_results,
        out=out,
        to=to,
        sweeps=sweeps,
        train=lambda s: train(s, out, tell),
        keep=keep,
    )
    for path in made.figures:
        tell(f"drew {path}")
    for claim in made.claims.itertuples():
        verdict = str(claim.verdict)
        tell(f"{claim.figure}: {claim.claim}: {verdict if verdict == 'holds' else verdict.upper()}")
        tell(f"    {claim.measured} [{claim.scale}]")
    for cost in made.costs.itertuples():
        tell(
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
    """Print what the results show in Markdown: a section a sweep, a line a question, answers computed from the tables.

    Sweeps without results have no section. With --insert it replaces what stands between the lines <!-- findings -->
    and <!-- end findings --> of a document; likewise claims (of the paper), fields (of all models) and columns (of the
    tables), those of which the document has such lines. It stays whole if that fails.

    Example: ghostsweep findings --insert results/README.md
    """
    from ghostsweep import findings
    from ghostsweep.paper import reproduction
    from ghostsweep.spec import listing
    from ghostsweep.store import columns

    if insert is None:
        print(findings.findings(out))
        return
    texts = {
        "findings": lambda: findings.findings(out),
        "claims": lambda: reproduction.claims_text(reproduction.claims(out)),
        "fields": listing.markdown,
        "columns": columns.data_dictionary,
    }
    document = insert.read_bytes()
    wanted = [mark for mark in texts if findings.marks(mark)[0].encode() in document]
    for mark in wanted or ["findings"]:
        findings.insert(texts[mark](), insert, mark)
    say(f"put {', '.join(wanted)} into {insert}")
