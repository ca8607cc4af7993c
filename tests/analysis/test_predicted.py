"""Critical rates predicted by the reduction, held against observed ones: planted truths are found again."""

import numpy as np
import pandas as pd
import pytest
from planted import grid, table_of

from ghostsweep import UsageError, analysis

RATES = np.geomspace(1e-3, 1.0, 37)
TIMESCALES = (5.0, 10.0, 20.0, 40.0)


def reduction_of(rates: np.ndarray, timescale: float, **more: object) -> pd.DataFrame:
    """Snapshots of seeds along training whose lr_critical rises to `rates` (n_seeds,) and falls to half of them."""
    parts = []
    for seed, rate in enumerate(rates):
        lr = rate * np.array([np.nan, 0.1, 0.5, 1.0, 0.8, 0.5])
        loss = [0.9, 0.5, 0.09, 0.05, 0.04, 0.03]
        parts.append(
            pd.DataFrame({"run_id": f"{timescale:g}.{seed}", "epoch": np.arange(6), "loss": loss, "lr_critical": lr})
        )
        parts[-1] = parts[-1].assign(seed=seed, timescale=timescale, model="rank_one")
    table = pd.concat(parts, ignore_index=True)
    table["eta"] = 0.75 * 0.01 / table["lr_critical"]
    known = {"trial": 0, "eta_critical": 0.75, "learning_rate": 0.01, "outcome": "learned", "s": 1.0}
    return table.assign(**(known | {"cosine": 1.0, "norm_ratio": 0.5} | more))


def planted(ratio: float, power: float, own: float, n_seeds: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Thresholds `ratio` (T / 5)^power times the predicted ones; own: the share of their scatter that is predicted."""
    rng = np.random.default_rng(3)
    reduced, runs = [], []
    for T in TIMESCALES:
        seeds, other = rng.normal(0, 0.4, (2, n_seeds))
        mean = 0.1 * (T / 5) ** -1.5
        predicted = mean * np.exp(seeds)
        threshold = ratio * (T / 5) ** power * mean * np.exp(own * seeds + (1 - own) * other)
        reduced.append(reduction_of(predicted, T))
        runs.append(grid(threshold[:, None] < RATES, RATES, timescale=T))
    return pd.concat(reduced, ignore_index=True), pd.concat(runs, ignore_index=True)


def compared(*args: float) -> pd.DataFrame:
    reduced, runs = planted(*args)
    found = analysis.compare_predicted(analysis.predicted(reduced), runs)
    assert found["predictor"].unique().tolist() == list(analysis.PREDICTORS) and len(found) == 4 * 5
    return found


def test_each_predictor_takes_its_own_snapshot_after_learning() -> None:
    (row,) = analysis.predicted(reduction_of(np.array([0.02]), 10.0)).itertuples()
    assert (row.lr_first, row.lr_highest, row.lr_lowest, row.lr_last) == pytest.approx((0.01, 0.02, 0.01, 0.01))
    assert row.growth == pytest.approx(2.0) and row.passed == 1  # where the rate is a tenth of 0.02


def test_planted_ratio_and_powers_are_found_again() -> None:
    found = compared(2.0, -0.4, 1.0)
    highest = found[found["predictor"] == "highest"].set_index("timescale")
    for T in TIMESCALES:
        assert highest.loc[T, "ratio_low"] < 2 * (T / 5) ** -0.4 < highest.loc[T, "ratio_high"]
        assert highest.loc[T, "correlation"] > 0.9
    whole = highest[highest.index.isna()].iloc[0]
    assert whole["predicted_exponent"] == pytest.approx(-1.5, abs=0.15)
    assert whole["observed_exponent_low"] < whole["predicted_exponent"] - 0.4 < whole["observed_exponent_high"]
    assert whole["within_low"] > 0.9
    first = found[(found["predictor"] == "first") & (found["timescale"] == 5)].iloc[0]
    assert first["ratio"] == pytest.approx(2 * highest.loc[5.0, "ratio"])


def test_seeds_that_do_not_tell_are_not_said_to() -> None:
    whole = compared(1.0, 0.0, 0.0).query("predictor == 'highest' and timescale.isna()").iloc[0]
    assert whole["within_low"] < 0 < whole["within_high"] and whole["correlation_low"] > 0.5


def test_thresholds_beyond_the_grid_are_counted_and_left_out() -> None:
    reduced = reduction_of(np.array([0.01, 0.01, 0.01, 0.01]), 10.0)
    kinds = np.array(
        [["learned"] * 3, ["trapped"] * 3, ["learned", "trapped", "trapped"], ["plateau", "learned", "trapped"]]
    )
    runs = table_of(kinds, np.array([0.001, 0.01, 0.1]), timescale=10.0)
    told = analysis.seed_thresholds(runs)
    assert told[["lr_below", "lr_above"]].to_numpy().tolist() == [[0.1, np.inf], [0, 0.001], [0.001, 0.01], [0.01, 0.1]]
    row = analysis.compare_predicted(analysis.predicted(reduced), runs, predictors=("highest",)).iloc[0]
    assert (row["n_seeds"], row["n_censored"]) == (2, 2)
    assert row["observed"] == pytest.approx((0.001 * 0.01 * 0.01 * 0.1) ** 0.25)


def test_the_end_is_that_of_the_last_snapshots_and_none_where_the_output_has_stopped() -> None:
    table = reduction_of(np.array([0.02]), 10.0)
    (row,) = analysis.at_the_end(table, count=2).itertuples()
    assert row.lr_critical == pytest.approx(0.02 * (0.8 * 0.5) ** 0.5) and row.outcome == "learned"
    stopped = table.assign(s=[1.0] * 5 + [np.nan], outcome="trapped")
    (row,) = analysis.at_the_end(stopped).itertuples()
    assert np.isnan(row.eta) and np.isnan(row.lr_critical) and row.outcome == "trapped"


@pytest.mark.parametrize("power", [0.0, 0.7])
def test_the_power_of_the_rate_trained_at_is_found_again(power: float) -> None:
    ends = pd.DataFrame(
        {"learning_rate": np.geomspace(0.01, 0.1, 5), "timescale": 10.0, "seed": 0, "outcome": "learned"}
    )
    ends = ends.assign(lr_critical=3 * ends["learning_rate"] ** power, norm_ratio=0.5)
    lost = ends.assign(outcome="trapped", lr_critical=1.0)
    (row,) = analysis.flattening(pd.concat([ends, lost])).itertuples()
    assert row.exponent == pytest.approx(power, abs=1e-12) and row.n_rates == 5
    assert analysis.highest_kept(pd.concat([ends, lost]))["learning_rate"].tolist() == pytest.approx([0.1])
    assert analysis.flattening(ends.assign(norm_ratio=0.01)).empty


def test_what_cannot_be_told_is_one_clear_line() -> None:
    table = reduction_of(np.array([0.02]), 10.0)
    with pytest.raises(UsageError, match="none of 1 runs has a loss below 0.01"):
        analysis.predicted(table, learned_loss=0.01)
    with pytest.raises(UsageError, match="predicted needs the columns eta"):
        analysis.predicted(table.drop(columns="eta"))
    other = grid(np.zeros((1, 2), bool), np.array([0.1, 0.2]), timescale=99.0)
    with pytest.raises(UsageError, match="no seed and timescale is in both"):
        analysis.compare_predicted(analysis.predicted(table), other)
