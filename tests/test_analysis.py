"""Outcomes, boundaries and fits against planted truths and an iteration of the canonical map."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression

from ghostsweep import theory
from ghostsweep.analysis import (
    OUTCOMES,
    Criteria,
    critical_lr,
    fit_power_law,
    local_exponent,
    mean_sem,
    outcomes,
    shares,
)
from ghostsweep.analysis.critical import _crossing
from ghostsweep.errors import UsageError

# One run of each outcome: status, recent loss, recent and mean gradient norm, first epoch learned.
EXAMPLES = {
    "plateau": ("done", 0.9, 1.0, 1.0, None),
    "learned": ("done", 0.05, 1.0, 1.0, 40),
    "oscillating": ("done", 0.4, 1.0, 1.0, 40),
    "trapped": ("done", 1.0, 0.0, 1.0, 40),
    "diverged": ("diverged", np.nan, np.nan, np.nan, None),
}


def runs_of(kinds: list[str], **fields: object) -> pd.DataFrame:
    """A runs table with one run of each kind in the list."""
    columns = ["status", "recent_mean_loss", "recent_mean_grad_norm", "mean_grad_norm", "learned_epoch"]
    table = pd.DataFrame([EXAMPLES[kind] for kind in kinds], columns=columns).astype({"learned_epoch": "Int64"})
    return table.assign(learned_loss=0.1, initial_grad_norm=table["mean_grad_norm"], **fields)


def grid(collapsed: np.ndarray, rates: np.ndarray, **fields: object) -> pd.DataFrame:
    """A runs table from booleans (n_seeds, n_rates)."""
    seed, rate = np.indices(collapsed.shape)
    kinds = np.where(collapsed.ravel(), "trapped", "learned").tolist()
    fields = {"model": "rank_one", "timescale": 20.0} | fields
    return runs_of(kinds, seed=seed.ravel(), learning_rate=rates[rate.ravel()], **fields)


def iterate_canonical(timescales: list[float], etas: np.ndarray, n_seeds: int, epochs: int) -> pd.DataFrame:
    """The canonical form trained by a plain loop in r, from 10 r* +- r*/10; rates differ from T to T."""
    starts = 10 + 0.1 * np.random.default_rng(0).standard_normal(n_seeds)
    shape = (len(timescales), len(etas), n_seeds)
    T, eta, s = (np.broadcast_to(a, shape) for a in np.ix_(np.asarray(timescales), etas, starts))
    jitter = 1 + 0.004 * np.sin(T)  # so that the grids do not sit at the same eta
    lr, best = eta * jitter * np.pi**4 / 8 / T**5, (np.pi / (2 * T)) ** 2
    r, grad_sum, learned_epoch = s * best, np.zeros(shape), np.full(shape, -1)
    recent_loss, recent_grad, first_grad = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for epoch in range(epochs):
        alive = r >= best / 4
        root = np.sqrt(np.where(alive, r, 1.0))
        loss = np.where(alive, np.abs(T - np.pi / (2 * root)) / T, 1.0)
        gradient = np.where(alive, np.where(r > best, 1, -1) * np.pi / (4 * root**3), 0.0)
        learned_epoch[(learned_epoch < 0) & (loss < 0.1)] = epoch
        grad_sum += np.abs(gradient)
        first_grad = np.abs(gradient) if epoch == 0 else first_grad
        if epoch >= epochs - 50:
            recent_loss += loss / 50
            recent_grad += np.abs(gradient) / 50
        r = r - lr * gradient
    columns = {
        "timescale": T, "learning_rate": lr, "seed": np.broadcast_to(np.arange(n_seeds), shape),
        "recent_mean_loss": recent_loss, "recent_mean_grad_norm": recent_grad,
        "mean_grad_norm": grad_sum / epochs, "initial_grad_norm": first_grad, "learned_epoch": learned_epoch,
    }  # fmt: skip
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    table["learned_epoch"] = table["learned_epoch"].astype("Int64").replace(-1, pd.NA)
    return table.assign(model="canonical", status="done", learned_loss=0.1, epochs=epochs, confidence=np.nan)


def test_each_outcome_is_recognised() -> None:
    runs = runs_of(list(OUTCOMES))
    judged = outcomes(runs, Criteria(vanished_ratio=0.01))
    assert judged["outcome"].tolist() == list(OUTCOMES)
    assert judged["outcome"].cat.ordered and tuple(judged["outcome"].cat.categories) == OUTCOMES
    assert judged.attrs["criteria"] == {"vanished_ratio": 0.01}
    assert "outcome" not in runs.columns


def test_vanished_gradient_is_relative_and_zero_counts() -> None:
    runs = runs_of(["plateau"] * 5).assign(
        mean_grad_norm=[1.0, 1.0, 0.0, 1e-9, 1e-9],
        recent_mean_grad_norm=[9e-4, 2e-3, 0.0, 1e-9, 1e-9],
        initial_grad_norm=[1.0, 1.0, 0.0, 1e-9, 1.0],  # the last was trapped so early that its mean is tiny
    )
    assert outcomes(runs)["outcome"].tolist() == ["trapped", "plateau", "trapped", "plateau", "trapped"]
    assert outcomes(runs, Criteria(0.0))["outcome"].tolist() == ["plateau", "plateau", "trapped", "plateau", "plateau"]


def test_low_loss_wins_over_a_vanished_gradient_and_threshold_is_the_runs_own() -> None:
    runs = runs_of(["trapped"] * 2).assign(recent_mean_loss=0.2, learned_loss=[0.1, 0.3])
    assert outcomes(runs)["outcome"].tolist() == ["trapped", "learned"]


def test_outcomes_name_what_is_missing() -> None:
    with pytest.raises(UsageError, match="learned_loss, mean_grad_norm"):
        outcomes(runs_of(["learned"]).drop(columns=["mean_grad_norm", "learned_loss"]))
    with pytest.raises(UsageError, match="1 runs have not diverged"):
        outcomes(runs_of(["learned", "plateau"]).assign(recent_mean_loss=[0.1, np.nan]))
    with pytest.raises(UsageError, match="vanished_ratio"):
        Criteria(vanished_ratio=2)


def test_shares_and_ties_go_to_the_worse() -> None:
    runs = runs_of(["learned", "learned", "trapped", "learned", "diverged"], timescale=[1, 1, 1, 2, 2])
    table = shares(outcomes(runs), ["timescale"])
    assert table["share_learned"].tolist() == [2 / 3, 0.5]
    assert table["share_trapped"].tolist() == [1 / 3, 0]
    assert table["share_diverged"].tolist() == [0, 0.5]
    assert table["n_seeds"].tolist() == [3, 2]
    assert table["majority"].tolist() == ["learned", "diverged"]
    assert np.all(table.filter(like="share_").sum(axis=1) == 1)
    with pytest.raises(UsageError, match="outcome"):
        shares(runs, ["timescale"])


def test_mean_sem_skips_nulls_and_knows_no_error_of_one() -> None:
    curves = pd.DataFrame({"epoch": [0, 0, 0, 1, 1, 2], "loss": [1.0, 3.0, np.nan, 4.0, np.nan, np.nan]})
    table = mean_sem(curves, ["epoch"], "loss").set_index("epoch")
    assert table["n"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(table["mean"], [2, 4, np.nan])
    np.testing.assert_allclose(table["sem"], [1, np.nan, np.nan])


RATES = np.logspace(-3, -1, 41)


def test_crossing_is_that_of_the_isotonic_fit() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.5):
        for _ in range(100):
            seen = rng.integers(1, 6, 30)
            collapsed = rng.binomial(seen, np.linspace(0, 0.9, 30))
            rising = isotonic_regression(collapsed / seen, weights=seen).x
            expected = np.flatnonzero(rising > share + 1e-12)
            below, above = _crossing(collapsed, seen, share)
            assert above == (expected[0] if len(expected) else 30)
            assert below == above - 1


def test_planted_thresholds_are_recovered() -> None:
    """Seeds collapse above thresholds of log-normal spread: the median and the minimum are known."""
    thresholds = 0.01 * np.exp(0.3 * np.linspace(-1.5, 1.5, 31))
    runs = grid(thresholds[:, None] < RATES, RATES)
    middle, onset = critical_lr(runs).iloc[0], critical_lr(runs, share=0).iloc[0]
    assert middle["lr_critical"] == pytest.approx(0.01, rel=0.03)
    # The median of 31 uniform draws over a log width of 0.9 has a 95% interval of 0.31; a grid step is 0.115.
    assert middle["ci_low"] < 0.01 < middle["ci_high"]
    assert 0.2 < np.log(middle["ci_high"] / middle["ci_low"]) < 0.31 + 0.115
    assert onset["lr_below"] <= thresholds.min() < onset["lr_above"]
    assert onset["lr_critical"] == pytest.approx(np.sqrt(onset["lr_below"] * onset["lr_above"]))
    assert middle["censored"] == "" and middle["monotone"] and middle["boundary"] == "upper"
    assert (middle["n_rates"], middle["n_seeds"], middle["share"], middle["level"]) == (41, 31, 0.5, 0.95)
    assert (middle["model"], middle["timescale"]) == ("rank_one", 20)


def test_interval_of_the_median_threshold_covers() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(100):
        thresholds = 0.01 * np.exp(0.5 * rng.standard_normal(15))
        row = critical_lr(grid(thresholds[:, None] < RATES, RATES), n_boot=300).iloc[0]
        hits += row["ci_low"] <= 0.01 <= row["ci_high"]
    assert hits >= 88


def test_one_seed_gives_its_bracket() -> None:
    row = critical_lr(grid(RATES[None] > 0.0101, RATES)).iloc[0]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["lr_below"], row["lr_above"]))
    assert row["lr_below"] == pytest.approx(0.01) and row["n_seeds"] == 1
    assert row["lr_critical"] == pytest.approx(np.sqrt(row["lr_below"] * row["lr_above"]))


def test_seeds_that_agree_leave_the_grid_resolution() -> None:
    row = critical_lr(grid(np.tile(RATES > 0.0101, (8, 1)), RATES)).iloc[0]
    width = np.log(row["lr_above"] / row["lr_below"])
    assert 0.9 * width < np.log(row["ci_high"] / row["ci_low"]) < width


def test_censoring_both_ways() -> None:
    none = grid(np.zeros((4, 41), bool), RATES, timescale=10.0)
    every = grid(np.ones((4, 41), bool), RATES, timescale=30.0)
    table = critical_lr(pd.concat([none, every]))
    assert table["censored"].tolist() == ["above", "below"]
    assert table[["lr_critical", "ci_low", "ci_high"]].isna().all(axis=None)
    assert table["lr_below"].iloc[0] == RATES[-1] and np.isnan(table["lr_above"].iloc[0])
    assert table["lr_above"].iloc[1] == RATES[0] and np.isnan(table["lr_below"].iloc[1])


def test_interval_is_open_where_resamples_leave_the_grid() -> None:
    collapsed = np.zeros((5, 41), bool)
    collapsed[:3, 30:] = True
    row = critical_lr(grid(collapsed, RATES)).iloc[0]
    assert row["ci_high"] == np.inf and row["censored"] == "" and RATES[29] <= row["lr_critical"] <= RATES[30]


@pytest.mark.parametrize("n_seeds", [1, 3, 8])
def test_a_window_that_learns_again_is_flagged(n_seeds: int) -> None:
    window = (RATES > 0.005) & ~((RATES > 0.01) & (RATES < 0.03))
    assert not critical_lr(grid(np.tile(window, (n_seeds, 1)), RATES))["monotone"].iloc[0]


@pytest.mark.parametrize("n_seeds", [1, 3, 8, 30])
def test_binomial_noise_is_seldom_flagged(n_seeds: int) -> None:
    """Independent draws about a slowly rising share: the noisiest case that still is monotone."""
    rng, rising = np.random.default_rng(2), np.linspace(0, 1, 41)
    tables = [grid(rng.random((n_seeds, 41)) < rising, RATES, confidence=float(c)) for c in range(60)]
    assert (~critical_lr(pd.concat(tables), n_boot=10)["monotone"]).sum() <= 4


def test_island_of_a_single_seed_is_not_flagged() -> None:
    collapsed = np.tile(RATES > 0.03, (8, 1))
    collapsed[0, 5:15] = True
    assert critical_lr(grid(collapsed, RATES))["monotone"].iloc[0]
    assert critical_lr(grid(collapsed, RATES), share=0)["lr_above"].iloc[0] == RATES[5]


def test_cells_are_the_fields_that_vary_and_grids_may_differ() -> None:
    tables = [
        grid(np.tile(RATES * f > threshold, (4, 1)), RATES * f, confidence=c, dtype="float64")
        for c, threshold, f in ((1.0, 0.02, 1.0), (10.0, 0.005, 0.7), (np.nan, 0.05, 1.5))
    ]
    runs = pd.concat(tables).assign(run_id=lambda t: [f"{i:016x}" for i in range(len(t))])
    table = critical_lr(runs.sample(frac=1, random_state=0))
    assert [*table.columns[:4]] == ["model", "timescale", "confidence", "boundary"]
    table = table.set_index("confidence")
    for confidence, threshold in ((1.0, 0.02), (10.0, 0.005), (np.nan, 0.05)):
        assert table.loc[confidence, "lr_below"] <= threshold < table.loc[confidence, "lr_above"]


def test_missing_runs_are_not_taken_for_learned_ones() -> None:
    thresholds = 0.01 * np.exp(0.2 * np.linspace(-1.5, 1.5, 15))
    runs = grid(thresholds[:, None] < RATES, RATES)
    part = runs[np.random.default_rng(3).random(len(runs)) < 0.5]
    row = critical_lr(part).iloc[0]
    assert row["lr_critical"] == pytest.approx(0.01, rel=0.12)
    assert row["ci_low"] < 0.01 < row["ci_high"]


def test_collapsed_is_a_choice_and_diverged_counts() -> None:
    kinds = ["learned", "oscillating", "diverged"]
    runs = runs_of(kinds, model="rank_one", timescale=20, seed=0, learning_rate=[1.0, 2.0, 3.0])
    assert critical_lr(runs)["lr_above"].iloc[0] == 3
    wider = critical_lr(runs, collapsed=("oscillating", "trapped", "diverged"))
    assert wider["lr_above"].iloc[0] == 2
    with pytest.raises(UsageError, match="lost"):
        critical_lr(runs, collapsed=("lost",))
    with pytest.raises(UsageError, match="share is 1"):
        critical_lr(runs, share=1)
    with pytest.raises(UsageError, match="model, seed"):
        critical_lr(runs.drop(columns=["seed", "model"]))


def test_budget_large_table_under_five_seconds() -> None:
    rates = np.logspace(-4, -1, 1201)
    rng = np.random.default_rng(4)
    tables = [
        grid(rates > 0.01 * np.exp(0.5 * rng.standard_normal((8, 1))), rates, timescale=float(t)) for t in range(1, 26)
    ]
    runs = pd.concat(tables)
    begin = time.perf_counter()
    assert len(critical_lr(runs)) == 25
    assert time.perf_counter() - begin < 5


def planted(exponent: float, sigma: float, n: int, rng: np.random.Generator, **fields: object) -> pd.DataFrame:
    """A critical table y = 3 x^exponent with log-normal scatter sigma, honestly stated."""
    x = np.logspace(1, 2, n)
    y = 3 * x**exponent * np.exp(sigma * rng.standard_normal(n))
    table = pd.DataFrame({"model": "rank_one", "timescale": x, "boundary": "upper", "share": 0.5, "lr_critical": y})
    margin = np.exp(1.96 * sigma)
    return table.assign(ci_low=y / margin, ci_high=y * margin, censored="", level=0.95, **fields)


@pytest.mark.parametrize(("n", "sigma"), [(5, 0.05), (8, 0.2)])
def test_interval_of_the_exponent_covers(n: int, sigma: float) -> None:
    rng = np.random.default_rng(5)
    tables = [planted(-2.5, sigma, n, rng, confidence=float(c)) for c in range(100)]
    fits = fit_power_law(pd.concat(tables), n_boot=500)
    for name, truth in (("exponent", -2.5), ("prefactor", 3)):
        covered = ((fits[f"{name}_low"] <= truth) & (truth <= fits[f"{name}_high"])).mean()
        assert 0.88 <= covered <= 1.0
    # Wide, but not uselessly so: the standard error of the slope is known here.
    error = sigma / np.sqrt(n * np.var(np.log(np.logspace(1, 2, n))))
    assert (fits["exponent_high"] - fits["exponent_low"]).median() < 2 * 3.92 * error


def test_exact_power_law_is_recovered_exactly_and_has_no_theory_for_networks() -> None:
    fit = fit_power_law(planted(-3, 0, 6, np.random.default_rng(0))).iloc[0]
    columns = ["exponent", "exponent_low", "exponent_high"]
    np.testing.assert_allclose(fit[columns].astype(float), -3, rtol=1e-9)
    np.testing.assert_allclose(fit["prefactor"], 3, rtol=1e-9)
    assert fit["r_squared"] == pytest.approx(1) and np.isnan(fit["theory_exponent"])


def test_uncertain_points_widen_the_fit_even_when_they_lie_on_the_line() -> None:
    critical = planted(-3, 0, 6, np.random.default_rng(0))
    y = critical["lr_critical"]
    fit = fit_power_law(critical.assign(ci_low=y / 1.5, ci_high=y * 1.5)).iloc[0]
    error = np.log(1.5) / 1.96 / np.sqrt(6 * np.var(np.log(critical["timescale"])))
    assert fit["exponent_high"] - fit["exponent_low"] > 3 * error


def test_groups_split_by_what_varies_at_the_same_x_only() -> None:
    rng = np.random.default_rng(6)
    tables = [planted(e, 0.01, 6, rng, confidence=c) for e, c in ((-2.0, 1.0), (-4.0, 10.0))]
    critical = pd.concat(tables).assign(epochs=lambda t: (100 * t["timescale"]).astype(int))
    fits = fit_power_law(critical).set_index("confidence")
    assert fits.loc[1.0, "exponent"] == pytest.approx(-2, abs=0.05)
    assert fits.loc[10.0, "exponent"] == pytest.approx(-4, abs=0.05)
    assert len(fits) == 2 and (fits["n_used"] == 6).all() and "epochs" not in fits


def test_open_intervals_use_their_closed_side() -> None:
    critical = planted(-2, 0.1, 8, np.random.default_rng(7))
    closed = fit_power_law(critical).iloc[0]
    opened = fit_power_law(critical.assign(ci_high=[np.inf] * 4 + critical["ci_high"].tolist()[4:])).iloc[0]
    assert opened["exponent_low"] == pytest.approx(closed["exponent_low"], abs=1e-3)
    hopeless = critical.assign(ci_high=np.inf, ci_low=[0.0] + critical["ci_low"].tolist()[1:])
    assert fit_power_law(hopeless)["n_used"].iloc[0] == 7


def test_censored_cells_are_counted_and_too_few_points_say_so() -> None:
    critical = planted(-2, 0.1, 5, np.random.default_rng(8)).assign(censored=["", "", "above", "above", "below"])
    critical.loc[critical["censored"] != "", ["lr_critical", "ci_low", "ci_high"]] = np.nan
    fit = fit_power_law(critical).iloc[0]
    assert np.isnan(fit["exponent"]) and (fit["n_used"], fit["n_censored"]) == (2, 3)
    with pytest.raises(UsageError, match="5 cells 1 have collapsed .* lowest .* and 3 have not"):
        fit_power_law(critical.assign(censored=["", "above", "above", "above", "below"]))
    with pytest.raises(UsageError, match="ci_low"):
        fit_power_law(critical.drop(columns="ci_low"))


def test_local_exponent_between_neighbours() -> None:
    x = np.array([10.0, 20.0, 80.0])
    critical = planted(-1, 0.1, 3, np.random.default_rng(9)).assign(timescale=x, lr_critical=[1.0, 0.25, 0.125])
    critical = critical.assign(ci_low=lambda t: t["lr_critical"] / 1.1, ci_high=lambda t: t["lr_critical"] * 1.1)
    table = local_exponent(critical.iloc[::-1])
    np.testing.assert_allclose(table["timescale"], [np.sqrt(200), 40])
    np.testing.assert_allclose(table["exponent"], [-2, -0.5])
    margin = np.sqrt(2) * np.log(1.1) / np.log([2, 4])
    np.testing.assert_allclose(table["exponent_high"] - table["exponent"], margin)
    np.testing.assert_allclose(table["exponent"] - table["exponent_low"], margin)


@pytest.fixture(scope="module")
def canonical_runs() -> pd.DataFrame:
    etas = np.concatenate([[0.05, 0.2, 0.4], np.geomspace(0.6, 0.9, 60)])
    return iterate_canonical([30.0, 50.0, 80.0, 130.0, 200.0], etas, n_seeds=10, epochs=3000)


def test_theory_onset_of_the_canonical_map(canonical_runs: pd.DataFrame) -> None:
    fit = fit_power_law(critical_lr(canonical_runs, share=0)).iloc[0]
    assert fit["exponent"] == pytest.approx(-5, abs=0.01)
    assert fit["exponent_low"] <= -5 <= fit["exponent_high"]
    assert (fit["theory_exponent"], fit["theory_prefactor"]) == (-5, theory.CRITICAL_PREFACTOR)
    assert fit["n_used"] == 5 and fit["n_censored"] == 0
    assert fit["prefactor"] == pytest.approx(3 * np.pi**4 / 32, rel=0.02)
    assert fit["prefactor_low"] <= 3 * np.pi**4 / 32 <= fit["prefactor_high"]


def test_half_of_the_canonical_runs_trap_just_above_the_onset(canonical_runs: pd.DataFrame) -> None:
    """Between eta = 0.75 and about 0.7725 some starts settle on a cycle instead."""
    critical = critical_lr(canonical_runs)
    eta = theory.eta(critical["lr_critical"], critical["timescale"])
    assert np.all((eta > 0.75) & (eta < 0.7725))
    assert np.all(theory.eta(critical["lr_below"], critical["timescale"]) > 0.745)


def test_canonical_outcomes_against_eta(canonical_runs: pd.DataFrame) -> None:
    judged = outcomes(canonical_runs)
    eta = theory.eta(judged["learning_rate"], judged["timescale"])
    assert (judged.loc[eta < 0.1, "outcome"] == "learned").all()
    assert (judged.loc[(eta > 0.6) & (eta < 0.75), "outcome"] == "oscillating").all()
    assert (judged.loc[eta > 0.78, "outcome"] == "trapped").all()
