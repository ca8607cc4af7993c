"""What compiled functions of Python tell: the names in them, and where their text stands in that of a module."""

import ast
import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

from ghostsweep.models import texts

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
READING = ("read_text", "read_bytes", "read_csv", "read_parquet")
"""Names of methods that read files."""


def chains(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """Globals that a function names, each with the attributes that follow, and ("", METHOD) for those of others."""
    chain: list[str] = []
    for step in [*dis.get_instructions(code), None]:
        operation = step.opname if step else ""
        if operation in ("LOAD_ATTR", "LOAD_METHOD") and step:
            if chain:
                chain.append(step.argval)
            if step.argval in READING:
                yield "", step.argval
            continue
        if operation in ("PUSH_NULL", "NOP", "CACHE"):
            continue
        if chain:
            yield tuple(chain)
            chain = []
        if step and operation in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            chain = [step.argval]
        elif step and operation == "IMPORT_NAME":
            yield "", f"import {step.argval}"
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from chains(const)


@functools.lru_cache(maxsize=1024)
def segment(text: str, code: types.CodeType) -> str:
    """The text of a function in that of its module. Raises OSError where there is none."""
    places = [(p[0], p[2]) for p in code.co_positions() if p[0] and p[2] and p[0] >= code.co_firstlineno]
    fitting: list[tuple[int, str]] = []
    for node in _functions(text).get((code.co_name, code.co_firstlineno), ()):
        ends = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
        if all(ends[0] <= place <= ends[1] for place in places if code.co_name == "<lambda>"):
            said = ast.get_source_segment(text, node) or ""
            fitting.append((len(said), said))
    if not fitting:
        raise OSError("no such function in the text")
    return min(fitting)[1]


@functools.lru_cache(maxsize=64)
def _functions(text: str) -> dict[tuple[str, int], list[Function]]:
    """The functions in a text by name and first line, that of a decorator where there is one."""
    found: dict[tuple[str, int], list[Function]] = {}
    for node in ast.walk(texts.tree_of(text)):
        if isinstance(node, Function):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            found.setdefault((getattr(node, "name", "<lambda>"), first), []).append(node)
    return found


def same_as_text(function: Any, text: str) -> bool:
    """Whether a function is what the text of its module says, which may have been edited since it was imported."""
    code = getattr(function, "__code__", None)
    if code is None:
        return True
    try:
        found = _compiled(text, code.co_filename)
    except (SyntaxError, ValueError):
        return False
    return any(_unplaced(code) == _unplaced(each) for each in found if each.co_qualname == code.co_qualname)


@functools.lru_cache(maxsize=64)
def _compiled(text: str, name: str) -> tuple[types.CodeType, ...]:
    """All that a text is compiled to: itself, its functions, and what is in them."""
    waiting, found = [compile(text, name, "exec")], list[types.CodeType]()
    while waiting:
        found.append(waiting.pop())
        waiting += [const for const in found[-1].co_consts if isinstance(const, types.CodeType)]
    return tuple(found)


def _unplaced(code: types.CodeType) -> tuple[Any, ...]:
    """What a function does, wherever it stands."""
    constants = tuple(
        _unplaced(const) if isinstance(const, types.CodeType) else repr(const) for const in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, constants
