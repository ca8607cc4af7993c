"""Where sweep files are: the user's own in `sweeps/`, and those that come with the package."""

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path

from ghostsweep.errors import UsageError
from ghostsweep.machine.terminal import reason
from ghostsweep.store import files

OWN = Path("sweeps")
"""Folder of a user's own sweep files. Where another one is named, what comes with the package is left out."""


def shipped() -> Path:
    """Folder of the sweep files that come with the package: in it where it was installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "sweeps" if (package / "sweeps").is_dir() else package.parent / "sweeps"


def sweep_files(sweeps: str | Path = OWN) -> list[Path]:
    """All sweep files by name: one's own, then those of the package that none of one's own has the name of."""
    found: dict[str, Path] = {}
    for folder in _folders(sweeps):
        for path in _in(folder):
            found.setdefault(path.stem, path)
    return list(found.values())


def find(spec: str | Path, sweeps: str | Path = OWN) -> Path:
    """The file of a sweep, given as a path or by its name. Raises UsageError where there is none."""
    path = Path(spec)
    if path.suffix == ".toml":
        if "\0" not in str(path) and path.is_file():
            return path
        raise UsageError(f"{spec}: no such file here ({Path.cwd()})")
    known = {path.stem: path for path in sweep_files(sweeps)}
    if str(spec) in known:
        return known[str(spec)]
    near = difflib.get_close_matches(str(spec).removesuffix("-quick").lower(), known, n=3, cutoff=0.4)
    names = f"; did you mean {' or '.join(near)}?" if near else ""
    quick = "; the quick version of one is asked for by --quick" if str(spec).endswith("-quick") else ""
    own = " and those of the package" if Path(sweeps) == OWN else ""
    raise UsageError(
        f"{spec}: no such sweep among the {len(known)} in {Path(sweeps).absolute()}{own}, "
        f"which `ghostsweep list` shows; --sweeps names another folder{names}{quick}"
    )


@contextlib.contextmanager
def apart(place: Path, broken: list[str]) -> Iterator[None]:
    """Go on to the others where one sweep among many cannot be read, with a line in `broken` that names it."""
    try:
        yield
    except UsageError as error:
        broken.append(str(error))
    except (OSError, MemoryError) as error:
        broken.append(f"{place}: its results cannot be read: {reason(error)}")


def _folders(sweeps: str | Path) -> list[Path]:
    """Folders to look in, the first one first."""
    return [OWN, shipped()] if Path(sweeps) == OWN else [Path(sweeps)]


def _in(folder: Path) -> list[Path]:
    """The sweep files of a folder. Hidden ones are none: editors and other systems leave them beside each file."""
    return [folder / name for name in files.listed(folder) if name.endswith(".toml")]
