"""Leaky recurrences x <- (1 - a) x + a tanh(recurrent + drive) with a hand-written backward pass (paper, section 4).

Both are differentiated once for all steps: the backward loop carries only the adjoint of the state and keeps
delta_t = dL / d(argument of tanh); the gradient of a weight matrix is then ONE product over all steps and trials.
The initial state and the leak are taken as constants: no gradient flows to them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_Saved = tuple[jax.Array, ...]


@jax.custom_vjp
def full_rank(w: jax.Array, w_out: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array) -> jax.Array:
    """Readouts x_t . w_out, shape (steps + 1, trials), of x <- (1 - a) x + a tanh(x w + drive_t).

    Shapes: w (N, N), w_out (N,), or (N, outputs) for readouts (steps + 1, trials, outputs), drive
    (steps, trials, N), start (trials, N), leak a scalar.
    """
    return _full_forward(w, w_out, drive, start, leak)[0]


def _full_forward(
    w: jax.Array, w_out: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> tuple[jax.Array, _Saved]:
    def step(x: jax.Array, drive: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = jnp.tanh(x @ w + drive)
        return (1 - leak) * x + leak * h, (x, h)

    last, (before, rates) = lax.scan(step, start, drive)
    states = jnp.concatenate([before, last[None]])
    return states @ w_out, (w, w_out, states, rates, leak)


def _full_backward(saved: _Saved, direct: jax.Array) -> tuple[Any, ...]:
    w, w_out, states, rates, leak = saved
    # Transposed out of the loop with two or more trials (45 instead of 56 us per run and epoch of dcdt, 83 instead
    # of 98 of dmts), in the product for one (35 instead of 38 us on delayed activation).
    transposed = w.T if rates.shape[1] > 1 else None

    def from_readout(g: jax.Array) -> jax.Array:
        return g[:, None] * w_out[None] if w_out.ndim == 1 else g @ w_out.T

    def step(adjoint: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h, g = step
        delta = leak * adjoint * (1 - h * h)
        back = delta @ (w.T if transposed is None else transposed)
        return (1 - leak) * adjoint + back + from_readout(g), delta

    _, deltas = lax.scan(step, from_readout(direct[-1]), (rates, direct[:-1]), reverse=True)
    # Transposed before the product: 187 instead of 192 us of one core per run and epoch of dmts, 103 instead of 107 of
    # dcdt.
    rows = lax.optimization_barrier(states[:-1].reshape(-1, len(w)).T)
    by_w = rows @ deltas.reshape(-1, len(w))
    by_out = jnp.einsum("tb,tbi->i" if w_out.ndim == 1 else "tbo,tbi->io", direct, states)
    return by_w, by_out, deltas, None, None


full_rank.defvjp(_full_forward, _full_backward)


@jax.custom_vjp
def low_rank(into: jax.Array, back: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array) -> jax.Array:
    """Projections y_t = into x_t, shape (steps + 1, trials, P), of x <- (1 - a) x + a tanh(y[:K] back + drive_t).

    The N numbers of x are never needed: y <- (1 - a) y + a into tanh(y[:K] back + drive_t).
    Shapes: into (P, N), back (K, N), drive (steps, trials, N), start (trials, N), leak a scalar.
    """
    return _low_forward(into, back, drive, start, leak)[0]


def _low_forward(
    into: jax.Array, back: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> tuple[jax.Array, _Saved]:
    rank = len(back)

    def step(y: jax.Array, drive: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = jnp.tanh(y[:, :rank] @ back + drive)
        return (1 - leak) * y + leak * (h @ into.T), (y, h)

    last, (before, rates) = lax.scan(step, start @ into.T, drive)
    projections = jnp.concatenate([before, last[None]])
    return projections, (into, back, projections, rates, start, leak)


def _low_backward(saved: _Saved, direct: jax.Array) -> tuple[Any, ...]:
    into, back, projections, rates, start, leak = saved
    rank = len(back)

    def step(adjoint: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h, g = step
        delta = leak * (adjoint @ into) * (1 - h * h)
        return ((1 - leak) * adjoint + g).at[:, :rank].add(delta @ back.T), (adjoint, delta)

    first, (adjoints, deltas) = lax.scan(step, direct[-1], (rates, direct[:-1]), reverse=True)
    by_into = leak * jnp.einsum("tbi,tbj->ij", adjoints, rates) + first.T @ start
    return by_into, jnp.einsum("tbi,tbj->ij", projections[:-1, :, :rank], deltas), deltas, None, None


low_rank.defvjp(_low_forward, _low_backward)
