"""Dense phase diagrams: what is handed to the artists, and the exact boundary at eta = 3/4."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import labelled, meshes, text, xs
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

import ghostsweep
from ghostsweep import figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import gallery
from ghostsweep.figures.dense import ALIVE_MAP, TRAPPED_MAP, grid
from ghostsweep.spec import loads
from ghostsweep.store import tables

UNIT = float(1 / theory.eta(1.0, 100.0))
"""Learning rate of eta = 1."""


def trained(name: str, rates: str, starts: str, folder: Path, epochs: int = 400) -> tables.Tables:
    sweep = f'[run]\nmodel = "canonical"\ntimescale = 100.0\nepochs = {epochs}\n[axes]\n'
    return ghostsweep.run(loads(f"{sweep}learning_rate = {rates}\nr_start = {starts}\n", name=name), out=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a dense sweep and of a zoom into it."""
    out = tmp_path_factory.mktemp("results")
    trained("coarse", "{ logspace = [-9.9, -6.9, 103] }", "{ logspace = [-0.6, 1.5, 120] }", out)
    fine = f"{{ linspace = [{0.72 * UNIT}, {0.78 * UNIT}, 201] }}"  # 0.04% of eta = 3/4 apart
    trained("coarse_zoom", fine, "{ linspace = [1.001, 1.5, 101] }", out)
    return out


@pytest.fixture(scope="module")
def both(folder: Path) -> list[pd.DataFrame]:
    return [tables.read(name, folder).runs for name in ("coarse", "coarse_zoom")]


@pytest.fixture(scope="module")
def drawn(both: list[pd.DataFrame]) -> Figure:
    return figures.dense_diagram(*both)


def test_no_run_is_trapped_below_three_quarters_and_some_right_above(both: list[pd.DataFrame]) -> None:
    for runs in both:
        eta = pd.Series(theory.eta(runs["learning_rate"], runs["timescale"]))
        trapped = runs["final_grad_norm"] == 0
        assert (eta < theory.CRITICAL_ETA).sum() > 3_000
        assert not trapped[eta < theory.CRITICAL_ETA].any()
        next_on_the_grid = eta[eta > theory.CRITICAL_ETA].min()
        assert eta[trapped].min() <= max(next_on_the_grid, 1.001 * theory.CRITICAL_ETA)
        assert (runs.loc[trapped, "final_loss"] == 1).all()


def shade(bar: Axes, cmap: Colormap, values: pd.Series) -> np.ndarray:
    return np.asarray(cmap(LogNorm(*bar.get_xlim(), clip=True)(values.to_numpy())))[:, :3]


def test_every_run_is_a_pixel_shaded_by_its_row(drawn: Figure, both: list[pd.DataFrame]) -> None:
    trapped_bar, alive_bar = drawn.axes[2:]
    for ax, runs in zip(drawn.axes, both, strict=False):
        (mesh,) = meshes(ax)
        assert mesh.get_rasterized()
        corners, pixels = np.asarray(mesh.get_coordinates()), np.asarray(mesh.get_array())
        assert pixels.shape == (runs["r_start"].nunique(), runs["learning_rate"].nunique(), 3)
        column = np.searchsorted(corners[0, :, 0], theory.eta(runs["learning_rate"], 100.0)) - 1
        row = np.searchsorted(corners[:, 0, 1], runs["r_start"]) - 1
        assert len(set(zip(row, column, strict=True))) == len(runs)
        is_trapped = (runs["final_grad_norm"] == 0).to_numpy()
        assert 0.1 < is_trapped.mean() < 0.9
        for which, bar, cmap, values in (
            (is_trapped, trapped_bar, TRAPPED_MAP, runs["epochs"] * (1 - runs["mean_loss"])),
            (~is_trapped, alive_bar, ALIVE_MAP, runs["recent_mean_loss"]),
        ):
            np.testing.assert_allclose(pixels[row, column][which], shade(bar, cmap, values[which]), atol=1e-9)
    warm, cold = (cmap(np.linspace(0.1, 0.9, 9)) for cmap in (TRAPPED_MAP, ALIVE_MAP))
    assert (warm[:, 0] > warm[:, 2] + 0.1).all()
    assert (cold[:, 2] > cold[:, 0] + 0.02).all()


def test_lived_is_the_sum_over_the_history_of_a_run(both: list[pd.DataFrame]) -> None:
    runs, arranged = both[0], grid(both[0])
    trapped = runs[runs["final_grad_norm"] == 0].sort_values("mean_loss")
    for _, row in trapped.iloc[[0, len(trapped) // 2, -1]].iterrows():
        fields = {name: row[name] for name in ("model", "timescale", "learning_rate", "r_start", "epochs")}
        history = ghostsweep.train_one(ghostsweep.Run(**fields))
        place = np.searchsorted(arranged.start, row["r_start"]), np.searchsorted(arranged.eta, _eta(row) * (1 - 1e-9))
        assert arranged.lived[place] == pytest.approx((1 - history.loss).sum(), rel=1e-6)
        assert arranged.lived[place] <= np.flatnonzero(history.grad_norm)[-1] + 1
        assert np.isnan(arranged.recent[place])


def _eta(row: pd.Series) -> float:
    return float(theory.eta(row["learning_rate"], row["timescale"]))


def test_order_of_the_rows_does_not_matter(both: list[pd.DataFrame]) -> None:
    for one, other in zip(grid(both[0]), grid(both[0].sample(frac=1, random_state=1)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_zoom_is_framed_and_the_exact_rate_marked(drawn: Figure, both: list[pd.DataFrame]) -> None:
    first, second = drawn.axes[:2]
    for ax in (first, second):
        assert set(xs(labelled(ax, "exact critical rate"))) == {0.75}
    (frame,) = [patch for patch in first.patches if isinstance(patch, Rectangle) and patch.get_label() == "zoom"]
    corners = [frame.get_corners()[i] for i in (0, 2)]
    np.testing.assert_allclose(np.transpose(corners), [second.get_xlim(), second.get_ylim()])
    assert sum(isinstance(child, ConnectionPatch) for child in second.get_children()) == 2
    for words in ("initial r (r*)", "trapped (dark: early): sum of 1 − loss", "not trapped: recent mean loss"):
        assert words in text(drawn)
    alone = figures.dense_diagram(both[0])
    assert len(alone.axes) == 3
    assert not alone.axes[0].patches


def test_panels_stand_above_each_other_in_one_column(both: list[pd.DataFrame]) -> None:
    fig = figures.dense_diagram(*both, width=figures.ONE_COLUMN)
    fig.draw_without_rendering()
    first, second, *bars = (ax.get_position() for ax in fig.axes)
    assert first.x0 == pytest.approx(second.x0)
    assert second.y1 < first.y0
    assert all(bar.y1 < second.y0 for bar in bars)


@pytest.mark.parametrize(
    "change", ["few", "twice", "network", "simulated", "adam", "momentum", "spread", "epochs", "several T", "hole"]
)
def test_only_full_dense_grids_of_the_closed_form_are_drawn(both: list[pd.DataFrame], change: str) -> None:
    runs = both[0]
    changed = {
        "few": runs[runs["r_start"] > 1],
        "twice": pd.concat([runs, runs.assign(seed=1)]),
        "network": runs.assign(model="rank_one"),
        "simulated": runs.assign(model="canonical_simulated"),
        "adam": runs.assign(optimizer="adam"),
        "momentum": runs.assign(momentum=0.9),
        "spread": runs.assign(r_start_sigma=0.1),
        "epochs": runs.assign(epochs=np.arange(len(runs))),
        "several T": pd.concat([runs, runs.assign(timescale=50.0)]),
        "hole": runs.iloc[1:],
    }[change]
    assert figures.is_dense(runs)
    assert not figures.is_dense(changed)
    with pytest.raises(UsageError, match="more than 100 learning rates"):
        figures.dense_diagram(changed)
    with pytest.raises(UsageError, match="final_grad_norm"):
        figures.dense_diagram(runs.drop(columns="final_grad_norm"))


def test_plot_draws_a_dense_sweep_with_its_zoom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Figure] = {}

    def save(fig: Figure, path: Path) -> list[Path]:
        saved[path.name] = fig
        return [path]

    monkeypatch.setattr(gallery, "save", save)
    for name in ("coarse", "coarse_zoom"):
        assert ghostsweep.plot(name, out=folder, to="figures") == [Path(f"figures/{name}.dense")]
    assert [len(fig.axes) for fig in saved.values()] == [4, 3]
    np.testing.assert_allclose(saved["coarse.dense"].axes[1].get_xlim(), saved["coarse_zoom.dense"].axes[0].get_xlim())
