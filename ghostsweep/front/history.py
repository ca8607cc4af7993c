"""One run trained here: every epoch of it, and what it does at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ghostsweep import dynamics
from ghostsweep.declare.field import is_null
from ghostsweep.errors import UsageError
from ghostsweep.front import views
from ghostsweep.machine import resources
from ghostsweep.spec import Run, shape_of
from ghostsweep.training import history

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class History(history.History):
    """Every epoch of one run and its end, as `train_one` returns them, with what can be asked of them."""

    @property
    def curve(self) -> pd.DataFrame:
        """A row per epoch: epoch, loss, grad_norm, accuracy, weight_norm."""
        names = ("loss", "grad_norm", "accuracy", "weight_norm")
        return pd.DataFrame({"epoch": np.arange(len(self.loss))} | {name: getattr(self, name) for name in names})

    def plot(self, **options: object) -> "Figure":
        """Loss, accuracy and gradient norm against epoch: see `ghostsweep.learning_curves`."""
        from ghostsweep import figures

        return figures.learning_curves({"run": self.curve}, **{"title": f"\n{self.run!r}"} | options)  # type: ignore[arg-type]

    def simulate(self) -> "Simulated":
        """What the network does with its last parameters: see `ghostsweep.simulate`."""
        return simulate(self.run, self.params)

    def __repr__(self) -> str:
        return views.text_of_history(self)

    def _repr_html_(self) -> str:
        return views.html_of_history(self)


def train_one(
    run: Run, initial: Mapping[str, np.ndarray] | None = None, after: history.History | None = None
) -> History:
    """Train one run and return every epoch's loss, grad_norm, accuracy and weight_norm and the final params.

    `initial` gives parameters by name ({"r": r0}, or {"m": m, "n": n, "b": b}); without it the seed decides. `after`
    makes it a later phase, which goes on from the end of an earlier history. Each history has shape (epochs,),
    measured before the epoch's update. See `ghostsweep.training.one.train_one`. UsageError where JAX is not there.
    """
    resources.load_jax()
    from ghostsweep.training import one  # here, so that importing the package needs no JAX

    return History(**vars(one.train_one(run, initial, after)))


@dataclass(frozen=True)
class Simulated:
    """What a model with given parameters does in the trials of its task.

    inputs and targets: (steps, trials), or (steps, trials, channels). outputs: shaped like the targets. states:
    (steps + 1, trials, D), before each step and after the last, as the model's step has them: the units; of a network
    of rank K kappa, and what is read where it is read from units; None of a model that declares no step. loss and
    accuracy, without the noise of training. Where the model has no outputs (the closed form, a model without a task)
    only loss and accuracy are there.
    """

    loss: float
    accuracy: float
    inputs: np.ndarray | None = None
    targets: np.ndarray | None = None
    outputs: np.ndarray | None = None
    states: np.ndarray | None = None

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in vars(self).items() if hasattr(value, "shape"))
        return f"Simulated(loss={self.loss:.6g}, accuracy={self.accuracy:.6g}{', ' * bool(shapes)}{shapes})"


def simulate(run: Run, params: Mapping[str, np.ndarray]) -> Simulated:
    """Run a model with given parameters through the trials of its task, without noise, and without training.

    params: as `train_one` or a snapshot gives them. Where trials are drawn anew every epoch, those of the run's first
    epoch are taken. Raises UsageError for parameters that are not the model's.
    """
    resources.load_jax()
    import jax
    import jax.numpy as jnp

    from ghostsweep.models import model_of, task_of
    from ghostsweep.models.registry import with_data
    from ghostsweep.models.sizes import parameter_shapes
    from ghostsweep.training import train
    from ghostsweep.training.evaluation import evaluate, in_trials, outputs_of

    quiet = {name: 0.0 for name in ("noise_sigma", "r0_sigma") if run.fields.get(name)}
    fields = run.fields | quiet
    shape = shape_of(fields)
    model, task = model_of(shape), task_of(shape)
    arrays = {name: np.asarray(value) for name, value in params.items()}
    allowed = parameter_shapes(shape)
    if (found := {name: value.shape for name, value in arrays.items()}) != allowed:
        raise UsageError(f"params: found {found}; allowed: {allowed}")
    with train.precision(shape):
        given = {name: jnp.asarray(value, shape.dtype) for name, value in arrays.items()}
        given_fields = {name: fields[name] for name in shape.traced if not is_null(fields[name])}
        traced = {name: jnp.asarray(value, shape.traced_types[name]) for name, value in given_fields.items()}
        traced = dict(with_data(shape, traced))
        if shape.stochastic:
            seed = {"seed": jnp.asarray(run.seed, "uint32")}
            traced["key"] = jax.random.fold_in(train.run_key(seed, train.NOISE), run.first_epoch or 0)
        if model.before_epoch is not None:
            given = model.before_epoch(given, traced)
        if task is None or outputs_of(model) is None:
            one = jax.jit(evaluate, static_argnums=0)(shape, given, traced)
            return Simulated(float(one.loss), float(one.accuracy))
        done = {name: np.array(value) for name, value in in_trials(shape, given, traced).items()}
    inputs, targets = done["inputs"], done["targets"]
    states = None
    given_inputs = inputs if inputs.ndim == 2 or inputs.shape[-1] else np.zeros(targets.shape[:2])
    if model.step is not None:
        flow = dynamics.step_flow(run, {name: np.array(value) for name, value in given.items()})
        states = dynamics.trajectories(flow, given_inputs, start=flow.start(float(done["x_start"])))
    return Simulated(float(done["loss"]), float(done["accuracy"]), inputs, targets, done["outputs"], states)
