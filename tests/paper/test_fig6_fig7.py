"""Figures 6 and 7 of the paper, tested by the data handed to the artists."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import labelled, network, outline, text, xs, ys
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from planted import runs_of

import ghostsweep
from ghostsweep import figures
from ghostsweep.analysis import OUTCOMES
from ghostsweep.errors import UsageError
from ghostsweep.figures.style import OUTCOME_COLORS
from ghostsweep.paper.collapse import cue_responses
from ghostsweep.paper.fig6 import _MOVED, EPOCHS, fig6
from ghostsweep.paper.fig7 import EXAMPLE_RATES, fig7
from ghostsweep.store import tables

RESULTS = Path(__file__).parents[2] / "results"
RATES = np.geomspace(1e-3, 1, 10)
RANKS = (1, 3, 100)
BOTH_WIDTHS = pytest.mark.parametrize("width", [figures.ONE_COLUMN, figures.TWO_COLUMNS])


def ranks() -> SimpleNamespace:
    """Tables of a sweep over rank, rate and 4 seeds with random losses, about half of the last ones below 1e-2."""
    rng = np.random.default_rng(2)
    rank, rate, seed = (a.ravel() for a in np.meshgrid(RANKS, RATES, range(4), indexing="ij"))
    run_id = np.array([f"{i:016x}" for i in range(len(rank))])
    epochs = np.array([0, 9, 99, 4_999])
    loss = 10.0 ** rng.uniform([-1, -2, -3, -4], [1, 0, 0, 0], (len(rank), 4))
    runs = pd.DataFrame(
        {"run_id": run_id, "model": "low_rank", "timescale": 20.0, "rank": rank.astype(float), "learning_rate": rate,
         "seed": seed, "epochs": 5_000, "initial_loss": loss[:, 0], "final_loss": loss[:, -1]}
    )  # fmt: skip
    curves = {"run_id": run_id.repeat(4), "epoch": np.tile(epochs, len(rank)), "loss": loss.ravel()}
    meta = {"title": "a tenth of the epochs"}
    return SimpleNamespace(name="fig6b_rank_reduced", meta=meta, runs=runs, curves=pd.DataFrame(curves))


def panels(fig: Figure, start: str) -> list[Axes]:
    """The panels whose title begins so."""
    return [ax for ax in fig.axes if ax.get_title().startswith(start)]


@BOTH_WIDTHS
def test_fig6a_has_a_line_per_epoch_and_a_panel_per_network(width: float) -> None:
    first = network(RATES / 10, 5, EPOCHS)
    fig = fig6(first, network(RATES, 5, EPOCHS), ranks(), width=width)
    assert [ax.get_title() for ax in fig.axes[:2]] == ["rank one", "full rank"]
    merged = first.curves.merge(first.runs[["run_id", "learning_rate"]], on="run_id")
    at = merged[merged["epoch"] == 50_000].groupby("learning_rate")["loss"]
    np.testing.assert_allclose(ys(labelled(fig.axes[0], "50k")), at.mean())
    band = outline(fig.axes[0].collections[EPOCHS.index(50_000)])[:, 1]
    assert set(np.round(at.mean() + at.sem(), 12)) <= set(np.round(band, 12))
    assert "not recorded" not in text(fig)
    assert "a, rank one: 50 runs of 200,001 epochs, 5 seeds." in text(fig)
    assert "b: 120 runs of 5,000 epochs, 4 seeds; reduced, a tenth of the epochs." in text(fig)


def test_fig6a_draws_what_is_recorded_and_refuses_to_pool_other_fields() -> None:
    some, all_epochs = network(RATES / 10, 5, (10_000, 20_000)), network(RATES, 1, EPOCHS)
    some.curves.loc[0, "loss"] = np.nan
    some.curves = some.curves.drop(index=7)  # a diverged run's curve may also simply end
    fig = fig6(some, all_epochs, ranks())
    assert [str(line.get_label()) for line in fig.axes[0].get_lines()] == ["10k", "20k"]
    assert "rank one: epochs 30k, 50k, 100k, 200k not recorded; shown: 10k, 20k." in text(fig)
    assert "rank one: left out 2 of 50 runs" in text(fig)
    assert np.isfinite(ys(labelled(fig.axes[0], "10k"))).all()
    assert np.isfinite(outline(fig.axes[1].collections[0])).all()  # a single seed is enough
    quick = figures.loss_against_learning_rate(network(RATES, 5, (10, 4_999)), "quick", (4_999,))
    assert [str(line.get_label()) for line in quick.axes[0].get_lines()] == ["4,999"]
    some.runs.loc[0, "confidence"] = 1.0
    with pytest.raises(UsageError, match=r"rank one: runs may differ in learning_rate and seed only, found confidence"):
        fig6(some, all_epochs, ranks())


@BOTH_WIDTHS
def test_fig6b_learning_curves_are_means_of_the_normalised_loss(width: float) -> None:
    part, sweep = ranks(), network(RATES, 2, EPOCHS)
    fig = fig6(sweep, sweep, part, width=width)
    table = part.curves.merge(part.runs, on="run_id")
    table["loss"] /= table["initial_loss"]
    shown = [RATES[i] for i in (2, 4, 5, 7)]
    for ax, rate in zip(panels(fig, "lr = "), shown, strict=True):
        for rank in RANKS:
            mean = table[(table["learning_rate"] == rate) & (table["rank"] == rank)].groupby("epoch")["loss"].mean()
            line = labelled(ax, f"{rank}")
            np.testing.assert_allclose(ys(line), mean)
            np.testing.assert_array_equal(xs(line), mean.index + 1)
    lost = part.runs.loc[part.runs["learning_rate"] == shown[0], "run_id"].iloc[0]
    part.curves.loc[part.curves["run_id"] == lost, "loss"] = np.nan
    assert "b: left out 1 of 48 runs" in text(fig6(sweep, sweep, part))


def test_fig6b_share_counts_the_last_loss_over_the_first() -> None:
    part, sweep = ranks(), network(RATES, 2, EPOCHS)
    part.runs.loc[0, "final_loss"] = np.nan  # diverged: not below
    ax = fig6(sweep, sweep, part).axes[-1]
    assert ax.get_ylabel().startswith("share")
    lines = ax.get_lines()
    assert len(lines) == len(RATES)
    drawn = []
    for rate, line in zip(RATES, lines, strict=True):
        share = [
            np.mean([f < 1e-2 * i for f, i in zip(some["final_loss"], some["initial_loss"], strict=True)])
            for _, some in part.runs[part.runs["learning_rate"] == rate].groupby("rank")
        ]
        np.testing.assert_array_equal(xs(line), RANKS)
        np.testing.assert_allclose(ys(line), share, atol=_MOVED + 1e-12)
        drawn += share
    assert 0.2 < np.mean(drawn) < 0.8


def test_fig6b_refuses_what_it_would_pool_or_lacks() -> None:
    part, sweep = ranks(), network(RATES, 2, EPOCHS)
    mixed = SimpleNamespace(**vars(part) | {"runs": part.runs.assign(n_units=[50] + 119 * [100])})
    with pytest.raises(UsageError, match=r"Figure 6b: runs may differ in learning_rate, rank and seed only, found n_u"):
        fig6(sweep, sweep, mixed)
    part.runs = part.runs.drop(columns="final_loss")
    with pytest.raises(UsageError, match=r"Figure 6b, runs: missing column\(s\) final_loss"):
        fig6(sweep, sweep, part)
    with pytest.raises(UsageError, match="rank one, curves: the table has no rows"):
        fig6(SimpleNamespace(runs=sweep.runs, curves=sweep.curves.iloc[:0]), sweep, ranks())


def cues(task: str) -> SimpleNamespace:
    """Tables of a sweep on a cue task: at 3 rates 4 seeds, of which some are learned, trapped or neither."""
    rng = np.random.default_rng(len(task) + ord(task[1]))
    kinds = ["learned"] * 4 + ["learned", "learned", "trapped", "trapped"] + ["trapped"] * 3 + ["plateau"]
    rates = EXAMPLE_RATES[task] * np.array([0.1, 1.1, 10.0])
    numbers = {name: 10.0 ** rng.uniform(-3, 0, 12) for name in ("mean_loss", "final_weight_norm")}
    runs = runs_of(
        kinds, run_id=[f"{task}{i}" for i in range(12)], model="full_rank", task=task, timescale=np.nan,
        learning_rate=rates.repeat(4), seed=np.tile(range(4), 3), epochs=1_000, **numbers,
    ).assign(min_loss=np.append(rng.uniform(0, 1, 11), 0.9))  # fmt: skip
    runs["mean_grad_norm"] = 10.0 ** rng.uniform(-1, 0, 12)
    epochs = np.array([0, 9, 99, 999])
    values = {name: 10.0 ** rng.uniform(-3, 0, 48) for name in ("loss", "grad_norm", "weight_norm")}
    curves = pd.DataFrame({"run_id": runs["run_id"].repeat(4).to_numpy(), "epoch": np.tile(epochs, 12), **values})
    return SimpleNamespace(name=f"fig7_{task}", meta={}, runs=runs, curves=curves)


@pytest.fixture(scope="module")
def collapse() -> tables.Tables:
    return tables.read("fig7_dmts_collapse", RESULTS)


def rows(fig: Figure, label: str) -> list[Axes]:
    """The panels with this y label, of dcdt before dmts."""
    return [ax for ax in fig.axes if ax.get_ylabel().replace("\n", " ") == label]


@BOTH_WIDTHS
def test_fig7a_has_a_point_per_run_and_a_box_per_rate(width: float, collapse: tables.Tables) -> None:
    parts = [cues("dcdt"), cues("dmts")]
    fig = fig7(*parts, collapse, width=width)
    names = {
        "mean_loss": "mean loss",
        "mean_grad_norm": "mean gradient norm",
        "final_weight_norm": "last weight norm",
    }
    for column, name in names.items():
        for part, ax in zip(parts, rows(fig, name), strict=True):
            groups = part.runs.groupby("learning_rate")[column]
            points = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections}
            found = np.concatenate(list(points.values()))
            np.testing.assert_allclose(np.sort(found[:, 1]), np.sort(part.runs[column]))
            for rate, values in groups:
                near = np.abs(np.log(found[:, 0] / rate)) < 0.16
                np.testing.assert_allclose(np.sort(found[near, 1]), np.sort(values))
            medians = [line for line in ax.get_lines() if line.get_linewidth() == 1.0]
            np.testing.assert_allclose([ys(line)[0] for line in medians], groups.median())
            (plateau,) = points["plateau"]
            assert plateau[1] == part.runs[column].iloc[11]
            assert set(points) == set(OUTCOMES)
    assert "a, b, DMTS: 12 runs of 1,000 epochs, 4 seeds." in text(fig)


@BOTH_WIDTHS
def test_fig7b_examples_are_the_runs_of_lowest_loss_of_each_outcome(width: float, collapse: tables.Tables) -> None:
    parts = [cues("dcdt"), cues("dmts")]
    fig = fig7(*parts, collapse, width=width)
    for part, task in zip(parts, ("dcdt", "dmts"), strict=True):
        found = {}
        for outcome, some in (("learned", part.runs.iloc[4:6]), ("trapped", part.runs.iloc[6:8])):
            run = some.sort_values("min_loss").iloc[0]
            found[outcome] = run["seed"]
            curve = part.curves[part.curves["run_id"] == run["run_id"]]
            for column, name in (("loss", "loss"), ("grad_norm", "gradient norm"), ("weight_norm", "weight norm")):
                line = labelled(rows(fig, name)[task == "dmts"], outcome)
                np.testing.assert_array_equal(xs(line), curve["epoch"] + 1)
                np.testing.assert_array_equal(ys(line), curve[column])
                assert line.get_color() == OUTCOME_COLORS[outcome]
        seeds = f"seed {found['learned']} learned, seed {found['trapped']} trapped; of each outcome the run whose loss"
        assert seeds in text(fig).split(f"b, {task.upper()}, lr = ")[1][:80]


def test_fig7_says_what_is_missing(collapse: tables.Tables) -> None:
    dcdt, dmts = cues("dcdt"), cues("dmts")
    dcdt.runs = dcdt.runs[dcdt.runs.index < 6]  # no trapped run
    dmts.runs.loc[[0, 4], "mean_loss"] = [np.nan, 0.0]
    fig = fig7(dcdt, dmts, collapse)
    assert "learned, no run is trapped; of each outcome" in text(fig)
    assert "a, DMTS: left out 2 of 12 runs (mean_loss not finite or 0)." in text(fig)


def test_fig7c_is_the_distribution_on_either_side_of_the_collapse(collapse: tables.Tables) -> None:
    fig = fig7(cues("dcdt"), cues("dmts"), collapse)
    run = collapse.runs.iloc[0].to_dict()
    snapshots = collapse.snapshots(run["run_id"])
    before, after = 17_520, 17_530
    assert f"seed 2 at epochs {before:,} and {after:,}" in text(fig)
    loss = collapse.curves.set_index("epoch")["loss"]
    assert loss[before] < 0.08
    assert (loss[after:] > 0.131).all()
    for epoch, label in ((before, "before (c)"), (after, "after (c)")):
        (index,) = np.flatnonzero(snapshots["epochs"] == epoch)
        params = {name: values[index] for name, values in snapshots.items() if name != "epochs"}
        for ax, values, low in zip(rows(fig, "share"), cue_responses(params, run), (-1, 0), strict=True):
            (drawn,) = [patch for patch in ax.patches if patch.get_label() == label]
            assert epoch == before or low == -1 or values.max() < 0.03  # it answers "no match" to everything
            share = np.histogram(values, 40, (low, 1))[0] / values.size
            assert set(np.round(share, 12)) <= set(np.round(np.asarray(drawn.get_path().vertices)[:, 1], 12)) | {0.0}
            assert share.sum() == pytest.approx(1)


def change(part: Any, **columns: Any) -> SimpleNamespace:
    return SimpleNamespace(
        name=part.name, meta={}, runs=part.runs.assign(**columns), curves=part.curves, snapshots=part.snapshots
    )


def test_fig7_names_mistakes(collapse: tables.Tables) -> None:
    dcdt, dmts = cues("dcdt"), cues("dmts")
    with pytest.raises(UsageError, match="Figure 7, dcdt: needs runs of 'dcdt', found 'dmts'"):
        fig7(dmts, dcdt, collapse)
    with pytest.raises(UsageError, match="Figure 7c, runs: missing column"):
        fig7(dcdt, dmts, SimpleNamespace(runs=dmts.runs.drop(columns="mean_loss"), curves=dmts.curves))
    with pytest.raises(UsageError, match="Figure 7c: needs one value of run_id"):
        fig7(dcdt, dmts, dmts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no collapse found, its gradient is above 1e-06 at the last epoch, 19999"):
        fig7(dcdt, dmts, change(collapse, mean_grad_norm=0.0, initial_grad_norm=0.0))
    dmts.runs.loc[0, "delay_ms"] = 3.0
    with pytest.raises(UsageError, match="Figure 7, dmts: runs may differ in learning_rate and seed only, found delay"):
        fig7(dcdt, dmts, collapse)


def test_a_reduced_sweep_stands_in_for_the_full_one(tmp_path: Path) -> None:
    for name in ("fig6a_rank_one", "fig6a_full"):
        (tmp_path / name).symlink_to(RESULTS / name)
    with pytest.raises(UsageError, match="fig6b_rank: no results; `ghostsweep run"):
        ghostsweep.plot("fig6", out=tmp_path, to=tmp_path)
    (tmp_path / "fig6b_rank_reduced").symlink_to(RESULTS / "fig6b_rank_reduced")
    drawn = ghostsweep.plot("fig6", out=tmp_path, to=tmp_path)
    assert [path.name for path in drawn] == ["fig6.png", "fig6.pdf"]
