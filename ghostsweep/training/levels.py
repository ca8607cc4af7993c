"""What outputs that know nothing reach in the trials of a user's task: of each run, and the same whoever asks.

Of a task whose trials are drawn anew every epoch it is what is to be expected: the mean over as many draws as make it
certain, which are the same for all runs.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ghostsweep.declare.model import Levels
from ghostsweep.declare.shape import Shape
from ghostsweep.models import task_of
from ghostsweep.models.registry import data_of
from ghostsweep.models.sizes import arguments, trial_sizes
from ghostsweep.training.evaluation import accuracy_of, activated, loss_of, typed

FEWEST, MOST = 64, 2**16
"""Epochs of drawn trials over which a mean is taken."""
NUMBERS = 2**25
"""Targets at most that are drawn for that, but for the fewest epochs."""
CERTAIN = 0.005
"""Standard error of a level, as a share of it, at which there are enough."""


def levels(shape: Shape, columns: Mapping[str, np.ndarray]) -> Levels:
    """Losses of constant outputs and of outputs that depend on time alone, and accuracy of the former, each (runs,).

    columns: what enters the program of each run, (runs,). Worked out once for each combination of the fields that the
    task looks at.
    """
    names = _looked_at(shape)
    every = np.array([_of_values(shape, dict(zip(names, point, strict=True))) for point in _points(columns, names)[0]])
    return Levels(*every[_points(columns, names)[1]].T)


def _points(columns: Mapping[str, np.ndarray], names: tuple[str, ...]) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """The different combinations of values of these columns, and for each row the index of its own."""
    rows = list(zip(*(columns[name].tolist() for name in names), strict=True))
    rows = rows or [()] * len(next(iter(columns.values())))
    place = {row: index for index, row in enumerate(dict.fromkeys(rows))}
    return list(place), np.array([place[row] for row in rows])


@functools.lru_cache(maxsize=64)
def _looked_at(shape: Shape) -> tuple[str, ...]:
    """Names of the traced fields that the task computes its trials from."""
    task = task_of(shape)
    assert task is not None
    own = task
    traced = {name: value for name, value in arguments(shape)[0].items() if name != "key"}
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))

    def trials(traced: Any, key: Any) -> Any:
        return own.trials(shape, {**traced, "key": key})[:3]

    program = jax.make_jaxpr(trials)(traced, key).jaxpr
    used = {id(name) for step in program.eqns for name in step.invars} | {id(name) for name in program.outvars}
    places = zip(sorted(traced), program.invars, strict=False)  # a dict's leaves lie by name
    return tuple(name for name, place in places if id(place) in used and name not in data_of(shape))


def _of_values(shape: Shape, values: dict[str, Any]) -> tuple[float, ...]:
    """The levels of one combination of values; fields that the task does not look at are 1."""
    task = task_of(shape)
    assert task is not None
    types = shape.traced_types
    traced: dict[str, Any] = {name: jnp.asarray(values.get(name, 1), kind) for name, kind in types.items()}
    data = data_of(shape)
    ends = np.asarray(activated(task, jnp.asarray([-20.0, 20.0], shape.dtype)))
    count, most = FEWEST if task.drawn else 1, MOST if task.drawn else 1
    numbers = int(np.prod(trial_sizes(shape))) * task.channels[1]
    while True:
        draws = jnp.arange(count)
        by_time = np.asarray(_targets(shape, traced, data, draws))
        outputs = [by_time.mean(axis=0, keepdims=True), by_time, *(np.full_like(by_time[:1], end) for end in ends)]
        reached = _reached(shape, traced, data, draws, [jnp.asarray(each, shape.dtype) for each in outputs])
        found = np.asarray(reached, np.float64)  # (draws, 5)
        mean = np.array([each[np.isfinite(each)].mean() if np.isfinite(each).any() else np.nan for each in found.T])
        error = np.nanstd(found, axis=0) / np.sqrt(count)
        if count >= most or 2 * count * numbers > NUMBERS or bool((error <= CERTAIN * np.abs(mean)).all()):
            constant, blind, low, high, chance = map(float, mean)
            return constant, blind, min(low, high), chance
        count *= 2


@functools.partial(jax.jit, static_argnums=0)
def _targets(shape: Shape, traced: Any, data: Any, draws: jax.Array) -> jax.Array:
    """Mean targets over trials and draws, (steps, 1) or (steps, 1, channels)."""
    task = task_of(shape)
    assert task is not None
    own = task

    def one(draw: jax.Array) -> jax.Array:
        return typed(shape, own.trials(shape, _with_key(traced, data, draw))).targets.mean(axis=1, keepdims=True)

    found: jax.Array = lax.map(one, draws)
    return found.mean(axis=0)


@functools.partial(jax.jit, static_argnums=0)
def _reached(shape: Shape, traced: Any, data: Any, draws: jax.Array, outputs: list[jax.Array]) -> jax.Array:
    """Losses of four outputs and the accuracy of the first one in each draw, (draws, 5)."""
    task = task_of(shape)
    assert task is not None
    own = task

    def one(draw: jax.Array) -> jax.Array:
        trials = typed(shape, own.trials(shape, _with_key(traced, data, draw)))
        full = [jnp.broadcast_to(output, trials.targets.shape) for output in outputs]
        losses = [loss_of(own, shape, each, trials) for each in full]
        return jnp.stack([*losses, accuracy_of(own, shape, full[0], trials)])

    found: jax.Array = lax.map(one, draws)
    return found


def _with_key(traced: Any, data: Any, draw: jax.Array) -> dict[str, Any]:
    """What the task gets for a draw: the same keys for every run."""
    key = jax.random.key(0, impl="threefry2x32")
    return {**traced, **data, "key": jax.random.fold_in(key, draw)}
