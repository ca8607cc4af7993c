"""Boundaries of learning against planted truths and an iteration of the canonical map."""

import time

import numpy as np
import pandas as pd
import pytest
from planted import band_of, grid, iterate_canonical, table_of
from scipy.optimize import isotonic_regression

from ghostsweep import analysis, theory
from ghostsweep.analysis.crossing import find
from ghostsweep.errors import UsageError

RATES = np.logspace(-3, -1, 41)


def upper(runs: pd.DataFrame, **options: object) -> pd.DataFrame:
    """The upper boundaries."""
    table = analysis.critical_lr(runs, **options)
    return table[table["boundary"] == "upper"].reset_index(drop=True)


def lower(runs: pd.DataFrame, **options: object) -> pd.DataFrame:
    """The lower boundaries."""
    table = analysis.critical_lr(runs, **options)
    return table[table["boundary"] == "lower"].reset_index(drop=True)


def test_crossing_is_that_of_the_isotonic_fit() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.5):
        for _ in range(100):
            seen = rng.integers(1, 6, 30)
            collapsed = rng.binomial(seen, np.linspace(0, 0.9, 30))
            rising = isotonic_regression(collapsed / seen, weights=seen).x
            expected = np.flatnonzero(rising > share + 1e-12)
            below, above = find(collapsed, seen, share)
            assert above == (expected[0] if len(expected) else 30)
            assert below == above - 1


def test_planted_thresholds_are_recovered() -> None:
    """Seeds collapse above thresholds of log-normal spread: the median and the minimum are known."""
    thresholds = 0.01 * np.exp(0.3 * np.linspace(-1.5, 1.5, 31))
    runs = grid(thresholds[:, None] < RATES, RATES)
    middle, onset = upper(runs).iloc[0], upper(runs, share=0).iloc[0]
    assert middle["lr_critical"] == pytest.approx(0.01, rel=0.03)
    # The median of 31 uniform draws over a log width of 0.9 has a 95% interval of 0.31; a grid step is 0.115.
    assert middle["ci_low"] < 0.01 < middle["ci_high"]
    assert 0.2 < np.log(middle["ci_high"] / middle["ci_low"]) < 0.31 + 0.115
    assert onset["lr_below"] <= thresholds.min() < onset["lr_above"]
    assert onset["ci_low"] < thresholds.min() < onset["ci_high"] == pytest.approx(onset["lr_above"], rel=5e-3)
    assert middle["censored"] == "" and middle["monotone"] and middle["boundary"] == "upper"
    assert (middle["n_rates"], middle["n_seeds"], middle["share"], middle["level"]) == (41, 31, 0.5, 0.95)
    assert (middle["model"], middle["timescale"]) == ("rank_one", 20)


def test_planted_lower_boundary_is_recovered_and_mirrors_the_upper() -> None:
    slow = 0.004 * np.exp(0.3 * np.linspace(-1.5, 1.5, 31))
    runs = band_of(slow, np.full(31, 0.03), RATES)
    middle, onset = lower(runs).iloc[0], lower(runs, share=0).iloc[0]
    assert middle["lr_critical"] == pytest.approx(0.004, rel=0.03)
    assert middle["ci_low"] < 0.004 < middle["ci_high"]
    assert 0.2 < np.log(middle["ci_high"] / middle["ci_low"]) < 0.31 + 0.115
    assert onset["lr_below"] <= slow.max() < onset["lr_above"]  # the highest rate that is too slow for any seed
    assert middle["n_rates"] == np.flatnonzero(RATES > 0.03)[0] + 1  # up to the first that collapses
    assert (middle["method"], onset["method"], middle["counted"]) == ("quantile", "onset", "plateau")
    # The same seeds, seen from the other side: rates lr become 1e-4 / lr, and being too slow becomes collapse.
    other = upper(grid((RATES[None] <= slow[:, None])[:, ::-1], 1e-4 / RATES[::-1])).iloc[0]
    for one, two in (("lr_critical", "lr_critical"), ("ci_low", "ci_high"), ("lr_below", "lr_above")):
        assert middle[one] == pytest.approx(1e-4 / other[two], rel=1e-6)


def test_intervals_of_both_boundaries_cover() -> None:
    rng, hits = np.random.default_rng(1), np.zeros(2)
    for _ in range(120):
        slow, fast = (middle * np.exp(0.4 * rng.standard_normal(15)) for middle in (0.003, 0.03))
        table = analysis.critical_lr(band_of(slow, fast, RATES)).set_index("boundary")
        hits += [
            row["ci_low"] <= truth <= row["ci_high"]
            for row, truth in ((table.loc["lower"], 0.003), (table.loc["upper"], 0.03))
        ]
    assert np.all(hits >= 107)  # 95% of 120 is 114, with a standard deviation of 2.4


def test_a_seed_that_is_thrown_is_not_too_slow_and_a_plateau_beyond_collapse_does_not_count() -> None:
    kinds = np.tile(np.select([RATES <= 0.002, RATES <= 0.02], ["plateau", "learned"], "trapped"), (6, 1))
    plain = analysis.critical_lr(table_of(kinds, RATES))
    kinds[:, RATES > 0.06] = "plateau"  # trapped so far that the way back takes longer than the epochs
    stripes = analysis.critical_lr(table_of(kinds, RATES)).set_index("boundary")
    assert stripes["lr_critical"].tolist() == pytest.approx(plain["lr_critical"].tolist(), rel=0.06)
    assert stripes["monotone"].all()
    nothing = lower(table_of(np.where(RATES <= 0.002, "plateau", "trapped")[None], RATES)).iloc[0]
    assert nothing["lr_below"] <= 0.002 < nothing["lr_above"]  # no rate learns: both boundaries coincide


def test_the_estimate_lies_where_the_shares_cross() -> None:
    separated = np.tile(RATES > 0.0101, (8, 1))
    thresholds = 0.01 * np.exp(0.3 * np.linspace(-1.5, 1.5, 8))
    smooth = thresholds[:, None] < RATES
    partial = smooth & (np.arange(8) < 6)[:, None]  # two seeds learn at any rate: the share ends at 3/4
    found = [upper(grid(collapsed, RATES)).iloc[0] for collapsed in (separated, smooth)]
    for row in found:
        assert row["method"] == "quantile" and row["lr_below"] * 0.999 < row["lr_critical"] < row["lr_above"] * 1.001
    row = upper(grid(partial, RATES)).iloc[0]
    assert row["ci_low"] < 0.01 * np.exp(0.1) < row["ci_high"] and row["lr_above"] < row["ci_high"]
    assert found[0]["lr_critical"] == pytest.approx(np.sqrt(found[0]["lr_below"] * found[0]["lr_above"]), rel=1e-3)
    assert upper(grid(np.zeros((8, 41), bool), RATES))["method"].tolist() == [""]


def test_the_estimate_is_sharper_than_the_count_and_unbiased() -> None:
    """Independent draws about a logistic share: its middle is known."""
    rng = np.random.default_rng(3)
    p = 1 / (1 + np.exp(-(np.log(RATES) - np.log(0.01)) / 0.5))
    table = upper(pd.concat([grid(rng.random((10, 41)) < p, RATES, confidence=float(c)) for c in range(40)]))
    errors = np.log(table["lr_critical"] / 0.01)
    counted = np.log(np.sqrt(table["lr_below"] * table["lr_above"]) / 0.01)
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))
    assert errors.std() < 0.9 * counted.std()


def test_a_shoulder_below_the_transition_does_not_pull_the_estimate() -> None:
    """As dmts does: some seeds collapse over a decade, then all at once."""
    shares = np.array([0, 0, 0.15, 0.1, 0.05, 0.1, 0.3, 0.2, 0.85, 1, 1])
    rates = np.logspace(-1.5, 0.6, 11)
    for collapsed in (
        np.arange(20)[:, None] < 20 * shares,
        (np.arange(20)[:, None] + 3 * np.arange(11)) % 20 < 20 * shares,
    ):
        row = upper(grid(collapsed, rates)).iloc[0]
        assert row["monotone"] and rates[7] <= row["lr_critical"] <= rates[8]


def test_runs_that_had_no_time_to_collapse_say_nothing_of_it() -> None:
    """Seeds collapse above 0.01; below 0.005 none leaves the plateau; then too slow up to and beyond the collapse."""

    def judged(slow: float) -> pd.Series:
        kinds = np.select([slow >= RATES, RATES <= 0.0101], ["plateau", "learned"], "trapped")
        return upper(table_of(np.tile(kinds, (8, 1)), RATES)).iloc[0]

    timely, late = judged(0.005), judged(0.02)
    assert timely["censored"] == "" and timely["ci_low"] < 0.0101 < timely["ci_high"]
    assert late["censored"] == "epochs" and np.isnan(late["lr_critical"]) and np.isnan(late["lr_below"])
    assert late["ci_low"] == 0 and late["ci_high"] == pytest.approx(RATES[RATES > 0.02][0])


def test_few_runs_that_had_the_time_leave_the_interval_open() -> None:
    """Of eight seeds one alone had the time at rates below those at which all are trapped."""
    kinds = np.tile(np.where(RATES <= 0.0101, "plateau", "trapped"), (8, 1)).astype(object)
    kinds[0, (RATES > 0.005) & (RATES <= 0.0101)] = "learned"
    row = upper(table_of(kinds, RATES)).iloc[0]
    assert row["ci_low"] == 0 and row["ci_high"] > 0.0101


def test_an_island_far_away_does_not_pull_the_estimate() -> None:
    thresholds = 0.01 * np.exp(0.3 * np.linspace(-1.5, 1.5, 8))
    collapsed = thresholds[:, None] < RATES
    alone = upper(grid(collapsed, RATES)).iloc[0]
    collapsed[2, -3:] = False
    assert upper(grid(collapsed, RATES)).iloc[0]["lr_critical"] == pytest.approx(alone["lr_critical"], rel=1e-3)


def test_one_seed_gives_its_bracket_and_no_interval() -> None:
    row = upper(grid(RATES[None] > 0.0101, RATES)).iloc[0]
    assert np.isnan(row["ci_low"]) and np.isnan(row["ci_high"]) and row["method"] == "bracket"
    assert row["lr_below"] == pytest.approx(0.01) and row["n_seeds"] == 1
    assert row["lr_critical"] == pytest.approx(np.sqrt(row["lr_below"] * row["lr_above"]))


def test_seeds_that_agree_leave_the_grid_resolution() -> None:
    row = upper(grid(np.tile(RATES > 0.0101, (8, 1)), RATES)).iloc[0]
    width = np.log(row["lr_above"] / row["lr_below"])
    assert 0.9 * width < np.log(row["ci_high"] / row["ci_low"]) < width


def test_censoring_both_ways() -> None:
    none = grid(np.zeros((6, 41), bool), RATES, timescale=10.0)
    every = grid(np.ones((6, 41), bool), RATES, timescale=30.0)
    table = upper(pd.concat([none, every]))
    assert table["censored"].tolist() == ["above", "below"]
    assert table["lr_critical"].isna().all()
    assert table[["ci_low", "ci_high"]].to_numpy() == pytest.approx(np.array([[RATES[-1], np.inf], [0, RATES[0]]]))
    assert table["lr_below"].iloc[0] == RATES[-1] and np.isnan(table["lr_above"].iloc[0])
    assert table["lr_above"].iloc[1] == RATES[0] and np.isnan(table["lr_below"].iloc[1])


def test_interval_is_open_where_resamples_leave_the_grid() -> None:
    collapsed = np.zeros((5, 41), bool)
    collapsed[:3, 30:] = True
    row = upper(grid(collapsed, RATES)).iloc[0]
    assert row["ci_high"] == np.inf and row["censored"] == "" and RATES[29] <= row["lr_critical"] <= RATES[-1]


@pytest.mark.parametrize("n_seeds", [1, 3, 8])
def test_a_window_that_learns_again_is_flagged(n_seeds: int) -> None:
    window = (RATES > 0.005) & ~((RATES > 0.01) & (RATES < 0.03))
    assert not upper(grid(np.tile(window, (n_seeds, 1)), RATES))["monotone"].iloc[0]


@pytest.mark.parametrize("n_seeds", [1, 3, 8, 30])
def test_binomial_noise_is_seldom_flagged(n_seeds: int) -> None:
    """Independent draws about a slowly rising share: the noisiest case that still is monotone."""
    rng, rising = np.random.default_rng(2), np.linspace(0, 1, 41)
    tables = [grid(rng.random((n_seeds, 41)) < rising, RATES, confidence=float(c)) for c in range(60)]
    assert (~upper(pd.concat(tables))["monotone"]).sum() <= 4


def test_island_of_a_single_seed_is_not_flagged() -> None:
    collapsed = np.tile(RATES > 0.03, (8, 1))
    collapsed[0, 5:15] = True
    assert upper(grid(collapsed, RATES))["monotone"].iloc[0]
    assert upper(grid(collapsed, RATES), share=0)["lr_above"].iloc[0] == RATES[5]


def test_cells_are_the_fields_that_vary_and_grids_may_differ() -> None:
    tables = [
        grid(np.tile(RATES * f > threshold, (4, 1)), RATES * f, confidence=c, dtype="float64")
        for c, threshold, f in ((1.0, 0.02, 1.0), (10.0, 0.005, 0.7), (np.nan, 0.05, 1.5))
    ]
    runs = pd.concat(tables).assign(run_id=lambda t: [f"{i:016x}" for i in range(len(t))])
    table = upper(runs.sample(frac=1, random_state=0))
    assert [*table.columns[:4]] == ["model", "timescale", "confidence", "boundary"]
    table = table.set_index("confidence")
    for confidence, threshold in ((1.0, 0.02), (10.0, 0.005), (np.nan, 0.05)):
        assert table.loc[confidence, "lr_below"] <= threshold < table.loc[confidence, "lr_above"]


def test_runs_that_go_on_from_others_are_pooled_by_seed_and_never_overwritten() -> None:
    runs = grid(np.tile(RATES > 0.01, (4, 1)), RATES)
    children = runs.assign(parent=[f"{i:016x}" for i in range(len(runs))])
    assert len(upper(children)) == 1
    with pytest.raises(
        UsageError, match="critical_lr: several runs have the same seed and learning rate at model = ran"
    ):
        upper(pd.concat([children, children]))


def test_missing_runs_are_not_taken_for_learned_ones() -> None:
    thresholds = 0.01 * np.exp(0.2 * np.linspace(-1.5, 1.5, 15))
    runs = grid(thresholds[:, None] < RATES, RATES)
    part = runs[np.random.default_rng(3).random(len(runs)) < 0.5]
    row = upper(part).iloc[0]
    assert row["lr_critical"] == pytest.approx(0.01, rel=0.12)
    assert row["ci_low"] < 0.01 < row["ci_high"]


def test_what_counts_is_a_choice() -> None:
    kinds = np.array([["plateau", "learned", "oscillating", "trapped_at_start", "diverged"]])
    runs = table_of(kinds, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert upper(runs)["lr_above"].iloc[0] == 4
    assert upper(runs, collapsed=("diverged",))["lr_above"].iloc[0] == 5
    wider = upper(runs, collapsed=("oscillating", "trapped", "trapped_at_start", "diverged")).iloc[0]
    assert (wider["lr_above"], wider["counted"]) == (3, "oscillating trapped trapped_at_start diverged")
    assert lower(runs)["lr_below"].iloc[0] == 1
    assert lower(runs, too_slow=("plateau", "learned"))["lr_below"].iloc[0] == 2
    for option in ("collapsed", "too_slow"):
        with pytest.raises(UsageError, match=f"{option} names lost"):
            upper(runs, **{option: ("lost",)})
    with pytest.raises(UsageError, match="share is 1"):
        upper(runs, share=1)
    with pytest.raises(UsageError, match="model, seed"):
        upper(runs.drop(columns=["seed", "model"]))
    with pytest.raises(UsageError, match="no runs"):
        upper(runs.iloc[:0])


def test_a_judged_table_gives_the_same_cells_and_the_criteria_are_columns() -> None:
    runs = grid(np.tile(RATES > 0.01, (4, 1)), RATES)
    criteria = analysis.Criteria(vanished_norm=1e-9)
    table = analysis.critical_lr(analysis.outcomes(runs), criteria=criteria)
    assert len(table) == 2 and (table["vanished_norm"] == 1e-9).all()
    assert table.attrs["criteria"]["vanished_norm"] == 1e-9


def test_budget_large_table_under_five_seconds_of_cpu() -> None:
    rates = np.logspace(-4, -1, 1201)
    rng = np.random.default_rng(4)
    tables = [
        grid(rates > 0.01 * np.exp(0.5 * rng.standard_normal((8, 1))), rates, timescale=float(t)) for t in range(1, 26)
    ]
    runs = pd.concat(tables)
    begin = time.process_time()
    assert len(analysis.critical_lr(runs)) == 50
    assert time.process_time() - begin < 5


def test_half_of_the_canonical_runs_trap_just_above_the_onset() -> None:
    """Between eta = 0.75 and about 0.7725 some starts settle on a cycle instead."""
    etas = np.concatenate([[0.05, 0.2, 0.4], np.geomspace(0.6, 0.9, 60)])
    runs = iterate_canonical([30.0, 50.0, 80.0, 130.0, 200.0], etas, n_seeds=10, epochs=3000)
    critical = upper(runs)
    eta = theory.eta(critical["lr_critical"], critical["timescale"])
    assert np.all((eta > 0.75) & (eta < 0.7725))
    assert np.all(theory.eta(critical["lr_below"], critical["timescale"]) > 0.745)
