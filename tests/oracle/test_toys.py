"""Theory: losses of the toy models against outputs laid out in time, critical rates against their own gradient."""

import numpy as np
import pytest

from ghostsweep import theory
from ghostsweep.errors import UsageError

TIMES = [(10.0, 1.0), (10.0, 10.0), (3.0, 0.02), (5.0, 2.0), (4.0, 9.0)]


def in_time(kind: str, r: float, delay: float, response: float) -> float:
    """The loss of outputs on a fine grid of times."""
    t = (np.arange(400_000) + 0.5) / 400_000 * (delay + response)
    on = np.sin(2 * np.pi * r * t) < 0 if kind == "limit_cycle" else t > (np.pi / 2 / r**0.5 if r > 0 else np.inf)
    return float(on[t < delay].mean() + (~on[t >= delay]).mean())


def toy_loss(kind: str, r: float | np.ndarray, delay: float, response: float) -> np.ndarray:
    """Loss in closed form of a toy model at r, shaped like r."""
    r = np.asarray(r, np.float64)
    if kind == "slow_point":
        on = np.pi / 2 / np.sqrt(np.where(r > 0, r, np.nan))
        loss = np.where(on < delay, 1 - on / delay, np.minimum((on - delay) / response, 1))
        return np.where(r > 0, loss, 1.0)
    early, right, whole = np.zeros(r.shape), np.zeros(r.shape), delay + response
    period = 1 / np.maximum(np.abs(r), np.finfo(float).tiny)
    for cycle in range(int(np.ceil(np.abs(r).max() * whole)) + 1):
        on = (cycle + np.where(r > 0, 0.5, 0.0)) * period
        off = on + period / 2
        early = early + np.clip(np.minimum(off, delay) - on, 0, None)
        right = right + np.clip(np.minimum(off, whole) - np.maximum(on, delay), 0, None)
    return np.asarray(np.where(r == 0, 1.0, early / delay + 1 - right / response))


def toy_optimum(kind: str, delay: float) -> float:
    """The r whose output switches on as the delay ends."""
    return float(theory.optimum(delay)) if kind == "slow_point" else 1 / (2 * delay)


@pytest.mark.parametrize(("delay", "response"), TIMES)
@pytest.mark.parametrize("kind", theory.TOYS)
def test_losses_are_those_of_outputs_in_time(kind: str, delay: float, response: float) -> None:
    best = toy_optimum(kind, delay)
    for r in best * np.array([0.05, 0.3, 0.9, 1.0, 1.1, 1.5, 1.9]):
        assert toy_loss(kind, r, delay, response) == pytest.approx(in_time(kind, r, delay, response), abs=2e-3)


@pytest.mark.parametrize(("delay", "response"), TIMES[:-1])
@pytest.mark.parametrize("kind", theory.TOYS)
def test_a_step_of_the_critical_rate_just_reaches_the_flat_zone(kind: str, delay: float, response: float) -> None:
    best, rate = toy_optimum(kind, delay), theory.toy_critical_lr(kind, delay, response)
    h = 1e-6 * best
    low, high = toy_loss(kind, best + np.array([1, 2]) * h, delay, response)
    step = rate * (high - low) / h
    for factor, is_flat in ((0.98, False), (1.02, True)):
        there = best - factor * step + np.array([-1e-7, 1e-7]) * best
        loss = toy_loss(kind, there, delay, response)
        assert (loss == 1).all() == is_flat


@pytest.mark.parametrize(
    ("kind", "ratio", "factor", "power"),
    [("slow_point", 1e-5, np.pi**4 / 4, -4), ("slow_point", 1, 3 * np.pi**4 / 32, -4),
     ("limit_cycle", 1e-5, 1 / 4, -2), ("limit_cycle", 1, 1 / 24, -2)],
)  # fmt: skip
def test_limits_are_the_published_constants(kind: str, ratio: float, factor: float, power: int) -> None:
    for delay in (2.0, 7.0):
        wanted = factor * delay**power * (ratio if ratio < 1 else 1)
        assert theory.toy_critical_lr(kind, delay, ratio * delay) == pytest.approx(wanted, rel=1e-4)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="found 'wave'; allowed: 'slow_point' or 'limit_cycle'"):
        theory.toy_critical_lr("wave", 1.0, 1.0)
    with pytest.raises(UsageError, match=r"response: found 2\.0; allowed: > 0 and at most the delay, 1\.0"):
        theory.toy_critical_lr("slow_point", 1.0, 2.0)
