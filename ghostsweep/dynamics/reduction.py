"""Slow places of networks of any size, reduced to the canonical form (paper, section 1).

At a minimum y0 of the speed of dy/dt = F(y) that is no zero, the Jacobian J has null vectors, J v = 0 and w J = 0 with
w . v = 1. Along the slow manifold y = y0 + s v + Y(s), with w . Y = 0, the flow is one-dimensional,

    ds/dt = g(s) = w . F(y0 + s v + Y(s)).

First order: Y = 0, and g = r + a s^2 with r = w . F and a = w . D2F(v, v) / 2. Where r a > 0 that is a bottleneck, of
half-width sqrt(r / a): passing it takes pi / sqrt(r a).

Second order: the manifold bends and, where the speed does not vanish, is shifted and tilted,

    Y = y0 + y1 s + y2 s^2 / 2 + y3 s^3 / 6.

That F is along it, Y'(s) g(s) = P F with P = 1 - v w, gives by orders of s, where J z = P (...) and w . z = 0,

    J y2 = -P D2(v, v)                          J y3 = 6 a y2 - P d^3/ds^3 F(y0 + s v + y2 s^2 / 2)
    J y0 = y1 r - P F - P D2(y0, y0) / 2        J y1 = y2 r - P D2(v, y0)

and g to s^4. Its complex zero s* next to i sqrt(r / a) is a fixed point of the network that has left the real axis. The
residue of 1 / g there is the time of a passage through the whole bottleneck, 2 pi i / g'(s*), which is pi / sqrt(r a)
for r + a s^2; the rest of the time depends on where it begins and ends alone. Against simulations and closed forms its
error is of order r^2, that of the first order of order r. In steps of x <- x + alpha F the same point has the
multiplier 1 + alpha g'(s*), so that a passage takes 2 pi i / log(1 + alpha g'(s*)) of them, more than the time of the
flow by a share of alpha^2 r a / 3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ghostsweep.dynamics.programs import Array, Networks

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


class Reduction(NamedTuple):
    """Of P places; times in tau, speeds and eigenvalues in 1/tau.

    eigenvalues (P, D): of the Jacobian, nearest to 0 first. v, w (P, D): its null vectors, |v| = 1, w . v = 1. r, a
    (P,): of first order. g (P, 5): coefficients of the reduced flow of second order by powers of s. bend (P, D): y2.
    """

    eigenvalues: NDArray[np.complex128]
    v: Array
    w: Array
    r: Array
    a: Array
    g: Array
    bend: Array

    @property
    def half_width(self) -> Array:
        """sqrt(r / a); NaN where r a <= 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.r * self.a > 0, np.sqrt(np.abs(self.r / self.a)), np.nan)

    @property
    def passage(self) -> Array:
        """pi / sqrt(r a), tau; NaN where r a <= 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.r * self.a > 0, np.pi / np.sqrt(np.abs(self.r * self.a)), np.nan)

    @property
    def centre(self) -> Array:
        """Where the speed is least along the bent manifold, by s."""
        s, g = np.zeros_like(self.r), self.g
        with np.errstate(all="ignore"):
            for _ in range(8):
                s = s - _value(_slope(g), s) / _value(_slope(_slope(g)), s)
        return s

    @property
    def bent(self) -> tuple[Array, Array]:
        """r and a of second order: g and g'' / 2 at the centre."""
        s = self.centre
        return _value(self.g, s), _value(_slope(_slope(self.g)), s) / 2

    def residue(self, alpha: Array | None = None) -> Array:
        """Time of a whole passage of second order, tau; with the leak alpha (P,) in steps of the map. NaN as above."""
        s, g = 1j * self.half_width, self.g
        with np.errstate(all="ignore"):
            for _ in range(20):
                s = s - _value(g, s) / _value(_slope(g), s)
            rate = _value(_slope(g), s)
            rate = rate if alpha is None else np.log1p(alpha * rate)
            there = np.abs(_value(g, s)) <= 1e-9 * np.abs(self.r)  # else the reduced flow has no such zero
            return np.where(there, np.abs((2j * np.pi / rate).real), np.nan)


def reduce(networks: Networks, at: NDArray[np.intp], points: Array, u: float = 0.0) -> Reduction:
    """Reduce the flow of networks at (P,), at constant input u, at points (P, D)."""
    held = np.array(u)
    _, jacobian = networks.lanes("jacobian", at, held, points)
    left, _, right = np.linalg.svd(jacobian)
    w, v = left[:, :, -1], right[:, -1, :]
    eigenvalues = np.linalg.eigvals(jacobian).astype(np.complex128)
    eigenvalues = np.take_along_axis(eigenvalues, np.abs(eigenvalues).argsort(axis=1), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = w / (w * v).sum(axis=1, keepdims=True)
    r, a, g, bend = networks.lanes("reduce", at, held, points, v, w, _across(jacobian, v, w))
    return Reduction(eigenvalues, v, w, r, a, g, bend)


def _across(jacobian: Array, v: Array, w: Array) -> Array:
    """Inverses (P, D, D): z = inverse x has w . z = 0 and J z = x but for a part along v; NaN where there is none."""
    count, n = v.shape
    bordered = np.zeros((count, n + 1, n + 1))
    bordered[:, :n, :n], bordered[:, :n, n], bordered[:, n, :n] = jacobian, v, w
    there = np.flatnonzero(np.isfinite(bordered).all(axis=(1, 2)))
    there = there[np.linalg.matrix_rank(bordered[there]) == n + 1]
    found = np.full((count, n, n), np.nan)
    found[there] = np.linalg.inv(bordered[there])[:, :n, :n]
    return found


def _value(g: Array, s: NDArray[np.generic]) -> Array:
    """Polynomials (P, n), constant first, at s (P,) or (P, ...)."""
    value = np.zeros_like(s)
    for k in reversed(range(g.shape[1])):
        value = value * s + g[:, k].reshape(-1, *[1] * (s.ndim - 1))
    return value


def _slope(g: Array) -> Array:
    return g[:, 1:] * np.arange(1, g.shape[1])


def crossing(r: Array, a: Array, low: Array, high: Array) -> Array:
    """Time of ds/dt = r + a s^2 from s = low to high, by its arctangent; NaN where r a <= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(r * a > 0, np.sqrt(np.abs(a / r)), np.nan)
        return (np.arctan(high * scale) - np.arctan(low * scale)) / (r * scale)


def crossing_steps(g: Array, alpha: Array, low: Array, high: Array, width: Array) -> Array:
    """Steps of s <- s + alpha g(s) from s = low to high, in second order; NaN where g has a zero between.

    That a step more is a step more, h(s + alpha g) = h(s) + 1, gives the time as the integral of h' = 1/f + f'/(2 f) -
    f''/12 - f'^2/(12 f), f = alpha g: of the flow, what Euler steps are late, and two terms that are small. Nodes are
    even in the arctangent of s / width, in which the integrand of r + a s^2 is constant.
    """
    with np.errstate(all="ignore"):
        ends = np.arctan(np.stack([low, high]) / width)
        angle = ends.mean(axis=0)[:, None] + (ends[1] - ends[0])[:, None] / 2 * _NODES
        s = width[:, None] * np.tan(angle)
        f = alpha[:, None] * g
        value, first, second = _value(f, s), _value(_slope(f), s), _value(_slope(_slope(f)), s)
        rate = (1 + first / 2 - first**2 / 12) / value - second / 12
        steps = (ends[1] - ends[0]) / 2 * (rate * width[:, None] / np.cos(angle) ** 2 * _WEIGHTS).sum(axis=1)
        return np.where((np.sign(value) == np.sign(value[:, :1])).all(axis=1), steps, np.nan)
