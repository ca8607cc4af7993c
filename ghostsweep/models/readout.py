"""Networks of leaky units with a trained readout: of rank K and of full rank, on any task."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from ghostsweep.declare.field import Field
from ghostsweep.declare.model import Cost, Mistakes, Model, Params, Traced, Trials, Values
from ghostsweep.declare.network import CONFIDENCE, DT_MS, N_UNITS, TAU_MS, stable_leak
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax

CACHE_BYTES = 320_000
"""Weights of a CPU core's batch that stay in its cache from step to step."""
STATE_BYTES = 70_000
"""States of a CPU core's batch of full-rank networks, all trials of one step."""


def initial(shape: Shape, traced: Traced, key: "jax.Array") -> "dict[str, jax.Array]":
    """Draw the parameters, of other names and sizes where something comes in than where nothing does."""
    from ghostsweep.models import autonomous, driven

    return driven.initial(shape, traced, key) if shape.n_inputs else autonomous.initial(shape, traced, key)


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> "jax.Array":
    """Readouts, shaped like the targets."""
    from ghostsweep.models import autonomous, driven

    own = driven.outputs if shape.n_inputs else autonomous.outputs
    return own(shape, params, traced, trials)


def step(shape: Shape, params: Params, traced: Traced, x: "jax.Array", u: "jax.Array") -> "jax.Array":
    """The state after a step: of full rank the units, of rank K what it lives on, kappa and, of units, what is read."""
    from ghostsweep.models import autonomous, driven

    return (driven.step if shape.n_inputs else autonomous.step)(shape, params, traced, x, u)


def read(shape: Shape, params: Params, traced: Traced, x: "jax.Array") -> "jax.Array":
    """What is read from a state, (outputs,)."""
    from ghostsweep.models import autonomous, driven

    return (driven.read if shape.n_inputs else autonomous.read)(shape, params, traced, x)


def start(shape: Shape, params: Params, traced: Traced) -> "jax.Array":
    """The state of units that are all at x_start."""
    from ghostsweep.models import autonomous, driven

    return (driven.start if shape.n_inputs else autonomous.start)(shape, params, traced)


def before_epoch(params: Params, traced: Traced) -> "dict[str, jax.Array]":
    """w_out and b_out divided by sum |w_out| / readout_l1, for good (paper, section 3, protocol of Fig. 8c)."""
    if "readout_l1" not in traced:
        return dict(params)
    import jax.numpy as jnp

    scale = traced["readout_l1"] / jnp.abs(params["w_out"]).sum()
    return {**params, "w_out": scale * params["w_out"], "b_out": scale * params["b_out"]}


def cost(shape: Shape) -> Cost:
    """Rank K 2.2 + 0.33 K ns and full rank 3 + 0.12 N ns per unit, step, trial and epoch; a random number 9 ns, or 1.

    In a kernel, which is where weights and states of one run fit into the nearest cache, 1 + 0.17 K and 2 + 0.07 N.

    Such networks are fastest when the matrices of a batch stay in a core's cache. Us per run and epoch, N = 100, two
    cores, for 1, 4, 8, 16, 64, 150 runs a device: full rank on dcdt (30/80/50 ms) 60, 47, 45, 45, 67, 77; on delayed
    activation (T = 20) full rank -, 37, 35, 36, 42, 52. Rank 1 took twice as long at 300 runs as at 150. One run after
    the other (`lax.map`) took 50 and 44 for the two full-rank tasks. With 128 trials of dcdt, whose states no longer
    stay there, 1, 2, 4, 8 runs a device took 3.4, 3.0, 5.4, 8.3 ms of a core; from 32 trials on 2 + 0.04 N ns.
    """
    size, slower = (8, 2.2) if shape.dtype == "float64" else (4, 1.0)
    from ghostsweep.models.sizes import trial_sizes

    units, rank = shape.n_units, shape.get("rank")
    steps, trials = trial_sizes(shape)
    states = steps * trials * units
    weights = units * (2 * rank if rank else units)
    full = 2e-9 + 0.04e-9 * units if trials >= 32 else 3e-9 + 0.12e-9 * units
    kernel = _is_alone(shape, trials)
    if kernel:
        seconds = states * (1e-9 + 0.17e-9 * rank if rank else 2e-9 + 0.07e-9 * units) * slower
    else:
        seconds = states * (2.2e-9 + 0.33e-9 * rank if rank else full) * slower
    lanes = int(min(max(CACHE_BYTES // (size * weights), 4), 150))
    if not rank:
        lanes = max(min(lanes, STATE_BYTES // (size * trials * units)), 1)
    number = 1e-9 if shape.get("rng") == "hash" else 9e-9
    noise = number * states * ("noise_sigma" in shape.random)
    return Cost(lanes, seconds + noise, size * (8 * states + 8 * weights + 32 * units), kernel)


def _is_alone(shape: Shape, trials: int) -> bool:
    """Whether one run after the other is faster, as measured: where its weights and states fit into the nearest cache.

    Us of one core, side by side and alone: N = 100, T = 20 rank 1 7.0 and 4.3, 10 17.5 and 10.2, 30 40 and 20, 100 122
    and 83, full 47 and 36; N = 1000, rank 10 120 and 111; full rank 500 930 and 1081; float64 full rank 78 and 88;
    dcdt, two trials, rank 10 32 and 17, full 52 and 52; dmts, four, rank 10 54 and 41, full 90 and 112. Not with a
    user's task, in which there may be what stops XLA in a kernel.
    """
    if "@" in (shape.task or "") or shape.stochastic or shape.get("n_outputs", 1) > 1 or shape.n_units > 300:
        return False
    return trials <= 4 if shape.get("rank") else trials == 1 and shape.dtype == "float32"


def n_parameters(shape: Shape) -> int:
    """Weights, readouts and biases, and weights of what comes in."""
    n, rank, driven, outputs = shape.n_units, shape.get("rank"), shape.n_inputs, shape.n_outputs
    weights, read = (2 * n * rank, rank if driven else n) if rank else (n * n, n)
    return int(weights + (read + 1) * outputs + n * (1 + driven))


def _at_most_full(fields: Values) -> Mistakes:
    yield from stable_leak(fields)
    if fields["rank"] > fields["n_units"]:
        yield "rank", f"at most n_units = {fields['n_units']}"


def floor(fields: Values) -> float:
    """The loss that no weights can undercut where `readout_l1` S is given and rates, which lie in -1..1, are read.

    The argument c (w . r + b) of the output then lies within s = c S of c b. dcdt: q (1 - tanh(s))^2, with a share q of
    steps in which an answer is due, at b = 0. dmts, delayed activation: with a share p of steps of target 1 the least
    over b of p sigmoid(-b - s)^2 + (1 - p) sigmoid(b - s)^2, times 2 in delayed activation. 0 for other tasks.
    """
    task = fields.get("task")
    confidence, scale = fields.get("confidence"), fields.get("readout_l1")
    reach = math.nan if confidence is None or scale is None else confidence * scale
    if not math.isfinite(reach) or task not in ("dcdt", "dmts", "delayed_activation"):
        return 0.0
    reach = abs(reach)
    cue, delay, answer = (fields.get(f"{part}_ms") or 0.0 for part in ("input", "delay", "reaction"))
    steps = cue * (2 if task == "dmts" else 1) + delay + answer
    due = answer / steps if steps > 0 else 0.5
    if task == "dcdt":
        return float(due * (1 - np.tanh(reach)) ** 2)
    ones = due / 2 if task == "dmts" else 0.5
    bias = np.linspace(-20, 20, 4001)  # the least is flat, so that this is exact to 1e-5
    missed, raised = ((1 + np.tanh(side / 2)) / 2 for side in (-bias - reach, bias - reach))
    least = float((ones * missed**2 + (1 - ones) * raised**2).min())
    return least if task == "dmts" else 2 * least


def floor_of_rank(fields: Values) -> float:
    """As `floor`; on tasks with inputs rank K reads n . r, which has no bound."""
    return floor(fields) if fields.get("task") == "delayed_activation" else 0.0


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
    step=step,
    readout=read,
    start=start,
    noise=("noise_sigma", "r0_sigma"),
    normed=("w_rec",),
    cost=cost,
    n_parameters=n_parameters,
    floor=floor,
    before_epoch=before_epoch,
    together=("dt_ms", "tau_ms"),
    check=stable_leak,
    version="1",
    about="a network of leaky tanh units with all its weights and a readout trained",
)
LOW_RANK = dataclasses.replace(
    FULL_RANK,
    name="low_rank",
    fields=(N_UNITS, RANK, DT_MS, TAU_MS, CONFIDENCE, READOUT_L1),
    normed=("s_l", "s_r"),
    floor=floor_of_rank,
    together=("dt_ms", "tau_ms", "n_units", "rank"),
    check=_at_most_full,
    about="a network of rank K, recurrent weights m n or s_l s_r, with a trained readout",
)
