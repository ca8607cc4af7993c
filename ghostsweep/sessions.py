"""One session of training: its devices and memory, how it is interrupted, and what tables say of where they come from.

JAX is imported only where something is trained, so that results can be looked at where it is not installed.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ghostsweep import files, groups, ledger, plan, tables
from ghostsweep.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.errors import UsageError
from ghostsweep.progress import Progress
from ghostsweep.spec import ENGINE_VERSION, Initial, Sweep


@dataclass(frozen=True)
class Options:
    """How to train: seconds between checkpoints, bytes and number of devices to use (None: half of what is free; all).

    Raises UsageError for numbers that cannot be.
    """

    checkpoint_seconds: float = CHECKPOINT_SECONDS
    memory_bytes: float | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        for name in ("checkpoint_seconds", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name}: found {value}; allowed: a number from 0")


def train(
    sweep: Sweep,
    planned: pd.DataFrame,
    left: pd.DataFrame,
    folder: Path,
    options: Options,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Train the runs that are left of those planned into parts of `folder`, and write down what this session did."""
    if importlib.util.find_spec("jax") is None:
        raise UsageError("training needs JAX, which is not installed here; allowed: pip install jax optax")
    needed, free = groups.disk_bytes(groups.of(left), sweep), shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(f"{folder}: found {free / 1e9:.3g} GB of disk free; allowed: {needed / 1e9:.3g}, the tables")
    now = datetime.datetime.now(datetime.UTC)
    session: dict[str, Any] = {"started": now.isoformat(timespec="seconds")}
    path = folder / "sessions" / f"{now:%Y%m%dT%H%M%S%f}.{socket.gethostname()}.{os.getpid()}.json"
    _write(path, session)  # where nothing can be written, now rather than at the end
    try:
        session |= _train(sweep, planned, left, folder, options, progress)
    finally:
        if any(folder.glob("parts/*")) or any(folder.glob("checkpoints/*")):
            _write(path, session)
        else:
            path.unlink()
            with contextlib.suppress(OSError):  # not empty
                path.parent.rmdir()


def _write(path: Path, data: dict[str, Any], **options: Any) -> None:
    files.write(path, lambda new: new.write_text(json.dumps(data, **options) + "\n"))


def _train(
    sweep: Sweep,
    planned: pd.DataFrame,
    left: pd.DataFrame,
    folder: Path,
    options: Options,
    progress: Callable[[Progress], None] | None,
) -> dict[str, Any]:
    """Train the runs that are left; return what to remember of this session."""
    import jax

    from ghostsweep import ambient, engine, memory

    devices = engine.local_devices(ledger.cores(), options.devices)
    engine.keep_programs(devices)
    wide = devices[0].platform != "cpu"
    given = memory.usable_bytes(devices) if options.memory_bytes is None else options.memory_bytes
    is_left = planned.index.isin(left.index)
    chunks = plan.chunks(planned, len(devices), given / len(devices), wide=wide, left=is_left)
    parents = set(planned["parent"].dropna())
    if sweep.initial is not None:
        _store_initial(sweep.initial, chunks, folder)
    with interruptible() as check:

        def tell(now: Progress) -> None:
            if progress is not None:
                progress(now)
            check()

        spent = engine.train_chunks(chunks, sweep.record_of, folder, devices, tell, parents, options.checkpoint_seconds)
    return {
        "runs_trained": len(left),
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "engine_version": ENGINE_VERSION,
        "host": socket.gethostname(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "jax": jax.__version__,
        "jax_config": ambient.settings(),
        **{key: round(value, 3) for key, value in asdict(spent).items()},
    }


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM stop training where the function given is called, a second one at once.

    An exception raised by the signal itself could come while JAX is calling back, which would swallow it. Handlers
    that the caller has set stay.
    """
    caught: list[int] = []
    before: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = [number for number, default in before.items() if signal.getsignal(number) == default]
    if threading.current_thread() is not threading.main_thread():
        ours = []

    def catch(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    def check() -> None:
        if caught:
            raise KeyboardInterrupt(caught[0])

    for number in ours:
        signal.signal(number, catch)
    try:
        yield check
        check()
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _store_initial(initial: Initial, chunks: list[plan.Chunk], folder: Path) -> None:
    """Put given parameters where runs find what they begin from; UsageError where they do not fit the model."""
    from ghostsweep import train

    for shape in {chunk.shape: None for chunk in chunks if chunk.phase == 1}:
        allowed = train.parameter_shapes(shape)
        if (found := {name: value.shape for name, value in initial.params.items()}) != allowed:
            raise UsageError(f"{initial.path}: found parameters {found}; allowed for this model: {allowed}")
    params = {f"params/{name}": value[None] for name, value in initial.params.items()}
    tables.write_ends(folder, pd.Series([initial.run_id]), params)


def merge(sweep: Sweep, folder: Path, planned: pd.DataFrame) -> None:
    """Put finished parts and sessions into the tables and meta.json of a sweep. The folder must be locked."""
    waiting = sorted((folder / "sessions").glob("[!.]*.json"))
    tables.merge(folder, planned["run_id"], _meta(sweep, folder, waiting))
    for path in waiting:
        path.unlink()
    with contextlib.suppress(OSError):  # not there, or not empty
        (folder / "sessions").rmdir()


def announce(sweep: Sweep, folder: Path) -> None:
    """Say in meta.json what a folder is of whose first parts are being trained."""
    _write(folder / "meta.json", _meta(sweep, folder, []), indent=1)


def _meta(sweep: Sweep, folder: Path, waiting: list[Path]) -> dict[str, Any]:
    """Where the tables come from: the spec, the code, the machine, and every session that trained."""
    sessions = tables.read_meta(folder).get("sessions", [])
    found = []
    for path in waiting:
        try:
            found.append(json.loads(path.read_text()))
        except ValueError as error:
            warnings.warn(f"{path}: not readable ({error}); what that session did is not known", stacklevel=2)
    return {
        "name": sweep.name,
        "title": sweep.title,
        "spec": sweep.text,
        "spec_sha256": hashlib.sha256(sweep.text.encode()).hexdigest(),
        "record": sweep.record.model_dump(),
        "fit": sweep.fit.model_dump(),
        "refine": sweep.refine and sweep.refine.model_dump(),
        "engine_version": ENGINE_VERSION,
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "sessions": sessions + [session for session in found if session not in sessions],
    }


def _git_commit() -> str:
    """The commit of the source tree this package runs from; empty where it is not a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
