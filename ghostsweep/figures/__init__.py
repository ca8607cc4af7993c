"""Finished tables in, matplotlib figures out: a function a figure, no global state changed, no window."""

from ghostsweep.figures.band import band_plot
from ghostsweep.figures.dense import dense_diagram, is_dense
from ghostsweep.figures.fig2 import fig2
from ghostsweep.figures.fig4 import fig4
from ghostsweep.figures.fig5 import fig5
from ghostsweep.figures.fig6a import fig6a, loss_against_learning_rate
from ghostsweep.figures.phase import MAX_PANELS, phase_diagram
from ghostsweep.figures.scaling import MAX_SERIES, eta_collapse, scaling_plot
from ghostsweep.figures.style import ONE_COLUMN, TWO_COLUMNS, save

__all__ = [
    "MAX_PANELS",
    "MAX_SERIES",
    "ONE_COLUMN",
    "TWO_COLUMNS",
    "band_plot",
    "dense_diagram",
    "eta_collapse",
    "fig2",
    "fig4",
    "fig5",
    "fig6a",
    "is_dense",
    "loss_against_learning_rate",
    "phase_diagram",
    "save",
    "scaling_plot",
]
