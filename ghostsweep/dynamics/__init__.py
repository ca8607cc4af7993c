"""Parameters of a network -> its fixed points, slow points, ghosts, flow maps and trajectories. No tables.

JAX is imported where something is searched for, reduced or stepped.
"""

from ghostsweep.dynamics.fixed_points import count_fixed_points, fixed_points_1d, flow_1d
from ghostsweep.dynamics.flow import Flow, decision, flow_of, output, singular_basis
from ghostsweep.dynamics.flow_map import flow_map, flow_map_points
from ghostsweep.dynamics.ghosts import SEPARATION, ghosts, ghosts_over_training
from ghostsweep.dynamics.slow_points import SlowPoints, slow_points
from ghostsweep.dynamics.snapshots import Snapshot, count_points, cue_inputs, network_snapshots
from ghostsweep.dynamics.steps import StepFlow, step_flow
from ghostsweep.dynamics.trajectories import PrincipalAxes, principal_axes, trajectories
from ghostsweep.tasks.cues import CUES

__all__ = [
    "CUES",
    "SEPARATION",
    "Flow",
    "PrincipalAxes",
    "SlowPoints",
    "Snapshot",
    "StepFlow",
    "count_fixed_points",
    "count_points",
    "cue_inputs",
    "decision",
    "fixed_points_1d",
    "flow_1d",
    "flow_map",
    "flow_map_points",
    "flow_of",
    "ghosts",
    "ghosts_over_training",
    "network_snapshots",
    "output",
    "principal_axes",
    "singular_basis",
    "slow_points",
    "step_flow",
    "trajectories",
]
