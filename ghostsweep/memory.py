"""How much memory training may take where nobody says."""

import math
import os
from pathlib import Path

import jax


def usable_bytes(devices: list[jax.Device]) -> float:
    """Half the memory that is free, of all devices together: their own, or the machine's where they are CPU cores.

    Rounded down to a power of two, so that it is the same at the next start, and with it the widths of chunks.
    """
    stats = [device.memory_stats() for device in devices]
    if all(stats):
        free = len(devices) * min(each["bytes_limit"] - each["bytes_in_use"] for each in stats)
    else:
        free = _free_host_bytes()
    return 2.0 ** math.floor(math.log2(max(free / 2, 1)))


def _free_host_bytes() -> int:
    """Memory that the machine can give without swapping, or that its control group still may take, if less."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(meminfo["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 * 10**9
    try:
        group = Path("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text().split("::")[1].strip().lstrip("/"))
        limit, used = ((group / f"memory.{what}").read_text() for what in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, IndexError, ValueError):  # no such group, or no limit
        return free
