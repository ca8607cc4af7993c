"""What became of the runs in the tables that are kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep.analysis import COLLAPSED, outcomes, trapped
from ghostsweep.analysis.levels import levels

RESULTS = Path(__file__).parents[2] / "results"


def judged(name: str) -> pd.DataFrame:
    return outcomes(ghostsweep.read(name, RESULTS).runs)


@pytest.mark.parametrize(
    ("name", "most"),
    [("fig6a_rank_one", "learned"), ("rank_one_lr_timescale", "trapped"), ("fig7_dcdt", "learned")],
)
def test_kept_results_are_what_their_losses_say(name: str, most: str) -> None:
    found = judged(name)
    assert found["outcome"].mode().tolist() == [most]
    assert not found["outcome"].isin(["trapped_at_start", "diverged"]).any()  # every start had a gradient
    # The loss of an output that is confident and wrong: mostly all of T, in 3 of 3,298 runs for 5/7 of it.
    at_chance = 0.5 if name == "fig7_dcdt" else 0.71
    assert (found.loc[found["outcome"] == "trapped", "recent_mean_loss"] > at_chance).all()
    assert found.loc[found["outcome"] == "plateau", "learned_epoch"].isna().all()


def test_networks_at_the_floor_of_their_readout_have_learned() -> None:
    """Fig. 8c: scaled to 0.1, 0.5 and 1 no loss below 0.368, 0.131 and 0.026 is possible, where 0.03 was asked for."""
    runs = judged("fig8c_readout")
    floor = pd.Series(levels(runs).floor, index=runs.index).groupby(runs["readout_l1"]).first()
    np.testing.assert_allclose(floor, [0.3684, 0.1315, 0.0258, 0], atol=2e-4)
    right = runs[(runs["readout_l1"] == 0.5) & (runs["recent_max_accuracy"] > 0.999)]
    # Without a gradient, since there is nothing left to win: they were called trapped, or on a plateau.
    assert (right["recent_mean_grad_norm"] < 1e-3 * right["initial_grad_norm"]).sum() >= 13
    assert not right["outcome"].isin(COLLAPSED).any()
    assert (right.loc[right["recent_mean_loss"] < 0.15, "outcome"] == "learned").all()
    at_floor = runs[(runs["readout_l1"] == 0.1) & (runs["recent_mean_loss"] < 0.372)]
    assert len(at_floor) > 40 and (at_floor["outcome"] == "learned").mean() > 0.95


def test_networks_that_flicker_have_not_learned() -> None:
    """Fig. 8c scaled to 3, trained again: these seeds had 10 to 38% of their last 50 losses above learned_loss."""
    runs = judged("fig8c_readout")
    low = runs[(runs["readout_l1"] == 3) & (runs["recent_mean_loss"] < runs["learned_loss"])]
    assert low["outcome"].value_counts()[["learned", "oscillating"]].tolist() == [19, 8]
    assert (low.loc[low["final_loss"] > 0.03, "outcome"] == "oscillating").all()


def test_networks_on_the_best_constant_output_are_on_a_plateau() -> None:
    runs = judged("cue_lr_delay").query("task == 'dcdt' and delay_ms == 200 and learning_rate < 0.02")
    assert (runs["outcome"] == "plateau").all() and len(runs) == 10
    lost = runs["recent_mean_grad_norm"] < 1e-3 * runs[["initial_grad_norm", "mean_grad_norm"]].max(axis=1)
    assert runs.loc[lost, ["learning_rate", "seed"]].round(2).to_numpy().tolist() == [
        [0.01, 0], [0.01, 3], [0.01, 4], [0.02, 0],
    ]  # fmt: skip
    for name in ("cue_lr_delay", "cue_lr_confidence", "fig7_dcdt", "fig7_dmts"):
        found = judged(name)
        trapped = found[found["outcome"] == "trapped"]
        known = levels(trapped)
        assert (trapped["recent_mean_loss"] > known.constant * 1.05).all()
        assert (trapped["recent_max_accuracy"] <= known.chance + 0.04).all()


@pytest.mark.parametrize("name", ["fig6b_rank_reduced", "rank_lr", "rank_one_lr_timescale", "fig6a_rank_one"])
def test_what_has_learned_and_fell_back_was_not_low_again(name: str) -> None:
    tables = ghostsweep.read(name, RESULTS)
    runs, curves = outcomes(tables.runs), tables.curves
    fallen = runs[(runs["outcome"] == "fallen_back") & runs["learned_epoch"].notna()]
    late = fallen["min_loss_epoch"] >= fallen["epochs"] / 2
    assert ((fallen["final_loss"] / fallen["recent_mean_loss"])[late] - 1).abs().max() < 0.03 or not late.any()
    half = curves[curves["epoch"] >= curves["run_id"].map(runs.set_index("run_id")["epochs"]) / 2]
    lowest = half.groupby("run_id")["loss"].min().reindex(fallen.loc[~late, "run_id"])
    assert len(fallen) > 0 and (lowest > 0.1).mean() > 0.95
    learned = runs["learned_epoch"].notna() & (runs["min_loss_epoch"] < runs["epochs"] / 2)
    assert (runs.loc[learned & (runs["outcome"] == "oscillating"), "recent_max_accuracy"] > 0.8).all()


@pytest.mark.parametrize("name", ["fig6b_rank_reduced", "rank_lr", "cue_lr_confidence", "cue_lr_delay"])
def test_unstable_networks_lie_above_the_rates_that_learn(name: str) -> None:
    """Plateaus below, unstable and fallen back above the middle of the rates at which the cell's runs learn.

    Where confidence is low, outputs rest on the best constant one at high rates too.
    """
    runs = judged(name)
    cell = runs.groupby([c for c in ("task", "rank", "delay_ms", "confidence") if c in runs])
    learned = cell.apply(
        lambda c: np.log(c.loc[c["outcome"] == "learned", "learning_rate"]).mean(), include_groups=False
    )
    at = np.log(runs["learning_rate"]) - runs.join(learned.rename("middle"), on=learned.index.names)["middle"]
    assert (at[runs["outcome"].isin(["unstable", "fallen_back"])].dropna() > 0).mean() > 0.85
    slow = at[runs["outcome"] == "plateau"].dropna()
    assert (slow < 0).mean() > 0.75 or len(slow) < 3


def test_half_of_the_committed_rank_one_networks_are_trapped() -> None:
    runs = ghostsweep.read(RESULTS / "fig8b_confidence").runs
    caught = trapped(runs)
    first = runs[runs["phase"] == 1]
    lost = (first["max_accuracy"] > 0.5) & (first["recent_mean_grad_norm"] < 1e-3)
    assert caught["run_id"].tolist() == first.loc[lost, "run_id"].tolist()
