"""Files that survive a kill: whole or not there at all, with a digest, and read without pickle.

Every file is written under a temporary name in its folder, flushed to disk and then renamed. What cannot be read is
one of three things: absent (FileNotFoundError), damaged (`Damaged`: its bytes are not those that were written), or
trouble (any other OSError, MemoryError), which says nothing about the file and stops whoever wanted it.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import socket
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ghostsweep.errors import UsageError
from ghostsweep.machine import resources, signals

FOREIGN_SECONDS = 86_400
"""Age at which a temporary file of another machine counts as left behind."""
CHECKED_BYTES = 50_000_000
"""Size from which on what is read is held against the memory that is free."""
SEAL = re.compile(rb"sha256 [0-9a-f]{64}\Z")
"""The archive comment of a sealed .npz: the digest of all bytes before it."""
SEAL_BYTES = 71
_TEMPORARY = re.compile(r"\..+\.[0-9]+\.tmp")


class Damaged(Exception):
    """A file that is not as it was written. The message names it and says what is wrong."""


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file whole: `fill` writes it under a temporary name, which is flushed and renamed to `path`.

    The folder is made if only it is missing. OSErrors pass through, with the path in them, and leave what was there
    before; links are replaced, not followed.
    """
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}{_mark(os.getpid())}")
    signals.temporary.add(str(temporary))
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir()  # not its parents: a result folder that is gone is not made anew by who writes in it
            as_folder(path.parent, path.parent.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o666), "w+b") as file:
            as_folder(file.fileno(), path.parent)
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:  # those of a full disk come without a path, or without a number
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        signals.temporary.discard(str(temporary))


def as_folder(place: int | Path, folder: Path) -> None:
    """Let all who may write in a folder do so with a file or folder of one's own in it, whatever the umask."""
    with contextlib.suppress(OSError):
        mode, found = stat.S_IMODE(folder.stat().st_mode), os.stat(place)
        if mode & 0o022 and found.st_uid == os.geteuid():
            os.chmod(place, mode & (0o777 if stat.S_ISDIR(found.st_mode) else 0o666) | 0o600)


def flush_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut. Raises OSError where that fails: delete nothing then."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # where folders cannot be opened
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that do not know it
            raise
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes:
    """All bytes of a file, opened once. Raises FileNotFoundError where it is absent, Damaged for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe would never end
            raise Damaged(f"{path}: is no file")
        size = os.fstat(descriptor).st_size
        if size > CHECKED_BYTES:
            resources.require(size, f"{path}: found {size:,} bytes")
        try:
            return file.read()
        except OSError as error:
            raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def listed(folder: Path) -> list[str]:
    """Names in a folder, sorted, temporary and other hidden ones left out; none where there is no folder.

    Unlike a glob it does not take a folder that may not be read for an empty one: OSErrors pass.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def is_own_folder(path: Path) -> bool:
    """Whether a path is a folder and no link to one: only there does anything get deleted."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def refuse_links(folder: Path) -> None:
    """Raise UsageError where a folder that this program writes and deletes in is a link to somewhere else."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and entry.is_dir():
                raise UsageError(f"{folder / entry.name}: found a link; allowed: a folder")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True) -> None:
    """Write arrays by name as a sealed .npz, which numpy opens as any other."""
    write(path, lambda file: file.write(packed(arrays, compressed=compressed)))


def packed(arrays: Mapping[str, np.ndarray], *, compressed: bool = True) -> bytes:
    """Arrays by name as the bytes of a .npz, sealed: its archive comment has the digest of all that is before it."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, allow_pickle=False, **arrays)
    sealed = bytearray(buffer.getbuffer())
    sealed[-2:] = SEAL_BYTES.to_bytes(2, "little")  # the length of the comment, 0 as numpy writes it
    sealed += b"sha256 " + hashlib.sha256(sealed).hexdigest().encode()
    return bytes(sealed)


def read_arrays(path: Path, *names: str, sha256: str = "") -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, all unless some are named, held against `sha256`, else against its seal.

    Raises FileNotFoundError or Damaged; other OSErrors and MemoryError are trouble.
    """
    return unpacked(read(path), path, *names, sha256=sha256)


def unpacked(data: bytes, path: Path, *names: str, sha256: str = "", sealed: bool = True) -> dict[str, np.ndarray]:
    """`read_arrays` of the bytes of a file."""
    if sha256:
        if digest(data) != sha256:
            raise Damaged(f"{path}: not the bytes that were written")
    elif sealed and not (
        SEAL.match(data, len(data) - SEAL_BYTES) and digest(data[:-SEAL_BYTES]).encode() == data[-64:]
    ):
        raise Damaged(f"{path}: not the bytes that were written")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > CHECKED_BYTES:
            resources.require(size, f"{path}: found {size:,} bytes, unpacked")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except (MemoryError, UsageError):
        raise
    except Exception as error:  # damage comes out as anything, down to errors of Python's tokenizer
        raise Damaged(f"{path}: not readable: {type(error).__name__}: {error}") from error


def members(data: bytes) -> list[str]:
    """Names of the arrays in the bytes of a .npz file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return list(arrays.files)


def write_json(path: Path, data: Mapping[str, Any], **options: Any) -> bytes:
    """Write JSON with a digest of its own content, the last key; return its bytes."""
    text = (json.dumps({**data, "sha256": _content(data)}, **options) + "\n").encode()
    write(path, lambda file: file.write(text))
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, without the digest. Raises FileNotFoundError or Damaged."""
    return parsed_json(read(path), path)


def parsed_json(data: bytes, path: Path) -> dict[str, Any]:
    """`read_json` of the bytes of a file."""
    try:
        found = json.loads(data)
        own = found.pop("sha256")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise Damaged(f"{path}: not readable: {type(error).__name__}: {error}") from error
    if own != _content(found):
        raise Damaged(f"{path}: not the content that was written")
    return dict(found)


def _content(data: Mapping[str, Any]) -> str:
    return digest(json.dumps(data, sort_keys=True).encode())


def set_aside(folder: Path, path: Path) -> Path:
    """Move a damaged file of a result folder into its `damaged/`, under a name of its own; return where it is."""
    place = folder / "damaged"
    if not is_own_folder(place):
        place.mkdir()
    count = 0
    while (to := place / f"{path.name}.{count}").exists() or to.is_symlink():
        count += 1
    os.rename(path, to)
    return to


def clean(folder: Path) -> None:
    """Delete temporary files that killed writers left in a folder, those of live processes excepted."""
    for path in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError, ValueError):
            if not _TEMPORARY.fullmatch(path.name) or not stat.S_ISREG(path.lstat().st_mode):
                continue
            pid = int(path.name.split(".")[-2])
            if path.name.endswith(_mark(pid)):
                left = pid == os.getpid() or not is_alive(pid)
            else:
                left = time.time() - path.lstat().st_mtime > FOREIGN_SECONDS
            if left:
                path.unlink()


def delete_own(folder: Path, names: str) -> None:
    """Delete the files of a folder whose names match a pattern, and the folder where that was all; links are left."""
    if not is_own_folder(folder):
        return
    for name in listed(folder):
        with contextlib.suppress(FileNotFoundError):
            if re.fullmatch(names, name) and stat.S_ISREG((folder / name).lstat().st_mode):
                (folder / name).unlink()
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


def _mark(pid: int) -> str:
    """How the name of a temporary file ends that this machine's process `pid` writes."""
    return f".{socket.gethostname()}.{pid}.tmp"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there; true where that cannot be asked."""
    if os.name != "posix":  # where signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
