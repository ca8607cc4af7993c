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
        forms = [value for value in (self.logspace, self.linspace, self.range) if value is not None]
        if len(forms) != 1:
            raise ValueError("exactly one of logspace, linspace, range")
        for spaced in (self.logspace, self.linspace):
            if spaced is not None and not 1 <= spaced[2] <= MAX_RUNS:
                raise ValueError(f"a number of points from 1 to {MAX_RUNS}")
        if self.logspace is not None and max(map(abs, self.logspace[:2])) > 300:
            raise ValueError("exponents of ten from -300 to 300")
        if len(self._range()) > MAX_RUNS:
            raise ValueError(f"at most {MAX_RUNS} values")
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
        spaced = np.geomspace(1, epochs, self.points).round().astype(int) - 1 if self.points else []
        chosen = np.unique(np.concatenate([spaced, self.epochs, [epochs - 1]]).astype(int))
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
    quick_name: str | None = None

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
    overrides = dict(problems.table("quick", data.get("quick", {})))
    record_data = {"record": data.get("record", {}), "fit": data.get("fit", {})}
    quick_record = overrides.pop("record", record_data["record"])
    problems.unknown("quick", overrides, (*FIELDS, "record"))
    for where, table in [
        ("run", shared),
        *((f"axes[{i}]" if len(tables) > 1 else "axes", t) for i, t in enumerate(tables)),
    ]:
        problems.unknown(where, table, tuple(FIELDS))
    full = [
        _grid(problems, shared, table, f"axes[{i}]" if len(tables) > 1 else "axes") for i, table in enumerate(tables)
    ]
    record = _record(problems, record_data["record"], "record")
    fit = problems.model(Fit, "fit", record_data["fit"])
    _check_record(problems, record, full, "record")
    if problems.lines:
        raise problems.error()
    if overrides or quick_record is not record_data["record"]:
        small = [_grid(problems, *_override(shared, table, overrides), "quick") for table in tables]
        quick_rec = _record(problems, quick_record, "quick.record")
        if problems.lines:
            raise problems.error()
        longest = max(max(_values(grid, "epochs")) for grid in small)
        quick_rec = quick_rec.model_copy(update={"epochs": tuple(e for e in quick_rec.epochs if e < longest)})
    elif quick:
        raise UsageError(f"{source}: has no [quick] table, which --quick needs")
    if quick:
        return Sweep(f"{name}-quick", f"{title} (quick)", tuple(small), quick_rec, fit, text, None)
    return Sweep(name, title, tuple(full), record, fit, text, f"{name}-quick" if overrides else None)


def _override(
    shared: Mapping[str, Any], axes: Mapping[str, Any], quick: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put the quick values in place of the ones they replace, whether axis or shared field."""
    is_axis = {key: isinstance(value, list | dict) for key, value in quick.items()}
    new_shared = {k: v for k, v in shared.items() if k not in quick} | {
        k: v for k, v in quick.items() if not is_axis[k]
    }
    new_axes = {k: v for k, v in axes.items() if k not in quick} | {k: v for k, v in quick.items() if is_axis[k]}
    return new_shared, new_axes


def _grid(problems: "_Problems", shared: Mapping[str, Any], axes: Mapping[str, Any], where: str) -> Grid:
    """Write out one grid and check every value on it."""
    written: dict[str, list[Any]] = {}
    for key, value in axes.items():
        if key not in FIELDS:
            continue  # reported by the caller, with the nearest name
        if key in shared:
            problems.add(f"{where}.{key}", value, f"a field that is not given in [run] too (there: {shared[key]!r})")
        if isinstance(value, dict):
            axis = problems.model(Axis, f"{where}.{key}", value)
            value = axis.values() if axis else None
        elif not isinstance(value, list):
            problems.add(f"{where}.{key}", value, "a list, or one of logspace, linspace, range")
            value = None
        if value == []:
            problems.add(f"{where}.{key}", value, "at least one value")
        if value and len({repr(v) for v in value}) < len(value):
            repeated = next(v for i, v in enumerate(value) if v in value[:i])
            problems.add(f"{where}.{key}", repeated, "every value once")
        if value:
            written[key] = value
    known = {key: value for key, value in shared.items() if key in FIELDS}
    grid = Grid(MappingProxyType(known), MappingProxyType(written))
    if len(grid) > MAX_RUNS:
        problems.add(where, f"a grid of {len(grid)} runs", f"at most {MAX_RUNS}")
    # Every combination of the fields that are checked against each other, then the other axes one value at a
    # time; of a list of plain numbers the extremes are enough, since their limits are ranges.
    first = {key: values[0] for key, values in written.items()}
    together = (*CHOICES, "timescale", "dt_ms", "tau_ms", "n_units", "rank", "input_ms", "reaction_ms")
    crossed = [key for key in together if key in written]
    combos = itertools.product(*(written[key] for key in crossed))
    changes = [dict(zip(crossed, combo, strict=True)) for combo in itertools.islice(combos, 100_000)]
    for key in written.keys() - set(crossed):
        changes += [{key: value} for value in _telling(written[key])]
    failed = axes.keys() - written.keys()
    for change in changes:
        problems.run(known | first | change, where, change, failed)
        if len(problems.lines) >= 20:
            break
    return grid


def _telling(values: Sequence[Any]) -> Sequence[Any]:
    """The values whose check stands for the check of all of them."""
    if all(type(v) is int for v in values) or all(type(v) is float and np.isfinite(v) for v in values):
        return sorted({min(values), max(values)})
    return values


def _values(grid: Grid, key: str) -> Sequence[Any]:
    return grid.axes[key] if key in grid.axes else [grid.shared[key]]


def _record(problems: "_Problems", data: Any, where: str) -> Record | None:
    """Read a record table, whose epochs may be written as an axis."""
    if isinstance(data, dict) and isinstance(data.get("epochs"), dict):
        axis = problems.model(Axis, f"{where}.epochs", data["epochs"])
        data = data | {"epochs": axis.values() if axis else []}
    record: Record | None = problems.model(Record, where, data)
    return record


def _check_record(problems: "_Problems", record: Record | None, grids: list[Grid], where: str) -> None:
    if problems.lines or record is None:
        return
    shortest = min(min(_values(grid, "epochs")) for grid in grids)
    for epoch in record.epochs:
        if not 0 <= epoch < shortest:
            problems.add(f"{where}.epochs", epoch, f"from 0 to {shortest - 1} (a run of {shortest} epochs ends there)")


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

    def table(self, key: str, value: Any) -> Mapping[str, Any]:
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

    def run(self, fields: Mapping[str, Any], where: str, changed: Mapping[str, Any], failed: Set[str]) -> None:
        """Validate one run of a grid; a mistake is reported under the table that holds the key.

        `failed` are axes already reported, so not to be called missing as well.
        """
        choices = {"task": FIELDS["task"].defaults.get(str(fields.get("model")))} | dict(fields)
        try:
            Run(**fields)
        except ValidationError as error:
            for item in error.errors():
                key = str(item["loc"][0]) if item["loc"] else ""
                choices.pop(key, None)
                self._pydantic(Run, where if key in changed or not key else "run", item)
        for name in ("model", *required_fields(choices)):
            if name not in fields and name not in failed:
                self.add(f"run.{name}", "nothing", describe(Run, name))

    def _pydantic(self, cls: type[BaseModel], where: str, item: Any) -> None:
        key = str(item["loc"][0]) if item["loc"] else ""
        if cls is Run and item["type"] in ("incomplete", "missing"):
            return
        if item["type"] == "missing":
            self.add(f"{where}.{key}", "nothing", describe(cls, key))
            return
        custom = item["type"] in ("not_applicable", "combination", "whole_steps", "leak", "value_error")
        allowed = item["msg"].removeprefix("Value error, ") if custom or not key else describe(cls, key)
        near = ""
        if item["type"] == "literal_error" and isinstance(item["input"], str):
            options = typing.get_args(item["ctx"]["expected"]) or item["ctx"]["expected"].replace("'", "").split(" or ")
            close = difflib.get_close_matches(
                item["input"], [o.strip() for part in options for o in part.split(",")], n=1
            )
            near = f"; did you mean {close[0]!r}?" if close else ""
        self.add(f"{where}.{key}" if key else where, item["input"], allowed, near)


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
        f"{sign} {getattr(m, attribute):g}"
        for m in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(m, attribute)
    ]
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return " ".join([words.get(kind, "a list of whole numbers"), " and ".join(limits)]).strip()
