"""The one-dimensional canonical form dx/dt = x^2 + r, trained on r by its closed-form gradient (paper, section 1)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ghostsweep.models.model import Evaluation, Model
from ghostsweep.spec import Shape


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


MODEL = Model(initial, evaluate, bounded=True, unroll=4, accuracy_of=accuracy_of)
