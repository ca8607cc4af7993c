"""Leaky recurrences x <- (1 - a) x + a tanh(recurrent + drive) with a hand-written backward pass (paper, section 4).

Both are differentiated once for all steps: the backward loop carries only the adjoint of the state and keeps
delta_t = dL / d(argument of tanh); the gradient of a weight matrix is then ONE product over all steps and trials.
The initial state and the leak are taken as constants: no gradient flows to them.

In a kernel (`Shape.kernel`) XLA has fast code for products of one vector and a matrix and none for those of a few, so
that each trial is multiplied alone. Units should be whole vectors there, `machine.kernels.VECTOR`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ghostsweep.declare.shape import Shape
from ghostsweep.declare.sums import total

LONGEST = 40  # steps of a product of two matrices that is still fast
FEW = 2  # rows that are multiplied by a vector faster each alone

_Saved = tuple[jax.Array, ...]


def _times(shape: Shape, x: jax.Array, w: jax.Array) -> jax.Array:
    """x w of trials, (trials, I), and weights, (I, J)."""
    if not shape.kernel:
        return x @ w
    return x * w if len(w) == 1 else jnp.stack([one @ w for one in x])


def _times_transposed(shape: Shape, x: jax.Array, w: jax.Array) -> jax.Array:
    """x w^T of trials, (trials, J), and weights, (I, J)."""
    if not shape.kernel:
        return x @ w.T
    if len(w) <= FEW:
        return jnp.stack([jnp.stack([total(shape, one * row) for row in w]) for one in x])
    return jnp.stack([w @ one for one in x])


def _summed(shape: Shape, x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum of x^T y over steps and trials, (I, J), of arrays (steps, trials, I) and (steps, trials, J)."""
    if not shape.kernel:
        return jnp.einsum("tbi,tbj->ij", x, y)
    if x.shape[1] == 1:  # a product of two matrices, as many steps at a time as XLA takes vectors for
        count = math.ceil(len(x) / LONGEST)
        spare = -len(x) % count
        lots = [jnp.pad(a[:, 0], [(0, spare), (0, 0)]).reshape(count, -1, a.shape[2]) for a in (x, y)]
        return lots[0][0].T @ lots[1][0] if count == 1 else _added(lambda one, other: one.T @ other, *lots)

    def outer(one: jax.Array, other: jax.Array) -> jax.Array:
        products = [a[:, None] * b[None] for a, b in zip(one, other, strict=True)]
        together: jax.Array = sum(products[1:], products[0])
        return together

    return _added(outer, x, y)


def _added(product: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum of products along the first axis of both."""

    def add(before: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return before + product(*step), None

    return lax.scan(add, jnp.zeros((x.shape[2], y.shape[2]), x.dtype), (x, y))[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def full_rank(
    shape: Shape, w: jax.Array, w_out: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> jax.Array:
    """Readouts x_t . w_out, shape (steps + 1, trials), of x <- (1 - a) x + a tanh(x w + drive_t).

    Shapes: w (N, N), w_out (N,), or (N, outputs) for readouts (steps + 1, trials, outputs), drive
    (steps, trials, N), start (trials, N), leak a scalar.
    """
    return _full_forward(shape, w, w_out, drive, start, leak)[0]


def _full_forward(
    shape: Shape, w: jax.Array, w_out: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> tuple[jax.Array, _Saved]:
    def step(x: jax.Array, drive: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = jnp.tanh(_times(shape, x, w) + drive)
        return (1 - leak) * x + leak * h, (x, h)

    last, (before, rates) = lax.scan(step, start, drive)
    states = jnp.concatenate([before, last[None]])
    flat = shape.kernel and w_out.ndim == 1
    read = (states.reshape(-1, len(w)) @ w_out).reshape(states.shape[:2]) if flat else states @ w_out
    return read, (w, w_out, states, rates, leak)


def _full_backward(shape: Shape, saved: _Saved, direct: jax.Array) -> tuple[Any, ...]:
    w, w_out, states, rates, leak = saved
    # Transposed out of the loop with two or more trials (45 instead of 56 us per run and epoch of dcdt, 83 instead
    # of 98 of dmts), in the product for one (35 instead of 38 us on delayed activation).
    transposed = w.T if rates.shape[1] > 1 and not shape.kernel else None

    def from_readout(g: jax.Array) -> jax.Array:
        return g[:, None] * w_out[None] if w_out.ndim == 1 else g @ w_out.T

    def step(adjoint: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h, g = step
        delta = leak * adjoint * (1 - h * h)
        back = _times_transposed(shape, delta, w) if transposed is None else delta @ transposed
        return (1 - leak) * adjoint + back + from_readout(g), delta

    _, deltas = lax.scan(step, from_readout(direct[-1]), (rates, direct[:-1]), reverse=True)
    if shape.kernel:
        by_out = direct.ravel() @ states.reshape(-1, len(w)) if w_out.ndim == 1 else _summed(shape, states, direct)
        return _summed(shape, states[:-1], deltas), by_out, deltas, None, None
    # Transposed before the product: 187 instead of 192 us of one core per run and epoch of dmts, 103 instead of 107 of
    # dcdt.
    rows = lax.optimization_barrier(states[:-1].reshape(-1, len(w)).T)
    by_w = rows @ deltas.reshape(-1, len(w))
    by_out = jnp.einsum("tb,tbi->i" if w_out.ndim == 1 else "tbo,tbi->io", direct, states)
    return by_w, by_out, deltas, None, None


full_rank.defvjp(_full_forward, _full_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def low_rank(
    shape: Shape, into: jax.Array, back: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> jax.Array:
    """Projections y_t = into x_t, shape (steps + 1, trials, P), of x <- (1 - a) x + a tanh(y[:K] back + drive_t).

    The N numbers of x are never needed: y <- (1 - a) y + a into tanh(y[:K] back + drive_t).
    Shapes: into (P, N), back (K, N), drive (steps, trials, N), start (trials, N), leak a scalar.
    """
    return _low_forward(shape, into, back, drive, start, leak)[0]


def _low_forward(
    shape: Shape, into: jax.Array, back: jax.Array, drive: jax.Array, start: jax.Array, leak: jax.Array
) -> tuple[jax.Array, _Saved]:
    rank = len(back)

    def step(y: jax.Array, drive: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = jnp.tanh(_times(shape, y[:, :rank], back) + drive)
        return (1 - leak) * y + leak * _times_transposed(shape, h, into), (y, h)

    last, (before, rates) = lax.scan(step, _times_transposed(shape, start, into), drive)
    projections = jnp.concatenate([before, last[None]])
    return projections, (into, back, projections, rates, start, leak)


def _low_backward(shape: Shape, saved: _Saved, direct: jax.Array) -> tuple[Any, ...]:
    into, back, projections, rates, start, leak = saved
    rank = len(back)

    def step(adjoint: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h, g = step
        delta = leak * _times(shape, adjoint, into) * (1 - h * h)
        recurrent = _times_transposed(shape, delta, back)
        return ((1 - leak) * adjoint + g).at[:, :rank].add(recurrent), (adjoint, delta)

    first, (adjoints, deltas) = lax.scan(step, direct[-1], (rates, direct[:-1]), reverse=True)
    by_into = leak * _summed(shape, adjoints, rates) + _summed(shape, first[None], start[None])
    return by_into, _summed(shape, projections[:-1, :, :rank], deltas), deltas, None, None


low_rank.defvjp(_low_forward, _low_backward)
