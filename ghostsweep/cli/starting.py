"""Commands for a first sweep: a file to change, and the fields that it may have."""

import textwrap
from typing import Annotated

import pandas as pd
import typer

from ghostsweep.cli.app import FormatOption, SweepsOption, app
from ghostsweep.cli.console import say
from ghostsweep.cli.printing import Format, print_tables
from ghostsweep.running import finding, starting
from ghostsweep.spec import listing

WIDTH = 79


@app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(help="Name of the sweep: letters, digits, _ and -.")],
    like: Annotated[str | None, typer.Option(help="A sweep to copy, with the model files that it names.")] = None,
    sweeps: SweepsOption = finding.OWN,
) -> None:
    """Write a commented sweep file to change, sweeps/NAME.toml.

    Example: ghostsweep new mine --like gru_lr_delay
    """
    for path in starting.new(name, like=like, folder=sweeps):
        say(f"wrote {path}")
    say(f"next: ghostsweep run {name} --quick, then ghostsweep plot {name} --quick")


@app.command("fields")
def fields_command(
    model: Annotated[str | None, typer.Argument(help="A model, or a file of your own; none: what there is.")] = None,
    task: Annotated[str | None, typer.Argument(help="A task, or a file of your own. Default: the model's.")] = None,
    optimizer: Annotated[str, typer.Option(help="Whose fields to list too.")] = "sgd",
    style: FormatOption = Format.table,
) -> None:
    """List the fields of a model on a task, each with its unit, default, limits and meaning.

    Without a model, what can be trained and on what.

    Example: ghostsweep fields full_rank dcdt
    """
    if model is None:
        for kind, names in listing.choices().items():
            say(f"{kind}s")
            for name, meaning in names.items():
                for line in textwrap.wrap(meaning, WIDTH, initial_indent=f"  {name}: ", subsequent_indent="      "):
                    say(line)
        say("`ghostsweep fields MODEL TASK` lists the fields of one; own ones are files: MODEL.py, TASK.py")
        return
    rows = listing.fields(model, task, optimizer)
    if style is not Format.table:
        print_tables({"fields": pd.DataFrame(rows)}, style)
        return
    owner = ""
    for row in sorted(rows, key=lambda row: row.of == "every run"):
        if row.of != owner:
            owner = row.of
            say(f"{owner}:")
        unit = f" ({row.unit})" if row.unit else ""
        default = f" = {row.default}" if row.default not in ("", "required") else ", required" * bool(row.default)
        say(f"  {row.field}{unit}{default}")
        for line in textwrap.wrap(f"{row.meaning} [{row.allowed}]", WIDTH - 6):
            say(f"      {line}")
