"""What decides the numbers of a user's model or task beside the text of its file: all that its functions reach.

Functions are followed through closures, defaults, partials, wrappers and the globals that they name, and values are
told by what is in them. What the text of a file says anyway is not told once more.
"""

import builtins
import dataclasses
import enum
import functools
import hashlib
import inspect
import io
import random
import sys
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ghostsweep.declare.model import Model, Task
from ghostsweep.models import codes, texts

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, slice)
READERS = frozenset([
    "builtins.open", "_io.open", "io.open", "builtins.input", "builtins.globals", "numpy.load", "numpy.loadtxt",
    "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "jax.numpy.load", "jax.numpy.fromfile", "os.getenv",
    "os.environ", "os.urandom", "time.time", "time.time_ns", "time.perf_counter", "time.monotonic", "uuid.uuid4",
])  # fmt: skip
"""Functions whose value no text tells, by module and name."""
RANDOM = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
NOT_PART = ("name", "version", "about", "data")
"""Of a model or task what decides no number, or is told otherwise."""


class Home(NamedTuple):
    """A module of the user's: its text, "" where it has none (a notebook), and the names that this settles."""

    text: str
    variables: Mapping[str, Any]
    settled: frozenset[str]


class Reached(NamedTuple):
    """Lines that tell what is reached, and what of it cannot be told: where it is, and what was found there."""

    lines: tuple[str, ...]
    untold: tuple[tuple[str, str], ...]


def home(text: str, variables: Mapping[str, Any], own: Collection[str] = ()) -> Home:
    """A module with the text that it was executed from; own: names of the user's modules that it imports."""
    return Home(text, variables, texts.settled(text, variables, own) if text else frozenset())


def beyond(part: Model | Task, homes: Collection[Home]) -> Reached:
    """What the functions of a model or task reach beyond the texts of these modules."""
    reach = _Reach(homes)
    is_settled = any(each.variables.get(name) is part for each in homes for name in each.settled)
    in_text = is_settled or not any(each.text for each in homes)
    for each in dataclasses.fields(part):
        value = getattr(part, each.name)
        if each.name not in NOT_PART and value is not each.default:
            plain = isinstance(value, types.FunctionType) or each.name == "fields"
            reach.value(value, each.name, quiet=is_settled or (plain and in_text))
    return Reached(tuple(reach.lines), tuple(reach.untold))


class _Reach:
    """Walks values; what is `quiet` is said by a text and only followed."""

    def __init__(self, homes: Collection[Home]) -> None:
        self.homes = {id(each.variables): each for each in homes}
        self.lines: list[str] = []
        self.untold: list[tuple[str, str]] = []
        self.seen: dict[tuple[int, bool], Any] = {}

    def say(self, place: str, *what: object) -> None:
        self.lines.append(f"{place}: {' '.join(map(str, what))}")

    def refuse(self, place: str, found: str) -> None:
        self.lines.append(f"{place}: untold")
        self.untold.append((place, found))

    def value(self, value: Any, place: str, quiet: bool) -> None:
        """Tell a value, or follow it where it is quiet."""
        if type(value) in PLAIN:
            if not quiet:
                self.say(place, type(value).__name__, repr(value))
        elif _is_array(value):
            if not quiet:
                self.array(value, place)
        elif isinstance(value, types.ModuleType):
            if not quiet:
                self.say(place, "module", value.__name__)
        elif isinstance(value, types.FunctionType):
            self.function(value, place, quiet)
        elif isinstance(value, type):
            self.type(value, place, quiet)
        elif (name := _importable(value)) is not None:
            self.named(name, value, place, quiet)
        elif (key := (id(value), quiet)) in self.seen:
            if not quiet:
                self.say(place, "again")
        else:
            self.seen[key] = value  # also so that no other takes its id
            self.inside(value, place, quiet)
            if not isinstance(value, types.MethodType | functools.partial) and not hasattr(value, "__wrapped__"):
                del self.seen[key]  # only what contains itself is not told twice

    def inside(self, value: Any, place: str, quiet: bool) -> None:
        """Tell a value by what is in it."""
        if isinstance(value, RANDOM):
            self.refuse(place, f"a generator of random numbers ({type(value).__name__})")
            return
        if isinstance(value, io.IOBase) or hasattr(value, "__next__") or inspect.iscoroutine(value):
            self.refuse(place, f"an open file or an iterator ({type(value).__name__})")
            return
        if not quiet:
            self.type(type(value), place, quiet=False)
        parts = _parts(value)
        if parts is None:
            self.refuse(place, f"an object of {type(value).__module__}.{type(value).__qualname__}")
            return
        if isinstance(value, set | frozenset):
            parts = [(str(number), each) for number, each in enumerate(sorted(value, key=repr))]
        for name, part in parts:
            self.value(part, f"{place}.{name}", quiet)
        if not quiet:
            self.say(place, "end", len(parts))

    def array(self, value: Any, place: str) -> None:
        found = _numbers(value)
        if found is None or found.dtype.hasobject:
            self.refuse(place, f"an array of {getattr(value, 'dtype', type(value).__name__)}")
        else:
            self.say(place, type(value).__name__ == "ndarray", *described(found))

    def named(self, name: str, value: Any, place: str, quiet: bool) -> None:
        """What another's module has by this name."""
        owner = getattr(value, "__self__", None)
        if name in READERS or (name.startswith("pandas.") and name.rpartition(".")[2].startswith("read_")):
            self.refuse(place, f"{name}, of which no text tells what it gives")
        elif isinstance(owner, RANDOM):
            self.refuse(place, f"a generator of random numbers ({name})")
        elif not quiet:
            self.say(place, "is", name)

    def type(self, value: type, place: str, quiet: bool) -> None:
        """A class: another's by its name, the user's by its text and what its functions reach."""
        module = sys.modules.get(value.__module__)
        own = self.home(vars(module), place) if module is not None else None
        own = next((each for each in self.homes.values() if each.variables.get("__name__") == value.__module__), own)
        if not quiet:
            self.say(place, "class", value.__qualname__ if own else f"{value.__module__}.{value.__qualname__}")
        if own is None or (id(value), quiet) in self.seen:
            return
        self.seen[id(value), quiet] = value
        inherited = issubclass(value, tuple) or dataclasses.is_dataclass(value)
        for name, part in vars(value).items():
            part = getattr(part, "__func__", part)
            part = part.fget if isinstance(part, property) else part
            made = isinstance(part, types.FunctionType) and self.home(part.__globals__, place) is not own
            made = made or (isinstance(part, types.FunctionType) and part.__code__.co_filename.startswith("<"))
            if (inherited and made) or (name.startswith("__") and not isinstance(part, types.FunctionType)):
                continue
            if isinstance(part, types.MemberDescriptorType | types.GetSetDescriptorType) or name.startswith("_abc"):
                continue
            if type(part).__name__ != "_tuplegetter" and name not in (
                "_fields",
                "_field_defaults",
                "_make",
                "_replace",
            ):
                self.value(part, f"{place}.{name}", quiet)
        for base in value.__bases__:
            self.type(base, f"{place}.base", quiet)

    def function(self, value: types.FunctionType, place: str, quiet: bool) -> None:
        """A function: its text, what it closes over, its defaults, and what it names."""
        name, code = f"{value.__module__}.{value.__qualname__}", value.__code__
        own = self.home(value.__globals__, place)
        if own is None:
            self.named(name, value, place, quiet and not value.__closure__)
        elif not quiet:
            self.text(value, own, place)
        if (id(value), quiet) in self.seen:
            return
        self.seen[id(value), quiet] = value
        for cell_name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            try:
                self.value(cell.cell_contents, f"{place}.{cell_name}", quiet=False)
            except ValueError:
                self.say(f"{place}.{cell_name}", "empty")
        if own is None and not value.__closure__:
            return
        said = quiet and (not own or not own.text or code.co_name in own.settled or code.co_name == "<lambda>")
        for number, default in enumerate(value.__defaults__ or ()):
            self.value(default, f"{place}.default {number}", quiet=said and bool(own and own.text))
        for key, default in (value.__kwdefaults__ or {}).items():
            self.value(default, f"{place}.default {key}", quiet=said and bool(own and own.text))
        if own is not None:
            for chain in dict.fromkeys(codes.chains(code)):
                self.chain(value, own, chain, place)

    def chain(self, value: types.FunctionType, own: Home, chain: tuple[str, ...], place: str) -> None:
        """What a function names: a global, or what a module has that is one."""
        name, *rest = chain
        if name == "":
            (method,) = rest
            if method in codes.READING:
                self.refuse(place, f"{method}, of which no text tells what it gives")
            elif method.startswith("import ") and texts.imported(Path(value.__code__.co_filename), method):
                self.refuse(place, f"{method!r} in it; allowed: at the top of its file")
            return
        found, quiet = value.__globals__.get(name, vars(builtins).get(name, chain)), name in own.settled
        if found is chain:  # said when it is traced
            return
        where, is_builtin = name, name not in value.__globals__
        while isinstance(found, types.ModuleType):
            module = found
            if not quiet:
                self.say(where, "module", module.__name__)
            inside = self.home(vars(module), where)
            if not rest or not hasattr(module, rest[0]):
                return
            found, where = getattr(module, rest[0]), f"{where}.{rest[0]}"
            quiet = inside is None or rest[0] in inside.settled
            del rest[0]
            if f"{module.__name__}.{where.rpartition('.')[2]}" in READERS:
                self.refuse(where, "what the process has, of which no text tells what it is")
                return
            if inside is None and not isinstance(found, types.ModuleType):
                if isinstance(getattr(found, "__self__", None), RANDOM) or _importable(found) in READERS:
                    self.named(_importable(found) or where, found, where, quiet=True)
                return
        self.value(found, where, quiet or is_builtin)

    def home(self, variables: Mapping[str, Any], place: str) -> Home | None:
        """The user's module that these globals are of; None for another's, which is known by its name."""
        if id(variables) in self.homes:
            return self.homes[id(variables)]
        name, path = str(variables.get("__name__", "")), variables.get("__file__")
        if path is None:
            found = None if name.partition(".")[0] in sys.modules and name != "__main__" else home("", variables)
        elif not texts.is_own(name, path):
            return None
        else:
            try:
                text = Path(path).read_bytes().decode()
            except (OSError, UnicodeDecodeError):
                self.refuse(place, f"the compiled module {name}")
                text = ""
            others = texts.imported(Path(path), text)
            found = home(text, variables, [each.name for each in others])
            self.say(name, "text", _digest(texts.meaningful(text)))
            for each in others:
                self.say(each.name, "text", _digest(texts.meaningful(each.text)))
        if found is not None:
            self.homes[id(variables)] = found
        return found

    def text(self, value: types.FunctionType, own: Home, place: str) -> None:
        """The text of a function: in that of its module or, without one, as Python knows it."""
        code = value.__code__
        try:
            said = codes.segment(own.text, code) if own.text else inspect.getsource(value)
        except (OSError, TypeError):
            self.refuse(place, f"no text of function {code.co_qualname}")
        else:
            self.say(place, code.co_qualname, _digest(texts.meaningful(said)))


def described(array: np.ndarray) -> tuple[object, ...]:
    """Kind, shape and digest of the numbers of an array."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    return (
        array.dtype.newbyteorder("=").name,
        array.shape,
        hashlib.blake2b(little.tobytes(), digest_size=16).hexdigest(),
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_array(value: Any) -> bool:
    jax = sys.modules.get("jax")
    return isinstance(value, np.ndarray | np.generic) or bool(jax and isinstance(value, jax.Array))


def _numbers(value: Any) -> np.ndarray | None:
    """The numbers of an array, a key as whole numbers; None of what is only traced."""
    jax = sys.modules.get("jax")
    try:
        if jax and isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        return np.asarray(value)
    except Exception:  # of JAX, for what has no numbers yet
        return None


def _importable(value: Any) -> str | None:
    """The name by which a function or object of another's can be imported; None where there is none."""
    if isinstance(value, np.ufunc):
        return f"numpy.{value.__name__}"
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", None))
    if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, (types.ModuleType, type, *RANDOM)):
            return f"{module or getattr(owner, '__module__', '')}.{name}".lstrip(".")
        return None
    if not isinstance(module, str) or not isinstance(name, str) or module not in sys.modules:
        return None
    if texts.is_own(module, getattr(sys.modules[module], "__file__", None)) or module == "__main__":
        return None
    found: Any = sys.modules[module]
    for each in name.split("."):
        found = getattr(found, each, None)
    return f"{module}.{name}" if found is value else None


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What a value consists of, each with its name; None of what does not tell."""
    if isinstance(value, Mapping):
        return [pair for i, item in enumerate(value.items()) for pair in ((f"key {i}", item[0]), (f"at {i}", item[1]))]
    if isinstance(value, list | tuple | set | frozenset):
        return [(str(number), each) for number, each in enumerate(value)]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("function", value.__func__), ("self", value.__self__)]
    if isinstance(value, types.BuiltinFunctionType):
        return [("name", value.__name__), ("self", value.__self__)]
    if isinstance(value, enum.Enum):
        return [("name", value.name)]
    if dataclasses.is_dataclass(value):
        return [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value)]
    if hasattr(value, "__wrapped__"):
        others = {name: each for name, each in getattr(value, "__dict__", {}).items() if not name.startswith("__")}
        return [("wrapped", value.__wrapped__), *others.items()]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:
        return None
    if isinstance(reduced, str):
        return [("name", reduced)]
    parts = [(str(number), each) for number, each in enumerate(reduced[:3])]
    return parts + [(f"items {i}", list(each)) for i, each in enumerate(reduced[3:5]) if each is not None]
