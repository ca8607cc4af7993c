"""Finished chunks that wait to be put into the tables: a sealed file each, whole or not there.

A part holds all that one training left of its runs: their rows, curves, ends and snapshots, so that these never mix
with those of another training. Any number of processes may add parts to a folder at once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from ghostsweep.spec import ENGINE_VERSION
from ghostsweep.store import described, files
from ghostsweep.store.columns import CURVES, conformed, conformed_runs, from_frame, from_runs
from ghostsweep.store.declared import with_outcomes
from ghostsweep.store.files import Damaged

FOLDER = "parts"


class Part(NamedTuple):
    """What a part holds, but for tables and arrays. `ends`: runs that have one; `snapshots`: epochs, by run."""

    name: str
    sha256: str
    about: Mapping[str, Any]
    runs: tuple[str, ...]
    ends: tuple[str, ...]
    snapshots: Mapping[str, tuple[int, ...]]

    @property
    def order(self) -> tuple[int, int, str]:
        """Of two trainings of one run the later counts: by the manifest it began from, then by a count, no clock."""
        return self.about["generation"], self.about["written"], self.name


def chunk_name(run_ids: Iterable[str]) -> str:
    """Name of what is stored of these runs together."""
    return hashlib.blake2b("".join(run_ids).encode(), digest_size=8).hexdigest()


def write(
    folder: Path,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    ends: tuple[Iterable[str], Mapping[str, np.ndarray]] = ((), {}),
    snapshots: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    order: tuple[int, int] | None = None,
    session: str = "",
) -> str:
    """Store what a chunk left, in the place of an earlier training of the same chunk; return the part's name.

    ends: runs, and what later phases begin from of each, by name along the first axis. snapshots: by run id, `epochs`
    (S,) and parameters by name, (S, ...). order: as `following` gave it when training began; None: as it
    does now.
    """
    if order is None:
        order = following(read(folder, name)[0].about for name in waiting(folder))
    generation, count = order
    about = {"generation": generation, "written": count, "session": session, "engine_version": ENGINE_VERSION}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    arrays |= {"runs": _stream(with_outcomes(from_runs(runs))), "curves": _stream(from_frame(curves, CURVES))}
    arrays |= {"ends_runs": np.array(list(ends[0]), "U16")} | {f"ends/{name}": a for name, a in ends[1].items()}
    for run_id, own in (snapshots or {}).items():
        arrays |= {f"snapshots/{run_id}/{name}": array for name, array in own.items()}
    name = f"{FOLDER}/{chunk_name(runs['run_id'])}.npz"
    files.write_arrays(folder / name, arrays, compressed=False)
    return name


def following(waiting: Iterable[Mapping[str, Any]], generation: int = 0) -> tuple[int, int]:
    """The order of what is trained from now on, after all that waits, of which `about` is given.

    generation: of the folder's manifest.
    """
    seen = [{"generation": generation, "written": 0}, *waiting]
    return max(about["generation"] for about in seen), 1 + max(about["written"] for about in seen)


def read(folder: Path, name: str) -> tuple[Part, pa.Table, pa.Table]:
    """Read a part: what it is, its runs and their curves. Raises FileNotFoundError or Damaged."""
    path = folder / name
    data = files.read(path)
    said = files.unpacked(data, path, "about", "runs", "curves", "ends_runs")
    try:
        about = json.loads(said["about"].tobytes())
        described.check(about, described.Part, path)
        runs, curves = conformed_runs(_table(said["runs"])), conformed(_table(said["curves"]), CURVES)
        kept = {member.split("/")[1] for member in files.members(data) if member.startswith("snapshots/")}
        epochs = files.unpacked(data, path, *(f"snapshots/{run}/epochs" for run in kept), sealed=False) if kept else {}
        found = Part(
            name,
            files.digest(data),
            about,
            tuple(runs["run_id"].to_pylist()),
            tuple(said["ends_runs"].tolist()),
            {run: tuple(epochs[f"snapshots/{run}/epochs"].tolist()) for run in kept},
        )
        return found, runs, curves
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, pa.ArrowMemoryError):
            raise
        raise Damaged(f"{path}: not readable: {type(error).__name__}: {error}") from error


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a part, `ends/NAME` and `snapshots/RUN/NAME`, and `ends_runs`."""
    return files.read_arrays(folder / name)


def waiting(folder: Path) -> list[str]:
    """Names of the parts of a folder."""
    return [f"{FOLDER}/{name}" for name in files.listed(folder / FOLDER) if name.endswith(".npz")]


def _stream(table: pa.Table) -> np.ndarray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _table(stream: np.ndarray) -> pa.Table:
    options = pa.ipc.IpcReadOptions(use_threads=False)  # which cost more than so little data
    return pa.ipc.open_stream(pa.py_buffer(stream), options=options).read_all()
