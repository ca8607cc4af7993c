"""The paper's figures, tested by the data handed to the artists."""

from types import SimpleNamespace

import numpy as np
import pytest
from drawn import canonical, labelled, xs, ys

from ghostsweep import figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.paper.fig2 import fig2

Pair = tuple[SimpleNamespace, SimpleNamespace]


@pytest.fixture(scope="module")
def fig2_tables() -> Pair:
    to_eta = float(theory.eta(1.0, 100.0))
    trajectories = canonical([100], np.array([1e-10, 1e-9]) * to_eta, 1, 3_000, record=tuple(range(3_000)))
    rates = np.geomspace(1e-11, 1e-8, 20) * to_eta
    return trajectories, canonical([100], rates, 3, 10_001, record=(1_000, 2_000, 3_000, 5_000, 10_000))


def test_fig2_landscape_is_the_closed_form_and_two_simulations(fig2_tables: Pair) -> None:
    b, r = fig2(*fig2_tables).axes[0], np.linspace(-1, 2, 100) * theory.optimum(100.0)
    np.testing.assert_allclose(ys(labelled(b, "closed form")), theory.loss(r, 100.0))
    for a in (0.1, 1.0):
        np.testing.assert_allclose(ys(labelled(b, f"a = {a:g}")), theory.simulated_loss(r, 100.0, a))


def test_fig2_trajectories_learn_below_and_collapse_above(fig2_tables: Pair) -> None:
    _, loss, position, _ = fig2(*fig2_tables, width=figures.ONE_COLUMN).axes
    learned, trapped = loss.get_lines()
    assert (learned.get_color(), trapped.get_color()) == ("#009E73", "#D55E00")
    assert [str(t.get_label()).split(", ")[1] for t in (learned, trapped)] == ["learned", "trapped"]
    np.testing.assert_allclose([ys(learned)[-1], ys(trapped)[-1]], [0, 1], atol=0.1)
    assert ys(position.get_lines()[0])[0] == pytest.approx(10 * float(theory.optimum(100.0)))
    levels = [ys(line)[0] for line in position.get_lines()[2:]]
    np.testing.assert_allclose(levels, [theory.optimum(100.0), theory.no_learning_edge(100.0)])


def test_fig2_loss_against_rate_is_the_mean_over_seeds(fig2_tables: Pair) -> None:
    trajectories, sweep = fig2_tables
    d = fig2(trajectories, sweep).axes[3]
    merged = sweep.curves.merge(sweep.runs[["run_id", "learning_rate"]], on="run_id")
    for epoch, label in ((1_000, "1k"), (10_000, "10k")):
        mean = merged[merged["epoch"] == epoch].groupby("learning_rate")["loss"].mean()
        np.testing.assert_allclose(ys(labelled(d, label)), mean)
    assert xs(labelled(d, "critical"))[0] == pytest.approx(9.132e-10, rel=1e-3)
    with pytest.raises(UsageError, match="one value of timescale"):
        fig2(SimpleNamespace(runs=sweep.runs.assign(timescale=range(60)), curves=sweep.curves), sweep)
    with pytest.raises(UsageError, match="at most 6 trajectories, found 60"):
        fig2(sweep, sweep)


def test_missing_curves_are_named(fig2_tables: Pair) -> None:
    no_curves = SimpleNamespace(runs=fig2_tables[1].runs, curves=fig2_tables[1].curves.iloc[:0])
    with pytest.raises(UsageError, match="Figure 2d, curves: the table has no rows"):
        fig2(fig2_tables[0], no_curves)
