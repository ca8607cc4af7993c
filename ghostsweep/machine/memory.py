"""How much memory training may take where nobody says."""

import math

import jax

from ghostsweep.machine import resources


def usable_bytes(devices: list[jax.Device]) -> float:
    """Half the memory that is free, of all devices together: their own, or the machine's where they are CPU cores.

    Rounded down to a power of two, so that it is the same at the next start, and with it the widths of chunks.
    """
    stats = [device.memory_stats() for device in devices]
    if all(stats):
        free = len(devices) * min(each["bytes_limit"] - each["bytes_in_use"] for each in stats)
    else:
        free = resources.free_bytes()
    return 2.0 ** math.floor(math.log2(max(free / 2, 1)))
