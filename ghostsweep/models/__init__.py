"""The models that can be trained, one file a family, each a `Model` of pure functions of one run."""

from ghostsweep.models import canonical, rank_one
from ghostsweep.models.model import Evaluation, Model

MODELS: dict[str, Model] = {"canonical": canonical.MODEL, "rank_one": rank_one.MODEL}

__all__ = ["MODELS", "Evaluation", "Model"]
