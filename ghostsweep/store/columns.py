"""The columns of the result tables, and tables of them as arrow and pandas have them."""

import contextlib
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep.declare import Field, Result
from ghostsweep.spec import CHOICES, every_field, every_result, fields_of, parts_of
from ghostsweep.store import files
from ghostsweep.store.listed import (
    CURVES,
    DECLARED,
    GHOSTS,
    LEVELS,
    REDUCTION,
    RESULT_NAMES,
    RESULTS,
    RUN_ID,
    TASK_OUTCOME,
    TYPES,
    Column,
)

__all__ = [
    "CURVES",
    "GHOSTS",
    "LEVELS",
    "REDUCTION",
    "RESULTS",
    "RESULT_NAMES",
    "RUN_ID",
    "TASK_OUTCOME",
    "TYPES",
    "Column",
]
NEWER = {"begins_from", "ends_at", "min_recent_mean_loss"}
"""Columns of results that older tables do not have."""


def own_results() -> tuple[Column, ...]:
    """Columns of the results that models and tasks declare: tallies, and evidence of the parameters at the end."""
    return tuple(_of_result(r) for r in every_result().values())


def _of_result(result: Result, *, own: bool = True) -> Column:
    role = "tally" if result.name in every_result(own=own, of=("tally",)) else "evidence"
    return Column(result.name, "float64", result.unit, result.meaning, role=role)


def result_names() -> set[str]:
    """Names of all columns of a table of runs that are no fields, as far as names tell."""
    return {*RESULT_NAMES, *every_result(), RUN_ID.name, TASK_OUTCOME}


def field_names(runs: pd.DataFrame) -> list[str]:
    """Names of those columns of runs that are fields, by their roles; where a table tells none, by their names."""
    roles, results = runs.attrs.get("roles", {}), result_names()
    return [name for name in map(str, runs) if roles.get(name, "" if name in results else "field") == "field"]


def of_field(field: Field) -> Column:
    """The column of a field; truth values are 0 and 1."""
    kind = {str: "string", int: "int64"}.get(field.kind, "float64")
    return Column(field.name, kind, field.unit, field.meaning, field.symbol, "field")


def all_columns() -> tuple[Column, ...]:
    """Columns of a table of runs of every known model and task."""
    return RUN_ID, *map(of_field, every_field().values()), *RESULTS


def arrow_fields(columns: Iterable[Column]) -> list[pa.Field]:
    """The fields of an arrow schema, each with its unit, its meaning, its role and the symbol that it has."""
    found = []
    for c in columns:
        said = {"unit": c.unit, "meaning": c.meaning, "role": c.role} | ({"symbol": c.symbol} if c.symbol else {})
        found.append(pa.field(c.name, TYPES[c.kind], metadata=said))
    return found


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


def from_runs(frame: pd.DataFrame) -> pa.Table:
    """A frame of runs as an arrow table of the columns that it has, of those that a table of runs may have."""
    kinds = frame.reindex(columns=CHOICES).drop_duplicates().to_dict("records")
    columns = (*_columns(kinds), *own_results(), *LEVELS)
    return from_frame(frame, tuple(c for c in columns if c.name in frame))


def _columns(kinds: Iterable[Any]) -> tuple[Column, ...]:
    """As `all_columns`, of runs of these choices."""
    return RUN_ID, *map(of_field, fields_of(kinds).values()), *RESULTS


def conformed(table: pa.Table, columns: tuple[Column, ...]) -> pa.Table:
    """A stored table with these columns. Raises KeyError if one is missing, and arrow's own errors for other types."""
    if table.schema.equals(schema(columns), check_metadata=True):
        return table
    if lost := [c.name for c in columns if c.name not in table.column_names]:
        raise KeyError(f"columns {', '.join(lost)} are missing")
    return table.select([c.name for c in columns]).cast(schema(columns))


def conformed_runs(table: pa.Table) -> pa.Table:
    """A stored table of runs with today's types, without the fields that none of its runs has.

    Fields that are newer than the table are filled in. Columns of models and tasks that are not known here are what the
    table says; where it tells no roles, as older ones, those that stand after the status are results. Raises KeyError
    if others are missing, and arrow's own errors for columns of another type.
    """
    of_task = table.select([TASK_OUTCOME]) if TASK_OUTCOME in table.column_names else None
    if of_task is not None:
        table = table.drop_columns([TASK_OUTCOME])
    kinds, applying = _kinds(table), set[str]()
    known = {c.name: c for c in (*_columns(kinds), *own_results(), *LEVELS)}
    strange = False  # runs of a model or task that is not known here
    for kind in kinds:
        try:
            applying |= set(parts_of(kind).fields)
        except KeyError:
            strange = True
    there, every = table.column_names, fields_of(kinds)
    unknown = [name for name in there if name not in known]
    optional = every.keys() | NEWER | {c.name for c in LEVELS} | every_result().keys()
    required = {"model", "learning_rate", "epochs"}
    lost = [n for n in known if n not in there and (n not in optional or n in required)]
    newer = [n for n in known if n not in there and n in applying | NEWER]
    if lost or (unknown and not strange):
        raise KeyError(f"columns {', '.join(lost or unknown)} are {'missing' if lost else 'not known'}")
    for name in newer:
        (field,) = arrow_fields((known[name],))
        filled = _defaults(name, table) if name in applying else [None] * len(table)
        table = table.append_column(field, pa.array(filled, field.type, from_pandas=True))
    kept = [n for n in known if n in [*there, *newer] and (n not in every or n in applying or strange)]
    told = {name: _told(table, name) for name in there}
    fields = arrow_fields(known[n] for n in kept if not (strange and _role(told.get(n))))
    fields += [told[n] for n in there if n in unknown or (strange and n in kept and _role(told[n]))]
    order = {name: place for place, name in enumerate([*known, *unknown])}
    fields.sort(key=lambda field: (_role(field) not in ("identity", "field"), order[field.name]))
    wanted = pa.schema(fields)
    found = table.select(wanted.names).cast(wanted)
    if of_task is not None:
        found = found.append_column(of_task.schema.field(0), of_task.column(0))
    return found


def meanings(table: pa.Table) -> dict[str, str]:
    """What the columns of a stored table mean, those that say it."""
    found = {field.name: (field.metadata or {}).get(b"meaning", b"").decode() for field in table.schema}
    return {name: said for name, said in found.items() if said}


def _role(field: pa.Field | None) -> str:
    """What a column says that it is; empty where it does not."""
    return (field.metadata or {}).get(b"role", b"").decode() if field is not None else ""


def _told(table: pa.Table, name: str) -> pa.Field:
    """A column of a table as it says itself what it is; of one that does not and that nobody knows, by its place."""
    field = table.schema.field(name)
    if _role(field) or name in every_field() or name in result_names() or "status" not in table.column_names:
        return field
    names = table.column_names
    role = "result" if names.index(name) > names.index("status") else "field"
    return field.with_metadata({**(field.metadata or {}), b"role": role.encode()})


def _kinds(table: pa.Table) -> list[dict[str, object]]:
    """The different choices of the runs of a table."""
    names = [name for name in CHOICES if name in table.column_names]
    found: list[dict[str, object]] = table.select(names).group_by(names).aggregate([]).to_pylist()
    return found


def _defaults(name: str, table: pa.Table) -> list[object]:
    """What runs stored before there was a field have in it: its default, as in their ids, or null."""
    names = [choice for choice in CHOICES if choice in table.column_names]
    by_kind = {}
    for kind in _kinds(table):
        declared = parts_of(kind).fields.get(name)
        by_kind[tuple(kind[choice] for choice in names)] = declared.default if declared else None
    rows = zip(*(table[choice].to_pylist() for choice in names), strict=True)
    number = fields_of(_kinds(table))[name].kind in (float, bool)
    return [float(v) if number and v is not None else v for v in (by_kind[row] for row in rows)]


def together(tables: list[pa.Table]) -> pa.Table:
    """Tables of runs one after the other, with every column that one of them has, in the order of a table of runs."""
    found = pa.concat_tables(tables, promote_options="default")
    results = [c.name for c in (*RESULTS, *own_results(), *LEVELS)]
    own = [c.name for c in all_columns() if c.name not in results]
    strange = [n for n in found.column_names if n not in own and n not in results and n != TASK_OUTCOME]
    last = [name for name in strange if _role(found.schema.field(name)) not in ("", "field")]
    names = [*own, *(name for name in strange if name not in last), *results, *last, TASK_OUTCOME]
    found = found.select([name for name in names if name in found.column_names])
    return declaring(found, [each for table in tables for each in declarations(table)])


def declarations(table: pa.Table) -> list[dict[str, Any]]:
    """What the outcomes in the column TASK_OUTCOME mean, an entry for each declaration."""
    if TASK_OUTCOME not in table.column_names:
        return []
    found: list[dict[str, Any]] = json.loads((table.schema.field(TASK_OUTCOME).metadata or {}).get(DECLARED, b"[]"))
    return found


def declaring(table: pa.Table, declared: Iterable[dict[str, Any]]) -> pa.Table:
    """A table whose column TASK_OUTCOME, if it has one, says what its outcomes mean, each declaration once."""
    if TASK_OUTCOME not in table.column_names:
        return table
    once = {json.dumps(each): each for each in declared}
    said = {"unit": "", "meaning": "outcome by the run's task", "role": "outcome"}
    said |= {DECLARED.decode(): json.dumps([*once.values()])}
    field = pa.field(TASK_OUTCOME, pa.string(), metadata=said)
    return table.set_column(table.column_names.index(TASK_OUTCOME), field, table[TASK_OUTCOME])


def frame(table: pa.Table) -> pd.DataFrame:
    """An arrow table as the frame that users get; whole numbers with nulls as Int64.

    Units are in `.attrs["units"]`, symbols of fields that have one in `.attrs["symbols"]`, in `.attrs["roles"]` what
    columns are of which names alone do not tell it, and in `.attrs["outcomes"]` what outcomes of users' tasks mean.
    """
    found: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    units, symbols, roles = {}, {}, {}
    known = _known_roles()
    for field in table.schema:
        if pa.types.is_int64(field.type) and (field.name == "learned_epoch" or table[field.name].null_count):
            found[field.name] = table[field.name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        units[field.name] = said.get("unit", "")
        if said.get("symbol"):
            symbols[field.name] = said["symbol"]
        if (role := said.get("role")) and known.get(field.name) != role:
            roles[field.name] = role
    found.attrs |= {"units": units, "symbols": symbols}
    found.attrs |= {"roles": roles} if roles else {}
    found.attrs |= {"outcomes": declared} if (declared := declarations(table)) else {}
    return found


@functools.cache
def _known_roles() -> dict[str, str]:
    """What columns are of the built-in models and tasks, by name."""
    own = (_of_result(result, own=False) for result in every_result(own=False).values())
    fields = map(of_field, every_field(own=False).values())
    return {column.name: column.role for column in (*fields, RUN_ID, *RESULTS, *LEVELS, *own)} | {
        TASK_OUTCOME: "outcome"
    }


def with_fields(runs: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The runs with those of these columns that are fields which none of them has: null, since tables lack these.

    Not filled in is what their models, tasks and rules have, which is missing, and what is no field at all.
    """
    known, own = every_field(), set(map(str, runs))
    for values in runs.reindex(columns=CHOICES).drop_duplicates().itertuples(index=False):
        with contextlib.suppress(KeyError):  # of a model or task that is not known here
            own |= set(parts_of(dict(zip(CHOICES, values, strict=True))).fields)
    lost = arrow_fields(of_field(known[name]) for name in names if name in known and name not in own)
    if not lost:
        return runs
    nulls = frame(pa.table([pa.nulls(len(runs), field.type) for field in lost], schema=pa.schema(lost)))
    found = pd.concat([runs, nulls.set_index(runs.index)], axis=1)
    found.attrs = runs.attrs | {kind: said | runs.attrs.get(kind, {}) for kind, said in nulls.attrs.items()}
    return found


def write_parquet(path: Path, table: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    """Write a frame of these columns, each with its unit and its meaning, whole or not at all."""
    arrow = pa.Table.from_pandas(table, schema(columns), preserve_index=False)
    arrow = arrow.replace_schema_metadata({"about": "ghostsweep"})
    files.write(path, lambda file: pq.write_table(arrow, file))


def data_dictionary() -> str:
    """The columns of all tables beside the fields of runs, in Markdown, from the lists the code itself uses."""
    parts = []
    own = tuple(_of_result(r, own=False) for r in every_result(own=False).values())
    tables = (
        ("`runs.parquet`", (RUN_ID, *RESULTS)),
        ("`runs.parquet`, of models and tasks that declare results of their own", own),
        ("`curves.parquet`", CURVES),
        ("`ghosts.parquet`", GHOSTS),
        ("`reduction.parquet`", REDUCTION),
    )
    for title, found in tables:
        rows = [(f"`{column.name}`", column.unit, column.meaning) for column in found]
        parts.append(f"{title}:\n\n" + markdown(pd.DataFrame(rows, columns=["column", "unit", "meaning"])))
    return "\n\n".join(parts)


def markdown(table: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers to six digits."""
    lines = [" | ".join(map(str, table.columns)), " | ".join("---" for _ in table.columns)]
    for row in table.itertuples(index=False):
        lines.append(" | ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row))
    return "\n".join(f"| {line} |" for line in lines)
