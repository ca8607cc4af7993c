"""The collapse of a run, and what the units and the output of a cue network do on either side of it (paper, Fig. 7)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ghostsweep.analysis.outcomes import DEFAULT_CRITERIA, Criteria, numbers
from ghostsweep.dynamics.flow import Params, output
from ghostsweep.dynamics.programs import Array
from ghostsweep.dynamics.snapshots import cue_inputs, leak_of
from ghostsweep.dynamics.trajectories import trajectories
from ghostsweep.errors import UsageError


def around_collapse(
    run: Mapping[str, Any], curve: pd.DataFrame, epochs: ArrayLike, criteria: Criteria = DEFAULT_CRITERIA
) -> tuple[int, int]:
    """The last of `epochs` before a run's gradient vanishes for good, and the first one after it.

    run: a row of the table of runs. curve: its rows of the table of curves. epochs: those of its snapshots. The
    gradient has vanished as `criteria` say, of a network, with its norm at each recorded epoch in place of the
    recent mean. Raises UsageError where it has not at the end, and where there is no epoch before or after.
    """
    peak = max(float(run["mean_grad_norm"]), float(run["initial_grad_norm"]))
    least = max(criteria.vanished_ratio * peak, criteria.vanished_norm)
    at = curve["epoch"].to_numpy()
    alive = at[numbers(curve, "grad_norm") > least]
    if len(alive) == 0 or alive.max() == at.max():
        when = f"at the last epoch, {at.max()}" if len(alive) else "at no recorded epoch"
        raise UsageError(f"run {run['run_id']}: no collapse found, its gradient is above {least:.2g} {when}")
    # Between the last recorded epoch with a gradient and the first one without, nothing is known.
    gone = at[at > alive.max()].min()
    given = np.asarray(epochs)
    before, after = given[given <= alive.max()], given[given >= gone]
    if len(before) == 0 or len(after) == 0:
        raise UsageError(
            f"run {run['run_id']}: collapses between epochs {alive.max()} and {gone}; found snapshots from epoch "
            f"{given.min()} to {given.max()}, needs one before and one after"
        )
    return int(before.max()), int(after.min())


def cue_responses(params: Params, run: Mapping[str, Any]) -> tuple[Array, Array]:
    """Firing rates (steps, trials, N) and output (steps, trials) of a full-rank cue network, without noise.

    One trial of each kind, from the state 0; both as the output is read, before each step. params: by name, as stored.
    run: a row of the table of runs. Raises UsageError for another network or task.
    """
    if "w_rec" not in params:
        raise UsageError(f"params: found {', '.join(sorted(params))}; allowed: a full_rank network of a cue task")
    rates = trajectories(params, cue_inputs(run), leak=leak_of(run))[:-1]
    return rates, output(params, rates, task=run["task"], confidence=float(run["confidence"]))
