"""Users' models and tasks tried before anything is compiled: what they return, traced for its types alone."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from ghostsweep.declare import Evaluation, Model, Result, Shape, Task, Trials
from ghostsweep.models import model_of, registry, steps, task_of
from ghostsweep.models.sizes import arguments
from ghostsweep.models.telling import check_params
from ghostsweep.models.telling import traced as _traced
from ghostsweep.models.telling import wrong as _wrong
from ghostsweep.training import train
from ghostsweep.training.evaluation import evaluate, outputs_of


def prove(shapes: Iterable[Shape]) -> None:
    """Trace the functions of users' models and tasks for each shape.

    Raises UsageError, one line that names the file, the function, what was found and what is allowed.
    """
    for shape in shapes:
        for name in (shape.model, shape.task):
            registry.unchanged(name)
        if "@" in shape.model or "@" in (shape.task or ""):
            with train.precision(shape):
                _prove(shape)


def _prove(shape: Shape) -> None:
    model, task = model_of(shape), task_of(shape)
    traced, key = arguments(shape)
    params = _traced(model, "initial", shape, functools.partial(model.initial, shape), traced, key)
    check_params(model, params, shape.dtype)
    if task is not None:
        trials = _traced(task, "trials", shape, lambda t: task.trials(shape, t)[:3], traced)
        _trials(task, trials)
        outputs = outputs_of(model)
        if outputs is not None:

            def read(params: Any, traced: Any) -> Any:
                own = Trials(*task.trials(shape, traced))
                arrays = [jax.numpy.asarray(array, shape.dtype) for array in own[:2]]
                return outputs(shape, params, traced, own._replace(inputs=arrays[0], targets=arrays[1]))

            if model.step and not model.outputs:
                _steps(model, shape, params, traced)
            readout = _traced(model, "outputs", shape, read, params, traced)
            _same(model, "outputs", readout, trials[1].shape, shape.dtype)
    part: Model | Task = model if task is None or "@" in shape.model else task
    found = _traced(part, "loss", shape, functools.partial(evaluate, shape), params, traced)
    if not isinstance(found, Evaluation):
        raise _wrong(part, "evaluate", f"a {type(found).__name__}", "a ghostsweep.Evaluation")
    for name in ("loss", "accuracy"):
        _same(part, name, getattr(found, name), (), shape.dtype)
    _results(shape, params, traced, found)


def _results(shape: Shape, params: Any, traced: Any, found: Evaluation) -> None:
    """A tally and evidence give a number for each result that they declare."""
    model, task = model_of(shape), task_of(shape)
    if task is not None and task.tally is not None:
        tally = task.tally
        told = {"loss": found.loss, "accuracy": found.accuracy, **found.measured}
        begun = _traced(task, "tally.start", shape, functools.partial(tally.start, shape), traced)
        _numbers(task, "tally.start", begun, tally.results, shape)
        epoch = jax.ShapeDtypeStruct((), np.int32)
        update = functools.partial(tally.update, shape)
        after = _traced(task, "tally.update", shape, update, traced, begun, epoch, told)
        _numbers(task, "tally.update", after, tally.results, shape)
    if model.evidence is not None:
        of = functools.partial(model.evidence.of, shape)
        _numbers(
            model,
            "evidence",
            _traced(model, "evidence", shape, of, traced, params),
            model.evidence.results,
            shape,
        )


def _numbers(part: Model | Task, name: str, found: Any, results: Sequence[Result], shape: Shape) -> None:
    wanted = [result.name for result in results]
    if not isinstance(found, dict) or set(found) != set(wanted):
        said = sorted(found) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise _wrong(part, name, str(said), f"a dict of the results that it declares, {', '.join(wanted)}")
    for key, value in found.items():
        _same(part, f"{name}, {key}", value, (), shape.dtype)


def _steps(model: Model, shape: Shape, params: Any, traced: Any) -> None:
    """A step keeps the shape of a state, and the readout has a number for each output."""
    step, readout = model.step, model.readout
    assert step is not None and readout is not None
    if model.start is None and shape.get("n_units") is None:
        raise _wrong(model, "start", "none, and no field n_units", "a function, where states are not of n_units")
    first = functools.partial(steps.first_state, model, shape, x_start=0.0)
    x = _traced(model, "start", shape, first, params, traced)
    u = jax.ShapeDtypeStruct((shape.n_inputs,), shape.dtype)
    after = _traced(model, "step", shape, functools.partial(step, shape), params, traced, x, u)
    _same(model, "step", after, x.shape, shape.dtype)
    read = _traced(model, "readout", shape, functools.partial(readout, shape), params, traced, x)
    _same(model, "readout", read, (shape.n_outputs,), shape.dtype)


def _trials(task: Task, trials: Any) -> None:
    inputs, targets, weights = trials
    allowed = f"arrays (steps, trials) or (steps, trials, channels), of {task.channels} channels in and out"
    for name, array, channels in (("inputs", inputs, task.channels[0]), ("targets", targets, task.channels[1])):
        good = hasattr(array, "shape") and array.ndim in (2, 3) and (array.shape[2:] or (1,)) == (channels,)
        if not good or array.shape[:2] != targets.shape[:2]:
            shape = getattr(array, "shape", type(array).__name__)
            raise _wrong(task, "trials", f"{name} of shape {shape}", f"{allowed}, as many steps and trials in both")
    if weights is not None and not _broadcasts(weights.shape, targets.shape):
        raise _wrong(task, "trials", f"weights of shape {weights.shape}", f"a shape that broadcasts to {targets.shape}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _same(part: Model | Task, name: str, found: Any, shape: tuple[int, ...], dtype: str) -> None:
    if not hasattr(found, "shape"):
        raise _wrong(part, name, f"a {type(found).__name__}", f"an array of shape {shape}")
    if found.shape != shape:
        raise _wrong(part, name, f"shape {found.shape}", f"shape {shape}")
    if found.dtype != np.dtype(dtype):
        raise _wrong(part, name, str(found.dtype), f"{dtype}, the precision of the run (shape.dtype)")
