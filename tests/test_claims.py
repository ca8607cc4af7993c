"""The claims of the paper, tested both ways: they hold where the truth was planted, and fail where it was not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from drawn import canonical
from planted import band_of, grid, runs_of

from ghostsweep import theory
from ghostsweep.analysis import claims

RATES = np.geomspace(1e-4, 1e1, 21)


def tables(runs: pd.DataFrame, curves: pd.DataFrame | None = None, snapshots: dict | None = None) -> SimpleNamespace:
    return SimpleNamespace(runs=runs, curves=curves, snapshots=lambda _: snapshots)


def verdicts(found: list[claims.Claim]) -> list[bool]:
    assert all(np.isfinite(claim.value) and claim.measured for claim in found)
    return [bool(claim.holds) for claim in found]


def test_a_ghost_has_no_fixed_point() -> None:
    (claim,) = claims.fig1()
    assert claim.holds and claim.value == pytest.approx(1 / 3)


def test_the_canonical_form_supports_all_claims_and_another_one_does_not() -> None:
    etas = np.geomspace(0.06, 5, 60)
    two = canonical([100], np.array([0.08, 0.82]), 1, 3_000)
    one, many = canonical([100], etas, 4, 3_000), canonical([10, 20, 40, 80], etas, 4, 3_000)
    assert verdicts(claims.fig2(two, one, many)) == [True] * 5
    # The same tables with the rates of another law: T^-4 instead of T^-5.
    many.runs["learning_rate"] *= many.runs["timescale"] / 20
    one.runs["learning_rate"] *= 2
    two.runs["learning_rate"] = two.runs["learning_rate"].to_numpy()[::-1]
    assert verdicts(claims.fig2(two, one, many)) == [False, False, True, False, False]


def _ranks(edges: dict[int, float]) -> SimpleNamespace:
    parts = [band_of(np.full(6, 1e-3), edge * np.geomspace(0.8, 1.2, 6), RATES, rank=k) for k, edge in edges.items()]
    return tables(pd.concat(parts))


def _timescales(exponent: float) -> SimpleNamespace:
    spread = np.geomspace(0.9, 1.1, 8)
    rates = np.geomspace(1e-5, 1e1, 121)
    parts = [
        grid(rates > (t**exponent * spread)[:, None], rates, timescale=float(t)) for t in (5, 7, 10, 14, 20, 28, 40)
    ]
    return tables(pd.concat(parts))


def test_networks_with_a_critical_rate_and_with_a_rank_that_helps() -> None:
    narrow = tables(band_of(np.full(6, 1e-3), np.full(6, 2e-2), RATES))
    wide = tables(band_of(np.full(6, 1e-4), np.full(6, 1.0), RATES))
    found = claims.fig6(narrow, wide, _ranks({1: 0.01, 3: 0.05, 10: 0.3, 30: 1.0}), _timescales(-2))
    assert verdicts(found) == [True] * 4
    assert "decades" in found[2].measured and "K = 30" in found[3].measured
    found = claims.fig6(wide, narrow, _ranks({1: 1.0, 3: 0.3, 10: 0.05, 30: 0.01}), _timescales(0.5))
    assert verdicts(found) == [True, False, False, False]


def test_cue_tasks_with_and_without_a_collapse() -> None:
    collapse = tables(band_of(np.full(6, 1e-3), np.full(6, 0.5), RATES))
    assert verdicts(claims.fig7(collapse, collapse, collapse)) == [True, True]
    oscillates = tables(runs_of(["learned"] * 21, learning_rate=RATES, seed=0))
    (first, second) = claims.fig7(collapse, oscillates)
    assert bool(first.holds) and not bool(second.holds)


def _rank_one(scale: float, snapshots: int) -> dict[str, np.ndarray]:
    """A network whose flow has one zero below a slope of 1, three above, grown from snapshot to snapshot."""
    slopes = np.linspace(0.2, scale, snapshots)[:, None]
    return {
        "epochs": np.arange(snapshots) * 10,
        "m": slopes * np.ones((1, 4)),
        "n": np.full((snapshots, 4), 0.25),
        "b": np.zeros((snapshots, 4)),
    }


def _trained(outcome: str, learned: int | None, scale: float) -> SimpleNamespace:
    epochs = np.arange(100)
    loss = np.where(epochs < 50, 1.0, 0.05)
    curve = pd.DataFrame({"run_id": "x", "epoch": epochs, "loss": loss})
    runs = runs_of([outcome], run_id="x", learning_rate=0.01)
    runs["learned_epoch"] = pd.array([learned], dtype="Int64")
    return tables(runs, curve, _rank_one(scale, 10))


def test_no_bifurcation_before_learning_and_one() -> None:
    assert verdicts(claims.fig3(_trained("learned", 50, 0.9), _trained("thrown", 50, 0.9))) == [True] * 5
    found = claims.fig3(_trained("learned", 50, 3.0), _trained("learned", 50, 0.9))
    assert verdicts(found) == [True, False, True, True, False]
    assert "1 to 3 fixed points" in found[1].measured


def _interventions(recovers: bool) -> tuple[SimpleNamespace, SimpleNamespace, SimpleNamespace]:
    first = pd.DataFrame({"run_id": list("abc"), "phase": 1, "parent": None, "confidence": 10.0})
    first = first.assign(max_accuracy=[0.9, 0.8, 0.9], recent_max_accuracy=[0.4, 0.5, 0.9], mean_grad_norm=1.0)
    later = first.merge(pd.DataFrame({"c": [0.1, 10.0]}), how="cross")
    later = later.assign(phase=2, parent=later["run_id"], run_id=later["run_id"] + "2", confidence=later["c"])
    right = 0.95 if recovers else 0.5
    later["max_accuracy"] = later["recent_max_accuracy"] = np.where(later["c"] < 1, right, 0.5)
    scaled = later.assign(readout_l1=later["c"].where(later["c"] < 1))
    reset = later[later["c"] < 1]
    return tuple(tables(pd.concat([first, part])) for part in (later, reset, scaled))  # type: ignore[return-value]


def test_interventions_that_help_and_that_do_not() -> None:
    found = claims.fig8(*_interventions(True))
    assert verdicts(found) == [True] * 4
    assert "2 of 3 trapped" in found[1].measured
    assert verdicts(claims.fig8(*_interventions(False))) == [True, False, False, False]
    # What lower confidence does to the gradient is exact: compare with a difference of the simulated loss.
    r, step = 0.1 * theory.optimum(100.0), 1e-9
    near = theory.simulated_loss(np.array([r - step, r + step]), 100.0, 0.1)
    assert theory.simulated_gradient(r, 100.0, 0.1) == pytest.approx((near[1] - near[0]) / (2 * step), rel=1e-4)
