"""Table -> table: outcomes, critical learning rates, learnable bands, scaling laws. No files, no plots, no JAX."""

from ghostsweep.analysis.band import BAND_ESTIMATES, learnable_band
from ghostsweep.analysis.cells import cell_fields, is_closed_form
from ghostsweep.analysis.critical import COLLAPSED, ESTIMATES, critical_lr
from ghostsweep.analysis.levels import Levels, levels
from ghostsweep.analysis.outcomes import (
    OUTCOME_MEANING,
    OUTCOMES,
    PLATEAU_ACCURACY,
    Criteria,
    categorised,
    mean_sem,
    outcomes,
    own_outcomes,
    shares,
    trapped,
    with_task_outcome,
)
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.reduction import (
    PREDICTORS,
    at_the_end,
    compare_predicted,
    flattening,
    highest_kept,
    predicted,
    seed_thresholds,
)
from ghostsweep.analysis.refine import first_rates, refined
from ghostsweep.analysis.scaling import LAWS, compare_scaling
from ghostsweep.analysis.series import scales, series_along

__all__ = [
    "BAND_ESTIMATES",
    "COLLAPSED",
    "ESTIMATES",
    "LAWS",
    "OUTCOMES",
    "OUTCOME_MEANING",
    "PLATEAU_ACCURACY",
    "PREDICTORS",
    "Criteria",
    "Levels",
    "at_the_end",
    "categorised",
    "cell_fields",
    "compare_predicted",
    "compare_scaling",
    "critical_lr",
    "fit_power_law",
    "flattening",
    "highest_kept",
    "is_closed_form",
    "learnable_band",
    "levels",
    "local_exponent",
    "mean_sem",
    "outcomes",
    "own_outcomes",
    "first_rates",
    "predicted",
    "refined",
    "scales",
    "seed_thresholds",
    "series_along",
    "shares",
    "trapped",
    "with_task_outcome",
]
