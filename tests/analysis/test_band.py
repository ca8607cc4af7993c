"""The learnable band against planted ones."""

import numpy as np
import pandas as pd
import pytest
from planted import band_of, table_of

from ghostsweep.analysis import learnable_band
from ghostsweep.errors import UsageError

RATES = np.logspace(-3, -1, 41)


def test_planted_band_is_recovered() -> None:
    spread = np.exp(0.3 * np.linspace(-1.5, 1.5, 31))
    row = learnable_band(band_of(0.003 * spread, 0.03 * spread, RATES)).iloc[0]
    assert row["lr_low"] == pytest.approx(0.003, rel=0.04) and row["lr_high"] == pytest.approx(0.03, rel=0.04)
    assert row["width_decades"] == pytest.approx(1, abs=0.03)
    assert row["width_decades"] == pytest.approx(np.log10(row["lr_high"] / row["lr_low"]))
    assert row["width_low"] < 1 < row["width_high"] and row["width_high"] - row["width_low"] < 0.4
    assert (row["censored"], row["contiguous"], row["n_seeds"], row["n_rates"]) == ("", True, 31, 41)
    assert (row["share"], row["level"], row["vanished_norm"]) == (0.5, 0.95, 1e-6)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_share_moves_the_ends(share: float) -> None:
    """Where half the seeds are slow by the rate a and half are trapped beyond b, the band of a share is known."""
    quantiles = np.exp(0.6 * np.linspace(-1, 1, 41))
    row = learnable_band(band_of(0.003 * quantiles, 0.03 * quantiles, RATES), share).iloc[0]
    assert row["lr_low"] == pytest.approx(0.003 * np.exp(0.6 * (2 * share - 1)), rel=0.05)
    assert row["lr_high"] == pytest.approx(0.03 * np.exp(0.6 * (1 - 2 * share)), rel=0.05)


@pytest.mark.seldom
def test_interval_of_the_width_covers() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(120):
        slow, fast = (middle * np.exp(0.4 * rng.standard_normal(15)) for middle in (0.003, 0.03))
        row = learnable_band(band_of(slow, fast, RATES), n_boot=300).iloc[0]
        hits += row["width_low"] <= 1 <= row["width_high"]
    assert hits >= 107  # 95% of 120 is 114, with a standard deviation of 2.4


@pytest.mark.parametrize(
    ("slow", "fast", "censored", "width"),
    [(0.0, 0.03, "below", np.log10(0.03 / 1e-3)), (0.003, 1.0, "above", np.log10(0.1 / 0.003)), (0.0, 1.0, "both", 2)],
)
def test_a_band_that_reaches_the_end_of_the_grid_is_a_lower_bound(
    slow: float, fast: float, censored: str, width: float
) -> None:
    row = learnable_band(band_of(np.full(6, slow), np.full(6, fast), RATES)).iloc[0]
    assert row["censored"] == censored
    assert row["width_decades"] == pytest.approx(width, abs=0.05)
    assert row["width_low"] <= row["width_decades"] and row["width_high"] == np.inf


def test_a_band_that_might_reach_the_end_has_an_open_interval() -> None:
    slow = np.array([0.0] * 3 + [0.003] * 4)
    row = learnable_band(band_of(slow, np.full(7, 0.03), RATES)).iloc[0]
    assert row["censored"] == "" and row["width_high"] == np.inf


def test_an_empty_band_has_no_width_and_no_ends() -> None:
    empty = band_of(np.full(5, 0.01), np.full(5, 0.01), RATES, rank=1.0)
    one = band_of(np.full(5, 0.005), np.full(5, 0.02), RATES, rank=2.0)
    table = learnable_band(pd.concat([empty, one])).set_index("rank")
    assert table["width_decades"].tolist() == pytest.approx([0, np.log10(4)], abs=0.05)
    assert table.loc[1.0, ["width_low", "width_high"]].tolist() == [0, 0]
    assert table.loc[1.0, ["lr_low", "lr_high"]].isna().all() and table.loc[1.0, "censored"] == ""
    few = np.full((5, 41), "trapped", dtype=object)
    few[:2, 10:20] = "learned"  # two of five seeds: chance may make them half
    row = learnable_band(table_of(few, RATES)).iloc[0]
    assert (row["width_decades"], row["width_low"]) == (0, 0) and 0.4 < row["width_high"] < 0.6


def test_exactly_the_share_is_enough() -> None:
    kinds = np.full((4, 41), "plateau", dtype=object)
    kinds[:2, 10:20] = "learned"
    row = learnable_band(table_of(kinds, RATES)).iloc[0]
    assert row["lr_low"] == pytest.approx(RATES[10]) and row["lr_high"] == pytest.approx(RATES[19])
    kinds[:, 14] = "learned"  # any quantile of the ends between this rate and the outermost will do
    row = learnable_band(table_of(kinds, RATES)).iloc[0]
    assert RATES[9] < row["lr_low"] < RATES[14] < row["lr_high"] < RATES[20]
    assert row["width_low"] < np.log10(RATES[19] / RATES[10]) < row["width_high"]


def test_one_bad_rate_inside_does_not_cut_the_band_and_is_flagged() -> None:
    kinds = np.full((5, 41), "plateau", dtype=object)
    kinds[:, 10:30] = "learned"
    whole = learnable_band(table_of(kinds, RATES)).iloc[0]
    kinds[:3, 20] = "oscillating"
    dented = learnable_band(table_of(kinds, RATES)).iloc[0]
    assert dented[["lr_low", "lr_high"]].tolist() == pytest.approx(whole[["lr_low", "lr_high"]].tolist(), rel=0.02)
    assert whole["contiguous"] and not dented["contiguous"]
    kinds[:3, 20], kinds[:, 35] = "learned", "learned"
    apart = learnable_band(table_of(kinds, RATES)).iloc[0]
    assert apart["lr_high"] == pytest.approx(whole["lr_high"], rel=0.02) and not apart["contiguous"]


def test_a_band_of_one_seed_has_the_width_of_its_grid_and_no_interval() -> None:
    row = learnable_band(band_of(np.array([0.003]), np.array([0.03]), RATES)).iloc[0]
    assert row["width_decades"] == pytest.approx(1, abs=np.log10(RATES[1] / RATES[0]))
    assert np.isnan(row["width_low"]) and np.isnan(row["width_high"])


def test_mistakes_are_named() -> None:
    runs = band_of(np.full(3, 0.003), np.full(3, 0.03), RATES)
    with pytest.raises(UsageError, match="share is 0"):
        learnable_band(runs, 0)
    with pytest.raises(UsageError, match="learnable_band needs the columns seed"):
        learnable_band(runs.drop(columns="seed"))
    with pytest.raises(UsageError, match="learnable_band: the table has no runs"):
        learnable_band(runs.iloc[:0])
