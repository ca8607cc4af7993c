"""Sweep files: TOML in, frozen `Sweep` out, every mistake of a file reported at once."""

import difflib
import itertools
import tomllib
import typing
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ghostsweep.errors import UsageError
from ghostsweep.spec.run import CHOICES, FIELDS, Run, required_fields

MAX_RUNS = 20_000_000
MAX_VALUES = 1_000_000
"""Values on one axis."""
RECENT_EPOCHS = 50
"""Length of the window at the end of a run over which `recent_...` columns are taken."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Axis(_Strict):
    """Values of one axis: exactly one of the three forms (a plain list needs none of them)."""

    logspace: tuple[float, float, int] | None = Field(None, strict=False)
    linspace: tuple[float, float, int] | None = Field(None, strict=False)
    range: int | list[int] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(form is not None for form in (self.logspace, self.linspace, self.range)) != 1:
            raise ValueError("exactly one of logspace, linspace, range")
        if any(form is not None and not 1 <= form[2] <= MAX_VALUES for form in (self.logspace, self.linspace)):
            raise ValueError(f"a number of points from 1 to {MAX_VALUES}")
        if self.logspace is not None and max(map(abs, self.logspace[:2])) > 300:
            raise ValueError("exponents of ten from -300 to 300")
        if len(self._range()) > MAX_VALUES:
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
        """The axis written out; `logspace` takes powers of ten, as numpy does."""
        if self.logspace is not None:
            return np.logspace(*self.logspace).tolist()  # type: ignore[no-any-return]
        if self.linspace is not None:
            return np.linspace(*self.linspace).tolist()  # type: ignore[no-any-return]
        return list(self._range())


class Record(_Strict):
    """Which epochs of every run go into the table of curves."""

    points: int = Field(0, ge=0, le=1_000_000, description="number of log-spaced epochs from first to last")
    epochs: tuple[int, ...] = Field((), description="further epochs, from 0", strict=False)

    def schedule(self, epochs: int) -> np.ndarray:
        """Recorded epochs of a run of `epochs` epochs: sorted, unique, the last one always among them."""
        spaced = np.geomspace(1, epochs, self.points).round() - 1
        chosen = np.unique(np.concatenate([spaced, self.epochs, [epochs - 1]])).astype(int)
        return chosen[chosen < epochs]


class Fit(_Strict):
    """The criterion with which `fit` and `plot` read this sweep's critical learning rate."""

    share: float = Field(
        0.5, ge=0, lt=1, description="share of seeds that must have collapsed; 0 means the first seed that does"
    )


@dataclass(frozen=True)
class Grid:
    """A product of axes over fields that all its runs share."""

    shared: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return int(np.prod([len(values) for values in self.axes.values()], dtype=object))


@dataclass(frozen=True)
class Sweep:
    """A question as data: a union of grids of runs, and what to record of each."""

    name: str
    title: str
    grids: tuple[Grid, ...]
    record: Record
    fit: Fit
    text: str

    @cached_property
    def n_runs(self) -> int:
        """Number of planned runs, those that two grids share counted twice."""
        return sum(map(len, self.grids))


def load(path: str | Path, *, quick: bool = False) -> Sweep:
    """Read a sweep file.

    With `quick`, the file's [quick] table replaces fields, axes and records, and the name ends in `-quick`.
    Raises UsageError that lists every mistake in the file.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start}); allowed: TOML in UTF-8") from None
    return loads(text, name=path.stem, source=str(path), quick=quick)


def loads(text: str, *, name: str, source: str = "<text>", quick: bool = False) -> Sweep:
    """Read a sweep from TOML text; see `load`."""
    problems = _Problems(source)
    if not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        problems.add("file name", name, "letters, digits, _ and -")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.add("TOML", str(error), "valid TOML")
        raise problems.error() from None
    problems.unknown("", data, ("title", "run", "axes", "record", "fit", "quick"))
    title = data.get("title", name)
    if not isinstance(title, str):
        problems.add("title", title, "a text")
    shared = problems.table("run", data.get("run", {}))
    axes = data.get("axes", {})
    tables = [problems.table(f"axes[{i}]", t) for i, t in enumerate(axes)] if isinstance(axes, list) else None
    tables = [problems.table("axes", axes)] if tables is None else tables
    if axes == []:
        problems.add("axes", axes, "at least one table")
    where = [f"axes[{i}]" for i in range(len(tables))] if len(tables) > 1 else ["axes"]
    problems.unknown("run", shared, tuple(FIELDS))
    for place, table in zip(where, tables, strict=True):
        problems.unknown(place, table, tuple(FIELDS))
    grids = tuple(_grid(problems, shared, table, place) for place, table in zip(where, tables, strict=True))
    record = _record(problems, data.get("record", {}), "record")
    fit = problems.model(Fit, "fit", data.get("fit", {}))
    _check_record(problems, record, grids)
    small = _quick(problems, shared, tables, record, data.get("quick"))
    if problems.lines or record is None:
        raise problems.error()
    if not quick:
        return Sweep(name, title, grids, record, fit, text)
    if small is None:
        problems.add("quick", "nothing", "a table of what --quick changes")
        raise problems.error()
    return Sweep(f"{name}-quick", f"{title} (quick)", *small, fit, text)


def _quick(
    problems: "_Problems", shared: dict[str, Any], tables: Sequence[dict[str, Any]], record: Record | None, given: Any
) -> tuple[tuple[Grid, ...], Record] | None:
    """The grids and the record with the values of [quick] in place; None without such a table.

    Epochs of an inherited record that the shorter runs do not reach are left out.
    """
    if given is None:
        return None
    overrides = dict(problems.table("quick", given))
    own_record = overrides.pop("record", None)
    problems.unknown("quick", overrides, (*FIELDS, "record"))
    chosen = record if own_record is None else _record(problems, own_record, "quick.record")
    # Mistakes in all else are reported for the full grid, unless a change made them.
    own = overrides.keys() if problems.lines else FIELDS.keys()
    grids = tuple(_grid(problems, *_override(shared, table, overrides), "quick", own) for table in tables)
    if problems.lines or chosen is None:
        return None
    longest = max(max(_values(grid, "epochs")) for grid in grids)
    return grids, chosen.model_copy(update={"epochs": tuple(e for e in chosen.epochs if e < longest)})


def _override(
    shared: dict[str, Any], axes: dict[str, Any], quick: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put the quick values in place of the ones they replace, whether axis or shared field."""
    is_axis = {key: isinstance(value, list | dict) for key, value in quick.items()}
    new_shared = {key: value for key, value in (shared | quick).items() if not is_axis.get(key, key not in shared)}
    new_axes = {key: value for key, value in (axes | quick).items() if is_axis.get(key, key in axes)}
    return new_shared, new_axes


def _grid(
    problems: "_Problems", shared: dict[str, Any], axes: dict[str, Any], where: str, only: Set[str] = frozenset(FIELDS)
) -> Grid:
    """Write out one grid and check every value on it, reporting mistakes in the fields `only`."""
    written: dict[str, list[Any]] = {}
    for key, value in axes.items():
        if key in FIELDS:  # others are reported by the caller, with the nearest name
            values = _axis(problems if key in only else _Problems(""), f"{where}.{key}", value)
            if key in shared and key in only:
                problems.add(f"{where}.{key}", value, f"a field not given in [run] too (there: {shared[key]!r})")
            if values:
                written[key] = values
    known = {key: value for key, value in shared.items() if key in FIELDS}
    grid = Grid(MappingProxyType(known), MappingProxyType(written))
    if len(grid) > MAX_RUNS:
        problems.add(where, f"a grid of {len(grid)} runs", f"at most {MAX_RUNS}")
    # Every combination of the fields that are checked against each other, then the other axes one value at a
    # time; of a list of plain numbers the extremes are enough, since their limits are ranges.
    first = {key: values[0] for key, values in written.items()}
    together = (*CHOICES, "timescale", "dt_ms", "tau_ms", "n_units", "rank", "input_ms", "reaction_ms")
    together += ("dt_steps", "nesterov", "final_learning_rate")
    crossed = [key for key in together if key in written]
    combos = itertools.product(*(written[key] for key in crossed))
    changes = [dict(zip(crossed, combo, strict=True)) for combo in itertools.islice(combos, 100_000)]
    for key in written.keys() - set(crossed):
        changes += [{key: value} for value in _telling(written[key])]
    failed = axes.keys() - written.keys()
    for change in changes:
        here = only if where == "quick" else change.keys()
        elsewhere = written.keys() - change.keys()  # axes that another change checks
        problems.run(known | first | change, where, here, only - failed - elsewhere)
        if len(problems.lines) >= 20:
            break
    return grid


def _axis(problems: "_Problems", place: str, given: Any) -> list[Any]:
    """The values of one axis; empty where there is a mistake."""
    if isinstance(given, dict):
        axis = problems.model(Axis, place, given)
        if axis is None:
            return []
        values: list[Any] = axis.values()
    elif isinstance(given, list):
        values = given
    else:
        problems.add(place, given, "a list, or one of logspace, linspace, range")
        return []
    if not values:
        problems.add(place, given, "at least one value")
    elif len({v if isinstance(v, int | float) else repr(v) for v in values}) < len(values):
        repeated = next(v for i, v in enumerate(values) if v in values[:i])
        problems.add(place, repeated, "every value once")
    return values


def _telling(values: Sequence[Any]) -> Sequence[Any]:
    """The values whose check stands for the check of all of them."""
    if all(type(v) is int for v in values) or all(type(v) is float and np.isfinite(v) for v in values):
        return sorted({min(values), max(values)})
    return values


def _values(grid: Grid, key: str) -> Sequence[Any]:
    return grid.axes[key] if key in grid.axes else [grid.shared[key]] if key in grid.shared else []


def _record(problems: "_Problems", data: Any, where: str) -> Record | None:
    """Read a record table, whose epochs may be written as an axis."""
    if isinstance(data, dict) and isinstance(data.get("epochs"), dict):
        axis = problems.model(Axis, f"{where}.epochs", data["epochs"])
        data = data | {"epochs": axis.values() if axis else []}
    record: Record | None = problems.model(Record, where, data)
    return record


def _check_record(problems: "_Problems", record: Record | None, grids: Sequence[Grid]) -> None:
    lengths = [epochs for grid in grids for epochs in _values(grid, "epochs") if type(epochs) is int and epochs > 0]
    if record is None or not lengths:
        return
    shortest = min(lengths)
    for epoch in record.epochs:
        if not 0 <= epoch < shortest:
            problems.add("record.epochs", epoch, f"from 0 to {shortest - 1} (a run of {shortest} epochs ends there)")


class _Problems:
    """Collects every mistake of a file as a line of its own: file, key, found, allowed, nearest name."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, key: str, found: Any, allowed: str, nearest: str = "") -> None:
        shown = found if key in ("TOML", "file name") or found == "nothing" else repr(found)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        line = f"{self.source}: {key}: found {shown}; allowed: {allowed}{nearest}"
        if line not in self.lines:
            self.lines.append(line)

    def error(self) -> UsageError:
        return UsageError("\n".join(self.lines))

    def unknown(self, where: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
        for key in table:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                self.add(
                    f"{where}.{key}" if where else key,
                    key,
                    "one of " + ", ".join(allowed),
                    f"; did you mean {near[0]!r}?" if near else "",
                )

    def table(self, key: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.add(key, value, "a table of fields")
        return {}

    def model(self, cls: type[Any], key: str, data: Any) -> Any:
        """Validate `data` as a small model; None where that fails."""
        if not isinstance(data, dict):
            self.add(key, data, "a table with " + ", ".join(cls.model_fields))
            return None
        self.unknown(key, data, tuple(cls.model_fields))
        data = {k: v for k, v in data.items() if k in cls.model_fields}
        try:
            return cls(**data)
        except ValidationError as error:
            for item in error.errors():
                self._pydantic(cls, key, item)
            return None

    def run(self, fields: Mapping[str, Any], where: str, here: Set[str], only: Set[str]) -> None:
        """Validate one run of a grid: mistakes in the fields `only`, each under the table that holds the key.

        Fields in `here` stand in the table `where`, all others in [run].
        """
        choices = {"task": FIELDS["task"].defaults.get(str(fields.get("model")))} | dict(fields)
        try:
            Run(**fields)
        except ValidationError as error:
            for item in error.errors():
                key = str(item["loc"][0]) if item["loc"] else ""
                choices.pop(key, None)
                if key in only:
                    self._pydantic(Run, where if key in here else "run", item)
        for name in ("model", *required_fields(choices)):
            if name not in fields and name in only:
                self.add(f"run.{name}", "nothing", f"{describe(Run, name)}, or an axis of such values")

    def _pydantic(self, cls: type[BaseModel], where: str, item: Any) -> None:
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "missing":
            self.add(f"{where}.{key}", "nothing", describe(cls, key))
            return
        custom = item["type"] in ("not_applicable", "combination", "whole_steps", "leak", "value_error")
        allowed = item["msg"].removeprefix("Value error, ") if custom or not key else describe(cls, key)
        near = ""
        if item["type"] == "literal_error" and isinstance(item["input"], str):
            options = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(item["input"], options, n=1)
            near = f"; did you mean {close[0]!r}?" if close else ""
        if where == "run" and isinstance(item["input"], list | dict):
            near = "; several values belong in [axes]"
        found = "nothing" if item["input"] is None else item["input"]
        self.add(f"{where}.{key}" if key else where, found, allowed, near)


def describe(cls: type[BaseModel], name: str) -> str:
    """What a field allows, in words: its type, options and limits."""
    field = cls.model_fields[name]
    options = [a for a in typing.get_args(field.annotation) if a is not type(None)] or [field.annotation]
    kind = options[0]
    if typing.get_origin(field.annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, options))
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    if name in Axis.model_fields and cls is Axis:
        return "a whole number, or [start, stop]" if name == "range" else "[first, last, number of points]"
    limits = [
        f"{sign} {getattr(m, attribute)}"
        for m in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(m, attribute)
    ]
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return " ".join([words.get(kind, "a list of whole numbers"), " and ".join(limits)]).strip()
