"""Which compiled program each run belongs to."""

from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.declare import Shape
from ghostsweep.spec import CHOICES, every_field, parts_of, shape_of


def shapes(runs: pd.DataFrame) -> tuple[list[Shape], np.ndarray]:
    """The different shapes of runs, and for every run the index of its own."""
    fields = [name for name in every_field() if name in runs]
    kinds: list[Any] = runs[[name for name in CHOICES if name in runs]].drop_duplicates().to_dict("records")
    by_value = {*CHOICES}.union(*(parts_of(kind).static() for kind in kinds))
    keys = [runs[name] if name in by_value else runs[name].isna() for name in fields]
    keys = [key for key in keys if key.nunique(dropna=False) > 1]
    codes = runs.groupby(keys, sort=False, dropna=False).ngroup() if keys else pd.Series(0, index=runs.index)
    firsts = runs.loc[~codes.duplicated(), fields].itertuples(index=False)
    of_code = [shape_of(dict(zip(fields, row, strict=True))) for row in firsts]
    found = list(dict.fromkeys(of_code))
    return found, np.array([found.index(shape) for shape in of_code])[codes]
