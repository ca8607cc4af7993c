"""Figures 1, 3 and 8 of the paper, tested by the data handed to the artists."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import continued, labelled, outline, text, xs, ys
from matplotlib.axes import Axes
from matplotlib.quiver import Quiver
from scipy.optimize import brentq

from ghostsweep import figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.paper.fig1 import fig1
from ghostsweep.paper.fig3 import fig3
from ghostsweep.paper.fig8 import fig8

WIDTHS = (figures.ONE_COLUMN, figures.TWO_COLUMNS)


def panel(fig: Any, letter: str) -> Axes:
    (ax,) = (ax for ax in fig.axes if ax.get_title(loc="left") == letter)
    return ax  # type: ignore[no-any-return]


@pytest.mark.parametrize("width", WIDTHS)
def test_fig1_marks_the_ghost_and_the_fixed_points(width: float) -> None:
    fig = fig1(width=width)
    a, b = panel(fig, "a"), panel(fig, "b")
    for ax, r in ((a, 0.5), (b, -0.5)):
        line = labelled(ax, "flow")
        np.testing.assert_allclose(ys(line), xs(line) ** 2 + r)
        assert xs(line)[[0, -1]].tolist() == [-1, 1]
        (arrows,) = (child for child in ax.get_children() if isinstance(child, Quiver))
        np.testing.assert_allclose(5 * np.asarray(arrows.U), np.asarray(arrows.X) ** 2 + r)
    assert (xs(labelled(a, "ghost")), ys(labelled(a, "ghost"))) == (0, 0.5)
    assert "speed 0.5" in text(fig)
    stable, unstable = labelled(b, "stable fixed point"), labelled(b, "unstable fixed point")
    assert (xs(stable)[0], xs(unstable)[0]) == (-np.sqrt(0.5), np.sqrt(0.5))
    assert (stable.get_markerfacecolor(), unstable.get_markerfacecolor()) == ("black", "white")


def stored(epochs: list[int], snapshots: list[int], loss: list[float], change: int, rate: float) -> SimpleNamespace:
    """A run of one unit with m = 1, b = 0, and n = 0.5 before the epoch `change` and 3 from it on."""
    kept = np.array(snapshots)
    n = np.where(kept < change, 0.5, 3.0)[:, None]
    arrays = {"epochs": kept, "m": np.ones_like(n), "n": n, "b": np.zeros_like(n)}
    low = [epoch for epoch, value in zip(epochs, loss, strict=True) if value < 0.1]
    runs = pd.DataFrame(
        {"run_id": ["r"], "model": "rank_one", "learning_rate": rate, "seed": 40, "epochs": epochs[-1] + 1}
    ).assign(timescale=20, dt_ms=5.0, tau_ms=10.0, learned_epoch=pd.array([low[0] if low else pd.NA], dtype="Int64"))
    curves = pd.DataFrame({"run_id": "r", "epoch": epochs, "loss": loss, "grad_norm": np.arange(len(epochs)) / 2})
    return SimpleNamespace(name="x", meta={}, runs=runs, curves=curves, snapshots={"r": arrays}.__getitem__)


@pytest.fixture
def learns() -> SimpleNamespace:
    return stored([0, 10, 200_000, 499_999], [0, 3, 200_000, 499_500], [2.0, 1.0, 0.05, 0.04], 600_000, 0.003)


@pytest.fixture
def collapses() -> SimpleNamespace:
    loss = [1.0] * 10 + [0.5, 0.05, 0.5] + [1.0] * 8
    return stored(list(range(21)), list(range(0, 21, 2)), loss, 14, 0.02)


@pytest.mark.parametrize("width", WIDTHS)
def test_fig3_curves_are_over_their_maxima(learns: SimpleNamespace, collapses: SimpleNamespace, width: float) -> None:
    fig = fig3(learns, collapses, width=width)
    for letter, tables in (("a", learns), ("c", collapses)):
        ax = panel(fig, letter)
        for label, column in (("loss", "loss"), ("gradient norm", "grad_norm")):
            line = labelled(ax, label)
            np.testing.assert_array_equal(xs(line), tables.curves["epoch"])
            np.testing.assert_allclose(ys(line), tables.curves[column] / tables.curves[column].max())
    (inset,) = panel(fig, "c").child_axes
    assert inset.get_xlim()[0] < 8 and 14 < inset.get_xlim()[1] < 20
    np.testing.assert_array_equal(ys(inset.get_lines()[1]), ys(labelled(panel(fig, "c"), "loss")))
    assert "a, b, e: 1 run of 500,000 epochs, 1 seed." in text(fig)
    assert "c, d, e: 1 run of 21 epochs, 1 seed." in text(fig)


def test_fig3_flows_are_those_of_the_snapshots(learns: SimpleNamespace, collapses: SimpleNamespace) -> None:
    fig = fig3(learns, collapses)
    b, d = panel(fig, "b"), panel(fig, "d")
    shown = {"0": 0.5, "200k": 0.5, "499,500": 0.5}, {"8": 0.5, "10": 0.5, "14": 3.0}
    for ax, flows in zip((b, d), shown, strict=True):
        assert [t.get_text() for t in ax.get_legend().get_texts()] == list(flows)  # type: ignore[union-attr]
        for label, n in flows.items():
            kappa = xs(labelled(ax, label))
            assert kappa[[0, -1]].tolist() == [-9, 9]
            np.testing.assert_allclose(ys(labelled(ax, label)), n * np.tanh(kappa) - kappa, atol=1e-12)
        starts = [xs(line)[0] for line in ax.get_lines() if line.get_marker() == "^"]
        np.testing.assert_allclose(starts, [-0.3 * n for n in flows.values()])
        assert any(line.get_linestyle() == "--" and list(xs(line)) == [1, 1] for line in ax.get_lines())
    root = brentq(lambda k: 3 * np.tanh(k) - k, 1, 9)
    points = [line for line in d.get_lines() if line.get_marker() == "o"][-2:]
    np.testing.assert_allclose(xs(points[0]), [-root, root])
    np.testing.assert_allclose(xs(points[1]), [0], atol=1e-12)
    assert points[0].get_markerfacecolor() == points[0].get_color()
    assert points[1].get_markerfacecolor() == "white"


def test_fig3_counts_fixed_points_up_to_learning(learns: SimpleNamespace, collapses: SimpleNamespace) -> None:
    fig = fig3(learns, collapses)
    upper = panel(fig, "e")
    (lower,) = (ax for ax in fig.axes if ax.get_title() == "run of c")
    assert set(ys(upper.get_lines()[0])) == {1}
    assert xs(labelled(upper, "learned")).tolist() == [200_000] * 2
    count = lower.get_lines()[0]
    assert set(ys(count)[xs(count) < 14]) == {1} and set(ys(count)[xs(count) > 14]) == {3}
    assert xs(labelled(lower, "learned")).tolist() == [11, 11]
    said = text(fig)
    assert (
        "e, run of a: learned at epoch 200,000; fixed points at each of 3 snapshots up to then: 1; their number never "
        "changes." in said
    )
    assert "at each of 6 snapshots up to then: 1; their number first changes by epoch 14." in said
    collapses.snapshots("r")["n"][:3] = 3.0  # a bifurcation before learning is said to be one
    assert "up to then: 1 to 3; their number first changes by epoch 6." in text(fig3(learns, collapses))


def test_fig3_draws_a_short_run_and_refuses_others(learns: SimpleNamespace, collapses: SimpleNamespace) -> None:
    short = stored([0, 50], [0, 40], [1.0, 0.8], 99, 0.003)
    said = text(fig3(short, collapses))
    assert "b: 2 of 3 epochs" in said and "run of a: never learned; the number of fixed points never changes" in said
    with pytest.raises(UsageError, match=r"Figure 3c, d: needs a loss that falls below 0.9, found 1 at least"):
        fig3(learns, stored([0, 1], [0], [1.0, 1.0], 99, 0.02))
    with pytest.raises(UsageError, match="Figure 3a, b: shows one run, found 2"):
        fig3(SimpleNamespace(**vars(learns) | {"runs": pd.concat([learns.runs] * 2)}), collapses)
    with pytest.raises(UsageError, match="needs a rank-one network, found 'full_rank'"):
        fig3(learns, SimpleNamespace(**vars(collapses) | {"runs": collapses.runs.assign(model="full_rank")}))
    with pytest.raises(UsageError, match=r"Figure 3c, d, curves: missing column\(s\) grad_norm"):
        fig3(learns, SimpleNamespace(**vars(collapses) | {"curves": collapses.curves.drop(columns="grad_norm")}))


@pytest.fixture
def fig8_tables() -> tuple[SimpleNamespace, ...]:
    return (
        continued("confidence", [0.01, 0.1, 1.0, 10.0], 6),
        continued("confidence", [1.0], 5),
        continued("readout_l1", [0.1, 3.0, np.nan], 4),
    )


def test_fig8_gradients_are_exact_and_in_closed_form(fig8_tables: tuple[SimpleNamespace, ...]) -> None:
    a = panel(fig8(*fig8_tables), "a")
    r = np.linspace(-1, 2, 301) * theory.optimum(100.0)
    for confidence in (0.01, 0.1, 0.5, 1.0, 2.0):
        size = np.abs(theory.simulated_gradient(r, 100.0, confidence))
        np.testing.assert_allclose(ys(labelled(a, f"a = {confidence:g}")), size / size.max())
    closed = ys(labelled(a, "closed form"))
    inside = xs(labelled(a, "closed form")) < 0.249
    assert np.isnan(closed[inside]).all() and np.nanmax(closed) == 1
    s = xs(labelled(a, "closed form"))[~inside][1:]
    np.testing.assert_allclose(closed[~inside][1:] * s**1.5, closed[-1] * 2**1.5)


@pytest.mark.parametrize("width", WIDTHS)
def test_fig8_recovery_is_of_trapped_networks_alone(fig8_tables: tuple[SimpleNamespace, ...], width: float) -> None:
    tables = fig8_tables[0]
    fig = fig8(*fig8_tables, width=width)
    accuracy = panel(fig, "b")
    (gradient,) = (ax for ax in fig.axes if ax.get_ylabel() == "gradient norm")
    then = tables.runs[tables.runs["parent"].isin(["0", "1"])]
    for ax, column in ((accuracy, "final_accuracy"), (gradient, "final_grad_norm")):
        groups = then.groupby("confidence")[column]
        line = ax.get_lines()[0]
        np.testing.assert_allclose(xs(line), [0.01, 0.1, 1.0, 10.0])
        np.testing.assert_allclose(ys(line), groups.mean())
        band = outline(ax.collections[0])[:, 1]
        assert set(np.round(groups.mean() - groups.sem(), 12)) <= set(np.round(band, 12))
    said = text(fig)
    assert "b: networks trapped at c = 10 (dotted), 2 of 6: accuracy and gradient norm in the last of 10 epochs" in said
    assert "b: 30 runs of 10 + 40 epochs, 6 seeds; reduced, A question (quick)." in said


def test_fig8_accuracy_and_loss_go_on_over_the_reset(fig8_tables: tuple[SimpleNamespace, ...]) -> None:
    tables = fig8_tables[1]
    tables.runs.loc[tables.runs["run_id"] == "0-0", "final_accuracy"] = 0.5  # trapped still
    fig = fig8(*fig8_tables)
    b2, phase = panel(fig, "b2"), tables.curves["run_id"].map(tables.runs.set_index("run_id")["phase"])
    lines = b2.get_lines()
    for i, column in enumerate(("accuracy", "loss")):
        for number, at in ((1, range(0, 40, 5)), (2, range(40, 50, 5))):
            line = lines[2 * i + number - 1]
            np.testing.assert_array_equal(xs(line), at)
            mean = tables.curves[phase == number].groupby("epoch")[column].mean()
            np.testing.assert_allclose(ys(line), mean)
    assert xs(lines[4]).tolist() == [40, 40]
    said = text(fig)
    assert "c reset to 1" in said
    assert "2 of 5 networks were trapped at its reset, 1 of these end above accuracy 0.5." in said


def test_fig8_has_a_line_per_scale_and_one_left_alone(fig8_tables: tuple[SimpleNamespace, ...]) -> None:
    tables = fig8_tables[2]
    c = panel(fig8(*fig8_tables), "c")
    merged = tables.curves.merge(tables.runs, on="run_id")
    labels = [t.get_text() for t in c.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == ["0.1", "3", "left alone"]
    for label, value in (("0.1", 0.1), ("3", 3.0), ("left alone", np.nan)):
        rows = merged[(merged["phase"] == 2) & (merged["readout_l1"].fillna(-1) == np.nan_to_num(value, nan=-1))]
        np.testing.assert_allclose(ys(labelled(c, label)), rows.groupby("epoch")["accuracy"].mean())
        assert xs(labelled(c, label)).tolist() == [40, 45]
    np.testing.assert_allclose(ys(c.get_lines()[0]), merged[merged["phase"] == 1].groupby("epoch")["accuracy"].mean())


def test_fig8_counts_diverged_runs_and_names_what_is_wrong(fig8_tables: tuple[SimpleNamespace, ...]) -> None:
    confidence, trained, readout = fig8_tables
    readout.runs.loc[1, "status"] = "diverged"
    of_run = readout.curves["run_id"] == readout.runs["run_id"][1]
    readout.curves.loc[of_run, "accuracy"] = [0.5, np.nan]
    fig = fig8(*fig8_tables)
    assert "c: left out 1 of 16 runs (from where they diverge)." in text(fig)
    assert np.isfinite(ys(labelled(panel(fig, "c"), "0.1"))).all()
    one = SimpleNamespace(**vars(trained) | {"runs": trained.runs[trained.runs["phase"] == 1]})
    with pytest.raises(UsageError, match=r"Figure 8b2, runs: needs runs of the phases 1 and 2, found \[1\]"):
        fig8(confidence, one, readout)
    free = SimpleNamespace(**vars(confidence) | {"runs": confidence.runs.assign(recent_max_accuracy=0.9)})
    with pytest.raises(UsageError, match="needs networks trapped in the first phase, found 0 of 6"):
        fig8(free, trained, readout)
    lacking = SimpleNamespace(**vars(readout) | {"curves": readout.curves.drop(columns="accuracy")})
    with pytest.raises(UsageError, match=r"Figure 8c, curves: missing column\(s\) accuracy"):
        fig8(confidence, trained, lacking)
