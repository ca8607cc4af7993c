"""Table -> table: outcomes of runs, critical learning rates, power-law fits. No files, no plots, no JAX."""

from ghostsweep.analysis.critical import cell_fields, critical_lr
from ghostsweep.analysis.outcomes import OUTCOME_MEANING, OUTCOMES, Criteria, mean_sem, outcomes, shares
from ghostsweep.analysis.power_law import fit_power_law, local_exponent

__all__ = [
    "OUTCOMES",
    "OUTCOME_MEANING",
    "Criteria",
    "cell_fields",
    "critical_lr",
    "fit_power_law",
    "local_exponent",
    "mean_sem",
    "outcomes",
    "shares",
]
