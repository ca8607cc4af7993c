"""Loss, accuracy and gradient of one run of any model on any task."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ghostsweep.declare.model import Evaluation, Model, Params, Task, Traced, Trials
from ghostsweep.declare.shape import Shape
from ghostsweep.models import model_of, steps, task_of
from ghostsweep.models.registry import data_of

LARGEST_BATCH = 128
"""Trials evaluated together, so that what the backward pass needs stays in cache: 1,000 trials of dcdt in batches of
32, 64, 128, 256 and all together took 15.8, 9.4, 6.7, 6.8 and 9.6 ms an epoch of one run on two cores, 2,000 noisy
ones of dmts 90, 69, 50, 56 and 107 ms."""

BATCH_BYTES = 2_500_000
"""Bytes at most of the states of such a batch, of which some six arrays are kept: an epoch of 128 trials of 95 steps
took 7.4, 7.8 and 14 ns a unit, step and trial in batches of 32, 64 and 128, one of 31 steps 7.0, 6.9 and 7.2."""


def evaluate(shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """One epoch of one run: by the model's own hand where it has one, else by autodiff through its outputs or loss."""
    model, task = model_of(shape), task_of(shape)
    if shape.persistent:
        assert model.persistent is not None
        return model.persistent(shape, params, traced)
    if model.evaluate is not None and (task is None or task.name in model.tasks):
        return model.evaluate(shape, params, traced)
    if model.loss is not None:
        own = model.loss
        (loss, accuracy), grads = jax.value_and_grad(lambda p: own(shape, p, traced), has_aux=True)(params)
        return Evaluation(loss, accuracy, grads)
    assert task is not None
    return through_outputs(model, task, shape, params, traced)


def through_outputs(model: Model, task: Task, shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """By autodiff through the model's outputs on the task's trials.

    Where the loss is the mean over many trials they are taken in equal batches of at most LARGEST_BATCH, and of long
    trials fewer, where their number allows.
    """
    trials = typed(shape, task.trials(shape, traced))
    steps, count = trials.targets.shape[:2]
    largest = _largest_batch(shape, steps)
    size = max(size for size in range(1, min(largest, count) + 1) if count % size == 0)
    batched = task.loss is None and trials.weights is None
    if count <= largest or size < largest // 4 or not batched:
        return _evaluate(model, task, shape, params, traced, trials)
    parts = [jnp.asarray(array).reshape(steps, -1, size, *array.shape[2:]).swapaxes(0, 1) for array in trials[:2]]

    def add(total: Evaluation, batch: Any) -> tuple[Evaluation, None]:
        number, inputs, targets = batch
        own = dict(traced) | ({"key": jax.random.fold_in(traced["key"], number)} if shape.stochastic else {})
        part = trials._replace(inputs=inputs, targets=targets)
        return jax.tree.map(jnp.add, total, _evaluate(model, task, shape, params, own, part)), None

    zero = jnp.zeros((), shape.dtype)
    measured = dict.fromkeys(task.tally.measures if task.tally else (), zero)
    empty = Evaluation(zero, zero, jax.tree.map(jnp.zeros_like, dict(params)), measured)
    total, _ = lax.scan(add, empty, (jnp.arange(count // size), *parts))
    mean: Evaluation = jax.tree.map(lambda value: value * (size / count), total)
    return mean


def _largest_batch(shape: Shape, steps: int) -> int:
    """Trials of a batch at most. Batches draw noise of their own, so those of runs from before the hash are as ever."""
    if shape.get("rng") != "hash":
        return LARGEST_BATCH
    each: int = steps * shape.get("n_units", 1) * np.dtype(shape.dtype).itemsize
    return min(LARGEST_BATCH, max(BATCH_BYTES // each, LARGEST_BATCH // 8))


Outputs = Callable[[Shape, Params, Traced, Trials], jax.Array]


def outputs_of(model: Model) -> Outputs | None:
    """Readouts of a model on trials, those of its steps where it declares no others; None without either."""
    return model.outputs or (functools.partial(steps.outputs, model) if model.step else None)


@functools.partial(jax.jit, static_argnums=0)
def in_trials(shape: Shape, params: Params, traced: Traced) -> dict[str, jax.Array]:
    """What a network with given parameters does in the trials of its task, by name.

    inputs, targets, outputs, (steps, trials, ...) as `Trials` has them; x_start, where a trial begins; loss, accuracy.
    """
    outputs, task = outputs_of(model_of(shape)), task_of(shape)
    assert outputs is not None and task is not None
    trials = typed(shape, task.trials(shape, traced))
    output = activated(task, outputs(shape, params, traced, trials))
    return {
        "inputs": jnp.asarray(trials.inputs),
        "targets": jnp.asarray(trials.targets),
        "outputs": output,
        "x_start": jnp.asarray(trials.x_start),
        "loss": loss_of(task, shape, output, trials),
        "accuracy": accuracy_of(task, shape, output, trials),
    }


def _evaluate(model: Model, task: Task, shape: Shape, params: Params, traced: Traced, trials: Trials) -> Evaluation:
    """Of trials that are kept together."""
    outputs = outputs_of(model)
    assert outputs is not None

    def loss(params: Params) -> tuple[jax.Array, jax.Array]:
        output = activated(task, outputs(shape, params, traced, trials))
        return loss_of(task, shape, output, trials), output

    (value, output), grads = jax.value_and_grad(loss, has_aux=True)(params)
    measures = task.tally.measures if task.tally else {}
    measured = {name: measure(shape, output, trials) for name, measure in measures.items()}
    return Evaluation(value, accuracy_of(task, shape, output, trials), grads, measured)


def typed(shape: Shape, trials: Trials) -> Trials:
    """Trials in the precision of the run."""
    weights = None if trials.weights is None else jnp.asarray(trials.weights, shape.dtype)
    inputs, targets = (jnp.asarray(array, shape.dtype) for array in trials[:2])
    return trials._replace(inputs=inputs, targets=targets, weights=weights)


def activated(task: Task, readout: jax.Array) -> jax.Array:
    """The output of a readout."""
    return readout if task.activation is None else task.activation(readout)


def loss_of(task: Task, shape: Shape, output: jax.Array, trials: Trials) -> jax.Array:
    """The task's loss; where it has none of its own, the (weighted) mean squared error."""
    if task.loss is not None:
        return task.loss(shape, output, trials)
    error = output - trials.targets
    if trials.weights is None:
        return (error * error).mean()
    weights = jnp.broadcast_to(trials.weights, error.shape)
    return (weights * error * error).sum() / weights.sum()


def accuracy_of(task: Task, shape: Shape, output: jax.Array, trials: Trials) -> jax.Array:
    """The task's accuracy; where it has none of its own, the share of outputs on the side of 1/2 of their targets."""
    if task.accuracy is not None:
        return task.accuracy(shape, output, trials)
    return ((output > 0.5) == (trials.targets > 0.5)).mean(dtype=output.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _evidence_batch(shape: Shape, params: Any, traced: Any, data: Any) -> Any:
    found = model_of(shape).evidence
    assert found is not None
    return jax.vmap(lambda own, params: found.of(shape, {**own, **data}, params))(traced, params)


def evidence(shape: Shape, params: Params, traced: Traced) -> dict[str, jax.Array]:
    """What the model finds out about the parameters of a batch of runs, (runs,) by name; empty for most models.

    On one device, whatever number the batch is spread over: what it takes is little, and some of what it may call
    (eigenvectors, say) is not cut along the runs by JAX.
    """
    if model_of(shape).evidence is None:
        return {}
    device = min(jax.tree.leaves(params)[0].devices(), key=lambda device: device.id)
    params, numbers = jax.device_put((params, dict(traced)), device)
    found: dict[str, jax.Array] = _evidence_batch(shape, params, numbers, data_of(shape))
    return found
