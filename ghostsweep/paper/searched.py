"""What Figs. 3 to 5 search for in stored networks: kept beside the tables, and searched for again where it is not.

A search takes up to seconds a network. What is kept carries a digest of the parameters, the fields of the run and the
criteria that it was found with, and counts only where these are the same.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import dynamics
from ghostsweep.dynamics.search import MERGE_DISTANCE, SPEED_TOLERANCE
from ghostsweep.dynamics.slow_points import NEUTRAL_TOLERANCE
from ghostsweep.errors import UsageError
from ghostsweep.store.searched import read_searched, write_searched

POINTS, TRAINING = "slow_points.parquet", "over_training.parquet"
"""Files of slow points of cue networks, and of ghosts of rank-one networks along training."""
VERSION = 1
"""Raised by hand with what changes the numbers that a search finds."""
_OF_POINT = ("speed", "slope", "kind", "stability", "n_unstable", "n_neutral", "n_starts")
_CRITERIA = {
    "version": VERSION,
    "speed_tolerance": SPEED_TOLERANCE,
    "merge_distance": MERGE_DISTANCE,
    "neutral_tolerance": NEUTRAL_TOLERANCE,
    "separation": dynamics.SEPARATION,
}

Snapshots = Mapping[str, np.ndarray]


def network_snapshots(snapshots: Snapshots, run: Mapping[str, Any], folder: Path | None) -> list[dynamics.Snapshot]:
    """As `dynamics.network_snapshots`, with the points that a result folder keeps where they are of these networks."""
    table = _kept(folder, POINTS, run, snapshots)
    return dynamics.network_snapshots(snapshots, run, None if table is None else _points(table))


def over_training(snapshots: Snapshots, run: Mapping[Any, Any], folder: Path | None) -> pd.DataFrame:
    """As `dynamics.ghosts_over_training`, from the result folder where it keeps that of this network."""
    table = _kept(folder, TRAINING, run, snapshots)
    if table is not None:
        return table.drop(columns="run_id").reset_index(drop=True)
    leak = float(run["dt_ms"] / run["tau_ms"])
    return dynamics.ghosts_over_training(snapshots, timescale=int(run["timescale"]), leak=leak)


def keep(runs: pd.DataFrame, snapshots: Callable[[str], Snapshots], folder: Path) -> Path:
    """Search in all networks of which a sweep has snapshots, and keep what is found in its result folder."""
    tables, keys, name = [], {}, TRAINING if (runs["model"] == "rank_one").all() else POINTS
    for row in runs.to_dict("records"):
        run = {str(field): value for field, value in row.items()}
        try:
            arrays = snapshots(run["run_id"])
        except UsageError:
            continue  # kept of some seeds only
        found = over_training(arrays, run, None) if name == TRAINING else _table(network_snapshots(arrays, run, None))
        tables.append(found.assign(run_id=run["run_id"]))
        keys[run["run_id"]] = _key(run, arrays)
    write_searched(folder / name, pd.concat(tables, ignore_index=True), keys)
    return folder / name


def _key(run: Mapping[Any, Any], snapshots: Snapshots) -> str:
    """A digest of what a search depends on: the run, the networks, and the criteria."""
    digest = hashlib.sha256(json.dumps([run["run_id"], _CRITERIA], sort_keys=True).encode())
    for name in sorted(snapshots):
        array = np.ascontiguousarray(snapshots[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _kept(folder: Path | None, name: str, run: Mapping[Any, Any], snapshots: Snapshots) -> pd.DataFrame | None:
    """The rows that a folder keeps of a run; None where it keeps none, or of other networks or criteria."""
    if folder is None:
        return None
    table, keys = read_searched(folder / name)
    if keys.get(run["run_id"]) != _key(run, snapshots):
        return None
    own: pd.DataFrame = table[table["run_id"] == run["run_id"]]
    return own


def _table(found: list[dynamics.Snapshot]) -> pd.DataFrame:
    """A row for each point, and one without a kind for a network in which none was found."""
    rows: list[dict[str, Any]] = []
    for one in found:
        counts = {name: one.points.table.attrs[name] for name in ("n_starts", "n_dropped")}
        of_all = {"epoch": one.epoch, "n_searches": counts["n_starts"], "n_dropped": counts["n_dropped"]}
        points, first = one.points, one.points.eigenvectors[:, :, 0] if len(one.points.table) else None
        for i, point in enumerate(points.table.to_dict("records")):
            judged = one.ghosts.loc[i] if i in one.ghosts.index else {"ghost": None, "passage": np.nan}
            assert first is not None
            vectors = {
                "position": points.points[i], "eigenvalues_real": points.eigenvalues[i].real,
                "eigenvalues_imag": points.eigenvalues[i].imag, "vector_real": first[i].real,
                "vector_imag": first[i].imag,
            }  # fmt: skip
            more = {"ghost": judged["ghost"], "passage": judged["passage"]}
            rows.append(of_all | {name: point[name] for name in _OF_POINT} | more | vectors)
        rows += [] if len(points.table) else [of_all]
    return pd.DataFrame(rows)


def _points(table: pd.DataFrame) -> dict[int, tuple[dynamics.SlowPoints, pd.DataFrame]]:
    """Points and ghosts by epoch, from rows of `_table`; of eigenvectors the first of each point alone."""
    found = {}
    for epoch, every in table.groupby("epoch"):
        rows = every[every["kind"].notna()].reset_index(drop=True)
        arrays = {
            name: np.array(rows[name].tolist(), float)
            for name in ("position", "eigenvalues_real", "eigenvalues_imag", "vector_real", "vector_imag")
        }
        own = rows[list(_OF_POINT)].astype({"n_unstable": int, "n_neutral": int, "n_starts": int})
        own = own.assign(speed_tolerance=SPEED_TOLERANCE, merge_distance=MERGE_DISTANCE)
        own.attrs = {name: value for name, value in _CRITERIA.items() if name.endswith(("tolerance", "distance"))}
        own.attrs |= {"n_starts": int(every["n_searches"].iloc[0]), "n_dropped": int(every["n_dropped"].iloc[0])}
        points = dynamics.SlowPoints(
            arrays["position"],
            arrays["eigenvalues_real"] + 1j * arrays["eigenvalues_imag"],
            (arrays["vector_real"] + 1j * arrays["vector_imag"])[..., None],
            own,
        )
        judged = rows.loc[rows["kind"] == "slow point", ["ghost", "passage"]].astype({"ghost": bool})
        found[int(str(epoch))] = points, judged
    return found
