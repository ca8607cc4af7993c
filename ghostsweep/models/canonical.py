"""The one-dimensional canonical form dx/dt = x^2 + r, x(0) = 0, trained on r (paper, section 1).

The output of `canonical` is a step where x blows up, and loss and gradient are closed forms. `canonical_simulated` has
a confidence and is simulated. Both train on the gradient of T L, not of L, so that a learning rate means the same.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from ghostsweep import theory
from ghostsweep.declare.field import MAX_STEPS, Field
from ghostsweep.declare.model import Activation, Cost, Evaluation, Mistakes, Model, Params, Traced, Values
from ghostsweep.declare.shape import Shape
from ghostsweep.models.rules import is_plain

if TYPE_CHECKING:
    import jax

X_MAX = 1e6  # where a simulated x that blows up is stopped


def initial(shape: Shape, traced: Traced, key: "jax.Array") -> "dict[str, jax.Array]":
    """Draw r ~ N(r_start, r_start_sigma) in units of the optimum r* = pi^2 / (4 T^2) (paper, Fig. 2 protocol)."""
    import jax
    import jax.numpy as jnp

    noise = jax.random.normal(key, dtype=jnp.float32).astype(shape.dtype)
    optimum = np.pi**2 / 4 / traced["timescale"] ** 2
    return {"r": optimum * (traced["r_start"] + traced["r_start_sigma"] * noise)}


def accuracy_of(loss: "jax.Array") -> "jax.Array":
    """Share of the 2T steps that are right: the output is wrong between T and t*, which is L/2 of them."""
    return 1 - loss / 2


def evaluate(shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """Loss, accuracy and gradient of the closed form, all scalars.

    With u = t*(r)/T = sqrt(r*/r), the activation time in units of T: L = |1 - u| inside the trial (r > r*/4),
    else 1; the gradient of T L is -+ pi / (4 r^1.5) = -+ (2 T^3 / pi^2) u^3, negative for r*/4 <= r <= r*,
    positive above, exactly 0 in the no-learning zone below r*/4 (paper, section 1).
    """
    import jax.numpy as jnp

    r, timescale = params["r"], traced["timescale"]
    optimum = np.pi**2 / 4 / timescale**2
    # One division and one square root. As `pi / 2 / sqrt(r)` XLA materialises a bare rsqrt that it does not
    # vectorise: 4.5 ns an epoch instead of 2.8.
    u = jnp.sqrt(optimum / r)  # NaN below 0, where it is not used
    alive = r >= optimum / 4
    loss = jnp.where(alive, jnp.abs(1 - u), 1)
    slope = jnp.where(alive, 2 * timescale**3 / np.pi**2 * u * u * u, 0)
    return Evaluation(loss, accuracy_of(loss), {"r": jnp.where(r > optimum, slope, -slope)})


def activation(shape: Shape, params: Params, traced: Traced) -> Activation:
    """x blows up at t* = pi / (2 sqrt r); T L, whose gradient is taken, grows by 1 with each step that it is late."""
    import jax.numpy as jnp

    r, timescale = params["r"], traced["timescale"]
    time = jnp.where(r > 0, np.pi / 2 / jnp.sqrt(jnp.where(r > 0, r, 1)), jnp.inf)
    return Activation(time, timescale, 2 * timescale, jnp.ones_like(timescale))


def simulate(shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """Loss, accuracy and gradient for the output sigmoid(a (x - threshold)) of confidence a, all scalars.

    Euler steps x <- min(x + dt (x^2 + r), 1e6) from 0, the output o read after each of 2T/dt (paper, section 1):
    L = dt/T sum_i (o_i - target_i)^2, target 0 before T and 1 after. The gradient, of T L, is exact for these steps:
    the sensitivity s = dx/dr is carried along as s <- s + dt (2 x s + 1), and is 0 once x is stopped.

    At high confidence it comes within a tenth of the closed form's while a dt threshold^2 <= 3. Above, x steps over
    the range where the output is neither 0 nor 1: the gradient is a row of spikes, with hardly anything between them
    from about 20 on. Euler steps also fail far below the optimum. From r = -9 / (4 dt^2) down x blows up, which the
    flow does not; a little above that x is chaotic and s may overflow, and such a run diverges.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    r, confidence, dt, threshold = params["r"], traced["confidence"], traced["dt_steps"], traced["threshold"]

    def half(target: float, carry: "tuple[jax.Array, ...]") -> "tuple[jax.Array, ...]":
        def step(carry: "tuple[jax.Array, ...]", _: None) -> "tuple[tuple[jax.Array, ...], None]":
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


def step(shape: Shape, params: Params, traced: Traced, x: "jax.Array", u: "jax.Array") -> "jax.Array":
    """x <- min(x + dt (x^2 + r), 1e6), (1,)."""
    import jax.numpy as jnp

    return jnp.minimum(x + traced["dt_steps"] * (x * x + params["r"]), X_MAX)


def readout(shape: Shape, params: Params, traced: Traced, x: "jax.Array") -> "jax.Array":
    """The argument a (x - threshold) of the output, (1,)."""
    return traced["confidence"] * (x - traced["threshold"])


def start(shape: Shape, params: Params, traced: Traced) -> "jax.Array":
    """x(0) = 0, whatever units of networks begin at, (1,)."""
    return params["r"][None] * 0


def crossing(shape: Shape, params: Params, traced: Traced) -> Activation:
    """x passes the threshold, linear between two Euler steps, in four trials; T L grows by 1 per step it is late."""
    import jax.numpy as jnp
    from jax import lax

    def turn(x: "jax.Array", _: None) -> "tuple[jax.Array, jax.Array]":
        return step(shape, params, traced, x, x), x[0]

    _, x = lax.scan(turn, start(shape, params, traced), None, length=8 * shape.timescale)
    crosses = (x[:-1] < traced["threshold"]) & (x[1:] >= traced["threshold"])
    at = jnp.argmax(crosses)
    risen = jnp.where(crosses.any(), x[at + 1] - x[at], 1)
    time = (at.astype(x.dtype) + (traced["threshold"] - x[at]) / risen) * traced["dt_steps"]
    timescale = shape.timescale * traced["dt_steps"]
    return Activation(jnp.where(crosses.any(), time, jnp.inf), timescale, 2 * timescale, jnp.ones_like(timescale))


def euler_steps(fields: Values) -> dict[str, int]:
    """Euler steps until the output must switch on, and of a trial."""
    timescale = round(fields["timescale"] / fields["dt_steps"])
    return {"timescale": timescale, "n_steps": 2 * timescale, "n_trials": 1}


def _whole_euler_steps(fields: Values) -> Mistakes:
    dt_steps, timescale = fields["dt_steps"], fields["timescale"]
    count = timescale / dt_steps
    if not 0.5 < count < MAX_STEPS + 0.5 or not math.isclose(count, round(count), rel_tol=1e-6):
        yield "dt_steps", f"timescale = {timescale:g} divided by a whole number from 1 to {MAX_STEPS}"


def _cost(shape: Shape) -> Cost:
    """2.7 ns an epoch at 4,096 runs a device (3.2 at 8,192, whose arrays leave the cache); one core of a Zen 4."""
    return Cost(4096, 2.7e-9, 16 * 8 * 64)


def _cost_simulated(shape: Shape) -> Cost:
    """3.1 ns an Euler step at 512 and 1,024 runs (3.6 at 128, 3.4 at 8,192, in float32 1.2), half of it the sigmoid."""
    return Cost(1024, 1.4e-9 * shape.n_steps * (2.2 if shape.dtype == "float64" else 1.0), 16 * 8 * 64)


def gradient_unit(fields: Values) -> float:
    """r* / T, from the gradient of T L by r to that of L by s = r / r*."""
    timescale = fields["timescale"]
    return float(theory.optimum(timescale) / timescale)


def critical_lr(fields: Values) -> float:
    """The exact onset of collapse, eta = 3/4, of plain gradient descent."""
    return float(theory.critical_lr(fields["timescale"])) if is_plain(fields) else math.nan


FIELDS = (
    Field("r_start", "mean of the initial r", "r*", default=10.0, gt=-1e6, lt=1e6, inherited=True),
    Field(
        "r_start_sigma",
        "standard deviation of the initial r over seeds",
        "r*",
        default=0.0,
        ge=0,
        lt=1e6,
        inherited=True,
    ),
)
MODEL = Model(
    "canonical",
    FIELDS,
    initial,
    evaluate=evaluate,
    tasks=("delayed_activation",),
    defaults={"dtype": "float64"},
    sizes=lambda fields: {},
    bounded=True,
    unroll=4,
    accuracy_of=accuracy_of,
    activation=activation,
    theory=critical_lr,
    gradient_unit=gradient_unit,
    cost=_cost,
    n_parameters=lambda shape: 1,
    version="1",
    about="dx/dt = x^2 + r in closed form, trained on r",
)
SIMULATED = Model(
    "canonical_simulated",
    (
        Field("confidence", "steepness c of the output sigmoid(c (x - threshold))", default=1.0, symbol="c"),
        Field("dt_steps", "Euler step of the canonical form", "steps", default=0.1, gt=0),
        Field("threshold", "x at which the output is 1/2", default=10.0, ge=-1e6, le=1e6),
        *FIELDS,
    ),
    initial,
    evaluate=simulate,
    step=step,
    readout=readout,
    start=start,
    activation=crossing,
    tasks=("delayed_activation",),
    channels=(0, 1),
    defaults={"dtype": "float64"},
    sizes=euler_steps,
    sizes_from=("timescale", "dt_steps"),
    gradient_unit=gradient_unit,
    cost=_cost_simulated,
    n_parameters=lambda shape: 1,
    together=("timescale", "dt_steps"),
    check=_whole_euler_steps,
    version="1",
    about="dx/dt = x^2 + r in Euler steps with an output of some confidence, trained on r",
)
