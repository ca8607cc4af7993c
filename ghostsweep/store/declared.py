"""Plain numbers that models and tasks declare of their runs: of built-in ones worked out, of users' ones stored."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.declare import Outcomes, is_null
from ghostsweep.errors import UsageError
from ghostsweep.spec import parts_of

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
    """What a task says of its own runs: which rows of a table these are, and the outcome of each by name."""

    task: str
    meanings: Mapping[str, str]
    rows: np.ndarray
    outcome: np.ndarray


def outcomes(runs: pd.DataFrame) -> list[Judged]:
    """The outcomes of runs whose tasks declare some of their own, an entry for each declaration, the longest first.

    Without those whose model or task is not known here (a user's that was not loaded), and those that lack what their
    outcomes are judged by. Raises UsageError where a task gives other names than it declares.
    """
    kinds = [name for name in ("model", "task", "optimizer", "schedule") if name in runs]
    alike: list[tuple[str, Outcomes, list[np.ndarray]]] = []
    for rows, values in _alike(runs, np.arange(len(runs)), kinds):
        try:
            task = parts_of(values).task
        except KeyError:
            continue
        if task is None or task.outcomes is None:
            continue
        places = next((places for _, each, places in alike if each == task.outcomes), None)
        if places is None:
            alike.append((task.name, task.outcomes, [rows]))
        else:
            places.append(rows)
    columns = {
        str(name): column.to_numpy(float, na_value=np.nan) for name, column in runs.items() if _is_number(column)
    }
    found = []
    for name, own, places in alike:
        rows = np.sort(np.concatenate(places))
        try:
            outcome = np.asarray(own.of({column: values[rows] for column, values in columns.items()}))
        except KeyError:
            continue
        if outcome.shape != rows.shape or not set(outcome.tolist()) <= set(own.meanings):
            other = sorted({str(each) for each in outcome.ravel().tolist()} - set(own.meanings))
            told = ", ".join(other) or f"an array of shape {outcome.shape} for {len(rows)} runs"
            raise UsageError(f"{name}, outcomes: found {told}; allowed: for each run one of {', '.join(own.meanings)}")
        found.append(Judged(name, own.meanings, rows, outcome))
    return sorted(found, key=lambda each: -len(each.meanings))


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


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
