"""Files that survive a kill: whole or not there at all, arrays without pickle, and one writer of a folder.

Every file is written under a temporary name in its folder, flushed to disk and then renamed.
"""

import contextlib
import errno
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ghostsweep.errors import UsageError

FOREIGN_SECONDS = 86_400
"""Age at which a temporary file of another machine counts as left behind."""


class Unreadable(Exception):
    """A file of arrays that is damaged or cannot be opened."""


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a file whole: `fill` writes it under a temporary name, which is flushed and renamed to `path`.

    OSErrors pass through, with the path in them, and leave what was there before.
    """
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}{_mark(os.getpid())}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:  # those of a full disk come without a path, or without a number
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, so that what it replaces may be deleted."""
    with contextlib.suppress(OSError):  # where folders cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True) -> None:
    """Write arrays by name as .npz."""

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            (np.savez_compressed if compressed else np.savez)(file, allow_pickle=False, **arrays)

    write(path, fill)


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, all unless some are named. Raises FileNotFoundError or Unreadable."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # damage comes out as anything, down to errors of Python's tokenizer
        raise Unreadable(f"not readable: {type(error).__name__}: {error}") from error


def clean(folder: Path) -> None:
    """Delete temporary files that killed writers left in a folder, those of live processes excepted."""
    for path in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.name.split(".")[-2])
            if path.name.endswith(_mark(pid)):
                left = pid == os.getpid() or not _is_alive(pid)
            else:
                left = time.time() - path.stat().st_mtime > FOREIGN_SECONDS
            if left:
                path.unlink()


def _mark(pid: int) -> str:
    """How the name of a temporary file ends that this machine's process `pid` writes."""
    return f".{socket.gethostname()}.{pid}.tmp"


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder, created if need be, against every other process that asks for it, or if `shared` for it alone.

    The kernel lets go of it when the process ends, however it ends. Raises UsageError where another process holds it.
    Where the file system cannot lock it goes on with a warning; where nothing can be written there, without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    try:
        descriptor = _open_and_lock(path, shared)
    except BlockingIOError:
        raise UsageError(
            f"{folder}: found another run at work there ({path.read_text() or 'not known which'}); "
            "allowed: one at a time, or another --out"
        ) from None
    except (ImportError, OSError) as error:
        if not isinstance(error, OSError) or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            warnings.warn(f"{path}: cannot be locked ({error}); a second run there would not be noticed", stacklevel=3)
        yield
        return
    try:
        with contextlib.suppress(OSError):  # on a full disk the lock holds as well
            os.truncate(descriptor, 0)
            os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        if not shared:  # else others may hold it still
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):  # not empty, as a rule
                folder.rmdir()
        os.close(descriptor)


def is_locked(folder: Path) -> str:
    """Who holds a folder, in words; empty where nobody does or it cannot be told."""
    path = folder / "lock"
    try:
        import fcntl

        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read() or "not known which"
    except (ImportError, OSError):
        return ""
    return ""


def _open_and_lock(path: Path, shared: bool) -> int:
    """The locked file. Raises BlockingIOError where another process has it, OSError or ImportError where it cannot."""
    import fcntl  # not there on every platform

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it deleted it in between
