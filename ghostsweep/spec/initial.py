"""Initial parameters that a sweep file names, for all its runs, instead of those that their seeds give."""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ghostsweep.spec.problems import Problems


@dataclass(frozen=True)
class Initial:
    """Parameters by name and the file they are from."""

    path: str
    params: Mapping[str, np.ndarray]

    @property
    def run_id(self) -> str:
        """16 hexadecimal digits from names and values: runs that begin here have it as their `parent`."""
        digest = hashlib.blake2b(digest_size=8)
        for name, value in sorted(self.params.items()):
            digest.update(f"{name}{value.shape}".encode() + value.astype("<f8").tobytes())
        return digest.hexdigest()


def read_initial(problems: Problems, given: object, folder: Path) -> Initial | None:
    """Read an .npz file of finite arrays by parameter name, given by its path below `folder`; None after a mistake."""
    allowed = "an .npz file beside the sweep file, an array of numbers for each parameter"
    if not isinstance(given, str) or Path(given).name != given or not given.endswith(".npz"):
        problems.add("initial", given, allowed)
        return None
    path = folder / given
    try:
        with np.load(path, allow_pickle=False) as file:
            params = {name: np.asarray(file[name]) for name in file.files}
        if not params or not all(v.dtype.kind in "fiu" and np.isfinite(v).all() for v in params.values()):
            raise ValueError("values that are not finite numbers")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.add("initial", f"{path}: {reason}", allowed)
        return None
    return Initial(str(path), params)
