"""Small tables of a sweep file as models whose mistakes are said in our words, in files and in Python."""

import difflib
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ghostsweep.errors import UsageError
from ghostsweep.spec.mistakes import Mistake, either, told, unknown


class Wrong(UsageError):
    """The mistakes in one table; those of the whole table have no name."""

    def __init__(self, table: str, mistakes: list[Mistake]) -> None:
        named = [mistake._replace(name=".".join(filter(None, (table, mistake.name)))) for mistake in mistakes]
        super().__init__(told(named))
        self.mistakes = mistakes


class Strict(BaseModel):
    """A frozen table without further keys. Raises UsageError, a line for each mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **given: Any) -> None:
        known = tuple(type(self).model_fields)
        wrong = [unknown(name, known, fields=False) for name in given if name not in known]
        meant = {name for mistake in wrong for name in mistake.meant}
        try:
            super().__init__(**{name: value for name, value in given.items() if name in known})
        except ValidationError as error:
            found = [_mistake(type(self), dict(item)) for item in error.errors()]
            own = [m for m in found if not (wrong and (not m.name or (m.found is None and m.name in meant)))]
            raise Wrong(type(self).__name__.lower(), wrong + own) from None
        if wrong:
            raise Wrong(type(self).__name__.lower(), wrong)


def _mistake(cls: type[BaseModel], item: dict[str, Any]) -> Mistake:
    key = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "missing":
        return Mistake(key, None, describe(cls, key))
    custom = item["type"] == "value_error"
    allowed = item["msg"].removeprefix("Value error, ") if custom or not key else describe(cls, key)
    near = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        options = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        close = difflib.get_close_matches(item["input"], options, n=1)
        near = f"; did you mean {either(close)}?" if close else ""
    return Mistake(key, item["input"], allowed, near)


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
