"""Networks reduced to the canonical form as they train: s, its gradient by all parameters, and the one parameter eta.

An output that switches at the time t where its target switches at T is, where nothing else of it matters, that of the
canonical form (paper, section 1) with s = (T / t)^2. An output that is a step has then the loss

    L = C |1 - s^(-1/2)|,   dL/ds = (C / 2) sign(s - 1) s^(-3/2)    inside the trial, s >= (T / end)^2, else 0,

C = T times what the loss grows by with each step that the switch is late: 1 in delayed activation, whose loss is
divided by T. A step of plain gradient descent, p <- p - lr dL/dp, moves s by (ds/dp) . (change of p), to first order

    s <- s - eta sign(s - 1) s^(-3/2)    with    eta = lr C |ds/dp|^2 / 2,

the canonical map, but for eta, which changes as |ds/dp| does along training. From s > 1 a step leads at most to 1 -
eta: out of the trial where eta > 1 - (T / end)^2, which is 3/4 where the trial ends at 2T. All of this is derived here;
of the canonical form itself, whose gradient is that of T L, it gives eta = 8 lr T^5 / pi^4 (`ghostsweep.theory`).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ghostsweep.declare.field import is_null
from ghostsweep.declare.model import Activation, Params, Task, Traced
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError
from ghostsweep.machine import ambient
from ghostsweep.models import model_of, task_of
from ghostsweep.models.registry import with_data
from ghostsweep.models.rules import is_plain
from ghostsweep.models.sizes import parameter_shapes
from ghostsweep.spec import Run, shape_of
from ghostsweep.training import train
from ghostsweep.training.evaluation import activated, evaluate, loss_of, outputs_of, typed

Array = Any
"""An array of JAX while it is traced, of NumPy after."""
BEYOND = 2
"""Trials are followed for so many times their length, so that it is seen how late a switch comes after their end."""
_BATCH = 64
"""Snapshots of one call of the compiled program."""


class Reduced(NamedTuple):
    """One snapshot: values of the loss as it is, (), and of each kind of trial, (kinds,).

    switches: whether the target does, once. time: of the switch of the output, in steps from where `due`, that of the
    target, is counted; NaN where there is none. s; slope, |ds/dp|; scale, C; edge, (T / end)^2. loss, grad_norm: of
    what is trained. canonical_loss, canonical_norm and cosine: of the canonical loss of all kinds together, where each
    is in its trial.
    """

    switches: Array
    time: Array
    due: Array
    s: Array
    slope: Array
    scale: Array
    edge: Array
    loss: Array
    grad_norm: Array
    canonical_loss: Array
    canonical_norm: Array
    cosine: Array
    eta: Array
    s_next: Array
    s_after: Array


def switching(shape: Shape, params: Params, traced: Traced) -> tuple[jax.Array, Activation]:
    """Which kinds of trial have a target that switches once, and when output and target do, each (kinds,).

    A step of a trial lasts from one whole number to the next and its output is that of its middle, so that an output
    equal to the target switches when the target does. Between the two steps where it crosses the middle of the target's
    two values, an output's readout is taken to be linear; by the parameters the time has the derivative of just
    that. Time is counted from the end of the first input, where that is before the target's switch, else from the
    trial's beginning: from the beginning of the delay, in the cue tasks. The first crossing after that counts.
    """
    model, task = model_of(shape), task_of(shape)
    if model.activation is not None:
        found = Activation(
            *(jnp.reshape(jnp.asarray(value, shape.dtype), 1) for value in model.activation(shape, params, traced))
        )
        return jnp.ones(1, bool), found
    outputs = outputs_of(model)
    if outputs is None or task is None:
        raise UsageError(
            f"model {model.name!r}: found no outputs; allowed: a model with outputs, or with an activation"
        )
    trials = typed(shape, task.trials(shape, traced))
    steps = trials.targets.shape[0]
    targets = trials.targets.reshape(steps, -1)
    moved = targets[1:] != targets[:-1]
    switches, onset = moved.sum(axis=0) == 1, moved.argmax(axis=0) + 1
    before, after = targets[0], targets[-1]
    origin = jnp.repeat(_pause(trials.inputs), targets.shape[1] // trials.targets.shape[1])  # for each channel
    origin = jnp.where(origin < onset, origin, 0)

    def longer(array: Array, last: Array) -> jax.Array:
        return jnp.concatenate([array, jnp.broadcast_to(last, ((BEYOND - 1) * steps, *array.shape[1:]))])

    weights = trials.weights
    long = trials._replace(
        inputs=longer(trials.inputs, jnp.zeros_like(trials.inputs[-1:])),
        targets=longer(trials.targets, trials.targets[-1:]),
        weights=weights if weights is None or len(weights) < steps else longer(weights, weights[-1:]),
    )
    readout = outputs(shape, params, traced, long).reshape(BEYOND * steps, -1)
    height = (readout - _inverse(task, (before + after) / 2)[None]) * jnp.sign(after - before)[None]
    step = jnp.arange(1, BEYOND * steps)[:, None]
    crosses = (height[:-1] < 0) & (height[1:] >= 0) & (step > origin[None])
    at = crosses.argmax(axis=0)
    real = readout.dtype
    low, high = (jnp.take_along_axis(height, at[None] + i, axis=0)[0] for i in (0, 1))
    # Kept from 0 where there is no crossing, so that the derivative stays finite there.
    risen = jnp.where(crosses.any(axis=0), high - low, 1)
    time = jnp.where(crosses.any(axis=0), (at - origin).astype(real) + 0.5 - low / risen, jnp.nan)
    late = _per_step(task, shape, trials, jnp.where(switches, onset, 0))
    return switches, Activation(time, (onset - origin).astype(real), (steps - origin).astype(real), late)


def _pause(inputs: Array) -> jax.Array:
    """The step at which the first input of each trial ends; 0 where there is none."""
    given = inputs.reshape(*inputs.shape[:2], -1)
    there = (given != 0).any(axis=-1) if given.shape[-1] else jnp.zeros(inputs.shape[:2], bool)
    ends = there[:-1] & ~there[1:]
    return jnp.where(ends.any(axis=0), ends.argmax(axis=0) + 1, 0)


def _inverse(task: Task, output: jax.Array) -> jax.Array:
    """The readouts that give outputs, by bisection."""
    if task.activation is None:
        return output
    low, high = jnp.full_like(output, -40.0), jnp.full_like(output, 40.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = activated(task, middle) < output
        low, high = jnp.where(below, middle, low), jnp.where(below, high, middle)
    return (low + high) / 2


def _per_step(task: Task, shape: Shape, trials: Any, onset: jax.Array) -> jax.Array:
    """What the loss of an output that is right grows by where one kind of trial switches a step late, (kinds,)."""
    steps = trials.targets.shape[0]
    flat = trials.targets.reshape(steps, -1)

    def late(kind: jax.Array) -> jax.Array:
        output = flat.at[onset[kind], kind].set(flat[0, kind])
        return loss_of(task, shape, output.reshape(trials.targets.shape), trials)

    return jax.vmap(late)(jnp.arange(flat.shape[1])) - loss_of(task, shape, trials.targets, trials)


def reduced(shape: Shape, params: Params, traced: Traced) -> Reduced:
    """One snapshot of one run. Pure."""
    model = model_of(shape)
    params = dict(params) if model.before_epoch is None else model.before_epoch(params, traced)

    def place(params: Params) -> tuple[jax.Array, tuple[jax.Array, Activation]]:
        switches, found = switching(shape, params, traced)
        return (found.due / found.time) ** 2, (switches, found)

    slopes, (switches, found) = jax.jacrev(place, has_aux=True)(params)
    s, edge = (found.due / found.time) ** 2, (found.due / found.end) ** 2
    scale = found.late * found.due
    inside = switches & (s >= edge)
    pull = jnp.where(inside, scale / 2 * jnp.sign(s - 1) * jnp.where(inside, s, 1) ** -1.5, 0)
    done = evaluate(shape, params, traced)

    def dot(one: Params, other: Params) -> jax.Array:
        return sum((jnp.vdot(one[name], other[name]) for name in one), jnp.zeros((), shape.dtype))

    def canonical(slope: jax.Array) -> jax.Array:
        return jnp.tensordot(pull, jnp.where(inside.reshape(-1, *[1] * (slope.ndim - 1)), slope, 0), 1)

    wanted = {name: canonical(slope) for name, slope in slopes.items()}
    norm, own = jnp.sqrt(dot(wanted, wanted)), jnp.sqrt(dot(done.grads, done.grads))
    squared = sum((slope.reshape(len(s), -1) ** 2).sum(axis=1) for slope in slopes.values())
    squared = jnp.where(s > 0, squared, jnp.nan)
    rate = traced["learning_rate"]
    eta = rate * scale * squared / 2
    moved = {name: value - rate * done.grads[name] for name, value in params.items()}
    after = switching(shape, moved, traced)[1]
    missed = jnp.where(inside, jnp.abs(1 - jnp.where(inside, s, 1) ** -0.5), (found.end - found.due) / found.due)
    return Reduced(
        switches, found.time, found.due, s, jnp.sqrt(squared), scale, edge, done.loss, own,
        jnp.where(switches, scale * missed, 0).sum(), norm, dot(wanted, done.grads) / (norm * own),
        eta, s - eta * jnp.where(s >= edge, jnp.sign(s - 1) * s**-1.5, 0), (after.due / after.time) ** 2,
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def _program(shape: Shape) -> Callable[..., Reduced]:
    """`reduced` of many snapshots with fields of their own."""
    return jax.jit(jax.vmap(lambda params, traced: reduced(shape, params, with_data(shape, traced))))


def quiet_shape(fields: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """The shape in float64 of a run without the noise of training, and its fields."""
    quiet = {name: 0.0 for name in ("noise_sigma", "r0_sigma") if fields.get(name)}
    known = {**fields, **quiet, "dtype": "float64"}
    return shape_of(known), known


Snapshots = Mapping[str, np.ndarray]
"""Parameters by name, (S, ...), and `epochs` (S,)."""


def reduction(given: Iterable[tuple[Run, Snapshots]]) -> pd.DataFrame:
    """Snapshots of runs, reduced: a row per run, epoch and kind of trial whose target switches once.

    given: runs, each with `epochs` (S,) and parameters by name (S, ...), before that epoch's update. Columns:
    `REDUCTION` of `ghostsweep.store.columns`. One compiled program per shape, in float64, for all of its snapshots.
    Raises UsageError for a model that has neither outputs nor an activation, for parameters that are not its own, and
    for a task of which no trial's target switches once.
    """
    groups: dict[Shape, list[tuple[Run, dict[str, Any], Snapshots]]] = {}
    for run, snapshots in given:
        shape, fields = quiet_shape(run.fields)
        allowed = parameter_shapes(shape)
        found = {name: np.shape(value)[1:] for name, value in snapshots.items() if name != "epochs"}
        if found != allowed or "epochs" not in snapshots:
            raise UsageError(f"snapshots: found {found}; allowed: epochs, and for each of them {allowed}")
        groups.setdefault(shape, []).append((run, fields, snapshots))
    parts = [_of_shape(shape, runs) for shape, runs in groups.items()]
    if not parts:
        raise UsageError("snapshots: found none; allowed: runs whose parameters were kept ([record.snapshots])")
    return pd.concat(parts, ignore_index=True)


def _of_shape(shape: Shape, runs: Sequence[tuple[Run, dict[str, Any], Snapshots]]) -> pd.DataFrame:
    counts = [len(snapshots["epochs"]) for _, _, snapshots in runs]
    run_of = np.repeat(np.arange(len(runs)), counts)
    epochs = np.concatenate([snapshots["epochs"] for _, _, snapshots in runs])
    names = [name for name in shape.traced if not is_null(runs[0][1][name])]
    traced = {
        name: np.array([fields[name] for _, fields, _ in runs], shape.traced_types[name])[run_of] for name in names
    }
    parameters = {
        name: np.concatenate([np.asarray(snapshots[name], np.float64) for _, _, snapshots in runs])
        for name in parameter_shapes(shape)
    }
    program, parts = _program(shape), []
    with ambient.pinned(x64=True):
        if shape.stochastic:  # trials drawn anew every epoch: those of the first
            keys = [train.run_key({"seed": jnp.asarray(run.seed, "uint32")}, train.NOISE) for run, _, _ in runs]
            drawn = jnp.stack(
                [jax.random.fold_in(key, run.first_epoch or 0) for key, (run, _, _) in zip(keys, runs, strict=True)]
            )
        for first in range(0, len(epochs), _BATCH):
            # The last batch is filled up, for one program.
            rows = np.minimum(np.arange(first, first + _BATCH), len(epochs) - 1)
            own: dict[str, Any] = {name: value[rows] for name, value in traced.items()}
            own |= {"key": drawn[run_of[rows]]} if shape.stochastic else {}
            done = program({name: value[rows] for name, value in parameters.items()}, own)
            parts.append(Reduced(*(np.asarray(value)[: len(epochs) - first] for value in done)))
    whole = Reduced(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    if not whole.switches.any():
        raise UsageError(f"task {shape.task!r}: no trial's target switches once; allowed: a task with one that does")
    at, kind = np.nonzero(whole.switches)

    def each(value: np.ndarray) -> np.ndarray:
        return value[at, kind] if value.ndim == 2 else value[at]

    rates = np.array([run.learning_rate for run, _, _ in runs])[run_of[at]]
    plain = np.array([is_plain(run.fields) for run, _, _ in runs])[run_of[at]]
    norm, canonical = each(whole.grad_norm), each(whole.canonical_norm)
    return pd.DataFrame(
        {
            "run_id": np.array([run.run_id for run, _, _ in runs], object)[run_of[at]],
            "epoch": epochs[at].astype(np.int64),
            "trial": kind.astype(np.int64),
            "loss": each(whole.loss),
            "grad_norm": norm,
            "due": each(whole.due),
            "time": each(whole.time),
            "s": each(whole.s),
            "s_grad_norm": each(whole.slope),
            "eta": np.where(plain, each(whole.eta), np.nan),
            "eta_critical": 1 - each(whole.edge),
            "lr_critical": (1 - each(whole.edge)) * rates / each(whole.eta),
            "canonical_loss": each(whole.canonical_loss),
            "cosine": each(whole.cosine),
            "norm_ratio": np.divide(norm, canonical, out=np.full(len(norm), np.nan), where=canonical > 0),
            "s_next": np.where(plain, each(whole.s_next), np.nan),
            "s_after": np.where(plain, each(whole.s_after), np.nan),
        }
    )
