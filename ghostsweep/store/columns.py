"""The columns of the result tables, and tables of them as arrow and pandas have them."""

import functools
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from ghostsweep.declare import FIELDS, Run, kind, required_fields


class Column(NamedTuple):
    """One column of a result table."""

    name: str
    kind: str
    unit: str
    meaning: str


RESULTS = (
    Column("status", "string", "", "done, or diverged: a loss or gradient was not finite"),
    Column("epochs_done", "int64", "epochs", "epochs with finite numbers; where diverged, the epoch that was not"),
    Column("initial_loss", "float64", "", "loss at epoch 0"),
    Column("final_loss", "float64", "", "loss at the last epoch"),
    Column("mean_loss", "float64", "", "mean loss over all finite epochs"),
    Column("min_loss", "float64", "", "lowest loss of any epoch"),
    Column("min_loss_epoch", "int64", "epochs", "first epoch of the lowest loss"),
    Column("recent_mean_loss", "float64", "", "mean loss over the last 50 epochs"),
    Column("initial_grad_norm", "float64", "", "gradient norm at epoch 0"),
    Column("final_grad_norm", "float64", "", "gradient norm at the last epoch"),
    Column("mean_grad_norm", "float64", "", "mean gradient norm over all finite epochs"),
    Column("recent_mean_grad_norm", "float64", "", "mean gradient norm over the last 50 epochs"),
    Column("final_accuracy", "float64", "", "share of right steps at the last epoch"),
    Column("max_accuracy", "float64", "", "highest accuracy of any epoch"),
    Column("recent_max_accuracy", "float64", "", "highest accuracy of the last 50 epochs"),
    Column("learned_epoch", "int64", "epochs", "first epoch with loss below learned_loss; null if never"),
    Column("final_weight_norm", "float64", "", "norm of all parameters at the last epoch, before its update"),
    Column("begins_from", "string", "", "of a later phase: digest of the parameters and moments it begins from"),
    Column("ends_at", "string", "", "where a later phase goes on from it: digest of the same at its end"),
)
DIGESTS = {"begins_from", "ends_at"}
"""Columns of results that tables from before there were several phases do not have."""
CURVES = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch, from 0"),
    Column("loss", "float64", "", "loss; 0 where all is right, and 1 for an output of 0 in delayed activation"),
    Column("grad_norm", "float64", "", "norm of the gradient; in cue tasks, of that of the recurrent weights"),
    Column("accuracy", "float64", "", "share of right steps"),
    Column("weight_norm", "float64", "", "norm of all parameters; for the canonical form the size of r"),
)


def _field_column(name: str) -> Column:
    return Column(name, kind(name), FIELDS[name].unit, Run.model_fields[name].description or "")


RUNS = (
    Column("run_id", "string", "", "identity of the run: a hash of its fields"),
    *(_field_column(name) for name in FIELDS),
    *RESULTS,
)


def arrow_fields(columns: tuple[Column, ...]) -> list[pa.Field]:
    """The fields of an arrow schema, each with its unit and meaning."""
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    return [pa.field(c.name, types[c.kind], metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns]


@functools.cache
def schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The arrow schema of a table of these columns."""
    return pa.schema(arrow_fields(columns))


def empty(columns: tuple[Column, ...]) -> pa.Table:
    """A table without rows."""
    return schema(columns).empty_table()


def from_frame(frame: pd.DataFrame, columns: tuple[Column, ...]) -> pa.Table:
    """A frame as an arrow table of these columns."""
    table = pa.Table.from_pandas(frame, schema=schema(columns), preserve_index=False)
    return table.replace_schema_metadata(None)  # that of pandas, which nobody reads


def conformed(table: pa.Table, columns: tuple[Column, ...]) -> pa.Table:
    """A stored table with today's columns; fields of a run that are newer than it are filled in.

    Raises KeyError if others are missing, and arrow's own errors for columns of another type.
    """
    if table.schema.equals(schema(columns), check_metadata=True):
        return table
    missing = [c for c in columns if c.name not in table.column_names]
    newer = (FIELDS.keys() | DIGESTS) - {"model", *required_fields({})}
    unknown = set(table.column_names) - {c.name for c in columns}  # a name may be damaged too
    lost = [c.name for c in missing if c.name not in newer or unknown]
    if lost:
        raise KeyError(f"columns {', '.join(lost)} are missing")
    for c in missing:
        (field,) = arrow_fields((c,))
        filled = _defaults(c, table) if c.name in FIELDS else [None] * len(table)
        table = table.append_column(field, pa.array(filled, field.type, from_pandas=True))
    return table.select([c.name for c in columns]).cast(schema(columns))


def _defaults(column: Column, table: pa.Table) -> pd.Series:
    """What runs stored before there was this field have in it: their default, as in their ids, or null."""
    info = FIELDS[column.name]
    number = column.kind == "float64"
    known = {choice: float(v) if number else v for choice, v in info.defaults.items() if v is not None}
    choices: pd.Series = table[info.by].to_pandas()
    filled = choices.map(known).astype(object)
    return filled.where(table[info.needs].to_pandas().notna()) if info.needs else filled


def frame(table: pa.Table, columns: tuple[Column, ...]) -> pd.DataFrame:
    """An arrow table as the frame that users get, units in `.attrs["units"]`."""
    found: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for c in columns:
        if c.name == "learned_epoch":
            found[c.name] = found[c.name].astype("Int64")
    found.attrs["units"] = {c.name: c.unit for c in columns}
    return found


def data_dictionary() -> str:
    """All columns of both tables as a Markdown table, from the lists the code itself uses."""
    both = [("runs", column) for column in RUNS] + [("curves", column) for column in CURVES]
    rows = [(table, f"`{column.name}`", column.unit, column.meaning) for table, column in both]
    return markdown(pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"]))


def markdown(table: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers to six digits."""
    lines = [" | ".join(map(str, table.columns)), " | ".join("---" for _ in table.columns)]
    for row in table.itertuples(index=False):
        lines.append(" | ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row))
    return "\n".join(f"| {line} |" for line in lines)
