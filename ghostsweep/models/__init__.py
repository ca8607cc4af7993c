"""The built-in models, a file a family, and where any model, task or rule of a run is found by its name."""

from ghostsweep.models.registry import MODELS, model_of, task_of

__all__ = ["MODELS", "model_of", "task_of"]
