"""The planned runs of a sweep: a row each, phase after phase."""

import itertools
import math

import numpy as np
import pandas as pd

from ghostsweep.declare import CHOICES, FIELDS, Run, fragment, is_null, kind, run_id
from ghostsweep.spec import Grid, Sweep


def expand(sweep: Sweep) -> pd.DataFrame:
    """The planned runs of all phases: a row each with run_id and every field, without repetitions.

    Rows of a grid are the product of its axes, the last one fastest: CHOICES and axes with a null, on which other
    fields may depend, then the others by alphabet. Those of a later phase come after all of the phase before.
    """
    phases = [[_expand_grid(grid) for grid in sweep.grids]]
    for index, phase in enumerate(sweep.phases):
        continued = zip(phases[-1], phase.grids, strict=True)
        phases.append([_continue_grid(parents, grid, phase.axes, index + 2) for parents, grid in continued])
    table = pd.concat([part for parts in phases for part in parts], ignore_index=True)
    return table.drop_duplicates("run_id", ignore_index=True)


def _continue_grid(parents: pd.DataFrame, grid: Grid, axes: tuple[str, ...], phase: int) -> pd.DataFrame:
    """The runs of a later phase: every parent continued at every point of the phase's own `axes`."""
    inherited = [name for name in grid.axes if name not in axes]
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*(grid.axes[a] for a in axes))]
    places = {name: {value: i for i, value in enumerate(grid.axes[name])} for name in inherited}
    rows = []
    for parent in parents.to_dict("records"):
        # The values as the file has them: a table's column holds whole numbers as floats.
        values = {name: grid.axes[name][places[name][_nan_to_null(parent[name])]] for name in inherited}
        came_from = {
            "phase": phase,
            "parent": parent["run_id"],
            "first_epoch": parent["first_epoch"] + parent["epochs"],
        }
        for point in points:
            run = Run(**dict(grid.shared) | values | point | came_from)
            rows.append({"run_id": run.run_id} | run.model_dump())
    table = pd.DataFrame(rows, columns=["run_id", *FIELDS])
    return table.astype({name: _numpy_dtype(name) for name in FIELDS}).map(_null_to_nan)


def _null_to_nan(value: object) -> object:
    return np.nan if value is None else value


def _nan_to_null(value: object) -> object:
    return None if is_null(value) else value


def _expand_grid(grid: Grid) -> pd.DataFrame:
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    parts = []
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).model_dump()
        shape = [len(values) for values in axes.values()]
        index = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), int)
        columns = {
            name: np.asarray(list(axes[name]), dtype=_numpy_dtype(name))[index[list(axes).index(name)]]
            if name in axes
            else np.full(math.prod(shape), first[name] if first[name] is not None else np.nan, _numpy_dtype(name))
            for name in FIELDS
        }
        texts = [
            [fragment(first, name, _typed(name, value)) for value in axes.get(name, [first[name]])]
            for name in sorted(FIELDS)
        ]
        said = [fragments for fragments in texts if fragments != [""]]
        ids = [run_id(fragments) for fragments in itertools.product(*said)]
        parts.append(pd.DataFrame({"run_id": ids} | columns))
    return pd.concat(parts, ignore_index=True)


def lie_on(grid: Grid, runs: pd.DataFrame) -> np.ndarray:
    """Which rows of a table of runs are among those of a grid; booleans along `runs`. Nothing is written out."""
    result = np.zeros(len(runs), bool)
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).model_dump()
        here = np.ones(len(runs), bool)
        for name in FIELDS:
            allowed = pd.Series(
                list(axes.get(name, [first[name]])), dtype=_numpy_dtype(name) if name in axes else object
            )
            here &= (runs[name].astype(object) if allowed.dtype == object else runs[name]).isin(allowed).to_numpy() | (
                runs[name].isna().to_numpy() & bool(allowed.isna().any())
            )
        result |= here
    return result


def _numpy_dtype(name: str) -> type:
    return {"string": object, "int64": int, "float64": float}[kind(name)]


def _typed(name: str, value: object) -> object:
    return float(value) if isinstance(value, int) and _numpy_dtype(name) is float else value
