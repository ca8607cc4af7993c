"""Executes the text of a user's file, with what it imports from beside it as texts too; notes the files it reads."""

import contextlib
import hashlib
import importlib.machinery
import sys
import types
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ghostsweep.models import texts
from ghostsweep.models.texts import Source

_opened: list[str] | None = None
"""Files opened so far, while that is noted."""


class Executed(NamedTuple):
    """A module and its text, those of the user's that it imported, and the files that they read with their digests."""

    module: types.ModuleType
    text: str
    others: tuple[tuple[types.ModuleType, str], ...]
    files: dict[str, str]

    def is_current(self) -> bool:
        """Whether these files are as they were."""
        return all(file_digest(Path(path)) == digest for path, digest in self.files.items())


def execute(name: str, path: str, text: str, sources: Collection[Source]) -> Executed:
    """Execute a text as a module of this name. Raises what it raises."""
    module = types.ModuleType(name)
    module.__file__ = path
    code = compile(text, path, "exec")
    sys.modules[name] = module  # dataclasses and pickle look there
    with _noted() as opened, _imported_from(sources) as others:
        exec(code, vars(module))
    made = tuple((others[each.name], each.text) for each in sources if each.name in others)
    return Executed(
        module, text, made, {each: file_digest(Path(each)) for each in dict.fromkeys(opened) if _counts(each)}
    )


def _counts(path: str) -> bool:
    """Whether a file that was opened is data of the user's."""
    place = Path(path)
    is_data = place.suffix not in (".py", ".pyc", ".so") and place.parts[:2] not in {("/", "proc"), ("/", "sys")}
    return is_data and place.is_file() and texts.is_own("", place)


@contextlib.contextmanager
def _noted() -> Iterator[list[str]]:
    """Note what files are opened."""
    global _opened
    if _opened is None and not _hooked:
        sys.addaudithook(_note)
        _hooked.append(True)
    before, _opened = _opened, []
    try:
        yield _opened
    finally:
        _opened = before


_hooked: list[bool] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str):
        _opened.append(str(Path(arguments[0]).absolute()))


class _Texts:
    """Finds modules in texts, not in files that may have changed since."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = {source.name: source for source in sources}

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.sources:
            return None
        place = self.sources[name].path
        spec = importlib.machinery.ModuleSpec(
            name,
            self,  # type: ignore[arg-type]
            origin=place,
            is_package=Path(place).name == "__init__.py",
        )
        spec.has_location = True
        return spec

    def create_module(self, spec: object) -> None:
        """As Python makes it."""

    def exec_module(self, module: types.ModuleType) -> None:
        source = self.sources[module.__name__]
        exec(compile(source.text, source.path, "exec"), vars(module))

    def get_source(self, name: str) -> str:
        return self.sources[name].text


@contextlib.contextmanager
def _imported_from(sources: Iterable[Source]) -> Iterator[dict[str, types.ModuleType]]:
    """Import these modules from their texts, anew; those of the process are back at the end. Gives the imported."""
    finder, made = _Texts(sources), dict[str, types.ModuleType]()
    before = {name: sys.modules.pop(name) for name in finder.sources if name in sys.modules}
    sys.meta_path.insert(0, finder)
    try:
        yield made
    finally:
        sys.meta_path.remove(finder)
        made |= {name: sys.modules.pop(name) for name in finder.sources if name in sys.modules}
        sys.modules |= before


def file_digest(path: Path) -> str:
    """Digest of a file; empty where it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""
