"""What a network does when it is left alone: numbers from the path of its state, for verdicts that are made later."""

import jax
import jax.numpy as jnp

RADIUS = 3
"""Bins of the Fourier transform around the centre whose power counts as slow."""


def axes(*paths: jax.Array) -> jax.Array:
    """Principal directions of paths (steps, N) about their means, (paths, N, N), the last column the largest.

    In one call of LAPACK for all: two in a program of which none needs the other can wait for each other for ever.
    """
    centred = [path - path.mean(axis=0, keepdims=True) for path in paths]
    return jnp.asarray(jnp.linalg.eigh(jnp.stack([path.T @ path for path in centred]))[1])


def late(states: jax.Array) -> jax.Array:
    """The last half of a path."""
    return states[-(len(states) // 2) :]


def power_index(states: jax.Array, vectors: jax.Array) -> dict[str, jax.Array]:
    """The index of arXiv 2502.17433 of a path of states (steps, units), and with one component's sign turned.

    vectors (N, N): its `axes`. States are projected, not centred, on the first two principal components. Rows of
    two numbers have correlations of +-1, so that the matrix of correlations of all time points is s s^T with s =
    sign(PC1 - PC2), and the share of its two-dimensional Fourier power within three bins of the centre is sum over
    k^2 + l^2 <= 9 of P_k P_l / (sum P)^2, P = |FFT s|^2. Components have no sign of their own: here the largest
    weight of each is positive.
    """
    first, second = vectors[:, -1], vectors[:, -2]
    pc1, pc2 = (states @ (v * jnp.sign(v[jnp.argmax(jnp.abs(v))])) for v in (first, second))
    return {"power_index": _slow_share(pc1 - pc2), "power_index_flipped": _slow_share(pc1 + pc2)}


def _slow_share(difference: jax.Array) -> jax.Array:
    power = jnp.abs(jnp.fft.fft(jnp.where(difference >= 0, 1.0, -1.0).astype(difference.dtype))) ** 2
    power = power / power.sum()
    near = jnp.roll(power, RADIUS)[: 2 * RADIUS + 1]
    at = jnp.arange(-RADIUS, RADIUS + 1)
    return jnp.where(at[:, None] ** 2 + at[None] ** 2 <= RADIUS**2, near[:, None] * near[None], 0).sum()


def motion(states: jax.Array, vectors: jax.Array, dt_ms: jax.Array, tau_ms: jax.Array) -> dict[str, jax.Array]:
    """Amplitude, decay, period and speed of a path of states (steps, units), which is taken in quarters.

    vectors (N, N): the `axes` of its `late` half. Amplitude: root mean square distance from the mean of the
    quarter, divided by sqrt N. Decay: that of the last quarter over the one before. Rises: where the projection of
    the last half on its first principal component passes its mean from below, so far from it that rounding does not
    count as one. Speed: |r(t) - r(t - dt)| tau / dt, divided by sqrt N.
    """
    steps, units = states.shape
    quarters = states[-(steps // 4) * 4 :].reshape(4, -1, units)

    def amplitude(part: jax.Array) -> jax.Array:
        return jnp.sqrt(((part - part.mean(axis=0, keepdims=True)) ** 2).mean())

    half = late(states)
    along = (half - half.mean(axis=0, keepdims=True)) @ vectors[:, -1]
    margin = jnp.maximum(0.1 * jnp.abs(along).max(), 1e-5 * units**0.5)  # below: rounding in float32

    def look(armed: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        rises = armed & (x > margin)
        return (armed & ~rises) | (x < -margin), rises

    _, rises = jax.lax.scan(look, jnp.asarray(False), along)
    count = rises.sum()
    first, last = jnp.argmax(rises), len(rises) - 1 - jnp.argmax(rises[::-1])
    between = (last - first).astype(states.dtype) / jnp.maximum(count - 1, 1).astype(states.dtype) * dt_ms
    nan = jnp.full((), jnp.nan, states.dtype)
    ends = amplitude(quarters[2]), amplitude(quarters[3])
    speed = jnp.sqrt(((states[-1] - states[-2]) ** 2).mean()) * tau_ms / dt_ms
    return {
        "free_amplitude": ends[1],
        "free_decay": jnp.where(ends[0] > 0, ends[1] / ends[0], 0.0),
        "free_period": jnp.where(count > 1, between, nan),
        "free_cycles": count.astype(states.dtype),
        "free_speed": speed,
    }
