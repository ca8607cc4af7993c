"""What to train: the fields of a run and the sweep files that span grids of runs."""

from ghostsweep.spec.run import ENGINE_VERSION, FIELDS, MODELS, Run, run_id, static_fields, traced_fields
from ghostsweep.spec.sweep import Axis, Grid, Record, Sweep, load, loads

__all__ = [
    "ENGINE_VERSION",
    "FIELDS",
    "MODELS",
    "Axis",
    "Grid",
    "Record",
    "Run",
    "Sweep",
    "load",
    "loads",
    "run_id",
    "static_fields",
    "traced_fields",
]
