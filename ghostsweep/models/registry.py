"""Where models and tasks are found by name: the built-in ones, and those of users, which are loaded once."""

import dataclasses
import hashlib
import inspect
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ghostsweep.declare.model import Model, Task, Traced, no_mistakes
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import canonical, codes, rank_one, reach, readout, texts, two_bias
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


class Known(NamedTuple):
    """What a part is known by: the text of its file (None: there is none), those of what it imports from beside it.

    homes: the modules that these were executed as. origin: its file and its name there; "" where it is in none. folder:
    where its data are. executed: whether they were executed for this alone, so that nobody else changes them.
    """

    text: str | None
    others: tuple[str, ...] = ()
    homes: tuple[reach.Home, ...] = ()
    origin: str = ""
    folder: Path = Path()
    executed: bool = False


class _Part(NamedTuple):
    """A user's model or task as this process knows it."""

    digest: str
    identity: str
    origin: str
    part: Model | Task
    arrays: dict[str, np.ndarray]
    executed: bool


_KNOWN: dict[str, _Part] = {}


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


def named(part: Model | Task, known: Known | None = None) -> str:
    """Make a model or task known to this process and return the name that runs have it by.

    That of a user's ends in the version that it declares or, where it declares none, in a digest of all that decides
    its numbers: the text of its file, what it imports from beside it, what its functions reach and the data it has.
    known: of one from a file, what that was executed from. Raises UsageError where that cannot be told, and for
    another part of the same name and version.
    """
    if part in (MODELS | TASKS).values():
        return part.name
    known = known or _of_object(part)
    identity, arrays = _identity(part, known)
    digest = identity if known.text is not None else digest_of(repr(part))  # another one wherever it is defined anew
    name = f"{part.name}@{part.version or digest}"
    before = _KNOWN.get(name)
    if (
        before
        and before.digest != digest
        and known.text is not None
        and (not known.origin or known.origin != before.origin)
    ):
        where = " and ".join(dict.fromkeys(each or "Python" for each in (before.origin, known.origin)))
        raise UsageError(
            f"{part.name}: found two of version {part.version!r} that differ ({where}); allowed: another version of one"
        )
    if before is None or before.digest != digest:
        _KNOWN[name] = _Part(digest, identity, known.origin, part, arrays, known.executed)
        if isinstance(part, Model):
            _OWN_MODELS[name] = dataclasses.replace(part, name=name)
        else:
            _OWN_TASKS[name] = dataclasses.replace(part, name=name)
    return name


def unchanged(name: str | None) -> None:
    """Raise UsageError where what a part of this process reaches was changed since runs were made of it."""
    found = _KNOWN.get(name or "")
    if found is None or found.executed:
        return
    if _identity(found.part, _of_object(found.part))[0] != found.identity:
        raise UsageError(
            f"{found.part.name}: what its functions name has changed since runs were made of it; allowed: make the "
            "runs anew"
        )


def text_of(name: str | None) -> str:
    """Digest of what decides the numbers of a user's model or task in this process; empty for a built-in one."""
    return _KNOWN[name].digest if name in _KNOWN else ""


def identity_of(name: str) -> str:
    """The same in every process: of a part whose functions have no text without their text."""
    return _KNOWN[name].identity if name in _KNOWN else ""


def data_names(name: str) -> tuple[str, ...]:
    """Names of the arrays that a model or task declares."""
    return tuple(_KNOWN[name].arrays) if name in _KNOWN else ()


def data_of(shape: Shape) -> dict[str, np.ndarray]:
    """Arrays that the model and the task of a shape declare, by name, in the precision of the run."""
    found: dict[str, np.ndarray] = {}
    for name in (shape.model, shape.task or ""):
        for key, value in (_KNOWN[name].arrays if name in _KNOWN else {}).items():
            small = np.int32 if value.dtype.kind in "iu" else value.dtype
            found[key] = value.astype(shape.dtype if value.dtype.kind == "f" else small)
    return found


def with_data(shape: Shape, traced: Traced) -> Traced:
    """Traced fields and the arrays of the shape's parts, as constants: for what is computed beside the training."""
    data = data_of(shape)
    if not data:
        return traced
    import jax.numpy as jnp

    return {**traced, **{name: jnp.asarray(value) for name, value in data.items()}}


def digest_of(text: str, *others: str) -> str:
    """Eight hexadecimal digits of the text of a file, and of what counts beside it."""
    return hashlib.blake2b("\n".join([texts.meaningful(text), *others]).encode(), digest_size=4).hexdigest()


def _identity(part: Model | Task, known: Known) -> tuple[str, dict[str, np.ndarray]]:
    """The digest of a part, and its data. Raises UsageError where it declares no version and cannot be told."""
    found = reach.beyond(part, known.homes)
    if known.text is None and not part.version:
        raise UsageError(
            f"{part.name}: found no text of its functions, which would tell its version; allowed: version = a text"
        )
    if found.untold and not part.version:
        place, what = found.untold[0]
        raise UsageError(
            f"{known.origin.partition(':')[0] or 'Python'}: {part.name}, {place}: found {what}, so that its version "
            "cannot be told; allowed: plain values, arrays, Data(...), or version = a text"
        )
    arrays = part.data.arrays(known.folder) if part.data else {}
    data = [f"data {name}: {' '.join(map(str, reach.described(array)))}" for name, array in sorted(arrays.items())]
    text = repr(part.fields) if known.text is None else known.text
    return digest_of(text, *known.others, *found.lines, *data), arrays


def _of_object(part: Model | Task) -> Known:
    """What there is of the file that a part's functions are written in; where they are in none, of their own text."""
    functions = [each for value in vars(part).values() if (each := _plain_function(value)) is not None]
    functions = [each for each in functions if each is not no_mistakes]
    module = next((each for each in map(inspect.getmodule, functions) if each is not None), None)
    path = getattr(module, "__file__", None)
    if module is None or not path:
        try:
            own = [inspect.getsource(each) for each in functions]
        except (OSError, TypeError):
            return Known(None)
        places = {id(each.__globals__): each.__globals__ for each in functions}
        homes = tuple(reach.home("", each) for each in places.values())
        return Known("\n".join([repr(part.fields), *own]), homes=homes)
    text, variables = Path(path).read_bytes().decode(), vars(module)
    for each in functions:
        if each.__globals__ is variables and not codes.same_as_text(each, text):
            raise UsageError(f"{path}: was edited after it was imported; allowed: import it anew (importlib.reload)")
    sources = texts.imported(Path(path), text)
    names = [each.name for each in sources]
    homes = tuple(reach.home(each.text, vars(sys.modules[each.name])) for each in sources if each.name in sys.modules)
    name = next((key for key, value in variables.items() if value is part), "")
    return Known(
        text,
        tuple(texts.meaningful(each.text) for each in sources),
        (reach.home(text, variables, names), *homes),
        f"{path}:{name}" if name else "",
        Path(path).parent,
    )


def _plain_function(value: Any) -> types.FunctionType | None:
    """The function in a function, wrapper or partial."""
    while value is not None and not isinstance(value, types.FunctionType):
        inner = (getattr(value, name, None) for name in ("func", "__wrapped__", "__func__"))
        value = next((each for each in inner if each is not None), None)
    return value


def model_of(shape: Shape) -> Model:
    """The model of a shape."""
    return model(shape.model)


def task_of(shape: Shape) -> Task | None:
    """The task of a shape, None where the model has none."""
    return None if shape.task is None else task(shape.task)
