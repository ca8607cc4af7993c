"""The models that can be trained, one file a family, each a `Model` of pure functions of one run."""

from ghostsweep.declare import Shape
from ghostsweep.models import canonical, cues, delayed_activation, rank_one
from ghostsweep.models.model import Evaluation, Model

_MODELS: dict[str, dict[str, Model]] = {
    "delayed_activation": {"canonical": canonical.MODEL, "rank_one": rank_one.MODEL, **delayed_activation.MODELS},
    "dcdt": cues.MODELS,
    "dmts": cues.MODELS,
}


def model_of(shape: Shape) -> Model:
    """The model of a shape: the canonical form with a confidence is simulated."""
    if shape.model == "canonical" and "confidence" in shape.traced:
        return canonical.SIMULATED
    return _MODELS[shape.task][shape.model]


__all__ = ["Evaluation", "Model", "model_of"]
