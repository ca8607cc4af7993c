"""Fields of a sweep file that are given by other fields: epochs = "max(1000, 30 / learning_rate)".

Numbers, names of fields, + - * / ** and parentheses, min, max, round, ceil and floor. Written out when the file is
read, so that every run has a plain number.
"""

import ast
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ghostsweep.declare.field import Field
from ghostsweep.spec.mistakes import nearest
from ghostsweep.spec.parts import every_field
from ghostsweep.spec.problems import Problems
from ghostsweep.spec.recording import axis_values
from ghostsweep.spec.run import check

MAX_LENGTH = 500
"""Characters of an expression."""
MAX_GRIDS = 2_000
"""Grids that one is written out as."""
_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, tuple[Callable[..., float], int]] = {
    "min": (min, 0),
    "max": (max, 0),
    "round": (round, 1),
    "ceil": (math.ceil, 1),
    "floor": (math.floor, 1),
}
"""Each with how many arguments it takes, 0: two or more."""
ALLOWED = "numbers, names of fields, + - * / ** ( ), min, max, round, ceil and floor"


class Expression(NamedTuple):
    """A checked expression: its text, its tree, and the fields that it names."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    def value(self, fields: Mapping[str, float]) -> float:
        """What it is for these numbers, whole numbers as such; ArithmeticError or ValueError where it is not finite."""
        found = _value(self.tree, fields)
        if not math.isfinite(found) or abs(found) >= 2**63 and type(found) is int:
            raise ValueError
        return found


def parse(text: str) -> Expression:
    """Read an expression. Raises ValueError that says what there is in it that is not allowed."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{len(text)} characters; allowed: at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{text!r}; allowed: an expression of {ALLOWED}") from None
    return Expression(text, tree, tuple(dict.fromkeys(_names(tree))))


def _is_word(text: str) -> bool:
    """Whether a text is one word or number, which is no expression but the mistake of a value as text."""
    return text.strip().replace(".", "").replace("_", "").isalnum()


def _names(node: ast.expr) -> Iterable[str]:
    """Names of the fields in a tree; whatever is not allowed in it is an error."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            pass
        case ast.Name(id=name):
            yield name
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield from _names(left)
            yield from _names(right)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            yield from _names(operand)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            wanted = _FUNCTIONS[name][1]
            if len(args) != wanted if wanted else len(args) < 2:
                raise ValueError(
                    f"{name} of {len(args)}; allowed: {name} of {'one number' if wanted else 'two or more'}"
                )
            for each in args:
                yield from _names(each)
        case _:
            raise ValueError(f"{ast.unparse(node)!r} in it; allowed: {ALLOWED}")


def _value(node: ast.expr, fields: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=value):
            return value  # type: ignore[return-value]
        case ast.Name(id=name):
            return fields[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, fields), _value(right, fields))
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, fields))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][0](*(_value(each, fields) for each in args))
    raise ValueError


Tables = tuple[dict[str, Any], dict[str, Any]]
"""What all runs of a grid share, and its axes as the file has them."""


def written_out(problems: Problems, shared: Mapping[str, Any], axes: Mapping[str, Any], where: str) -> list[Tables]:
    """A grid with numbers in place of expressions: as many grids as they have different values.

    A field of whole numbers takes whole ones, a number of epochs the nearest one. Along the last of the axes that are
    named, values for which all expressions are the same stay together. Where one is wrong, 1 stands for it.
    """
    known = every_field()
    numeric = {name for name in shared if name in known and known[name].kind in (int, float)}
    given = {n: v for n, v in shared.items() if n in numeric and isinstance(v, str) and (v in known or not _is_word(v))}
    if not given:
        return [(dict(shared), dict(axes))]
    plain, found = {name: value for name, value in shared.items() if name not in given}, dict[str, Expression]()
    failed = [(plain | dict.fromkeys(given, 1), dict(axes))]
    place = {name: f"{'run' if where.startswith('axes') else where}.{name}" for name in given}
    for name, text in given.items():
        try:
            found[name] = parse(text)
        except ValueError as error:
            problems.say(place[name], f"found {error}")
    named = [name for name in axes if any(name in each.names for each in found.values())]
    values = {name: axis_values(Problems(""), f"{where}.{name}", axes[name]) for name in named}
    if len(found) < len(given) or not all(values.values()):  # of an axis the caller says what is wrong
        return failed
    if math.prod(map(len, values.values())) > MAX_GRIDS * 100:
        problems.say(
            next(iter(place.values())), f"found more than {MAX_GRIDS * 100} combinations of {', '.join(named)}"
        )
        return failed
    grids: dict[tuple[Any, ...], list[Any]] = {}
    others = {name: value[0] for name, value in ((n, axis_values(Problems(""), n, axes[n])) for n in axes) if value}
    for point in itertools.product(*values.values()):
        here = dict(zip(named, point, strict=True))
        filled, _ = check(plain | others | here)
        numbers = []
        for name, expression in found.items():
            said, number = _of(expression, filled, given, known[name])
            if said:
                problems.say(place[name], said)
                return failed
            if type(number) is not known[name].kind:
                problems.say(
                    place[name],
                    f"found {found[name].text!r}, which is {number:.12g} at {_at(found[name], filled)}"
                    "; allowed: a whole number; round(...), ceil(...) or floor(...) make one",
                )
                return failed
            numbers.append(number)
        grids.setdefault((*point[:-1], *numbers), []).append(point[-1:])
    if len(grids) > MAX_GRIDS:
        problems.say(next(iter(place.values())), f"found {len(grids)} different values; allowed: at most {MAX_GRIDS}")
        return failed
    result = []
    for key, last in grids.items():
        fixed = dict(zip(named[:-1], ([value] for value in key), strict=False))
        if named:
            fixed[named[-1]] = [value for (value,) in last]
        number_of = dict(zip(found, key[len(named[:-1]) :], strict=True))
        result.append((plain | number_of, {name: fixed.get(name, value) for name, value in axes.items()}))
    return result


def _of(
    expression: Expression, filled: Mapping[str, Any], given: Mapping[str, Any], field: Field
) -> tuple[str, float | int]:
    """What is wrong with an expression for a run, in words, and its number where nothing is."""
    for name in expression.names:
        if name in given:
            return f"{name!r} in it is given by an expression too; allowed: fields that are given by numbers", 0
        if name not in filled:
            near = nearest(name, tuple(filled))
            asked = f"; did you mean {near[0]!r}?" if near else ""
            return f"no such field of these runs: {name!r} in {expression.text!r}{asked}", 0
        if type(filled[name]) not in (int, float):
            found = "null" if filled[name] is None else repr(filled[name])
            return f"{name!r} in it is {found}; allowed: fields that are numbers", 0
    try:
        value = expression.value(filled)
    except (ArithmeticError, ValueError):
        at = _at(expression, filled)
        return f"found {expression.text!r}, which is no finite number at {at}; allowed: one that is", 0
    if field.kind is float:
        return "", float(f"{float(value):.12g}")
    short = value if type(value) is int else float(f"{value:.12g}")
    is_whole = field.unit == "epochs" or short == int(short)
    return "", (round(value) if field.unit == "epochs" else int(short)) if is_whole else short


def _at(expression: Expression, filled: Mapping[str, Any]) -> str:
    """Where an expression has its value, in words."""
    return ", ".join(f"{name} = {filled[name]!r}" for name in expression.names)
