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
from drawn import ETAS, canonical, labelled, legend, meshes, outline, text, xs, ys
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.text import Annotation, Text
from planted import band_of, table_of

from ghostsweep import analysis, figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.phase import edges


@pytest.fixture(scope="module")
def sweep() -> SimpleNamespace:
    return canonical([20, 50, 100, 200], ETAS, seeds=8, epochs=3_000)


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


def test_phase_diagram_draws_both_boundaries_and_the_exact_rate(sweep: SimpleNamespace) -> None:
    critical = analysis.critical_lr(sweep.runs)
    fig = figures.phase_diagram(sweep.runs, critical=critical)
    ax = fig.axes[0]
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    bars = [np.concatenate(c.get_segments())[:, 1] for c in ax.collections if isinstance(c, LineCollection)]
    for boundary, band, bar in zip(("lower", "upper"), bands, bars, strict=True):
        rows = critical[critical["boundary"] == boundary]
        measured = labelled(ax, f"{boundary} boundary")
        np.testing.assert_allclose(ys(measured), rows["lr_critical"])
        assert measured.get_markerfacecolor() == {"upper": "black", "lower": "white"}[boundary]
        for drawn in (outline(band)[:, 1], bar):
            assert {*rows["ci_low"], *rows["ci_high"]} <= set(drawn)
    exact = labelled(ax, "critical rate by theory")
    np.testing.assert_allclose(ys(exact), theory.critical_lr(xs(exact)))
    for words in ("paler: seeds disagree", "upper boundary, 95% interval", "lower boundary, 95% interval"):
        assert words in text(fig)
    assert "exact" not in text(figures.phase_diagram(sweep.runs, theory=False))
    censored = critical.assign(censored="below")
    assert "boundary" not in text(figures.phase_diagram(sweep.runs, critical=censored))


def test_a_field_that_is_the_same_in_all_runs_may_be_an_axis(sweep: SimpleNamespace) -> None:
    runs = sweep.runs[sweep.runs["timescale"] == 50]
    fig = figures.phase_diagram(runs, x="r_start")
    assert list(xs(labelled(fig.axes[0], "upper boundary"))) == [10]


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
    first, second = (ys(labelled(ax, "upper boundary")) for ax in fig.axes)
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


# Simulated colour-blindness, linear RGB. Source: Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009) 1291, severity 1.
SEEN_BY = {
    "full colour vision": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_outcomes_are_told_apart_by_colour_blind_readers(eyes: str) -> None:
    """CIE 1976 distances; 2.3 is just noticeable, 25 plain at a glance."""
    assert list(style.OUTCOME_COLORS) == list(analysis.OUTCOMES)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    lab = []
    for color in style.OUTCOME_COLORS.values():
        rgb = np.array(to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(SEEN_BY[eyes] @ linear, 0, 1) / [0.9505, 1, 1.089]
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab.append([116 * y - 16, 500 * (x - y), 200 * (y - z)])
    distance = np.linalg.norm(np.array(lab)[:, None] - np.array(lab), axis=2)
    assert distance[np.triu_indices(len(lab), 1)].min() > 25


def test_all_outcomes_are_drawn_in_words() -> None:
    rates = np.logspace(-3, 2, 8)
    runs = table_of(np.array([list(analysis.OUTCOMES)] * 2), rates).assign(run_id=lambda t: t.index.astype(str))
    fig = figures.phase_diagram(runs)
    for outcome in analysis.OUTCOMES:
        assert outcome.replace("_", " ") in text(fig)
    rgb = np.asarray(meshes(fig.axes[0])[0].get_array()).reshape(-1, 3)
    np.testing.assert_allclose(rgb, [to_rgb(color) for color in style.OUTCOME_COLORS.values()])


def test_a_large_grid_is_drawn_in_seconds(tmp_path: Path) -> None:
    runs = canonical(np.geomspace(10, 1000, 25).tolist(), np.geomspace(1e-3, 2, 1201), 8, epochs=3).runs
    start = time.process_time()  # of this process: others on the machine do not count
    figures.save(figures.phase_diagram(runs), tmp_path / "large")
    assert time.process_time() - start < 10
    assert (tmp_path / "large.pdf").stat().st_size < 500_000


def test_scaling_plot_shows_points_line_band_and_numbers(sweep: SimpleNamespace) -> None:
    critical = analysis.critical_lr(sweep.runs)
    fit = analysis.fit_power_law(critical).set_index("boundary")
    fig = figures.scaling_plot(critical, fit.reset_index())
    top, bottom = fig.axes
    rows = {name: critical[critical["boundary"] == name] for name in ("upper", "lower")}
    lines = [line for line in top.get_lines() if str(line.get_label()).startswith("fit")]
    for (name, cells), line in zip(rows.items(), lines, strict=True):
        points = labelled(top, f"{name}: measured")
        np.testing.assert_allclose(ys(points), cells["lr_critical"])
        assert (points.get_markerfacecolor() == "white") == (name == "lower")
        np.testing.assert_allclose(ys(line), fit.loc[name, "prefactor"] * xs(line) ** fit.loc[name, "exponent"])
        exponent, low = (f"{fit.loc[name, c]:.2f}".replace("-", "\N{MINUS SIGN}") for c in ("exponent", "exponent_low"))
        said = next(words for words in legend(fig) if words.startswith(name))
        assert f"{name}: ${style.sci(fit.loc[name, 'prefactor']).strip('$')}\\,T^{{{exponent[:5]}" in said
        assert f"[{low[:5]}" in said
    ratio = rows["upper"]["lr_critical"] / theory.critical_lr(rows["upper"]["timescale"])
    np.testing.assert_allclose(ys(bottom.get_lines()[0]), ratio)
    law = fit.loc["lower", "prefactor"] * rows["lower"]["timescale"] ** fit.loc["lower", "exponent"]
    np.testing.assert_allclose(ys(bottom.get_lines()[1]), rows["lower"]["lr_critical"] / law)
    assert bottom.get_ylabel() == "measured\n/ exact or fit"


def test_scaling_plot_along_another_field() -> None:
    rates, ranks = np.logspace(-3, 0, 31), (1.0, 2.0, 4.0, 8.0)
    tables = [band_of(np.full(4, 0.003), np.full(4, 0.02 * rank), rates, rank=rank) for rank in ranks]
    critical = analysis.critical_lr(pd.concat(tables))
    fits = pd.concat([analysis.fit_power_law(critical, x="rank"), analysis.fit_power_law(critical, x="rank")])
    fits["along"] = ["rank", "rank", "timescale", "timescale"]
    fig = figures.scaling_plot(critical, fits.assign(exponent=[1.0, 0.0, 9.0, 9.0]), x="rank")
    top, bottom = fig.axes
    assert list(xs(labelled(top, "upper: measured"))) == list(ranks)
    assert bottom.get_xlabel() == "rank K" and "exponent 9" not in text(fig) and "exact" not in text(fig)


def test_fitted_band_covers_what_repeated_measurements_would_fit() -> None:
    x, own = np.geomspace(10, 100, 8), 1.96 * 0.1
    noises = np.random.default_rng(0).normal(0, 0.1, (4000, 8))
    draws = np.array([np.polyfit(np.log(x), -5 * np.log(x) + noise, 1) for noise in noises])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    rate = x**-5.0
    critical = pd.DataFrame(
        {"model": "rank_one", "timescale": x, "boundary": "upper", "share": 0.5, "lr_below": rate,
         "lr_above": rate, "lr_critical": rate, "ci_low": rate * np.exp(-own),
         "ci_high": rate * np.exp(own), "censored": "", "level": 0.95}
    )  # fmt: skip
    law = {"exponent": -5.0, "exponent_low": low[0], "exponent_high": high[0]}
    law |= {"prefactor": 1.0, "prefactor_low": np.exp(low[1]), "prefactor_high": np.exp(high[1])}
    fields = {"along": "timescale", "model": "rank_one", "boundary": "upper", "share": 0.5, "level": 0.95}
    fit = pd.DataFrame([fields | law])
    top = figures.scaling_plot(critical, fit).axes[0]
    (band,) = [c for c in top.collections if isinstance(c, PolyCollection)]
    for at in (10.0, 30.0, 100.0):
        corner = outline(band)
        at = corner[np.abs(np.log(corner[:, 0] / at)).argmin(), 0]
        true = np.ptp(np.quantile(draws @ [np.log(at), 1.0], [0.025, 0.975]))
        assert np.ptp(np.log(corner[corner[:, 0] == at, 1])) == pytest.approx(true, rel=0.1)


def upper(runs: pd.DataFrame) -> pd.DataFrame:
    critical = analysis.critical_lr(runs)
    return critical[critical["boundary"] == "upper"].reset_index(drop=True)


def test_censored_cells_are_arrows_from_the_end_of_their_grid(sweep: SimpleNamespace) -> None:
    runs = sweep.runs
    low = runs[(runs["timescale"] != 20) | (runs["learning_rate"] < theory.critical_lr(20.0))]
    critical = upper(low)
    fig = figures.scaling_plot(critical, analysis.fit_power_law(critical))
    ends = [line for line in fig.axes[0].get_lines() if line.get_marker() == "_" and len(xs(line))]
    assert [float(ys(line)[0]) for line in ends] == [low.loc[low["timescale"] == 20, "learning_rate"].max()]
    assert "Arrows: 1 of 4 boundaries" in text(fig)
    assert fig.axes[1].get_ylabel() == "measured\n/ exact"


def test_every_series_has_its_colour_and_networks_are_compared_with_their_fit(sweep: SimpleNamespace) -> None:
    one = upper(sweep.runs).assign(model="rank_one", confidence=1.0)
    two = one.assign(confidence=2.0, **{c: one[c] * 3 for c in ("lr_critical", "ci_low", "ci_high")})
    critical = pd.concat([one, two], ignore_index=True)
    fig = figures.scaling_plot(critical, analysis.fit_power_law(critical))
    assert len({labelled(fig.axes[0], f"c = {c}: measured").get_color() for c in (1, 2)}) == 2
    assert fig.axes[1].get_ylabel() == "measured\n/ fit"
    np.testing.assert_allclose(ys(fig.axes[1].get_lines()[1]), 1, atol=0.01)
    assert "exact" not in text(fig)


def test_scaling_plot_without_a_fit_draws_one_timescale(sweep: SimpleNamespace) -> None:
    fig = figures.scaling_plot(upper(sweep.runs[sweep.runs["timescale"] == 50]))
    assert list(xs(labelled(fig.axes[0], "upper: measured"))) == [50]
    assert legend(fig) == ["upper", r"exact onset, $9.13\,T^{-5}$"]


def band_table() -> pd.DataFrame:
    """Bands over rank 1 (empty), 2, 4 and 8 (open above), and at another confidence one decade higher."""
    rates = np.logspace(-3, 1, 41)
    ends = {1.0: (0.01, 0.01), 2.0: (0.01, 0.1), 4.0: (0.01, 0.5), 8.0: (0.01, 100.0)}
    tables = [
        band_of(np.full(4, low * c), np.full(4, high * c), rates, rank=rank, confidence=c)
        for c in (1.0, 10.0)
        for rank, (low, high) in ends.items()
    ]
    return analysis.learnable_band(pd.concat(tables))


def test_band_plot_shows_the_band_its_width_and_what_is_open() -> None:
    band = band_table()
    one = band[band["confidence"] == 1]
    for width in (figures.ONE_COLUMN, figures.TWO_COLUMNS):
        fig = figures.band_plot(one, x="rank", width=width)
        top, bottom = fig.axes
        assert (top.get_xscale(), top.get_yscale(), bottom.get_yscale()) == ("log", "log", "linear")
        (area,) = [c for c in top.collections if isinstance(c, PolyCollection)]
        found = one[one["width_decades"] > 0]
        corners = {tuple(corner) for corner in outline(area)}
        assert {
            *zip(found["rank"], found["lr_low"], strict=True),
            *zip(found["rank"], found["lr_high"], strict=True),
        } <= (corners)
        assert min(x for x, _ in corners) == 2  # the empty band has no part in it
        (points,) = bottom.get_lines()
        np.testing.assert_allclose(ys(points), one["width_decades"])
        assert [a.xy for a in top.findobj(Annotation)] == [(8, pytest.approx(one["lr_high"].max() * 1.6))]
        assert [a.xyann for a in bottom.findobj(Annotation)] == [(8, one["width_decades"].max())]
        (bars,) = [c for c in bottom.collections if isinstance(c, LineCollection)]
        low, high = np.array(bars.get_segments())[:, :, 1].T
        np.testing.assert_allclose(low, one["width_low"])
        np.testing.assert_allclose(high[:3], one["width_high"][:3])
        assert "Band: at least 50% of seeds learned." in text(fig)
        assert "Arrows: 1 of 4 bands reach an end" in text(fig)


def test_band_plot_tells_series_apart_and_names_mistakes() -> None:
    band = band_table()
    fig = figures.band_plot(band, x="rank")
    assert "c = 1" in text(fig) and "c = 10" in text(fig)
    assert len({line.get_color() for line in fig.axes[1].get_lines()}) == 2
    with pytest.raises(UsageError, match="no rows"):
        figures.band_plot(band.iloc[:0], x="rank")
    with pytest.raises(UsageError, match=r"missing column\(s\) lr_low"):
        figures.band_plot(band.drop(columns="lr_low"), x="rank")
    zero = figures.band_plot(band.assign(rank=band["rank"] - band["rank"].min()), x="rank")
    assert {ax.get_xscale() for ax in zero.axes} == {"linear"}
    with pytest.raises(UsageError, match="in none of 2 cells does a rate learn"):
        figures.band_plot(band[band["rank"] == 1], x="rank")
    many = pd.concat([band.assign(dt_ms=float(i)) for i in range(4)])
    with pytest.raises(UsageError, match="at most 6 series, found 8"):
        figures.band_plot(many, x="rank")


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
    with pytest.raises(UsageError, match="canonical form in closed form, found 'rank_one'"):
        figures.eta_collapse(runs.assign(model="rank_one"))


def test_a_single_seed_is_enough() -> None:
    runs = canonical([50, 100], ETAS[::3], 1, epochs=500).runs
    assert "seeds disagree" not in text(figures.phase_diagram(runs))
    assert len(figures.eta_collapse(runs[runs["timescale"] == 50]).axes[0].get_lines()) == 2
    assert len(meshes(figures.phase_diagram(runs[runs["timescale"] == 50]).axes[0])) == 1


def test_empty_tables_and_missing_columns_are_named(sweep: SimpleNamespace) -> None:
    runs, critical = sweep.runs, analysis.critical_lr(sweep.runs)
    cases = ((figures.phase_diagram, runs), (figures.eta_collapse, runs), (figures.scaling_plot, critical))
    for draw, table in cases:
        with pytest.raises(UsageError, match="no rows"):
            draw(table.iloc[:0])
        with pytest.raises(UsageError, match=r"missing column\(s\) timescale"):
            draw(table.drop(columns="timescale"))
    with pytest.raises(UsageError, match="no run has both confidence and learning_rate"):
        figures.phase_diagram(runs, x="confidence")


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


@pytest.mark.parametrize(("lowest", "scale"), [(1e-3, "log"), (0.0, "log"), (-0.5, "linear")])
def test_learning_curves_show_what_lies_below_zero(lowest: float, scale: str) -> None:
    loss = np.array([5.0, 0.1, lowest])
    curves = pd.DataFrame({"epoch": range(3), "loss": loss, "accuracy": 0.5, "grad_norm": 1.0})
    ax = figures.learning_curves({"one": curves}).axes[0]
    assert ax.get_yscale() == scale
    assert list(ax.get_lines()[0].get_ydata()) == list(loss) and (scale == "log" or ax.get_ylim()[0] < lowest)


@pytest.mark.parametrize("broken", [r"\input", r"\input{x}", "x^2", "$", "{", r"\frac{1}"])
def test_a_symbol_that_no_formula_can_have_stands_as_the_name(broken: str) -> None:
    table = pd.DataFrame({"gain": [1.0]})
    table.attrs["symbols"] = {"gain": broken}
    assert style.symbol(table, "gain") == r"\mathrm{gain}"
