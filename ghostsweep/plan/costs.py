"""What one run of a program costs: for the widths of chunks and for estimates, never part of a result."""

from typing import NamedTuple

import numpy as np

from ghostsweep.declare import Shape

CACHE_BYTES = 320_000
"""Weights of a CPU core's batch that stay in its cache from step to step."""


class Cost(NamedTuple):
    """Measured cost of one run, for chunk widths and estimates; never part of a result."""

    lanes: int
    """Runs per CPU device beyond which a wider batch is not faster."""
    epoch_seconds: float
    """Seconds that one epoch of one run takes on one core."""
    run_bytes: int
    """Working memory of one run in a batch."""


def cost(shape: Shape) -> Cost:
    """Cost of one run of a shape.

    Measured on one core of an AMD EPYC (Zen 4): canonical 2.7 ns an epoch at 4,096 runs a device (3.2 at 8,192,
    whose arrays leave the cache), simulated 3.1 ns an Euler step at 512 and 1,024 runs (3.6 at 128, 3.4 at 8,192, in
    float32 1.2), half of it the sigmoid; rank-one 1.35 ns per unit, step and epoch, flat from 64 to 300 runs; rank K
    2.2 + 0.33 K ns and full rank 3 + 0.12 N ns per unit, step, trial and epoch, and 9 ns per random number.

    Networks with weight matrices are fastest when the matrices of a batch stay in a core's cache. Us per run and
    epoch, N = 100, two cores, for 1, 4, 8, 16, 64, 150 runs a device: full rank on dcdt (30/80/50 ms) 60, 47, 45,
    45, 67, 77; on delayed activation (T = 20) full rank -, 37, 35, 36, 42, 52. Rank 1 took twice as long at 300 runs
    as at 150. One run after the other (`lax.map`) took 50 and 44 for the two full-rank tasks.
    """
    if shape.model == "canonical" and shape.timescale is None:
        return Cost(4096, 2.7e-9, 16 * 8 * 64)
    steps, units = shape.n_steps, shape.n_units or 0
    size = 8 if shape.dtype == "float64" else 4
    slower = 2.2 if shape.dtype == "float64" else 1.0
    if shape.model == "canonical":
        return Cost(1024, 1.4e-9 * steps * slower, 16 * 8 * 64)
    if shape.model == "rank_one":
        return Cost(300, 1.35e-9 * steps * units * slower, int(size * units * (2 * steps + 24)))
    rank = shape.rank
    states = steps * shape.n_trials * units
    weights = units * (2 * rank if rank else units)
    seconds = states * (2.2e-9 + 0.33e-9 * rank if rank else 3e-9 + 0.12e-9 * units) * slower
    lanes = int(np.clip(CACHE_BYTES // (size * weights), 4, 150))
    return Cost(lanes, seconds + 9e-9 * states * shape.noisy, size * (8 * states + 8 * weights + 32 * units))
