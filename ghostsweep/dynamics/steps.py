"""The flow of any model that declares a step: its derivatives by JAX, in float64."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ghostsweep.declare import Shape
from ghostsweep.dynamics.flow import Params
from ghostsweep.dynamics.programs import TAU, Array, Networks
from ghostsweep.errors import UsageError
from ghostsweep.models import model_of, steps
from ghostsweep.models.registry import with_data
from ghostsweep.spec import Run, shape_of


@dataclass(frozen=True, eq=False)
class StepFlow:
    """One step of a model as a flow, dx/dt = step(x, u) - x in 1/step, with what `Flow` has: see `step_flow`."""

    shape: Shape
    params: Params
    traced: Mapping[str, float]
    dimension: int

    @property
    def n_units(self) -> int:
        """Numbers in a state."""
        return self.dimension

    def coordinates(self, x: ArrayLike) -> Array:
        """States (..., units) as they are."""
        return np.asarray(x, np.float64)

    def start(self, x_start: float = 0.0) -> Array:
        """The state before the first step, (units,)."""
        return self._at(
            lambda p, t: steps.first_state(model_of(self.shape), self.shape, p, with_data(self.shape, t), x_start)
        )

    def networks(self) -> Networks:
        """The one network, for `programs`; time is in steps."""
        own = {name: value[None] for name, value in self.params.items()}
        traced = {name: np.array([value]) for name, value in self.traced.items()} | {TAU: np.ones(1)}
        units = self.shape.get("n_units", self.dimension)
        return Networks(self.shape, own, traced, self.dimension, self.shape.get("n_inputs", 0), units)

    def readout(self, y: Array) -> Array:
        """What the model reads from states (..., units), (..., outputs)."""
        return self._each("readout", y, 0.0)

    def velocity(self, y: Array, u: ArrayLike = 0.0) -> Array:
        """step(y, u) - y, (..., units). u (...) goes to every input, or (..., inputs)."""
        return self._each("velocity", y, u)

    def jacobian(self, y: Array, u: ArrayLike = 0.0) -> Array:
        """J[..., j, k] = d(velocity_j) / dy_k, (..., units, units)."""
        return self._each("jacobian", y, u)

    def reachable(self, point: Array) -> bool:
        """True: nothing is known of where the states of a model can be."""
        return True

    def _at(self, function: Callable[[Any, Any], Any]) -> Array:
        from ghostsweep.machine import ambient

        with ambient.pinned(x64=True):
            return np.array(function(dict(self.params), dict(self.traced)))

    def _each(self, what: str, y: ArrayLike, u: ArrayLike) -> Array:
        """A quantity at each of many states."""
        y, n_inputs = np.asarray(y, np.float64), self.shape.get("n_inputs", 0)
        u = np.asarray(u, np.float64)
        if not n_inputs and np.any(u):
            raise UsageError("u: found an input that is not 0; the model has none, so only 0 is allowed")
        if u.shape[-1:] != (n_inputs,) or u.ndim != y.ndim:
            u = np.broadcast_to(u[..., None], (*y.shape[:-1], n_inputs))
        count = math.prod(y.shape[:-1])
        at, states, inputs = np.zeros(count, np.intp), y.reshape(count, y.shape[-1]), u.reshape(count, n_inputs)
        found = self.networks().lanes(what, at, inputs, states)[-1]
        return found.reshape(*y.shape[:-1], *found.shape[1:])


def step_flow(run: Run, params: Params) -> StepFlow:
    """The flow of a model that declares a step, which every function here takes in the place of parameters.

    run: what was trained, a model of its own included. params: as `ghostsweep.train_one` or a snapshot gives them.
    States are those of the model; time is in its steps, so that speeds and eigenvalues are in 1/step, and a fixed
    point is stable in its steps where 1 + eigenvalue lies within the unit circle. Raises UsageError for a model
    without steps, for parameters that are not its own, and for values that are not finite.
    """
    from ghostsweep.models.sizes import parameter_shapes

    fields = run.fields
    shape = shape_of(fields | {"dtype": "float64"})
    model = model_of(shape)
    if model.step is None:
        raise UsageError(f"model {model.name!r}: found no step; allowed: a model that declares step and readout")
    arrays = {name: np.asarray(value, np.float64) for name, value in params.items()}
    allowed = parameter_shapes(shape)
    if (found := {name: value.shape for name, value in arrays.items()}) != allowed:
        raise UsageError(f"params: found {found}; allowed: {allowed}")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise UsageError("params: found values that are not finite; a diverged network has no flow")
    traced = {name: fields[name] for name in shape.traced}
    flow = StepFlow(shape, arrays, traced, 0)
    return replace(flow, dimension=len(flow.start()))
