"""Puts finished chunks into the tables of a folder: new files, then a new manifest in one rename."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ghostsweep.store import declared, files, manifest, parts, recovery
from ghostsweep.store.columns import frame
from ghostsweep.store.manifest import TABLES, Entry, Manifest, entry_of
from ghostsweep.store.tables import Place, Stored


def merge(
    folder: Path,
    found: Stored,
    planned: Iterable[str],
    about: Mapping[str, Any],
    done: Mapping[str, str] | None = None,
    initial: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> pd.DataFrame:
    """Put all parts into the tables, runs in planned order, curves by epoch; return the table of runs.

    The folder must be locked, and `found` all that it holds. `about` says where the tables come from; with the number
    of runs of each status and their precision it is metadata of both. `done` are files (by digest) that are no longer
    needed then. `initial` are parameters that the sweep gives, by the id under which runs have them as parent, kept
    among the ends. Finished runs that the plan no longer has stay behind in tables of their own, so that nothing
    computed is lost.
    """
    ids = found.runs["run_id"].to_pandas().astype(object)
    place = pd.Index(list(planned)).get_indexer(pd.Index(ids))  # -1 for those it no longer has
    others = np.where(place < 0, np.arange(len(place)), -1)  # in the order they are in
    of_curve = pd.Index(ids).get_indexer(found.curves["run_id"].to_pandas().astype(object))
    epochs = found.curves["epoch"].to_numpy()
    rows, runs = {}, declared.with_outcomes(found.runs)
    for prefix, order in (("", place), ("unplanned_", others)):
        rows[f"{prefix}runs"] = runs.take(_ordered(order))
        rows[f"{prefix}curves"] = found.curves.take(_ordered(order[of_curve], epochs))
    _prove(found, rows)
    counts = {each["values"]: each["counts"] for each in rows["runs"]["status"].value_counts().to_pylist()}
    about = {**about, "counts": counts, "dtype": sorted(pc.unique(rows["runs"]["dtype"]).to_pylist())}
    entries = _arrays(folder, found)
    for name, params in (initial or {}).items():
        end = {f"params/{key}": value[None] for key, value in params.items()}
        entries |= _end(folder, np.array([name]), end)
    discard = {part.name: part.sha256 for part in found.parts} | dict(done or {})
    new = Manifest(found.manifest.generation + 1, entries, {}, about)
    for name in ("curves", "unplanned_curves", "unplanned_runs", "runs"):  # the last one tells of all others
        if len(rows[name]) or not name.startswith("unplanned"):
            said = new.as_json() if name == "runs" else about
            data = _parquet(rows[name], said)
            entry = entry_of(data, name, rows=len(rows[name]))
            manifest.put(folder, TABLES[name], data, entry)
            new = replace(new, files={TABLES[name]: entry, **new.files})
    manifest.commit(folder, found.manifest, replace(new, discard=discard))
    return frame(rows["runs"])


def _ordered(place: np.ndarray, then: np.ndarray | None = None) -> np.ndarray:
    """Rows with a place from 0, by it and `then` by another number; as they are where that is how they stand."""
    rows = np.flatnonzero(place >= 0)
    keys = (place[rows],) if then is None else (then[rows], place[rows])
    order: np.ndarray = rows[np.lexsort(keys)]
    return order


def _prove(found: Stored, rows: Mapping[str, pa.Table]) -> None:
    """Nothing finished may be missing from what is about to be written. Raises RuntimeError."""
    before = set(found.runs["run_id"].to_pylist())
    after = [run for name in ("runs", "unplanned_runs") for run in rows[name]["run_id"].to_pylist()]
    n_curves = len(rows["curves"]) + len(rows["unplanned_curves"])
    if len(after) != len(before) or set(after) != before or n_curves != len(found.curves):
        raise RuntimeError(f"{len(before)} finished runs would have become {len(after)}; nothing was written")


def _arrays(folder: Path, found: Stored) -> dict[str, Entry]:
    """Entries of the files with ends and snapshots: those there are, for the runs they still hold for, and new ones."""
    entries = {}
    for holds, places in (("ends", found.ends), ("snapshots", found.snapshots)):
        for name, entry in found.manifest.of(holds).items():
            runs = tuple(run for run in entry.runs if places.get(run, Place("")).file == name)
            if runs:
                entries[name] = replace(entry, runs=runs)
    for part in found.parts:
        ends = [run for run in part.ends if found.ends[run].file == part.name]
        kept = [run for run in part.snapshots if found.snapshots[run].file == part.name]
        if not ends and not kept:
            continue
        arrays = parts.arrays(folder, part.name)
        if ends:
            rows = np.flatnonzero(np.isin(arrays["ends_runs"], ends))
            own = {name[5:]: array[rows] for name, array in arrays.items() if name.startswith("ends/")}
            entries |= _end(folder, arrays["ends_runs"][rows], own)
        for run in kept:
            prefix = f"snapshots/{run}/"
            data = files.packed({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
            entry = entry_of(data, "snapshots", runs=(run,), epochs=part.snapshots[run])
            entries |= _put(folder, f"snapshots/{run}.{entry.sha256[:8]}.npz", data, entry)
    return entries


def _end(folder: Path, runs: np.ndarray, arrays: Mapping[str, np.ndarray]) -> dict[str, Entry]:
    """Write what later phases of runs begin from, under a name that is its own."""
    data = files.packed({"run_id": runs, **arrays})
    entry = entry_of(data, "ends", runs=tuple(runs.tolist()))
    return _put(folder, f"ends/{entry.sha256[:16]}.npz", data, entry)


def _put(folder: Path, name: str, data: bytes, entry: Entry) -> dict[str, Entry]:
    manifest.put(folder, name, data, entry)
    return {name: entry}


def _parquet(table: pa.Table, said: Mapping[str, Any]) -> bytes:
    """A table as the bytes of a Parquet file, with what meta.json says in its metadata."""
    metadata = (table.schema.metadata or {}) | {recovery.METADATA: json.dumps(said).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())
