"""Where a chunk under way is kept, so that a killed sweep goes on in the middle of it."""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ghostsweep.store import files

CHECKPOINT_SECONDS = 60.0
"""How much training a kill may cost, where nothing else is said."""


class Checkpoint:
    """The file of one chunk under way: arrays by name, and the `identity` of what they belong to."""

    def __init__(self, path: Path, identity: str, seconds: float) -> None:
        self.path, self.identity, self.seconds = path, identity, seconds
        self.written = time.perf_counter()
        self.spent = 0.0
        """Seconds that writing took."""

    def is_due(self) -> bool:
        """Whether the last one, or the start, is `seconds` ago."""
        return time.perf_counter() - self.written >= self.seconds

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace what is kept."""
        began = time.perf_counter()
        files.write_arrays(self.path, {"identity": np.array(self.identity)} | dict(arrays), compressed=False)
        self.written = time.perf_counter()
        self.spent += self.written - began

    def read(self) -> dict[str, np.ndarray] | None:
        """What is kept; None where that is nothing, something damaged (with a warning) or of another identity."""
        try:
            arrays = files.read_arrays(self.path)
        except FileNotFoundError:
            return None
        except files.Damaged as error:
            aside = files.set_aside(self.path.parent.parent, self.path)
            warnings.warn(f"{error} (kept as {aside}); its chunk begins anew", stacklevel=2)
            return None
        return arrays if str(arrays.pop("identity", "")) == self.identity else None

    def delete(self) -> None:
        """Forget what is kept, once the chunk is stored."""
        self.path.unlink(missing_ok=True)
