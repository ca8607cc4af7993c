"""Table -> table: outcomes, critical learning rates, learnable bands, scaling laws. Parameters of a network ->
fixed points, slow points, flow maps and trajectories. No files, no plots, no JAX."""

from ghostsweep.analysis.band import BAND_ESTIMATES, learnable_band
from ghostsweep.analysis.cells import cell_fields, is_closed_form
from ghostsweep.analysis.collapse import around_collapse, cue_responses
from ghostsweep.analysis.critical import COLLAPSED, ESTIMATES, critical_lr
from ghostsweep.analysis.fixed_points import count_fixed_points, fixed_points_1d, fixed_points_over_training, flow_1d
from ghostsweep.analysis.flow import Flow, decision, flow_of, output, singular_basis
from ghostsweep.analysis.flow_map import flow_map, flow_map_points
from ghostsweep.analysis.ghosts import SEPARATION, ghosts, ghosts_over_training
from ghostsweep.analysis.outcomes import (
    OUTCOME_MEANING,
    OUTCOMES,
    PLATEAU_ACCURACY,
    Criteria,
    mean_sem,
    outcomes,
    shares,
    trapped,
)
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.refine import first_rates, refined
from ghostsweep.analysis.scaling import LAWS, compare_scaling
from ghostsweep.analysis.series import scales, series_along
from ghostsweep.analysis.slow_points import SlowPoints, slow_points
from ghostsweep.analysis.snapshots import CUES, Snapshot, count_points, cue_inputs, network_snapshots
from ghostsweep.analysis.trajectories import PrincipalAxes, principal_axes, trajectories

__all__ = [
    "BAND_ESTIMATES",
    "COLLAPSED",
    "CUES",
    "ESTIMATES",
    "LAWS",
    "OUTCOMES",
    "OUTCOME_MEANING",
    "PLATEAU_ACCURACY",
    "SEPARATION",
    "Criteria",
    "Flow",
    "PrincipalAxes",
    "SlowPoints",
    "around_collapse",
    "Snapshot",
    "cell_fields",
    "compare_scaling",
    "count_fixed_points",
    "count_points",
    "critical_lr",
    "cue_responses",
    "cue_inputs",
    "decision",
    "fit_power_law",
    "is_closed_form",
    "fixed_points_1d",
    "fixed_points_over_training",
    "flow_1d",
    "flow_map",
    "flow_map_points",
    "flow_of",
    "ghosts",
    "ghosts_over_training",
    "learnable_band",
    "local_exponent",
    "mean_sem",
    "network_snapshots",
    "outcomes",
    "output",
    "principal_axes",
    "first_rates",
    "refined",
    "scales",
    "series_along",
    "shares",
    "singular_basis",
    "slow_points",
    "trajectories",
    "trapped",
]
