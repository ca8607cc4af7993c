"""The command that reduces the snapshots of a sweep to the canonical form."""

import contextlib
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ghostsweep import analysis
from ghostsweep.cli.app import (
    FormatOption,
    OfQuickOption,
    OutOption,
    ResultsArgument,
    TableOption,
    ToOption,
    app,
    named,
)
from ghostsweep.cli.printing import Format, print_tables
from ghostsweep.errors import UsageError
from ghostsweep.front import verbs
from ghostsweep.store import reduced


@app.command("reduce")
def reduce_command(
    name: ResultsArgument,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep the reduction in the result folder, where plot and findings take it from."),
    ] = False,
    quick: OfQuickOption = False,
    out: OutOption = Path("results"),
    style: FormatOption = Format.table,
    table: TableOption = None,
    to: ToOption = None,
) -> None:
    """Reduce the snapshots of a sweep to the canonical form: s, its gradient, eta and the critical rate it predicts.

    For sweeps with [record.snapshots] whose task is to switch the output at a time T: delayed activation, cue tasks,
    and own ones. s is (T / t)^2, t the time at which the output switches; eta = learning_rate C |ds/dp|^2 / 2 is what
    the canonical form's scale parameter is for the network at that snapshot, lr_critical the rate at which it would be
    3/4.

    The tables are predicted, a row a run that has learned: critical rates at the first, flattest, steepest and last
    snapshot; at_the_end, means over its last four snapshots; and reduction, all of them. On a terminal the first two
    are medians over seeds; with --table all of one, with --to a file each.

    Example: ghostsweep reduce fig3_collapses --table reduction --format csv
    """
    found = verbs.reduce(named(name, quick), out=out)
    tables = {"at_the_end": analysis.at_the_end(found), "reduction": found}
    with contextlib.suppress(UsageError):  # where none has learned
        tables = {"predicted": analysis.predicted(found)} | tables
    if keep:
        folder = verbs.read(named(name, quick), out=out).folder
        print(f"wrote {reduced.write_reduction(folder, found)}")
    if style is Format.table and table is None and to is None:
        tables = {title: _medians(each) for title, each in tables.items() if title != "reduction"}
    print_tables(tables, style, only=table, to=to)


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds, a row for each combination of the other fields, rate and outcome."""
    measured = [n for n in table.columns if n in _MEASURED or n.startswith("lr_")]
    fields = [n for n in table.columns if n not in (*measured, "run_id", "seed", "passed")]
    groups = table.groupby(fields, dropna=False, sort=True)
    return groups[measured].median().assign(n_seeds=groups.size()).reset_index()


_MEASURED = ("growth", "eta", "eta_highest", "s_low", "s_high", "cosine", "norm_ratio")
