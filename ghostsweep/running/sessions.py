"""One session of training: its devices and memory, how it is interrupted, and what tables say of where they come from.

JAX is imported only where something is trained, so that results can be looked at where it is not installed.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ghostsweep import plan
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources, signals
from ghostsweep.models.sizes import parameter_shapes
from ghostsweep.plan import Plan, groups
from ghostsweep.running import ledger
from ghostsweep.spec import ENGINE_VERSION, Sweep
from ghostsweep.store import described, files, manifest, merging, parts, tables
from ghostsweep.store.ends import Ends
from ghostsweep.store.locks import Held
from ghostsweep.store.manifest import Manifest
from ghostsweep.store.tables import Stored
from ghostsweep.training.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.training.progress import Progress


@dataclass(frozen=True)
class Options:
    """How to train: seconds between checkpoints, bytes and number of devices to use (None: half of what is free; all).

    persistent: whether each run stays in one kernel of a GPU from report to report. Raises UsageError for numbers that
    cannot be.
    """

    checkpoint_seconds: float = CHECKPOINT_SECONDS
    memory_bytes: float | None = None
    devices: int | None = None
    persistent: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_seconds", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name}: found {value}; allowed: a number from 0")


def train(
    planned: Plan,
    held: Held,
    found: Stored,
    options: Options,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Train the runs that are left of a plan into parts of the folder, and write down what this session did.

    `found` is what the folder holds. Also of a session that is killed the file in sessions/ says where and with what
    it ran; how many runs it trained, and how it ended, is added when it ends.
    """
    resources.load_jax()
    folder, sweep, left = held.folder, planned.sweep, planned.left
    needed, free = groups.disk_bytes(groups.of(left), sweep), shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(f"{folder}: found {free / 1e9:.3g} GB of disk free; allowed: {needed / 1e9:.3g}, the tables")
    import jax

    from ghostsweep.machine import ambient, memory
    from ghostsweep.training import engine, persistent, probe

    devices = engine.local_devices(resources.cores(), options.devices)
    engine.keep_programs(devices)
    given = memory.usable_bytes(devices) if options.memory_bytes is None else options.memory_bytes
    wide = devices[0].platform != "cpu"
    chunks = plan.chunks(planned, len(devices), given / len(devices), wide=wide)
    probe.prove({chunk.shape for chunk in chunks})
    if options.persistent:
        platform = devices[0].platform
        chunks = [replace(chunk, shape=persistent.chosen(chunk.shape, platform)) for chunk in chunks]
    ends = _ends(sweep, chunks, folder, found)
    generation, count = parts.following((part.about for part in found.parts), found.manifest.generation)
    order = generation, count + len(files.listed(folder / "sessions"))
    now = datetime.datetime.now(datetime.UTC)
    path = folder / "sessions" / f"{now:%Y%m%dT%H%M%S%f}.{socket.gethostname()}.{os.getpid()}.json"
    session: dict[str, Any] = {
        "id": path.stem,
        "started": now.isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "jax": jax.__version__,
        "jax_config": ambient.settings(),
        "persistent": options.persistent,
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "engine_version": ENGINE_VERSION,
        "runs_planned": len(left.runs),
        "order": order,
    }
    if not found.manifest.about:
        announce(sweep, folder, found.manifest)
    files.write_json(path, session)  # where nothing can be written, now rather than at the end
    where = engine.Store(folder, ends, order, path.stem, held.check)
    try:
        with signals.interruptible() as check:

            def tell(now: Progress) -> None:
                held.check()
                if progress is not None:
                    progress(now)
                check()

            engine.train_chunks(
                chunks,
                sweep.record_of,
                where,
                devices,
                tell,
                set(planned.runs["parent"].dropna()),
                options.checkpoint_seconds,
            )
        session["ended"] = "all done"
    except KeyboardInterrupt:
        session["ended"] = "interrupted"
        raise
    except BaseException as error:
        session["ended"] = f"{type(error).__name__}"
        raise
    finally:
        spent = where.spent
        session |= {"runs_trained": where.runs} | {key: round(value, 3) for key, value in asdict(spent).items()}
        with contextlib.suppress(OSError):  # what the error said that ended it is worth more
            held.check()
            if where.runs or parts.waiting(folder) or files.listed(folder / "checkpoints"):
                files.write_json(path, session)
            else:
                path.unlink()
                path.parent.rmdir()  # not empty, as a rule


def _ends(sweep: Sweep, chunks: list[plan.Chunk], folder: Path, found: Stored) -> Ends:
    """What runs begin from: ends that are stored, and parameters that the sweep gives, which are stored with them.

    Raises UsageError where those do not fit the model.
    """
    initial = sweep.initial
    if initial is None:
        return Ends(folder, found)

    for shape in {chunk.shape: None for chunk in chunks if chunk.phase == 1}:
        allowed = parameter_shapes(shape)
        if (own := {name: value.shape for name, value in initial.params.items()}) != allowed:
            raise UsageError(f"{initial.path}: found parameters {own}; allowed for this model: {allowed}")
    params = {f"params/{name}": value for name, value in initial.params.items()}
    return Ends(folder, found, {initial.run_id: params})


def merge(planned: Plan, held: Held, found: Stored | None = None) -> None:
    """Put finished parts and sessions into the tables and meta.json of a sweep whose folder is held.

    `found` is what the folder holds, where nothing was added since it was read.
    """
    held.check()
    folder, sweep = held.folder, planned.sweep
    found = tables.stored(folder, mend=True) if found is None else found
    about, done = _about(sweep, found.manifest.about.get("sessions", [])), dict[str, str]()
    known = {session.get("id") for session in about["sessions"]}
    trained, new = Counter[str](), list[dict[str, Any]]()
    for part in found.parts:
        trained[part.about["session"]] += len(part.runs)
    for name in files.listed(folder / "sessions"):
        path = folder / "sessions" / name
        try:
            data = files.read(path)
            session = files.parsed_json(data, path)
            described.check(session, described.Session, path)
        except files.Damaged as error:
            aside = files.set_aside(folder, path)
            warnings.warn(f"{error} (kept as {aside}); what that session did is not known", stacklevel=2)
            continue
        session.setdefault("id", path.stem)
        if "runs_trained" not in session:  # it was killed
            session["runs_trained"] = trained[session["id"]]
        if session["id"] not in known:
            new.append(session)
        done[f"sessions/{name}"] = files.digest(data)
    about["sessions"] += sorted(new, key=lambda one: (one.get("order", [0, 0]), one["id"]))  # not by their clocks
    initial = {} if sweep.initial is None else {sweep.initial.run_id: sweep.initial.params}
    merging.merge(folder, found, planned.runs["run_id"], about, done, initial)


def announce(sweep: Sweep, folder: Path, current: Manifest) -> None:
    """Say in meta.json what a folder is of that does not tell yet; what it holds stays."""
    manifest.write(folder, replace(current, about=_about(sweep, [])))


def _about(sweep: Sweep, sessions: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the tables come from: the spec, the code, and every session that trained."""
    return {
        "name": sweep.name,
        "title": sweep.title,
        "spec": sweep.text,
        "spec_sha256": hashlib.sha256(sweep.text.encode()).hexdigest(),
        "record": sweep.record.model_dump(),
        "fit": sweep.fit.model_dump(),
        "refine": sweep.refine and sweep.refine.model_dump(),
        "code": {code.reference: code.kept for code in sweep.code},
        "identities": ledger.identities(sweep),
        "engine_version": ENGINE_VERSION,
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "sessions": list(sessions),
    }


def _git_commit() -> str:
    """The commit that this package was built from, or of the checkout it runs from; empty where neither tells.

    A repository around it (of a paper, with a virtual environment inside) is not where it comes from.
    """
    package = Path(__file__).resolve().parents[1]
    root = package.parent
    if not (root / ".git").exists():
        built = package / "commit.txt"
        return built.read_text().strip() if built.is_file() else ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as in a hook
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
