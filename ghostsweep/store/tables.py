"""The result tables: the only code that reads them from a result folder and puts finished chunks into them.

A result folder holds `runs.parquet`, `curves.parquet` and `meta.json`, which names them and all else that counts
(see `manifest`): `snapshots/` with the parameters of named runs, `ends/` with what later phases begin from, and
`unplanned_runs.parquet` and `unplanned_curves.parquet` once a sweep has shrunk. `parts/` has finished chunks that wait
to be put into the tables, `damaged/` what was found damaged. `checkpoints/`, `failed/`, `sessions/` and `shard-*/` are
there only while a sweep is not finished; `jobs/` has what jobs on a cluster printed.
"""

import contextlib
import difflib
import errno
import functools
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ghostsweep.errors import UsageError
from ghostsweep.spec import Record
from ghostsweep.store import files, manifest, parts, recovery
from ghostsweep.store.columns import CURVES, RESULT_NAMES, RESULTS, Column, all_columns, empty, frame
from ghostsweep.store.files import Damaged
from ghostsweep.store.gathered import Asked, Gathered
from ghostsweep.store.manifest import Changed, Manifest
from ghostsweep.store.parts import Part

__all__ = ["CURVES", "RESULTS", "RESULT_NAMES", "Column", "Stored", "Tables", "read", "stored"]

READ_SECONDS = 60.0
"""How long a reader tries again while others put the tables together."""


@dataclass(frozen=True)
class Tables:
    """The results of one sweep: a row per run, a row per run and recorded epoch, and where they came from."""

    name: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    meta: dict[str, Any]
    folder: Path

    def snapshots(self, run_id: str) -> dict[str, np.ndarray]:
        """Parameters kept of one run: `epochs` (S,), and each by name, (S, ...), before that epoch's update.

        Raises UsageError for a run without any.
        """
        return read_snapshots(self.folder, run_id)


class Place(NamedTuple):
    """Where the end or the snapshots of a run are: a file that the manifest names, or a part."""

    file: str
    epochs: tuple[int, ...] = ()


class Stored(NamedTuple):
    """All that a result folder holds, each run once and whole: of two trainings one that is asked for, or the later."""

    manifest: Manifest
    runs: pa.Table
    curves: pa.Table
    parts: tuple[Part, ...]
    ends: dict[str, Place]
    snapshots: dict[str, Place]
    own: tuple[pa.Table, pa.Table] | None = None
    """Runs and curves without those that the sweep no longer plans; None where only another look could tell."""

    @classmethod
    def nothing(cls) -> Self:
        """What a folder holds that is not there."""
        return cls(Manifest(), empty(all_columns()), empty(CURVES), (), {}, {})

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Runs and curves as users get them."""
        return frame(self.runs), frame(self.curves)


def consistent(folder: Path, look: Callable[[Manifest], Any]) -> Any:
    """What `look` makes of a manifest and its files, looked at again where the manifest was replaced meanwhile.

    Raises OSError where that goes on for READ_SECONDS.
    """
    began = time.monotonic()
    while True:
        current = recovery.load(folder)
        try:
            found = look(current)
            manifest.check(folder, current)
            return found
        except Changed:
            if time.monotonic() - began > READ_SECONDS:
                raise OSError(errno.EAGAIN, "the tables are being replaced again and again", str(folder)) from None
        time.sleep(0.01)


def stored(folder: Path, *, unplanned: bool = True, mend: bool = False, asked: Asked | None = None) -> Stored:
    """All finished runs in a result folder and their curves; empty tables if there are none.

    Of two trainings of a run one that has all that is `asked` for counts, else the later one. Without `unplanned`, runs
    that an earlier version of the sweep had are left out. Damaged files are named in a warning, and their runs count as
    missing; with `mend`, for who holds the folder, they are set aside. What cannot be read for another reason raises
    OSError or MemoryError: it is not called absent.
    """
    told, lost = list[str](), list[str]()
    found: Stored = consistent(folder, functools.partial(_look, folder, unplanned, mend, asked, told, lost))
    if told:
        warnings.warn("; ".join(dict.fromkeys(told)) + "; these runs count as missing", stacklevel=2)
    return found._replace(manifest=_forget(folder, found.manifest, lost)) if mend else found


def _forget(folder: Path, current: Manifest, lost: list[str]) -> Manifest:
    """The manifest without files that are gone, or set aside."""
    if not lost:
        return current
    kept = {name: entry for name, entry in current.files.items() if name not in lost}
    return manifest.write(folder, replace(current, files=kept))


def _look(
    folder: Path,
    unplanned: bool,
    mend: bool,
    asked: Asked | None,
    told: list[str],
    lost: list[str],
    current: Manifest,
) -> Stored:
    gathered, found = Gathered(), list[tuple[Part, int]]()
    own: tuple[pa.Table, pa.Table] | None = None
    told.clear()
    lost.clear()
    for kinds in ((("unplanned_runs", "unplanned_curves"),) if unplanned else ()) + (("runs", "curves"),):
        names = [manifest.TABLES[kind] for kind in kinds]
        if all(name in current.files for name in names):
            own = _pair(folder, current, names, mend, told)
            if own is not None:
                gathered.add(*own)
            else:
                lost += names
        else:
            own = None
    n_tables = gathered.sources
    for name in parts.waiting(folder):
        try:
            part, runs, curves = parts.read(folder, name)
        except FileNotFoundError:
            manifest.check(folder, current)
            continue  # of a shard that was trained again under this name, or deleted by hand
        except Damaged as error:
            _tell(folder, error, [folder / name], mend, told)
            continue
        if current.discard.get(name) != part.sha256:
            found.append((part, gathered.add(runs, curves)))
    found.sort(key=lambda pair: pair[0].order)
    order = [*range(n_tables), *(source for _, source in found)]
    arrays = {name: e for name, e in current.files.items() if e.runs and manifest.is_there(folder, current, name)}
    ends = {run: Place(name) for name, e in arrays.items() if e.holds == "ends" for run in e.runs}
    kept = {run: Place(name, e.epochs) for name, e in arrays.items() if e.holds == "snapshots" for run in e.runs}
    runs, curves, source_of = gathered.joined(order, asked)
    for part, source in found:
        own_runs = {run for run in part.runs if source_of(run) == source}
        for run in own_runs:
            ends.pop(run, None)
            kept.pop(run, None)
        ends |= {run: Place(part.name) for run in part.ends if run in own_runs}
        kept |= {run: Place(part.name, epochs) for run, epochs in part.snapshots.items() if run in own_runs}
    if not current.of("unplanned_runs"):
        own = runs, curves
    elif found:
        own = None
    return Stored(current, runs, curves, tuple(part for part, _ in found), ends, kept, own)


def _pair(
    folder: Path, current: Manifest, names: list[str], mend: bool, told: list[str]
) -> tuple[pa.Table, pa.Table] | None:
    """A table of runs and that of their curves; None where either is damaged or gone."""
    found = []
    for name in names:
        try:
            data = manifest.fetch(folder, current, name)
            found.append(recovery.decoded(data, folder / name, current.files[name]))
        except (FileNotFoundError, Damaged) as error:
            rest = [folder / each for each in names if (folder / each).exists()] if mend else []
            _tell(folder, error, rest, mend, told)
    if len(found) < len(names):
        return None
    runs, curves = found
    if current.generation == 0:  # before there were manifests, a kill could leave curves whose runs were not there
        curves = curves.filter(pc.is_in(curves["run_id"], value_set=runs["run_id"].combine_chunks()))
    return runs, curves


def _tell(folder: Path, error: Exception, paths: list[Path], mend: bool, told: list[str]) -> None:
    """Note what is damaged or gone, and set it aside where it is to be mended."""
    said = f"{error.filename}: is gone" if isinstance(error, FileNotFoundError) else str(error)
    if mend:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # by another shard
                said += f" (kept as {files.set_aside(folder, path)})"
    told.append(said)


def read(name: str | Path, root: str | Path = "results") -> Tables:
    """Read the tables of a sweep, finished chunks of one under way included; runs it no longer plans are not.

    `name` is the name of a folder below `root`; a Path, or a text with a separator, is the result folder itself. Units
    are in `.attrs["units"]` of each frame. Raises UsageError if there are no readable results.
    """
    is_path = isinstance(name, Path) or Path(name).name != name
    folder = Path(name) if is_path else Path(root) / name
    found = stored(folder, unplanned=False) if folder.is_dir() else Stored.nothing()
    if not len(found.runs):
        near = " or ".join(difflib.get_close_matches(folder.name, results(root), n=3))
        raise UsageError(f"{folder}: no results; {f'did you mean {near}?' if near else '`ghostsweep run` makes them'}")
    return Tables(folder.name, *found.frames(), dict(found.manifest.about), folder)


def as_read(folder: Path, found: Stored) -> Tables:
    """What `read` gives of a folder that is known to hold this, without reading it again where that can be."""
    if found.own is None or not len(found.own[0]):
        return read(folder.name, folder.parent)
    runs, curves = map(frame, found.own)
    return Tables(folder.name, runs, curves, dict(found.manifest.about), folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """What is known of where the tables of a folder come from; empty where there are none."""
    return dict(recovery.load(folder).about)


def has_runs(folder: Path) -> bool:
    """Whether any finished runs are stored in a folder, or what looks like them."""
    if not folder.is_dir():
        return False
    return bool(set(files.listed(folder)) & {"runs.parquet"}) or bool(parts.waiting(folder))


def results(root: str | Path) -> list[str]:
    """Names of the folders below `root` that hold results; of those that may not be looked into too, for who reads."""

    def holds(folder: Path) -> bool:
        try:
            return has_runs(folder)
        except OSError:
            return True

    return [name for name in files.listed(Path(root)) if holds(Path(root) / name)]


def stored_ids(folder: Path) -> list[str]:
    """Ids of all finished runs in a folder, those that the sweep no longer has too."""
    found: list[str] = stored(folder).runs["run_id"].to_pylist()
    return found


def row_counts(folder: Path) -> tuple[int, int] | None:
    """Rows of the two tables, by the manifest; None where parts wait to be put into them or a file is not there."""
    current = recovery.load(folder)
    names = [manifest.TABLES[kind] for kind in ("runs", "curves")]
    if parts.waiting(folder) or any(name not in current.files for name in names):
        return None
    if not all(manifest.is_there(folder, current, name) for name in current.files):
        return None
    runs, curves = (current.files[name].rows for name in names)
    return runs, curves


def among(run_ids: pd.Series, others: Iterable[str]) -> pd.Series:
    """Which of the run ids are among others; booleans along `run_ids`."""
    return run_ids.astype(object).isin(others)  # texts kept by arrow are compared six times slower


def complete(runs: pd.DataFrame, curves: pd.DataFrame, record: Record) -> pd.Series:
    """Which of the stored runs have every epoch that `record` asks for; booleans along `runs`."""
    result = pd.Series(False, index=runs.index)
    for epochs, group in runs.groupby("epochs"):
        schedule = record.schedule(int(str(epochs)))
        counts = curves.loc[curves["epoch"].isin(schedule), "run_id"].value_counts()
        result[group.index] = group["run_id"].map(counts).eq(len(schedule)).fillna(False)
    return result


def read_snapshots(folder: Path, run_id: str) -> dict[str, np.ndarray]:
    """Snapshots of one run: `epochs` (S,) and parameters by name, (S, ...). Raises UsageError if there are none."""

    def pick(kept: dict[str, Place]) -> list[str]:
        if run_id not in kept:
            raise UsageError(f"{folder / 'snapshots'}: none of {run_id}; of {', '.join(sorted(kept))}")
        return [run_id]

    return _snapshots(folder, pick)[run_id]


def every_snapshot(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Snapshots of every run that has some, as `read_snapshots` gives them."""
    return _snapshots(folder, list)


def _snapshots(folder: Path, pick: Callable[[dict[str, Place]], list[str]]) -> dict[str, dict[str, np.ndarray]]:
    def look(current: Manifest) -> dict[str, dict[str, np.ndarray]]:
        kept = _look(folder, True, False, None, [], [], current).snapshots
        return {run: arrays_at(folder, current, kept[run], f"snapshots/{run}/") for run in pick(kept)}

    try:
        found: dict[str, dict[str, np.ndarray]] = consistent(folder, look)
    except (Damaged, FileNotFoundError) as error:
        said = f"{error.filename}: is gone" if isinstance(error, FileNotFoundError) else str(error)
        raise UsageError(f"{said}; allowed: what was written; run the sweep again") from None
    return found


def arrays_at(folder: Path, current: Manifest, place: Place, prefix: str) -> dict[str, np.ndarray]:
    """Arrays from a file that the manifest names, or from a part, there under `prefix`.

    Raises Damaged, FileNotFoundError, or Changed where there is another manifest by now.
    """
    if place.file in current.files:
        data = manifest.fetch(folder, current, place.file)
        return files.unpacked(data, folder / place.file, sealed=False)
    try:
        found = parts.arrays(folder, place.file)
    except FileNotFoundError:
        manifest.check(folder, current)
        raise
    return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}


def is_merged(found: Stored, planned: Iterable[str]) -> bool:
    """Whether runs.parquet holds the planned runs, in their order, and nothing waits to be merged."""
    if found.parts or "runs.parquet" not in found.manifest.files:
        return False
    n_unplanned = sum(entry.rows for entry in found.manifest.of("unplanned_runs").values())
    return bool(found.runs["run_id"].to_pylist()[n_unplanned:] == list(planned))


def verified(folder: Path, found: Stored) -> Stored:
    """What is stored, less ends and snapshots whose files are gone, or damaged: those are set aside, with a warning.

    For who holds the folder, before any of it is relied on.
    """
    told, lost = list[str](), list[str]()
    for name in {**found.manifest.of("ends"), **found.manifest.of("snapshots")}:
        try:
            manifest.fetch(folder, found.manifest, name)
        except FileNotFoundError:
            lost.append(name)  # as where results were copied without them
        except Damaged as error:
            lost.append(name)
            _tell(folder, error, [folder / name], True, told)
    if told:
        warnings.warn("; ".join(told) + "; their runs are trained again where they are needed", stacklevel=2)
    ends = {run: place for run, place in found.ends.items() if place.file not in lost}
    kept = {run: place for run, place in found.snapshots.items() if place.file not in lost}
    return found._replace(manifest=_forget(folder, found.manifest, lost), ends=ends, snapshots=kept)
