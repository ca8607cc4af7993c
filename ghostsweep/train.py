"""The pure training function: one optimizer on one run over a stretch of epochs, vectorised by the caller.

Nothing here reads, writes or prints. What is carried (`State`) and what is reported (`Report`) are two types.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ghostsweep import optimizers
from ghostsweep.models import model_of
from ghostsweep.spec import Run, Shape

Array = jax.Array | np.ndarray

MAX_GAP = 1024
"""Epochs between two reports at most: sums are kept in the run's precision only that long, in float64 after."""
MAX_STOPS = 64
"""Reports per call of the compiled program."""

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


class Report(NamedTuple):
    """What is known of a run at a stop: values of the epoch before it, and sums since the previous stop."""

    loss: Array
    grad_norm: Array
    accuracy: Array
    weight_norm: Array
    loss_sum: Array
    grad_norm_sum: Array


@contextlib.contextmanager
def precision(shape: Shape) -> Iterator[None]:
    """JAX's 64-bit mode as the shape needs it and full matrix products, around creating arrays and calling programs."""
    with jax.enable_x64(shape.dtype == "float64"), jax.default_matmul_precision("highest"):
        yield


def initial_state(shape: Shape, traced: Mapping[str, jax.Array], params: dict[str, jax.Array]) -> State:
    """State of one run before its first epoch."""
    zero, count = jnp.zeros((), shape.dtype), jnp.zeros((), jnp.int32)
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
    )


def initial_params(shape: Shape, traced: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Parameters that the seed gives one run."""
    return model_of(shape).initial(shape, traced, _key(traced, INITIAL_PARAMETERS))


def _key(traced: Mapping[str, jax.Array], purpose: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(traced["seed"]), purpose)


def train_stretch(
    shape: Shape, state: State, traced: Mapping[str, jax.Array], stops: jax.Array, n_stops: jax.Array
) -> tuple[State, Report]:
    """Train one run from epoch stops[0] to stops[n_stops], reporting at each stop on the way.

    `stops` has shape (MAX_STOPS + 1,), increasing up to index n_stops; a report's fields have shape
    (MAX_STOPS,), meaningless from n_stops on. Pure; vectorise over `state` and `traced`, not over the stops.
    """
    model = model_of(shape)
    empty = Report(*(jnp.zeros(MAX_STOPS, shape.dtype) for _ in Report._fields))

    def quiet(epoch: jax.Array, state: State) -> State:
        return _epoch(shape, state, traced, epoch)[0]

    def block(index: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, first = carry
        for offset in range(model.unroll):
            state = quiet(first + index * model.unroll + offset, state)
        return state, first

    def to_stop(index: jax.Array, carry: tuple[State, Report]) -> tuple[State, Report]:
        state, reports = carry
        first, last = stops[index], stops[index + 1] - 1
        rest = first
        if model.unroll > 1:
            blocks = (last - first) // model.unroll
            rest = first + blocks * model.unroll
            state, _ = lax.fori_loop(0, blocks, block, (state, first))
        state = lax.fori_loop(rest, last, quiet, state)
        state, report = _epoch(shape, state, traced, last)
        reports = jax.tree.map(lambda rows, value: rows.at[index].set(value), reports, report)
        state = state._replace(loss_sum=state.loss_sum * 0, grad_norm_sum=state.grad_norm_sum * 0)
        if model.bounded:  # every epoch counts
            state = state._replace(epochs_done=state.epochs_done * 0 + last + 1)
        if model.accuracy_of is not None:
            state = state._replace(max_accuracy=model.accuracy_of(state.min_loss))
        return state, reports

    result: tuple[State, Report] = lax.fori_loop(0, n_stops, to_stop, (state, empty))
    return result


def _epoch(shape: Shape, state: State, traced: Mapping[str, jax.Array], epoch: jax.Array) -> tuple[State, Report]:
    """One epoch: measure, then update. A run that is not finite keeps its parameters from then on."""
    model = model_of(shape)
    if "readout_l1" in shape.traced:
        state = state._replace(params=_scaled_readout(state.params, traced["readout_l1"]))
    if shape.stochastic:
        traced = {**traced, "key": jax.random.fold_in(_key(traced, NOISE), epoch)}
    loss, accuracy, grads = model.evaluate(shape, state.params, traced)
    grad_norm = optax.tree.norm({name: grads[name] for name in model.normed} or grads)
    updates, opt_state = optimizers.build(shape, traced).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    better = loss < state.min_loss
    learned = (state.learned_epoch < 0) & (loss < traced["learned_loss"])
    new = State(
        params=params,
        opt_state=opt_state,
        epochs_done=state.epochs_done if model.bounded else state.epochs_done + 1,
        min_loss=jnp.where(better, loss, state.min_loss),
        min_loss_epoch=jnp.where(better, epoch, state.min_loss_epoch),
        max_accuracy=jnp.maximum(state.max_accuracy, accuracy) if model.accuracy_of is None else state.max_accuracy,
        learned_epoch=jnp.where(learned, epoch, state.learned_epoch),
        loss_sum=state.loss_sum + loss,
        grad_norm_sum=state.grad_norm_sum + grad_norm,
    )
    report = Report(loss, grad_norm, accuracy, optax.tree.norm(state.params), new.loss_sum, new.grad_norm_sum)
    if model.bounded:
        return new, report
    # `epochs_done` falls behind the epoch at the first non-finite one and so freezes the run for good.
    finite = (state.epochs_done == epoch) & jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    kept: State = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
    return kept, report._replace(loss_sum=kept.loss_sum, grad_norm_sum=kept.grad_norm_sum)


def _scaled_readout(params: Mapping[str, jax.Array], readout_l1: jax.Array) -> dict[str, jax.Array]:
    """w_out and b_out divided by sum |w_out| / readout_l1, for good (paper, section 3, protocol of Fig. 8c)."""
    scale = readout_l1 / jnp.abs(params["w_out"]).sum()
    return {**params, "w_out": scale * params["w_out"], "b_out": scale * params["b_out"]}


def stands_still(shape: Shape) -> bool:
    """Whether a run whose gradient norm is exactly 0 can never move again.

    So it is without noise, under an update rule without memory, where nothing but the gradient moves the parameters
    and the norm is over all of it.
    """
    moved = {"momentum", "weight_decay", "readout_l1"} & set(shape.traced)
    return shape.optimizer == "sgd" and not moved and not shape.stochastic and not model_of(shape).normed


@functools.partial(jax.jit, static_argnums=0)
def start_batch(shape: Shape, traced: Mapping[str, jax.Array]) -> State:
    """Initial states of a batch of runs, from traced values of shape (runs,)."""
    params = jax.vmap(functools.partial(initial_params, shape))(traced)
    return jax.vmap(functools.partial(initial_state, shape))(traced, params)


def start(shape: Shape, columns: Mapping[str, np.ndarray]) -> tuple[State, dict[str, jax.Array]]:
    """Initial states and traced fields of a batch of runs, from columns of shape (runs,)."""
    with precision(shape):
        traced = {name: jnp.asarray(columns[name], dtype) for name, dtype in traced_types(shape).items()}
        return start_batch(shape, traced), traced


def traced_types(shape: Shape) -> dict[str, str]:
    """Names and types of what is traced: one value per run of each."""
    return dict.fromkeys(shape.traced, shape.dtype) | {"seed": "uint32"}


def batched(shape: Shape) -> Callable[..., tuple[State, Report]]:
    """`train_stretch` over a batch: states and traced fields (runs, ...), reports (stops, runs)."""
    function = functools.partial(train_stretch, shape)
    return jax.vmap(function, in_axes=(0, 0, None, None), out_axes=(0, 1))


@dataclass(frozen=True)
class History:
    """Every epoch of one run: arrays of shape (epochs,), measured before the epoch's update, and the end."""

    loss: np.ndarray
    grad_norm: np.ndarray
    accuracy: np.ndarray
    weight_norm: np.ndarray
    params: dict[str, np.ndarray]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _train_batch(shape: Shape, state: State, traced: Any, stops: jax.Array, n_stops: jax.Array) -> Any:
    return batched(shape)(state, traced, stops, n_stops)


def train_one(run: Run, initial: Mapping[str, np.ndarray] | None = None) -> History:
    """Train one run and return its whole history.

    `initial` gives parameters by name (for example {"r": r0} or {"m": m, "n": n, "b": b}), cast to the run's
    dtype; without it the seed decides. Raises ValueError where names or shapes of `initial` do not fit.
    """
    fields = run.model_dump()
    shape = Shape.of(fields)
    columns = {name: np.array([value]) for name, value in fields.items() if value is not None}
    state, traced = start(shape, columns)
    if initial is not None:
        state = state._replace(params=_given(shape, state.params, initial))
    assert run.epochs is not None
    rows = []
    with precision(shape):
        for first in range(0, run.epochs, MAX_STOPS):
            count = min(MAX_STOPS, run.epochs - first)
            stops = jnp.arange(first, first + MAX_STOPS + 1, dtype=jnp.int32)
            state, report = _train_batch(shape, state, traced, stops, jnp.asarray(count, jnp.int32))
            rows.append(np.stack([np.asarray(value)[:count, 0] for value in report[:4]]))
        params = {name: np.asarray(value)[0] for name, value in state.params.items()}
    loss, grad_norm, accuracy, weight_norm = np.concatenate(rows, axis=1)
    return History(loss, grad_norm, accuracy, weight_norm, params)


def _given(shape: Shape, seeded: Mapping[str, jax.Array], initial: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    if set(initial) != set(seeded):
        raise ValueError(f"initial: found parameters {sorted(initial)}; allowed: exactly {sorted(seeded)}")
    params = {}
    with precision(shape):
        for name, like in seeded.items():
            value = np.asarray(initial[name], shape.dtype)[None]
            if value.shape != like.shape:
                raise ValueError(f"initial[{name!r}]: found shape {value.shape[1:]}; allowed: {like.shape[1:]}")
            params[name] = jnp.array(value)
    return params
