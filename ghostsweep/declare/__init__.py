"""What models, tasks and update rules declare: fields and the contract. No JAX, no pandas, no files."""

from ghostsweep.declare.field import Field, is_null
from ghostsweep.declare.model import Cost, Evaluation, Levels, Model, Rule, Task, Trials
from ghostsweep.declare.shape import Shape

__all__ = ["Cost", "Evaluation", "Field", "Levels", "Model", "Rule", "Shape", "Task", "Trials", "is_null"]
