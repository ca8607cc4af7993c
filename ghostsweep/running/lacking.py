"""What the tables of a sweep lack, for who would take them for all of it: planned runs, and what has changed since."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ghostsweep.analysis import analyzing
from ghostsweep.declare import is_null
from ghostsweep.errors import UsageError
from ghostsweep.running import finding, ledger
from ghostsweep.spec import CHOICES, Grid, Sweep, load, loads
from ghostsweep.store import tables
from ghostsweep.store.tables import Tables


class Lacks(NamedTuple):
    """runs: in the tables. planned: of these and those to come; 0 where nobody can tell.

    missing: the fields of which planned values are in no run, each with these values and how many are planned. changed:
    what is not as it was when the tables were put together, in words.
    """

    runs: int
    planned: int
    missing: dict[str, tuple[list[Any], int]]
    changed: tuple[str, ...]


def lacks(found: Tables, sweeps: str | Path = finding.OWN) -> Lacks | None:
    """What the tables of a sweep lack by its file below `sweeps`, or else by the text they keep; None where nothing.

    Trains and executes nothing.
    """
    sweep = _sweep(found, Path(sweeps))
    if sweep is None:
        return Lacks(len(found.runs), 0, {}, ()) if _is_unfinished(found) else None
    state = ledger.status(sweep, found.folder.parent)
    done = min(len(found.runs), state.runs)  # of those on disk some may be in no table: runs that were not planned once
    if not state.left and not state.changed and done == state.runs:
        return None
    return Lacks(done, state.runs, _missing(sweep, found) if state.left else {}, state.changed)


def without_file(out: str | Path, sweeps: str | Path, broken: list[str]) -> list[Sweep]:
    """Sweeps that have results and no file, as those made in Python, from the text that their tables keep.

    Folders whose meta.json cannot be read are named in `broken`.
    """
    known, found = {path.stem for path in finding.sweep_files(sweeps)}, []
    for name in tables.results(out):
        base = name.removesuffix("-quick")
        if base not in known:
            spec = ""
            with finding.apart(Path(out) / name, broken):
                spec = str(tables.read_meta(Path(out) / name).get("spec", ""))
            with contextlib.suppress(UsageError, OSError):
                found.append(loads(spec, name=base, folder=Path(sweeps), quick=base != name, execute=False))
    return found


def _is_unfinished(found: Tables) -> bool:
    """Whether the last session in the folder says that it did not come to its end."""
    sessions = found.meta.get("sessions") or [{}]
    return "ended" in sessions[-1] and not ledger.has_ended(found.meta)


def share(found: Tables, sweeps: str | Path = finding.OWN) -> float:
    """The share of seeds at which boundaries lie: as the sweep's file says it now, or else as the tables do."""
    sweep = _sweep(found, Path(sweeps))
    return analyzing.share_of(found) if sweep is None else sweep.fit.share


def _sweep(found: Tables, sweeps: Path) -> Sweep | None:
    """The sweep of these tables; None where it can be read nowhere."""
    name = found.folder.name.removesuffix("-quick")
    quick = found.folder.name.endswith("-quick")
    with contextlib.suppress(UsageError, OSError):
        for path in finding.sweep_files(sweeps):
            if path.stem == name:
                return load(path, quick=quick, execute=False)
    try:
        return loads(str(found.meta.get("spec", "")), name=name, folder=sweeps, quick=quick, execute=False)
    except (UsageError, OSError):
        return None


def _missing(sweep: Sweep, found: Tables) -> dict[str, tuple[list[Any], int]]:
    planned: dict[str, list[Any]] = {}
    for grid in _grids(sweep):
        for name, values in grid.axes.items():
            planned.setdefault(name, []).extend(v for v in values if v not in planned.get(name, []))
    missing = {}
    for name, values in planned.items():
        if (name == "learning_rate" and sweep.refine is not None) or (name in CHOICES and not sweep.executed):
            continue  # not all are wanted; called otherwise in the tables
        there = found.runs[name].dropna().unique().tolist() if name in found.runs else []
        lacking = [value for value in values if not is_null(value) and not any(_same(value, one) for one in there)]
        if lacking:
            missing[name] = lacking, len(values)
    return missing


def _grids(sweep: Sweep) -> Iterator[Grid]:
    yield from sweep.grids
    for phase in sweep.phases:
        yield from phase.grids


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return math.isclose(one, other, rel_tol=1e-9)
