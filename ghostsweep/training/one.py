"""One run and its whole history."""

import warnings
from collections.abc import Mapping

import jax
import numpy as np

from ghostsweep.declare import Shape
from ghostsweep.machine import ambient
from ghostsweep.models.rules import OF_SCHEDULES, is_zero
from ghostsweep.models.sizes import parameter_shapes
from ghostsweep.spec import Run, shape_of
from ghostsweep.spec.parts import inherited
from ghostsweep.training import continuing, probe, programs, train
from ghostsweep.training.history import History


def train_one(run: Run, initial: Mapping[str, np.ndarray] | None = None, after: History | None = None) -> History:
    """Train one run and return its whole history.

    `initial` gives parameters by name (for example {"r": r0} or {"m": m, "n": n, "b": b}), cast to the run's
    dtype; without it the seed decides. With `after`, the run is a later phase: it begins from the parameters and the
    optimizer's state at the end of that history, as `[[phases]]` of a sweep file do; its schedule goes on where it is
    the same, and begins anew where it is another or with `schedule_anew`. Raises ValueError where names or
    shapes of `initial` do not fit, where both are given, or where `run` differs from the earlier one in a field that
    a later phase inherits; UsageError where JAX does not start.
    """
    device = ambient.local_devices()[0]
    if after is not None:
        if initial is not None:
            raise ValueError("initial and after: found both; allowed: one of them")
        run = _later(run, after.run)
    elif run.fields.get("schedule_anew") and run.phase == 1:
        raise ValueError("schedule_anew: found True; allowed: with `after`, in a later phase")
    fields = run.fields
    shape = shape_of(fields)
    probe.prove([shape])
    columns = {name: np.array([value]) for name, value in fields.items() if value is not None}
    state, traced = train.start(shape, columns, None if initial is None else _given(shape, initial))
    rows, tallies = [], []
    at_once = 1 if state.tally else train.MAX_STOPS  # a tally is looked at after every epoch
    program = programs.program(shape, 1, (device,))
    with train.precision(shape):
        if after is not None:
            state = continuing.continued(shape, state, [after.end])
        state, traced = jax.device_put((state, traced), program.sharding)
        for first in range(0, run.epochs or 0, at_once):
            count = min(at_once, (run.epochs or 0) - first)
            state, report = program.call(state, traced, np.arange(first, first + count + 1))
            rows.append(np.stack([np.asarray(value)[:count, 0] for value in report[:4]]))
            tallies.append({name: float(value[0]) for name, value in state.tally.items()})
        end = {name: np.asarray(value)[0] for name, value in continuing.ends(shape, state).items()}
    params = {name.removeprefix("params/"): end[name] for name in end if name.startswith("params/")}
    loss, grad_norm, accuracy, weight_norm = np.concatenate(rows, axis=1)
    tally = {name: np.array([each[name] for each in tallies]) for name in state.tally}
    return History(run, loss, grad_norm, accuracy, weight_norm, params, end, tally)


def _later(run: Run, before: Run) -> Run:
    """The run as a later phase of another, with its place there."""
    for name in inherited():
        mine, earlier = run.fields.get(name), before.fields.get(name)
        if mine != earlier:
            raise ValueError(f"{name}: found {mine!r}; allowed after that run: {earlier!r}")
    assert before.epochs is not None and before.first_epoch is not None and before.phase is not None
    place = {"parent": before.run_id, "first_epoch": before.first_epoch + before.epochs, "phase": before.phase + 1}
    given = {name: run.fields[name] for name in run.given}
    other = any(run.fields.get(name) != before.fields.get(name) for name in OF_SCHEDULES)
    if other and run.fields["schedule"] != "constant":
        given.setdefault("schedule_anew", True)
    later = Run(**given | place)
    if is_zero(later.fields, place["first_epoch"] if before.fields.get("schedule") == later.schedule else 0):
        warnings.warn(
            f"the learning rate is 0 throughout: the schedule goes on, and came to its end before epoch "
            f"{place['first_epoch']}; schedule_anew=True begins it anew",
            stacklevel=3,
        )
    return later


def _given(shape: Shape, initial: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Given parameters, for a batch of one run. Raises ValueError where names or shapes are others than the model's."""
    sizes = parameter_shapes(shape)
    if set(initial) != set(sizes):
        raise ValueError(f"initial: found parameters {sorted(initial)}; allowed: exactly {sorted(sizes)}")
    params = {name: np.asarray(initial[name], shape.dtype) for name in sizes}
    for name, size in sizes.items():
        if params[name].shape != size:
            raise ValueError(f"initial[{name!r}]: found shape {params[name].shape}; allowed: {size}")
    return {name: value[None] for name, value in params.items()}
