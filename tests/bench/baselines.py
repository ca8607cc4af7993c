"""What the trainer is compared with: a plain loop of each protocol, and naive JAX.

All are a `Trainer` of the same runs from the same initial parameters, so that the bench can check that they compute
the same thing. The equations of a network (paper, section 2) are written once, for both libraries.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ghostsweep import Run
from ghostsweep.declare import Shape
from ghostsweep.spec import shape_of
from ghostsweep.tasks.cues import trials as cue_trials
from ghostsweep.tasks.delayed_activation import X_START
from ghostsweep.tasks.delayed_activation import target as delayed_activation_target
from ghostsweep.training import train

CONFIDENCE, THRESHOLD = 10.0, 1.0  # of a rank-one network's output

Trainer = Callable[[int], Any]
"""Trains on for so many epochs; returns the last one's loss, shape () for one run and (runs,) for many."""


def numpy_canonical(run: Run) -> Trainer:
    """One run of the canonical form in a plain numpy loop that keeps what `train_one` returns."""
    best = np.pi**2 / (4 * run.timescale**2)
    r = np.float64(run.r_start * best)

    def trainer(epochs: int) -> float:
        nonlocal r
        losses, gradients, accuracies, positions = np.empty((4, epochs))
        for epoch in range(epochs):
            if r < best / 4:
                loss, gradient = 1.0, 0.0
            else:
                loss = np.abs(run.timescale - np.pi / (2 * np.sqrt(r))) / run.timescale
                gradient = (1 if r > best else -1) * np.pi / (4 * r**1.5)
            losses[epoch], gradients[epoch] = loss, np.abs(gradient)
            accuracies[epoch], positions[epoch] = 1 - loss / 2, r
            r = r - run.learning_rate * gradient
        return losses[-1]

    return trainer


def recurrent(shape: Shape, p: Mapping[str, Any], x: Any) -> Any:
    """What the units send each other, shape of x: (N,) of a rank-one network, else (trials, N)."""
    if shape.model == "rank_one":
        return p["m"] * (x @ p["n"])
    if shape.model == "low_rank":
        return x @ p["m"] @ p["n"]
    return x @ p["w_rec" if "w_rec" in p else "w"]


def drive(p: Mapping[str, Any], cue: Any) -> Any:
    """Bias and, in a cue task, input of one step, from the cues (trials,)."""
    return p["b"] if "b" in p else cue[:, None] * p["w_in"] + p["b_in"]


def output(nn: Any, shape: Shape, p: Mapping[str, Any], x: Any) -> Any:
    """Output, shape (trials,), () of a rank-one network; `nn` is torch or jax.nn."""
    if shape.model == "rank_one":
        return nn.sigmoid(CONFIDENCE * (x @ p["n"] - THRESHOLD))
    return (nn.tanh if shape.task == "dcdt" else nn.sigmoid)(x @ p["w_out"] + p["b_out"])


def protocol(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool, float]:
    """Initial state, cues and targets (steps, ...), whether the output is read before a step, what the loss is over."""
    shape = shape_of(run.fields)
    state = (run.n_units,) if run.model == "rank_one" else (shape.n_trials, run.n_units)
    if run.task == "delayed_activation":
        target = delayed_activation_target(shape.timescale).reshape(-1, *state[:-1])
        start, cues, loss_over = np.full(state, X_START), np.zeros_like(target), run.timescale
    else:
        cues, target = cue_trials(shape, {})[:2]
        start, loss_over = np.zeros(state), target.size
    return *(a.astype(run.dtype) for a in (start, cues, target)), run.task != "delayed_activation", float(loss_over)


def torch_loop(run: Run, params: Mapping[str, np.ndarray]) -> Trainer:
    """One network in a plain PyTorch loop on one CPU thread, whatever else there is.

    An epoch is zero_grad, the loop over steps (recurrence and output of each, x @ m @ n from left to right), the
    outputs stacked, the squared error, backward, the optimizer's step, and item. Nothing else is kept or measured.
    """
    torch.set_num_threads(1)
    shape, leak = shape_of(run.fields), run.dt_ms / run.tau_ms
    *arrays, read_before, loss_over = protocol(run)
    start, cues, target = (torch.tensor(array) for array in arrays)
    p = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in params.items()}
    optimizer = torch.optim.SGD(p.values(), lr=run.learning_rate)

    def epoch() -> float:
        optimizer.zero_grad()
        x, outputs = start, []
        for cue in cues:
            if read_before:
                outputs.append(output(torch, shape, p, x))
            x = (1 - leak) * x + leak * torch.tanh(recurrent(shape, p, x) + drive(p, cue))
            if not read_before:
                outputs.append(output(torch, shape, p, x))
        loss = ((torch.stack(outputs) - target) ** 2).sum() / loss_over
        loss.backward()
        optimizer.step()
        return loss.item()

    def trainer(epochs: int) -> float:
        for _ in range(epochs):
            loss = epoch()
        return loss

    return trainer


def naive_jax(run: Run, params: Mapping[str, np.ndarray]) -> tuple[float, Trainer]:
    """Compile seconds and trainer of jit(vmap(value_and_grad(scan))), from parameters (runs, ...); default device.

    The loop over epochs is compiled too, and a bare gradient step is all there is beside loss and gradient.
    """
    shape, leak = shape_of(run.fields), run.dt_ms / run.tau_ms
    *arrays, read_before, loss_over = protocol(run)

    def loss_of(p: Any) -> jax.Array:
        start, cues, target = map(jnp.asarray, arrays)

        def step(x: jax.Array, cue: jax.Array) -> tuple[jax.Array, jax.Array]:
            new = (1 - leak) * x + leak * jnp.tanh(recurrent(shape, p, x) + drive(p, cue))
            return new, output(jax.nn, shape, p, x if read_before else new)

        return ((jax.lax.scan(step, start, cues)[1] - target) ** 2).sum() / loss_over

    def epoch(_: Any, carry: Any) -> Any:
        losses, grads = jax.vmap(jax.value_and_grad(loss_of))(carry[0])
        return jax.tree.map(lambda p, g: p - run.learning_rate * g, carry[0], grads), losses

    def epochs_of(params: Any, losses: jax.Array, epochs: int) -> Any:
        return jax.lax.fori_loop(0, epochs, epoch, (params, losses))

    with train.precision(shape), jax.numpy_rank_promotion("allow"):
        state = jax.tree.map(jnp.asarray, dict(params))
        losses = jnp.zeros(len(params["n" if "n" in params else "w_out"]), run.dtype)
        started = time.perf_counter()
        compiled = jax.jit(epochs_of).lower(state, losses, 0).compile()
        compile_seconds = time.perf_counter() - started

    def trainer(epochs: int) -> np.ndarray:
        nonlocal state, losses
        with train.precision(shape):
            state, losses = compiled(state, losses, epochs)
        return np.asarray(losses)

    return compile_seconds, trainer
