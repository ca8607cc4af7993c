"""Snapshots of any results reduced to the canonical form."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ghostsweep import analysis
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources
from ghostsweep.store import columns, reduced
from ghostsweep.store.tables import every_snapshot, has_runs

if TYPE_CHECKING:
    from ghostsweep.front.results import Tables


def reduce_tables(found: "Tables") -> pd.DataFrame:
    """Each snapshot of each run, reduced: see `ghostsweep.reduce`."""
    resources.load_jax()
    from ghostsweep.training.reduction import reduction

    snapshots = every_snapshot(found.folder)
    ids = [run_id for run_id in found.runs["run_id"] if run_id in snapshots]
    if not ids:
        raise UsageError(
            f"{found.name}: found no snapshots; allowed: a sweep with [record.snapshots], the parameters of whose runs "
            "are kept"
        )
    table = reduction((found.run(run_id), snapshots[run_id]) for run_id in ids)
    runs = found.outcomes().astype({"outcome": str})
    names = ["learning_rate", *analysis.cell_fields(found.runs), "seed", "outcome"]
    fields = runs[["run_id", *(name for name in dict.fromkeys(names) if name in runs)]]
    table = table.merge(fields, on="run_id", how="left")
    table.attrs = {"units": found.runs.attrs.get("units", {}) | {c.name: c.unit for c in columns.REDUCTION}}
    return table


def kept(results: object, out: str | Path) -> pd.DataFrame | None:
    """The reduction that a result folder keeps of runs which are not there themselves; None where there is none."""
    if not isinstance(results, str | Path):
        return None
    is_path = isinstance(results, Path) or Path(results).name != results
    folder = Path(results) if is_path else Path(out) / results
    return reduced.read_reduction(folder) if reduced.has_reduction(folder) and not has_runs(folder) else None
