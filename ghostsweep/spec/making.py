"""Sweeps made in Python: the text that a sweep file would have, read as one."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ghostsweep.declare.model import Model, Task
from ghostsweep.errors import UsageError
from ghostsweep.models import registry
from ghostsweep.spec import code, declaring
from ghostsweep.spec.load import loads
from ghostsweep.spec.recording import NULL
from ghostsweep.spec.sweep import Sweep

Axes = Mapping[str, Any]


def sweep(
    name: str,
    *,
    axes: Axes | Sequence[Axes],
    title: str = "",
    initial: str | Path = "",
    record: Mapping[str, Any] | None = None,
    phases: Sequence[Mapping[str, Any]] = (),
    fit: Mapping[str, Any] | None = None,
    refine: Mapping[str, Any] | None = None,
    quick: Mapping[str, Any] | None = None,
    **run: Any,
) -> Sweep:
    """A sweep from the tables of a sweep file as Python has them; `run` are the fields that all its runs share.

        ghostsweep.sweep("mine", model="rank_one", epochs=3_000,
                         axes={"timescale": [5, 10], "learning_rate": np.logspace(-3, 0, 13), "seed": range(8)})

    Values of an axis are a list, an array, a range, or as in a file {"geomspace": [1e-3, 1, 13]}; None in a list is a
    field that is not given. Numbers are taken to twelve digits, as in files, so that the same values are the same
    runs. `model` and `task` are names, files, or a Model and a Task themselves. `Sweep.save` writes the file.
    Raises UsageError with a line for every mistake.
    """
    tables = [axes] if isinstance(axes, Mapping) else list(axes)
    parts: dict[str, Any] = {"title": title or name}
    if initial:
        parts["initial"] = str(Path(initial).absolute())
    parts |= {"run": run, "axes": tables[0] if len(tables) == 1 else tables}
    optional = {"record": record, "phases": list(phases), "fit": fit, "refine": refine, "quick": quick}
    text = _text(parts | {key: value for key, value in optional.items() if value})
    return loads(text, name=name, source=name, folder=Path.cwd())


def _text(parts: Mapping[str, Any]) -> str:
    """The parts of a sweep as TOML, a table each."""
    lines = []
    for key, value in parts.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *_lines(key, value)]
        elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            for each in value:
                lines += ["", f"[[{key}]]", *_lines(key, each)]
        else:
            lines.append(f"{key} = {_value(key, value)}")
    return "\n".join(lines) + "\n"


def _lines(place: str, table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(f'{place}.{key}', value)}" for key, value in table.items() if value is not None]


def _key(key: object) -> str:
    text = str(key)
    return text if text.isascii() and text.replace("_", "").replace("-", "").isalnum() else json.dumps(text)


def _value(place: str, value: Any) -> str:
    """A value as TOML writes it. Raises UsageError for one that it has no way to write."""
    if isinstance(value, Model | Task):
        value = _reference(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(f"{value:.12g}"))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(f'{place}.{key}', each)}" for key, each in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, Sequence | set | frozenset):
        return f"[{', '.join(_value(place, NULL if each is None else each) for each in value)}]"
    raise UsageError(f"{place}: found {value!r}; allowed: a number, a text, true or false, a list or array, a dict")


def _reference(part: Model | Task) -> str:
    """How a sweep names a model or task: as a file names it or, of one that is in no file, as this process knows it."""
    functions = [value for value in vars(part).values() if inspect.isfunction(value)]
    module = inspect.getmodule(functions[0]) if functions else None
    if part in (registry.MODELS | registry.tasks()).values():
        return part.name
    if module is not None and module.__name__ != "__main__" and getattr(module, "__file__", None):
        for name, value in vars(module).items():
            if value is part:
                kind, reference = "model" if isinstance(part, Model) else "task", f"{module.__file__}:{name}"
                if code.read(kind, reference, Path.cwd()).load() == declaring.named(part):
                    return reference  # else something was set in it since it was imported
    return declaring.named(part)
