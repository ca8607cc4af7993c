"""Networks of leaky units with a trained readout: of rank K and of full rank, on any task."""

import dataclasses
from typing import TYPE_CHECKING

from ghostsweep.declare.field import Field
from ghostsweep.declare.model import Cost, Mistakes, Model, Params, Traced, Trials, Values
from ghostsweep.declare.network import CONFIDENCE, DT_MS, N_UNITS, TAU_MS, stable_leak
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax

CACHE_BYTES = 320_000
"""Weights of a CPU core's batch that stay in its cache from step to step."""


def initial(shape: Shape, traced: Traced, key: "jax.Array") -> "dict[str, jax.Array]":
    """Draw the parameters, of other names and sizes where something comes in than where nothing does."""
    from ghostsweep.models import autonomous, driven

    return driven.initial(shape, traced, key) if shape.n_inputs else autonomous.initial(shape, traced, key)


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> "jax.Array":
    """Readouts, shaped like the targets."""
    from ghostsweep.models import autonomous, driven

    own = driven.outputs if shape.n_inputs else autonomous.outputs
    return own(shape, params, traced, trials)


def before_epoch(params: Params, traced: Traced) -> "dict[str, jax.Array]":
    """w_out and b_out divided by sum |w_out| / readout_l1, for good (paper, section 3, protocol of Fig. 8c)."""
    if "readout_l1" not in traced:
        return dict(params)
    import jax.numpy as jnp

    scale = traced["readout_l1"] / jnp.abs(params["w_out"]).sum()
    return {**params, "w_out": scale * params["w_out"], "b_out": scale * params["b_out"]}


def cost(shape: Shape) -> Cost:
    """Rank K 2.2 + 0.33 K ns and full rank 3 + 0.12 N ns per unit, step, trial and epoch, and 9 ns per random number.

    Such networks are fastest when the matrices of a batch stay in a core's cache. Us per run and epoch, N = 100, two
    cores, for 1, 4, 8, 16, 64, 150 runs a device: full rank on dcdt (30/80/50 ms) 60, 47, 45, 45, 67, 77; on delayed
    activation (T = 20) full rank -, 37, 35, 36, 42, 52. Rank 1 took twice as long at 300 runs as at 150. One run after
    the other (`lax.map`) took 50 and 44 for the two full-rank tasks.
    """
    size, slower = (8, 2.2) if shape.dtype == "float64" else (4, 1.0)
    from ghostsweep.models.sizes import trial_sizes

    units, rank = shape.n_units, shape.get("rank")
    steps, trials = trial_sizes(shape)
    states = steps * trials * units
    weights = units * (2 * rank if rank else units)
    seconds = states * (2.2e-9 + 0.33e-9 * rank if rank else 3e-9 + 0.12e-9 * units) * slower
    lanes = int(min(max(CACHE_BYTES // (size * weights), 4), 150))
    noise = 9e-9 * states * ("noise_sigma" in shape.random)
    return Cost(lanes, seconds + noise, size * (8 * states + 8 * weights + 32 * units))


def n_parameters(shape: Shape) -> int:
    """Weights, readouts and biases, and weights of what comes in."""
    n, rank, driven, outputs = shape.n_units, shape.get("rank"), shape.n_inputs, shape.n_outputs
    weights, read = (2 * n * rank, rank if driven else n) if rank else (n * n, n)
    return int(weights + (read + 1) * outputs + n * (1 + driven))


def _at_most_full(fields: Values) -> Mistakes:
    yield from stable_leak(fields)
    if fields["rank"] > fields["n_units"]:
        yield "rank", f"at most n_units = {fields['n_units']}"


RANK = Field(
    "rank",
    "rank K of the recurrent weights",
    kind=int,
    required=True,
    ge=1,
    le=100_000,
    traced=False,
    symbol="K",
    inherited=True,
)
READOUT_L1 = Field(
    "readout_l1",
    "sum of the sizes of w_out to which w_out and b_out are scaled before each forward pass; null: not scaled",
    gt=0,
)
FULL_RANK = Model(
    "full_rank",
    (N_UNITS, DT_MS, TAU_MS, CONFIDENCE, READOUT_L1),
    initial,
    outputs,
    noise=("noise_sigma", "r0_sigma"),
    normed=("w_rec",),
    cost=cost,
    n_parameters=n_parameters,
    before_epoch=before_epoch,
    together=("dt_ms", "tau_ms"),
    check=stable_leak,
    version="1",
)
LOW_RANK = dataclasses.replace(
    FULL_RANK,
    name="low_rank",
    fields=(N_UNITS, RANK, DT_MS, TAU_MS, CONFIDENCE, READOUT_L1),
    normed=("s_l", "s_r"),
    together=("dt_ms", "tau_ms", "n_units", "rank"),
    check=_at_most_full,
)
