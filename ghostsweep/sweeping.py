"""Trains sweeps: what is left of one, its folder, its memory, interruptions, and where its tables come from.

JAX is imported only where something is trained, so that results can be looked at where it is not installed.
"""

import contextlib
import datetime
import difflib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ghostsweep import analysis, files, groups, plan, tables
from ghostsweep.checkpoint import CHECKPOINT_SECONDS
from ghostsweep.errors import UsageError
from ghostsweep.groups import Group
from ghostsweep.spec import ENGINE_VERSION, Initial, Sweep, load

if TYPE_CHECKING:
    from ghostsweep.engine import Progress


@dataclass(frozen=True)
class Status:
    """A sweep and how much of it is on disk."""

    sweep: Sweep
    planned: tuple[Group, ...]
    left: tuple[Group, ...]
    stale: bool
    """Whether the tables are of another text of the sweep file, or of another version of the engine."""

    @property
    def runs(self) -> int:
        """Number of runs, of a refined sweep those wanted so far."""
        return sum(group.runs for group in self.planned)

    @property
    def done(self) -> int:
        """Number of these that are on disk."""
        return self.runs - sum(group.runs for group in self.left)

    @property
    def core_seconds_left(self) -> float:
        """Estimated training time of the others on one core, by the constants of the plan."""
        return sum(group.seconds for group in self.left)

    @property
    def curve_rows(self) -> int:
        """Rows that the table of curves will have."""
        return groups.curve_rows(self.planned, self.sweep)

    @property
    def growing(self) -> bool:
        """Whether a refined sweep has levels to come, whose runs are only known once those before are trained."""
        return self.sweep.refine is not None and len(self.left) > 0

    @property
    def state(self) -> str:
        """In a word: stale, done, partial, or new where nothing is on disk."""
        return "stale" if self.stale else "done" if not self.left else "partial" if self.done else "new"


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find(spec: str | Path, sweeps: str | Path = "sweeps") -> Path:
    """The file of a sweep, given as a path or as a name below `sweeps`."""
    for path in (Path(spec), Path(sweeps) / f"{spec}.toml"):
        if path.is_file():
            return path
    known = sorted(p.stem for p in Path(sweeps).glob("*.toml"))
    near = difflib.get_close_matches(str(spec), known, n=1)
    raise UsageError(
        f"{spec}: found no such sweep; allowed: a .toml file or one of {', '.join(known) or 'none here'}"
        + (f"; did you mean {near[0]!r}?" if near else "")
    )


def status(sweep: Sweep, out: str | Path = "results") -> Status:
    """How much of a sweep is done, and what the rest costs; trains and writes nothing.

    Runs are planned one by one only where tables hold some of them. Tables of the same text and engine that have as
    many rows as planned count as done; `run` looks at every row of them.
    """
    folder = Path(out) / sweep.name
    stale = _is_stale(sweep, folder)
    if not tables.has_runs(folder):
        planned = groups.planned(_first_level(sweep))
        return Status(sweep, tuple(planned), tuple(planned), stale)
    if not stale and sweep.refine is None and sweep.initial is None and not _keeps_snapshots(sweep):
        planned = groups.planned(sweep)
        rows = sum(group.runs for group in planned), groups.curve_rows(planned, sweep)
        if tables.row_counts(folder) == rows:
            return Status(sweep, tuple(planned), (), stale)
    table, left = _work(sweep, folder, plan.expand(sweep))
    return Status(sweep, tuple(groups.of(table)), tuple(groups.of(left)), stale)


def _is_stale(sweep: Sweep, folder: Path) -> bool:
    """Whether there are tables, and of another text or engine."""
    meta = tables.read_meta(folder)
    return bool(meta) and (meta.get("spec"), meta.get("engine_version")) != (sweep.text, ENGINE_VERSION)


def _first_level(sweep: Sweep) -> Sweep:
    """A refined sweep with the learning rates alone that it begins with; any other as it is."""
    if sweep.refine is None:
        return sweep
    grids = []
    for grid in sweep.grids:
        rates = np.unique(grid.axes["learning_rate"])
        first = rates[analysis.first_rates(len(rates), sweep.refine.levels)].tolist()
        grids.append(replace(grid, axes={**grid.axes, "learning_rate": first}))
    return replace(sweep, grids=tuple(grids))


def _keeps_snapshots(sweep: Sweep) -> bool:
    return any(sweep.record_of(phase).snapshots is not None for phase in range(1, len(sweep.phases) + 2))


def run(
    sweep: Sweep | str | Path,
    *,
    quick: bool = False,
    out: str | Path = "results",
    progress: "Callable[[Progress], None] | None" = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory_bytes: float | None = None,
    devices: int | None = None,
) -> tables.Tables:
    """Train what is missing of a sweep and return its tables.

    `sweep` is a Sweep, a path or a name below sweeps/. Runs already in `out`/<name> are reused by run id.
    `progress` is called between calls of the compiled program. `memory_bytes` is what training may take on all
    devices together, by default half of what is free. `devices` is how many of this machine's GPUs, or else cores,
    to use, by default all; results do not depend on it.

    Killed at any moment, the same call goes on with the chunk in work from its last checkpoint, at most
    `checkpoint_seconds` old, to the same tables. Ctrl-C and SIGTERM write one and raise KeyboardInterrupt(signal), a
    second one at once. Raises UsageError for a bad sweep, before anything is compiled, where another process is at
    work in the folder, and where memory is too small for a single run; TrainingError, after all else is stored,
    where chunks failed.
    """
    if not isinstance(sweep, Sweep):
        sweep = load(find(sweep), quick=quick)
    elif quick:
        raise UsageError("quick: a Sweep is already loaded; give load(..., quick=True) instead")
    for name, value in (("checkpoint_seconds", checkpoint_seconds), ("memory_bytes", memory_bytes)):
        if value is not None and not value >= 0:
            raise UsageError(f"{name}: found {value}; allowed: a number from 0")
    folder = Path(out) / sweep.name
    with files.locked(folder):
        files.clean(folder)
        grid = plan.expand(sweep)
        planned, left = _work(sweep, folder, grid)
        for _ in range(1 + (sweep.refine.levels if sweep.refine else 0)):
            if left.empty:
                break
            if importlib.util.find_spec("jax") is None:
                raise UsageError("training needs JAX, which is not installed here; allowed: pip install jax optax")
            session: dict[str, Any] = {"started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
            try:
                session |= _train(sweep, planned, left, folder, progress, checkpoint_seconds, memory_bytes, devices)
            finally:
                if (folder / "parts").exists():
                    tables.merge(folder, planned["run_id"], _meta(sweep, folder, session))
            if sweep.refine is not None:
                planned, left = _work(sweep, folder, grid)
        if not tables.is_merged(folder, planned["run_id"]) or _is_stale(sweep, folder):
            tables.merge(folder, planned["run_id"], _meta(sweep, folder, None))
        for leftover in ("checkpoints", "failed"):  # of chunks that this sweep no longer has
            shutil.rmtree(folder / leftover, ignore_errors=True)
        return tables.read(sweep.name, out)


def _work(sweep: Sweep, folder: Path, planned: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of all runs of a sweep those wanted, of a refined one so far, and of these the ones that are to be trained."""
    finished = _finished(sweep, planned, folder)
    if sweep.refine is not None:
        runs = tables.stored(folder)[0]
        done = runs[tables.among(runs["run_id"], planned.loc[finished, "run_id"])]
        wanted = analysis.refined(planned, done, levels=sweep.refine.levels, share=sweep.fit.share)
        planned, finished = planned[wanted].reset_index(drop=True), finished[wanted].reset_index(drop=True)
    return planned, planned[~finished]


def _train(
    sweep: Sweep,
    planned: pd.DataFrame,
    left: pd.DataFrame,
    folder: Path,
    progress: "Callable[[Progress], None] | None",
    checkpoint_seconds: float,
    memory_bytes: float | None,
    n_devices: int | None,
) -> dict[str, Any]:
    """Train the runs that are left; return what to remember of this session."""
    import jax

    from ghostsweep import engine, memory

    devices = engine.local_devices(cores(), n_devices)
    wide = devices[0].platform != "cpu"
    given = memory.usable_bytes(devices) if memory_bytes is None else memory_bytes
    is_left = planned.index.isin(left.index)
    chunks = plan.chunks(planned, len(devices), given / len(devices), wide=wide, left=is_left)
    parents = set(planned["parent"].dropna())
    if sweep.initial is not None:
        _store_initial(sweep.initial, chunks, folder)
    with _interruptible() as check:

        def tell(now: "Progress") -> None:
            if progress is not None:
                progress(now)
            check()

        spent = engine.train_chunks(chunks, sweep.record_of, folder, devices, tell, parents, checkpoint_seconds)
    return {
        "runs_trained": len(left),
        "ghostsweep": importlib.metadata.version("ghostsweep"),
        "git_commit": _git_commit(),
        "engine_version": ENGINE_VERSION,
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "jax": jax.__version__,
        **{key: round(value, 3) for key, value in asdict(spent).items()},
    }


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
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


def _finished(sweep: Sweep, planned: pd.DataFrame, folder: Path) -> pd.Series:
    """Which planned runs are on disk with all that is to be kept, and with their end where a later phase needs it."""
    runs, curves = tables.stored(folder)
    finished = pd.Series(False, index=planned.index)
    ends = tables.stored_ends(folder) if planned["parent"].notna().any() else {}
    wanted: set[str] = set()  # runs from which runs that are left go on
    for phase in sorted(planned["phase"].unique(), reverse=True):
        record = sweep.record_of(phase)
        rows = planned[planned["phase"] == phase]
        valid = runs[runs["phase"] == phase]
        valid = valid[tables.complete(valid, curves, record)]
        done = tables.among(rows["run_id"], valid["run_id"]) & ~tables.among(rows["run_id"], wanted - ends.keys())
        if record.snapshots is not None:
            chosen = record.snapshots.chosen(rows)
            epochs = {length: record.snapshots.schedule(length) for length in rows["epochs"].unique()}
            kept = [
                tables.has_snapshots(folder, run_id, epochs[length])
                for run_id, length in rows.loc[chosen, ["run_id", "epochs"]].itertuples(index=False)
            ]
            done[chosen] &= pd.array(kept, bool)
        finished[rows.index] = done
        wanted = set(rows.loc[~done, "parent"].dropna())
    return finished


def _meta(sweep: Sweep, folder: Path, session: dict[str, Any] | None) -> dict[str, Any]:
    """Where the tables come from: the spec, the code, the machine, and every session that trained."""
    sessions = tables.read_meta(folder).get("sessions", []) + ([session] if session else [])
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
        "sessions": sessions,
    }


def _git_commit() -> str:
    """The commit of the source tree this package runs from; empty where it is not a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
