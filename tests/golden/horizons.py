"""The first epoch at which a rounding of the start moves a golden history's loss beyond the tolerance.

Horizons lie before it: from there on versions of JAX, processors and the reference itself may differ by as much.

By hand, for a new history: python tests/golden/horizons.py [PART OF A NAME]
"""

import sys

import numpy as np
from test_golden_networks import FILES, HORIZON, HORIZONS, golden

from ghostsweep import Run, train_one

DRAWS = 100
BEYOND = 60
"""Epochs after a horizon that are looked at."""


def first_beyond(name: str, dtype: str) -> int:
    """The first epoch at which the loss of any of the runs is off by more than the tolerance."""
    fields, params, arrays = golden(name)
    column, rtol = HORIZON[dtype]
    epochs = min(len(arrays["loss"]), int(HORIZONS.loc[name, column]) + BEYOND)
    rng, first = np.random.default_rng(0), epochs
    for draw in range(DRAWS):
        off = (draw > 0) * np.finfo(dtype).eps / 2
        start = {key: value * (1 + off * rng.standard_normal(value.shape)) for key, value in params.items()}
        loss = train_one(Run(**fields, dtype=dtype, epochs=epochs), initial=start).loss
        away = np.flatnonzero(~(np.abs(loss / arrays["loss"][:epochs] - 1) <= rtol))
        first = min([first, *away])
    return first


if __name__ == "__main__":
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in FILES:
        if part in name and "normalised" not in name:  # that one has a second phase
            for dtype, (column, rtol) in HORIZON.items():
                first = first_beyond(name, dtype)
                horizon = int(HORIZONS.loc[name, column])
                late = "  TOO LATE" if horizon >= first < len(golden(name)[2]["loss"]) else ""
                print(f"{name}, {dtype}: horizon {horizon}, first beyond {rtol:g}: {first}{late}")
