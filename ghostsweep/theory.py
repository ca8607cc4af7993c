"""Closed forms of the canonical ghost, dx/dt = x^2 + r with x(0) = 0, trained on delayed activation.

The output is 0 before the blow-up of x and 1 after it; the target is 0 for t < T and 1 for T <= t <= 2T.
Everything depends on s = r / r* and on one number, eta. Source: Dinc et al., "A ghost mechanism",
arXiv:2501.02378; forms marked [derived] follow from the paper's and are checked in tests/test_theory.py.

r is in 1/time^2, T (timescale) in time, learning rates in r per unit gradient of T * L. All arguments
broadcast as numpy arrays unless said otherwise.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

CRITICAL_ETA = 0.75
"""Largest eta at which no run can be trapped: the lowest reachable s, 1 - eta, is the edge 1/4 [derived]."""
CRITICAL_EXPONENT = -5.0
"""Exponent of T in the critical learning rate, for the gradient of T * L [derived]."""
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


def critical_learning_rate(timescale: ArrayLike) -> Array:
    """The rate above which a run can be trapped, lr_c(T) = (3 pi^4 / 32) T^-5 [derived].

    This is the onset, eta = 3/4. Just above it some starts still settle on a cycle around the optimum: the
    trapped share reaches 1 only near eta = 0.7725, so a 50% boundary lies about 1.7% higher.
    """
    return CRITICAL_PREFACTOR * _array(timescale) ** CRITICAL_EXPONENT


def epochs_to_descend(start: ArrayLike, eta: ArrayLike) -> Array:
    """The epochs from s0 = start >= 1 (in units of r*) to the optimum, 0.4 (s0^2.5 - 1) / eta [derived].

    Integral of ds/dn = -eta s^-1.5, so exact for small eta.
    """
    return 0.4 * (_array(start) ** 2.5 - 1.0) / _array(eta)


def learnable_rates(timescale: ArrayLike, start: ArrayLike, epochs: ArrayLike) -> tuple[Array, Array]:
    """The band (low, high) of learning rates that reach the optimum in time and are never trapped [derived].

    low: `epochs_to_descend(start, eta)` equals `epochs`; high: `critical_learning_rate`. The band is empty
    where low >= high. start is s0 >= 1 in units of r*.
    """
    timescale = _array(timescale)
    low = epochs_to_descend(start, eta(1.0, timescale)) / _array(epochs)
    return low, np.broadcast_to(critical_learning_rate(timescale), low.shape).copy()


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
