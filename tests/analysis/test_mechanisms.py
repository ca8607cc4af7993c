"""Theory and planted data: the paper's definitions of what was learned and how, and exponents along boundaries."""

import numpy as np
import pandas as pd
import pytest

from ghostsweep import analysis
from ghostsweep.analysis.draws import interval
from ghostsweep.analysis.failing import boundaries, critical_rates, exponent, middle, onset
from ghostsweep.analysis.mechanisms import agreement, mechanisms
from ghostsweep.errors import UsageError

GOOD = {
    "model": "two_bias", "task": "dcdt_onehot", "optimizer": "sgd", "schedule": "constant", "run_id": "a",
    "late_accuracy": 1.0, "late_reliability": 0.99, "good_epoch": 20.0, "low_count": 0.0, "high_count": 900.0,
    "power_index": 1.0, "power_index_flipped": 1.0, "free_amplitude": 0.0, "free_decay": 0.0, "free_cycles": 0.0,
    "free_speed": 0.0,
}  # fmt: skip
CYCLE = {"power_index": 0.1, "free_amplitude": 0.4, "free_decay": 1.0, "free_cycles": 12.0, "free_speed": 0.3}


def rows(*changes: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame([GOOD | change for change in changes])


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "slow_point_manifold"),
        ({"power_index": 0.49}, "limit_cycle"),
        ({"power_index": 0.5}, "slow_point_manifold"),
        ({"late_reliability": 0.8}, "no_solution"),
        ({"late_accuracy": 0.79}, "no_solution"),
        ({"low_count": 90.0}, "no_solution"),
        ({"low_count": 89.0}, "slow_point_manifold"),
        ({"low_count": 500.0, "good_epoch": -1.0}, "slow_point_manifold"),
        ({"power_index": np.nan}, "learned"),
        ({"late_accuracy": np.nan, "power_index": np.nan}, "no_solution"),
    ],
)
def test_outcomes_are_the_papers_definitions(change: dict[str, float], outcome: str) -> None:
    judged = analysis.own_outcomes(rows(change))
    assert judged is not None
    assert list(judged["outcome"]) == [outcome]
    assert list(judged["outcome"].cat.categories) == list(judged.attrs["meanings"])


def test_tables_of_other_tasks_have_no_outcomes_of_their_own() -> None:
    assert analysis.own_outcomes(rows({}).assign(task="dcdt")) is None
    assert analysis.own_outcomes(pd.concat([rows({}), rows({}).assign(task="onehot_cue")])) is None
    assert analysis.own_outcomes(rows({}).drop(columns="late_accuracy")) is None


def test_shares_and_majorities_are_of_these_outcomes() -> None:
    judged = analysis.own_outcomes(rows({}, CYCLE, CYCLE, {"late_accuracy": 0.0}))
    assert judged is not None
    table = analysis.shares(judged.assign(delay_ms=10.0), ["delay_ms"])
    assert table["share_limit_cycle"].item() == 0.5 and table["majority"].item() == "limit_cycle"
    assert table["n_seeds"].item() == 4


def test_own_criterion_tells_what_goes_round_from_what_comes_to_rest() -> None:
    judged = mechanisms(
        rows(
            CYCLE,
            CYCLE | {"power_index": 0.9},  # a slow cycle that the index takes for slow points
            CYCLE | {"free_decay": 0.5},  # spirals in
            CYCLE | {"free_cycles": 1.0},
            {"power_index": 0.2},  # at rest, and the index sees noise
            CYCLE | {"late_accuracy": 0.3},
        )
    )
    cycle, slow = "limit_cycle", "slow_point_manifold"
    assert list(judged["own_mechanism"][:5]) == [cycle, cycle, slow, slow, slow]
    assert list(judged["mechanism"][:5]) == [cycle, slow, cycle, cycle, cycle]
    assert judged["mechanism"].isna().tolist() == [False] * 5 + [True]
    assert judged["settles"].tolist() == [False] * 4 + [True, False]
    table = agreement(judged).set_index(["verdict", "other"])
    assert tuple(table.loc[("mechanism", "own_mechanism"), ["n_runs", "n_differ", "limit_cycle_alone"]]) == (5, 4, 3)
    with pytest.raises(UsageError, match="no run learned"):
        agreement(judged.iloc[5:])


def test_onset_and_middle_find_planted_boundaries() -> None:
    delays = np.arange(0.0, 401, 20)
    assert onset(delays, np.where(delays > 130, 1 - np.exp(-0.02 * (delays - 130)), 0)) == pytest.approx(130, abs=3)
    assert np.isnan(onset(delays, np.full(21, 0.09)))
    assert middle(delays, 1 / (1 + np.exp((delays - 170) / 25))) == pytest.approx(170, abs=1)
    assert np.isnan(middle(delays, np.full(21, 0.9)))


def planted(beta: float, seeds: int, phase: str) -> pd.DataFrame:
    """Outcomes of runs whose boundary lies at T = 100 (rate / 0.1)^(-1 / beta), as many seeds as drawn."""
    rng, made = np.random.default_rng(3), []
    for rate in np.geomspace(0.02, 0.3, 12):
        at = 100 * (rate / 0.1) ** (-1 / beta)
        for delay in np.arange(0.0, 401, 20):
            past = (
                1 - np.exp(-0.05 * max(delay - at, 0)) if phase == "no_solution" else 1 / (1 + np.exp((delay - at) / 8))
            )
            hit = rng.random(seeds) < past
            made += [(rate, delay, s, phase if hit[s] else "limit_cycle") for s in range(seeds)]
    return pd.DataFrame(made, columns=["learning_rate", "delay_ms", "seed", "outcome"])


@pytest.mark.parametrize(("phase", "beta"), [("no_solution", 2.5), ("slow_point_manifold", 4.0)])
def test_exponents_are_found_where_they_were_planted(phase: str, beta: float) -> None:
    found = exponent(planted(beta, 40, phase), phase)
    assert found.beta == pytest.approx(beta, rel=0.12)
    assert found.ci_low < found.beta < found.ci_high
    assert found.n_rates + found.n_censored == 12


def test_rates_without_a_boundary_are_censored_not_left_out_in_silence() -> None:
    runs = planted(2.5, 10, "no_solution")
    runs.loc[runs["learning_rate"] < 0.03, "outcome"] = "limit_cycle"
    table = boundaries(runs, "no_solution")
    gone = table["learning_rate"] < 0.03
    assert (table.loc[gone, "censored"] == "outside").all() and table.loc[gone, "at"].isna().all()
    with pytest.raises(UsageError, match="allowed: one of 'no_solution', 'slow_point_manifold'"):
        boundaries(runs, "limit_cycle")
    with pytest.raises(UsageError, match="boundaries of slow_point_manifold inside"):
        exponent(runs, "slow_point_manifold")


def halves(beta: float, seed: int, n_seeds: int = 10) -> pd.DataFrame:
    """Runs of which half are without a solution along rate = 0.1 (T / 150)^-beta, blurred as in trained tables."""
    rng = np.random.default_rng(seed)
    axes = np.geomspace(0.025, 0.316, 10), np.arange(0.0, 261, 40), np.arange(n_seeds)
    rate, delay, one = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    with np.errstate(divide="ignore"):
        chance = 1 / (1 + np.exp(-0.8 * (np.log(rate / 0.1) + beta * np.log(delay / 150))))
    outcome = np.where(rng.random(len(rate)) < chance, "no_solution", "limit_cycle")
    return pd.DataFrame({"learning_rate": rate, "delay_ms": delay, "seed": one, "outcome": outcome})


def test_critical_rates_of_single_delays_and_where_they_lie_outside() -> None:
    table = critical_rates(halves(2.7, 0, n_seeds=200), "no_solution").set_index("delay_ms")
    assert table.loc[0.0, "censored"] == "outside"
    inside = table[table["censored"] == ""]
    assert {120.0, 160.0, 200.0} <= set(inside.index)
    expected = 0.1 * (inside.index.to_numpy() / 150) ** -2.7
    assert (np.abs(np.log(inside["learning_rate"] / expected)) < 0.25).all()
    assert ((inside["ci_low"] < inside["learning_rate"]) & (inside["learning_rate"] < inside["ci_high"])).all()


def test_an_interval_of_a_mean_is_that_of_student() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=8)
    draws = values[rng.integers(8, size=(200_000, 8))].mean(axis=1)
    error = values.std(ddof=1) / np.sqrt(8)
    low, high = interval(draws, 8)
    assert (high - low) / 2 == pytest.approx(2.3646 * error, rel=0.08)
    assert np.isnan(interval(draws[:0], 8)).all() and np.isnan(interval(draws, 1)).all()
