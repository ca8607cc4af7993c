"""What the training of one run leaves. No JAX."""

from dataclasses import dataclass, field

import numpy as np

from ghostsweep.spec import Run


@dataclass(frozen=True)
class History:
    """Every epoch of one run: arrays of shape (epochs,), measured before the epoch's update, and the end.

    `params` are the parameters after the last update, by name; `end` also has the optimizer's state, for
    `train_one(after=)`. `tally` has what the run's task keeps up through the epochs, by name, an array like the others.
    """

    run: Run
    loss: np.ndarray
    grad_norm: np.ndarray
    accuracy: np.ndarray
    weight_norm: np.ndarray
    params: dict[str, np.ndarray]
    end: dict[str, np.ndarray]
    tally: dict[str, np.ndarray] = field(default_factory=dict)
