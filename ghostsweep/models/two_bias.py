"""A network of full rank with a bias of its input and one of its recurrence, both trained (arXiv 2502.17433)."""

import dataclasses
from typing import TYPE_CHECKING

from ghostsweep.declare.model import Evidence, Params, Result, Traced, Trials
from ghostsweep.declare.network import CONFIDENCE, DT_MS, N_UNITS, TAU_MS
from ghostsweep.declare.shape import Shape
from ghostsweep.models import readout

if TYPE_CHECKING:
    import jax

PROTOCOL_TRIALS = 9
"""Lengths of a trial, itself included, over which the index of the protocol is taken."""
FREE_TRIALS = 36
"""Lengths of a trial, itself included, over which the network is run on for evidence of our own."""


def initial(shape: Shape, traced: Traced, key: "jax.Array") -> "dict[str, jax.Array]":
    """Draw w_in (inputs, N), w_rec (N, N), w_out (N, outputs) Xavier uniform, the diagonal of w_rec 0 at the start.

    With one output w_out is (N,).
    Biases are U(-1, 1) / sqrt of what is summed over: b_in (N,) of the inputs, b_rec (N,) and b_out (outputs,) of N.
    Drawn in float32 and then widened, so that both precisions train the same network.
    """
    import jax
    import jax.numpy as jnp

    n, into, out = shape.n_units, shape.n_inputs, shape.n_outputs
    keys = iter(jax.random.split(key, 6))

    def uniform(limit: float, *size: int) -> "jax.Array":
        return jax.random.uniform(next(keys), size, jnp.float32, -limit, limit).astype(shape.dtype)

    w_rec = uniform((3 / n) ** 0.5, n, n)
    return {
        "w_in": uniform((6 / (into + n)) ** 0.5, into, n),
        "b_in": uniform(max(into, 1) ** -0.5, n),
        "w_rec": w_rec * (1 - jnp.eye(n, dtype=w_rec.dtype)),
        "b_rec": uniform(n**-0.5, n),
        "w_out": uniform((6 / (n + out)) ** 0.5, n, *([out] if out > 1 else [])),
        "b_out": uniform(n**-0.5, out),
    }


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> "jax.Array":
    """Readouts, shaped like the targets."""
    from ghostsweep.models import driven

    inputs = trials.inputs.reshape(*trials.inputs.shape[:2], shape.n_inputs)  # one channel may leave its axis out
    return driven.outputs(shape, params, traced, trials._replace(inputs=inputs))


def n_parameters(shape: Shape) -> int:
    """Weights and biases of input, recurrence and readout."""
    n = shape.n_units
    return int(n * n + n * (shape.n_inputs + 2) + (n + 1) * shape.n_outputs)


def evidence(shape: Shape, traced: Traced, params: Params) -> "dict[str, jax.Array]":
    """What the trained network does when it is left alone: see `ghostsweep.models.free_run`.

    The first trial of its task, without what follows the answer, then no input for FREE_TRIALS - 1 times as long; no
    noise, from the state that the task says.
    """
    import jax.numpy as jnp
    from jax import lax

    from ghostsweep.models import free_run, registry

    task = registry.task_of(shape)
    assert task is not None
    trials = task.trials(shape, traced)
    length = len(trials.targets) - shape.get("post_steps", 0)
    inputs = jnp.asarray(trials.inputs, shape.dtype)[:length, 0].reshape(length, shape.n_inputs)
    leak = traced["dt_ms"] / traced["tau_ms"]
    bias = params["b_in"] + params["b_rec"]

    def step(r: "jax.Array", drive: "jax.Array") -> "tuple[jax.Array, jax.Array]":
        after = (1 - leak) * r + leak * jnp.tanh(drive + bias + r @ params["w_rec"])
        return after, r

    start = jnp.full(shape.n_units, trials.x_start, shape.dtype)
    alone, during = lax.scan(step, start, inputs @ params["w_in"])
    silence = jnp.zeros(((FREE_TRIALS - 1) * length, shape.n_units), shape.dtype)
    _, after = lax.scan(step, alone, silence)
    states = jnp.concatenate([during, after])
    protocol = states[: PROTOCOL_TRIALS * length]
    whole, last = free_run.axes(protocol, free_run.late(states))
    return free_run.power_index(protocol, whole) | free_run.motion(states, last, traced["dt_ms"], traced["tau_ms"])


RESULTS = (
    Result(
        "power_index",
        "index of arXiv 2502.17433, trial run on to 9 times its length: below 0.5 a limit cycle, else slow points",
    ),
    Result("power_index_flipped", "the same with the sign of one of the two components turned"),
    Result("free_amplitude", "size of the motion of the state, per unit, in the last quarter of 36 times a trial"),
    Result("free_decay", "the same divided by that of the quarter before: 1 for a cycle, below for what settles"),
    Result(
        "free_period",
        "time between rises of the state through its mean in the last half of 36 times a trial; null: fewer than two",
        "ms",
    ),
    Result("free_cycles", "number of such rises"),
    Result("free_speed", "speed of the state per unit at the end of 36 times a trial", "1/tau"),
)
MODEL = dataclasses.replace(
    readout.FULL_RANK,
    name="two_bias",
    fields=(N_UNITS, DT_MS, TAU_MS, CONFIDENCE),
    initial=initial,
    outputs=outputs,
    normed=(),
    n_parameters=n_parameters,
    floor=None,
    before_epoch=None,
    evidence=Evidence(RESULTS, evidence),
    about="a network of leaky tanh units of full rank with biases of its input and of its recurrence",
)
