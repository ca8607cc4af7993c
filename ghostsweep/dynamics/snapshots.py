"""The dynamics of one cue network at each of its snapshots: trajectories, and the points they are slow at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.declare.field import is_null, steps
from ghostsweep.dynamics.flow import Params, flow_of, singular_basis
from ghostsweep.dynamics.flow_map import flow_map_points
from ghostsweep.dynamics.ghosts import ghosts
from ghostsweep.dynamics.programs import Array
from ghostsweep.dynamics.slow_points import SlowPoints, slow_points
from ghostsweep.dynamics.trajectories import trajectories
from ghostsweep.errors import UsageError
from ghostsweep.tasks.cues import CUES


@dataclass(frozen=True)
class Snapshot:
    """A cue network before the update of an epoch.

    params: as stored, of a rank-2 network in its `singular_basis`. paths (steps + 1, kinds of trial, D): noiseless
    trajectories from the zero state, D = 2 for rank 2 and N for full rank. points: the minima of the speed without
    input, of rank 2 those of `flow_map_points`, of full rank those of `slow_points` from all states of the paths.
    ghosts: what `ghosts` says of the slow ones among the points, by the steps without input; its index is their row.
    """

    epoch: int
    params: Params
    paths: Array
    points: SlowPoints
    ghosts: pd.DataFrame

    @property
    def nearest(self) -> int | None:
        """The row of the point nearest to a state of the trajectories; None where no point was found."""
        return int(self.points.distances(self.paths).argmin()) if len(self.points.table) else None


def cue_inputs(run: Mapping[str, Any]) -> Array:
    """The input, (steps, kinds of trial), of one trial of each kind in `CUES` (paper, section 2).

    run: fields of a run, as a row of the table of runs. Raises UsageError where its task has no cues.
    """
    task = run.get("task")
    if task not in CUES:
        raise UsageError(f"task: found {task!r}; allowed: {', '.join(map(repr, CUES))}")
    cue, delay, reaction = (steps(run[f"{part}_ms"], run["dt_ms"]) for part in ("input", "delay", "reaction"))
    cues = np.array(CUES[task], np.float64).T
    inputs = np.zeros((len(cues) * cue + delay + reaction, cues.shape[1]))
    for start, values in zip((0, cue + delay), cues, strict=False):
        inputs[start : start + cue] = values
    return inputs


def leak_of(run: Mapping[str, Any]) -> float:
    """The leak dt / tau of a network. Raises UsageError for a model without both."""
    if is_null(run.get("dt_ms")) or is_null(run.get("tau_ms")):
        raise UsageError(f"model: found {run.get('model')!r}; allowed: a network with dt_ms and tau_ms")
    return float(run["dt_ms"] / run["tau_ms"])


Found = Mapping[int, tuple[SlowPoints, pd.DataFrame]]
"""Points and ghosts of networks by epoch."""


def network_snapshots(
    snapshots: Mapping[str, np.ndarray], run: Mapping[str, Any], found: Found | None = None
) -> list[Snapshot]:
    """The dynamics of a cue network of rank 2 or full rank at each of its snapshots, by epoch (paper, Fig. 4 and 5).

    snapshots: `epochs` (S,) and parameters by name, (S, ...), as `Tables.snapshots` gives them. run: its row in the
    table of runs. found: points and ghosts, where they are known. Raises UsageError for a task without cues, and for
    parameters that `flow_map_points` or `slow_points` refuses.
    """
    inputs, leak = cue_inputs(run), leak_of(run)
    networks = []
    for index in np.argsort(snapshots["epochs"]):
        params: Params = {name: values[index] for name, values in snapshots.items() if name != "epochs"}
        low_rank = flow_of(params).into is not None
        if low_rank:
            params = singular_basis(params)
        paths = trajectories(params, inputs, leak=leak)
        epoch = int(snapshots["epochs"][index])
        if found is not None:
            points, judged = found[epoch]
        else:
            points = flow_map_points(params) if low_rank else slow_points(params, paths)
            slow = np.flatnonzero(points.table["kind"] == "slow point")
            judged = ghosts(params, points.points[slow], paths, along=inputs == 0.0).set_index(slow)
        networks.append(Snapshot(epoch, params, paths, points, judged))
    return networks


def count_points(snapshots: Sequence[Snapshot]) -> pd.DataFrame:
    """How many points of each kind there are, a row per snapshot.

    Columns: epoch; fixed_points and slow_points; stable_ and saddle_ and unstable_fixed_points, and as many of
    slow_points; ghosts, those of the slow points that are, and ghost_passage, the time the slowest of them takes to
    pass, tau (NaN without one); lowest_slow_speed, of the slowest of the slow points, in 1/tau (NaN where there is
    none); nearest_kind, nearest_stability and nearest_distance, of the point nearest to a trajectory (null where there
    is none). The tolerances stand in `.attrs`.
    """
    rows: list[dict[str, Any]] = []
    for snapshot in snapshots:
        table = snapshot.points.table
        slow = table["kind"] == "slow point"
        row: dict[str, Any] = {
            "epoch": snapshot.epoch,
            "fixed_points": int((~slow).sum()),
            "slow_points": int(slow.sum()),
        }
        for stability in ("stable", "saddle", "unstable"):
            alike = table["stability"] == stability
            row[f"{stability}_fixed_points"], row[f"{stability}_slow_points"] = (
                int((alike & ~slow).sum()),
                int((alike & slow).sum()),
            )
        row["ghosts"] = int(snapshot.ghosts["ghost"].sum())
        row["ghost_passage"] = snapshot.ghosts.loc[snapshot.ghosts["ghost"], "passage"].max()
        row["lowest_slow_speed"] = table.loc[slow, "speed"].min()
        at = snapshot.nearest
        row["nearest_kind"] = None if at is None else table["kind"].iloc[at]
        row["nearest_stability"] = None if at is None else table["stability"].iloc[at]
        row["nearest_distance"] = np.nan if at is None else float(snapshot.points.distances(snapshot.paths)[at])
        rows.append(row)
    counts = pd.DataFrame(rows)
    if snapshots:
        kept = ("speed_tolerance", "merge_distance", "neutral_tolerance")
        counts.attrs = {name: snapshots[0].points.table.attrs[name] for name in kept}
    return counts
