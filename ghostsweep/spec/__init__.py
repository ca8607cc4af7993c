"""What to train: runs with their fields and identity, and sweep files that span grids of them. No pandas."""

from ghostsweep.spec.initial import Initial
from ghostsweep.spec.load import load, loads
from ghostsweep.spec.making import sweep
from ghostsweep.spec.parts import CHOICES, every_field, every_result, fields_of, parts_of
from ghostsweep.spec.run import ENGINE_VERSION, Run, fragment, run_id, shape_of
from ghostsweep.spec.sweep import RECENT_EPOCHS, Axis, Fit, Grid, Phase, Record, Refine, Snapshots, Sweep, spans

__all__ = [
    "CHOICES",
    "ENGINE_VERSION",
    "RECENT_EPOCHS",
    "Axis",
    "Fit",
    "Grid",
    "Initial",
    "Phase",
    "Record",
    "Refine",
    "Run",
    "Snapshots",
    "Sweep",
    "every_field",
    "every_result",
    "fields_of",
    "fragment",
    "load",
    "loads",
    "parts_of",
    "run_id",
    "shape_of",
    "spans",
    "sweep",
]
