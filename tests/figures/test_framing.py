"""What stands around the panels: heads, legends and small print inside the canvas, ticks, arrows, users' own axes."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from drawn import ETAS, canonical, legend, meshes, network, text, xs, ys
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from planted import band_of, table_of

from ghostsweep import analysis, figures
from ghostsweep.errors import UsageError
from ghostsweep.figures import framing, naming, style

WIDTHS = (figures.ONE_COLUMN, figures.TWO_COLUMNS)
TITLE = "A long title of a sweep that says all it asks: learning rate against the timescale, at six confidences"
NOTE = "104 of 416 runs; T = 10, 20 missing; the sweep file has changed since"
RATES = np.logspace(-3, 1, 41)


def cells(n: int, ranks: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)) -> pd.DataFrame:
    """Runs of n series along the rank, told apart by two numbers with many digits."""
    rng = np.random.default_rng(0)
    parts = [
        band_of(
            0.002 * np.exp(0.1 * rng.standard_normal(5)),
            0.05 * rank * np.exp(0.1 * rng.standard_normal(5)),
            RATES,
            rank=rank,
            some_long_name=0.123456 + i,
            another_long_name=0.9876 - (i % 2),
        )
        for i in range(n)
        for rank in ranks
    ]
    return pd.concat(parts, ignore_index=True).assign(run_id=lambda t: t.index.astype(str))


def lettered(kinds: list[str]) -> pd.DataFrame:
    return table_of(np.array([kinds] * 2), np.logspace(-3, 2, len(kinds))).assign(run_id=lambda t: t.index.astype(str))


def draw(kind: str, width: float) -> Figure:
    look = {"width": width, "title": TITLE, "note": NOTE}
    if kind == "phase":
        runs = pd.concat([lettered(list(analysis.OUTCOMES)).assign(confidence=c) for c in (1.0, 2.0)])
        runs["run_id"] = np.arange(len(runs)).astype(str)
        return figures.phase_diagram(runs, **look)
    if kind == "band":
        return figures.band_plot(analysis.learnable_band(cells(6)), x="rank", **look)
    if kind == "scaling":
        critical = analysis.critical_lr(cells(3))
        return figures.scaling_plot(critical, analysis.fit_power_law(critical, x="rank"), x="rank", **look)
    if kind == "eta":
        return figures.eta_collapse(canonical([10, 20, 50, 100, 200, 500, 1000], ETAS[::4], 2, 100).runs, **look)
    results = network(np.logspace(-4, 0, 7), 3, (10, 1_000, 4_999))
    if kind == "loss":
        return figures.loss_against_learning_rate(results, TITLE, width=width, note=NOTE)
    several = [results.runs.assign(rank=float(k), run_id=results.runs["run_id"] + str(k)) for k in range(12)]
    curves = [results.curves.assign(run_id=results.curves["run_id"] + str(k)) for k in range(12)]
    both = SimpleNamespace(runs=pd.concat(several), curves=pd.concat(curves))
    return figures.loss_against_learning_rate(both, TITLE, by=["rank"], width=width, note=NOTE)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["phase", "band", "scaling", "eta", "loss", "loss by rank"])
def test_nothing_reaches_over_the_canvas_and_nothing_over_another(kind: str, width: float) -> None:
    fig = draw(kind, width)
    assert fig.get_figwidth() == width
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer, (right, top) = canvas.get_renderer(), canvas.get_width_height()
    outer = [*fig.legends, *fig.texts]
    assert len(fig.legends) == 1 and {NOTE, TITLE} <= {" ".join(t.get_text().split()) for t in fig.texts}
    framed = [one.get_window_extent(renderer) for one in outer if not isinstance(one, Text) or one.get_text()]
    for box in framed + [ax.get_tightbbox(renderer) for ax in fig.axes if ax.get_visible()]:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= right and box.y1 <= top
    panels = [ax.get_window_extent(renderer) for ax in fig.axes if ax.get_visible()]
    for i, box in enumerate(framed):
        assert not any(box.overlaps(other) for other in [*framed[i + 1 :], *panels])
    assert min(float(t.get_fontsize()) for t in fig.findobj(Text) if t.get_text()) >= 7


def test_a_head_says_what_a_figure_is_of() -> None:
    runs = cells(1).assign(epochs=lambda t: np.where(t["rank"] > 2, 2_000, 1_000), model="own_net@1a2b3c4d")
    for fig in (
        figures.phase_diagram(runs, x="rank", title="Ranks"),
        figures.phase_diagram(runs, x="rank", title="Ranks\nown net, delayed activation, 1,000–2,000 epochs, 5 seeds"),
    ):
        assert [t.get_text() for t in fig.texts[:2]] == [
            "Ranks",
            "own net, delayed activation, 1,000–2,000 epochs, 5 seeds",
        ]
    band = figures.band_plot(analysis.learnable_band(runs), x="rank")
    assert "own net, 1,000–2,000 epochs, 5 seeds" in text(band)


def test_lines_are_broken_at_spaces_where_they_are_too_wide() -> None:
    lines = framing.wrapped(f"{TITLE} $1\\, T^{{-5}}$ and so on", 2.0).split("\n")
    assert len(lines) > 2 and max(framing.extent(line) for line in lines) <= 2.0
    assert " ".join(lines) == f"{TITLE} $1\\, T^{{-5}}$ and so on"
    assert framing.wrapped("$1\\, T ^ 5$ b", 0.01) == "$1\\, T ^ 5$\nb"


def shown(fig: Figure, panel: int = -1) -> list[str]:
    fig.draw_without_rendering()
    ax = [ax for ax in fig.axes if ax.get_visible()][panel]
    return [label.get_text() for label in ax.get_xticklabels() if label.get_text()]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_measured_value_has_a_tick_and_as_many_labels_as_there_is_room_for(width: float) -> None:
    def all_three(ranks: tuple[float, ...]) -> list[Figure]:
        runs = cells(1, ranks)
        return [
            figures.phase_diagram(runs, x="rank", width=width),
            figures.band_plot(analysis.learnable_band(runs), x="rank", width=width),
            figures.scaling_plot(analysis.critical_lr(runs), x="rank", width=width),
        ]

    for fig in all_three((5.0, 10.0, 20.0, 30.0)):
        assert shown(fig) == ["5", "10", "20", "30"]
    close = (10.0, *(100.0 + k for k in range(8)))
    for fig in all_three(close):
        labels = shown(fig)
        assert labels[0] == "10" and labels[-1] == "107" and len(labels) < 9
        assert set(close) <= set(fig.axes[-1].get_xticks())
        boxes = [t.get_window_extent() for t in fig.axes[-1].get_xticklabels() if t.get_text()]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])


def critical_of(ends: list[tuple[float, float]]) -> pd.DataFrame:
    """Upper boundaries at ranks 1, 2, ... at 0.1, with these ends of their intervals."""
    low, high = np.array(ends).T
    rank = np.arange(1.0, len(ends) + 1)
    table = pd.DataFrame({"model": "rank_one", "timescale": 20.0, "rank": rank, "boundary": "upper", "share": 0.5})
    return table.assign(
        lr_below=0.09, lr_above=0.11, lr_critical=0.1, ci_low=low, ci_high=high, censored="", level=0.95, n_seeds=5
    )


OPEN = [(0.05, 0.2), (0.05, 0.2), (0.05, np.inf), (0.05, 0.2), (0.0, 0.2), (0.05, 0.2), (0.05, 0.2)]


def test_an_open_interval_is_an_arrow_and_never_shaded() -> None:
    runs = cells(1, tuple(range(1, 8)))
    for fig, shaded in (
        (figures.phase_diagram(runs, x="rank", critical=critical_of(OPEN)), True),
        (figures.scaling_plot(critical_of(OPEN), x="rank"), False),
    ):
        ax = fig.axes[0]
        arrows = [a for a in ax.findobj(Annotation) if a.arrow_patch is not None]
        assert [(a.xyann, a.xy[0], a.xy[1] > 0.1) for a in arrows] == [((5, 0.1), 5, False), ((3, 0.1), 3, True)]
        assert "Arrows at points: their intervals are open at that end." in text(fig)
        low, high = ax.get_ylim()
        tips = np.clip([0.1 * (high / low) ** end for end in (-0.08, 0.08)], low, high)
        np.testing.assert_allclose([a.xy[1] for a in arrows], tips)
        bars = [s for c in ax.collections if isinstance(c, LineCollection) for s in c.get_segments()]
        found = {tuple(np.round(bar[:, 1], 9)) for bar in bars}
        assert found == {(0.05, 0.2), (0.05, 0.1), (0.1, 0.2)}
        areas = [c for c in ax.collections if isinstance(c, PolyCollection)]
        spans = {(p.vertices[:, 0].min(), p.vertices[:, 0].max()) for c in areas for p in c.get_paths()}
        spans = {(first, last) for first, last in spans if last > first}
        assert spans == ({(1, 2), (6, 7)} if shaded else set())  # of rank 4 both neighbours are open


def test_residuals_have_the_same_arrows_and_closed_intervals_none() -> None:
    critical = critical_of(OPEN)
    fig = figures.scaling_plot(critical, analysis.fit_power_law(critical, x="rank"), x="rank")
    arrows = [a for a in fig.axes[1].findobj(Annotation) if a.arrow_patch is not None]
    assert [(a.xy[0], np.sign(a.xyann[1])) for a in arrows] == [(5, -1), (3, 1)]
    closed = critical_of([(0.05, 0.2)] * 4)
    fig = figures.scaling_plot(closed, analysis.fit_power_law(closed, x="rank"), x="rank")
    assert not [a for a in fig.findobj(Annotation) if a.arrow_patch is not None] and "Arrows" not in text(fig)


def test_a_paler_colour_is_shown_in_a_colour_of_the_diagram() -> None:
    kinds = np.array(
        [["plateau", "learned", "trapped"], ["plateau", "trapped", "trapped"], ["plateau", "learned", "trapped"]]
    )
    runs = table_of(kinds, np.array([0.1, 0.2, 0.4])).assign(run_id=lambda t: t.index.astype(str))
    fig = figures.phase_diagram(runs)
    (box,) = fig.legends
    faces = [tuple(patch.get_facecolor()[:3]) for patch in box.get_patches()]
    base = np.array(to_rgb(style.OUTCOME_COLORS["learned"]))
    assert legend(fig) == ["plateau", "learned", "trapped", "paler: seeds disagree", *legend(fig)[4:]]
    np.testing.assert_allclose(faces[3], base)
    for face in faces[4:6]:  # paler, on the line to white
        share = (1 - np.array(face)) / (1 - base)
        np.testing.assert_allclose(share, share[0])
        assert 0.3 < share[0] < 0.8


def test_curves_that_coincide_are_all_visible() -> None:
    runs = canonical([10, 20, 50, 100, 200, 500, 1000], ETAS, 2, 100).runs
    fig = figures.eta_collapse(runs)
    lines = fig.axes[0].get_lines()[:6]
    assert legend(fig) == ["10", "20", "50", "200", "500", "1000"] and "6 of 7 timescales" in text(fig)
    on = np.zeros((len(lines), 1200), dtype=int)
    for row, line in zip(on, lines, strict=True):
        offset, (dash, gap) = line._unscaled_dash_pattern  # type: ignore[attr-defined]
        row[:] = (np.arange(0, 120, 0.1) + 0.01 + offset) % (dash + gap) < dash
    assert (on.sum(axis=0) == 1).all() and (on.sum(axis=1) > 0).all()


def test_a_notebook_shows_a_figure_that_is_the_value_of_a_cell() -> None:
    fig = figures.phase_diagram(cells(1), x="rank")
    picture = imread(io.BytesIO(fig._repr_png_()))  # type: ignore[attr-defined]
    assert isinstance(fig, Figure) and picture.shape[1] == round(7.0 * 150)
    assert picture[..., :3].std() > 0.1


def test_a_single_panel_is_drawn_into_axes_of_the_user() -> None:
    mine = Figure(figsize=(8, 3), layout="constrained")
    left, right = mine.subplots(1, 2)
    runs = cells(1)
    assert figures.phase_diagram(runs, x="rank", ax=left, title="Ranks", note=NOTE) is mine
    results = network(np.logspace(-4, 0, 7), 3, (10, 4_999))
    assert figures.loss_against_learning_rate(results, "Losses", ax=right) is mine
    assert len(meshes(left)) == 4 and len(right.get_lines()) == 2
    assert mine.axes == [left, right] and not mine.legends
    for ax, words in ((left, f"Ranks {NOTE}"), (right, "Losses epoch (mean ± sem)")):
        box = ax.get_legend()
        assert isinstance(box, Legend) and " ".join(box.get_title().get_text().split()) == words
    with pytest.raises(UsageError, match="ax takes one panel, and confidence would make 2"):
        figures.phase_diagram(pd.concat([runs.assign(confidence=c) for c in (1.0, 2.0)]), x="rank", ax=left)


def test_loss_by_a_field_has_a_line_for_each_value_at_the_last_epoch() -> None:
    results = network(np.logspace(-4, 0, 7), 3, (10, 4_999))
    other = results.curves.assign(run_id=results.curves["run_id"] + "b", loss=results.curves["loss"] / 2)
    runs = [results.runs.assign(optimizer="sgd"), results.runs.assign(optimizer="adam")]
    runs[1]["run_id"] += "b"
    both = SimpleNamespace(runs=pd.concat(runs), curves=pd.concat([results.curves, other]))
    fig = figures.loss_against_learning_rate(both, "Both", by=["optimizer"])
    last = results.curves[results.curves["epoch"] == 4_999].merge(results.runs, on="run_id")
    mean = last.groupby("learning_rate")["loss"].mean()
    assert legend(fig) == ["sgd", "adam"] and "epoch 4,999" in text(fig)
    for line, factor in zip(fig.axes[0].get_lines(), (1, 0.5), strict=True):
        np.testing.assert_allclose(xs(line), mean.index)
        np.testing.assert_allclose(ys(line), mean * factor)
    with pytest.raises(UsageError, match="learning_rate and seed only, found optimizer"):
        figures.loss_against_learning_rate(both, "Both")
    with pytest.raises(UsageError, match=r"missing column\(s\) nothing"):
        figures.loss_against_learning_rate(both, "Both", by=["nothing"])


def test_only_what_varies_beside_a_choice_is_named() -> None:
    adam = {"optimizer": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    plain = pd.DataFrame([adam, {"optimizer": "sgd"}])
    keys = list(plain)
    assert [naming.name_of(plain, keys, row) for _, row in plain.iterrows()] == ["adam", "sgd"]
    more = pd.DataFrame([adam, adam | {"beta1": 0.5}, {"optimizer": "sgd"}])
    names = [naming.name_of(more, keys, row) for _, row in more.iterrows()]
    assert names == ["adam, beta1 = 0.9", "adam, beta1 = 0.5", "sgd"]
    cue = pd.DataFrame({"model": ["full_rank"] * 2, "task": ["dcdt", "dmts"], "learned_loss": [0.03, 0.013]})
    assert [naming.name_of(cue, list(cue), row) for _, row in cue.iterrows()] == ["dcdt", "dmts"]


def test_pictures_are_saved_as_they_are_shown(tmp_path: Path) -> None:
    fig = draw("band", figures.ONE_COLUMN)
    png, _ = figures.save(fig, tmp_path / "band")
    height = round(fig.get_figheight() * 300)
    assert abs(imread(png).shape[0] - height) <= 1
