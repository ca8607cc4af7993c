"""What persistent kernels train, and plain programs to hold them against, in JAX and in NumPy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

UNITS, X_START = 100, -0.3
LEAK, CONFIDENCE, RATE = 0.5, 10.0, 0.003
NAMES = ("m", "n", "b", "loss", "grad_norm")
Arrays = tuple[Any, ...]
Variant = dict[str, Any]  # of a kernel


def plain_trainer(timescale: int) -> Callable[..., Arrays]:
    """The same by `rank_one.evaluate`, vectorised: function of epochs (), rates (runs,) and m, n, b (runs, 100)."""
    from ghostsweep import Run
    from ghostsweep.models import rank_one
    from ghostsweep.spec import shape_of

    shape = shape_of(Run(model="rank_one", timescale=timescale, learning_rate=RATE, epochs=1).fields)
    traced = {"dt_ms": jnp.float32(5), "tau_ms": jnp.float32(10), "confidence": jnp.float32(CONFIDENCE)}
    assert traced["dt_ms"] / traced["tau_ms"] == LEAK

    def train(epochs: jax.Array, rate: jax.Array, m: jax.Array, n: jax.Array, b: jax.Array) -> Arrays:
        def epoch(_: Any, carry: Arrays) -> Arrays:
            params = dict(zip("mnb", carry[:3], strict=True))
            loss, _accuracy, grads = rank_one.evaluate(shape, params, traced)
            norm = jnp.sqrt(sum((grads[name] ** 2).sum() for name in "mnb"))
            finite = jnp.isfinite(loss) & jnp.isfinite(norm)
            kept = (jnp.where(finite, params[name] - rate * grads[name], params[name]) for name in "mnb")
            return *kept, loss, norm

        return lax.fori_loop(0, epochs, epoch, (m, n, b, jnp.float32(0), jnp.float32(0)))

    return jax.jit(jax.vmap(train, in_axes=(None, 0, 0, 0, 0)))


def reference(timescale: int, epochs: int, rates: np.ndarray, start: Arrays) -> Arrays:
    """The same in NumPy and float64."""
    m, n, b = (x.astype(np.float64) for x in start)
    rate = rates.astype(np.float64)[:, None]
    steps = 2 * timescale
    loss = norm = np.zeros(len(rates))
    for _ in range(epochs):
        kappas, hs = [X_START * n.sum(1, keepdims=True)], []
        for _step in range(steps):
            hs.append(np.tanh(m * kappas[-1] + b))
            kappas.append((1 - LEAK) * kappas[-1] + LEAK * (n * hs[-1]).sum(1, keepdims=True))
        loss, adjoint = np.zeros((2, len(rates), 1))
        of_m, of_n, of_b = np.zeros((3, *m.shape))
        for step in reversed(range(steps)):
            output = 1 / (1 + np.exp(-CONFIDENCE * (kappas[step + 1] - 1)))
            error = output - (step >= timescale)
            loss = loss + error**2 / timescale
            adjoint = adjoint + 2 / timescale * CONFIDENCE * error * output * (1 - output)
            slope = n * (1 - hs[step] ** 2)
            of_n += LEAK * adjoint * hs[step]
            of_b += LEAK * adjoint * slope
            of_m += LEAK * adjoint * slope * kappas[step]
            adjoint = adjoint * (1 - LEAK + LEAK * (slope * m).sum(1, keepdims=True))
        of_n += X_START * adjoint
        norm = np.sqrt((of_m**2 + of_n**2 + of_b**2).sum(1))
        m, n, b = m - rate * of_m, n - rate * of_n, b - rate * of_b
    return m, n, b, loss[:, 0], norm


def initial(runs: int) -> Arrays:
    """What seeds 0, 1, ... draw in ghostsweep, in NumPy."""

    def draw(seed: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(jnp.stack([seed * 0, seed]), impl="threefry2x32")
        return jax.random.normal(jax.random.fold_in(key, 0), (2, UNITS), jnp.float32) / UNITS**0.5

    m, n = np.asarray(jax.vmap(draw)(jnp.arange(runs, dtype=jnp.uint32))).swapaxes(0, 1)
    return np.ascontiguousarray(m), np.ascontiguousarray(n), np.zeros_like(m)


def mixed(runs: int) -> Arrays:
    """Seeds 0 to 7 as they begin, where gradients are tiny, and again with a feedback that makes them learn."""
    m, n, b = (np.array(x) for x in initial(runs))
    m[8:16], n[8:16], b[8:16] = m[:8], n[:8] + 2 * m[:8], 0.5 * np.abs(m[:8])
    n[8:16] -= n[8:16].mean(1, keepdims=True) + 0.02
    return m, n, b


def away(found: Arrays, expected: Arrays, start: Arrays) -> dict[str, float]:
    """Largest difference of each array by its largest value; of learning seeds' parameters by their largest move."""
    result = {}
    for part, lanes in (("", slice(0, 8)), ("learning ", slice(8, 16))):
        for name, x, y, begin in zip(NAMES, found, expected, (*start, 0, 0), strict=True):
            x = np.asarray(x)[lanes, :UNITS] if np.ndim(x) == 2 else np.asarray(x)[lanes]
            scale = np.abs(y[lanes] - begin[lanes] if part and np.ndim(x) == 2 else y[lanes]).max()
            result[part + name] = float(np.abs(x - y[lanes]).max() / scale)
    return result
