"""What this process may use of the machine, without JAX: cores and memory by every limit that is known; whether JAX.

Limits are looked for where Linux keeps them: the process's control group and each of its parents, in the hierarchies
of both versions, and in the variables of SLURM, whose limits need not be control groups. What cannot be read limits
nothing.
`proc` is the folder of processes' files; where control groups are mounted is read from there.
"""

import contextlib
import importlib
import importlib.util
import math
import multiprocessing.context
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from ghostsweep.errors import UsageError

PROC = Path("/proc")
DEFAULT_BYTES = 4 * 10**9
"""Free memory where the system does not say."""
MEGABYTE = 2**20
"""SLURM's unit of memory, in bytes."""


def cores(proc: Path = PROC, environment: Mapping[str, str] = os.environ) -> int:
    """Number of CPU cores this process may use, at least one."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _groups(proc, "cpu"):
        if (folder / "cpu.max").exists():
            quota, _, period = (_text(folder / "cpu.max") or "").partition(" ")
        else:
            quota, period = _text(folder / "cpu.cfs_quota_us") or "", _text(folder / "cpu.cfs_period_us") or ""
        if (share := _count(quota)) and (turn := _count(period)):
            found = min(found, math.ceil(share / turn))
    if allotted := _slurm_cores(environment):
        found = min(found, allotted)
    return max(1, int(found))


def free_bytes(proc: Path = PROC, environment: Mapping[str, str] = os.environ) -> int:
    """Memory that this process can still take without swapping or meeting a limit; 0 where it is beyond one.

    What a control group holds as file cache that nobody has used of late counts as free: it is given back on demand.
    """
    free = _available(proc)
    for folder in _groups(proc, "memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            free = min(free, limit - max(0, used - _cache(folder)))
    if (limit := _slurm_bytes(environment)) is not None:
        free = min(free, limit)
    return max(0, free)


def load_jax() -> None:
    """Import JAX; UsageError, a line, where it is not installed or a variable of its own is not as it can be read."""
    if importlib.util.find_spec("jax") is None:
        raise UsageError(
            "JAX: found none here; allowed where runs are trained or networks looked into: pip install jax optax"
        )
    try:
        importlib.import_module("jax")
    except (ImportError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"JAX: found a setting that it cannot start with ({error}); allowed: as JAX documents"
        ) from error


def check_executor(executor: object) -> None:
    """Raise UsageError for a pool whose processes would be forks of this one, once JAX has started in it.

    A fork has JAX's locks but none of its threads, and waits for them for ever.
    """
    context = getattr(executor, "_mp_context", None)  # of concurrent.futures; other executors have none
    if not isinstance(context, multiprocessing.context.BaseContext) or context.get_start_method() != "fork":
        return
    if sys.modules.get("jax") is not None:
        from ghostsweep.machine import ambient

        if ambient.is_started():
            raise UsageError(
                "executor: found a pool of forked processes, which would hang since JAX was used in this process; "
                'allowed: ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
            )


def usable_of(free: float) -> float:
    """Half of the memory that is free, in bytes, which training may take where nobody says how much.

    Rounded down to a power of two, so that it is the same at the next start, and with it the widths of chunks.
    """
    return 2.0 ** math.floor(math.log2(max(free / 2, 1)))


def require(needed: float, what: str) -> None:
    """Raise UsageError where memory has not room for what is about to be made of `what`, before any is taken."""
    if needed > (free := free_bytes()):
        raise UsageError(
            f"{what}; allowed: what fits in the {free / 1e9:.3g} GB of memory free, not {needed / 1e9:.3g}"
        )


@contextlib.contextmanager
def unbroken(executor: Any) -> Iterator[Any]:
    """The executor; of a pool that takes no more work since a process of it was killed, another one of its kind."""
    if not (isinstance(executor, ProcessPoolExecutor) and executor._broken):
        yield executor
        return
    about = (getattr(executor, name) for name in ("_max_workers", "_mp_context", "_initializer", "_initargs"))
    with ProcessPoolExecutor(*about) as pool:
        yield pool


def _available(proc: Path) -> int:
    """Memory of the whole machine that is free or can be freed."""
    for line in (_text(proc / "meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and (kilobytes := _count(value.removesuffix("kB"))) is not None:
            return kilobytes * 1024
    try:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return DEFAULT_BYTES


def _cache(folder: Path) -> int:
    """Bytes of file cache of a group and those below it that were not used of late."""
    lines = (_text(folder / "memory.stat") or "").splitlines()
    stat = {name: value for name, _, value in (line.partition(" ") for line in lines)}
    # Version 1 counts the groups below only in the names with `total_`, version 2 always.
    return _count(stat.get("total_inactive_file", "")) or _count(stat.get("inactive_file", "")) or 0


def _slurm_cores(environment: Mapping[str, str]) -> int | None:
    """Cores that SLURM gives to a task, or else to the job on this machine; None outside of a job."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if found := _count(environment.get(name, "")):
            return found
    return None


def _slurm_bytes(environment: Mapping[str, str]) -> int | None:
    """Memory that SLURM gives to the job on this machine; None outside of a job, or where it gives all (0)."""
    if megabytes := _count(environment.get("SLURM_MEM_PER_NODE", "")):
        return megabytes * MEGABYTE
    cpus = _count(environment.get("SLURM_CPUS_ON_NODE", "")) or _slurm_cores(environment) or 1
    megabytes = _count(environment.get("SLURM_MEM_PER_CPU", ""))
    return megabytes * cpus * MEGABYTE if megabytes else None


def _groups(proc: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that limit this process: its own and every parent to be seen, of both versions.

    In a container the path of the group may be one of the host, while its folder is mounted where the root is
    expected: what of the path is not there is left out, so that the root of the mount is looked at in any case.
    """
    for mount, root, controllers in _mounts(proc):
        for path in _paths(proc, controllers, controller):
            try:
                below = path.relative_to(root)
            except ValueError:  # of the host, or of another namespace
                below = path.relative_to(path.anchor)
            if ".." in below.parts:
                below = PurePosixPath()
            for folder in (mount / below, *(mount / parent for parent in below.parents)):
                if folder.is_dir():
                    yield folder


def _mounts(proc: Path) -> Iterator[tuple[Path, PurePosixPath, frozenset[str] | None]]:
    """Where control groups are mounted, which group is the root there, and the controllers of version 1 (None: 2)."""
    for line in (_text(proc / "self/mountinfo") or "").splitlines():
        fields, _, source = line.partition(" - ")
        place, kind = fields.split(), source.split()
        if len(place) < 5 or not kind or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = None if kind[0] == "cgroup2" else frozenset(kind[-1].split(","))
        yield Path(_unescaped(place[4])), PurePosixPath(_unescaped(place[3])), controllers


def _paths(proc: Path, mounted: frozenset[str] | None, controller: str) -> Iterator[PurePosixPath]:
    """This process's group in a hierarchy; none where that has not the controller."""
    if mounted is not None and controller not in mounted:
        return
    for line in (_text(proc / "self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if (number == "0" and not names) if mounted is None else controller in names.split(","):
            yield PurePosixPath("/", path)


def _unescaped(path: str) -> str:
    """A path as it is; in mountinfo blanks and the like are written as octal numbers."""
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def _number(*places: Path) -> int | None:
    """What the first of these files that is there says; None where that is no number, as where there is no limit."""
    for place in places:
        if (text := _text(place)) is not None:
            return _count(text)
    return None


def _count(text: str) -> int | None:
    """A whole number from 0; None for any other text."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 25 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except (OSError, ValueError):
        return None
