"""Rank-one networks on delayed activation, trained through the scalar they live on (paper, sections 2 and 4).

The N-dimensional state x <- (1 - a) x + a tanh(m (n . x) + b) enters loss and output only through
kappa = n . x, which obeys kappa <- (1 - a) kappa + a n . tanh(m kappa + b), kappa(0) = n . x(0).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from ghostsweep.declare import Shape
from ghostsweep.models.model import Evaluation, Model
from ghostsweep.models.tasks import X_START, delayed_activation_target

THRESHOLD = 1.0  # the output is sigmoid(c (kappa - 1))

# Steps per turn of the time loops. XLA fuses the elementwise work of a block; measured at T = 20, N = 100, two
# cores, 150 runs each: blocks of 1, 8, 16, 40 steps took 3.5, 2.7, 2.7, 3.1 us per run and epoch.
BLOCK = 8


def initial(shape: Shape, traced: Mapping[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Draw m, n ~ N(0, 1) / sqrt N, each of shape (N,), and b = 0 (paper, section 2); c, shape (1,), if trained.

    Drawn in float32 and then widened, so that both precisions train the same network.
    """
    assert shape.n_units is not None
    m, n = jax.random.normal(key, (2, shape.n_units), jnp.float32).astype(shape.dtype) / shape.n_units**0.5
    params = {"m": m, "n": n, "b": jnp.zeros_like(m)}
    if shape.train_confidence:  # without a confidence a later phase goes on with the c of the one before
        params["c"] = traced.get("confidence", jnp.full((), jnp.nan, shape.dtype))[None]
    return params


def evaluate(shape: Shape, params: Mapping[str, jax.Array], traced: Mapping[str, jax.Array]) -> Evaluation:
    """Loss sum_t (o_t - target_t)^2 / T over 2T steps, share of right steps, and gradient by a scalar adjoint.

    With h_t = tanh(m kappa_t + b) and lambda_t = dL/dkappa_t, the backward pass is
    lambda_t = g_t + lambda_{t+1} ((1 - a) + a sum_i n_i m_i (1 - h_ti^2)), where g_t is the direct part, and

        dL/dn = sum_t w_t h_t + lambda_0 x(0)      w_t = a lambda_{t+1}
        dL/db = n sum_t w_t (1 - h_t^2)
        dL/dm = n sum_t w_t kappa_t (1 - h_t^2)

    The sum over units that the adjoint needs is taken in the forward pass, while h_t is in cache.
    """
    assert shape.timescale is not None
    timescale = shape.timescale
    m, n, b = params["m"], params["n"], params["b"]
    leak = traced["dt_ms"] / traced["tau_ms"]
    steps = 2 * timescale
    block = max(size for size in range(1, BLOCK + 1) if steps % size == 0)
    nm = n * m
    nm_sum = nm.sum()

    def forward(kappa: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]]:
        kappas, slopes, rates = [], [], []
        for _step in range(block):
            h = jnp.tanh(m * kappa + b)
            kappas.append(kappa)
            slopes.append(nm_sum - (nm * h * h).sum())
            rates.append(h)
            kappa = (1 - leak) * kappa + leak * (n * h).sum()
        return kappa, (jnp.stack(kappas), jnp.stack(slopes), tuple(rates))

    last, (kappas, slopes, rates) = lax.scan(forward, X_START * n.sum(), None, length=steps // block)
    kappas, slopes = kappas.ravel(), slopes.ravel()

    target = jnp.asarray(delayed_activation_target(timescale), shape.dtype)
    read = jnp.concatenate([kappas[1:], last[None]])  # the output is read after each step
    confidence = params["c"][0] if shape.train_confidence else traced["confidence"]
    output = jax.nn.sigmoid(confidence * (read - THRESHOLD))
    error = output - target
    loss = (error * error).sum() / timescale
    accuracy = ((output > 0.5) == (target > 0.5)).mean(dtype=shape.dtype)

    def backward(adjoint: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        direct, slope = step
        adjoint = adjoint + direct
        return adjoint * ((1 - leak) + leak * slope), adjoint

    direct = 2 / timescale * confidence * error * output * (1 - output)
    first, adjoints = lax.scan(backward, jnp.zeros_like(last), (direct, slopes), reverse=True, unroll=8)
    weights = leak * adjoints
    weights_kappa = weights * kappas

    def accumulate(
        sums: tuple[jax.Array, jax.Array, jax.Array], step: tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        by_h, by_h2, by_kappa_h2 = sums
        w, w_kappa, hs = step
        for i, h in enumerate(hs):
            by_h = by_h + w[i] * h
            by_h2 = by_h2 + w[i] * (h * h)
            by_kappa_h2 = by_kappa_h2 + w_kappa[i] * (h * h)
        return (by_h, by_h2, by_kappa_h2), None

    zero = jnp.zeros_like(n)
    (by_h, by_h2, by_kappa_h2), _ = lax.scan(
        accumulate, (zero, zero, zero), (weights.reshape(-1, block), weights_kappa.reshape(-1, block), rates)
    )
    grads = {
        "m": n * (weights_kappa.sum() - by_kappa_h2),
        "n": by_h + X_START * first,
        "b": n * (weights.sum() - by_h2),
    }
    if shape.train_confidence:
        grads["c"] = 2 / timescale * (error * output * (1 - output) * (read - THRESHOLD)).sum()[None]
    return Evaluation(loss, accuracy, grads)


MODEL = Model(initial, evaluate, bounded=False, unroll=1)
