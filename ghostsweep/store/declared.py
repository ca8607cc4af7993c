"""Plain numbers that models and tasks declare of their runs: of built-in ones worked out, of users' ones stored."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.declare import is_null
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


def outcomes(runs: pd.DataFrame) -> tuple[Mapping[str, str], np.ndarray] | None:
    """The meanings of the outcomes that the task of the runs declares, and the outcome of each; None without any.

    And where runs are of several tasks, or lack what their outcomes are judged by.
    """
    kinds = [name for name in ("model", "task", "optimizer", "schedule") if name in runs]
    found = []
    for _, values in _alike(runs, np.arange(len(runs)), kinds):
        try:
            task = parts_of(values).task
        except KeyError:  # of a model or task that is not known here
            return None
        found.append(task.outcomes if task else None)
    if not found or found[0] is None or any(each != found[0] for each in found):
        return None
    columns = {
        str(name): column.to_numpy(float, na_value=np.nan) for name, column in runs.items() if _is_number(column)
    }
    try:
        return found[0].meanings, np.asarray(found[0].of(columns))
    except KeyError:
        return None


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
