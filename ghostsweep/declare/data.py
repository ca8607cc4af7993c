"""Arrays that a model or task computes with beside its fields: the same for all runs, and part of their identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ghostsweep.errors import UsageError


@dataclass(frozen=True, eq=False)
class Data:
    """Arrays of a model or task, which its functions get by name in `traced`.

    source: an .npz file, below the folder of the file that declares it; or arrays by name. Numbers that are not whole
    come in the precision of the run, whole numbers and truth values as they are. They are arguments of the compiled
    program, never constants of it, and their digest is part of the version of the model or task.
    """

    source: str | Path | Mapping[str, Any]

    def arrays(self, folder: Path) -> dict[str, np.ndarray]:
        """The arrays by name, files looked for from `folder`. Raises UsageError where there are none to be had."""
        allowed = "an .npz file of arrays of numbers, or such arrays by name"
        if isinstance(self.source, Mapping):
            where, found = "Data", {name: np.asarray(value) for name, value in self.source.items()}
        elif isinstance(self.source, str | Path):
            path = folder / self.source
            where = str(path)
            try:
                with np.load(path, allow_pickle=False) as file:
                    found = {name: np.asarray(file[name]) for name in file.files}
            except Exception as error:  # damage comes out as anything
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise UsageError(f"{path}: {reason}; allowed: {allowed}") from None
        else:
            raise UsageError(f"Data: found {type(self.source).__name__}; allowed: {allowed}")
        for name, value in found.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise UsageError(f"{where}: found an array {name!r}; allowed: letters, digits and _")
            if value.dtype.kind not in "fiub":
                raise UsageError(f"{where}, {name}: found {value.dtype}; allowed: {allowed}")
            if value.dtype.kind in "iu" and value.size and not -(2**31) <= value.min() <= value.max() < 2**31:
                raise UsageError(f"{where}, {name}: found whole numbers beyond 32 bits; allowed: smaller ones")
        if not found:
            raise UsageError(f"{where}: found no arrays; allowed: {allowed}")
        return found
