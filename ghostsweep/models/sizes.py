"""Sizes of parameters and trials, found by tracing a model's and a task's functions without computing anything."""

import functools
import math
from typing import Any

from ghostsweep.declare.model import Cost
from ghostsweep.declare.shape import Shape
from ghostsweep.models import telling
from ghostsweep.models.registry import data_of, model_of, task_of


@functools.cache
def parameter_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter of one run, by name."""

    from ghostsweep.machine import ambient

    with ambient.pinned(x64=shape.dtype == "float64"):
        model = model_of(shape)
        initial = functools.partial(model.initial, shape)
        found = telling.traced(model, "initial", shape, initial, *arguments(shape))
        params = telling.check_params(model, found, shape.dtype)
    return {name: value.shape for name, value in params.items()}


def arguments(shape: Shape) -> tuple[dict[str, Any], Any]:
    """Traced fields of one run and a key, as far as their types."""
    import jax

    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in shape.traced_types.items()}
    traced |= {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in data_of(shape).items()}
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    return (traced | {"key": key} if shape.stochastic else traced), key


@functools.cache
def trial_sizes(shape: Shape) -> tuple[int, int]:
    """Steps and trials of an epoch; (1, 1) for a model without a task."""
    task = task_of(shape)
    if task is None:
        return 1, 1
    if shape.get("n_steps") and shape.get("n_trials"):
        return shape.n_steps, shape.n_trials

    def targets(traced: Any) -> Any:
        return task.trials(shape, traced).targets

    found = telling.traced(task, "trials", shape, targets, arguments(shape)[0])
    return found.shape[0], found.shape[1]


@functools.cache
def cost(shape: Shape) -> Cost:
    """Cost of one run of a shape, as its model says; else from the sizes of its parameters and trials.

    Widths of chunks decide digits, so that a cost is never taken from a clock. Where nobody said: 2 ns for each unit
    of work, a parameter in a step of a trial, half of it at the least for small models; weights of a batch in a
    core's cache.
    """
    own = model_of(shape).cost
    if own is not None:
        return own(shape)
    values = sum(math.prod(size) for size in parameter_shapes(shape).values())
    steps, trials = trial_sizes(shape)
    size, slower = (8, 2.2) if shape.dtype == "float64" else (4, 1.0)
    work = steps * trials * values
    states = steps * trials * math.isqrt(values)
    lanes = min(max(320_000 // (size * max(values, 1)), 4), 300)
    return Cost(lanes, (0.2e-9 * work + 3e-9 * states) * slower, size * (8 * states + 8 * values))


def n_parameters(shape: Shape) -> int:
    """Number of values that one run trains."""
    count = model_of(shape).n_parameters
    return count(shape) if count else sum(math.prod(size) for size in parameter_shapes(shape).values())
