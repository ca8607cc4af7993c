"""What to train: the fields of a run and the sweep files that span grids of runs."""

from ghostsweep.spec.field import INHERITED, MODELS, OPTIMIZERS
from ghostsweep.spec.initial import Initial
from ghostsweep.spec.load import load, loads
from ghostsweep.spec.run import (
    CHOICES,
    ENGINE_VERSION,
    FIELDS,
    Run,
    fragment,
    is_null,
    kind,
    required_fields,
    run_id,
    static_fields,
)
from ghostsweep.spec.shape import Shape
from ghostsweep.spec.sweep import RECENT_EPOCHS, Axis, Fit, Grid, Phase, Record, Refine, Snapshots, Sweep

__all__ = [
    "CHOICES",
    "ENGINE_VERSION",
    "FIELDS",
    "INHERITED",
    "MODELS",
    "OPTIMIZERS",
    "RECENT_EPOCHS",
    "Axis",
    "Fit",
    "Grid",
    "Initial",
    "Phase",
    "Record",
    "Refine",
    "Run",
    "Shape",
    "Snapshots",
    "Sweep",
    "fragment",
    "is_null",
    "kind",
    "load",
    "loads",
    "required_fields",
    "run_id",
    "static_fields",
]
