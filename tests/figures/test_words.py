"""Fields of words, as the optimizer, are positions on an axis; where that makes no sense, one clear error."""

import numpy as np
import pandas as pd
import pytest
from drawn import labelled, legend, meshes, text, xs, ys
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from planted import band_of

from ghostsweep import UsageError, analysis, figures

RATES = np.logspace(-3, 1, 41)
UPPER = {"sgd": 0.3, "adam": 0.03, "a_long_name": 0.1}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Three optimizers, in the order of UPPER, that learn from 0.005 to their own rate; Adam's fields are its own."""
    scatter = np.exp(0.1 * np.random.default_rng(0).standard_normal(5))
    parts = [
        band_of(0.005 * scatter, rate * scatter, RATES, optimizer=name, beta1=0.9 if name == "adam" else np.nan)
        for name, rate in UPPER.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(run_id=lambda t: t.index.astype(str))


def ticks(fig: Figure) -> list[str]:
    fig.draw_without_rendering()
    return [label.get_text() for label in fig.axes[-1].get_xticklabels()]


@pytest.mark.parametrize("width", [figures.ONE_COLUMN, figures.TWO_COLUMNS])
def test_words_are_positions_of_a_phase_diagram(runs: pd.DataFrame, width: float) -> None:
    fig = figures.phase_diagram(runs, x="optimizer", width=width)
    (ax,) = fig.axes
    assert ticks(fig) == ["sgd", "adam", "a long name"] and ax.get_xlabel() == "optimizer"
    assert ax.get_xscale() == "linear" and ax.get_xlim() == (0.5, 3.5)
    assert [np.asarray(mesh.get_coordinates())[0, :, 0].tolist() for mesh in meshes(ax)] == [
        [0.5, 1.5],
        [1.5, 2.5],
        [2.5, 3.5],
    ]
    measured = labelled(ax, "upper boundary")
    assert list(xs(measured)) == [1, 2, 3] and measured.get_linestyle() == "None"
    np.testing.assert_allclose(ys(measured), list(UPPER.values()), rtol=0.2)
    assert not [c for c in ax.collections if isinstance(c, PolyCollection)]  # nothing lies between words
    assert "beta1" not in text(fig)


def test_words_are_positions_of_critical_rates_and_of_bands(runs: pd.DataFrame) -> None:
    critical, band = analysis.critical_lr(runs), analysis.learnable_band(runs)
    fig = figures.scaling_plot(critical, x="optimizer")
    assert len(fig.axes) == 1 and ticks(fig) == ["a long name", "adam", "sgd"]
    assert legend(fig) == ["upper", "lower"]
    points = labelled(fig.axes[0], "upper: measured")
    np.testing.assert_allclose(np.round(xs(points)), [1, 2, 3])
    np.testing.assert_allclose(ys(points), [UPPER[name] for name in ("a_long_name", "adam", "sgd")], rtol=0.2)
    fig = figures.band_plot(band, x="optimizer")
    assert ticks(fig) == ["a long name", "adam", "sgd"] and not fig.legends
    bars = next(c for c in fig.axes[0].collections if isinstance(c, LineCollection)).get_segments()
    np.testing.assert_allclose([bar[0, 0] for bar in bars], [1, 2, 3])
    np.testing.assert_allclose(
        [bar[1, 1] for bar in bars], [UPPER[n] for n in ("a_long_name", "adam", "sgd")], rtol=0.2
    )


def test_many_words_are_slanted_and_all_there(runs: pd.DataFrame) -> None:
    names = [f"optimizer_{letter}" for letter in "abcdefgh"]
    many = pd.concat([runs[runs["optimizer"] == "sgd"].assign(optimizer=name) for name in names], ignore_index=True)
    many["run_id"] = many.index.astype(str)
    fig = figures.phase_diagram(many, x="optimizer", width=figures.ONE_COLUMN)
    assert ticks(fig) == [name.replace("_", " ") for name in names]
    assert {label.get_rotation() for label in fig.axes[0].get_xticklabels()} == {35}
    few = figures.phase_diagram(runs, x="optimizer")
    assert {label.get_rotation() for label in few.axes[0].get_xticklabels()} == {0}


def test_a_field_of_words_may_be_the_model_or_the_vertical_axis(runs: pd.DataFrame) -> None:
    nets = runs.assign(model=runs["optimizer"].map({"sgd": "one", "adam": "own@12345678", "a_long_name": "two"}))
    fig = figures.phase_diagram(nets.drop(columns=["optimizer", "beta1"]), x="model")
    assert ticks(fig) == ["one", "own", "two"]
    critical = analysis.critical_lr(nets.drop(columns=["optimizer", "beta1"]))
    assert ticks(figures.scaling_plot(critical, x="model")) == ["one", "own", "two"]
    upright = figures.phase_diagram(runs, x="learning_rate", y="optimizer")
    upright.draw_without_rendering()
    assert [label.get_text() for label in upright.axes[0].get_yticklabels()] == ["sgd", "adam", "a long name"]


def test_no_law_is_fitted_along_words(runs: pd.DataFrame) -> None:
    critical = analysis.critical_lr(runs)
    for law in (analysis.fit_power_law, analysis.local_exponent, analysis.compare_scaling):
        with pytest.raises(UsageError, match="optimizer is 'a_long_name' in a cell: a scaling law along it needs pos"):
            law(critical, x="optimizer")
    assert "optimizer" not in analysis.scales(critical)
