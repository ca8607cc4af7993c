"""Two-dimensional flow maps of rank-2 cue networks, and the slow points in them (paper, Fig. 4)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import minimum_filter

from ghostsweep.dynamics.flow import Flow, Params, any_flow, decision, output
from ghostsweep.dynamics.programs import Array
from ghostsweep.dynamics.search import MERGE_DISTANCE, SPEED_TOLERANCE
from ghostsweep.dynamics.slow_points import (
    NEUTRAL_TOLERANCE,
    SlowPoints,
    minima_of_speed,
)
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

SPAN = (-5.0, 5.0)


def _grid(params: "Params | StepFlow", span: tuple[float, float], n_points: int) -> "tuple[Flow | StepFlow, Array]":
    """The flow, and the grid (n_points, n_points, 2) with kappa_2 along the first axis and kappa_1 along the second."""
    flow = any_flow(params)
    if flow.dimension != 2:
        raise UsageError(f"params: found a network of {flow.dimension} coordinates; allowed: 2, as of rank 2")
    if not span[0] < span[1] or n_points < 3:
        raise UsageError(f"span is {span} and n_points {n_points}: a rising span and at least 3 points are allowed")
    line = np.linspace(*span, n_points)
    return flow, np.stack(np.meshgrid(line, line), axis=-1)


def flow_map(
    params: "Params | StepFlow",
    *,
    task: str | None = None,
    u: float = 0.0,
    confidence: float = 1.0,
    span: tuple[float, float] = SPAN,
    n_points: int = 101,
) -> pd.DataFrame:
    """The flow and the output on a grid of kappa, n_points squared rows (paper, Fig. 4).

    params: a rank-2 cue network, best in its `singular_basis`, with its task; or the `step_flow` of a model whose
    states are two numbers, without one. Columns: kappa_1 (varies fastest), kappa_2; flow_1, flow_2, the components of
    dkappa/dt in 1/tau at constant input u, of which the nullclines are the zero contours; log10_speed (-inf at an exact
    zero); output, by `output` with task and confidence, or the first number that the model reads; decision, the answer
    it is read as (not of a model's steps). `.reshape(n_points, n_points)` of a column has kappa_2 along its rows. task,
    u, confidence, span and n_points stand in `.attrs`. Raises UsageError for a network of other than two coordinates or
    without a readout of them, an unknown task, and a span that does not rise.
    """
    flow, grid = _grid(params, span, n_points)
    kappa = grid.reshape(-1, 2)
    velocity = flow.velocity(kappa, u)
    if isinstance(flow, Flow):
        if task is None or not isinstance(params, Mapping):
            raise UsageError("task: found none; allowed: that of the network")
        out = output(params, kappa, task=task, confidence=confidence)
        read = {"output": out, "decision": decision(out, task)}
    else:
        read = {"output": flow.readout(kappa)[:, 0]}
    with np.errstate(divide="ignore"):
        log10_speed = np.log10(np.linalg.norm(velocity, axis=1))
    table = pd.DataFrame(
        {
            "kappa_1": kappa[:, 0],
            "kappa_2": kappa[:, 1],
            "flow_1": velocity[:, 0],
            "flow_2": velocity[:, 1],
            "log10_speed": log10_speed,
            **read,
        }
    )
    table.attrs = {"task": task, "u": u, "confidence": confidence, "span": span, "n_points": n_points}
    return table


def flow_map_points(
    params: "Params | StepFlow",
    *,
    u: float = 0.0,
    span: tuple[float, float] = SPAN,
    n_points: int = 201,
    speed_tolerance: float = SPEED_TOLERANCE,
    merge_distance: float = MERGE_DISTANCE,
    neutral_tolerance: float = NEUTRAL_TOLERANCE,
) -> SlowPoints:
    """The minima of the speed in a flow map, by a damped Newton search from those of the grid (paper, Fig. 4).

    Searches also begin in every cell of the grid at whose corners both components of the flow change sign: a zero in
    a narrow diagonal valley is there, and need not be a minimum of the grid. Tolerances as in `slow_points`. What is
    found outside the span may lack its neighbours; a wider span finds them. Raises UsageError for a network of other
    than two coordinates and for values out of range.
    """
    flow, grid = _grid(params, span, n_points)
    velocity = flow.velocity(grid, u)
    speed = np.linalg.norm(velocity, axis=-1)
    lowest = (speed == minimum_filter(speed, size=3))[1:-1, 1:-1]  # among the eight neighbours, not on the border
    corners = np.stack([velocity[:-1, :-1], velocity[:-1, 1:], velocity[1:, :-1], velocity[1:, 1:]])
    both = ((corners.min(axis=0) <= 0) & (corners.max(axis=0) >= 0)).all(axis=-1)
    centres = 0.5 * (grid[:-1, :-1] + grid[1:, 1:])
    starts = np.concatenate([grid[1:-1, 1:-1][lowest], centres[both]])
    return minima_of_speed(
        flow,
        starts,
        u,
        speed_tolerance=speed_tolerance,
        merge_distance=merge_distance,
        neutral_tolerance=neutral_tolerance,
    )
