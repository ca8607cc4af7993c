"""Plain numbers that models and tasks declare of their runs: of built-in ones worked out, of users' ones stored."""

import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from ghostsweep.declare import Outcomes, is_null
from ghostsweep.errors import UsageError
from ghostsweep.spec import parts_of
from ghostsweep.store.columns import TASK_OUTCOME, declarations, declaring, frame

LEVELS = {
    "constant_loss": "constant",
    "blind_loss": "blind",
    "wrong_loss": "wrong",
    "chance_accuracy": "chance",
}
"""Columns in which a table has the levels that `Task.levels` gives."""
OF_MODEL = {"floor_loss": "floor", "gradient_unit": "gradient_unit", "theory_lr": "theory"}
"""Columns in which a table has what functions of these names say in a model."""
_TOLD_APART = ("run_id", "parent", "seed", "learning_rate")
"""Columns on which nothing that is declared depends."""


def numbers(runs: pd.DataFrame, *, users: bool = False) -> dict[str, np.ndarray]:
    """What the models and tasks of runs declare, by the columns above, NaN where nothing is: an array along the runs.

    Of built-in models and tasks alone or, for what is stored when they are trained, of `users` alone.
    """
    found = {name: np.full(len(runs), np.nan) for name in (*LEVELS, *OF_MODEL)}
    kinds = [name for name in ("model", "task", "optimizer", "schedule") if name in runs]
    for rows, values in _alike(runs, np.arange(len(runs)), kinds):
        try:
            parts = parts_of(values)
        except KeyError:  # of a model or task that is not known here
            continue
        own = parts.model if ("@" in parts.model.name) == users else None
        task = parts.task if parts.task is not None and ("@" in parts.task.name) == users else None
        hooks = {column: getattr(own, name) for column, name in OF_MODEL.items() if own and getattr(own, name)}
        of_task = task.levels if task is not None else None
        if not hooks and of_task is None:
            continue
        fields = [name for name in parts.fields if name in runs and name not in _TOLD_APART]
        for places, point in _alike(runs, rows, fields):
            if of_task is not None:
                told = of_task(point)._asdict()
                for column, name in LEVELS.items():
                    found[column][places] = told[name]
            for column, hook in hooks.items():
                found[column][places] = hook(point)
    return found


class Judged(NamedTuple):
    """What a task says of its own runs: which rows of a table these are, and the outcome of each by name.

    error: why there is none, in a line, where the function that tells them failed; then they are all null.
    """

    task: str
    meanings: Mapping[str, str]
    rows: np.ndarray
    outcome: np.ndarray
    error: str = ""


def outcomes(runs: pd.DataFrame) -> list[Judged]:
    """The outcomes of runs whose tasks declare some of their own, an entry for each declaration, the longest first.

    Of users' tasks as they were stored with the runs, so that nothing of theirs is executed; where runs were never
    stored, and of built-in tasks, they are worked out. Raises UsageError where the function of a user's task failed.
    """
    found = _stored(runs)
    rest = np.setdiff1d(np.arange(len(runs)), np.concatenate([each.rows for each in found])) if found else None
    found += _work_out(runs, np.arange(len(runs)) if rest is None else rest)
    for each in found:
        if each.error:
            raise UsageError(each.error)
    return sorted(found, key=lambda each: -len(each.meanings))


def _stored(runs: pd.DataFrame) -> list[Judged]:
    """The outcomes that runs were stored with."""
    found = []
    for said in runs.attrs.get("outcomes", ()) if {"task", TASK_OUTCOME} <= set(runs) else ():
        rows = np.flatnonzero(runs["task"].isin(said["tasks"]))
        if len(rows):
            outcome = runs[TASK_OUTCOME].astype(object).to_numpy()[rows]
            found.append(Judged(said["tasks"][0], said["meanings"], rows, outcome, said.get("error", "")))
    return found


def is_judged(table: pa.Table) -> bool:
    """Whether the outcomes of users' tasks are stored with runs as these tasks say them now."""
    now = with_outcomes(table)
    if now is table:
        return True
    same = TASK_OUTCOME in table.column_names and now[TASK_OUTCOME].equals(table[TASK_OUTCOME])
    return same and declarations(now) == declarations(table)


def check(runs: pd.DataFrame) -> None:
    """Raise UsageError where a function that tells outcomes failed when the runs were stored."""
    for each in _stored(runs):
        if each.error:
            raise UsageError(each.error)


def with_outcomes(table: pa.Table) -> pa.Table:
    """A table of runs with the outcomes of users' tasks in a column TASK_OUTCOME, which says what they mean.

    Those of tasks that are not known here stay as they are. Where a function fails, its runs have none, and the column
    says why. A table of which no task declares any is returned as it is.
    """
    if "task" not in table.column_names or not any("@" in str(task) for task in table["task"].unique().to_pylist()):
        return table
    runs, before = frame(table), declarations(table)
    judged = [each for each in _work_out(runs, np.arange(len(runs))) if "@" in each.task]
    if not judged:
        return table
    outcome = np.array(runs.get(TASK_OUTCOME, pd.Series(index=runs.index)), dtype=object)
    said: list[dict[str, Any]] = []
    for each in judged:
        outcome[each.rows] = each.outcome
        tasks = sorted(set(runs["task"].iloc[each.rows]))
        said.append({"tasks": tasks, "meanings": dict(each.meanings)} | ({"error": each.error} if each.error else {}))
    now = {task for each in said for task in each["tasks"]}
    for other in before:
        if left := [task for task in other["tasks"] if task not in now]:
            said.append(other | {"tasks": left})
    column = pa.array(outcome, pa.string(), from_pandas=True)
    kept = table.drop_columns([TASK_OUTCOME]) if TASK_OUTCOME in table.column_names else table
    return declaring(kept.append_column(TASK_OUTCOME, column), said)


def _work_out(runs: pd.DataFrame, among: np.ndarray) -> list[Judged]:
    """The outcomes of those rows whose tasks are known here and declare some, by the functions that tell them.

    Without those of built-in tasks that lack what their outcomes are judged by.
    """
    kinds = [name for name in ("model", "task", "optimizer", "schedule") if name in runs]
    alike: list[tuple[str, Outcomes, list[np.ndarray]]] = []
    for rows, values in _alike(runs, among, kinds):
        try:
            task = parts_of(values).task
        except KeyError:
            continue
        if task is None or task.outcomes is None:
            continue
        places = next(
            (rows for name, each, rows in alike if each == task.outcomes and ("@" in name) == ("@" in task.name)), None
        )
        if places is None:
            alike.append((task.name, task.outcomes, [rows]))
        else:
            places.append(rows)
    columns = {str(name): _plain(column) for name, column in runs.items() if name not in (TASK_OUTCOME, "outcome")}
    found = []
    for name, own, places in alike:
        rows, error = np.sort(np.concatenate(places)), ""
        nothing = np.full(len(rows), None, dtype=object)
        try:
            outcome = np.asarray(own.of({column: values[rows] for column, values in columns.items()}), dtype=object)
            error = _wrong(name, own, outcome, rows.shape)
        except Exception as failed:  # of a user's function
            if "@" not in name:
                if isinstance(failed, KeyError):
                    continue
                raise
            outcome, error = nothing, _told(name, own, failed)
        found.append(Judged(name, own.meanings, rows, nothing if error else outcome, error))
    return found


def _wrong(name: str, own: Outcomes, outcome: np.ndarray, shape: tuple[int, ...]) -> str:
    """What is wrong with what a task's function gave, in a line; empty where nothing is."""
    if outcome.shape == shape and set(outcome.tolist()) <= set(own.meanings):
        return ""
    other = sorted({str(each) for each in outcome.ravel().tolist()} - set(own.meanings))
    told = ", ".join(other) or f"an array of shape {outcome.shape} for {shape[0]} runs"
    return f"{name}, outcomes: found {told}; allowed: for each run one of {', '.join(own.meanings)}"


def _told(name: str, own: Outcomes, error: Exception) -> str:
    """An exception of a task's function in a line, with the last line of the user's file that it came through."""
    path = getattr(getattr(own.of, "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f"{path}, line {lines[-1]}: " if lines else ""
    said = (str(error).splitlines() or [""])[0]
    return f"{where}{name}, outcomes: {type(error).__name__}: {said}; mend it, and `ghostsweep run` judges anew"


def _plain(column: pd.Series) -> np.ndarray:
    """A column as an array: numbers as floats with NaN for null, texts as they are with None."""
    if pd.api.types.is_numeric_dtype(column):
        found: np.ndarray = column.to_numpy(float, na_value=np.nan)
        return found
    return column.astype(object).where(column.notna(), None).to_numpy(object)


def _alike(runs: pd.DataFrame, rows: np.ndarray, fields: list[str]) -> list[tuple[np.ndarray, Mapping[str, Any]]]:
    """Those of the rows that have the same values in all of the fields, and these values, null ones as None."""
    part = runs[fields] if len(rows) == len(runs) else runs[fields].iloc[rows]
    varying = [name for name in fields if len(part) and _varies(part[name])]
    places = part.groupby(varying, dropna=False, sort=False).indices.values() if varying else [np.arange(len(rows))]
    return [
        (rows[at], {str(name): None if is_null(value) else value for name, value in part.iloc[at[0]].items()})
        for at in places
        if len(at)
    ]


def _varies(column: pd.Series) -> bool:
    same = (column == column.iloc[0]) | (column.isna() & pd.isna(column.iloc[0]))
    return not bool(same.fillna(False).all())
