"""The application that commands are registered with, their common options, and how names complete in a shell."""

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ghostsweep.cli.printing import Format
from ghostsweep.running import finding

app = typer.Typer(
    help="Learning-rate phase diagrams: train sweeps, analyze critical learning rates, draw figures.\n\n"
    "A sweep is a TOML file below sweeps/; its tables go to results/NAME/. Begin with `ghostsweep list`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PRINTING = ("ghosts", "list", "status", "analyze", "reduce", "show", "findings", "fields")
"""Commands whose result is what they print."""


def sweep_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of sweeps that begin so, from the files alone."""
    return _beginning(incomplete, [path.stem for path in finding.sweep_files(_folder(context, "sweeps"))])


def result_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of result folders that begin so."""
    out = _folder(context, "out", "results")
    names = sorted(path.name for path in out.iterdir() if (path / "meta.json").is_file()) if out.is_dir() else []
    return _beginning(incomplete, names)


def figure_names(context: typer.Context, incomplete: str) -> list[str]:
    """What `plot` takes that begins so."""
    return [
        *result_names(context, incomplete),
        *_beginning(incomplete, ["all", "companion", *(f"fig{n}" for n in range(1, 9))]),
    ]


def _folder(context: typer.Context, option: str, default: str = "") -> Path:
    given: Any = context.params.get(option)
    return Path(given or default or option)


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


OutOption = Annotated[Path, typer.Option("--out", help="Folder that holds the results, one subfolder per sweep.")]
SweepsOption = Annotated[Path, typer.Option("--sweeps", help="Folder that holds the sweep files.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print it.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]
OfQuickOption = Annotated[bool, typer.Option("--quick", help="The results of `run --quick`, in NAME-quick.")]
TableOption = Annotated[str | None, typer.Option("--table", metavar="NAME", help="Print this table alone.")]
ToOption = Annotated[
    Path | None, typer.Option("--to", metavar="FOLDER", help="Write a file for each table there (CSV, or --format).")
]
ResultsArgument = Annotated[
    str, typer.Argument(help="A sweep that has results, or a result folder.", autocompletion=result_names)
]


def named(name: str, quick: bool) -> str:
    """The name of the results: with `quick` those of the [quick] version."""
    return f"{name}-quick" if quick and not name.endswith("-quick") else name


def _print_version(wanted: bool) -> None:
    if wanted:
        print(importlib.metadata.version("ghostsweep"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before any command."""
