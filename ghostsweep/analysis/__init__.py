"""Table -> table: outcomes, critical learning rates, learnable bands, scaling laws. No files, no plots, no JAX."""

from ghostsweep.analysis.band import BAND_ESTIMATES, learnable_band
from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.critical import COLLAPSED, ESTIMATES, critical_lr
from ghostsweep.analysis.outcomes import OUTCOME_MEANING, OUTCOMES, Criteria, mean_sem, outcomes, shares
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.refine import refined
from ghostsweep.analysis.scaling import LAWS, compare_scaling
from ghostsweep.analysis.series import scales, series_along

__all__ = [
    "BAND_ESTIMATES",
    "COLLAPSED",
    "ESTIMATES",
    "LAWS",
    "OUTCOMES",
    "OUTCOME_MEANING",
    "Criteria",
    "cell_fields",
    "compare_scaling",
    "critical_lr",
    "fit_power_law",
    "learnable_band",
    "local_exponent",
    "mean_sem",
    "refined",
    "outcomes",
    "scales",
    "series_along",
    "shares",
]
