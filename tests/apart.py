"""Parts that tests bring are known to no other test: each stands for a process of its own."""

import contextlib
from collections.abc import Iterator

from ghostsweep.models import registry


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """What is declared within is not known afterwards."""
    kept = [(known, dict(known)) for known in (registry._OWN_MODELS, registry._OWN_TASKS, registry._KNOWN)]
    yield
    for known, before in kept:
        known.clear()
        known.update(before)
