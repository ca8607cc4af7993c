"""Intervals cover planted truths about as often as they say; `statistics/coverage.py` has the whole table."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import critical_table, noisy

from ghostsweep import analysis

sys.path.insert(0, str(Path(__file__).parents[1] / "statistics"))
import coverage  # noqa: E402

N = 40
LEAST = 33  # of 40 at 95%: 38 +- 1.4


@pytest.mark.parametrize(("kind", "n_seeds"), [("step", 20), ("logistic", 2), ("skewed", 5), ("skewed", 20)])
def test_both_boundaries_and_the_band_cover(kind: str, n_seeds: int) -> None:
    runs, offset = coverage.tables(kind, n_seeds, 1.0, N)
    assert min(covered(runs, offset)) >= LEAST
    band = analysis.learnable_band(runs)
    truth = coverage.band_width(kind, 1.0)
    assert (band["width_low"].le(truth + 1e-3) & band["width_high"].ge(truth - 1e-3)).sum() >= LEAST


def covered(runs: pd.DataFrame, offset: np.ndarray) -> list[int]:
    """How many intervals of the upper and of the lower boundary have the truth in them."""
    found = analysis.critical_lr(runs).sort_values("confidence").assign(offset=np.repeat(offset, 2))
    counts = []
    for name, sign in (("upper", 1), ("lower", -1)):
        rows = found[found["boundary"] == name]
        truth = 10 ** (coverage.MIDDLE + rows["offset"] + sign / 2)
        counts.append(int(rows["ci_low"].le(truth * 1.0001).mul(rows["ci_high"].ge(truth * 0.9999)).sum()))
    return counts


@pytest.mark.parametrize(
    ("kind", "noise", "n_tables"),
    [
        ("step", 1.0, N),
        *(
            pytest.param(kind, noise, 100, marks=pytest.mark.seldom)
            for kind in coverage.KINDS
            for noise in (0.1, 0.3, 1.0)
        ),
    ],
)
def test_boundaries_cover_under_noise_as_without(kind: str, noise: float, n_tables: int) -> None:
    runs, offset = coverage.tables(kind, 20 if kind == "step" else 5, 1.0, n_tables)
    plain, found = covered(runs, offset), covered(noisy(runs, noise), offset)
    assert min(plain) >= LEAST / N * n_tables
    assert min(np.subtract(found, plain)) >= -0.01 * n_tables


def test_a_quarter_of_the_seeds_is_covered_too() -> None:
    """Of a logistic with WIDTH decades between its quartiles."""
    runs, offset = coverage.tables("logistic", 20, 1.0, N)
    rows = analysis.critical_lr(runs, share=0.25).query("boundary == 'upper'").sort_values("confidence")
    truth = 10 ** (coverage.MIDDLE + offset + 0.5 - coverage.WIDTH / 2)
    assert ((rows["ci_low"] <= truth) & (truth <= rows["ci_high"])).sum() >= LEAST


def test_where_learning_is_too_slow_the_upper_boundary_is_at_most_what_is_said() -> None:
    """The lower boundary lies 0.3 decades above the upper: no run shows where collapse begins."""
    runs, offset = coverage.tables("logistic", 10, -0.3, N)
    rows = analysis.critical_lr(runs).query("boundary == 'upper'").sort_values("confidence")
    truth = 10 ** (coverage.MIDDLE + offset - 0.15)
    assert (rows["censored"] == "epochs").mean() > 0.5
    assert ((rows["ci_low"] <= truth) & (truth <= rows["ci_high"])).sum() >= LEAST


def test_the_onset_covers_what_more_seeds_would_lower() -> None:
    found = {row.case: row for row in coverage.onsets(N)}
    for n_seeds in (2, 5, 20):
        for width in (0.0, 0.25, 0.5):
            assert found[f"onset, spread {width}, {n_seeds} seeds"].covered >= LEAST / N
    assert found["onset, spread 0.25, 1 seeds"].given == 0


@pytest.mark.seldom
def test_exponents_cover_with_scatter_and_with_bounds() -> None:
    for row in coverage.laws(40):
        assert row.covered >= 0.75, row
        if row.case.startswith("law, 8 cells"):
            assert row.covered >= 0.8 and row.width < 1.7, row


@pytest.mark.seldom
def test_a_power_law_is_rejected_where_it_is_wrong_and_seldom_where_it_is_right() -> None:
    rates = dict(coverage.rejections(20, (0.1,)))
    assert rates["power law, scatter 0.1"] <= 0.1
    assert rates["knee, -2.0, scatter 0.1"] > 0.5
    assert min(rates["knee, -4.5, scatter 0.1"], rates["exponential, scatter 0.1"]) > 0.9


def test_the_power_is_that_of_the_cells_at_hand() -> None:
    x = np.geomspace(5, 56, 8)
    sharp, blunt = (
        analysis.compare_scaling(critical_table(x, -1.7 * np.log(x), error)).iloc[0] for error in (0.03, 0.5)
    )
    assert not sharp["rejected"] and sharp["power_knee"] > 0.95
    assert not blunt["rejected"] and blunt["power_knee"] < 0.3


def test_cells_hidden_by_epochs_bend_the_law_as_bounds() -> None:
    """Two cells whose boundary is at most a tenth of what the others' law says."""
    x = np.geomspace(5, 56, 8)
    table = critical_table(x, -1.7 * np.log(x), 0.05)
    plain = analysis.fit_power_law(table[:6]).iloc[0]
    hidden = table.index[6:]
    table.loc[hidden, "ci_high"] = table.loc[hidden, "lr_critical"] / 10
    table.loc[hidden, ["lr_critical", "ci_low"]] = [np.nan, 0.0]
    table.loc[hidden, "censored"] = "epochs"
    bound = analysis.fit_power_law(table).iloc[0]
    assert (bound["n_used"], bound["n_censored"]) == (6, 2)
    assert bound["exponent"] < plain["exponent"] - 0.1


@pytest.mark.seldom
@pytest.mark.parametrize("n_seeds", [100, 400])
def test_intervals_of_many_seeds_are_as_narrow_as_they_must(n_seeds: int) -> None:
    runs, offset = coverage.tables("logistic", n_seeds, 1.0, 60)
    rows = analysis.critical_lr(runs).query("boundary == 'upper'").sort_values("confidence")
    values = [np.log10(rows[column].to_numpy()) for column in ("lr_critical", "ci_low", "ci_high")]
    found = coverage.judged("many", coverage.MIDDLE + offset + 0.5, *values)
    assert found.covered >= 0.85 and 0.7 < found.width < 1.4, found
