"""Whole stretches of training inside one kernel of a GPU: an option, `persistent`, for models that declare it.

XLA calls a kernel or more for each of the few operations of a time step, some 5 us each, so that an epoch of a few
hundred small networks takes as long as one of thousands. Here each run has a program of its own, one warp in which its
parameters stay in registers from the first stop to the last; in it is traced what all others are trained by,
`train.to_stop`, with the model's `persistent` in place of its `evaluate`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import model_of
from ghostsweep.models.registry import models
from ghostsweep.training import train
from ghostsweep.training.train import MAX_STOPS, Report, State

WARPS = 1
"""Warps of a run: with two, sums go through shared memory (1,056 networks: 12 us an epoch with one, 21 with two)."""


def chosen(shape: Shape, platform: str) -> Shape:
    """The shape as one of a persistent kernel. Raises UsageError where there is none for it."""
    if platform != "gpu":
        raise UsageError(f"persistent: found a {platform}; allowed: a GPU")
    model = model_of(shape)
    if model.persistent is None or shape.task not in model.tasks or shape.stochastic:
        found = f"{shape.model} on {shape.task}" if shape.task else shape.model
        able = [(one.name, task) for one in models().values() if one.persistent for task in one.tasks]
        raise UsageError(
            f"persistent: found {found}{' with noise' * shape.stochastic}; "
            f"allowed: {', '.join(f'{name} on {task}' for name, task in able)}, without noise"
        )
    return dataclasses.replace(shape, persistent=True)


def batched(shape: Shape, *, interpret: bool = False) -> Callable[..., tuple[State, Report]]:
    """As `train.batched`, each run in a kernel's program of its own; `interpret`: on a CPU, slowly, for tests."""
    from jax.experimental.pallas import triton

    def function(state: State, traced: Any, stops: jax.Array, n_stops: jax.Array) -> tuple[State, Report]:
        runs = len(state.epochs_done)
        carried, own = jax.tree.map(_padded, state), dict(traced)

        def kernel(stops: Any, n_stops: Any, *refs: Any) -> None:
            inputs, outputs, reports = _split(refs, jax.tree.leaves((carried, own)), jax.tree.leaves(carried))
            state, traced = jax.tree.unflatten(jax.tree.structure((carried, own)), [ref[...] for ref in inputs])

            def next_stop(index: jax.Array, state: State) -> State:
                state, report = train.to_stop(shape, state, traced, stops[index], stops[index + 1] - 1)
                for rows, value in zip(reports, report, strict=True):
                    rows[index] = value
                return state

            state = lax.fori_loop(0, n_stops[0], next_stop, state)
            for ref, value in zip(outputs, jax.tree.leaves(state), strict=True):
                ref[...] = value

        rows = Report(*(jax.ShapeDtypeStruct((runs, MAX_STOPS), shape.dtype) for _ in Report._fields))
        out = carried, rows
        call = pl.pallas_call(
            kernel,
            grid=(runs,),
            in_specs=[_all(stops), _all(n_stops[None]), *map(_one, jax.tree.leaves((carried, own)))],
            out_specs=[_one(leaf) for leaf in jax.tree.leaves(out)],
            out_shape=[jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(out)],
            compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
            name="stretch",
        )
        trained, report = jax.tree.unflatten(
            jax.tree.structure(out), call(stops, n_stops[None], *jax.tree.leaves((carried, own)))
        )
        cut = jax.tree.map(lambda array, like: array[:, : like.shape[1]] if like.ndim > 1 else array, trained, state)
        return cut, jax.tree.map(jnp.transpose, report)

    return function


def _padded(array: jax.Array) -> jax.Array:
    """Rows of a batch with zeros up to a power of two, which arrays in a kernel must have."""
    if array.ndim == 1:
        return array
    length = array.shape[1]
    return jnp.pad(array, [(0, 0), (0, (1 << (length - 1).bit_length()) - length)])


def _split(refs: Any, inputs: list[Any], outputs: list[Any]) -> tuple[Any, Any, Any]:
    """The references of a kernel: what goes in, the state that comes out, and the reports."""
    first, last = len(inputs), len(inputs) + len(outputs)
    return refs[:first], refs[first:last], refs[last:]


def _one(array: Any) -> pl.BlockSpec:
    """The part of one run, its number or its row."""
    return pl.BlockSpec((None, *array.shape[1:]), lambda run: (run,) + (0,) * (array.ndim - 1))


def _all(array: Any) -> pl.BlockSpec:
    return pl.BlockSpec(array.shape, lambda run: (0,) * array.ndim)
