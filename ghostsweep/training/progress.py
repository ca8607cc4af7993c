"""How far a sweep is: reported between calls of the compiled program, with an estimate of what is left."""

import contextlib
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

from ghostsweep.plan import Chunk


class Progress(NamedTuple):
    """How far a sweep is; counts include only what this call has to train."""

    runs_done: int
    runs: int
    updates: int  # runs times epochs, done
    share: float  # of the estimated work
    seconds: float  # since the start
    seconds_left: float


def harmless(report: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """The same report, but that its first failure to write ends it, with a warning: no training stops for its log.

    A full disk, a pipe whose reader left and a closed stream come as OSError or ValueError.
    """
    failed: list[Exception] = []

    def tell(now: Progress) -> None:
        if failed:
            return
        try:
            report(now)
        except (OSError, ValueError) as error:
            failed.append(error)
            with contextlib.suppress(OSError, ValueError, Warning):  # it may go the same way, or be an error here
                warnings.warn(f"progress is no longer reported: {error}", stacklevel=2)

    return tell


class Meter:
    """Turns epochs of the chunk in work into the progress of the whole."""

    def __init__(self, chunks: list[Chunk], report: Callable[[Progress], None]) -> None:
        self.report = report
        self.started = time.perf_counter()
        self.work = sum(chunk.seconds for chunk in chunks) or 1.0
        self.runs = sum(len(chunk.runs) for chunk in chunks)
        self.work_done, self.runs_done, self.updates = 0.0, 0, 0
        self.compiled = self.compiling = 0.0  # of the chunks before, and with the one in work
        self.current: Chunk | None = None
        self.resumed_work, self.resumed_updates = 0.0, 0  # what checkpoints gave

    def tell(self, chunk: Chunk, epoch: int, compile_seconds: float = 0.0) -> None:
        """Report that the chunk in work has come to `epoch`."""
        work, updates = chunk.seconds * epoch / chunk.epochs, epoch * len(chunk.runs)
        if chunk is not self.current:
            self.current, self.compiled = chunk, self.compiling
            self.resumed_work += work
            self.resumed_updates += updates
        self.compiling = self.compiled + compile_seconds
        now = self.work_done + work
        spent = time.perf_counter() - self.started
        trained = now - self.resumed_work
        left = (spent - self.compiling) * (self.work - now) / trained if trained > 0 else float("nan")
        updates += self.updates - self.resumed_updates
        self.report(Progress(self.runs_done, self.runs, updates, now / self.work, spent, left))

    def finish(self, chunk: Chunk, stored: int) -> None:
        """Report that a chunk is over, and `stored` of its runs stored."""
        self.work_done += chunk.seconds
        self.runs_done += stored
        self.updates += chunk.epochs * stored
        self.compiled = self.compiling
        self.tell(chunk, 0)
