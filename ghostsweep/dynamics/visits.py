"""Where networks of a model that declares steps go in the trials of its task, many networks at once."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ghostsweep.declare import Shape, is_null
from ghostsweep.dynamics.flow import DCDT_CUT, singular_basis
from ghostsweep.dynamics.programs import TAU, Array, Networks
from ghostsweep.errors import UsageError
from ghostsweep.models import model_of, steps, task_of
from ghostsweep.models.registry import with_data
from ghostsweep.spec import shape_of

if TYPE_CHECKING:
    import jax

MAX_TRIALS = 16
"""Trials of an epoch that are followed."""
TOGETHER = 20_000_000  # numbers of states held at once: 160 MB


class Visits(NamedTuple):
    """Noiseless trajectories of B networks.

    states (B, steps + 1, trials, D), before each step and after the last; along (B, steps, trials): which steps are
    taken at the constant input; answers (B, steps + 1, trials, outputs): what the output of a state is read as.
    """

    states: Array
    along: NDArray[np.bool_]
    answers: NDArray[np.int64]


def quiet_shape(fields: Mapping[str, Any]) -> Shape:
    """The shape of a run without noise, in float64. Raises UsageError for a model without steps."""
    noise = {name: 0.0 for name in ("noise_sigma", "r0_sigma") if not is_null(fields.get(name))}
    shape = shape_of({**fields, **noise, "dtype": "float64"})
    if model_of(shape).step is None:
        raise UsageError(f"model {shape.model!r}: found no step; allowed: a model that declares step and readout")
    return shape


def tau_of(fields: Mapping[str, Any]) -> float:
    """Steps in a time constant; in a unit of time for the canonical form; 1 where a model knows of neither."""
    if not is_null(fields.get("dt_ms")) and not is_null(fields.get("tau_ms")):
        return float(fields["tau_ms"] / fields["dt_ms"])
    return 1.0 if is_null(fields.get("dt_steps")) else 1.0 / float(fields["dt_steps"])


def networks_of(runs: Sequence[Mapping[str, Any]], params: Mapping[str, np.ndarray]) -> Networks:
    """B networks of runs of one shape: their fields, (B,), and parameters by name, (B, ...).

    Parameters are as a forward pass has them, `before_epoch` of the model included; those of rank K on a task of one
    input and output in their `singular_basis`. Raises UsageError for a model
    without steps, for parameters that are not its own, and for values that are not finite.
    """
    from ghostsweep.machine import ambient
    from ghostsweep.models.sizes import parameter_shapes

    shape = quiet_shape(runs[0])
    model = model_of(shape)
    arrays = {name: np.asarray(value, np.float64) for name, value in params.items()}
    allowed = parameter_shapes(shape)
    if (found := {name: value.shape[1:] for name, value in arrays.items()}) != allowed:
        raise UsageError(f"params: found {found}; allowed: {allowed}")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise UsageError("params: found values that are not finite; a diverged network has no flow")
    if "s_l" in arrays and arrays["w_out"].ndim == 2:  # distances do not depend on how the weights are split in two
        each = [singular_basis({name: value[i] for name, value in arrays.items()}) for i in range(len(runs))]
        arrays = {name: np.stack([one[name] for one in each]) for name in arrays}
    traced = {name: np.array([run[name] for run in runs], shape.traced_types[name]) for name in shape.traced}
    traced[TAU] = np.array([tau_of(run) for run in runs])
    with ambient.pinned(x64=True):
        import jax

        if model.before_epoch is not None:
            before = model.before_epoch
            prepared = jax.jit(jax.vmap(lambda p, t: before(p, with_data(shape, t))))(arrays, traced)
            arrays = {name: np.array(value) for name, value in prepared.items()}
        one = {name: jax.ShapeDtypeStruct(value.shape[1:], value.dtype) for name, value in (arrays | traced).items()}
        own = ({name: one[name] for name in arrays}, {name: one[name] for name in traced})
        begin = jax.eval_shape(lambda p, t: steps.first_state(model, shape, p, with_data(shape, t), 0.0), *own)
    return Networks(
        shape, arrays, traced, len(begin), int(shape.get("n_inputs", 0)), int(shape.get("n_units", len(begin)))
    )


def visits(networks: Networks, u: float = 0.0) -> Visits:
    """Follow B networks through the trials of their task, at most MAX_TRIALS, from where the task has them begin."""
    from ghostsweep.machine import ambient

    assert isinstance(networks.kind, Shape)
    program = _program(networks.kind)
    parts = list[list[np.ndarray]]()
    with ambient.pinned(x64=True):
        import jax

        size, first = 1, 0
        while first < len(networks):
            rows = np.minimum(np.arange(first, first + size), len(networks) - 1)
            own = jax.tree.map(lambda value, rows=rows: value[rows], (dict(networks.params), dict(networks.traced)))
            found = [np.array(value)[: len(networks) - first] for value in program(*own, u)]
            parts.append(found)
            first += size
            if size == 1:  # now that the size of one is known; the same for all calls
                size = max(1, min(TOGETHER // found[0].size, 1 << (len(networks) - 1).bit_length()))
    states, along, outputs = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Visits(states, along, _answers(networks.kind, outputs))


def _answers(shape: Shape, outputs: Array) -> NDArray[np.int64]:
    """What outputs are read as: dcdt cut at +-0.33 into -1, 0 and 1, all others at 1/2 into 0 and 1."""
    if shape.task == "dcdt":
        return np.where(np.abs(outputs) > DCDT_CUT, np.sign(outputs), 0).astype(np.int64)
    return (outputs > 0.5).astype(np.int64)


@functools.lru_cache(maxsize=64)
def _program(shape: Shape) -> "Callable[..., tuple[jax.Array, ...]]":
    """(params, traced, u) of B networks -> states, steps at input u, outputs."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    model, task = model_of(shape), task_of(shape)
    step, readout = model.step, model.readout
    assert step is not None and readout is not None
    if task is None:
        raise UsageError(f"model {model.name!r}: found no task; allowed: a model with one, whose trials are followed")

    def one(p: Any, t: Any, u: "jax.Array") -> "tuple[jax.Array, ...]":
        t = with_data(shape, t)
        own = {**t, "key": jax.random.key(0)} if shape.stochastic else t
        trials = task.trials(shape, own)
        inputs = jnp.asarray(trials.inputs, shape.dtype)
        inputs = inputs.reshape(*inputs.shape[:2], shape.get("n_inputs", 0))[:, :MAX_TRIALS]
        begin = steps.first_state(model, shape, p, t, trials.x_start)
        begin = jnp.broadcast_to(begin, (inputs.shape[1], len(begin)))

        def turn(x: "jax.Array", u: "jax.Array") -> "tuple[jax.Array, jax.Array]":
            return jax.vmap(lambda x, u: step(shape, p, t, x, u))(x, u), x

        last, states = lax.scan(turn, begin, inputs)
        states = jnp.concatenate([states, last[None]])
        read = jax.vmap(jax.vmap(lambda x: readout(shape, p, t, x)))(states)
        return states, (inputs == u).all(axis=-1), read if task.activation is None else task.activation(read)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None)))
