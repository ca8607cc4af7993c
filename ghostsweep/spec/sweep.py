"""A question as data: grids of runs, phases that continue them, and what to keep of each."""

import decimal
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ghostsweep.errors import UsageError
from ghostsweep.spec.code import Code
from ghostsweep.spec.initial import Initial
from ghostsweep.spec.strict import Strict

MAX_VALUES = 1_000_000
"""Values on one axis."""
RECENT_EPOCHS = 50
"""Length of the window at the end of a run over which `recent_...` columns are taken."""


class Axis(Strict):
    """Values of one axis: exactly one of the four forms (a plain list needs none of them).

    logspace: from 10^first to 10^last; geomspace: from first to last, as in NumPy. Both evenly on a log scale.
    """

    logspace: tuple[float, float, int] | None = Field(None, strict=False)
    geomspace: tuple[float, float, int] | None = Field(None, strict=False)
    linspace: tuple[float, float, int] | None = Field(None, strict=False)
    range: int | list[int] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        spaced = (self.logspace, self.geomspace, self.linspace)
        if sum(form is not None for form in (*spaced, self.range)) != 1:
            raise ValueError(f"exactly one of {', '.join(type(self).model_fields)}")
        if any(form is not None and not 1 <= form[2] <= MAX_VALUES for form in spaced):
            raise ValueError(f"a number of points from 1 to {MAX_VALUES}")
        if self.logspace is not None and max(map(abs, self.logspace[:2])) > 300:
            raise ValueError("exponents of ten from -300 to 300")
        if self.geomspace is not None and min(self.geomspace[:2]) <= 0:
            raise ValueError("first and last value of geomspace above 0")
        try:
            too_many = len(self._range()) > MAX_VALUES
        except OverflowError:  # more than a machine's whole numbers count
            too_many = True
        if too_many:
            raise ValueError(f"at most {MAX_VALUES} values")
        return self

    def _range(self) -> Sequence[int]:
        if self.range is None:
            return ()
        bounds = [self.range] if isinstance(self.range, int) else self.range
        if len(bounds) not in (1, 2, 3) or (len(bounds) == 3 and bounds[2] == 0):
            raise ValueError("range = stop, [start, stop] or [start, stop, step], step not 0")
        return range(*bounds)

    def values(self) -> list[Any]:
        """The axis written out; what is even on a log scale to twelve digits, the ends of `geomspace` as given."""
        if self.logspace is not None:
            return [float(f"{10.0**exponent:.12g}") for exponent in _spaced(*self.logspace)]
        if self.geomspace is not None:
            return _geometric(*self.geomspace)
        if self.linspace is not None:
            return _spaced(*self.linspace)
        return list(self._range())


def _spaced(first: float, last: float, points: int) -> list[float]:
    """Evenly spaced values, by exact fractions of the decimals given: the same where a grid grows by whole steps."""
    low, high = (Fraction(repr(end)) for end in (first, last))
    if points == 1:
        return [first]
    unit = low.denominator * high.denominator * (points - 1)
    start, step = int(low * unit), int((high - low) * unit) // (points - 1)
    return [(start + index * step) / unit for index in range(points)]


def _geometric(first: float, last: float, points: int) -> list[float]:
    """Evenly log-spaced values from the decimals given: the same where a grid grows by whole steps.

    In between to twelve digits, of decimals so long that no way of coming to a value changes them.
    """
    if points == 1:
        return [first]
    with decimal.localcontext(prec=60):
        value, end = (decimal.Decimal(repr(each)) for each in (first, last))
        ratio = ((end.ln() - value.ln()) / (points - 1)).exp()
        between = [float(f"{(value := value * ratio):.12g}") for _ in range(points - 2)]
    return [first, *between, last]


class Snapshots(Strict):
    """The runs whose parameters are kept, and when."""

    epochs: tuple[int, ...] = Field(
        description="epochs before whose update the parameters are kept; the number of epochs: those at the end",
        strict=False,
    )
    runs: Mapping[str, tuple[Any, ...]] = Field({}, description="values of fields that choose the runs; none: all")

    def schedule(self, epochs: int) -> np.ndarray:
        """Epochs of the snapshots of a run of `epochs` epochs: sorted, unique."""
        return np.unique(np.array([epoch for epoch in self.epochs if epoch <= epochs], int))

    def chosen(self, runs: Any) -> np.ndarray:
        """Which rows of a table of runs are kept; numbers match to nine digits."""
        chosen = np.ones(len(runs["seed"]), bool)
        for name, values in self.runs.items():
            column = np.asarray(runs[name])
            is_value = [
                np.isclose(column.astype(float), value, rtol=1e-9, atol=0)
                if isinstance(value, int | float)
                else column == value
                for value in values
            ]
            chosen &= np.any(is_value, axis=0)
        return chosen


class Record(Strict):
    """What is kept of every run beside its row: epochs for the table of curves, and snapshots of parameters."""

    points: int = Field(0, ge=0, le=1_000_000, description="number of log-spaced epochs from first to last")
    epochs: tuple[int, ...] = Field((), description="further epochs, from 0", strict=False)
    snapshots: Snapshots | None = None

    def schedule(self, epochs: int) -> np.ndarray:
        """Recorded epochs of a run of `epochs` epochs: sorted, unique, the last one always among them."""
        spaced = np.geomspace(1, epochs, self.points).round() - 1
        chosen = np.unique(np.concatenate([spaced, self.epochs, [epochs - 1]])).astype(int)
        return chosen[chosen < epochs]


class Fit(Strict):
    """The criterion with which `analyze` and `plot` read this sweep's critical learning rate."""

    share: float = Field(
        0.5, ge=0, lt=1, description="share of seeds that must have collapsed; 0 means the first seed that does"
    )


class Refine(Strict):
    """Train only the learning rates of the grid that lie around a boundary: a coarse grid first, then the brackets."""

    axis: Literal["learning_rate"] = Field("learning_rate", description="the axis along which boundaries are sought")
    levels: int = Field(ge=1, le=20, description="how often a bracket is halved; the first grid has every 2^levels-th")


@dataclass(frozen=True)
class Grid:
    """A product of axes over fields that all its runs share."""

    shared: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return int(np.prod([len(values) for values in self.axes.values()], dtype=object))


def spans(axes: Mapping[str, Sequence[object]]) -> list[str]:
    """Axes in words: the field, its first and last value, and how many there are."""
    return [
        f"{key} {values[0]} .. {values[-1]} ({len(values)})" if len(values) > 1 else f"{key} {values[0]}"
        for key, values in axes.items()
    ]


@dataclass(frozen=True)
class Phase:
    """What a later phase does from the end of every run of the phase before.

    `grids` has one grid for each of the phase before, with its fields and axes where this phase does not replace
    them; `axes` names those of this phase, over which every run is continued.
    """

    axes: tuple[str, ...]
    grids: tuple[Grid, ...]
    record: Record


@dataclass(frozen=True)
class Sweep:
    """A question as data: a union of grids of runs, phases that continue them, and what to record of each."""

    name: str
    title: str
    grids: tuple[Grid, ...]
    phases: tuple[Phase, ...]
    record: Record
    fit: Fit
    refine: Refine | None
    text: str
    initial: Initial | None = None
    code: tuple[Code, ...] = ()
    """Users' models and tasks, as text."""
    executed: bool = True
    """Whether these were executed, and the fields of the runs checked."""

    @cached_property
    def n_runs(self) -> int:
        """Number of planned runs of all phases, those that two grids share counted twice."""
        return sum(runs for _, _, runs in self.every_grid())

    @cached_property
    def n_curve_rows(self) -> int:
        """Number of rows of their table of curves."""
        rows = 0
        for phase, grid, runs in self.every_grid():
            record = self.record_of(phase)
            lengths = grid.axes.get("epochs", [grid.shared.get("epochs")])
            rows += runs // len(lengths) * sum(len(record.schedule(length)) for length in lengths)
        return rows

    def __repr__(self) -> str:
        axes = "; ".join(", ".join(spans(grid.axes)) or "one run" for grid in self.grids)
        return f"Sweep {self.name}: {self.title}\n  {self.n_runs:,} runs: {axes}"

    def save(self, folder: str | Path = "sweeps", *, overwrite: bool = False) -> Path:
        """Write it as `folder`/NAME.toml, for the command line and for others; return the path.

        Raises UsageError where another text is there already, unless `overwrite`, and where a model or task of it is
        in no file.
        """
        path = Path(folder) / f"{self.name}.toml"
        if any("@" in str(value) for grid in self.grids for value in grid.shared.values()) and not self.code:
            raise UsageError(f"{path}: its model or task is in no file; allowed: one in a .py file")
        if path.exists() and not overwrite and path.read_text() != self.text:
            raise UsageError(f"{path}: there is another text already; overwrite=True replaces it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)
        return path

    @property
    def digest(self) -> str:
        """Of its text and of those of users' models and tasks: sixteen hexadecimal digits."""
        texts = [self.text, *(code.digest for code in self.code)]
        return hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()

    def every_grid(self) -> Iterator[tuple[int, Grid, int]]:
        """Every grid of every phase: the phase, from 1, the grid and its number of runs."""
        counts = [len(grid) for grid in self.grids]
        yield from zip(itertools.repeat(1), self.grids, counts)
        for number, phase in enumerate(self.phases, 2):
            points = math.prod(len(phase.grids[0].axes[name]) for name in phase.axes)
            counts = [points * count for count in counts]
            yield from zip(itertools.repeat(number), phase.grids, counts)

    def record_of(self, phase: int) -> Record:
        """What is kept of the runs of a phase, counted from 1."""
        return self.record if phase == 1 else self.phases[phase - 2].record
