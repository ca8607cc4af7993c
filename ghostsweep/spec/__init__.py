"""What to train: the fields of a run and the sweep files that span grids of runs."""

from ghostsweep.spec.field import MODELS, OPTIMIZERS
from ghostsweep.spec.run import (
    CHOICES,
    ENGINE_VERSION,
    FIELDS,
    Run,
    fragment,
    is_null,
    required_fields,
    run_id,
    static_fields,
)
from ghostsweep.spec.shape import Shape
from ghostsweep.spec.sweep import RECENT_EPOCHS, Axis, Fit, Grid, Record, Sweep, load, loads

__all__ = [
    "CHOICES",
    "ENGINE_VERSION",
    "FIELDS",
    "MODELS",
    "OPTIMIZERS",
    "RECENT_EPOCHS",
    "Axis",
    "Fit",
    "Grid",
    "Record",
    "Run",
    "Shape",
    "Sweep",
    "fragment",
    "is_null",
    "load",
    "loads",
    "required_fields",
    "run_id",
    "static_fields",
]
