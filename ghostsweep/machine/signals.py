"""Signals that ask a process to end: heard from its first moment on, answered in a line, and never lost.

An exception out of a handler may come while JAX is calling back, which swallows it, and no handler runs while a program
is being compiled. So the command line hears of signals in a thread: while runs are trained the first one stops them
where that can be done, with a checkpoint; any other ends the process there and then, which the store is made for.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
temporary = set[str]()
"""Files under temporary names that this process writes, which go with it."""
_caught = list[int]()
"""Signals that are to stop what is at work."""
_working = list[object]()
"""Who is at work and asks for signals now and then."""
_hears = False


def hear() -> None:
    """Hear of signals in a thread from now on, for the command line; those that are ignored, as by nohup, stay so."""
    global _hears
    if _hears or threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in NUMBERS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda *_: None)  # the byte that Python writes to the pipe is what counts
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()
    _hears = True


def _listen(reader: int) -> None:
    while number := os.read(reader, 1)[0]:
        if number not in NUMBERS:
            continue
        if _working and not _caught:
            _caught.append(number)
            _say()
        else:
            said = "stopped" if _caught else "interrupted"
            os.write(2, f"{said}; what is finished is kept, and the same command goes on from there\n".encode())
            for path in [*temporary]:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            os._exit(128 + number)


def _say() -> None:
    if sys.stderr is not None and os.isatty(2):  # whoever sits there would press again while a program is compiled
        os.write(2, b"\nstopping: what is trained is being written down; once more stops at once\n")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Let signals stop what is at work where the function given is called, by KeyboardInterrupt(number).

    A second one ends it at once. In Python handlers that the caller has set stay, and all are as before at the end.
    """
    mine = [] if _hears or threading.current_thread() is not threading.main_thread() else NUMBERS
    before: dict[int, Any] = {number: signal.getsignal(number) for number in mine}
    ours = [number for number, usual in before.items() if usual in (signal.SIG_DFL, signal.default_int_handler)]

    def catch(number: int, _: object) -> None:
        _caught.append(number)
        signal.signal(number, before[number])
        _say()

    def check() -> None:
        if _caught:
            raise KeyboardInterrupt(_caught[0])

    for number in ours:
        signal.signal(number, catch)
    _working.append(check)
    try:
        yield check
        check()
    finally:
        _working.remove(check)
        for number in ours:
            signal.signal(number, before[number])
        if not _hears:
            _caught.clear()
