"""Makes the k-th operation on files below a folder fail, or kills the process there as far as the disk can tell.

Operations are opening, reading, writing, flushing, renaming, deleting, making and listing files and folders, and asking
for their size. After a kill every further operation on the folder is refused, so that nothing is tidied up and the disk
is as SIGKILL leaves it; locks are let go of, as the kernel does.
"""

import builtins
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ghostsweep.store import files

AUDITED = {"open": 0, "os.rename": 0, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.scandir": 0, "os.truncate": 0}
"""Events of Python's audit hooks that are operations on a path, and which argument that is."""
READING = ("open to read", "read", "os.scandir", "os.stat")


class Killed(BaseException):
    """The process is no more."""


class _State:
    """What is watched, and what is to happen. A process has one, since hooks cannot be taken back."""

    folder = ""
    at = 0
    fault: int | None = None
    only: tuple[str, ...] = ()
    done: list[str] = []
    dead = False
    hooked = False


def _operation(name: str, path: Any) -> None:
    """Count an operation, and let it fail if it is the one."""
    if not _State.folder or not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(_State.folder):
        return
    if _State.dead:
        raise Killed
    if _State.only and name not in _State.only:
        return
    _State.done.append(f"{name} {os.path.relpath(path, _State.folder)}")
    if len(_State.done) != _State.at:
        return
    if _State.fault is None:
        _State.dead = True
        raise Killed
    raise OSError(_State.fault, os.strerror(_State.fault), os.fspath(path))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in AUDITED and _State.folder:
        reads = event == "open" and isinstance(arguments[2], int) and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        _operation("open to read" if reads else event, arguments[AUDITED[event]])


@contextlib.contextmanager
def injected(folder: Path, at: int, fault: int | None, only: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Let operation `at` (from 1) below a folder fail with an errno, or kill where that is None; yields those done.

    `only` names the kinds of operations that count, by default all.
    """
    if not _State.hooked:
        sys.addaudithook(_audit)
        _State.hooked = True
    stat, fsync = os.stat, os.fsync

    def watched_stat(path: Any, *arguments: Any, **options: Any) -> Any:
        _operation("os.stat", path)
        return stat(path, *arguments, **options)

    def watched_fsync(descriptor: int) -> None:
        _operation("os.fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def watched_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        found = builtins.open(file, mode, *arguments, **options)  # noqa: SIM115
        return _Watched(found, os.readlink(f"/proc/self/fd/{found.fileno()}")) if "b" in mode else found

    _State.folder, _State.at, _State.fault, _State.only = str(folder), at, fault, only
    _State.done, _State.dead = [], False
    os.stat, os.fsync, files.open = watched_stat, watched_fsync, watched_open  # type: ignore[assignment,attr-defined]
    try:
        yield _State.done
    finally:
        os.stat, os.fsync = stat, fsync
        del files.open  # type: ignore[attr-defined]
        _State.folder = ""


class _Watched:
    """A file whose reading and writing are operations too."""

    def __init__(self, file: Any, path: str) -> None:
        self.file, self.path = file, path

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError) if _State.dead else contextlib.nullcontext():
            self.file.close()

    def read(self, *arguments: Any) -> Any:
        _operation("read", self.path)
        return self.file.read(*arguments)

    def write(self, data: Any) -> Any:
        _operation("write", self.path)
        if _State.at == len(_State.done) + 1 and _State.fault is None and not _State.only:
            self.file.write(data[: len(data) // 2])  # the next one is the kill: half of this has come to the disk
            self.file.flush()
            return None
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.EMFILE)
