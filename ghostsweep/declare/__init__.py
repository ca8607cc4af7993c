"""What models, tasks and update rules declare: fields and the contract. No JAX, no pandas, no files."""

from ghostsweep.declare.data import Data
from ghostsweep.declare.field import Field, is_null
from ghostsweep.declare.model import (
    Cost,
    Evaluation,
    Evidence,
    Levels,
    Model,
    Outcomes,
    Result,
    Rule,
    Tally,
    Task,
    Trials,
)
from ghostsweep.declare.shape import Shape

__all__ = [
    "Cost",
    "Data",
    "Evaluation",
    "Evidence",
    "Field",
    "Levels",
    "Model",
    "Outcomes",
    "Result",
    "Rule",
    "Shape",
    "Tally",
    "Task",
    "Trials",
    "is_null",
]
