"""What the models are trained to do: targets and accuracy of each task."""

import numpy as np


def delayed_activation_target(timescale: int) -> np.ndarray:
    """Target of the delayed-activation task, shape (2T,): 0 for the first T steps, 1 for the last T.

    `timescale` is T in steps. Source: paper, section 2 (delayed activation).
    """
    return np.repeat([0.0, 1.0], timescale)
