"""Users' own models and tasks: files that a sweep names, kept as text that goes wherever the sweep goes.

Their code is executed by planning and training alone. What runs have as their model or task is NAME@VERSION, where the
version is the declared one or a digest of the file's text, blank lines and lines of comment apart, and of all else that
its functions reach (`models.reach`): runs of an edited file are never mixed with those of the old one.
"""

import importlib.machinery
import importlib.util
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostsweep.declare.model import Model, Task
from ghostsweep.errors import UsageError
from ghostsweep.models import reach, registry, texts
from ghostsweep.models.telling import told
from ghostsweep.models.texts import Source
from ghostsweep.spec import declaring
from ghostsweep.spec.executing import Executed, execute, file_digest

KINDS: dict[str, type[Model] | type[Task]] = {"model": Model, "task": Task}
MAX_BYTES = 1_000_000
"""Size of such a file."""
_LOADED: dict[tuple[str, str], Executed] = {}
"""By path and digest of what was executed."""
TOLD: list[Callable[[str], object]] = []
"""Called with each file that is not beside its sweep, in or below the current folder, before it is executed."""


@dataclass(frozen=True)
class Code:
    """One model or task of a user: where it was found, and its text as it was then.

    modules: those of the user's that it imports, as they were then. folder: where its data are, an absolute path.
    """

    kind: str
    reference: str
    path: str
    attribute: str
    text: str
    modules: tuple[Source, ...] = ()
    folder: str = "."

    @property
    def digest(self) -> str:
        """Of its text and of what it imports from beside it, without blank lines and lines of comment."""
        return registry.digest_of(self.text, *self._others)

    @property
    def _others(self) -> tuple[str, ...]:
        return tuple(texts.meaningful(each.text) for each in self.modules)

    @property
    def kept(self) -> dict[str, Any]:
        """What is stored with results: its digest, and all that it takes to train a run of it again."""
        name, part = self.load(), self.part()
        about: dict[str, Any] = {"kind": self.kind, "attribute": self.attribute, "name": name, "digest": self.digest}
        about |= {"version": part.version, "text": self.text}
        if self.modules:
            about["modules"] = [list(each) for each in self.modules]
        files = [Path(path) for path in self._executed().files]
        if part.data is not None and isinstance(part.data.source, str | Path):
            files.append(Path(self.folder, part.data.source))
        beside = {str(path.relative_to(self.folder)): path for path in files if path.is_relative_to(self.folder)}
        return about | ({"data": {name: file_digest(path) for name, path in beside.items()}} if beside else {})

    @classmethod
    def of_results(cls, about: Mapping[str, Any]) -> "tuple[Code, ...]":
        """The models and tasks of users that results were trained with, from what their meta.json says."""
        return tuple(
            cls(
                c["kind"],
                name,
                f"{name} (as stored)",
                c["attribute"],
                c["text"],
                tuple(Source(*each) for each in c.get("modules", ())),
                str(here(name).joinpath(name.partition(":")[0]).parent.absolute()),
            )
            for name, c in about.get("code", {}).items()
        )

    def load(self) -> str:
        """Execute it, once a process; return the name that runs have it by.

        Raises UsageError for whatever goes wrong, with the line of the file.
        """
        part = self.part()
        done, own = self._executed(), [each.name for each in self.modules]
        homes = [reach.home(text, vars(each), own) for each, text in ((done.module, done.text), *done.others)]
        origin = f"{self.path}:{self.attribute}"
        known = registry.Known(self.text, self._others, tuple(homes), origin, Path(self.folder), executed=True)
        return declaring.named(part, known, self.path)

    def part(self) -> Model | Task:
        """The model or task itself, as its file declares it."""
        module, wanted = self._executed().module, KINDS[self.kind]
        found: dict[str, Any] = {name: part for name, part in vars(module).items() if isinstance(part, wanted)}
        if self.attribute:
            part: Any = getattr(module, self.attribute, None)
            if not isinstance(part, wanted):
                there = "not there" if part is None else f"found a {type(part).__name__}"
                raise self._wrong(f"{self.attribute}: {there}; allowed: {_names(found, wanted)}")
        elif len(found) == 1:
            (part,) = found.values()
        else:
            raise self._wrong(f"found {len(found)} of them; allowed: FILE.py:NAME with {_names(found, wanted)}")
        one: Model | Task = part
        return one

    def _executed(self) -> Executed:
        """What its text is executed as, once a process, and again where files that it read have changed."""
        found = _LOADED.get((self.path, self.digest))
        if found is None or not found.is_current():
            for tell in () if self._is_here() else TOLD:
                tell(self.path)
            try:
                found = execute(f"ghostsweep_own_{self.digest}", self.path, self.text, self.modules)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a SystemExit too: a user's file must not end the command in silence
                raise told(error, self.path) from None
            _LOADED[self.path, self.digest] = found
        return found

    def _is_here(self) -> bool:
        """Whether it is a file beside a sweep, in or below the current folder."""
        path = Path(self.path)
        is_file = self.reference.partition(":")[0].endswith(".py") and path.is_file()  # not a text as it was stored
        return is_file and path.resolve().is_relative_to(Path.cwd())

    def _wrong(self, said: str) -> UsageError:
        return UsageError(f"{self.path}: {self.kind} {said}")


def _names(found: Iterable[str], wanted: type) -> str:
    return " or ".join(found) or f"a ghostsweep.{wanted.__name__} in the file"


def is_reference(value: object) -> bool:
    """Whether the value of `model` or `task` names a user's own: a file, or a module and a name in it."""
    return isinstance(value, str) and (":" in value or value.endswith(".py"))


def here(reference: str) -> Path:
    """Where a file that is named outside any sweep is looked for: in this folder, else in its `sweeps/`."""
    sweeps = Path.cwd() / "sweeps"
    file = reference.partition(":")[0]
    return sweeps if not (Path.cwd() / file).exists() and (sweeps / file).exists() else Path.cwd()


def located(module: str) -> Path | None:
    """The file of a module that Python would import by this name, found without importing what it is in."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first else None
        for name in rest:
            places = spec and spec.submodule_search_locations
            spec = importlib.machinery.PathFinder.find_spec(name, list(places)) if places else None
    except (ImportError, ValueError, AttributeError, OSError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def read(kind: str, reference: str, folder: Path) -> Code:
    """Read what a sweep file in `folder` names, without executing it. Raises UsageError where that fails."""
    place, _, attribute = reference.partition(":")
    if place.endswith(".py"):
        path = folder / place
    else:
        found = located(place)
        if found is None or not attribute:
            raise UsageError(
                f"{kind}: found {reference!r}; allowed: FILE.py or FILE.py:NAME beside the sweep file, or "
                "PACKAGE.MODULE:NAME that Python can import"
            )
        path = found
    try:
        about = path.stat()  # first, since opening a pipe would wait for its other end
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"{path}: cannot be read: no plain file; allowed: a file of Python")
        if about.st_size > MAX_BYTES:
            raise UsageError(f"{path}: found {about.st_size} bytes; allowed: at most {MAX_BYTES}")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    modules = texts.imported(path, text)
    return Code(kind, reference, str(path), attribute, text, modules, str(path.parent.absolute()))
