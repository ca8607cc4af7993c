"""The paper's figures, tested by the data handed to the artists."""

from types import SimpleNamespace

import numpy as np
import pytest
from drawn import canonical, labelled, network, outline, text, xs, ys

from ghostsweep import figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures.fig6a import EPOCHS

Pair = tuple[SimpleNamespace, SimpleNamespace]


@pytest.fixture(scope="module")
def fig2_tables() -> Pair:
    to_eta = float(theory.eta(1.0, 100.0))
    trajectories = canonical([100], np.array([1e-10, 1e-9]) * to_eta, 1, 3_000, record=tuple(range(3_000)))
    rates = np.geomspace(1e-11, 1e-8, 20) * to_eta
    return trajectories, canonical([100], rates, 3, 10_001, record=(1_000, 2_000, 3_000, 5_000, 10_000))


def test_fig2_landscape_is_the_closed_form_and_two_simulations(fig2_tables: Pair) -> None:
    b, r = figures.fig2(*fig2_tables).axes[0], np.linspace(-1, 2, 100) * theory.optimum(100.0)
    np.testing.assert_allclose(ys(labelled(b, "closed form")), theory.loss(r, 100.0))
    for a in (0.1, 1.0):
        np.testing.assert_allclose(ys(labelled(b, f"a = {a:g}")), theory.simulated_loss(r, 100.0, a))


def test_fig2_trajectories_learn_below_and_collapse_above(fig2_tables: Pair) -> None:
    _, loss, position, _ = figures.fig2(*fig2_tables, width=figures.ONE_COLUMN).axes
    learned, thrown = loss.get_lines()
    assert (learned.get_color(), thrown.get_color()) == ("#009E73", "#D55E00")
    assert [str(t.get_label()).split(", ")[1] for t in (learned, thrown)] == ["learned", "thrown"]
    np.testing.assert_allclose([ys(learned)[-1], ys(thrown)[-1]], [0, 1], atol=0.1)
    assert ys(position.get_lines()[0])[0] == pytest.approx(10 * float(theory.optimum(100.0)))
    levels = [ys(line)[0] for line in position.get_lines()[2:]]
    np.testing.assert_allclose(levels, [theory.optimum(100.0), theory.no_learning_edge(100.0)])


def test_fig2_loss_against_rate_is_the_mean_over_seeds(fig2_tables: Pair) -> None:
    trajectories, sweep = fig2_tables
    d = figures.fig2(trajectories, sweep).axes[3]
    merged = sweep.curves.merge(sweep.runs[["run_id", "learning_rate"]], on="run_id")
    for epoch, label in ((1_000, "1k"), (10_000, "10k")):
        mean = merged[merged["epoch"] == epoch].groupby("learning_rate")["loss"].mean()
        np.testing.assert_allclose(ys(labelled(d, label)), mean)
    assert xs(labelled(d, "critical"))[0] == pytest.approx(9.132e-10, rel=1e-3)
    with pytest.raises(UsageError, match="one value of timescale"):
        figures.fig2(SimpleNamespace(runs=sweep.runs.assign(timescale=range(60)), curves=sweep.curves), sweep)
    with pytest.raises(UsageError, match="at most 6 trajectories, found 60"):
        figures.fig2(sweep, sweep)


def test_fig6a_has_a_line_per_epoch_and_a_panel_per_network() -> None:
    tables = network(np.geomspace(1e-4, 1e-1, 12), 5, EPOCHS)
    fig = figures.fig6a(tables, tables)
    assert [ax.get_title() for ax in fig.axes] == ["rank one", "full rank"]
    merged = tables.curves.merge(tables.runs[["run_id", "learning_rate"]], on="run_id")
    at = merged[merged["epoch"] == 50_000].groupby("learning_rate")["loss"]
    np.testing.assert_allclose(ys(labelled(fig.axes[0], "50k")), at.mean())
    band = outline(fig.axes[0].collections[EPOCHS.index(50_000)])[:, 1]
    assert set(np.round(at.mean() + at.sem(), 12)) <= set(np.round(band, 12))
    assert "not recorded" not in text(fig)


def test_fig6a_draws_what_is_recorded_and_refuses_to_pool_other_fields() -> None:
    tables = network(np.geomspace(1e-4, 1e-1, 12), 5, (10_000, 20_000))
    tables.curves.loc[0, "loss"] = np.nan
    tables.curves = tables.curves.drop(index=7)  # a diverged run's curve may also simply end
    fig = figures.fig6a(tables)
    assert [str(line.get_label()) for line in fig.axes[0].get_lines()] == ["10k", "20k"]
    assert "rank one: epochs 30k, 50k, 100k, 200k not recorded; shown: 10k, 20k." in text(fig)
    assert "rank one: left out 2 of 60 runs" in text(fig)
    assert np.isfinite(ys(labelled(fig.axes[0], "10k"))).all()
    quick = network(np.geomspace(1e-4, 1e-1, 12), 5, (10, 4_999))
    assert [str(line.get_label()) for line in figures.fig6a(quick).axes[0].get_lines()] == ["4,999"]
    tables.runs.loc[0, "confidence"] = 1.0
    with pytest.raises(UsageError, match=r"found confidence = \[1.0, 10.0\]"):
        figures.fig6a(tables)


def test_a_single_seed_is_enough_and_missing_curves_are_named(fig2_tables: Pair) -> None:
    tables = network(np.geomspace(1e-4, 1e-1, 12), 1, EPOCHS)
    assert np.isfinite(outline(figures.fig6a(tables).axes[0].collections[0])).all()
    no_curves = SimpleNamespace(runs=fig2_tables[1].runs, curves=fig2_tables[1].curves.iloc[:0])
    with pytest.raises(UsageError, match="Figure 2d, curves: the table has no rows"):
        figures.fig2(fig2_tables[0], no_curves)
    with pytest.raises(UsageError, match="rank one, curves"):
        figures.fig6a(no_curves)
