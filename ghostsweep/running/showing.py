"""`show`: one run out of all results, what it was, what became of it and where it came from; and trained again."""

import string
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import analysis, plan
from ghostsweep.declare import is_null
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources
from ghostsweep.running import finding
from ghostsweep.spec import Record, every_field, fragment, parts_of, shape_of
from ghostsweep.spec.code import Code
from ghostsweep.store import columns, files, tables
from ghostsweep.store.ends import Ends
from ghostsweep.store.tables import Stored

TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
"""Relative difference up to which numbers of a run agree wherever it is trained, before its dynamics are chaotic."""
SMALLEST = 1e-9
"""Difference that counts as none, beside the tolerance: gradients that vanish are noise."""
NAMED = 10
"""Runs that are named where a prefix fits several."""


@dataclass(frozen=True)
class Rerun:
    """A stored run and the same one trained again, alone.

    differences: a row per result, with stored, again and the relative difference. apart_from: the first recorded epoch
    whose numbers differ by more than `tolerance`; None where all agree.
    """

    outcome: str
    differences: pd.DataFrame
    curve: pd.DataFrame
    tolerance: float
    apart_from: int | None
    task_outcome: str | None = None


@dataclass(frozen=True)
class Shown:
    """One run. fields: those that are not the default, as `Run` takes them. results: the other columns of its row.

    task_outcome: of those that its task declares itself, None where it declares none. curve: its recorded epochs.
    origin: the commit, the versions and the sessions of the sweep that it is stored in. also_in: other sweeps that have
    it.
    """

    run_id: str
    sweep: str
    also_in: tuple[str, ...]
    fields: dict[str, Any]
    outcome: str
    results: dict[str, Any]
    curve: pd.DataFrame
    origin: dict[str, Any]
    again: Rerun | None = None
    task_outcome: str | None = None


def show(run_id: str, *, out: str | Path = "results", rerun: bool = False) -> Shown:
    """Find a run, by its id or by how that begins, among all results below `out`.

    With `rerun` it is trained again, alone and without touching the results. A run of a later phase begins where the
    one before ended, as stored in the folder; where that is not there, the phases before are trained again too, which
    may go on from another place if they were chaotic. Raises UsageError where no run or several fit, and where
    initial parameters that the sweep gave are no longer in the folder.
    """
    if not run_id or set(run_id) - set(string.hexdigits.lower()):
        raise UsageError(f"run id: found {run_id!r}; allowed: up to 16 of the digits 0-9 and a-f")
    places: dict[str, list[Path]] = {}
    folders = [Path(out) / name for name in tables.results(out)]
    broken = list[str]()
    for folder in folders:
        with finding.apart(folder, broken):
            for each in tables.stored_ids(folder):
                if each.startswith(run_id):
                    places.setdefault(each, []).append(folder)
    if broken:
        warnings.warn("; ".join(broken), stacklevel=2)
    if len(places) != 1:
        where, ids = f"the {len(folders)} sweeps below {out}", sorted(places)
        if not ids:
            raise UsageError(f"run id {run_id}: no run in {where} begins so")
        some = f"{', '.join(ids[:NAMED])}{' ...' if len(ids) > NAMED else ''}"
        raise UsageError(f"run id {run_id}: {len(ids):,} runs in {where} begin so ({some}); give more digits of one")
    ((whole, (folder, *others)),) = places.items()
    found = tables.stored(folder)
    runs, curves = found.frames()
    row = runs[runs["run_id"] == whole]
    if row.empty:
        raise UsageError(f"{folder}: found run {whole} in tables that cannot be read; allowed: run the sweep again")
    curve = curves[curves["run_id"] == whole].drop(columns="run_id").reset_index(drop=True)
    meta = tables.read_meta(folder)
    origin = {
        name: meta[name] for name in ("git_commit", "ghostsweep", "engine_version", "spec_sha256") if name in meta
    }
    fields = {name: _as_given(name, _plain(row[name].iloc[0])) for name in columns.field_names(row)}
    again = _rerun(folder, found, runs, row, curve) if rerun else None  # first: a user's task is known from then on
    outcome, task_outcome = _outcomes(row)
    return Shown(
        whole,
        folder.name,
        tuple(other.name for other in others),
        _said(fields),
        outcome,
        {name: _plain(row[name].iloc[0]) for name in _results(row)},
        curve,
        origin | {"sessions": meta.get("sessions", [])},
        again,
        task_outcome,
    )


def _outcomes(row: pd.DataFrame) -> tuple[str, str | None]:
    """What became of a run, and the same by its task's own outcomes."""
    judged = analysis.with_task_outcome(analysis.outcomes(row)).iloc[0]
    return str(judged["outcome"]), _plain(judged.get("task_outcome"))


def _plain(value: Any) -> Any:
    """A table's entry as Python has it, null as None."""
    if value is pd.NA or is_null(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _as_given(name: str, value: Any) -> Any:
    """A field as `Run` takes it: in a table's column whole numbers and truth values may be floats."""
    field = every_field().get(name)
    return value if value is None or field is None or isinstance(value, str) else field.kind(value)


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not the default; all, of a model or task that is not known here."""
    try:
        declared = parts_of(fields).fields
    except KeyError:
        return {name: value for name, value in fields.items() if value is not None}
    return {name: value for name, value in fields.items() if name == "model" or fragment(declared[name], value)}


def _rerun(folder: Path, found: Stored, runs: pd.DataFrame, row: pd.DataFrame, curve: pd.DataFrame) -> Rerun:
    """Train a stored run again, with the runs it goes on from before it, and compare."""
    resources.load_jax()
    from ghostsweep.training import engine

    for code in Code.of_results(found.manifest.about):
        code.load()

    chain, by_id, ends = [row], runs.set_index("run_id", drop=False), Ends(folder, found)
    while (parent := chain[0]["parent"].iloc[0]) in by_id.index and parent not in found.ends:
        chain.insert(0, by_id.loc[[parent]].reset_index(drop=True))
    given: dict[str, Mapping[str, np.ndarray]] = {}
    if not is_null(parent):
        try:
            given = dict(zip([parent], ends.of([parent]), strict=True))
        except (KeyError, FileNotFoundError, files.Damaged):
            raise UsageError(
                f"{folder / 'ends'}: has nothing of {parent}, the parameters that this run begins from; --rerun works "
                "where the sweep was trained"
            ) from None
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary)
        chunks = [_alone(run) for run in chain]
        record = Record.model_validate({"epochs": curve["epoch"].tolist()})
        last, nothing = chunks[-1].phase, Record.model_validate({})
        parents = {run["run_id"].iloc[0] for run in chain[:-1]}
        store = engine.Store(again, Ends(again, given=given))
        devices = engine.local_devices(resources.cores(), 1)
        engine.train_chunks(chunks, lambda phase: record if phase == last else nothing, store, devices, parents=parents)
        new_runs, new_curves = tables.stored(again).frames()
    new = new_runs[new_runs["run_id"] == row["run_id"].iloc[0]]
    new_curve = new_curves[new_curves["run_id"] == row["run_id"].iloc[0]].drop(columns="run_id")
    curve, new_curve = (each.sort_values("epoch", ignore_index=True) for each in (curve, new_curve))
    tolerance = TOLERANCE[row["dtype"].iloc[0]]
    apart = ~np.isclose(new_curve, curve, rtol=tolerance, atol=SMALLEST, equal_nan=True).all(axis=1)
    outcome, task_outcome = _outcomes(new)
    return Rerun(
        outcome,
        _differences(row, new),
        new_curve,
        tolerance,
        int(curve["epoch"].to_numpy()[apart][0]) if apart.any() else None,
        task_outcome,
    )


def _results(row: pd.DataFrame) -> list[str]:
    """Names of the results that a run has, those of its task and model last."""
    roles = row.attrs.get("roles", {})
    known = [column.name for column in (*tables.RESULTS, *columns.own_results()) if column.name in row]
    return [*known, *(name for name in roles if roles[name] in ("tally", "evidence", "result") and name not in known)]


def _alone(run: pd.DataFrame) -> plan.Chunk:
    fields: Mapping[str, Any] = {name: run[name].iloc[0] for name in every_field() if name in run}
    own = run[["run_id", *fields]].reset_index(drop=True)
    return plan.Chunk(shape_of(fields), int(fields["epochs"]), 1, own)


def _differences(stored: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Every result of two rows, and by what share of the first numbers differ."""
    rows = []
    for name in _results(stored):
        before, after = (_plain(table[name].iloc[0]) for table in (stored, again))
        difference = None
        if isinstance(before, int | float) and isinstance(after, int | float):
            difference = 0.0 if before == after else abs(after - before) / (abs(before) or 1.0)
        rows.append((name, before, after, difference))
    return pd.DataFrame(rows, columns=["result", "stored", "again", "difference"])
