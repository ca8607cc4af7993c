"""Sweep files: TOML in, a checked `Sweep` out, which spans grids of runs. No JAX, no pandas."""

from ghostsweep.spec.initial import Initial
from ghostsweep.spec.load import load, loads
from ghostsweep.spec.sweep import RECENT_EPOCHS, Axis, Fit, Grid, Phase, Record, Refine, Snapshots, Sweep

__all__ = [
    "RECENT_EPOCHS",
    "Axis",
    "Fit",
    "Grid",
    "Initial",
    "Phase",
    "Record",
    "Refine",
    "Snapshots",
    "Sweep",
    "load",
    "loads",
]
