"""The values of axes, and what of every run is recorded, as sweep files write them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostsweep.spec.parts import given_fields
from ghostsweep.spec.problems import Problems
from ghostsweep.spec.sweep import Axis, Grid, Record, Snapshots

NULL = "none"
"""How the list of an axis says that a field is not given, for TOML has no null."""


def axis_values(problems: Problems, place: str, given: Any) -> list[Any]:
    """The values of one axis, the text "none" of a list being null; empty where there is a mistake."""
    if isinstance(given, dict):
        axis = problems.model(Axis, place, given)
        if axis is None:
            return []
        values: list[Any] = axis.values()
        if axis.logspace is not None and place.endswith("learning_rate") and _like_rates(*axis.logspace[:2]):
            first, last, points = axis.logspace
            problems.doubt(
                f"{place}.logspace",
                f"these are exponents of ten, and rates from {values[0]:.4g} to {values[-1]:.4g}; "
                f"geomspace = [{first:g}, {last:g}, {points}] has rates from {first:g} to {last:g}",
            )
    elif isinstance(given, list):
        values = [None if value == NULL else value for value in given]
    else:
        problems.add(place, given, f"a list, or one of {', '.join(Axis.model_fields)}")
        return []
    if not values:
        problems.add(place, given, "at least one value")
        return values
    seen = set()
    for value in values:
        key = value if isinstance(value, int | float) else repr(value)
        if key in seen:
            problems.add(place, NULL if value is None else value, "every value once")
            break
        seen.add(key)
    return values


def _like_rates(first: float, last: float) -> bool:
    """Whether two exponents of ten look like learning rates themselves."""
    return first > 0 or any(0 < abs(end) < 0.1 for end in (first, last))


def values_of(grid: Grid, key: str) -> Sequence[Any]:
    return grid.axes[key] if key in grid.axes else [grid.shared[key]] if key in grid.shared else []


def has_value(grids: Sequence[Grid], name: str, value: Any) -> bool:
    """Whether some run of the grids has this value, numbers to nine digits."""
    every = [v for grid in grids for v in (values_of(grid, name) or [None])]
    if isinstance(value, int | float):
        return any(isinstance(v, int | float) and np.isclose(v, value, rtol=1e-9, atol=0) for v in every)
    return value in every


def read_record(problems: Problems, data: Any, where: str) -> Record | None:
    """Read a record table, whose epochs may be written as axes and whose snapshots name fields by value."""
    if not isinstance(data, dict):
        problems.add(where, data, "a table with " + ", ".join(Record.model_fields))
        return None
    snapshots = data.get("snapshots")
    if isinstance(snapshots, dict):
        runs = problems.table(f"{where}.snapshots.runs", snapshots.get("runs", {}))
        problems.unknown(f"{where}.snapshots.runs", runs, given_fields())
        runs = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in runs.items()}
        snapshots = with_epochs(problems, snapshots | {"runs": runs}, f"{where}.snapshots")
        data = data | {"snapshots": problems.model(Snapshots, f"{where}.snapshots", snapshots)}
    record: Record | None = problems.model(Record, where, with_epochs(problems, data, where))
    return record


def with_epochs(problems: Problems, data: dict[str, Any], where: str) -> dict[str, Any]:
    """The table with its epochs written out: given as an axis, or as a list in which axes stand for their values."""
    given = data.get("epochs")
    parts = given if isinstance(given, list) else [given]
    if not any(isinstance(part, dict) for part in parts):
        return data
    epochs: list[Any] = []
    for part in parts:
        axis = problems.model(Axis, f"{where}.epochs", part) if isinstance(part, dict) else None
        values = axis.values() if axis else [] if isinstance(part, dict) else [part]
        epochs += [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return data | {"epochs": epochs}


def check_record(problems: Problems, record: Record, grids: Sequence[Grid], where: str) -> None:
    lengths = [epochs for grid in grids for epochs in values_of(grid, "epochs") if type(epochs) is int and epochs > 0]
    if not lengths:
        return
    shortest = min(lengths)
    for epoch in record.epochs:
        if not 0 <= epoch < shortest:
            problems.add(f"{where}.epochs", epoch, f"from 0 to {shortest - 1} (a run of {shortest} epochs ends there)")
    if record.snapshots is None:
        return
    for epoch in record.snapshots.epochs:
        if not 0 <= epoch <= max(lengths):
            problems.add(f"{where}.snapshots.epochs", epoch, f"from 0 to {max(lengths)}, the end of the run")
    known = given_fields()
    for name, values in record.snapshots.runs.items():
        for value in values if name in known else ():
            if not has_value(grids, name, value):
                problems.add(f"{where}.snapshots.runs.{name}", value, "a value that runs of this sweep have")
