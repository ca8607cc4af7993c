"""How far a training is, as it is shown: a bar on a terminal, one line of a notebook that is gone at the end."""

import contextlib
import html
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ghostsweep.machine.terminal import duration, is_live
from ghostsweep.training.progress import Progress as Report

Tell = Callable[[Report], None]


class Meter:
    """Shows progress on standard error: a live bar on a terminal, else a line by `note` whenever runs are finished."""

    def __init__(self, console: Console, note: Callable[[str], None] | None = None) -> None:
        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not is_live("stderr"),
            transient=note is None,
        )
        self.task = self.bar.add_task("", total=1.0, said="compiling")
        self.note, self.told = note, 0

    def __enter__(self) -> "Meter":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, now: Report) -> None:
        self.bar.update(self.task, completed=now.share, said=_words(now))
        if self.bar.disable and self.note is not None and now.runs_done > self.told:
            self.told = now.runs_done
            self.note(_words(now))


def _words(now: Report) -> str:
    """Runs done, how fast, and what is left."""
    if not now.updates:
        return f"{now.runs:,} runs, compiling"
    rate = f"{now.updates / now.seconds:.2g}"
    return f"{now.runs_done:,} / {now.runs:,} runs, {rate} epochs/s, {duration(now.seconds_left)} left"


@contextlib.contextmanager
def shown(progress: bool | Tell) -> Iterator[Tell | None]:
    """What is told how far a training is: a bar in a terminal or a notebook, a function of one's own, or nothing."""
    if progress is False:
        yield None
    elif callable(progress):
        yield progress
    elif (display := _notebook()) is not None:
        line = display("", display_id=True)
        try:
            yield lambda now: line.update(_bar(now))
        finally:
            line.update(_Html(""))
    elif is_live("stderr"):
        with Meter(Console(stderr=True, markup=False, emoji=False, highlight=False)) as meter:
            yield meter
    else:
        yield None


def _notebook() -> Any:
    """IPython's display where a notebook runs this; None elsewhere. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    return sys.modules["IPython.display"].display if "IPython.display" in sys.modules else None


class _Html:
    """A piece of HTML as a notebook shows it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return ""


def _bar(now: Report) -> _Html:
    return _Html(f"<progress value='{now.share:.4f}' max='1'></progress> {html.escape(_words(now))}")
