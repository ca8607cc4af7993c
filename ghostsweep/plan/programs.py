"""Which compiled program each run belongs to."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ghostsweep.declare import FIELDS, Shape, static_fields

STEPS = ("timescale", "dt_steps")
"""Fields that decide the number of steps of a simulated canonical form, and nothing of its closed form."""
NOISE = ("noise_sigma", "r0_sigma")
"""Fields of which a program only knows whether there is noise at all."""


def deciding(models: Iterable[str]) -> set[str]:
    """Fields on whose values the shape of a run of these models may depend; on the others', whether they are null."""
    return {name for model in models for name in static_fields(model)} | {"dt_ms", *STEPS, *NOISE}


def shapes(runs: pd.DataFrame) -> tuple[list[Shape], np.ndarray]:
    """The different shapes of runs, and for every run the index of its own."""
    by_value = deciding(runs["model"].unique())
    keys = [runs[name] if name in by_value else runs[name].isna() for name in FIELDS]
    keys = [key for key in keys if key.nunique(dropna=False) > 1]
    codes = runs.groupby(keys, sort=False, dropna=False).ngroup() if keys else pd.Series(0, index=runs.index)
    firsts = runs.loc[~codes.duplicated(), list(FIELDS)].itertuples(index=False)
    of_code = [Shape.of(dict(zip(FIELDS, row, strict=True))) for row in firsts]
    found = list(dict.fromkeys(of_code))
    return found, np.array([found.index(shape) for shape in of_code])[codes]
