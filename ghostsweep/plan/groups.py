"""What a sweep consists of, counted: groups of runs that share a compiled program, table rows and bytes on disk."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ghostsweep.declare import Shape, is_null
from ghostsweep.models.sizes import cost, n_parameters
from ghostsweep.plan.expanding import may_repeat
from ghostsweep.plan.planned import Plan
from ghostsweep.spec import CHOICES, Grid, Run, Sweep, parts_of, shape_of

RUN_BYTES = 100
"""Bytes on disk of a row of runs.parquet: 68 to 215 in tables of 300 to 5,920 runs, 66 with its curve in a million."""
CURVE_BYTES = 17
"""Bytes on disk of a row of curves.parquet: 7 to 29 in the tables of 11 sweeps."""


@dataclass(frozen=True)
class Group:
    """Runs of one shape, phase and number of epochs; `example` has the fields of one of them."""

    shape: Shape
    epochs: int
    phase: int
    runs: int
    example: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Core-seconds of training, by the constants of the plan."""
        if not self.example:  # of a model that was not executed: nobody knows
            return math.nan
        return cost(self.shape).epoch_seconds * self.epochs * self.runs


def planned(sweep: Sweep) -> list[Group]:
    """The groups of a whole sweep, earlier phases first.

    They are counted from the axes of each grid, of which only those are walked that another program or number of
    epochs belongs to; where two grids may share runs, only their ids tell.
    """
    for code in sweep.code:
        code.load()
    if may_repeat(sweep):
        return of(Plan.of(sweep))
    found: dict[tuple[int, Shape, int], Group] = {}
    for phase, grid, runs in sweep.every_grid():
        for group in _of_grid(grid, phase, runs):
            before = found.setdefault((phase, group.shape, group.epochs), replace(group, runs=0))
            found[phase, group.shape, group.epochs] = replace(before, runs=before.runs + group.runs)
    return list(found.values())


def _of_grid(grid: Grid, phase: int, runs: int) -> list[Group]:
    """The groups of one phase of a product of axes, which has `runs` runs, each point of the grid as many."""
    walked = [_telling(grid, name) for name in grid.axes if name != "epochs"]
    lengths = [(length, 1) for length in grid.axes.get("epochs", [grid.shared.get("epochs")])]
    came_from = {} if phase == 1 else {"phase": phase, "parent": "0" * 16}
    names, each = [name for name in grid.axes if name != "epochs"], runs // len(grid)
    found: dict[tuple[Shape, int], Group] = {}
    for point in itertools.product(*walked):
        given = dict(zip(names, (value for value, _ in point), strict=True))
        example = Run(**dict(grid.shared) | given | came_from | {"epochs": lengths[0][0]}).fields
        shape = shape_of(example)
        count = each * int(np.prod([number for _, number in point], dtype=object))
        for length, _ in lengths:
            before = found[shape, length].runs if (shape, length) in found else 0
            found[shape, length] = Group(shape, length, phase, before + count, example | {"epochs": length})
    return list(found.values())


def _telling(grid: Grid, name: str) -> list[tuple[Any, int]]:
    """Values of an axis of which each stands for a number of others that give the same program."""
    deciding, random = _deciding(grid)
    found: dict[Any, list[Any]] = {}
    for value in grid.axes[name]:
        if name in random:
            key: Any = (value or 0) > 0
        else:
            key = value if name in deciding else is_null(value)
        found.setdefault(key, []).append(value)
    return [(values[0], len(values)) for values in found.values()]


def _deciding(grid: Grid) -> tuple[set[str], set[str]]:
    """Fields whose value decides about a program, and those of which it matters whether they are above 0."""
    kinds = [grid.axes.get(name, [grid.shared.get(name)]) for name in CHOICES]
    parts = [parts_of(dict(zip(CHOICES, values, strict=True))) for values in itertools.product(*kinds)]
    random = {field.name for part in parts for field in part.fields.values() if field.random}
    return {*CHOICES}.union(*(part.static() for part in parts)) - random, random


def of(planned: Plan) -> list[Group]:
    """The groups of a plan, earlier phases first."""
    (shapes, which), runs = planned.programs, planned.runs
    keys = [runs["phase"].to_numpy(), which, runs["epochs"].to_numpy()]
    found = []
    for key, rows in runs.groupby(keys, sort=False).indices.items():
        phase, index, epochs = map(int, key)  # type: ignore[call-overload]
        example = {
            str(name): None if is_null(value) else value for name, value in zip(runs, runs.iloc[rows[0]], strict=True)
        }
        found.append(Group(shapes[index], epochs, phase, len(rows), example))
    return sorted(found, key=lambda group: group.phase)


def curve_rows(groups: Iterable[Group], sweep: Sweep) -> int:
    """Rows that the table of curves has of these groups."""
    return sum(len(sweep.record_of(group.phase).schedule(group.epochs)) * group.runs for group in groups)


def disk_bytes(groups: Iterable[Group], sweep: Sweep) -> float:
    """Bytes that the results of these groups take: both tables, snapshots, and what later phases begin from."""
    last, total = len(sweep.phases) + 1, 0.0
    for group in groups:
        record, values = sweep.record_of(group.phase), n_parameters(group.shape)
        size = 8 if group.shape.dtype == "float64" else 4
        total += group.runs * (RUN_BYTES + CURVE_BYTES * len(record.schedule(group.epochs)))
        if record.snapshots is not None:
            kept = group.runs * math.prod(_share(sweep, group.phase, *item) for item in record.snapshots.runs.items())
            total += kept * len(record.snapshots.schedule(group.epochs)) * values * size
        if group.phase < last:
            total += group.runs * values * size * 3  # the parameters, and two moments at most
    return total


def _share(sweep: Sweep, phase: int, name: str, values: Sequence[Any]) -> float:
    """Share of a phase's runs that have one of these values in a field."""
    grids = sweep.grids if phase == 1 else sweep.phases[phase - 2].grids
    return min(1.0, len(values) / min(len(grid.axes.get(name, [None])) for grid in grids))
