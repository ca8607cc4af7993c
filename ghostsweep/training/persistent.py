"""Whole stretches of training inside one kernel of a GPU: an option, `persistent`, for models that declare it.

XLA calls some 160 kernels for an epoch of 40 steps, 1.5 us each, so that an epoch of a few hundred small networks takes
as long as one of a thousand. Here each run has a program of its own, a warp, in whose registers it stays from the first
stop to the last. In it is traced what trains all others, `train.to_stop`, with the model's `persistent` in place of its
`evaluate`.

In Pallas for Triton, which knows neither slices nor arrays put together, and only lengths that are powers of two.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import model_of
from ghostsweep.models.registry import data_of, models
from ghostsweep.training import train
from ghostsweep.training.train import NO_DATA, Report, State

WARPS = 1
"""Warps of a run. With two, sums go through shared memory: 1,056 networks took 21 us an epoch instead of 12."""


def chosen(shape: Shape, platform: str) -> Shape:
    """The shape as that of a persistent kernel. Raises UsageError where there is none for it."""
    if platform != "gpu":
        raise UsageError(f"persistent: found devices of platform {platform!r}; allowed: 'gpu'")
    model = model_of(shape)
    if model.persistent is None or shape.task not in model.tasks or shape.stochastic or data_of(shape):
        found = " on ".join(name for name in (shape.model, shape.task) if name) + " with noise" * shape.stochastic
        able = [f"{one.name} on {task}" for one in models().values() if one.persistent for task in one.tasks]
        raise UsageError(f"persistent: found {found}; allowed: {', '.join(able)}, without noise")
    for name in ("clip_norm", "warmup_epochs"):  # and schedules: optax copies numbers there, which Triton does not
        if name in shape.traced:
            raise UsageError(f"{name}: found a number; allowed where runs are persistent: null")
    if shape.schedule != "constant":
        raise UsageError(f"schedule: found {shape.schedule!r}; allowed where runs are persistent: 'constant'")
    return dataclasses.replace(shape, persistent=True)


def batched(shape: Shape, *, interpret: bool = False) -> Callable[..., tuple[State, Report]]:
    """As `train.batched`, for GPUs; with `interpret` for CPUs too, slowly, as tests need it."""
    from jax.experimental import pallas as pl  # a while to import, for what few use
    from jax.experimental.pallas import triton

    def own(array: Any) -> pl.BlockSpec:
        """What a run sees of an array of all: its number or its row."""
        return pl.BlockSpec((None, *array.shape[1:]), lambda run: (run,) + (0,) * (array.ndim - 1))

    def whole(length: int) -> pl.BlockSpec:
        return pl.BlockSpec((length,), lambda run: (0,))

    def function(
        state: State, traced: Any, stops: jax.Array, n_stops: jax.Array, data: Any = NO_DATA
    ) -> tuple[State, Report]:
        runs = len(state.epochs_done)
        before = jax.tree.map(_padded, state)
        row = jax.ShapeDtypeStruct((runs, len(stops) - 1), shape.dtype)
        inputs, into = jax.tree.flatten((before, dict(traced)))
        outputs, out_of = jax.tree.flatten((before, Report._make([row] * len(Report._fields))))

        def kernel(stops: Any, n_stops: Any, *refs: Any) -> None:
            state, traced = jax.tree.unflatten(into, [ref[...] for ref in refs[: len(inputs)]])
            after, reports = jax.tree.unflatten(out_of, refs[len(inputs) :])

            def next_stop(index: jax.Array, state: State) -> State:
                state, report = train.to_stop(shape, state, traced, stops[index], stops[index + 1] - 1)
                for row, value in zip(reports, report, strict=True):
                    row[index] = value
                return state

            state = lax.fori_loop(0, n_stops[0], next_stop, state)
            for ref, value in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
                ref[...] = value

        call = pl.pallas_call(
            kernel,
            grid=(runs,),
            in_specs=[whole(len(stops)), whole(1), *map(own, inputs)],
            out_specs=[own(array) for array in outputs],
            out_shape=[jax.ShapeDtypeStruct(array.shape, array.dtype) for array in outputs],
            compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
            name="stretch",
        )
        after, report = jax.tree.unflatten(out_of, call(stops, n_stops[None], *inputs))
        after = jax.tree.map(lambda array, like: lax.slice(array, (0,) * like.ndim, like.shape), after, state)
        return after, jax.tree.map(jnp.transpose, report)

    return function


def _padded(array: jax.Array) -> jax.Array:
    """An array (runs,), or (runs, N) with zeros up to a power of two."""
    if array.ndim == 1:
        return array
    length: int = array.shape[1]
    return jnp.pad(array, ((0, 0), (0, (1 << (length - 1).bit_length()) - length)))
