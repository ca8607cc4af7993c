"""Where models and tasks are found by name: the built-in ones, and those of users, which are loaded once."""

import dataclasses
import hashlib
import inspect

from ghostsweep.declare.model import Model, Task
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import canonical, rank_one, readout, two_bias
from ghostsweep.tasks import TASKS

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        canonical.MODEL,
        canonical.SIMULATED,
        rank_one.MODEL,
        readout.LOW_RANK,
        readout.FULL_RANK,
        two_bias.MODEL,
    )
}
_OWN_MODELS: dict[str, Model] = {}
_OWN_TASKS: dict[str, Task] = {}
_TEXTS: dict[str, str] = {}


def models() -> dict[str, Model]:
    """All models that this process knows; a user's is called NAME@VERSION."""
    return MODELS | _OWN_MODELS


def tasks() -> dict[str, Task]:
    """All tasks that this process knows, likewise."""
    return TASKS | _OWN_TASKS


def model(name: str) -> Model:
    """A model by its name. Raises KeyError for one that is not known here."""
    return MODELS[name] if name in MODELS else _OWN_MODELS[name]


def task(name: str) -> Task:
    """A task by its name, likewise."""
    return TASKS[name] if name in TASKS else _OWN_TASKS[name]


def named(part: Model | Task, digest: str = "") -> str:
    """Make a model or task known to this process and return the name that runs have it by.

    That of a user's ends in the version that it declares or, where it declares none, in the `digest` of its file.
    """
    if part in (MODELS | TASKS).values():
        return part.name
    digest = digest or _digest(part)
    name = f"{part.name}@{part.version or digest}"
    if _TEXTS.get(name) != digest:  # a file of a declared version may be edited while its process goes on
        _TEXTS[name] = digest
        if isinstance(part, Model):
            _OWN_MODELS[name] = dataclasses.replace(part, name=name)
        else:
            _OWN_TASKS[name] = dataclasses.replace(part, name=name)
    return name


def text_of(name: str | None) -> str:
    """Digest of the text that a user's model or task is of in this process; empty for a built-in one."""
    return _TEXTS.get(name or "", "")


def meaningful(text: str) -> str:
    """The text of a file without blank lines and lines of comment alone: what its digest is taken of."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def digest_of(text: str) -> str:
    """Eight hexadecimal digits of the text of a file."""
    return hashlib.blake2b(meaningful(text).encode(), digest_size=4).hexdigest()


def _digest(part: Model | Task) -> str:
    """Of the file that a part's functions are written in; where they are in none (a notebook), of their own text."""
    functions = [value for value in vars(part).values() if inspect.isfunction(value)]
    module = inspect.getmodule(functions[0])
    try:
        in_a_file = module is not None and getattr(module, "__file__", None)
        texts = (
            [inspect.getsource(module)]
            if in_a_file and module
            else [repr(part.fields), *map(inspect.getsource, functions)]
        )
    except (OSError, TypeError):
        if part.version:
            return digest_of(repr(part))  # another one wherever it is defined anew
        raise UsageError(
            f"{part.name}: found no text of its functions, which would tell its version; allowed: version = a text"
        ) from None
    return digest_of("\n".join(texts))


def model_of(shape: Shape) -> Model:
    """The model of a shape."""
    return model(shape.model)


def task_of(shape: Shape) -> Task | None:
    """The task of a shape, None where the model has none."""
    return None if shape.task is None else task(shape.task)
