"""The command that writes pages; those that train, tell and draw are in `commands`."""

from pathlib import Path
from typing import Annotated

import typer

from ghostsweep.cli.app import OfQuickOption, OutOption, app, named
from ghostsweep.cli.console import say


@app.command("report")
def report_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Sweeps that have results, or result folders.", show_default=False)
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.html", help="The file. Default: figures/NAME.html.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's figures with their claims too, from results; takes a minute.")
    ] = False,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
) -> None:
    """Write one HTML file that opens from disk and loads nothing: what `analyze` and `plot` show. Never trains.

    Of each sweep the phase diagram, of which every cell shows its loss curves when chosen by pointer or keys, the
    boundaries with their intervals, the laws through them, and where the tables come from; each picture has a table.
    Where a task declares outcomes of its own, the diagram has these, and by choice the usual ones with boundaries. Of a
    sweep under way, what there is. Needs `pip install "ghostsweep[report]"`.

    Example: ghostsweep report rank_one_lr_timescale rank_lr --to networks.html
    """
    from ghostsweep import reporting  # here, for what draws is slow to import

    say(f"wrote {reporting.report([named(name, quick) for name in names or ()], to=to, out=out, paper=paper)}")
