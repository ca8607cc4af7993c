"""The one-dimensional canonical form dx/dt = x^2 + r, x(0) = 0, trained on r (paper, section 1).

Without a confidence its output is a step where x blows up, and loss and gradient are closed forms. With one it is
simulated. Both train on the gradient of T L, not of L, so that a learning rate means the same in both.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ghostsweep.declare import Shape
from ghostsweep.models.model import Evaluation, Model

X_MAX = 1e6  # where a simulated x that blows up is stopped


def initial(shape: Shape, traced: Mapping[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Draw r ~ N(r_start, r_start_sigma) in units of the optimum r* = pi^2 / (4 T^2) (paper, Fig. 2 protocol)."""
    noise = jax.random.normal(key, dtype=jnp.float32).astype(shape.dtype)
    optimum = np.pi**2 / 4 / traced["timescale"] ** 2
    return {"r": optimum * (traced["r_start"] + traced["r_start_sigma"] * noise)}


def accuracy_of(loss: jax.Array) -> jax.Array:
    """Share of the 2T steps that are right: the output is wrong between T and t*, which is L/2 of them."""
    return 1 - loss / 2


def evaluate(shape: Shape, params: Mapping[str, jax.Array], traced: Mapping[str, jax.Array]) -> Evaluation:
    """Loss, accuracy and gradient of the closed form, all scalars.

    With u = t*(r)/T = sqrt(r*/r), the activation time in units of T: L = |1 - u| inside the trial (r > r*/4),
    else 1; the gradient of T L is -+ pi / (4 r^1.5) = -+ (2 T^3 / pi^2) u^3, negative for r*/4 <= r <= r*,
    positive above, exactly 0 in the no-learning zone below r*/4 (paper, section 1).
    """
    r, timescale = params["r"], traced["timescale"]
    optimum = np.pi**2 / 4 / timescale**2
    # One division and one square root. As `pi / 2 / sqrt(r)` XLA materialises a bare rsqrt that it does not
    # vectorise: 4.5 ns an epoch instead of 2.8.
    u = jnp.sqrt(optimum / r)  # NaN below 0, where it is not used
    alive = r >= optimum / 4
    loss = jnp.where(alive, jnp.abs(1 - u), 1)
    slope = jnp.where(alive, 2 * timescale**3 / np.pi**2 * u * u * u, 0)
    return Evaluation(loss, accuracy_of(loss), {"r": jnp.where(r > optimum, slope, -slope)})


def simulate(shape: Shape, params: Mapping[str, jax.Array], traced: Mapping[str, jax.Array]) -> Evaluation:
    """Loss, accuracy and gradient for the output sigmoid(a (x - threshold)) of confidence a, all scalars.

    Euler steps x <- min(x + dt (x^2 + r), 1e6) from 0, the output o read after each of 2T/dt (paper, section 1):
    L = dt/T sum_i (o_i - target_i)^2, target 0 before T and 1 after. The gradient, of T L, is exact for these steps:
    the sensitivity s = dx/dr is carried along as s <- s + dt (2 x s + 1), and is 0 once x is stopped.

    At high confidence it comes within a tenth of the closed form's while a dt threshold^2 <= 3. Above, x steps over
    the range where the output is neither 0 nor 1: the gradient is a row of spikes, with hardly anything between them
    from about 20 on. Euler steps also fail far below the optimum. From r = -9 / (4 dt^2) down x blows up, which the
    flow does not; a little above that x is chaotic and s may overflow, and such a run diverges.
    """
    assert shape.timescale is not None
    r, confidence, dt, threshold = params["r"], traced["confidence"], traced["dt_steps"], traced["threshold"]

    def half(target: float, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        def step(carry: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], None]:
            x, sensitivity, loss, gradient, right = carry
            moved = x + dt * (x * x + r)
            sensitivity = jnp.where(moved < X_MAX, sensitivity + dt * (2 * x * sensitivity + 1), 0)
            x = jnp.minimum(moved, X_MAX)
            output = jax.nn.sigmoid(confidence * (x - threshold))  # as a tanh a fifth faster, but without its tail
            error = output - target
            loss = loss + error * error
            gradient = gradient + error * output * (1 - output) * sensitivity
            right = right + ((output > 0.5) == (target > 0.5)).astype(shape.dtype)
            return (x, sensitivity, loss, gradient, right), None

        return lax.scan(step, carry, None, length=shape.timescale)[0]

    start = (jnp.zeros_like(r),) * 5
    _, _, loss, gradient, right = half(1.0, half(0.0, start))
    return Evaluation(loss / shape.timescale, right / shape.n_steps, {"r": 2 * dt * confidence * gradient})


MODEL = Model(initial, evaluate, bounded=True, unroll=4, accuracy_of=accuracy_of)
SIMULATED = Model(initial, simulate, bounded=False, unroll=1)
