"""The command that finds ghosts in the networks of which a sweep kept snapshots."""

from pathlib import Path
from typing import Annotated

import typer

from ghostsweep.cli.app import FormatOption, OfQuickOption, OutOption, ResultsArgument, app, named
from ghostsweep.cli.console import say
from ghostsweep.cli.printing import Format, print_tables
from ghostsweep.front import ghosts, verbs
from ghostsweep.store import columns

MAX_ROWS = 24
"""Rows that a terminal shows."""


@app.command("ghosts")
def ghosts_command(
    name: ResultsArgument,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
    runs: Annotated[list[str] | None, typer.Option("--run", help="Ids of runs. Default: all with snapshots.")] = None,
    u: Annotated[float, typer.Option(help="Constant input of the flow.")] = 0.0,
    style: FormatOption = Format.table,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to write. Default: exports/NAME.")
    ] = None,
) -> None:
    """Find the slow places of all networks of which snapshots are kept, and reduce them to dx/dt = a x^2 + r.

    Prints how many ghosts, fixed points and other slow places there are at each snapshot, and of the ghost that takes
    longest to pass its r, a and passage times; where these are many, those with a ghost, the first of them. Writes
    ghosts.parquet, a row a place, with the position, the null vectors, both orders of the reduction, what the
    trajectory took to pass, and the verdict with its criteria; the file says what each column means.

    Example: ghostsweep ghosts fig4_dcdt
    """
    name = named(name, quick)
    found = ghosts.ghosts(verbs.read(name, out), runs=runs or (), u=u)
    counts = ghosts.by_snapshot(found)
    folder = to or Path("exports") / Path(name).name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ghosts.parquet"
    columns.write_parquet(path, found, columns.GHOSTS)
    told = counts
    title = "by_snapshot"
    if style is Format.table and len(counts) > MAX_ROWS:
        told = counts[counts["ghost"] > 0]
        title = f"{len(counts):,} snapshots, {len(told):,} with a ghost; the first {min(MAX_ROWS, len(told))} of these"
        told = told.head(MAX_ROWS)
    print_tables({"by_snapshot": told}, style, titles={"by_snapshot": title})
    if style is Format.table:
        say(f"wrote {path}")
