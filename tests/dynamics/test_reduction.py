"""The reduction of slow places, against flows that are known in closed form and against simulated passages."""

import numpy as np
import pytest
from planted_ghosts import circle, curved, embedded, of_flow
from scipy.integrate import solve_ivp

from ghostsweep.dynamics import reduction
from ghostsweep.dynamics.programs import Networks
from ghostsweep.dynamics.search import Places, places

Array = np.ndarray
DECADES = np.logspace(-4, -1, 7)


def found(networks: Networks, near: Array) -> tuple[Places, reduction.Reduction]:
    """The minimum of the speed that a search from `near` leads to in each."""
    at = np.arange(len(networks))
    slow = places(networks, at, np.broadcast_to(near, (len(at), networks.dimension)).copy())
    assert (slow.at == at).all() and not slow.fixed.any()
    return slow, reduction.reduce(networks, slow.at, slow.points)


def test_a_saddle_node_on_a_circle_takes_a_turn() -> None:
    """A whole passage is a turn, 2 pi / sqrt((1 + r)^2 - 1), and a is half of cos 0."""
    slow, reduced = found(of_flow(circle, 2, r=DECADES), np.array([1.02, 0.01]))
    turn = 2 * np.pi / np.sqrt((1 + DECADES) ** 2 - 1)
    np.testing.assert_allclose(np.abs(reduced.a), 0.5, rtol=0.15)
    first, second = (np.abs(time / turn - 1) for time in (reduced.passage, reduced.residue()))
    assert (first < DECADES).all() and (second < 4 * DECADES**2).all()
    r, a = reduced.bent
    np.testing.assert_allclose(np.pi / np.sqrt(np.abs(r * a)), turn, rtol=0.1)


@pytest.mark.parametrize("dimension", [2, 5, 20])
def test_the_canonical_form_in_other_coordinates(dimension: int) -> None:
    """pi / sqrt r whatever the coordinates: to a share of r in first order, of r^2 in second order."""
    rng, count = np.random.default_rng(dimension), len(DECADES) - 2
    r = DECADES[:count]
    mix = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0] * rng.uniform(0.7, 1.4, dimension)
    rest = dimension - 1
    one = {
        "mix": mix,
        "back": np.linalg.inv(mix),
        "rates": rng.uniform(0.7, 2.0, rest),
        "p": rng.standard_normal(rest) / rest**0.5,
        "q": rng.standard_normal(rest) / rest**0.5,
    }
    networks = of_flow(embedded, dimension, r=r, **{k: np.repeat(v[None], count, 0) for k, v in one.items()})
    _, reduced = found(networks, np.full(dimension, 1e-3))
    first, second = (np.abs(time * np.sqrt(r) / np.pi - 1) for time in (reduced.passage, reduced.residue()))
    assert (first < 20 * r).all() and (second < 200 * r**2 + 1e-9).all()
    rates = np.sort(np.append(one["rates"], 0))
    np.testing.assert_allclose(np.sort(-reduced.eigenvalues[0].real), rates, atol=0.05)


K, B = 3.0, 0.6


def passage(r: float, point: Array, way: reduction.Reduction, low: float, high: float) -> float:
    """Simulated time from s = low to high, of a state that has come to the slow manifold from before it."""

    def flow(_: float, y: Array) -> list[float]:
        return [r + y[0] ** 2 - B * y[0] * y[1], K * y[0] ** 2 - y[1]]

    def s(y: Array) -> float:
        return float((y - point) @ way.w[0])

    def reaches(_: float, y: Array) -> float:
        return s(y) - high

    def begins(_: float, y: Array) -> float:
        return s(y) - low

    reaches.terminal = True  # type: ignore[attr-defined]
    start = point - 4 * np.sign(way.r[0]) * way.half_width[0] * way.v[0]
    start[1] = K * start[0] ** 2
    done = solve_ivp(flow, (0, 1e4), start, events=[begins, reaches], rtol=1e-10, atol=1e-12)
    return float(done.t_events[1][0] - done.t_events[0][-1])


@pytest.mark.parametrize("r", [1e-4, 1e-3, 1e-2])
def test_a_curved_slow_manifold_needs_the_second_order(r: float) -> None:
    """Of half a bottleneck, where odd terms do not cancel, the arctangent is late and the second order is not."""
    networks = of_flow(curved, 2, r=np.array([r]), b=np.array([B]), k=np.array([K]))
    slow, reduced = found(networks, np.array([1e-3, 0.0]))
    point, forward = slow.points[0], np.sign(reduced.r[0])
    width = float(reduced.half_width[0])
    for low, high in ((-width, 0.0), (0.0, width), (-width, width)):
        ends = np.array([low * forward]), np.array([high * forward])
        measured = passage(r, point, reduced, *(float(end[0]) for end in ends))
        flat = reduction.crossing(reduced.r, reduced.a, *ends)[0] / measured - 1
        bent = reduction.crossing_steps(reduced.g, np.array([1e-6]), *ends, reduced.half_width)[0] * 1e-6 / measured - 1
        assert abs(bent) < 20 * r + 1e-4, (low, high)
        if high * low == 0:
            assert abs(bent) < 0.35 * abs(flat)
    # The parabola: half its bend over a half-width, and what it makes of the cubic term.
    np.testing.assert_allclose(np.linalg.norm(reduced.bend[0]), 2 * K, rtol=0.05 + 10 * r)
    np.testing.assert_allclose(np.abs(reduced.g[0, 3]), B * K, rtol=0.05 + 20 * r)


@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_steps_of_finite_length_are_counted(alpha: float) -> None:
    """x <- x + alpha (r + x^2) over three decades of r: as many steps as predicted, the flow's time being fewer."""
    for r in np.logspace(-5, -2, 4):
        width = np.sqrt(r)
        x, xs = -2 * width, [-2 * width]
        while x < 2 * width:
            x += alpha * (r + x * x)
            xs.append(x)
        ends = np.array([xs[0]]), np.array([xs[-1]])
        g = np.array([[r, 0.0, 1.0, 0.0, 0.0]])
        one = np.ones(1)
        predicted = reduction.crossing_steps(g, alpha * one, *ends, width * one)[0]
        assert predicted == pytest.approx(len(xs) - 1, rel=1e-3 * np.sqrt(r * alpha * 1e3) + 1e-6)
    reduced = reduction.Reduction(np.zeros((1, 1)), one[None], one[None], r * one, one, g, one[None])
    flow, steps = reduced.residue()[0] / alpha, reduced.residue(alpha * one)[0]
    assert flow == pytest.approx(np.pi / np.sqrt(r) / alpha)
    assert steps / flow - 1 == pytest.approx(alpha**2 * r / 3, rel=0.01)


def test_a_place_without_a_bottleneck_has_no_passage() -> None:
    one = np.ones(1)
    reduced = reduction.Reduction(
        np.zeros((1, 1)), one[None], one[None], -one, one, np.array([[-1.0, 0, 1, 0, 0]]), one[None]
    )
    for values in (reduced.half_width, reduced.passage, reduced.residue(), reduction.crossing(-one, one, -one, one)):
        assert np.isnan(values).all()
