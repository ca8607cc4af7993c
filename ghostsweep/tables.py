"""The result tables: their columns, and the only code that writes or reads result files.

A result folder holds `runs.parquet`, `curves.parquet`, `meta.json` and, while a sweep is under way or has
shrunk, `parts/` with finished chunks; `snapshots/` has the parameters of named runs, a file each, and `ends/` what
later phases begin from. `checkpoints/`, `failed/`, `sessions/` and `shard-*/` are there only while a sweep is not
finished; `jobs/` has what jobs on a cluster printed.
"""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep import files
from ghostsweep.errors import UsageError
from ghostsweep.spec import FIELDS, Record, Run, kind, required_fields


class Column(NamedTuple):
    """One column of a result table."""

    name: str
    kind: str
    unit: str
    meaning: str


RESULTS = (
    Column("status", "string", "", "done, or diverged: a loss or gradient was not finite"),
    Column("epochs_done", "int64", "epochs", "epochs with finite numbers; where diverged, the epoch that was not"),
    Column("initial_loss", "float64", "", "loss at epoch 0"),
    Column("final_loss", "float64", "", "loss at the last epoch"),
    Column("mean_loss", "float64", "", "mean loss over all finite epochs"),
    Column("min_loss", "float64", "", "lowest loss of any epoch"),
    Column("min_loss_epoch", "int64", "epochs", "first epoch of the lowest loss"),
    Column("recent_mean_loss", "float64", "", "mean loss over the last 50 epochs"),
    Column("initial_grad_norm", "float64", "", "gradient norm at epoch 0"),
    Column("final_grad_norm", "float64", "", "gradient norm at the last epoch"),
    Column("mean_grad_norm", "float64", "", "mean gradient norm over all finite epochs"),
    Column("recent_mean_grad_norm", "float64", "", "mean gradient norm over the last 50 epochs"),
    Column("final_accuracy", "float64", "", "share of right steps at the last epoch"),
    Column("max_accuracy", "float64", "", "highest accuracy of any epoch"),
    Column("recent_max_accuracy", "float64", "", "highest accuracy of the last 50 epochs"),
    Column("learned_epoch", "int64", "epochs", "first epoch with loss below learned_loss; null if never"),
    Column("final_weight_norm", "float64", "", "norm of all parameters at the last epoch, before its update"),
)
CURVES = (
    Column("run_id", "string", "", "the run, as in the table of runs"),
    Column("epoch", "int64", "epochs", "epoch, from 0"),
    Column("loss", "float64", "", "loss; 0 where all is right, and 1 for an output of 0 in delayed activation"),
    Column("grad_norm", "float64", "", "norm of the gradient; in cue tasks, of that of the recurrent weights"),
    Column("accuracy", "float64", "", "share of right steps"),
    Column("weight_norm", "float64", "", "norm of all parameters; for the canonical form the size of r"),
)


def _field_column(name: str) -> Column:
    return Column(name, kind(name), FIELDS[name].unit, Run.model_fields[name].description or "")


RUNS = (
    Column("run_id", "string", "", "identity of the run: a hash of its fields"),
    *(_field_column(name) for name in FIELDS),
    *RESULTS,
)


UNPLANNED = "unplanned-"
"""Prefix of parts with runs that the sweep no longer plans, kept for the day it plans them again."""


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


def data_dictionary() -> str:
    """All columns of both tables as a Markdown table, from the lists the code itself uses."""
    both = [("runs", column) for column in RUNS] + [("curves", column) for column in CURVES]
    rows = [(table, f"`{column.name}`", column.unit, column.meaning) for table, column in both]
    return markdown(pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"]))


def markdown(table: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers to six digits."""
    lines = [" | ".join(map(str, table.columns)), " | ".join("---" for _ in table.columns)]
    for row in table.itertuples(index=False):
        lines.append(" | ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row))
    return "\n".join(f"| {line} |" for line in lines)


def read(name: str | Path, root: str | Path = "results") -> Tables:
    """Read the tables of a sweep, finished chunks of one under way included; runs it no longer plans are not.

    `name` is a folder below `root`, or a path to a result folder. Units are in `.attrs["units"]` of each frame.
    Raises UsageError if there are no readable results.
    """
    folder = Path(name) if (Path(name) / "meta.json").exists() else Path(root) / name
    runs, curves = stored(folder, unplanned=False)
    if runs.empty:
        known = sorted(p.parent.name for p in Path(root).glob("*/meta.json"))
        raise UsageError(f"{folder}: found no results; allowed: {', '.join(known) or 'none yet: run a sweep first'}")
    return Tables(folder.name, runs, curves, read_meta(folder), folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json says; empty where there is none that can be read."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def stored(folder: Path, *, unplanned: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All finished runs in a result folder and their curves, each run once; empty frames if there are none.

    Without `unplanned`, runs that an earlier version of the sweep had are left out. Files that cannot be read, or in
    which runs have no curves, are named in a warning and those runs passed over, so that they are computed again.
    """
    runs, curves, damaged = [], [], []
    parts = sorted((folder / "parts").glob("*.runs.parquet"))
    prefixes = [f"{folder}/", *(str(part).removesuffix("runs.parquet") for part in parts)]
    for prefix in prefixes:
        if not unplanned and Path(prefix).name.startswith(UNPLANNED):
            continue
        if not Path(f"{prefix}runs.parquet").exists():
            continue
        try:
            pair = _read(f"{prefix}runs.parquet", RUNS), _read(f"{prefix}curves.parquet", CURVES)
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            if not Path(f"{prefix}runs.parquet").exists():  # put into the tables meanwhile
                return stored(folder, unplanned=unplanned)
            damaged.append(f"{prefix}*.parquet: not readable ({str(error).splitlines()[0]})")
            continue
        known = among(pair[0]["run_id"], pair[1]["run_id"].unique())
        if not known.all():
            damaged.append(f"{prefix}curves.parquet: found no curves of {(~known).sum()} runs")
        runs.append(pair[0][known])
        curves.append(pair[1])
    if damaged:
        warnings.warn("; ".join(damaged) + "; these runs count as missing", stacklevel=2)
    if not runs:
        return _frame(RUNS, pa.schema(_arrow(RUNS)).empty_table()), _frame(
            CURVES, pa.schema(_arrow(CURVES)).empty_table()
        )
    all_runs, all_curves = _joined(runs, ["run_id"]), _joined(curves, ["run_id", "epoch"])
    return _with_units(all_runs, RUNS), _with_units(all_curves, CURVES)


def has_runs(folder: Path) -> bool:
    """Whether any finished runs are stored in a folder, or what looks like them."""
    return (folder / "runs.parquet").exists() or any((folder / "parts").glob("*.runs.parquet"))


def stored_ids(folder: Path) -> list[str]:
    """Ids of all finished runs in a folder; files that cannot be read are passed over."""
    found: list[str] = []
    for path in (folder / "runs.parquet", *sorted((folder / "parts").glob("*.runs.parquet"))):
        with contextlib.suppress(OSError, KeyError, pa.ArrowException):
            found += pq.read_table(path, columns=["run_id"])["run_id"].to_pylist()
    return list(dict.fromkeys(found))


def row_counts(folder: Path) -> tuple[int, int] | None:
    """Rows of the two tables, by their footers; None where they cannot be read or parts wait to be merged."""
    if _waiting(folder):
        return None
    try:
        runs, curves = (pq.read_metadata(folder / f"{name}.parquet").num_rows for name in ("runs", "curves"))
    except (OSError, pa.ArrowException):
        return None
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


def chunk_name(run_ids: Iterable[str]) -> str:
    """Name of what is stored of these runs together."""
    return hashlib.blake2b("".join(run_ids).encode(), digest_size=8).hexdigest()


def write_part(folder: Path, runs: pd.DataFrame, curves: pd.DataFrame, prefix: str = "") -> str:
    """Store the finished runs of a chunk and return the part's name; the runs file comes last and makes it count."""
    name = prefix + chunk_name(runs["run_id"])
    parts = folder / "parts"
    _write(parts / f"{name}.curves.parquet", curves, CURVES)
    _write(parts / f"{name}.runs.parquet", runs, RUNS)
    return name


def write_snapshots(folder: Path, run_id: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Store the snapshots of one run: `epochs` (S,) and parameters by name, (S, ...)."""
    files.write_arrays(folder / "snapshots" / f"{run_id}.npz", arrays)


def read_snapshots(folder: Path, run_id: str) -> dict[str, np.ndarray]:
    """Snapshots of one run: `epochs` (S,) and parameters by name, (S, ...). Raises UsageError if there are none."""
    path = folder / "snapshots" / f"{run_id}.npz"
    try:
        return files.read_arrays(path)
    except (FileNotFoundError, files.Unreadable) as error:
        known = sorted(p.stem for p in (folder / "snapshots").glob("*.npz"))
        reason = "no snapshots" if isinstance(error, FileNotFoundError) else f"a file that cannot be read ({error})"
        raise UsageError(f"{path}: found {reason}; allowed: {', '.join(known) or 'none here'}") from None


def has_snapshots(folder: Path, run_id: str, epochs: np.ndarray) -> bool:
    """Whether the snapshots of one run are there, at these epochs at least."""
    try:
        return bool(
            np.isin(epochs, files.read_arrays(folder / "snapshots" / f"{run_id}.npz", "epochs")["epochs"]).all()
        )
    except (FileNotFoundError, files.Unreadable):
        return False


def write_ends(folder: Path, run_ids: pd.Series, ends: Mapping[str, np.ndarray]) -> None:
    """Store what later phases begin from, arrays with the runs along the first axis."""
    path = folder / "ends" / f"{chunk_name(run_ids)}.npz"
    files.write_arrays(path, {"run_id": run_ids.to_numpy("U16")} | dict(ends))


def stored_ends(folder: Path) -> dict[str, Path]:
    """Where the end of each run is that has been stored; a file that cannot be read is named in a warning."""
    places: dict[str, Path] = {}
    for path in sorted((folder / "ends").glob("*.npz")):
        try:
            places |= dict.fromkeys(files.read_arrays(path, "run_id")["run_id"].tolist(), path)
        except files.Unreadable as error:
            warnings.warn(f"{path}: {error}; its runs are trained again", stacklevel=2)
    return places


def read_ends(folder: Path, run_ids: Iterable[str]) -> list[dict[str, np.ndarray]]:
    """What later phases of these runs begin from, by name. Raises KeyError for a run whose end is not stored.

    A file that turns out to be damaged is named in a warning and deleted, so that the next run trains those again.
    """
    wanted, places = list(run_ids), stored_ends(folder)
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in {places[run_id] for run_id in wanted if run_id in places}:
        try:
            arrays = files.read_arrays(path)
        except files.Unreadable as error:
            warnings.warn(f"{path}: {error}; deleted", stacklevel=2)
            path.unlink()
            continue
        ids = arrays.pop("run_id").tolist()
        found |= {run_id: {name: array[i] for name, array in arrays.items()} for i, run_id in enumerate(ids)}
    if missing := set(wanted) - found.keys():
        raise KeyError(f"the end of {len(missing)} runs that these go on from is not there")
    return [found[run_id] for run_id in wanted]


def _waiting(folder: Path) -> bool:
    """Whether there are parts that wait to be merged."""
    return any(not part.name.startswith(UNPLANNED) for part in (folder / "parts").glob("[!.]*"))


def is_merged(folder: Path, planned: Iterable[str]) -> bool:
    """Whether runs.parquet holds the planned runs and nothing waits to be merged."""
    if _waiting(folder) or not (folder / "runs.parquet").exists():
        return False
    ids = pq.read_table(folder / "runs.parquet", columns=["run_id"])["run_id"].to_pylist()
    return bool(ids == list(planned))


def merge(folder: Path, planned: Iterable[str], meta: dict[str, Any]) -> pd.DataFrame:
    """Put all parts into the two tables, in planned order, and write meta.json; return the table of runs.

    What meta.json says, with the number of runs of each status and their precision, is metadata of both files too.
    Finished runs that the plan no longer has stay behind as a part, so that nothing computed is lost.
    """
    old_parts = list((folder / "parts").glob("[!.]*"))  # before they are read, so that a new one is not lost
    runs, curves = stored(folder)
    order = pd.Index(list(planned))
    kept, others = _ordered(runs, order)
    kept_curves, other_curves = _ordered(curves, order)
    if len(others):
        name = write_part(folder, others, other_curves, UNPLANNED)
        old_parts = [part for part in old_parts if not part.name.startswith(name)]
    counts = kept["status"].value_counts().to_dict()
    meta = meta | {"counts": counts, "dtype": sorted(kept["dtype"].unique())}
    file_meta = {b"ghostsweep": json.dumps(meta).encode()}
    _write(folder / "curves.parquet", kept_curves, CURVES, file_meta)
    _write(folder / "runs.parquet", kept, RUNS, file_meta)
    files.write(folder / "meta.json", lambda new: new.write_text(json.dumps(meta, indent=1) + "\n"))
    for part in sorted(
        old_parts, key=lambda part: not part.name.endswith(".runs.parquet")
    ):  # so that none seems broken
        part.unlink(missing_ok=True)
    if (folder / "parts").exists() and not any((folder / "parts").iterdir()):
        shutil.rmtree(folder / "parts")
    return _with_units(kept, RUNS)


def _ordered(table: pd.DataFrame, order: pd.Index) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the runs in `order`, sorted by it, and all other rows."""
    place = order.get_indexer(pd.Index(table["run_id"]))  # -1 for the others
    rows, n_others = place.argsort(kind="stable"), np.count_nonzero(place < 0)
    return table.iloc[rows[n_others:]].reset_index(drop=True), table.iloc[rows[:n_others]]


def _joined(frames: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    if len(frames) == 1:
        return frames[0]
    return pd.concat(frames, ignore_index=True).drop_duplicates(keys, keep="last", ignore_index=True)


def _arrow(columns: tuple[Column, ...]) -> list[pa.Field]:
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    return [pa.field(c.name, types[c.kind], metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns]


def _read(path: str, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Read one file; fields of a run that are newer than it are filled in. Raises KeyError if others are missing."""
    table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
    missing = [c for c in columns if c.name not in table.column_names]
    newer = FIELDS.keys() - {"model", *required_fields({})}
    unknown = set(table.column_names) - {c.name for c in columns}  # a name may be damaged too
    lost = [c.name for c in missing if c.name not in newer or unknown]
    if lost:
        raise KeyError(f"columns {', '.join(lost)} are missing")
    for c in missing:
        (field,) = _arrow((c,))
        table = table.append_column(field, pa.array(_defaults(c, table), field.type, from_pandas=True))
    return _frame(columns, table.select([c.name for c in columns]).cast(pa.schema(_arrow(columns))))


def _defaults(column: Column, table: pa.Table) -> pd.Series:
    """What runs stored before there was this field have in it: their default, as in their ids, or null."""
    info = FIELDS[column.name]
    number = column.kind == "float64"
    known = {choice: float(v) if number else v for choice, v in info.defaults.items() if v is not None}
    choices: pd.Series = table[info.by].to_pandas()
    filled = choices.map(known).astype(object)
    return filled.where(table[info.needs].to_pandas().notna()) if info.needs else filled


def _frame(columns: tuple[Column, ...], table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas(ignore_metadata=True)
    for c in columns:
        if c.name == "learned_epoch":
            frame[c.name] = frame[c.name].astype("Int64")
    return _with_units(frame, columns)


def _with_units(frame: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    frame.attrs["units"] = {c.name: c.unit for c in columns}
    return frame


def _write(
    path: Path, frame: pd.DataFrame, columns: tuple[Column, ...], metadata: dict[bytes, bytes] | None = None
) -> None:
    table = pa.Table.from_pandas(frame, schema=pa.schema(_arrow(columns)), preserve_index=False)
    table = table.replace_schema_metadata((table.schema.metadata or {}) | (metadata or {}))
    files.write(path, lambda new: pq.write_table(table, new, compression="zstd", write_page_checksum=True))
