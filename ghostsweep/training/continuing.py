"""What training leaves of runs, and how a later phase goes on from it."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ghostsweep.declare import Shape
from ghostsweep.models import model_of
from ghostsweep.training.train import State

OPT_STATE = "opt_state"
"""How the names of an optimizer's state begin in what a later phase begins from."""


def ends(shape: Shape, state: State) -> dict[str, jax.Array]:
    """What a later phase begins from, by name: `params/NAME` and the optimizer's state, with the runs first.

    The optimizer's names say its update rule and schedule, since the states of two rules may look alike.
    """
    moments, _ = jax.tree.flatten_with_path(state.opt_state)
    rule = f"{OPT_STATE}/{shape.optimizer}/{shape.schedule}"
    named = {f"params/{name}": leaf for name, leaf in sorted(state.params.items())}
    return named | {f"{rule}{jax.tree_util.keystr(path)}": leaf for path, leaf in moments}


def continued(shape: Shape, state: State, runs: Sequence[Mapping[str, np.ndarray]]) -> State:
    """The fresh `state` of a batch, with parameters and optimizer state from the `ends` of earlier runs, one each.

    A trained confidence begins anew where one is given, the schedule where the run says so. The optimizer begins anew,
    its schedule with it, where its state has other parts: after another update rule or schedule, with momentum,
    clipping or weight decay turned on or off, or with other parameters to train.
    """
    fresh = {name: np.array(jax.device_get(leaf)) for name, leaf in ends(shape, state).items()}
    moments = {name for name in fresh if name.startswith(OPT_STATE)}
    params = {name for name in fresh if name.startswith("params")}
    begun = {field.begins for field in model_of(shape).fields if field.name in shape.traced}
    params -= {f"params/{name}" for name in begun}
    anew = _of_schedule(shape, state) if shape.get("schedule_anew") else set()
    for lane, run in enumerate(runs):
        own = {name for name in run if name.startswith(OPT_STATE)}
        same = own == moments and all(run[name].shape == fresh[name][lane].shape for name in own)
        for name in params | (moments - anew if same else set()):
            fresh[name][lane] = run[name]
    leaves = [jnp.asarray(fresh[name]) for name in fresh]
    treedef = jax.tree.structure((state.params, state.opt_state))
    new_params, opt_state = jax.tree.unflatten(treedef, leaves)
    return state._replace(params=new_params, opt_state=opt_state)


def _of_schedule(shape: Shape, state: State) -> set[str]:
    """Names, as in `ends`, of what tells how far the schedule is."""
    rule = f"{OPT_STATE}/{shape.optimizer}/{shape.schedule}"
    kind = optax.ScaleByScheduleState
    parts, _ = jax.tree.flatten_with_path(state.opt_state, is_leaf=lambda part: isinstance(part, kind))
    return {f"{rule}{jax.tree_util.keystr(path)}.count" for path, part in parts if isinstance(part, kind)}
