"""Scaling laws through critical learning rates against planted ones and the canonical map."""

import numpy as np
import pandas as pd
import pytest
from planted import critical_table, iterate_canonical

from ghostsweep import theory
from ghostsweep.analysis import compare_scaling, critical_lr, fit_power_law, local_exponent, scales
from ghostsweep.errors import UsageError


def planted(exponent: float, sigma: float, n: int, rng: np.random.Generator, **fields: object) -> pd.DataFrame:
    """A critical table y = 3 x^exponent with log-normal scatter sigma, honestly stated."""
    x = np.logspace(1, 2, n)
    return critical_table(x, np.log(3) + exponent * np.log(x) + sigma * rng.standard_normal(n), sigma, **fields)


@pytest.mark.parametrize(("n", "sigma"), [(5, 0.05), (8, 0.2)])
def test_interval_of_the_exponent_covers(n: int, sigma: float) -> None:
    rng = np.random.default_rng(5)
    tables = [planted(-2.5, sigma, n, rng, confidence=float(c)) for c in range(100)]
    fits = fit_power_law(pd.concat(tables), n_draws=500)
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
    with pytest.raises(UsageError, match="5 boundaries 1 lie below .* and 3 above"):
        fit_power_law(critical.assign(censored=["", "above", "above", "above", "below"]))
    with pytest.raises(UsageError, match="ci_low"):
        fit_power_law(critical.drop(columns="ci_low"))


def test_local_exponent_between_neighbours() -> None:
    x = np.array([10.0, 20.0, 80.0])
    critical = planted(-1, 0.1, 3, np.random.default_rng(9)).assign(timescale=x, lr_critical=[1.0, 0.25, 0.125])
    critical = critical.assign(ci_low=lambda t: t["lr_critical"] / 1.1, ci_high=lambda t: t["lr_critical"] * 1.1)
    table = local_exponent(critical.iloc[::-1])
    np.testing.assert_allclose(table["at"], [np.sqrt(200), 40])
    np.testing.assert_allclose(table["exponent"], [-2, -0.5])
    margin = np.sqrt(2) * np.log(1.1) / np.log([2, 4])
    np.testing.assert_allclose(table["exponent_high"] - table["exponent"], margin)
    np.testing.assert_allclose(table["exponent"] - table["exponent_low"], margin)


def test_theory_onset_of_the_canonical_map() -> None:
    etas = np.geomspace(0.6, 0.9, 60)
    runs = iterate_canonical([30.0, 50.0, 80.0, 130.0, 200.0], etas, n_seeds=10, epochs=3000)
    fits = fit_power_law(critical_lr(runs, share=0)).set_index("boundary")
    fit = fits.loc["upper"]
    assert np.isnan(fits.loc["lower", "exponent"])  # every rate was fast enough
    assert fit["exponent"] == pytest.approx(-5, abs=0.01)
    assert fit["exponent_low"] <= -5 <= fit["exponent_high"]
    assert (fit["theory_exponent"], fit["theory_prefactor"]) == (-5, theory.CRITICAL_PREFACTOR)
    assert fit["n_used"] == 5 and fit["n_censored"] == 0
    assert fit["prefactor"] == pytest.approx(3 * np.pi**4 / 32, rel=0.02)
    assert fit["prefactor_low"] <= 3 * np.pi**4 / 32 <= fit["prefactor_high"]


@pytest.mark.parametrize("model", ["rank_one", "canonical"])
def test_distance_from_theory_is_in_standard_errors_for_every_model(model: str) -> None:
    rng = np.random.default_rng(10)
    tables = [planted(-4, 0.1, 8, rng, r_start=float(c), model=model) for c in range(40)]
    fits = fit_power_law(pd.concat(tables), n_draws=500)
    error = 0.1 / np.sqrt(8 * np.var(np.log(np.logspace(1, 2, 8))))
    assert error < fits["exponent_se"].median() < 1.6 * error  # on the wide side, as documented
    np.testing.assert_allclose(fits["se_from_L"], (fits["exponent"] + 4) / fits["exponent_se"])
    np.testing.assert_allclose(fits["se_from_TL"], (fits["exponent"] + 5) / fits["exponent_se"])
    assert (fits["se_from_L"].abs() < 2).mean() >= 0.9 and (fits["se_from_TL"] > 2).all()
    assert fits["theory_exponent"].notna().all() == (model == "canonical")
    other = fit_power_law(pd.concat(tables[:2]).assign(boundary="lower"))
    assert other[["se_from_L", "se_from_TL", "theory_exponent", "theory_prefactor"]].isna().all(axis=None)


def test_laws_along_other_fields_and_what_is_not_a_scale() -> None:
    rng = np.random.default_rng(11)
    tables = [planted(-2, 0.05, 5, rng, rank=k, delay_ms=10.0 * k, twice=0.0) for k in (1.0, 2.0, 4.0, 8.0)]
    critical = pd.concat(tables).assign(epochs=lambda t: 100 * t["timescale"], optimizer="sgd")
    critical["lr_critical"] *= critical["rank"]
    critical["ci_low"] *= critical["rank"]
    critical["ci_high"] *= critical["rank"]
    assert scales(critical) == ["timescale", "rank"]  # epochs and delay follow them; twice is not positive
    fits = fit_power_law(critical, x="rank")
    assert len(fits) == 5 and (fits["along"] == "rank").all()
    np.testing.assert_allclose(fits["exponent"], 1, atol=0.15)
    assert fits[["se_from_TL", "se_from_L"]].isna().all(axis=None)
    censored = critical["rank"] > 2
    critical.loc[censored, "censored"] = "above"
    assert scales(critical) == ["timescale"]  # two usable cells along rank are no series
    with pytest.raises(UsageError, match=r"twice is 0.0 in a cell"):
        fit_power_law(critical, x="twice")


def test_a_law_is_looked_for_where_other_cells_lack_its_field() -> None:
    delays, timescales = np.array([10.0, 20.0, 40.0, 80.0]), np.array([5.0, 10.0, 20.0, 40.0])
    with_delay = critical_table(delays, -np.log(delays), 0.05).rename(columns={"timescale": "delay_ms"})
    both = pd.concat([critical_table(timescales, -2 * np.log(timescales), 0.05), with_delay], ignore_index=True)
    assert both["timescale"].isna().sum() == both["delay_ms"].isna().sum() == 4
    assert scales(both[["timescale", *both.columns.drop("timescale")]]) == ["timescale", "delay_ms"]
    assert scales(both[["delay_ms", *both.columns.drop("delay_ms")]]) == ["delay_ms", "timescale"]
    laws = {x: fit_power_law(both, x=x)["exponent"].tolist() for x in ("timescale", "delay_ms")}
    assert laws == {"timescale": [pytest.approx(-2)], "delay_ms": [pytest.approx(-1)]}


LAWS = {
    "power": lambda x: -2.5 * np.log(x),
    "exponential": lambda x: -0.08 * x,
    "broken_power": lambda x: np.where(x < 15, -1.0, -4.0) * np.log(x / 15),
}


@pytest.mark.parametrize("law", LAWS)
def test_planted_laws_are_told_apart(law: str) -> None:
    rng, x = np.random.default_rng(12), np.geomspace(5, 50, 12)
    tables = [
        critical_table(x, LAWS[law](x) + 0.05 * rng.standard_normal(12), 0.05, confidence=float(c)) for c in range(20)
    ]
    compared = compare_scaling(pd.concat(tables))
    assert len(compared) == 60 and (compared["along"] == "timescale").all()
    best = compared[compared["best"]]
    assert len(best) == 20 and (best["law"] == law).sum() >= 18
    assert (best["delta_aicc"] == 0).all() and not (best["decisive"] & (best["law"] != law)).any()
    assert (best["decisive"]).sum() >= 10
    right = compared[compared["law"] == law]
    truth = {
        "power": {"exponent": -2.5},
        "exponential": {"rate": -0.08},
        "broken_power": {"exponent": -1, "exponent_above": -4, "knee": 15},
    }[law]
    for name, value in truth.items():
        assert right[name].median() == pytest.approx(value, rel=0.05)
    absent = {"exponent", "exponent_above", "knee", "rate"} - set(truth)
    assert right[sorted(absent)].isna().all(axis=None)


def test_information_criteria_are_those_of_the_likelihood() -> None:
    """With exact intervals and no scatter beyond them, the likelihood is that of weighted least squares."""
    rng, x = np.random.default_rng(13), np.geomspace(5, 50, 10)
    sigma = np.geomspace(0.02, 0.3, 10)
    y = -2 * np.log(x) + 0.3 * sigma * rng.standard_normal(10)  # less scatter than stated: the intrinsic is 0
    row = compare_scaling(critical_table(x, y, sigma)).set_index("law").loc["power"]
    slope, intercept = np.polyfit(np.log(x), y, 1, w=1 / sigma)
    residual = (y - slope * np.log(x) - intercept) / sigma
    deviance = np.sum(residual**2 + np.log(2 * np.pi * sigma**2))
    assert row["exponent"] == pytest.approx(slope, rel=1e-6)
    assert row["prefactor"] == pytest.approx(np.exp(intercept), rel=1e-6)
    assert row["bic"] == pytest.approx(deviance + 3 * np.log(10), rel=1e-6)
    assert row["aicc"] == pytest.approx(deviance + 2 * 3 + 2 * 3 * 4 / (10 - 4), rel=1e-6)
    assert row["scatter"] < 1e-3


def test_intrinsic_scatter_is_recovered() -> None:
    rng, x = np.random.default_rng(14), np.geomspace(5, 500, 60)
    y = -2 * np.log(x) + 0.3 * rng.standard_normal(60)
    row = compare_scaling(critical_table(x, y, 0.05)).set_index("law").loc["power"]
    assert row["scatter"] == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize(("n", "fitted"), [(4, 0), (5, 2), (6, 2), (7, 3)])
def test_too_few_points_say_so(n: int, fitted: int) -> None:
    critical = planted(-2, 0.05, n, np.random.default_rng(15))
    compared = compare_scaling(pd.concat([critical, critical.iloc[:1].assign(timescale=1e3, censored="above")]))
    assert compared["aicc"].notna().sum() == fitted and compared["best"].sum() == min(fitted, 1)
    assert (compared["n_used"] == n).all() and (compared["n_censored"] == 1).all()
    if fitted < 3:
        assert not compared["decisive"].any()
