"""What a run is: its fields, its identity, and what of it decides a compiled program. No JAX, no pandas, no files."""

from ghostsweep.declare.field import INHERITED, MODELS, OPTIMIZERS, PHASE_FIELDS
from ghostsweep.declare.run import (
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
from ghostsweep.declare.shape import Shape

__all__ = [
    "CHOICES",
    "ENGINE_VERSION",
    "FIELDS",
    "INHERITED",
    "MODELS",
    "OPTIMIZERS",
    "PHASE_FIELDS",
    "Run",
    "Shape",
    "fragment",
    "is_null",
    "kind",
    "required_fields",
    "run_id",
    "static_fields",
]
