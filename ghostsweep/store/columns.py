"""The columns of the result tables, and tables of them as arrow and pandas have them."""

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep.declare import Field
from ghostsweep.spec import CHOICES, every_field, every_result, fields_of, parts_of
from ghostsweep.store import files


class Column(NamedTuple):
    """One column of a result table."""

    name: str
    kind: str
    unit: str
    meaning: str
    symbol: str = ""


RESULTS = (
    Column("status", "string", "", "done, or diverged: a loss or gradient was not finite"),
    Column("epochs_done", "int64", "epochs", "epochs with finite numbers; where diverged, the epoch that was not"),
    Column("initial_loss", "float64", "", "loss at epoch 0"),
    Column("final_loss", "float64", "", "loss at the last epoch"),
    Column("mean_loss", "float64", "", "mean loss over all finite epochs; in float32 to about 1e-5"),
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
LEVELS = (
    Column("constant_loss", "float64", "", "of a user's task: loss of the best constant output"),
    Column("blind_loss", "float64", "", "of a user's task: loss of the best output that depends on time alone"),
    Column("wrong_loss", "float64", "", "of a user's task: loss of a constant output at either end of its range"),
    Column("chance_accuracy", "float64", "", "of a user's task: accuracy of the best constant output"),
    Column("floor_loss", "float64", "", "of a user's model: loss that no parameters can undercut"),
    Column("gradient_unit", "float64", "", "of a user's model: what a gradient norm is multiplied by to be judged"),
    Column("theory_lr", "float64", "", "of a user's model: rate at which theory puts the upper boundary"),
)
"""Columns of results that tables have where a user's model or task says so."""
CURVES = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch, from 0"),
    Column("loss", "float64", "", "loss; 0 where all is right, and 1 for an output of 0 in delayed activation"),
    Column("grad_norm", "float64", "", "norm of the gradient; in cue tasks, of that of the recurrent weights"),
    Column("accuracy", "float64", "", "share of right steps"),
    Column("weight_norm", "float64", "", "norm of all parameters; for the canonical form the size of r"),
)


REDUCTION = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch before whose update the parameters are"),
    Column("trial", "int64", "", "kind of trial, from 0, of those whose target switches once; of several outputs each"),
    Column("loss", "float64", "", "loss, without the noise of training"),
    Column("grad_norm", "float64", "", "norm of its gradient by all parameters"),
    Column("due", "float64", "steps", "T: when the target switches, from the end of the first input or the beginning"),
    Column("time", "float64", "steps", "t: when the output switches, linear between two steps; null if it does not"),
    Column("s", "float64", "", "(T / t)^2; of the canonical form r / r*"),
    Column("s_grad_norm", "float64", "", "norm of the gradient of s by all parameters"),
    Column("eta", "float64", "", "scale parameter, learning_rate C s_grad_norm^2 / 2 (C: T times the loss of a step's "
           "delay); null but for sgd"),
    Column("eta_critical", "float64", "", "eta above which a step from the optimum can lead out of the trial: 3/4 "
           "where it lasts 2T"),
    Column("lr_critical", "float64", "", "learning rate at which eta is the critical one"),
    Column("canonical_loss", "float64", "", "loss of outputs that are steps at the same times"),
    Column("cosine", "float64", "", "cosine between the gradients of the loss and of the canonical loss"),
    Column("norm_ratio", "float64", "", "norm of the gradient of the loss over that of the canonical loss"),
    Column("s_next", "float64", "", "s after the next step by the canonical map with this eta; null as eta is"),
    Column("s_after", "float64", "", "s as the next step of plain gradient descent leaves it; null where the output "
           "does not switch then"),
    Column("outcome", "string", "", "what became of the run by the end of its training"),
)  # fmt: skip
"""The columns of a reduction to the canonical form, beside fields of its runs."""


RUN_ID = Column("run_id", "string", "", "identity of the run: a hash of its fields")
GHOSTS = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "the snapshot: parameters before the update of this epoch"),
    Column("place", "int64", "", "number of the place in its network, fixed points first, then by speed"),
    Column(
        "verdict",
        "string",
        "",
        "ghost, fixed point, passed at once, not passed, or out of reach; decided by the criteria",
    ),
    Column("stability", "string", "", "stable, saddle or unstable: by the eigenvalues that are not 0"),
    Column("position", "list", "", "the state, in the coordinates of the model's step"),
    Column("speed", "float64", "1/tau", "size of the velocity there; at most 1e-9 at a fixed point"),
    Column("reachable", "bool", "", "criterion: states can be at both ends of the bottleneck"),
    Column("passed", "bool", "", "criterion: distance is at most half_width"),
    Column("lasting", "bool", "", "criterion: passage is at least `separation` times next_time"),
    Column("distance", "float64", "", "to the nearest trajectory of the task, of its steps at the same input"),
    Column("trial", "int64", "", "the trial of that trajectory"),
    Column("eigenvalue", "float64", "1/tau", "real part of the eigenvalue of the Jacobian nearest to 0"),
    Column("next_eigenvalue", "float64", "1/tau", "real part of the next one, of the whole network"),
    Column("next_time", "float64", "tau", "one over the size of that one"),
    Column("v", "list", "", "right null vector of the Jacobian, the slow direction; size 1"),
    Column("w", "list", "", "left null vector, with w . v = 1"),
    Column("r", "float64", "1/tau", "w . F, first order"),
    Column("a", "float64", "1/tau", "w . D2F(v, v) / 2, first order"),
    Column("half_width", "float64", "", "sqrt(r / a), along v"),
    Column("passage", "float64", "tau", "pi / sqrt(r a), the time of a whole passage, first order"),
    Column("r_bent", "float64", "1/tau", "r of second order, with the slow manifold bent and shifted"),
    Column("a_bent", "float64", "1/tau", "a of second order"),
    Column("cubic", "float64", "1/tau", "coefficient of s^3 in the reduced flow"),
    Column("bend", "float64", "", "how far the slow manifold bends off v over a half-width, in half-widths"),
    Column("passage_bent", "float64", "tau", "time of a whole passage, second order"),
    Column("passage_steps", "float64", "steps", "steps of the network of a whole passage, second order"),
    Column(
        "discrete", "float64", "", "passage_steps over those of the flow, less 1: what steps of finite length change"
    ),
    Column("enters", "float64", "", "where the trajectory enters the bottleneck, in half-widths from the place"),
    Column("leaves", "float64", "", "where it leaves"),
    Column("crossing", "float64", "steps", "steps of the trajectory from there to there"),
    Column("crossing_canonical", "float64", "steps", "the same by the arctangent of r and a"),
    Column("crossing_bent", "float64", "steps", "the same in second order, of steps of finite length"),
    Column(
        "to_switch", "float64", "steps", "steps from where it enters to where its output changes, at the same input"
    ),
    Column("to_switch_canonical", "float64", "steps", "the same by the arctangent of r and a"),
)
"""Columns of `ghostsweep.ghosts`, a row for each slow place of a network."""
TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list": pa.list_(pa.float64()),
}


def own_results() -> tuple[Column, ...]:
    """Columns of the results that models and tasks declare: tallies, and evidence of the parameters at the end."""
    return tuple(Column(r.name, "float64", r.unit, r.meaning) for r in every_result().values())


def result_names() -> set[str]:
    """Names of all columns of a table of runs that are no fields."""
    return RESULT_NAMES | every_result().keys()


def of_field(field: Field) -> Column:
    """The column of a field; truth values are 0 and 1."""
    kind = {str: "string", int: "int64"}.get(field.kind, "float64")
    return Column(field.name, kind, field.unit, field.meaning, field.symbol)


def all_columns() -> tuple[Column, ...]:
    """Columns of a table of runs of every known model and task."""
    return RUN_ID, *map(of_field, every_field().values()), *RESULTS


def arrow_fields(columns: Iterable[Column]) -> list[pa.Field]:
    """The fields of an arrow schema, each with its unit, its meaning and the symbol that it has."""
    found = []
    for c in columns:
        said = {"unit": c.unit, "meaning": c.meaning} | ({"symbol": c.symbol} if c.symbol else {})
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

    Fields that are newer than the table are filled in. Those of models and tasks that are not known here are as the
    table says. Raises KeyError if others are missing, and arrow's own errors for columns of another type.
    """
    kinds, applying = _kinds(table), set[str]()
    known = {c.name: c for c in (*_columns(kinds), *own_results(), *LEVELS)}
    strange = False  # runs of a model or task that is not known here
    for kind in kinds:
        try:
            applying |= set(parts_of(kind).fields)
        except KeyError:
            strange = True
    there, results, every = table.column_names, result_names(), fields_of(kinds)
    unknown = [name for name in there if name not in known]
    optional = every.keys() | DIGESTS | {c.name for c in LEVELS} | every_result().keys()
    required = {"model", "learning_rate", "epochs"}
    lost = [n for n in known if n not in there and (n not in optional or n in required)]
    newer = [n for n in known if n not in there and n in applying | DIGESTS]
    if lost or (unknown and not strange):
        raise KeyError(f"columns {', '.join(lost or unknown)} are {'missing' if lost else 'not known'}")
    for name in newer:
        (field,) = arrow_fields((known[name],))
        filled = _defaults(name, table) if name in applying else [None] * len(table)
        table = table.append_column(field, pa.array(filled, field.type, from_pandas=True))
    kept = [n for n in known if n in [*there, *newer] and (n not in every or n in applying or strange)]
    own = [table.schema.field(name) for name in unknown]
    first = [name for name in kept if name not in results]
    fields = [*arrow_fields(known[n] for n in first), *own, *arrow_fields(known[n] for n in kept if n in results)]
    wanted = pa.schema(fields)
    return table.select(wanted.names).cast(wanted)


RESULT_NAMES = {column.name for column in (*RESULTS, *LEVELS)}


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
    strange = [name for name in found.column_names if name not in own and name not in results]
    return found.select([name for name in (*own, *strange, *results) if name in found.column_names])


def frame(table: pa.Table) -> pd.DataFrame:
    """An arrow table as the frame that users get; whole numbers with nulls as Int64.

    Units are in `.attrs["units"]`, symbols of fields that have one in `.attrs["symbols"]`.
    """
    found: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    units, symbols = {}, {}
    for field in table.schema:
        if pa.types.is_int64(field.type) and (field.name == "learned_epoch" or table[field.name].null_count):
            found[field.name] = table[field.name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        units[field.name] = said.get("unit", "")
        if said.get("symbol"):
            symbols[field.name] = said["symbol"]
    found.attrs |= {"units": units, "symbols": symbols}
    return found


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
    own = tuple(Column(r.name, "float64", r.unit, r.meaning) for r in every_result(own=False).values())
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
