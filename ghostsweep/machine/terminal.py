"""Texts and streams as terminals, pipes and logs need them: nothing hidden in a text, no exception for a lost line."""

import contextlib
import errno
import io
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that a terminal obeys, or does not show: control, format, surrogate, line and paragraph."""

NAMES = ("stdout", "stderr")


def visible(text: str, keep: str = "") -> str:
    r"""A text with its control characters written out, as \x1b is, but for those in `keep`; anything else as it is.

    Titles, keys and messages come from files of others: passed on as they are, they could move the cursor, recolour
    or rename the terminal, or show text in another order.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if c not in keep and unicodedata.category(c) in HIDDEN else c for c in text
    )


def reason(error: BaseException) -> str:
    """An error of the system in one line: the file, where it is known, and what it says."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    name = getattr(error, "filename", None)
    return visible(said if name is None else f"{name}: {said}")


class _Forgiving(io.FileIO):
    """A file descriptor that drops what cannot be written, and remembers why."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.lost is None:
            try:
                return super().write(data) or len(data)
            except OSError as error:
                self.lost = error
        return len(data)


class Lost:
    """Why lines of the two streams were lost, each the first reason; the reader of a pipe that went away is none."""

    def __init__(self) -> None:
        self.files: dict[str, _Forgiving] = {}

    def lines(self) -> list[str]:
        """A line for each stream of which something was lost."""
        found = {name: file.lost for name, file in self.files.items()}
        return [
            f"{name}: {error.strerror or error}; what was to be printed there is lost"
            for name, error in found.items()
            if error is not None and error.errno != errno.EPIPE
        ]


@contextlib.contextmanager
def forgiving() -> Iterator[Lost]:
    """Print without exceptions: characters that a stream's encoding lacks as escapes, lost lines as `Lost` tells.

    A pipe whose reader left, a full disk or a terminal that is gone must not stop a training. Streams that are no
    files of the system, as a notebook's, stay as they are.
    """
    lost, before = Lost(), (sys.stdout, sys.stderr)
    try:
        sys.stdout, sys.stderr = (_opened(s, name, lost) for s, name in zip(before, NAMES, strict=True))
        yield lost
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # none at all, or closed
                stream.flush()
        sys.stdout, sys.stderr = before


def _opened(stream: TextIO, name: str, lost: Lost) -> TextIO:
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # none at all, or not a file, or closed
        return stream
    file = lost.files[name] = _Forgiving(descriptor, "w", closefd=False)
    encoding = stream.encoding or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, errors="backslashreplace", line_buffering=True)


def is_live(stream: str = "stdout") -> bool:
    """Whether a stream is a terminal, on which a line may be drawn again; FORCE_COLOR does not make it one."""
    try:
        return bool(getattr(sys, stream).isatty())
    except (AttributeError, ValueError):  # none at all, or closed
        return False


def duration(seconds: float) -> str:
    """A time in words: 3 s, 2 min 10 s, 4 h 5 min."""
    if not seconds >= 0:
        return "?"
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    units = ("min", "s") if whole < 3600 else ("h", "min")
    big, small = divmod(whole if whole < 3600 else whole // 60, 60)
    return f"{big} {units[0]}" + (f" {small} {units[1]}" if small else "")
