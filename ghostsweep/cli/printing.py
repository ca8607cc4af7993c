"""Tables in print: for the eye, as CSV, JSON or Markdown, and as files."""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.machine.terminal import visible
from ghostsweep.store import columns, files


class Format(StrEnum):
    """How tables are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


SUFFIXES = {Format.csv: "csv", Format.json: "json", Format.markdown: "md"}


def print_tables(
    found: Mapping[str, pd.DataFrame],
    style: Format,
    *,
    only: str | None = None,
    to: Path | None = None,
    titles: Mapping[str, str] | None = None,
) -> None:
    """Print tables by name, or by `titles` where they have one; as JSON one object, as CSV a single table.

    only: the name of the one that is printed. to: a folder, into which a file of each is written instead. JSON and CSV
    have all digits of a number, and null or nothing for one that is none. Control characters in texts are written out,
    in JSON as its escapes. Raises UsageError for several tables as CSV.
    """
    if only is not None:
        if only not in found:
            raise UsageError(f"--table: found {only!r}; allowed: {', '.join(found)}")
        found = {only: found[only]}
    if to is not None:
        _write(found, Format.csv if style is Format.table else style, to)
    elif style is Format.json:
        print_json(found)
    elif style is Format.csv:
        if len(found) > 1:
            raise UsageError(
                f"--format csv: found {len(found)} tables ({', '.join(found)}); --table NAME prints one, "
                "--to FOLDER writes a file of each"
            )
        print(_csv(*found.values()), end="")
    else:
        _print_titled({(titles or {}).get(name, name): table for name, table in found.items()}, style)


def _csv(table: pd.DataFrame) -> str:
    return str(_legible(table).to_csv(index=False))


def _write(found: Mapping[str, pd.DataFrame], style: Format, to: Path) -> None:
    """Write a file of each table, whole or not at all."""
    to.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        if style is Format.json:
            text = json.dumps(_plain(table), allow_nan=False) + "\n"
        else:
            text = _csv(table) if style is Format.csv else f"{columns.markdown(_legible(table))}\n"
        path = to / f"{name}.{SUFFIXES[style]}"
        files.write(path, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
        print(f"wrote {visible(str(path))}")


def _print_titled(found: Mapping[str, pd.DataFrame], style: Format) -> None:
    for title, table in found.items():
        table, title = _legible(table), visible(title)
        if style is Format.markdown:
            print(f"{title}\n\n{columns.markdown(table)}\n")
        else:
            table = table.drop(columns=[c for c in table if (table[c].isna() | (table[c] == "")).all()])
            constant = [] if len(table) < 2 else [c for c in table if table[c].astype(str).nunique() == 1]
            same = ", ".join(f"{column} = {_short(table[column].iloc[0])}" for column in constant)
            print(title + (f" ({same})" if same else ""))
            text = table.drop(columns=constant).map(_short)
            print(text.T.to_string(header=False) if len(table) == 1 else text.to_string(index=False), end="\n\n")


def print_json(data: Any) -> None:
    """Print data that may hold tables, as lists of records, and numbers of numpy."""
    print(json.dumps(_plain(data), allow_nan=False))


def _plain(value: Any) -> Any:
    """A value as JSON has it, every digit kept: what is no number is null, as is a field that is not there."""
    if isinstance(value, pd.DataFrame):
        columns = [[_plain(item) for item in value[name].tolist()] for name in value]
        return [dict(zip(map(str, value), row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)


def _legible(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts, and names of columns, have their control characters written out."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    legible = table.assign(**{str(c): table[c].map(lambda v: visible(v) if isinstance(v, str) else v) for c in texts})
    return legible.rename(columns=lambda name: visible(str(name)))


def _short(value: object) -> str:
    """A table entry, numbers to five digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
