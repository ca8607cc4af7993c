"""The pure training function: one optimizer on one run over a stretch of epochs, vectorised by the caller.

Nothing here reads, writes or prints. What is carried (`State`) and what is reported (`Report`) are two types.
"""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ghostsweep.declare import Model, Shape, Tally
from ghostsweep.declare.sums import total
from ghostsweep.machine import ambient, kernels
from ghostsweep.models import model_of, task_of
from ghostsweep.models.registry import data_of
from ghostsweep.spec import RECENT_EPOCHS
from ghostsweep.training import optimizers
from ghostsweep.training.evaluation import evaluate

Array = jax.Array | np.ndarray

MAX_GAP = 1024
"""Epochs between two reports at most: sums are kept in the run's precision only that long, in float64 after."""
MAX_STOPS = 64
"""Reports per call of the compiled program, at most."""

LOOK_EPOCHS = 64
"""How often it is looked at whether an epoch leaves a run in a kernel as it was; every epoch would cost up to 13%."""

MIN_WINDOW = "min_window_sum"
"""In a state's `window`: the lowest sum of RECENT_EPOCHS losses."""
NO_DATA: Mapping[str, Any] = {}
"""Of models and tasks that declare none."""

# Purposes that a run's seed is split into, fixed for good: `fold_in(key(seed), PURPOSE)`.
INITIAL_PARAMETERS = 0
NOISE = 1  # with the epoch folded in


class State(NamedTuple):
    """What a run carries from epoch to epoch."""

    params: dict[str, jax.Array]
    opt_state: Any
    epochs_done: jax.Array  # epochs whose loss and gradient were finite
    min_loss: jax.Array
    min_loss_epoch: jax.Array
    max_accuracy: jax.Array
    learned_epoch: jax.Array  # -1 until the loss is first below `learned_loss`
    loss_sum: jax.Array  # since the last report
    grad_norm_sum: jax.Array
    window: dict[str, jax.Array]  # sums of the loss, where an epoch draws random numbers
    tally: dict[str, jax.Array]  # of the task, where it keeps one


class Measured(NamedTuple):
    """What one epoch of a run measures."""

    loss: jax.Array
    grad_norm: jax.Array
    accuracy: jax.Array
    slope: jax.Array  # norm of the gradient of all parameters, where `grad_norm` is of some


class Report(NamedTuple):
    """What is known of a run at a stop: values of the epoch before it, and sums since the previous stop."""

    loss: Array
    grad_norm: Array
    accuracy: Array
    weight_norm: Array
    loss_sum: Array
    grad_norm_sum: Array
    slope: Array  # norm of the gradient of all parameters, where `grad_norm` is of some


def precision(shape: Shape) -> contextlib.AbstractContextManager[None]:
    """JAX's settings as the shape needs them, around creating arrays and compiling and calling programs."""
    return ambient.pinned(x64=shape.dtype == "float64")


def initial_state(shape: Shape, traced: Mapping[str, jax.Array], params: dict[str, jax.Array]) -> State:
    """State of one run before its first epoch."""
    zero, count = jnp.zeros((), shape.dtype), jnp.zeros((), jnp.int32)
    tally = tally_of(shape)
    return State(
        params=params,
        opt_state=optimizers.build(shape, traced).init(params),
        epochs_done=count,
        min_loss=zero + jnp.inf,
        min_loss_epoch=count,
        max_accuracy=zero,
        learned_epoch=count - 1,
        loss_sum=zero,
        grad_norm_sum=zero,
        window={"sum": zero, MIN_WINDOW: zero + jnp.inf} if shape.stochastic else {},
        tally=tally.start(shape, traced) if tally else {},
    )


def tally_of(shape: Shape) -> Tally | None:
    """The tally that the task of a shape keeps."""
    task = task_of(shape)
    return task.tally if task else None


def initial_params(shape: Shape, traced: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Parameters that the seed gives one run."""
    return model_of(shape).initial(shape, traced, run_key(traced, INITIAL_PARAMETERS))


def run_key(traced: Mapping[str, jax.Array], purpose: int) -> jax.Array:
    """`fold_in(key(seed), purpose)`, whatever random generator and offset of seeds the user has set."""
    seed = jnp.stack([jnp.zeros_like(traced["seed"]), traced["seed"]])  # the upper and the lower 32 bits
    return jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), purpose)


def train_stretch(
    shape: Shape, state: State, traced: Mapping[str, jax.Array], stops: jax.Array, n_stops: jax.Array
) -> tuple[State, Report]:
    """Train one run from epoch stops[0] to stops[n_stops], reporting at each stop on the way.

    `stops` has shape (reports + 1,), increasing up to index n_stops; a report's fields have shape
    (reports,), meaningless from n_stops on. Pure; vectorise over `state` and `traced`, not over the stops.
    """
    empty = Report(*(jnp.zeros(len(stops) - 1, shape.dtype) for _ in Report._fields))

    def next_stop(index: jax.Array, carry: tuple[State, Report]) -> tuple[State, Report]:
        state, reports = carry
        state, report = to_stop(shape, state, traced, stops[index], stops[index + 1] - 1)
        return state, jax.tree.map(lambda rows, value: rows.at[index].set(value), reports, report)

    result: tuple[State, Report] = lax.fori_loop(0, n_stops, next_stop, (state, empty))
    return result


def to_stop(
    shape: Shape, state: State, traced: Mapping[str, jax.Array], first: jax.Array, last: jax.Array
) -> tuple[State, Report]:
    """Train one run from epoch `first` to `last`, of which the report is."""
    model = model_of(shape)

    def block(index: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, first = carry
        for offset in range(model.unroll):
            state, _ = _epoch(shape, state, traced, first + index * model.unroll + offset)
        return state, first

    if model.unroll > 1:
        blocks = (last - first) // model.unroll
        state, _ = lax.fori_loop(0, blocks, block, (state, first))
        first = first + blocks * model.unroll
    train = _until_still if shape.kernel and repeats_itself(shape, state) else _every

    def part(index: jax.Array, carry: tuple[State, Measured, jax.Array]) -> tuple[State, Measured, jax.Array]:
        """All epochs but the last, then the last alone, in one loop: an epoch is compiled once."""
        weight_norm = _norm(shape, _as_run(model, carry[0].params, traced))
        return *train(shape, carry[0], traced, jnp.where(index == 0, first, last), last + index), weight_norm

    zero = jnp.zeros((), shape.dtype)
    state, measured, weight_norm = lax.fori_loop(0, 2, part, (state, Measured(zero, zero, zero, zero), zero))
    loss, grad_norm, accuracy, slope = measured
    report = Report(loss, grad_norm, accuracy, weight_norm, state.loss_sum, state.grad_norm_sum, slope)
    state = state._replace(loss_sum=state.loss_sum * 0, grad_norm_sum=state.grad_norm_sum * 0)
    if _is_bounded(shape):  # every epoch counts
        state = state._replace(epochs_done=state.epochs_done * 0 + last + 1)
    if model.accuracy_of is not None:
        state = state._replace(max_accuracy=model.accuracy_of(state.min_loss))
    return state, report


def _every(
    shape: Shape, state: State, traced: Mapping[str, jax.Array], first: jax.Array, end: jax.Array
) -> tuple[State, Measured]:
    """Epochs `first` to end - 1 of one run, and what the last of them measures: zeros where there is none."""

    def train(epoch: jax.Array, carry: tuple[State, Measured]) -> tuple[State, Measured]:
        return _epoch(shape, carry[0], traced, epoch)

    zero = jnp.zeros((), shape.dtype)
    result: tuple[State, Measured] = lax.fori_loop(first, end, train, (state, Measured(zero, zero, zero, zero)))
    return result


def _until_still(
    shape: Shape, state: State, traced: Mapping[str, jax.Array], first: jax.Array, end: jax.Array
) -> tuple[State, Measured]:
    """As `_every`, of one run for itself. Epochs after one that leaves it as it was, bit for bit, are not trained."""
    zero = jnp.zeros((), shape.dtype)

    def look(carry: tuple[jax.Array, State, jax.Array, Measured]) -> Any:
        epoch, before, *_ = carry
        alone = (epoch - first) % LOOK_EPOCHS == 0  # by the same code as the others, in a loop of one epoch
        stop = epoch + jnp.minimum(jnp.where(alone, 1, LOOK_EPOCHS - 1), end - epoch)
        after, measured = _every(shape, before, traced, epoch, stop)
        still = alone & _same((before.params, before.opt_state), (after.params, after.opt_state))
        return stop, after, still, measured

    start = first, state, jnp.array(False), Measured(zero, zero, zero, zero)
    epoch, state, _, measured = lax.while_loop(lambda carry: (carry[0] < end) & ~carry[2], look, start)
    left = jnp.where(_is_bounded(shape) | (state.epochs_done == epoch), end - epoch, 0)  # 0 where it has diverged

    def count(_: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return sums[0] + measured.loss, sums[1] + measured.grad_norm  # one by one, to be rounded as if trained

    loss_sum, grad_norm_sum = lax.fori_loop(0, left, count, (state.loss_sum, state.grad_norm_sum))
    state = state._replace(epochs_done=state.epochs_done + left, loss_sum=loss_sum, grad_norm_sum=grad_norm_sum)
    return state, measured


def _as_run(model: Model, params: dict[str, jax.Array], traced: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The parameters as an epoch has them that begins with `params`."""
    return params if model.before_epoch is None else model.before_epoch(params, traced)


def _epoch(shape: Shape, state: State, traced: Mapping[str, jax.Array], epoch: jax.Array) -> tuple[State, Measured]:
    """One epoch: measure, then update. A run that is not finite keeps its parameters from then on."""
    model = model_of(shape)
    state = state._replace(params=_as_run(model, state.params, traced))
    if shape.stochastic:
        epochs_before = traced["first_epoch"] + epoch.astype(jnp.uint32)
        traced = {**traced, "key": jax.random.fold_in(run_key(traced, NOISE), epochs_before)}
    loss, accuracy, grads, measured = evaluate(shape, state.params, traced)
    if "stop_loss" in shape.traced:  # from then on it is as a run whose loss is not finite
        loss = jnp.where(loss > traced["stop_loss"], jnp.inf, loss)
    normed = {name: grads[name] for name in model.normed if name in grads} or grads
    grad_norm = slope = _norm(shape, normed)
    if others := {name: grad for name, grad in grads.items() if name not in normed}:
        slope = jnp.sqrt(grad_norm * grad_norm + _norm(shape, others) ** 2)
    updates, opt_state = optimizers.build(shape, traced).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    tally, measured = tally_of(shape), {"loss": loss, "accuracy": accuracy, **measured}
    better = loss < state.min_loss
    learned = (state.learned_epoch < 0) & (loss < traced["learned_loss"])
    new = State(
        params=params,
        opt_state=opt_state,
        epochs_done=state.epochs_done if _is_bounded(shape) else state.epochs_done + 1,
        min_loss=jnp.where(better, loss, state.min_loss),
        min_loss_epoch=jnp.where(better, epoch, state.min_loss_epoch),
        max_accuracy=jnp.fmax(state.max_accuracy, accuracy) if model.accuracy_of is None else state.max_accuracy,
        learned_epoch=jnp.where(learned, epoch, state.learned_epoch),
        loss_sum=state.loss_sum + loss,
        grad_norm_sum=state.grad_norm_sum + grad_norm,
        window=_windowed(state.window, epoch, loss),
        tally=tally.update(shape, traced, state.tally, epoch, measured) if tally else {},
    )
    known = Measured(loss, grad_norm, accuracy, slope)
    if _is_bounded(shape):
        return new, known
    # `epochs_done` falls behind the epoch at the first non-finite one and so freezes the run for good.
    finite = (state.epochs_done == epoch) & jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    kept: State = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
    return kept, known


def _is_bounded(shape: Shape) -> bool:
    """Whether the loss and the gradient are finite whatever the parameters, and no loss stops a run."""
    return model_of(shape).bounded and "stop_loss" not in shape.traced


def _windowed(window: dict[str, jax.Array], epoch: jax.Array, loss: jax.Array) -> dict[str, jax.Array]:
    """The sum since an epoch that RECENT_EPOCHS divide, and the lowest of so many epochs; nothing where it is empty."""
    if not window:
        return {}
    total, lowest = window["sum"] + loss, window[MIN_WINDOW]
    whole = (epoch + 1) % RECENT_EPOCHS == 0
    return {"sum": jnp.where(whole, 0, total), MIN_WINDOW: jnp.where(whole, jnp.minimum(lowest, total), lowest)}


def _same(before: Any, after: Any) -> jax.Array:
    """Whether two trees of floating-point arrays have the same bits."""

    def differ(a: jax.Array, b: jax.Array) -> jax.Array:
        bits = f"uint{8 * a.dtype.itemsize}"
        return (a.view(bits) != b.view(bits)).any()

    return ~jax.tree.reduce(jnp.logical_or, jax.tree.map(differ, before, after))


def _norm(shape: Shape, arrays: Mapping[str, jax.Array]) -> jax.Array:
    """The norm of all numbers of some arrays."""
    if not (shape.kernel or shape.persistent):
        plain: jax.Array = optax.tree.norm(arrays)
        return plain
    squares = [total(shape, array * array) for array in arrays.values()]
    return jnp.sqrt(jnp.stack(squares).sum() if shape.kernel else functools.reduce(operator.add, squares))


def stands_still(shape: Shape) -> bool:
    """Whether a run whose gradient is exactly 0 can never move again.

    So it is without noise, under an update rule without memory, where nothing but the gradient moves the parameters.
    """
    moved = {"momentum", "weight_decay"} & set(shape.traced)
    alone = model_of(shape).before_epoch is None or "readout_l1" not in shape.traced
    return shape.optimizer == "sgd" and not moved and alone and not shape.stochastic


def repeats_itself(shape: Shape, state: State) -> bool:
    """Whether a run that an epoch leaves as it was stays so: nothing is drawn, kept or counted from epoch to epoch."""
    counts = any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in jax.tree.leaves(state.opt_state))
    return not (shape.stochastic or counts or tally_of(shape))


@functools.partial(jax.jit, static_argnums=0)
def start_batch(
    shape: Shape,
    traced: Mapping[str, jax.Array],
    data: Mapping[str, Any] = NO_DATA,
    params: Mapping[str, jax.Array] | None = None,
) -> State:
    """Initial states of a batch of runs, from traced values of shape (runs,) and the data that all share.

    Parameters are those that the seeds give, where no `params` (runs, ...) are given.
    """
    if params is None:
        params = jax.vmap(lambda own: initial_params(shape, {**own, **data}))(traced)
    return jax.vmap(lambda own, params: initial_state(shape, {**own, **data}, params))(traced, dict(params))


def start(
    shape: Shape, columns: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray] | None = None
) -> tuple[State, dict[str, jax.Array]]:
    """Initial states and traced fields of a batch of runs, from columns (runs,) and `params` as in `start_batch`."""
    with precision(shape):
        traced = {name: jnp.asarray(columns[name], dtype) for name, dtype in shape.traced_types.items()}
        given = None if params is None else {name: jnp.asarray(value) for name, value in params.items()}
        return start_batch(shape, traced, data_of(shape), given), traced


def batched(shape: Shape) -> Callable[..., tuple[State, Report]]:
    """`train_stretch` over a batch: states and traced fields (runs, ...), the data of all, reports (stops, runs)."""

    def one(state: State, traced: Any, stops: jax.Array, n_stops: jax.Array, data: Any) -> tuple[State, Report]:
        return train_stretch(shape, state, {**traced, **data}, stops, n_stops)

    whole = jax.vmap(one, in_axes=(0, 0, None, None, None), out_axes=(0, 1))

    def function(
        state: State, traced: Any, stops: jax.Array, n_stops: jax.Array, data: Any = NO_DATA
    ) -> tuple[State, Report]:
        result: tuple[State, Report] = whole(state, traced, stops, n_stops, dict(data))
        return result

    return function


def in_kernel(shape: Shape) -> Shape:
    """The shape of a program that is one kernel."""
    return dataclasses.replace(shape, kernel=True)


def in_turn(shape: Shape) -> Callable[..., tuple[State, Report]]:
    """As `batched`, for CPUs: one run after the other, each from the first stop to the last in one kernel.

    What a run needs stays in the nearest cache, and no operation waits to be called.
    """

    def one(state: State, traced: Any, stops: jax.Array, n_stops: jax.Array, data: Any) -> tuple[State, Report]:
        return train_stretch(in_kernel(shape), state, {**traced, **data}, stops, n_stops)

    kernel = kernels.one_kernel(one)

    def function(
        state: State, traced: Any, stops: jax.Array, n_stops: jax.Array, data: Any = NO_DATA
    ) -> tuple[State, Report]:
        state, report = lax.map(lambda run: kernel(*run, stops, n_stops, dict(data)), (state, traced))
        return state, jax.tree.map(jnp.transpose, report)

    return function
