"""The closed forms against derivatives, iterations and an independent simulation."""

from pathlib import Path

import numpy as np
import pytest

from ghostsweep import Run, theory, train_one
from ghostsweep.errors import UsageError

TIMESCALES = [10.0, 37.0, 100.0]
GOLDEN = Path(__file__).parents[1] / "golden" / "simulated_loss.T100.npz"


def step(s: np.ndarray, eta: float) -> np.ndarray:
    """One update in s = r/r*, written out here independently of the package."""
    return s - eta * np.where(s > 1, 1.0, np.where(s >= 0.25, -1.0, 0.0)) * np.abs(s) ** -1.5


@pytest.mark.parametrize("timescale", TIMESCALES)
def test_theory_optimum_activates_at_T_and_edge_at_2T(timescale: float) -> None:
    assert theory.activation_time(theory.optimum(timescale)) == pytest.approx(timescale, rel=1e-14)
    assert theory.activation_time(theory.no_learning_edge(timescale)) == pytest.approx(2 * timescale, rel=1e-14)
    assert theory.loss(theory.optimum(timescale), timescale) == pytest.approx(0, abs=1e-14)


def test_theory_no_activation_without_a_passage() -> None:
    assert np.all(np.isinf(theory.activation_time([0.0, -1e-9, -3.0])))


@pytest.mark.parametrize("timescale", TIMESCALES)
def test_theory_gradient_is_derivative_of_T_times_loss(timescale: float) -> None:
    s = np.array([-2.0, 0.1, 0.24, 0.26, 0.5, 0.99, 1.01, 2.0, 10.0])
    r = s * theory.optimum(timescale)
    h = 1e-5 * theory.optimum(timescale)
    numerical = timescale * (theory.loss(r + h, timescale) - theory.loss(r - h, timescale)) / (2 * h)
    np.testing.assert_allclose(theory.gradient(r, timescale), numerical, rtol=1e-7)
    assert np.all(theory.gradient(r[:3], timescale) == 0)


@pytest.mark.parametrize("timescale", TIMESCALES)
def test_theory_branches_at_the_kinks(timescale: float) -> None:
    best, edge = theory.optimum(timescale), theory.no_learning_edge(timescale)
    assert theory.gradient(best, timescale) == -np.pi / (4 * best**1.5)
    assert theory.gradient(np.nextafter(best, np.inf), timescale) > 0
    assert theory.gradient(edge, timescale) == -np.pi / (4 * edge**1.5)
    assert theory.gradient(np.nextafter(edge, 0), timescale) == 0
    assert theory.loss(edge, timescale) == 1


def test_theory_accuracy_is_the_share_of_right_output() -> None:
    timescale = 100.0
    time = np.linspace(0, 2 * timescale, 400_001)
    for s in (-1.0, 0.2, 0.3, 0.8, 1.0, 3.0):
        r = s * theory.optimum(timescale)
        output = time >= theory.activation_time(r)
        right = np.mean(output == (time >= timescale))
        assert theory.accuracy(r, timescale) == pytest.approx(right, abs=1e-5)


def test_theory_critical_rate_value_and_eta() -> None:
    assert theory.critical_lr(100) == pytest.approx(9.13e-10, rel=1e-3)
    timescale = np.array(TIMESCALES)
    at_critical = theory.eta(theory.critical_lr(timescale), timescale)
    np.testing.assert_allclose(at_critical, theory.CRITICAL_ETA, rtol=1e-14)


def test_theory_critical_rate_for_the_gradient_of_L_is_T_times_that_of_TL() -> None:
    timescale = np.array(TIMESCALES)
    ratio = theory.critical_lr(timescale, "L") / theory.critical_lr(timescale)
    np.testing.assert_allclose(ratio, timescale, rtol=1e-14)


def whole_steps(r: float, dt: float, x_star: float) -> int:
    """Steps of x <- x + dt (x^2 + r) from 0 until x reaches x_star."""
    x, steps = 0.0, 0
    while x < x_star:
        x, steps = x + dt * (x * x + r), steps + 1
    return steps


@pytest.mark.parametrize(("dt", "x_star"), [(1.0, 1.0), (1.0, 10.0), (0.1, 10.0)])
def test_theory_thresholds_are_where_the_number_of_steps_changes(dt: float, x_star: float) -> None:
    for steps in (1, 2, 3, 10, 40):
        r = float(theory.activation_threshold(steps, dt, x_star))
        assert whole_steps(r * (1 + 1e-9), dt, x_star) == steps
        assert whole_steps(r * (1 - 1e-9), dt, x_star) == steps + 1


@pytest.mark.parametrize("gradient_of", ["TL", "L"])
def test_theory_in_whole_steps_tends_to_the_closed_forms(gradient_of: theory.GradientOf) -> None:
    """With x_star = 1 / dt the distance to the continuum falls as dt log(T / dt), so to 0.4 for steps of a quarter."""
    exact = [theory.optimum(4.0), theory.no_learning_edge(4.0), theory.critical_lr(4.0, gradient_of)]
    distances = [
        np.abs(np.divide(theory.discrete_theory(4.0, dt, 1 / dt, gradient_of), exact) - 1) for dt in (0.2, 0.05, 0.0125)
    ]
    assert np.all(distances[1] < 0.55 * distances[0]) and np.all(distances[2] < 0.45 * distances[1])
    assert np.all(distances[2] < 0.08)


@pytest.mark.parametrize(("timescale", "x_star"), [(2.0, 10.0), (3.0, 1.0), (5.0, 10.0), (20.0, 3.0)])
def test_theory_in_whole_steps_traps_only_above_its_critical_rate(timescale: float, x_star: float) -> None:
    """The update itself, on the activation time interpolated between its thresholds."""
    optimum, edge, critical = (float(value) for value in theory.discrete_theory(timescale, 1.0, x_star))
    r_of_steps = theory.activation_threshold(np.arange(1, 2 * int(timescale) + 1), 1.0, x_star)
    assert np.all(np.diff(r_of_steps) < 0)
    starts = np.concatenate([[optimum * (1 + 1e-9)], np.geomspace(optimum * 1.001, r_of_steps[0] * 0.999, 2000)])
    index = np.searchsorted(-r_of_steps, -starts)  # between the thresholds of index and index + 1 steps
    slope = 1 / (r_of_steps[index - 1] - r_of_steps[index])
    for factor, traps in ((0.999, False), (1.001, True)):
        assert np.any(starts - factor * critical * slope < edge) == traps
    time_of = np.interp(-edge, -r_of_steps, np.arange(1.0, 2 * timescale + 1))
    assert time_of == 2 * timescale and np.interp(-optimum, -r_of_steps, np.arange(1.0, 2 * timescale + 1)) == timescale


def test_theory_in_whole_steps_steepens_where_the_last_steps_overtake_the_flow() -> None:
    timescale = np.array([2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0])
    for x_star, first in ((10.0, -6.49), (3.0, -5.05), (1.0, -4.17)):
        local = np.diff(np.log(theory.discrete_theory(timescale, 1.0, x_star).critical_lr)) / np.diff(np.log(timescale))
        assert local[0] == pytest.approx(first, abs=0.01)
        assert abs(local[-1] + 5) < 0.4
    for timescale in (1.0, 2.5):
        with pytest.raises(UsageError, match="two whole steps"):
            theory.discrete_theory(timescale, 1.0)


@pytest.mark.parametrize("timescale", TIMESCALES)
def test_theory_eta_is_the_only_parameter_of_the_update(timescale: float) -> None:
    learning_rate, s = 0.3 * theory.critical_lr(timescale), np.array([0.1, 0.3, 0.9, 1.2, 8.0])
    r = s * theory.optimum(timescale)
    updated = (r - learning_rate * theory.gradient(r, timescale)) / theory.optimum(timescale)
    np.testing.assert_allclose(updated, step(s, float(theory.eta(learning_rate, timescale))), rtol=1e-13)


@pytest.mark.parametrize("eta", [0.1, 0.74, 0.76, 2.0])
def test_theory_lowest_reachable_point_is_one_minus_eta(eta: float) -> None:
    s = 1 + np.logspace(-12, 2, 20_000)
    lowest = step(s, eta)
    assert lowest.min() == pytest.approx(1 - eta, abs=1e-10)
    assert np.all(lowest > 1 - eta)
    assert (lowest.min() < 0.25) == (eta > theory.CRITICAL_ETA)


def test_theory_runs_trap_only_above_the_critical_eta() -> None:
    for eta, can_trap in ((0.749, False), (0.78, True)):
        s = np.linspace(9.5, 10.5, 200)
        for _ in range(3000):
            s = step(s, eta)
        assert np.any(s < 0.25) == can_trap


@pytest.mark.parametrize("start", [3.0, 10.0])
def test_theory_epochs_to_descend_counts_the_updates(start: float) -> None:
    eta, s, epochs = 0.01, np.array(start), 0
    while s > 1:
        s, epochs = step(s, eta), epochs + 1
    assert epochs == pytest.approx(theory.epochs_to_descend(start, eta), rel=0.01)
    assert theory.epochs_to_descend(10, 1) == pytest.approx(126.1, abs=0.05)


@pytest.mark.parametrize("confidence", ["0.01", "0.1", "0.5", "1", "2"])
def test_golden_simulated_loss(confidence: str) -> None:
    golden = np.load(GOLDEN)
    simulated = theory.simulated_loss(golden["r"], 100.0, float(confidence))
    np.testing.assert_allclose(simulated, golden[f"loss_a{confidence}"], rtol=1e-9)


@pytest.mark.parametrize("confidence", [0.01, 0.1, 0.5, 1.0, 2.0])
def test_simulated_gradient_is_that_of_the_simulated_loss(confidence: float) -> None:
    best = float(theory.optimum(10.0))
    r = np.array([-1.0, -0.2, 0.1, 0.24, 0.3, 0.7, 1.1, 1.9, 30.0]) * best  # at the last, x is held at 1e6 soon
    h = 1e-6 * best
    around = [theory.simulated_loss(r + sign * h, 10.0, confidence) for sign in (1, -1)]
    exact = theory.simulated_gradient(r, 10.0, confidence)
    np.testing.assert_allclose(exact, (around[0] - around[1]) / (2 * h), rtol=1e-5, atol=1e-8)
    assert exact.shape == r.shape and np.all(exact[:5] != 0)


def test_simulated_gradient_is_the_trained_one() -> None:
    run = Run(model="canonical_simulated", timescale=10.0, confidence=0.5, learning_rate=1e-5, epochs=1)
    for start in (-0.5, 0.2, 0.6, 2.0):
        r = start * float(theory.optimum(10.0))
        trained = train_one(run, initial={"r": np.array(r)}).grad_norm[0]  # of T L
        assert trained == pytest.approx(10.0 * abs(float(theory.simulated_gradient(r, 10.0, 0.5))), rel=1e-9)
