"""Finished tables in, matplotlib figures out: a function a figure, no global state changed, no window."""

from ghostsweep.figures.band import band_plot
from ghostsweep.figures.curves import learning_curves
from ghostsweep.figures.dense import dense_diagram, is_dense
from ghostsweep.figures.eta import eta_collapse
from ghostsweep.figures.ghosts import MAX_FLOWS, ghost_plot
from ghostsweep.figures.loss_vs_rate import loss_against_learning_rate
from ghostsweep.figures.phase import MAX_PANELS, panel_count, phase_diagram
from ghostsweep.figures.reduction import eta_at_end, predicted_plot, reduction_along
from ghostsweep.figures.scaling import MAX_SERIES, scaling_plot
from ghostsweep.figures.style import ONE_COLUMN, TWO_COLUMNS, save

__all__ = [
    "MAX_FLOWS",
    "MAX_PANELS",
    "MAX_SERIES",
    "ONE_COLUMN",
    "TWO_COLUMNS",
    "band_plot",
    "dense_diagram",
    "eta_at_end",
    "eta_collapse",
    "ghost_plot",
    "is_dense",
    "learning_curves",
    "loss_against_learning_rate",
    "panel_count",
    "phase_diagram",
    "predicted_plot",
    "reduction_along",
    "save",
    "scaling_plot",
]
