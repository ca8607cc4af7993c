"""The planned runs of a sweep: a row each, phase after phase."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.declare import Field, is_null
from ghostsweep.spec import CHOICES, Grid, Run, Sweep, every_field, fields_of, fragment, parts_of, run_id
from ghostsweep.spec.run import EXACT

IDS_AT_ONCE = 100_000
"""Ids that are texts of Python's at a time: of five million these take 300 MB, and as a column 120."""


def expand(sweep: Sweep) -> pd.DataFrame:
    """The planned runs of all phases: a row each with run_id and every field, without repetitions.

    Rows of a grid are the product of its axes, the last one fastest: CHOICES and axes with a null, on which other
    fields may depend, then the others by alphabet. Those of a later phase come after all of the phase before.
    Of a single product of axes, a column of one value takes the memory of that value alone, and is read-only.
    """
    for code in sweep.code:  # also where the sweep came from another process
        code.load()
    phases = [[_expand_grid(grid) for grid in sweep.grids]]
    for number, phase in enumerate(sweep.phases, 2):
        continued = zip(phases[-1], phase.grids, strict=True)
        phases.append([[_continue_grid(united(parts), grid, phase.axes, number)] for parts, grid in continued])
    parts = [part for grids in phases for parts in grids for part in parts]
    return united(parts, repeated=may_repeat(sweep))


def may_repeat(sweep: Sweep) -> bool:
    """Whether a run may be planned twice: no one field that two of the grids give has other values in each.

    Nor can runs that differ in one of the CHOICES be the same, so that what is not given does not matter.
    """
    given = []
    for grid in sweep.grids:
        fields = {name: [value] for name, value in grid.shared.items()} | dict(grid.axes)
        given.append({name: {_as_said(value) for value in values} for name, values in fields.items()})
        if any(len(given[-1][name]) < len(values) for name, values in grid.axes.items()):
            return True
    return not all(
        any(None not in one[name] | other[name] and one[name].isdisjoint(other[name]) for name in one.keys() & other)
        for one, other in itertools.combinations(given, 2)
    )


def united(parts: list[pd.DataFrame], *, repeated: bool = False) -> pd.DataFrame:
    """Tables of runs as one, with every column that one of them has, whole numbers whole also where some are null.

    Where runs may be `repeated`, the first of each id alone.
    """
    chosen = [part[[name for name in CHOICES if name in part]].drop_duplicates() for part in parts]
    kinds: list[Any] = [kind for part in chosen for kind in part.to_dict("records")]
    ids = pd.concat([part["run_id"] for part in parts], ignore_index=True)
    kept: Any = np.flatnonzero(~ids.duplicated()) if repeated else slice(None)
    columns = {"run_id": ids.iloc[kept].reset_index(drop=True)}
    for name, field in fields_of(kinds).items():
        if any(name in part for part in parts):
            columns[name] = _column(field, parts).iloc[kept].reset_index(drop=True)
    return pd.DataFrame(columns, copy=False)


def _column(field: Field, parts: list[pd.DataFrame]) -> pd.Series:
    """A field along tables of runs, null in those that do not have it; that of a single one is not copied."""
    own = [part[field.name] if field.name in part else pd.Series(np.nan, part.index) for part in parts]
    null = field.kind is int and any(values.isna().any() for values in own)
    kind: Any = object if field.kind is str else "Int64" if null else np.int64 if field.kind is int else np.float64
    typed = [values if values.dtype == kind else values.astype(kind) for values in own]
    return typed[0] if len(typed) == 1 else pd.concat(typed, ignore_index=True)


def _ids(runs: Iterable[Iterable[str]]) -> pd.Series:
    """The ids of runs, of each of which the fragments are given."""
    runs, parts = iter(runs), []
    while ids := [run_id(fragments) for fragments in itertools.islice(runs, IDS_AT_ONCE)]:
        parts.append(pd.Series(ids))
    return pd.concat(parts, ignore_index=True)


def _continue_grid(parents: pd.DataFrame, grid: Grid, axes: tuple[str, ...], phase: int) -> pd.DataFrame:
    """The runs of a later phase: every parent continued at every point of the phase's own `axes`."""
    shape = [len(grid.axes[name]) for name in axes]
    points = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), int)
    of_parent = np.arange(len(parents)).repeat(points.shape[1])
    place = {name: np.tile(own, len(parents)) for name, own in zip(axes, points, strict=True)}
    for name in sorted(grid.axes.keys() - place.keys()):
        # The values as the file has them: a table's column holds whole numbers as floats.
        known = {value: i for i, value in enumerate(grid.axes[name])}
        place[name] = np.array([known[_nan_to_null(value)] for value in parents[name]], int)[of_parent]
    ends, of_end = np.unique((parents["first_epoch"] + parents["epochs"]).to_numpy(int), return_inverse=True)
    varying = {name: (list(grid.axes[name]), index) for name, index in place.items()}
    varying |= {"parent": (parents["run_id"].tolist(), of_parent), "first_epoch": (ends.tolist(), of_end[of_parent])}
    constant = np.zeros(len(of_parent), int)
    # Runs of a kind have the same fields.
    telling = [name for name in place if name in CHOICES or None in grid.axes[name]]
    kinds = pd.DataFrame({name: place[name] for name in telling} | {"": constant})
    parts, rows = list[pd.DataFrame](), list[Any]()
    for own in kinds.groupby(list(kinds), sort=False).indices.values():
        given = {name: values[index[own[0]]] for name, (values, index) in varying.items()}
        first = Run(**dict(grid.shared) | given | {"phase": phase}).fields
        declared = parts_of(first).fields
        columns, texts = dict[str, pd.Series](), list[Iterable[str]]()
        for name, value in first.items():
            field, is_one = declared[name], name not in varying or name in telling
            values, index = ([value], constant) if is_one else varying[name]
            said = [fragment(field, _typed(field, each)) for each in values]
            array = _array(field, values)
            columns[name] = _series(np.broadcast_to(array, len(own)) if is_one else array[index[own]])
            texts.append(itertools.repeat(said[0], len(own)) if is_one else np.array(said, object)[index[own]])
        parts.append(pd.DataFrame({"run_id": _ids(zip(*texts, strict=True))} | columns, copy=False))
        rows.append(own)
    table = united(parts)
    return table if len(parts) == 1 else table.iloc[np.concatenate(rows).argsort()].reset_index(drop=True)


def _series(values: np.ndarray) -> pd.Series:
    """Values as they are: with its type given, pandas makes no text of its own of each object."""
    return pd.Series(values, dtype=values.dtype, copy=False)


def _nan_to_null(value: object) -> object:
    return None if is_null(value) else value


def _expand_grid(grid: Grid) -> list[pd.DataFrame]:
    """The runs of a grid of the first phase, a table for each kind that has fields of its own."""
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    parts = []
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).fields
        declared = parts_of(first).fields
        shape = [len(values) for values in axes.values()]
        columns = dict[str, pd.Series]()
        for name, value in first.items():
            own = _array(declared[name], axes.get(name, [value]))
            along = own.reshape([-1 if axis == name else 1 for axis in axes])
            columns[name] = _series(np.broadcast_to(along, shape).reshape(-1))
        texts = [
            [fragment(declared[name], _typed(declared[name], value)) for value in axes.get(name, [first[name]])]
            for name in sorted(first)
        ]
        said = [fragments for fragments in texts if fragments != [""]]
        parts.append(pd.DataFrame({"run_id": _ids(itertools.product(*said))} | columns, copy=False))
    return parts


def _array(field: Field, values: Any) -> np.ndarray:
    """Values of a field along a column, null ones as NaN."""
    null = any(value is None for value in values)
    kind: Any = object if field.kind is str else int if field.kind is int and not null else float
    return np.array([np.nan if value is None else value for value in values], kind)


def lie_on(grid: Grid, runs: pd.DataFrame) -> np.ndarray:
    """Which rows of a table of runs are among those of a grid; booleans along `runs`. Nothing is written out."""
    result = np.zeros(len(runs), bool)
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).fields
        here = np.ones(len(runs), bool)
        for name in every_field():
            if name not in runs:
                here &= first.get(name) is None
                continue
            allowed = axes.get(name, [first.get(name)])
            null = any(is_null(value) for value in allowed)
            here &= runs[name].astype(object).isin([value for value in allowed if not is_null(value)]).to_numpy() | (
                runs[name].isna().to_numpy() & null
            )
        result |= here
    return result


def _as_said(value: Any) -> Any:
    """A value as it is told from others in an id."""
    return float(value) if isinstance(value, int | float) and abs(value) <= EXACT else value


def _typed(field: Field, value: object) -> object:
    return float(value) if isinstance(value, int) and field.kind is float else value
