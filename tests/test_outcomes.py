"""What became of a run: planted rows, the canonical form, trained networks and the tables that are kept."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import iterate_canonical, runs_of

import ghostsweep
from ghostsweep import theory
from ghostsweep.analysis import OUTCOMES, Criteria, mean_sem, outcomes, shares, trapped
from ghostsweep.errors import UsageError
from ghostsweep.spec import loads

RESULTS = Path(__file__).parent.parent / "results"


def test_each_outcome_is_recognised_and_the_criteria_are_kept() -> None:
    runs = runs_of(list(OUTCOMES))
    judged = outcomes(runs, Criteria(vanished_ratio=0.01))
    assert judged["outcome"].tolist() == list(OUTCOMES)
    assert judged["outcome"].cat.ordered and tuple(judged["outcome"].cat.categories) == OUTCOMES
    criteria = {"vanished_ratio": 0.01, "vanished_norm": 1e-6, "begun_ratio": 0.9}
    assert judged.attrs["criteria"] == criteria
    saved = pd.read_csv(StringIO(judged.to_csv(index=False)))
    assert saved[list(criteria)].drop_duplicates().to_dict("records") == [criteria]
    assert "outcome" not in runs.columns


def test_a_gradient_has_vanished_against_its_own_peak() -> None:
    runs = runs_of(["plateau"] * 4).assign(
        mean_grad_norm=[1.0, 1.0, 0.0, 0.01],
        recent_mean_grad_norm=[9e-4, 2e-3, 0.0, 9e-4],
        initial_grad_norm=[1.0, 1.0, 1.0, 1.0],  # the last was thrown so early that its mean is small
    )
    assert outcomes(runs)["outcome"].tolist() == ["thrown", "plateau", "thrown", "thrown"]
    wide = outcomes(runs, Criteria(vanished_ratio=0.0))["outcome"]
    assert wide.tolist() == ["plateau", "plateau", "thrown", "plateau"]


def test_never_left_means_no_gradient_from_the_start_and_no_fall_of_the_loss() -> None:
    columns = ["initial_grad_norm", "mean_grad_norm", "recent_mean_grad_norm", "min_loss", "expected"]
    rows = [
        (1e-7, 1e-7, 1e-7, 1.0, "never_left"),  # tiny, and of its own size all along
        (0.0, 0.0, 0.0, 1.0, "never_left"),
        (1e-7, 1e-7, 1e-7, 0.85, "thrown"),  # it had begun: a spike that the mean does not show
        (1e-7, 1e-7, 1e-7, 0.95, "never_left"),  # a fall that is none
        (1e-5, 1e-5, 1e-5, 1.0, "plateau"),  # small, but alive
        (1e-7, 1e-2, 1e-2, 1.0, "plateau"),  # came alive
        (1e-7, 1e-2, 0.0, 1.0, "thrown"),  # came alive, and was thrown
        (1e-2, 1e-7, 0.0, 1.0, "thrown"),  # thrown by the first step, before the loss fell
    ]
    runs = pd.DataFrame(rows, columns=columns)
    judged = outcomes(runs_of(["plateau"] * len(rows)).assign(**runs.drop(columns="expected")))
    assert judged["outcome"].tolist() == runs["expected"].tolist()
    strict = outcomes(judged, Criteria(vanished_norm=1e-8, begun_ratio=0.99))["outcome"]
    assert strict.tolist()[:3] == ["plateau", "never_left", "plateau"]


@pytest.mark.parametrize("timescale", [10.0, 1000.0])
def test_the_canonical_gradient_is_judged_in_units_of_its_optimum(timescale: float) -> None:
    """Alive is every r at which a step of its own size changes the loss, whatever T makes of the numbers."""
    s = np.array([10.0, 1000.0, 1e5, 0.2])
    norm = np.abs(theory.gradient(s * theory.optimum(timescale), timescale))
    stuck = dict.fromkeys(("initial_grad_norm", "mean_grad_norm", "recent_mean_grad_norm"), norm)
    runs = runs_of(["plateau"] * 4, model="canonical", timescale=timescale).assign(min_loss=1.0, **stuck)
    assert outcomes(runs)["outcome"].tolist() == ["plateau", "plateau", "never_left", "never_left"]


def test_low_loss_wins_over_a_vanished_gradient_and_threshold_is_the_runs_own() -> None:
    runs = runs_of(["thrown"] * 2).assign(recent_mean_loss=0.2, learned_loss=[0.1, 0.3])
    assert outcomes(runs)["outcome"].tolist() == ["thrown", "learned"]


def test_outcomes_name_what_is_missing() -> None:
    with pytest.raises(UsageError, match="learned_loss, mean_grad_norm"):
        outcomes(runs_of(["learned"]).drop(columns=["mean_grad_norm", "learned_loss"]))
    with pytest.raises(UsageError, match="1 runs have not diverged"):
        outcomes(runs_of(["learned", "plateau"]).assign(min_loss=[0.1, np.nan]))
    for name in ("vanished_ratio", "vanished_norm", "begun_ratio"):
        with pytest.raises(UsageError, match=f"{name} is 2"):
            Criteria(**{name: 2})


def test_shares_of_every_outcome_and_ties_go_to_the_worse() -> None:
    kinds = ["learned", "learned", "thrown", "learned", "diverged", "never_left", "plateau"]
    table = shares(outcomes(runs_of(kinds, timescale=[1, 1, 1, 2, 2, 3, 3])), ["timescale"])
    assert [f"share_{name}" for name in OUTCOMES] == table.filter(like="share_").columns.tolist()
    assert table["share_learned"].tolist() == [2 / 3, 0.5, 0]
    assert table["share_thrown"].tolist() == [1 / 3, 0, 0]
    assert table["share_diverged"].tolist() == [0, 0.5, 0]
    assert table["share_never_left"].tolist() == [0, 0, 0.5]
    assert table["n_seeds"].tolist() == [3, 2, 2]
    assert table["majority"].tolist() == ["learned", "diverged", "never_left"]
    assert np.all(table.filter(like="share_").sum(axis=1) == 1)
    assert (table["begun_ratio"] == 0.9).all()
    with pytest.raises(UsageError, match="outcome"):
        shares(runs_of(kinds), ["timescale"])


def test_mean_sem_skips_nulls_and_knows_no_error_of_one() -> None:
    curves = pd.DataFrame({"epoch": [0, 0, 0, 1, 1, 2], "loss": [1.0, 3.0, np.nan, 4.0, np.nan, np.nan]})
    table = mean_sem(curves, ["epoch"], "loss").set_index("epoch")
    assert table["n"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(table["mean"], [2, 4, np.nan])
    np.testing.assert_allclose(table["sem"], [1, np.nan, np.nan])


def test_canonical_outcomes_against_eta() -> None:
    etas = np.concatenate([[0.05, 0.2, 0.4], np.geomspace(0.6, 0.9, 20)])
    judged = outcomes(iterate_canonical([30.0, 200.0], etas, n_seeds=10, epochs=3000))
    eta = theory.eta(judged["learning_rate"], judged["timescale"])
    assert (judged.loc[eta < 0.1, "outcome"] == "learned").all()
    assert (judged.loc[(eta > 0.6) & (eta < 0.74), "outcome"] == "oscillating").all()
    assert (judged.loc[eta > 0.78, "outcome"] == "thrown").all()


def test_trained_networks_of_high_confidence_never_leave(tmp_path: Path) -> None:
    text = """
title = "Confidence"
[run]
model = "rank_one"
timescale = 5
epochs = 500
[axes]
confidence = [10.0, 60.0]
learning_rate = [1e-3, 1.0]
seed = { range = 3 }
"""
    judged = outcomes(ghostsweep.run(loads(text, name="confidence"), out=tmp_path).runs)
    assert (judged.loc[judged["confidence"] == 60, "outcome"] == "never_left").all()
    slow, fast = (judged[(judged["confidence"] == 10) & (judged["learning_rate"] == lr)] for lr in (1e-3, 1.0))
    assert (slow["outcome"] == "plateau").all()
    assert "thrown" in set(fast["outcome"]) and "never_left" not in set(fast["outcome"])


@pytest.mark.parametrize(
    ("name", "most"),
    [("fig6a_rank_one", "learned"), ("rank_one_lr_timescale", "thrown"), ("fig7_dcdt", "learned")],
)
def test_kept_results_are_what_their_losses_say(name: str, most: str) -> None:
    judged = outcomes(ghostsweep.read(name, RESULTS).runs)
    assert judged["outcome"].mode().tolist() == [most]
    assert not judged["outcome"].isin(["never_left", "diverged"]).any()  # every start had a gradient
    # The loss of an output that is confident and wrong: mostly all of T, in 3 of 3,298 runs for 5/7 of it.
    at_chance = 0.5 if name == "fig7_dcdt" else 0.71
    assert (judged.loc[judged["outcome"] == "thrown", "recent_mean_loss"] > at_chance).all()
    assert judged.loc[judged["outcome"] == "plateau", "learned_epoch"].isna().all()


def test_trapped_runs_are_those_of_the_first_phase_that_lost_what_they_had() -> None:
    runs = pd.DataFrame(
        {
            "run_id": list("abcdef"),
            "phase": [1, 1, 1, 1, 1, 2],
            "max_accuracy": [0.5, 0.6, 0.9, 1.0, np.nan, 0.9],
            "recent_max_accuracy": [0.5, 0.5, 0.51, 0.2, np.nan, 0.5],
        }
    )
    assert trapped(runs)["run_id"].tolist() == ["b", "d"]
    with pytest.raises(UsageError, match="trapped needs the columns phase"):
        trapped(runs.drop(columns="phase"))


def test_half_of_the_committed_rank_one_networks_are_trapped() -> None:
    runs = ghostsweep.read(RESULTS / "fig8b_confidence").runs
    caught = trapped(runs)
    first = runs[runs["phase"] == 1]
    lost = (first["max_accuracy"] > 0.5) & (first["recent_mean_grad_norm"] < 1e-3)
    assert caught["run_id"].tolist() == first.loc[lost, "run_id"].tolist()
