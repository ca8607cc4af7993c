"""Figures, tested by the data handed to the artists."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Text

from ghostsweep import analysis, figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.fig6a import EPOCHS
from ghostsweep.figures.phase import edges


def canonical(
    timescales: list[float], etas: np.ndarray, seeds: int, epochs: int = 10_000, record: tuple[int, ...] = ()
) -> SimpleNamespace:
    """Tables of runs of s <- s - eta sign(s - 1) s^-1.5 from s0 = 10 + N(0, 0.1), frozen below 1/4."""
    timescale, eta, seed = (a.ravel() for a in np.meshgrid(timescales, etas, range(seeds), indexing="ij"))
    s = 10.0 + 0.1 * np.random.default_rng(0).standard_normal(seeds)[seed.astype(int)] * (seed > 0)
    best, first_gradient = theory.optimum(timescale), s**-1.5
    rate = eta * np.pi**4 / 8 / timescale**5
    run_id = np.array([f"{i:016x}" for i in range(len(s))])
    recent, recent_gradient, gradients = (np.zeros_like(s) for _ in range(3))
    learned, curves = np.zeros(len(s), dtype=bool), []
    for epoch in range(epochs):
        alive = s >= 0.25
        loss = np.where(alive, np.abs(1 - np.where(alive, s, 1.0) ** -0.5), 1.0)
        slope = np.where(alive, np.where(alive, s, 1.0) ** -1.5, 0.0)
        learned |= loss < 0.1
        gradients = gradients + slope
        if epoch >= epochs - 50:
            recent, recent_gradient = recent + loss, recent_gradient + slope
        if epoch in record:
            part = {"run_id": run_id, "epoch": epoch, "loss": loss, "weight_norm": np.abs(s) * best}
            curves.append(pd.DataFrame(part))
        s = s - eta * np.sign(s - 1) * slope
    runs = pd.DataFrame(
        {
            "run_id": run_id, "model": "canonical", "task": "delayed_activation", "timescale": timescale,
            "confidence": np.nan, "learning_rate": rate, "epochs": epochs, "seed": seed.astype(int),
            "r_start": 10.0, "learned_loss": 0.1, "status": "done", "mean_grad_norm": gradients / epochs,
            "initial_grad_norm": first_gradient, "recent_mean_loss": recent / min(50, epochs),
            "recent_mean_grad_norm": recent_gradient / min(50, epochs),
            "learned_epoch": pd.Series(np.ones(len(s)), dtype="Int64").where(learned),
        }
    )  # fmt: skip
    return SimpleNamespace(runs=runs, curves=pd.concat(curves) if curves else pd.DataFrame())


def network(rates: np.ndarray, seeds: int, epochs: tuple[int, ...]) -> SimpleNamespace:
    """Tables that look like a rank-one sweep: a smooth dip of the loss in log lr, deeper at later epochs."""
    rate, seed = (a.ravel() for a in np.meshgrid(rates, range(seeds), indexing="ij"))
    jitter = np.random.default_rng(1).normal(0, 0.05, len(rate))
    run_id = np.array([f"{i:016x}" for i in range(len(rate))])
    parts = []
    for epoch in epochs:
        learning = 1 / (1 + (1e-3 * 3e4 / epoch / rate) ** 2)
        loss = np.clip(1 - learning * (rate < 0.03 * np.exp(2 * jitter)) + 0.3 * jitter, 0.02, 1.3)
        parts.append(pd.DataFrame({"run_id": run_id, "epoch": epoch, "loss": loss}))
    runs = pd.DataFrame(
        {"run_id": run_id, "model": "rank_one", "timescale": 20.0, "confidence": 10.0, "learning_rate": rate,
         "seed": seed, "epochs": 200_001, "status": "done"}
    )  # fmt: skip
    return SimpleNamespace(runs=runs, curves=pd.concat(parts, ignore_index=True))


Pair = tuple[SimpleNamespace, SimpleNamespace]
ETAS = np.concatenate([np.geomspace(3e-3, 0.7, 20), np.linspace(0.74, 0.78, 21), np.geomspace(0.8, 1.6, 5)])


@pytest.fixture(scope="module")
def sweep() -> SimpleNamespace:
    return canonical([20, 50, 100, 200], ETAS, seeds=8, epochs=3_000)


@pytest.fixture(scope="module")
def fig2_tables() -> Pair:
    to_eta = float(theory.eta(1.0, 100.0))
    trajectories = canonical([100], np.array([1e-10, 1e-9]) * to_eta, 1, 3_000, record=tuple(range(3_000)))
    rates = np.geomspace(1e-11, 1e-8, 20) * to_eta
    return trajectories, canonical([100], rates, 3, 10_001, record=(1_000, 2_000, 3_000, 5_000, 10_000))


def text(fig: Figure) -> str:
    """All the text of a figure, line breaks as spaces."""
    return " ".join(" ".join(t.get_text().split()) for t in fig.findobj(Text))


def labelled(ax: Axes, label: str) -> Line2D:
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]
    return line


def xs(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def ys(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def outline(band: Collection) -> np.ndarray:
    return np.asarray(band.get_paths()[0].vertices)


def meshes(ax: Axes) -> list[QuadMesh]:
    return [c for c in ax.collections if isinstance(c, QuadMesh)]


def test_edges_are_geometric_midpoints_with_mirrored_ends() -> None:
    np.testing.assert_allclose(edges(np.array([1.0, 4.0, 16.0]), log=True), [0.5, 2, 8, 32])
    np.testing.assert_allclose(edges(np.array([0.0, 1.0, 3.0]), log=False), [-0.5, 0.5, 2, 4])
    assert np.prod(edges(np.array([9.0]), log=True)) == pytest.approx(81)


def test_cells_have_the_majority_colour_faded_by_its_share(sweep: SimpleNamespace) -> None:
    ax = figures.phase_diagram(sweep.runs).axes[0]
    cells = analysis.shares(analysis.outcomes(sweep.runs), ["timescale", "learning_rate"])
    assert {"plateau", "learned", "oscillating", "trapped"} <= set(cells["majority"])
    assert len(meshes(ax)) == 4
    for mesh, (timescale, column) in zip(meshes(ax), cells.groupby("timescale"), strict=True):
        column = column.sort_values("learning_rate")
        rgb = np.asarray(mesh.get_array()).reshape(-1, 3)
        share = np.array([row[f"share_{row['majority']}"] for _, row in column.iterrows()])
        assert share.min() < 1
        full = np.array([to_rgb(style.OUTCOME_COLORS[m]) for m in column["majority"]])
        np.testing.assert_allclose(rgb, 1 - share[:, None] * (1 - full))
        corners = np.asarray(mesh.get_coordinates())
        np.testing.assert_allclose(corners[:, 0, 1], edges(column["learning_rate"].to_numpy(), log=True))
        assert corners[0, 0, 0] < timescale < corners[0, 1, 0]
        assert mesh.get_rasterized()


def test_columns_may_have_different_grids(sweep: SimpleNamespace) -> None:
    runs = sweep.runs
    dropped = runs[(runs["timescale"] != 50) | (runs["learning_rate"] > theory.critical_lr(50.0))]
    sizes = [np.asarray(m.get_array()).shape[0] for m in meshes(figures.phase_diagram(dropped).axes[0])]
    assert sizes == [len(ETAS), (ETAS > 0.75).sum(), len(ETAS), len(ETAS)]


def test_phase_diagram_draws_measured_and_exact_critical_rates(sweep: SimpleNamespace) -> None:
    critical = analysis.critical_lr(sweep.runs)
    fig = figures.phase_diagram(sweep.runs, critical=critical)
    measured, exact = (labelled(fig.axes[0], f"{kind} critical rate") for kind in ("measured", "exact"))
    np.testing.assert_allclose(ys(measured), critical["lr_critical"])
    np.testing.assert_allclose(ys(exact), theory.critical_lr(xs(exact)))
    (band,) = [c for c in fig.axes[0].collections if not isinstance(c, QuadMesh)]
    assert {*critical["ci_low"], *critical["ci_high"]} <= set(outline(band)[:, 1])
    assert "paler: seeds disagree" in text(fig)
    assert "exact" not in text(figures.phase_diagram(sweep.runs, theory=False))


def test_networks_have_no_exact_line_and_units_come_from_the_table(sweep: SimpleNamespace) -> None:
    runs = sweep.runs.assign(model="rank_one", confidence=10.0)
    runs.attrs["units"] = {"timescale": "ms", "learning_rate": "r* per epoch"}
    fig = figures.phase_diagram(runs)
    assert "exact" not in text(fig)
    assert {"timescale T (ms)", "learning rate (r* per epoch)"} <= {t.get_text() for t in fig.findobj(Text)}


def test_another_varying_field_makes_panels_up_to_six(sweep: SimpleNamespace) -> None:
    runs = sweep.runs[sweep.runs["seed"] < 2]
    both = pd.concat([runs, runs.assign(r_start=20.0, learning_rate=runs["learning_rate"] * 2)])
    fig = figures.phase_diagram(both)
    assert [ax.get_title() for ax in fig.axes] == ["initial r/r* = 10", "initial r/r* = 20"]
    first, second = (ys(labelled(ax, "measured critical rate")) for ax in fig.axes)
    np.testing.assert_allclose(second, 2 * first)
    many = pd.concat([runs.assign(r_start=float(r)) for r in range(1, 8)])
    with pytest.raises(UsageError, match=r"r_start \(7 values\), which needs 7 panels"):
        figures.phase_diagram(many)
    assert len(figures.phase_diagram(runs.assign(epochs=runs["timescale"] * 10)).axes) == 1


def test_diverged_is_a_phase_that_stands_out_in_gray(sweep: SimpleNamespace) -> None:
    runs = sweep.runs.copy()
    wild = theory.eta(runs["learning_rate"], runs["timescale"]) > 1
    runs.loc[wild, ["recent_mean_loss", "mean_grad_norm", "recent_mean_grad_norm"]] = np.nan
    runs.loc[wild, "status"] = "diverged"
    fig = figures.phase_diagram(runs)
    assert "diverged" in text(fig)
    np.testing.assert_allclose(np.asarray(meshes(fig.axes[0])[0].get_array())[-1, 0], 0)
    luma = {k: np.dot(to_rgb(c), [0.299, 0.587, 0.114]) for k, c in style.OUTCOME_COLORS.items()}
    assert min(v for k, v in luma.items() if k != "diverged") - luma["diverged"] > 0.3


def test_a_large_grid_is_drawn_in_seconds(tmp_path: Path) -> None:
    runs = canonical(np.geomspace(10, 1000, 25).tolist(), np.geomspace(1e-3, 2, 1201), 8, epochs=3).runs
    start = time.perf_counter()
    figures.save(figures.phase_diagram(runs), tmp_path / "large")
    assert time.perf_counter() - start < 10
    assert (tmp_path / "large.pdf").stat().st_size < 500_000


def test_scaling_plot_shows_points_line_band_and_numbers(sweep: SimpleNamespace) -> None:
    critical = analysis.critical_lr(sweep.runs)
    fit = analysis.fit_power_law(critical)
    fig = figures.scaling_plot(critical, fit)
    top, bottom = fig.axes
    np.testing.assert_allclose(ys(labelled(top, "measured, 95% interval")), critical["lr_critical"])
    (line,) = [line for line in top.get_lines() if str(line.get_label()).startswith("fit")]
    np.testing.assert_allclose(ys(line), fit["prefactor"][0] * xs(line) ** fit["exponent"][0])
    assert "fit: exponent \N{MINUS SIGN}5.00" in text(fig)
    assert f"prefactor {fit['prefactor'][0]:.3g} [{fit['prefactor_low'][0]:.3g}" in text(fig)
    ratio = critical["lr_critical"] / theory.critical_lr(critical["timescale"])
    np.testing.assert_allclose(ys(bottom.get_lines()[0]), ratio)


def test_fitted_band_covers_what_repeated_measurements_would_fit() -> None:
    x, own = np.geomspace(10, 100, 8), 1.96 * 0.1
    noises = np.random.default_rng(0).normal(0, 0.1, (4000, 8))
    draws = np.array([np.polyfit(np.log(x), -5 * np.log(x) + noise, 1) for noise in noises])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    rate = x**-5.0
    critical = pd.DataFrame(
        {"model": "rank_one", "timescale": x, "boundary": "upper", "share": 0.5, "lr_below": rate,
         "lr_above": rate, "lr_critical": rate, "ci_low": rate * np.exp(-own),
         "ci_high": rate * np.exp(own), "censored": ""}
    )  # fmt: skip
    law = {"exponent": -5.0, "exponent_low": low[0], "exponent_high": high[0]}
    law |= {"prefactor": 1.0, "prefactor_low": np.exp(low[1]), "prefactor_high": np.exp(high[1])}
    fit = pd.DataFrame([{"model": "rank_one", "boundary": "upper", "share": 0.5, "level": 0.95} | law])
    top = figures.scaling_plot(critical, fit).axes[0]
    (band,) = [c for c in top.collections if isinstance(c, PolyCollection)]
    for at in (10.0, 30.0, 100.0):
        corner = outline(band)
        at = corner[np.abs(np.log(corner[:, 0] / at)).argmin(), 0]
        true = np.ptp(np.quantile(draws @ [np.log(at), 1.0], [0.025, 0.975]))
        assert np.ptp(np.log(corner[corner[:, 0] == at, 1])) == pytest.approx(true, rel=0.1)


def test_censored_cells_are_arrows_from_the_end_of_their_grid(sweep: SimpleNamespace) -> None:
    runs = sweep.runs
    low = runs[(runs["timescale"] != 20) | (runs["learning_rate"] < theory.critical_lr(20.0))]
    critical = analysis.critical_lr(low)
    fig = figures.scaling_plot(critical, analysis.fit_power_law(critical))
    ends = [line for line in fig.axes[0].get_lines() if line.get_marker() == "_" and len(xs(line))]
    assert [float(ys(line)[0]) for line in ends] == [low.loc[low["timescale"] == 20, "learning_rate"].max()]
    assert "Arrows: 1 of 4 cells" in text(fig)


def test_every_series_has_its_colour_and_networks_are_compared_with_their_fit(sweep: SimpleNamespace) -> None:
    one = analysis.critical_lr(sweep.runs).assign(model="rank_one", confidence=1.0)
    two = one.assign(confidence=2.0, **{c: one[c] * 3 for c in ("lr_critical", "ci_low", "ci_high")})
    critical = pd.concat([one, two], ignore_index=True)
    fig = figures.scaling_plot(critical, analysis.fit_power_law(critical))
    assert len({labelled(fig.axes[0], f"c = {c}: measured, 95%").get_color() for c in (1, 2)}) == 2
    assert fig.axes[1].get_ylabel() == "measured\n/ fit"
    np.testing.assert_allclose(ys(fig.axes[1].get_lines()[1]), 1, atol=0.01)
    assert "exact" not in text(fig)


def test_scaling_plot_without_a_fit_draws_one_timescale(sweep: SimpleNamespace) -> None:
    fig = figures.scaling_plot(analysis.critical_lr(sweep.runs[sweep.runs["timescale"] == 50]))
    assert list(xs(labelled(fig.axes[0], "measured, 95% interval"))) == [50]
    assert "fit" not in text(fig)


def test_eta_collapse_puts_every_timescale_on_one_curve(sweep: SimpleNamespace) -> None:
    fig = figures.eta_collapse(sweep.runs)
    share, floor = fig.axes
    curves = share.get_lines()[:4]
    for line in curves:
        np.testing.assert_allclose(xs(line), ETAS)
        np.testing.assert_array_equal(ys(line), ys(curves[0]))
    assert (ys(curves[0])[ETAS <= 0.75].max(), ys(curves[0])[ETAS > 0.7725].min()) == (0, 1)
    np.testing.assert_allclose(ys(floor.get_lines()[0])[-1], 1)
    assert list(xs(share.get_lines()[4])) == [0.75, 0.75]
    assert [zoom.get_xlim() for zoom in share.child_axes] == [(0.7, 0.8)]


def test_eta_collapse_leaves_diverged_runs_out_and_says_so(sweep: SimpleNamespace) -> None:
    runs = sweep.runs.copy()
    runs.loc[:2, "status"] = "diverged"
    runs.loc[:2, "recent_mean_loss"] = np.nan
    assert f"Left out 3 of {len(runs)} runs (diverged)" in text(figures.eta_collapse(runs))
    with pytest.raises(UsageError, match=r"all .* runs diverged"):
        figures.eta_collapse(runs.iloc[:3])
    with pytest.raises(UsageError, match="canonical form, found 'rank_one'"):
        figures.eta_collapse(runs.assign(model="rank_one"))


def test_fig2_landscape_is_the_closed_form_and_two_simulations(fig2_tables: Pair) -> None:
    b, r = figures.fig2(*fig2_tables).axes[0], np.linspace(-1, 2, 100) * theory.optimum(100.0)
    np.testing.assert_allclose(ys(labelled(b, "closed form")), theory.loss(r, 100.0))
    for a in (0.1, 1.0):
        np.testing.assert_allclose(ys(labelled(b, f"a = {a:g}")), theory.simulated_loss(r, 100.0, a))


def test_fig2_trajectories_learn_below_and_collapse_above(fig2_tables: Pair) -> None:
    _, loss, position, _ = figures.fig2(*fig2_tables, width=figures.ONE_COLUMN).axes
    learned, trapped = loss.get_lines()
    assert (learned.get_color(), trapped.get_color()) == ("#009E73", "#D55E00")
    assert [str(t.get_label()).split(", ")[1] for t in (learned, trapped)] == ["learned", "trapped"]
    np.testing.assert_allclose([ys(learned)[-1], ys(trapped)[-1]], [0, 1], atol=0.1)
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


def test_a_single_seed_is_enough() -> None:
    runs = canonical([50, 100], ETAS[::3], 1, epochs=500).runs
    assert "seeds disagree" not in text(figures.phase_diagram(runs))
    assert len(figures.eta_collapse(runs[runs["timescale"] == 50]).axes[0].get_lines()) == 2
    tables = network(np.geomspace(1e-4, 1e-1, 12), 1, EPOCHS)
    assert np.isfinite(outline(figures.fig6a(tables).axes[0].collections[0])).all()
    assert len(meshes(figures.phase_diagram(runs[runs["timescale"] == 50]).axes[0])) == 1


def test_empty_tables_and_missing_columns_are_named(sweep: SimpleNamespace, fig2_tables: Pair) -> None:
    runs, critical = sweep.runs, analysis.critical_lr(sweep.runs)
    cases = ((figures.phase_diagram, runs), (figures.eta_collapse, runs), (figures.scaling_plot, critical))
    for draw, table in cases:
        with pytest.raises(UsageError, match="no rows"):
            draw(table.iloc[:0])
        with pytest.raises(UsageError, match=r"missing column\(s\) timescale"):
            draw(table.drop(columns="timescale"))
    no_curves = SimpleNamespace(runs=runs, curves=fig2_tables[1].curves.iloc[:0])
    with pytest.raises(UsageError, match="Figure 2d, curves: the table has no rows"):
        figures.fig2(fig2_tables[0], no_curves)
    with pytest.raises(UsageError, match="rank one, curves"):
        figures.fig6a(no_curves)
    with pytest.raises(UsageError, match="no run has both confidence and learning_rate"):
        figures.phase_diagram(runs, x="confidence")
    with pytest.raises(UsageError, match="model must be a number"):
        figures.phase_diagram(runs, x="model")


def test_save_writes_both_files_whole_and_text_is_legible(sweep: SimpleNamespace, tmp_path: Path) -> None:
    fig = figures.phase_diagram(sweep.runs, width=figures.ONE_COLUMN)
    png, pdf = figures.save(fig, tmp_path / "new" / "phase.v1")
    assert [p.name for p in sorted((tmp_path / "new").iterdir())] == ["phase.v1.pdf", "phase.v1.png"]
    assert (png.read_bytes()[1:4], pdf.read_bytes()[1:4]) == (b"PNG", b"PDF")
    assert imread(png).shape[1] == round(3.4 * 300)
    assert min(float(t.get_fontsize()) for t in fig.findobj(Text) if t.get_text()) >= 7


def test_drawing_leaves_matplotlib_as_it_was(sweep: SimpleNamespace) -> None:
    with mpl.rc_context({"font.size": 31, "axes.labelsize": 31}):
        before = dict(mpl.rcParams)
        fig = figures.phase_diagram(sweep.runs)
        assert dict(mpl.rcParams) == before
        assert fig.axes[0].xaxis.label.get_fontsize() == 8
    code = "import sys, ghostsweep.figures; assert not {'jax', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
