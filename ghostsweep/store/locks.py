"""One writer of a folder: a lock that ends with its process, and that notices when the folder is no longer the same.

The kernel locks the file `lock`. Where the file system cannot, files made by an atomic create stand for it.
"""

import contextlib
import errno
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ghostsweep.errors import UsageError
from ghostsweep.store import files

PATIENCE_SECONDS = 2.0
"""How long a lock is asked for again: somebody may only be looking who holds it."""
MERGE_SECONDS = 600.0
"""How long one waits for who is putting the tables together."""
MERGING = "putting the tables together"
"""What the lock of such a process says it does."""
POLL_SECONDS = 0.02
UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""Errors of file systems that cannot lock."""
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Held:
    """A folder that this process holds."""

    folder: Path
    device: int
    inode: int

    def check(self) -> None:
        """Raise OSError where the folder has been renamed, removed or made anew since it was locked."""
        try:
            now = os.stat(self.folder)
        except FileNotFoundError:
            now = None
        if now is None or (now.st_dev, now.st_ino) != (self.device, self.inode):
            said = "was renamed, removed or made anew while a run was at work there; nothing more is written"
            raise OSError(errno.ESTALE, said, str(self.folder))


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False, doing: str = "") -> Iterator[Held]:
    """Hold a folder, created if need be, against every other process that asks for it, or if `shared` for it alone.

    The kernel lets go of it when the process ends, however it ends. Raises UsageError where another process holds it
    (after a moment, or as long as that one is MERGING), OSError where it cannot be told. In a folder where this
    process may not write anything, and nobody holds it, it goes on without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    while True:
        try:
            release = _take(folder, shared, doing)
            break
        except FileNotFoundError:  # removed by the one who ended
            folder.mkdir(parents=True, exist_ok=True)
        except BlockingIOError:
            holder = is_locked(folder)
            patience = MERGE_SECONDS if MERGING in holder else PATIENCE_SECONDS
            if time.monotonic() - began > patience:
                raise UsageError(
                    f"{folder}: found another run at work there ({holder or 'not known which'}); "
                    "allowed: one at a time, or another --out"
                ) from None
        time.sleep(POLL_SECONDS)
    try:
        yield hold(folder)
    finally:
        release()


def hold(folder: Path) -> Held:
    """A folder that is locked, to be known again."""
    now = os.stat(folder)
    return Held(folder, now.st_dev, now.st_ino)


def is_locked(folder: Path) -> str:
    """Who holds a folder, in words; empty where nobody does or it cannot be told."""
    for name in _created(folder):
        if not _is_left(folder / name):
            return f"{_text(folder / name)}; if it is no more, delete {folder / name}"
    try:
        import fcntl

        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (ImportError, OSError):
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _text(folder / "lock")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return ""


def _take(folder: Path, shared: bool, doing: str) -> Callable[[], None]:
    """Lock a folder; what is returned lets go of it. Raises BlockingIOError where another process has it."""
    path, said = folder / "lock", f"pid {os.getpid()} on {socket.gethostname()}" + (f", {doing}" if doing else "")
    try:
        import fcntl  # not there on every platform
    except ImportError:
        return _create(folder, shared, said)
    descriptor, writable = _open(path)
    if descriptor is None:
        return lambda: None  # nothing can be written here, and nobody is at work
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):  # whoever held it deleted it in between
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if others := [name for name in _created(folder) if not _is_left(folder / name)]:  # from where nothing locks
            raise BlockingIOError(errno.EAGAIN, "held", others[0])
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in UNLOCKABLE:
            path.unlink(missing_ok=True)
            return _create(folder, shared, said)
        raise
    if writable:
        with contextlib.suppress(OSError):  # on a full disk the lock holds as well
            os.truncate(descriptor, 0)
            os.write(descriptor, said.encode())

    def release() -> None:
        try:
            if not shared:  # else others may hold it still
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(descriptor), path.stat()):
                        path.unlink()
                        folder.rmdir()  # not empty, as a rule
        finally:
            os.close(descriptor)

    return release


def _open(path: Path) -> tuple[int | None, bool]:
    """The lock file and whether it can be written; None where there is none and none can be made.

    Raises OSError where there is one that cannot be read, or no place for one, and UsageError for what is no file.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor, writable = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666), True
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise UsageError(f"{path}: found a link, a pipe or a folder; allowed: a file, or nothing") from None
        if error.errno not in READ_ONLY:
            raise
        try:
            descriptor, writable = os.open(path, os.O_RDONLY | flags), False  # of another user: respected as well
        except FileNotFoundError:
            return None, False
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path}: found no file; allowed: a file, or nothing")
    files.as_folder(descriptor, path.parent)
    return descriptor, writable


def _create(folder: Path, shared: bool, said: str) -> Callable[[], None]:
    """The same where nothing locks: each makes a file that must not be there, then looks for those of others.

    Of two that come at once both may give way, but never both go on. Raises BlockingIOError. Files of killed processes
    of this machine are deleted; those of other machines hold until somebody deletes them.
    """
    own = folder / (f"lock.{socket.gethostname()}.{os.getpid()}" if shared else "lock.alone")
    for name in _created(folder):
        if _is_left(folder / name):
            (folder / name).unlink(missing_ok=True)
    try:
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise BlockingIOError(errno.EAGAIN, "held", str(own)) from None
    try:
        os.write(descriptor, said.encode())
    finally:
        os.close(descriptor)
    if any(name != own.name and (not shared or name == "lock.alone") for name in _created(folder)):
        own.unlink()
        raise BlockingIOError(errno.EAGAIN, "held", str(own))

    def release() -> None:
        with contextlib.suppress(OSError):
            own.unlink()
            folder.rmdir()

    return release


def _created(folder: Path) -> list[str]:
    """The files that stand for locks in a folder."""
    with contextlib.suppress(OSError):
        return [name for name in files.listed(folder) if re.fullmatch(r"lock\.(alone|.+\.[0-9]+)", name)]
    return []


def _is_left(path: Path) -> bool:
    """Whether such a file is of a process of this machine that is no more."""
    found = re.match(r"pid ([0-9]+) on (\S+?)(,|$)", _text(path))
    return bool(found and found[2] == socket.gethostname() and not files.is_alive(int(found[1])))


def _text(path: Path) -> str:
    """What a lock says, as a line that can be printed."""
    try:
        said = files.read(path)[:200].decode(errors="replace")
    except (OSError, files.Damaged):
        return "not known which"
    return "".join(c if c.isprintable() else "?" for c in said) or "not known which"
