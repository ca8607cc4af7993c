"""Initial parameters that a sweep file names, for all its runs, instead of those that their seeds give."""

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ghostsweep.spec.problems import Problems

MAX_BYTES = 2_000_000_000
"""Bytes of all arrays of such a file."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Readers of what stands before the numbers of an array, by version of numpy's format; others are for texts."""


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
        if path.exists() and not path.is_file():  # a pipe would wait for its other end
            raise ValueError("no plain file")
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            params = {name: np.asarray(file[name]) for name in file.files}
        if not params or not all(v.dtype.kind in "fiu" and np.isfinite(v).all() for v in params.values()):
            raise ValueError("values that are not finite numbers")
    except Exception as error:  # damage comes out as anything, down to errors of Python's tokenizer
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.say("initial", f"{path}: {reason or type(error).__name__}; allowed: {allowed}")
        return None
    return Initial(str(path), params)


def _check_sizes(path: Path) -> None:
    """Raise ValueError where arrays say that they are larger than what is there, before memory is taken for them."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
            raise ValueError(f"{total:,} bytes of numbers, at most {MAX_BYTES:,}")
        for entry in entries:
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                if version not in HEADERS:
                    raise ValueError(f"{entry.filename}: an array of format {version}")
                shape, _, dtype = HEADERS[version](file)
            if math.prod(shape) * max(dtype.itemsize, 1) > entry.file_size or min(shape, default=0) < 0:
                raise ValueError(f"{entry.filename}: says that it has shape {shape}, more than there is")
