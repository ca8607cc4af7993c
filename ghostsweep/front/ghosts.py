"""The slow places of networks, found and reduced: of a history, of a run with parameters, of all that a sweep kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.front.results import Results, tables_of
from ghostsweep.machine import resources
from ghostsweep.spec import Run
from ghostsweep.store import columns, tables
from ghostsweep.training import history

if TYPE_CHECKING:
    from ghostsweep.dynamics.kept import Kept


def ghosts(
    what: Results | history.History | Run,
    params: Mapping[str, np.ndarray] | None = None,
    *,
    runs: Sequence[str] = (),
    u: float = 0.0,
    n_starts: int | None = None,
    separation: float | None = None,
    out: str | Path = "results",
) -> pd.DataFrame:
    """Find every slow place of networks, reduce it to dx/dt = a x^2 + r, and say what it is: a row each.

    what: the end of a History; a Run with `params`, as `train_one` gives them, or as snapshots with `epochs` (S,); or
    results, of which all snapshots that are kept are taken, of the `runs` named or of all. A model must declare a
    step; positions are its states, of rank K those of `dynamics.singular_basis`. u: the constant input. Searches begin
    from the states that the noiseless trajectories of the task visit, in a network of more than three coordinates from
    n_starts of them (16), the slowest first.

    Columns, with their units in `.attrs["units"]`: those of `store.columns.GHOSTS`, which says what each means.
    Verdict: "fixed point" where the speed is 0, else "out of reach", "slow but not passed", "passed at once" for the
    first of the criteria reachable, passed and lasting that fails, "ghost" where none does. To be lasting passing takes
    at least `separation` (3) of the next time scales. Times are those of a whole passage, pi / sqrt(r a), of the flow
    (tau) and of the steps that the network takes, in first and second order (`dynamics.reduction`); `crossing` is what
    the trajectory took through its part of the bottleneck, and beside it what was to be expected. Where a model knows
    of no dt_ms and tau_ms, tau is a step. Snapshots that are not finite are left out. Raises UsageError for a model
    without steps or without a task, and where nothing is kept.
    """
    resources.load_jax()
    from ghostsweep.dynamics import kept
    from ghostsweep.dynamics.ghosts import N_STARTS, SEPARATION

    least, apart = N_STARTS if n_starts is None else n_starts, SEPARATION if separation is None else separation
    if least < 1 or not apart > 0:
        raise UsageError(f"n_starts, separation: found {n_starts} and {separation}; allowed: above 0")
    table, count, lost = kept.ghosts_of_all(_networks(what, params, runs, out), u=u, n_starts=least, separation=apart)
    names = [column.name for column in columns.GHOSTS]
    table = table if len(table) else pd.DataFrame(columns=names)
    table.attrs = {
        "units": {column.name: column.unit for column in columns.GHOSTS},
        "n_networks": count,
        "n_not_finite": lost,
        "u": u,
        "separation": apart,
    }
    return table[names]


def _networks(
    what: Results | history.History | Run,
    params: Mapping[str, np.ndarray] | None,
    runs: Sequence[str],
    out: str | Path,
) -> Iterator[Kept]:
    from ghostsweep.dynamics.kept import Kept, snapshots

    if isinstance(what, history.History):
        yield Kept(what.run.run_id, len(what.loss), what.run.fields, what.params)
    elif isinstance(what, Run):
        if params is None:
            raise UsageError("params: found none; allowed: the parameters of the run, by name")
        if "epochs" in params:
            yield from snapshots(what.run_id, what.fields, params)
        else:
            arrays = {name: np.asarray(value) for name, value in params.items()}
            yield Kept(what.run_id, int(what.epochs), what.fields, arrays)
    else:
        found = tables_of(what, out)
        there = tables.every_snapshot(found.folder)
        wanted = [run_id for run_id in found.runs["run_id"] if run_id in there and (not runs or run_id in runs)]
        if missing := sorted(set(runs) - set(wanted)):
            raise UsageError(f"runs: found {', '.join(missing)}; allowed: {', '.join(sorted(there)) or 'none is kept'}")
        if not wanted:
            raise UsageError(
                f"{found.name}: found no snapshots; allowed: a sweep that keeps some ([record.snapshots] in its file)"
            )
        for run_id in wanted:
            yield from snapshots(run_id, found.run(run_id).fields, there[run_id])


def by_snapshot(found: pd.DataFrame) -> pd.DataFrame:
    """How many places of each verdict a network has, a row each, and of the ghost that takes longest its numbers."""
    from ghostsweep.dynamics.ghosts import VERDICTS

    counts = found.groupby(["run_id", "epoch", "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    names = ["r", "a", "passage", "passage_bent", "passage_steps", "next_time", "crossing", "crossing_bent"]
    longest = (
        found[found["verdict"] == "ghost"].sort_values("passage").drop_duplicates(["run_id", "epoch"], keep="last")
    )
    return counts.join(longest.set_index(["run_id", "epoch"])[names]).reset_index()
