"""Closed forms of the canonical ghost, dx/dt = x^2 + r with x(0) = 0, trained on delayed activation.

The output is 0 before the blow-up of x and 1 after it; the target is 0 for t < T and 1 for T <= t <= 2T.
Everything depends on s = r / r* and on one number, eta. Source: Dinc et al., "A ghost mechanism",
arXiv:2501.02378; forms marked [derived] follow from the paper's and are checked in tests/oracle/test_theory.py.

r is in 1/time^2, T (timescale) in time, learning rates in r per unit gradient of T * L (or of L). All arguments
broadcast as numpy arrays unless said otherwise.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ghostsweep.errors import UsageError

Array = NDArray[np.float64]
GradientOf = Literal["TL", "L"]

CRITICAL_ETA = 0.75
"""Largest eta at which no run can be trapped: the lowest reachable s, 1 - eta, is the edge 1/4 [derived]."""
CRITICAL_EXPONENTS = {"TL": -5.0, "L": -4.0}
"""Exponent of T in the critical learning rate, by what the gradient is taken of: T * L or L [derived]."""
CRITICAL_PREFACTOR = 3.0 * np.pi**4 / 32.0
"""Prefactor of the critical learning rate, CRITICAL_ETA * pi^4 / 8 [derived]."""


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def optimum(timescale: ArrayLike) -> Array:
    """The best parameter, r* = pi^2 / (4 T^2), at which the activation time is T."""
    return np.pi**2 / (4.0 * _array(timescale) ** 2)


def no_learning_edge(timescale: ArrayLike) -> Array:
    """The edge of the no-learning zone, r*/4 = pi^2 / (16 T^2), where activation comes at the end, 2T."""
    return optimum(timescale) / 4.0


def activation_time(r: ArrayLike) -> Array:
    """The blow-up time t*(r) = pi / (2 sqrt r), infinite for r <= 0 (two fixed points stop the flow)."""
    r = _array(r)
    return np.where(r > 0, np.pi / (2.0 * np.sqrt(np.where(r > 0, r, 1.0))), np.inf)


def loss(r: ArrayLike, timescale: ArrayLike) -> Array:
    """The loss normalised by T: L(r) = |T - t*(r)| / T for r > r*/4, else 1."""
    r, timescale = _array(r), _array(timescale)
    alive = r > no_learning_edge(timescale)
    time = activation_time(np.where(alive, r, optimum(timescale)))
    return np.where(alive, np.abs(timescale - time) / timescale, 1.0)


def accuracy(r: ArrayLike, timescale: ArrayLike) -> Array:
    """The share of the trial with the right output, 1 - L(r)/2 [derived].

    The output is wrong between t* and T and nowhere else, for |T - t*| = T L of the trial's 2T when t* <= 2T;
    when activation comes later or never, it is wrong during all of the second half, where L = 1 too.
    """
    return 1.0 - loss(r, timescale) / 2.0


def gradient(r: ArrayLike, timescale: ArrayLike) -> Array:
    """The gradient of T * L used by the update r <- r - lr * gradient.

    -pi / (4 r^1.5) for r*/4 <= r <= r*, +pi / (4 r^1.5) for r > r*, exactly 0 below r*/4.
    """
    r, timescale = _array(r), _array(timescale)
    alive = r >= no_learning_edge(timescale)
    size = np.pi / (4.0 * np.where(alive, r, 1.0) ** 1.5)
    return np.where(alive, np.where(r > optimum(timescale), size, -size), 0.0)


def eta(learning_rate: ArrayLike, timescale: ArrayLike) -> Array:
    """The one scale parameter, eta = 8 lr T^5 / pi^4 [derived].

    With s = r/r* the update is s <- s - eta sign(s - 1) s^-1.5.
    """
    return 8.0 * _array(learning_rate) * _array(timescale) ** 5 / np.pi**4


def critical_lr(timescale: ArrayLike, gradient_of: GradientOf = "TL") -> Array:
    """The rate above which a run can be trapped, lr_c(T) = (3 pi^4 / 32) T^-5, or T^-4 for gradients of L [derived].

    This is the onset, eta = 3/4. Just above it some starts still settle on a cycle around the optimum: the
    trapped share reaches 1 only near eta = 0.772, so a 50% boundary lies about 1.7% higher.
    """
    return CRITICAL_PREFACTOR * _array(timescale) ** CRITICAL_EXPONENTS[gradient_of]


def epochs_to_descend(start: ArrayLike, eta: ArrayLike) -> Array:
    """The epochs from s0 = start >= 1 (in units of r*) to the optimum, 0.4 (s0^2.5 - 1) / eta [derived].

    Integral of ds/dn = -eta s^-1.5, so exact for small eta.
    """
    return 0.4 * (_array(start) ** 2.5 - 1.0) / _array(eta)


class DiscreteTheory(NamedTuple):
    """What `discrete_theory` finds; arrays shaped like the timescale, in the units of the closed forms."""

    optimum: Array
    no_learning_edge: Array
    critical_lr: Array


def activation_threshold(steps: ArrayLike, dt: float, x_star: float = 10.0) -> Array:
    """The r at which x <- x + dt (x^2 + r), from x = 0, reaches x_star in exactly `steps` whole steps.

    x after any number of steps rises with r, so r is found by bisection, between 0 (x never leaves 0) and
    x_star / dt (one step is enough). Tends to pi^2 / (4 (steps dt)^2) as dt -> 0 and x_star -> infinity.
    """
    steps = np.asarray(steps)
    low, high = np.zeros(steps.shape), np.full(steps.shape, x_star / dt)
    for _ in range(100):
        middle = (low + high) / 2.0
        x = np.zeros(steps.shape)
        for step in range(int(steps.max())):
            x = np.where(step < steps, np.minimum(x + dt * (x**2 + middle), x_star), x)
        low, high = np.where(x < x_star, middle, low), np.where(x < x_star, high, middle)
    return high


def discrete_theory(
    timescale: ArrayLike, dt: float, x_star: float = 10.0, gradient_of: GradientOf = "TL"
) -> DiscreteTheory:
    """Optimum, no-learning edge and critical learning rate of the ghost in whole steps of dt [derived].

    x <- x + dt (x^2 + r) from 0, activation when x reaches x_star, its time interpolated linearly in r between
    the thresholds r_k at which it is exactly k steps. With T = k dt the optimum is r_k, the edge r_2k, and the
    gradient of T*L just above the optimum is dt / (r_{k-1} - r_k), steeper than anywhere above. So the largest
    rate that never throws r below the edge is

        lr_c = (r_k - r_2k) (r_{k-1} - r_k) / dt        (times T for the gradient of L),

    which tends to `critical_lr` as dt -> 0 and x_star -> infinity. Only T/dt and x_star dt matter, up to units.
    With few steps the local exponent is steeper than -5 where the last steps overtake the flow (x_star dt of
    3 or 10: -5.1 and -6.5 between T = 2 and 3 dt), and shallower where x_star is reached well before the
    blow-up (x_star dt = 1: -4.2).
    dt and x_star: scalars. Raises UsageError unless each timescale is a whole number of steps, at least two.
    """
    timescale = _array(timescale)
    steps = np.round(timescale / dt).astype(int)
    if np.any(steps < 2) or not np.allclose(steps * dt, timescale, rtol=1e-6):
        raise UsageError(f"timescale is {timescale} and dt {dt}: a timescale must be two whole steps of dt or more")
    before, best, edge = activation_threshold(np.stack([steps - 1, steps, 2 * steps]), dt, x_star)
    rate = (best - edge) * (before - best) / dt
    return DiscreteTheory(best, edge, rate if gradient_of == "TL" else rate * timescale)


def simulated_loss(r: ArrayLike, timescale: float, confidence: float, x_star: float = 10.0, dt: float = 0.1) -> Array:
    """The loss with the finite-confidence output sigmoid(a (x - x_star)), by Euler simulation.

    x <- min(x + dt (x^2 + r), 1e6) for n = 2T/dt steps, loss = dt/T sum_i (o_i - [i + 1 > T/dt])^2 with o_i
    read after step i. r has any shape; timescale, x_star, dt (time) and the confidence a are scalars.
    """
    r = _array(r)
    x, total = np.zeros_like(r), np.zeros_like(r)
    for i in range(round(2 * timescale / dt)):
        x = np.minimum(x + dt * (x**2 + r), 1e6)
        output = 0.5 * (1.0 + np.tanh(0.5 * confidence * (x - x_star)))  # the sigmoid, without its overflow
        total += (output - float(i + 1 > round(timescale / dt))) ** 2
    return dt / timescale * total


def simulated_gradient(
    r: ArrayLike, timescale: float, confidence: float, x_star: float = 10.0, dt: float = 0.1
) -> Array:
    """The exact derivative dL/dr of `simulated_loss`, of the same arguments, by forward sensitivity.

    y = dx/dr obeys y <- y + dt (2 x y + 1), and is 0 once x is held at 1e6; the output's slope is a o (1 - o).
    """
    r = _array(r)
    x, y, total = np.zeros_like(r), np.zeros_like(r), np.zeros_like(r)
    for i in range(round(2 * timescale / dt)):
        x, y = x + dt * (x**2 + r), y + dt * (2.0 * x * y + 1.0)
        x, y = np.minimum(x, 1e6), np.where(x < 1e6, y, 0.0)
        output = 0.5 * (1.0 + np.tanh(0.5 * confidence * (x - x_star)))
        error = output - float(i + 1 > round(timescale / dt))
        total += 2.0 * error * confidence * output * (1.0 - output) * y
    return dt / timescale * total


# Toy models of arXiv 2502.17433 [derived]: a slow point, dx/dt = x^2 + r from 0, whose output is on once x has blown
# up; and a limit cycle, x = sin(2 pi r t), whose output is on where x < 0. Loss: mean output over the delay T_d plus
# mean of 1 - output over the response T_r. A step of gradient descent from just right of the optimum reaches the flat
# zone at the critical rate, the distance to it divided by the gradient there.

TOYS = ("slow_point", "limit_cycle")


def toy_critical_lr(kind: str, delay: float, response: float) -> float:
    """The critical learning rate of a toy model, exact for a response that is at most as long as the delay.

    Slow point: (pi^4 / 8) (1 / T_d^2 - 1 / (T_d + T_r)^2) / T_d^2, which is (pi^4 / 4) T_r T_d^-5 for a short response
    and (3 pi^4 / 32) T^-4 where both are T. Limit cycle: T_r / (2 T_d (T_d + T_r)) divided by 2 T_d and, where the
    response is as long as the delay, 4 T_d^2 / T_r more: T_r T_d^-3 / 4, and T^-2 / 24.
    Raises UsageError for a longer response, and for another kind.
    """
    if not 0 < response <= delay:
        raise UsageError(f"response: found {response}; allowed: > 0 and at most the delay, {delay}")
    whole = delay + response
    if _toy(kind) == "slow_point":
        return float(np.pi**4 / 8 * (delay**-2 - whole**-2) / delay**2)
    gradient = 2 * delay + (4 * delay**2 / response if response == delay else 0.0)
    return response / (2 * delay * whole) / gradient


def _toy(kind: str) -> str:
    if kind not in TOYS:
        raise UsageError(f"toy model: found {kind!r}; allowed: {' or '.join(map(repr, TOYS))}")
    return kind
