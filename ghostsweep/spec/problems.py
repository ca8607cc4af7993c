"""The mistakes of a sweep file, collected so that all of them are reported at once."""

import difflib
import typing
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel, ValidationError

from ghostsweep.errors import UsageError
from ghostsweep.machine.terminal import visible
from ghostsweep.spec.run import Mistake, check

MAX_LINES = 20
"""Mistakes that are written out."""
MAX_DEPTH = 12
"""Tables and lists within each other; a sweep has up to five."""


class _Nothing:
    """A value that no field allows."""


class Problems:
    """Collects every mistake of a file as a line of its own: file, key, found, allowed, nearest name."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, key: str, found: Any, allowed: str, nearest: str = "") -> None:
        shown = str(found) if key in ("TOML", "file name") or found == "nothing" else _written(found)
        shown, key = (text if len(text) <= 120 else text[:117] + "..." for text in (shown, key))
        line = visible(f"{self.source}: {key}: found {shown}; allowed: {allowed}{nearest}")
        if line not in self.lines:
            self.lines.append(line)

    def error(self) -> UsageError:
        more = len(self.lines) - MAX_LINES
        said = [f"{self.source}: and {more} more mistakes"] if more > 0 else []
        return UsageError("\n".join(self.lines[:MAX_LINES] + said))

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

    def tables(self, key: str, value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [self.table(f"{key}[{i}]" if len(value) > 1 else key, item) for i, item in enumerate(value)]
        self.add(key, value, "a list of tables")
        return []

    def plain(self, data: Mapping[str, Any]) -> None:
        """Refuse what no field takes and few programs can print: numbers beyond 64 bits, tables nested without end."""
        waiting: list[tuple[str, Any, int]] = [(key, value, 1) for key, value in data.items()]
        while waiting:  # not by recursion, which nesting would exhaust
            key, value, depth = waiting.pop()
            if type(value) is int and not -(2**63) <= value < 2**63:
                self.add(key, value, "whole numbers of at most 64 bits")
            elif isinstance(value, dict | list) and depth > MAX_DEPTH:
                self.add(key, "more tables and lists within each other", f"at most {MAX_DEPTH} deep")
            elif isinstance(value, dict):
                waiting += [(f"{key}.{name}", item, depth + 1) for name, item in value.items()]
            elif isinstance(value, list):
                waiting += [(key, item, depth + 1) for item in value]

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

    def run(self, fields: Mapping[str, Any], where: str, here: Set[str], only: Set[str] | None) -> None:
        """Check one run of a grid: mistakes in the fields `only` (None: all), each under the table that holds the key.

        Fields in `here` stand in the table `where`, all others in [run]; null ones say something only where the run
        has the field and no default fills it.
        """
        filled, wrong = check(fields)
        known = {mistake.name for mistake in wrong}
        for name in [name for name, value in fields.items() if value is None and name not in known]:
            if name not in filled or filled[name] is not None:
                _, said = check({**fields, name: _Nothing()})
                wrong += [mistake._replace(found="none") for mistake in said if mistake.name == name]
        for mistake in wrong:
            if only is None or mistake.name in only:
                self._mistake(mistake, fields, where if mistake.name in here else "run")

    def _mistake(self, mistake: Mistake, fields: Mapping[str, Any], table: str) -> None:
        name, found, allowed, near = mistake
        if found is None:
            self.add(f"run.{name}", "nothing", f"{allowed}, or an axis of such values")
            return
        if table == "run" and isinstance(found, list | dict):
            near = "; several values belong in [axes]"
        self.add(f"{table}.{name}", found, allowed, near)

    def _pydantic(self, cls: type[BaseModel], where: str, item: Any) -> None:
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "missing":
            self.add(f"{where}.{key}", "nothing", describe(cls, key))
            return
        custom = item["type"] == "value_error"
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


def _written(found: Any) -> str:
    """A value as Python writes it; in words where that is more than Python writes."""
    try:
        return repr(found)
    except ValueError:  # its limit of digits, some thousands
        bits = f" of {found.bit_length():,} bits" if isinstance(found, int) else "s in it that are too long to print"
        return f"a whole number{bits}"
    except RecursionError:
        return "tables in tables without end"


def describe(cls: type[BaseModel], name: str) -> str:
    """What a field allows, in words: its type, options and limits."""
    field = cls.model_fields[name]
    options = [a for a in typing.get_args(field.annotation) if a is not type(None)] or [field.annotation]
    if typing.get_origin(field.annotation) is tuple and field.annotation != tuple[float, float, int]:
        options = [field.annotation]
    kind = options[0]
    if typing.get_origin(field.annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, options))
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    if kind == tuple[float, float, int]:
        return "[first, last, number of points]"
    if list[int] in options:
        return "a whole number, or [start, stop]"
    limits = [
        f"{sign} {getattr(m, attribute)}"
        for m in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(m, attribute)
    ]
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return " ".join([words.get(kind, "a list of whole numbers"), " and ".join(limits)]).strip()
