"""The manifest of a folder as it is, or from its tables where meta.json is damaged, missing or older than manifests.

The table of runs has in its metadata all that meta.json said when it was written, so nothing is guessed.
"""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep.machine import resources
from ghostsweep.store import files, manifest
from ghostsweep.store.columns import CURVES, conformed, conformed_runs
from ghostsweep.store.files import Damaged
from ghostsweep.store.manifest import Entry, Manifest, entry_of

METADATA = b"ghostsweep"
"""Key of what meta.json said in the metadata of a table."""
CELL_BYTES = 16
"""Memory that an entry of a table takes at least, while it is read."""


def load(folder: Path, *, mend: bool = False) -> Manifest:
    """The manifest of a folder; an empty one where it holds nothing yet.

    A damaged meta.json is named in a warning. With `mend`, for who holds the folder, it is set aside, and what was
    found from the tables is written in its place. Raises OSError or MemoryError where files cannot be read otherwise.
    """
    try:
        found = manifest.read(folder)
        if found is not None:
            return found
    except Damaged as error:
        said = f" (kept as {files.set_aside(folder, folder / manifest.NAME)})" if mend else ""
        warnings.warn(f"{error}{said}; what it said is taken from the tables", stacklevel=3)
    found = replace(_recovered(folder, mend), seen=manifest.seen(folder))
    return manifest.write(folder, found) if mend and (found.files or found.about) else found


def _recovered(folder: Path, mend: bool) -> Manifest:
    """The manifest that the table of runs tells of; an empty one where there is no such table, or it is damaged."""
    path = folder / manifest.TABLES["runs"]
    try:
        data = files.read(path)
    except FileNotFoundError:
        return Manifest()
    except Damaged:  # no file at all
        data = b""
    try:
        said = pq.read_metadata(pa.BufferReader(data)).metadata or {}
        about = json.loads(said.get(METADATA, b"{}"))
        found = manifest.parsed(about, path) if "files" in about else _old(folder, about)
        runs = entry_of(data, "runs", rows=pq.read_metadata(pa.BufferReader(data)).num_rows)
        decoded(data, path, runs, verify=True)
    except (pa.ArrowException, ValueError, Damaged, OSError) as error:
        is_trouble = isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError)
        if isinstance(error, MemoryError) or is_trouble:
            raise
        said = str(error).splitlines()[0] if isinstance(error, Damaged) else f"{path}: not readable: {error}"
        kept = [
            files.set_aside(folder, folder / name)
            for name in manifest.TABLES.values()
            if mend and (folder / name).exists()
        ]
        aside = f" (kept as {', '.join(map(str, kept))})" if kept else ""
        warnings.warn(f"{said}{aside}; its runs count as missing", stacklevel=4)
        return Manifest()
    return replace(found, files={path.name: runs, **found.files})


def _old(folder: Path, about: dict[str, object]) -> Manifest:
    """The manifest of a folder from before there were any: its curves and its snapshots, as they are."""
    path = folder / manifest.TABLES["curves"]
    data = files.read(path)
    curves = entry_of(data, "curves", rows=pq.read_metadata(pa.BufferReader(data)).num_rows)
    decoded(data, path, curves, verify=True)
    entries = {path.name: curves}
    own = [name for name in files.listed(folder / "snapshots") if re.fullmatch(r"[0-9a-f]{16}\.npz", name)]
    for name in own:
        place = folder / "snapshots" / name
        try:
            data = files.read(place)
            epochs = files.unpacked(data, place, "epochs", sealed=False)["epochs"].tolist()
        except Damaged as error:  # its run alone is trained again
            warnings.warn(f"{error}; its run counts as without snapshots", stacklevel=4)
            continue
        entry = entry_of(data, "snapshots", runs=(name.split(".")[0],), epochs=tuple(epochs))
        entries[f"snapshots/{name}"] = entry
    if left := [name for name in files.listed(folder / "parts") if name.endswith(".parquet")]:
        warnings.warn(f"{folder / 'parts'}: {len(left)} files of an earlier version are not read", stacklevel=4)
    return Manifest(0, entries, {}, about)


def decoded(data: bytes, path: Path, entry: Entry, *, verify: bool = False) -> pa.Table:
    """The table in the bytes of a Parquet file, with today's columns.

    With `verify` its pages are held against their own checksums, where no digest has been. Raises Damaged, and
    UsageError for a table that memory cannot hold, before it is taken.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=verify)
        rows = file.metadata.num_rows
        if rows != entry.rows:
            raise Damaged(f"{path}: has {rows} rows instead of {entry.rows}")
        resources.require(rows * file.metadata.num_columns * CELL_BYTES, f"{path}: found {rows} rows")
        table = file.read()
        if len(table) != rows:
            raise Damaged(f"{path}: has {len(table)} rows instead of {rows}")
        return conformed(table, CURVES) if entry.holds.endswith("curves") else conformed_runs(table)
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise Damaged(f"{path}: not readable: {(str(error).splitlines() or [''])[0]}") from error
