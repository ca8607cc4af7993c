"""Trajectories of a stored network, and one set of principal axes to draw several of them in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ghostsweep.dynamics.flow import Flow, Params, any_flow
from ghostsweep.dynamics.programs import Array
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow


def trajectories(
    params: "Params | StepFlow", inputs: ArrayLike, *, leak: float | None = None, start: ArrayLike | None = None
) -> Array:
    """Noiseless trajectories, (steps + 1, trials, D), in the coordinates of `flow_of`.

    params: as `flow_of` takes them, with a leak a = dt / tau in (0, 1]; or a `step_flow`, which has none. inputs:
    (steps, trials), zeros where the network has no input; (steps, trials, inputs) of several. start: state of the units
    before the first step, broadcast to (trials, N); by default 0, or the model's own. y[t] is the state before step t
    and y[-1] the one after all: cue tasks read their output from y[:-1], delayed activation from y[1:] (paper, section
    2). Raises UsageError for inputs of another shape, a leak out of range, and inputs to a network that has none.
    """
    inputs = np.asarray(inputs, np.float64)
    flow = any_flow(params)
    of_units = isinstance(flow, Flow)
    if inputs.ndim != 2 and (of_units or inputs.ndim != 3):
        raise UsageError(f"inputs: found shape {inputs.shape}; allowed: (steps, trials)")
    if of_units and (leak is None or not 0 < leak <= 1):
        raise UsageError(f"leak: found {leak}; allowed: above 0 and at most 1")
    if not of_units and leak is not None:
        raise UsageError(f"leak: found {leak}; allowed: none, with the steps of a model")
    leak = 1.0 if leak is None else leak
    start = flow.start() if start is None else np.asarray(start, np.float64)
    y = flow.coordinates(np.broadcast_to(start, (inputs.shape[1], flow.n_units)))
    states = [y]
    for u in inputs:
        states.append(states[-1] + leak * flow.velocity(states[-1], u))
    return np.stack(states)


@dataclass(frozen=True)
class PrincipalAxes:
    """Orthonormal axes (N, A) through a mean (N,), and the share (A,) of the variance along each."""

    mean: Array
    axes: Array
    variance_share: Array

    def project(self, states: ArrayLike) -> Array:
        """Coordinates (..., A) of states (..., N)."""
        return np.asarray((np.asarray(states, np.float64) - self.mean) @ self.axes)


def principal_axes(states: Sequence[ArrayLike], n_axes: int = 3) -> PrincipalAxes:
    """The principal axes of all states together, each array (..., N): one fit for all snapshots (paper, Fig. 5).

    Each axis points to where its largest component is positive. Raises UsageError where there are not more states
    and at least as many numbers N as axes.
    """
    pooled = np.concatenate([np.asarray(part, np.float64).reshape(-1, np.shape(part)[-1]) for part in states])
    if n_axes < 1 or n_axes > min(len(pooled) - 1, pooled.shape[1]):
        raise UsageError(f"n_axes: found {n_axes} for states of shape {pooled.shape}; allowed: 1 to the lesser of both")
    mean = pooled.mean(axis=0)
    _, singular, right = np.linalg.svd(pooled - mean, full_matrices=False)
    axes = right[:n_axes].T
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_axes)])
    return PrincipalAxes(mean, axes, singular[:n_axes] ** 2 / np.sum(singular**2))
