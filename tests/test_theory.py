"""The closed forms against derivatives, iterations and an independent simulation."""

from pathlib import Path

import numpy as np
import pytest

from ghostsweep import theory

TIMESCALES = [10.0, 37.0, 100.0]
GOLDEN = Path(__file__).parent / "golden" / "simulated_loss.T100.npz"


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
    assert theory.critical_learning_rate(100) == pytest.approx(9.13e-10, rel=1e-3)
    timescale = np.array(TIMESCALES)
    at_critical = theory.eta(theory.critical_learning_rate(timescale), timescale)
    np.testing.assert_allclose(at_critical, theory.CRITICAL_ETA, rtol=1e-14)


@pytest.mark.parametrize("timescale", TIMESCALES)
def test_theory_eta_is_the_only_parameter_of_the_update(timescale: float) -> None:
    learning_rate, s = 0.3 * theory.critical_learning_rate(timescale), np.array([0.1, 0.3, 0.9, 1.2, 8.0])
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


def test_theory_learnable_rates_bound_what_arrives_in_time() -> None:
    timescale, epochs = 50.0, 5000
    low, high = theory.learnable_rates(timescale, 10.0, epochs)
    assert high == theory.critical_learning_rate(timescale)
    for factor, arrives in ((0.98, False), (1.02, True)):
        s = np.array(10.0)
        for _ in range(epochs):
            s = step(s, float(theory.eta(factor * low, timescale)))
        assert (s < 1.02) == arrives


@pytest.mark.parametrize("confidence", ["0.01", "0.1", "0.5", "1", "2"])
def test_golden_simulated_loss(confidence: str) -> None:
    golden = np.load(GOLDEN)
    simulated = theory.simulated_loss(golden["r"], 100.0, float(confidence))
    np.testing.assert_allclose(simulated, golden[f"loss_a{confidence}"], rtol=1e-9)
