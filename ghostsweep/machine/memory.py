"""How much memory training may take where nobody says."""

import jax

from ghostsweep.machine import resources


def usable_bytes(devices: list[jax.Device]) -> float:
    """What may be used of the memory that is free, of all devices together: their own, or where they are CPU cores the
    machine's."""
    stats = [device.memory_stats() for device in devices]
    if all(stats):
        return resources.usable_of(len(devices) * min(each["bytes_limit"] - each["bytes_in_use"] for each in stats))
    return resources.usable_of(resources.free_bytes())
