"""The tables of a sweep as files for other programs: with outcomes, and with what each column means."""

import contextlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from ghostsweep import analysis
from ghostsweep.analysis.outcomes import OUTCOME_MEANING
from ghostsweep.machine.terminal import visible
from ghostsweep.spec import CHOICES, fields_of
from ghostsweep.store import columns, files, tables


class Kind(StrEnum):
    """The kind of the files."""

    csv = "csv"
    parquet = "parquet"


def export(name: str | Path, *, out: str | Path, to: str | Path, kind: Kind = Kind.csv) -> list[Path]:
    """Write `runs`, with the outcome of each, `curves` and `columns`, of every column its unit and meaning.

    Where tasks declare outcomes of their own, runs have a column `task_outcome` too. Files that were there are
    replaced, all of them or, where a file cannot be written, none. Returns them. Raises UsageError where there are no
    results.
    """
    found = tables.read(name, out)
    runs = analysis.with_task_outcome(analysis.outcomes(found.runs))
    said = columns.meanings(tables.stored(found.folder, unplanned=False).runs)
    made = {"runs": runs, "curves": found.curves, "columns": _columns(runs, found.curves, said)}
    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {folder / f".{title}.{kind}.new": folder / f"{title}.{kind}" for title in made}
    try:
        for path, table in zip(waiting, made.values(), strict=True):
            files.write(path, lambda file, table=table: _fill(file, table, kind))  # type: ignore[misc]
        for path, final in waiting.items():
            os.replace(path, final)
    finally:
        for path in waiting:
            with contextlib.suppress(OSError):
                path.unlink()
    return list(waiting.values())


def _fill(file: BinaryIO, table: pd.DataFrame, kind: Kind) -> None:
    if kind is Kind.parquet:
        table.to_parquet(file, index=False)
    else:
        texts = {name: table[name].map(_harmless, na_action="ignore") for name in table.select_dtypes(exclude="number")}
        table = table.assign(**{str(name): column for name, column in texts.items()}).rename(columns=_harmless)
        table.to_csv(file, index=False, mode="wb", lineterminator="\n")


def _harmless(value: Any) -> Any:
    """A text that no spreadsheet executes and no terminal obeys; anything else as it is."""
    if not isinstance(value, str):
        return value
    return f"{chr(39) if value[:1] in ('=', '+', '-', '@') else ''}{visible(value)}"


def _columns(runs: pd.DataFrame, curves: pd.DataFrame, said: Mapping[str, str]) -> pd.DataFrame:
    """A row per column of both tables: the table, its unit and what it means; `said`: by columns of runs themselves."""
    chosen = runs[[name for name in CHOICES if name in runs]].drop_duplicates()
    kinds = [dict(zip(map(str, chosen), row, strict=True)) for row in chosen.itertuples(index=False)]
    meant = {name: field.meaning for name, field in fields_of(kinds).items()}
    known = (columns.RUN_ID, *columns.RESULTS, *columns.own_results(), *columns.LEVELS)
    meant |= {column.name: column.meaning for column in known} | dict(said)
    for column, meanings in (("outcome", OUTCOME_MEANING), ("task_outcome", runs.attrs.get("meanings", {}))):
        meant[column] = " ".join(f"{name}: {said}" for name, said in meanings.items())
    of_curves = {column.name: column.meaning for column in columns.CURVES}
    rows = [
        (title, name, table.attrs.get("units", {}).get(name, ""), means.get(name, ""))
        for title, table, means in (("runs", runs, meant), ("curves", curves, of_curves))
        for name in map(str, table)
    ]
    return pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"])
