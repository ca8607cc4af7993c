"""The one commit point of a result folder: `meta.json` names every data file with its digest, rows and what it holds.

Data files never change. Whoever puts finished chunks into the tables writes new files, then replaces meta.json in one
rename, and only then lets go of what the new one no longer names. The tables keep their names, runs.parquet and
curves.parquet: new ones wait under a hidden name until meta.json names them, and are renamed then. A reader takes a
table from either place, whichever has the digest that its meta.json says, so it sees the state before or after.
"""

import contextlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ghostsweep.store import described, files
from ghostsweep.store.files import Damaged

NAME = "meta.json"
TABLES = {
    "runs": "runs.parquet",
    "curves": "curves.parquet",
    "unplanned_runs": "unplanned_runs.parquet",
    "unplanned_curves": "unplanned_curves.parquet",
}
"""The tables by what they hold; unplanned: finished runs that the sweep no longer has, kept for the day it has them."""
OWN = re.compile(r"(parts|ends|snapshots)/[0-9a-z_.-]+\.npz|sessions/[\w.-]+\.json|unplanned_(runs|curves)\.parquet")
"""Files that this program makes and may delete once a manifest has let go of them."""

_WAITING = re.compile(r"\.[0-9a-f]{16}\.(unplanned_)?(runs|curves)\.parquet")


class Changed(Exception):
    """The manifest was replaced while its files were read: read again."""


@dataclass(frozen=True)
class Entry:
    """A data file. sha256: of its bytes. size: in bytes. holds: a key of TABLES, ends or snapshots.

    rows: of a table. runs: whose ends or snapshots these are. epochs: of the snapshots.
    """

    sha256: str
    size: int
    holds: str
    rows: int = 0
    runs: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a result folder holds, by file name.

    generation: how often it was replaced. discard: digests of files that it has let go of. about: where the tables
    come from: sweep file, code, sessions.
    """

    generation: int = 0
    files: Mapping[str, Entry] = field(default_factory=dict)
    discard: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""
    """Digest of the meta.json that it was read from; empty where there is none."""

    def of(self, holds: str) -> dict[str, Entry]:
        """The files that hold something, by name."""
        return {name: entry for name, entry in self.files.items() if entry.holds == holds}

    def as_json(self) -> dict[str, Any]:
        """All of it, as meta.json and the metadata of the table of runs have it."""
        entries = {}
        for name, entry in self.files.items():
            kept = {key: value for key, value in asdict(entry).items() if value not in (0, ())}
            entries[name] = {"sha256": entry.sha256, "size": entry.size, "holds": entry.holds} | kept
        known = {"format": described.FORMAT, "generation": self.generation}
        return {**self.about, **known, "files": entries, "discard": dict(self.discard)}


def entry_of(data: bytes, holds: str, **more: Any) -> Entry:
    """The entry of a file of these bytes."""
    return Entry(files.digest(data), len(data), holds, **more)


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none, or one from before they named files (see `recovery`).

    Raises Damaged.
    """
    path = folder / NAME
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    if is_old(data):
        return None
    return replace(parsed(files.parsed_json(data, path), path), seen=files.digest(data))


def is_old(data: bytes) -> bool:
    """Whether this is the meta.json of a folder from before there were digests."""
    return b'"sha256"' not in data and b'"files"' not in data and data.rstrip().endswith(b"}")


def parsed(found: dict[str, Any], path: Path) -> Manifest:
    """A manifest from what its file says. Raises Damaged."""
    described.check(found, described.Meta, path)
    entries = {name: _entry(**entry) for name, entry in found.pop("files").items()}
    generation, discard = found.pop("generation"), found.pop("discard")
    if bad := [name for name in (*entries, *discard) if name not in TABLES.values() and not OWN.fullmatch(name)]:
        raise Damaged(f"{path}: names {bad[0]!r}, which is no file of a result folder")
    if bad := [name for name, entry in entries.items() if TABLES.get(entry.holds, name) != name]:
        raise Damaged(f"{path}: files.{bad[0]}.holds: found {entries[bad[0]].holds!r}")
    found.pop("format", None)
    return Manifest(generation, entries, discard, found)


def _entry(runs: Sequence[str] = (), epochs: Sequence[int] = (), **more: Any) -> Entry:
    """An entry as JSON has it, lists for tuples."""
    return Entry(**more, runs=tuple(runs), epochs=tuple(epochs))


def fetch(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of a file that the manifest names.

    Raises Changed where there is another manifest by now, FileNotFoundError where the file is gone, and Damaged.
    """
    entry, path = manifest.files[name], folder / name
    wrong: Exception = FileNotFoundError(2, "No such file or directory", str(path))
    for place in (path, folder / _waiting(name, entry)):
        try:
            if stat.S_ISREG(place.stat().st_mode) and place.stat().st_size != entry.size:
                raise Damaged(f"{path}: not the bytes that were written")
            data = files.read(place)
            if files.digest(data) != entry.sha256:
                raise Damaged(f"{path}: not the bytes that were written")
            return data
        except FileNotFoundError:
            continue
        except Damaged as error:
            wrong = error
    check(folder, manifest)
    raise wrong


def check(folder: Path, manifest: Manifest) -> None:
    """Raise Changed where a folder has another manifest by now."""
    if seen(folder) != manifest.seen:
        raise Changed


def seen(folder: Path) -> str:
    """Digest of meta.json; empty where there is none."""
    try:
        return files.digest(files.read(folder / NAME))
    except FileNotFoundError:
        return ""


def is_there(folder: Path, manifest: Manifest, name: str) -> bool:
    """Whether a file that the manifest names is in its place, by its size: no proof, but quick."""
    entry = manifest.files[name]
    for place in (folder / name, folder / _waiting(name, entry)):
        try:
            if place.stat().st_size == entry.size:
                return True
        except FileNotFoundError:
            continue
    return False


def put(folder: Path, name: str, data: bytes, entry: Entry) -> None:
    """Write a data file, a table under its hidden name; the next manifest makes it count."""
    place = folder / _waiting(name, entry)
    if name not in TABLES.values() and not files.is_own_folder(place.parent):
        place.parent.mkdir()
    files.write(place, lambda file: file.write(data))


def commit(folder: Path, old: Manifest, new: Manifest) -> Manifest:
    """Replace the manifest: from here on the folder is what `new` says. The folder must be locked.

    All files of `new` must be there (`put`, or of `old`). What `old` named and `new` does not is let go of.
    """
    gone = {name: entry.sha256 for name, entry in old.files.items() if name not in new.files and OWN.fullmatch(name)}
    new = replace(new, generation=old.generation + 1, discard={**old.discard, **new.discard, **gone})
    return settle(folder, write(folder, new))


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Replace meta.json."""
    return replace(manifest, seen=files.digest(files.write_json(folder / NAME, manifest.as_json(), indent=1)))


def settle(folder: Path, manifest: Manifest) -> Manifest:
    """Finish what a manifest has decided: rename tables that wait, delete what it has let go of, if it is still that.

    The folder must be locked. Also after a kill between the two; tables of a manifest that never came are deleted.
    """
    waiting = {_waiting(name, manifest.files[name]): name for name in TABLES.values() if name in manifest.files}
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if _WAITING.fullmatch(entry.name) and not entry.is_dir()]
    for name in left:
        if name in waiting:
            os.replace(folder / name, folder / waiting[name])
        else:
            (folder / name).unlink()
    if left:
        files.flush_folder(folder)
    if not manifest.discard:
        return manifest
    for name, sha in manifest.discard.items():
        path = folder / name
        if name not in manifest.files and (path.parent == folder or files.is_own_folder(path.parent)):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode) and files.digest(files.read(path)) == sha:
                    path.unlink()
    for place in {(folder / name).parent for name in manifest.discard} - {folder}:
        with contextlib.suppress(OSError):  # not empty
            place.rmdir()
    return write(folder, replace(manifest, discard={}))


def _waiting(name: str, entry: Entry) -> str:
    """Where a table waits for the manifest that names it; other files have names that never come again."""
    return f".{entry.sha256[:16]}.{name}" if name in TABLES.values() else name
