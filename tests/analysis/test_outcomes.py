"""What became of a run: planted rows, the canonical form and trained networks."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import iterate_canonical, runs_of

import ghostsweep
from ghostsweep import theory
from ghostsweep.analysis import OUTCOMES, Criteria, mean_sem, outcomes, shares, trapped
from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.levels import levels
from ghostsweep.errors import UsageError
from ghostsweep.spec import Run, loads, shape_of
from ghostsweep.tasks.cues import trials as cue_trials
from ghostsweep.tasks.delayed_activation import target as delayed_activation_target


def test_each_outcome_is_recognised_and_the_criteria_are_kept() -> None:
    runs = runs_of(list(OUTCOMES))
    judged = outcomes(runs, Criteria(vanished_ratio=0.01))
    assert judged["outcome"].tolist() == list(OUTCOMES)
    assert judged["outcome"].cat.ordered and tuple(judged["outcome"].cat.categories) == OUTCOMES
    criteria = {
        "vanished_ratio": 0.01, "vanished_norm": 1e-6, "begun_ratio": 0.9, "wrong_ratio": 0.1, "still_ratio": 0.03,
        "start_ratio": 0.1, "risen_ratio": 0.1, "kept_ratio": 0.75, "moved_ratio": 0.01,
    }  # fmt: skip
    assert judged.attrs["criteria"] == criteria
    saved = pd.read_csv(StringIO(judged.to_csv(index=False)))
    assert saved[list(criteria)].drop_duplicates().to_dict("records") == [criteria]
    assert "outcome" not in runs.columns


def test_a_gradient_has_vanished_against_its_own_peak() -> None:
    runs = runs_of(["trapped"] * 4).assign(
        mean_grad_norm=[1.0, 1.0, 0.0, 0.01],
        recent_mean_grad_norm=[9e-4, 2e-3, 0.0, 9e-4],
        initial_grad_norm=[1.0, 1.0, 1.0, 1.0],  # the last was trapped so early that its mean is small
        learned_epoch=None,
        min_loss=0.5,
    )
    assert outcomes(runs)["outcome"].tolist() == ["trapped", "fallen_back", "trapped", "trapped"]
    wide = outcomes(runs, Criteria(vanished_ratio=0.0))["outcome"]
    assert wide.tolist() == ["fallen_back", "fallen_back", "trapped", "fallen_back"]


def test_trapped_at_start_means_no_gradient_from_the_start_and_no_fall_of_the_loss() -> None:
    columns = ["initial_grad_norm", "mean_grad_norm", "recent_mean_grad_norm", "min_loss", "expected"]
    rows = [
        (1e-7, 1e-7, 1e-7, 1.0, "trapped_at_start"),  # tiny, and of its own size all along
        (0.0, 0.0, 0.0, 1.0, "trapped_at_start"),
        (1e-7, 1e-7, 1e-7, 0.85, "trapped"),  # it had begun: a spike that the mean does not show
        (1e-7, 1e-7, 1e-7, 0.95, "trapped_at_start"),  # a fall that is none
        (1e-5, 1e-5, 1e-5, 1.0, "plateau"),  # small, but alive
        (1e-7, 1e-2, 1e-2, 1.0, "plateau"),  # came alive
        (1e-7, 1e-2, 0.0, 1.0, "trapped"),  # came alive, and was trapped
        (1e-2, 1e-7, 0.0, 1.0, "trapped"),  # trapped by the first step, before the loss fell
    ]
    runs = pd.DataFrame(rows, columns=columns)
    judged = outcomes(runs_of(["plateau"] * len(rows)).assign(**runs.drop(columns="expected")))
    assert judged["outcome"].tolist() == runs["expected"].tolist()
    low = {"recent_mean_loss": 0.05, "final_loss": 0.05, "initial_loss": 0.05, "min_loss": 0.05}
    assert one("trapped_at_start", **low) == "learned"  # it began where others end
    strict = outcomes(judged, Criteria(vanished_norm=1e-8, begun_ratio=0.99))["outcome"]
    assert strict.tolist()[:3] == ["plateau", "trapped_at_start", "plateau"]


@pytest.mark.parametrize("timescale", [10.0, 1000.0])
def test_the_canonical_gradient_is_judged_in_units_of_its_optimum(timescale: float) -> None:
    """Alive is every r at which a step of its own size changes the loss, whatever T makes of the numbers."""
    s = np.array([10.0, 1000.0, 1e5, 0.2])
    norm = np.abs(theory.gradient(s * theory.optimum(timescale), timescale))
    stuck = dict.fromkeys(("initial_grad_norm", "mean_grad_norm", "recent_mean_grad_norm"), norm)
    runs = runs_of(["plateau"] * 4, model="canonical", timescale=timescale).assign(min_loss=1.0, **stuck)
    assert outcomes(runs)["outcome"].tolist() == ["plateau", "plateau", "trapped_at_start", "trapped_at_start"]


def test_low_loss_wins_over_a_vanished_gradient_and_threshold_is_the_runs_own() -> None:
    low = dict.fromkeys(("recent_mean_loss", "final_loss"), 0.2)
    runs = runs_of(["trapped"] * 2).assign(**low, learned_loss=[0.01, 0.3])
    assert outcomes(runs)["outcome"].tolist() == ["fallen_back", "learned"]
    runs["readout_l1"], runs["model"] = [0.5, np.nan], "full_rank"
    assert outcomes(runs)["outcome"].tolist() == ["fallen_back", "learned"]


TASKS = {
    "delayed_activation": {},
    "dcdt": {"input_ms": 10.0, "delay_ms": 50.0, "reaction_ms": 50.0},
    "dmts": {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0},
}


@pytest.mark.parametrize("task", TASKS)
def test_levels_are_those_of_outputs_that_know_nothing(task: str) -> None:
    """Against every constant output, on the targets that the models are trained on."""
    runs = runs_of(["learned"], model="full_rank", task=task, timescale=20.0 if not TASKS[task] else np.nan, dt_ms=5.0)
    found = levels(runs.assign(**TASKS[task]))
    if task == "delayed_activation":
        targets, scale = delayed_activation_target(20)[:, None], 2
    else:
        shape = shape_of(Run(model="full_rank", task=task, **TASKS[task], learning_rate=0.1, epochs=1).fields)
        targets, scale = cue_trials(shape, {}).targets, 1
    constant = np.linspace(-1, 1, 20001) if task == "dcdt" else np.linspace(0, 1, 10001)
    loss = scale * np.array([((c - targets) ** 2).mean() for c in constant[:: 1 if task == "dmts" else 5]])
    assert found.constant == pytest.approx(loss.min(), rel=1e-4)
    blind = (
        scale * ((targets - targets.mean(axis=1, keepdims=True)) ** 2).mean() if task != "delayed_activation" else 0.5
    )
    assert found.blind == pytest.approx(blind)
    assert found.chance == pytest.approx((targets == 0).mean())
    wrong = {"delayed_activation": 0 * targets, "dcdt": (targets != 0) * 1.0, "dmts": 0 * targets}[task]
    assert found.wrong == pytest.approx(scale * ((wrong - targets) ** 2).mean())
    assert found.floor == 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("reach", [0.1, 0.5, 1.0, 3.0])
def test_no_readout_undercuts_its_floor_and_one_reaches_it(task: str, reach: float) -> None:
    size = {"confidence": 2.0, "readout_l1": reach / 2, "model": "full_rank", "timescale": 20.0}
    runs = runs_of(["learned"], task=task, **size).assign(**TASKS[task])
    found = levels(runs)
    due = 0.5 if not TASKS[task] else float(1 - found.chance[0]) * (2 if task == "dmts" else 1)
    bias = np.linspace(-8, 8, 16001)
    if task == "dcdt":
        best = due / 2 * ((1 - np.tanh(bias + reach)) ** 2 + (1 + np.tanh(bias - reach)) ** 2)
    else:
        ones, scale = (0.5, 2) if task == "delayed_activation" else (due / 2, 1)
        on, off = (1 / (1 + np.exp(-(bias + side))) for side in (reach, -reach))
        best = scale * (ones * (1 - on) ** 2 + (1 - ones) * off**2)
    assert found.floor == pytest.approx(best.min(), abs=1e-5)
    assert levels(runs.assign(readout_l1=np.nan)).floor == 0
    unbounded = levels(runs.assign(model="low_rank")).floor  # of networks of rank K, cue tasks read n . r
    assert (unbounded == 0) == (task != "delayed_activation")


def one(kind: str, **changed: object) -> str:
    """The outcome of a planted run of this kind, some of its numbers changed."""
    found: str = outcomes(runs_of([kind]).assign(**changed))["outcome"].iloc[0]
    return found


def cue_run(kind: str, loss: float, **changed: object) -> str:
    """The same for discrimination at 200 ms of delay, at one steady loss; output 0 has 10/56 and accuracy 46/56."""
    cues = {"model": "full_rank", "task": "dcdt", "input_ms": 30.0, "delay_ms": 200.0, "reaction_ms": 50.0}
    steady = {"recent_mean_loss": loss, "final_loss": loss, "timescale": np.nan, "learned_loss": 0.03}
    right = dict.fromkeys(("final_accuracy", "recent_max_accuracy"), 46 / 56)
    return one(kind, **(cues | steady | right | changed))


def test_thrown_is_confidently_wrong_and_not_only_without_a_gradient() -> None:
    assert cue_run("trapped", 1.0) == "trapped"
    assert cue_run("trapped", 10 / 56 * 1.12, min_loss=0.1, learned_epoch=None) == "trapped"
    small = {"recent_mean_grad_norm": 1e-3, "min_loss": 0.1, "max_accuracy": 0.95}
    assert cue_run("trapped", 10 / 56, **small) == "plateau"
    assert cue_run("trapped", 10 / 56 * 1.02, **small) == "plateau"
    assert cue_run("trapped", 10 / 56 * 1.05, **small) == "fallen_back"  # not on the level any more, nor wrong
    assert cue_run("trapped", 10 / 56, **(small | {"recent_mean_grad_norm": 1e-7})) == "fallen_back"  # dead: for good
    assert cue_run("trapped", 10 / 56, **(small | {"min_loss": 0.02})) == "fallen_back"  # it had learned
    assert one("trapped", final_loss=0.9) == "fallen_back"  # still moving
    assert cue_run("trapped", 1.16, final_loss=1.14) == "trapped"  # not so much, for a loss that large
    assert cue_run("trapped", 10 / 56, **(small | {"final_loss": 0.25})) == "unstable"  # on the level in the mean alone
    match = {"task": "dmts", "input_ms": 30.0, "delay_ms": 80.0, "min_loss": 0.03, "learned_loss": 0.013}
    dead = {"recent_mean_grad_norm": 1e-7, "initial_loss": 0.3, "min_loss": 0.29}
    for loss in (5 / 76, 5 / 38 * (1 - 5 / 38)):  # an answer of 1/2 when one is due, and the best constant output
        assert cue_run("plateau", loss, **match) == "plateau"
        assert cue_run("plateau", loss + 0.01, **match) == "unstable"
    assert cue_run("trapped", 5 / 38, **(match | dead)) == "trapped"  # 0, always


def test_a_plateau_has_not_risen_or_rests_where_it_began() -> None:
    assert one("plateau", min_loss=0.84, recent_mean_loss=0.88, final_loss=0.88) == "plateau"
    assert one("plateau", min_loss=0.5, recent_mean_loss=0.8, final_loss=0.8) == "unstable"
    assert one("plateau", min_loss=0.5, recent_mean_loss=0.8, final_loss=0.51) == "plateau"  # just leaving it
    back = {"min_loss": 0.6, "recent_mean_loss": 0.99, "final_loss": 0.99}
    assert one("plateau", **back) == "plateau"
    assert one("plateau", **back, recent_mean_grad_norm=0.05) == "unstable"  # as lossy as the start, not the start
    early = {"max_accuracy": 0.9, "min_loss_epoch": 40}
    assert one("plateau", **back, **early, recent_mean_grad_norm=0.05) == "fallen_back"
    risen = {"recent_mean_loss": 1.4, "final_loss": 1.4, "min_loss": 1.0, "min_loss_epoch": 0}
    assert one("plateau", **risen) == "unstable"


def test_fallen_back_has_lost_what_it_had_and_oscillating_has_not() -> None:
    assert one("fallen_back") == "fallen_back"
    assert one("fallen_back", recent_max_accuracy=0.87) == "fallen_back"
    assert one("fallen_back", recent_max_accuracy=0.88) == "oscillating"
    moving = {"min_loss_epoch": 60, "final_loss": 0.6}
    assert one("fallen_back", **moving) == "oscillating"  # low in its second half, and on the move
    assert one("fallen_back", min_loss_epoch=60) == "fallen_back"  # at rest
    assert one("fallen_back", final_loss=0.6) == "fallen_back"  # on the move, but not low for half of its epochs
    begun = {"learned_epoch": None, "min_loss": 0.2, "recent_mean_loss": 0.7, "final_loss": 0.7}
    assert one("fallen_back", **begun) == "fallen_back"
    assert one("fallen_back", **begun, max_accuracy=0.52) == "unstable"  # a dip of the loss that got nothing right
    assert one("fallen_back", **(begun | {"final_loss": 0.8})) == "unstable"
    assert one("fallen_back", **begun, final_accuracy=0.4) == "unstable"
    assert one("fallen_back", **begun, initial_loss=0.2) == "unstable"  # it never began
    assert one("fallen_back", **begun, min_loss_epoch=60) == "unstable"  # of late, so not for good


def test_what_swings_without_having_learned() -> None:
    swings = {"learned_epoch": None, "min_loss": 0.2, "recent_mean_loss": 0.3, "final_loss": 0.27}
    assert one("oscillating", **swings) == "oscillating"
    assert one("oscillating", **swings, recent_max_accuracy=0.8) == "unstable"
    little = {"learned_epoch": None, "min_loss": 0.2, "recent_mean_loss": 0.23, "final_loss": 0.22}
    assert one("oscillating", **little, final_accuracy=0.9) == "oscillating"
    assert one("oscillating", **little) == "plateau"  # still
    assert one("oscillating", **(little | {"final_loss": 0.2}), final_accuracy=0.9) == "plateau"  # goes down


def test_learned_does_not_swing_out_and_may_be_new() -> None:
    low = {"recent_mean_loss": 0.07, "min_loss": 0.01}
    assert one("learned", **low, final_loss=0.09) == "learned"
    assert one("learned", **low, final_loss=0.1) == "oscillating"
    assert one("learned", **low, final_loss=0.03) == "oscillating"  # as far below its mean as others are above
    assert one("learned", **(low | {"min_loss": 0.03}), final_loss=0.03) == "learned"  # never lower: it goes down
    assert one("learned", recent_mean_loss=0.3, min_loss=0.05, final_loss=0.05) == "learned"  # only just
    assert one("learned", recent_mean_loss=0.3, min_loss=0.04, final_loss=0.05) == "oscillating"


DISTINGUISH: dict[str, tuple[Criteria, str, dict[str, object], str, str]] = {
    "wrong_ratio": (
        Criteria(wrong_ratio=0.9),
        "trapped",
        {"recent_mean_loss": 0.7, "final_loss": 0.7},
        "trapped",
        "fallen_back",
    ),
    "still_ratio": (
        Criteria(still_ratio=0.0),
        "fallen_back",
        {"min_loss_epoch": 60, "final_loss": 0.505},
        "fallen_back",
        "oscillating",
    ),
    "start_ratio": (
        Criteria(start_ratio=0.0),
        "plateau",
        {"recent_mean_loss": 1.0, "final_loss": 1.0, "min_loss": 0.6, "recent_mean_grad_norm": 0.05},
        "unstable",
        "plateau",
    ),
    "risen_ratio": (Criteria(risen_ratio=0.9), "unstable", {}, "unstable", "plateau"),
    "kept_ratio": (Criteria(kept_ratio=0.95), "oscillating", {"min_loss_epoch": 40}, "oscillating", "fallen_back"),
}


@pytest.mark.parametrize("name", DISTINGUISH)
def test_each_threshold_decides(name: str) -> None:
    criteria, kind, changed, by_default, otherwise = DISTINGUISH[name]
    runs = runs_of([kind]).assign(**changed)
    assert [outcomes(runs)["outcome"].iloc[0], outcomes(runs, criteria)["outcome"].iloc[0]] == [by_default, otherwise]


def test_outcomes_name_what_is_missing() -> None:
    with pytest.raises(UsageError, match="learned_loss, mean_grad_norm"):
        outcomes(runs_of(["learned"]).drop(columns=["mean_grad_norm", "learned_loss"]))
    unknown = outcomes(runs_of(["learned", "plateau"]).assign(min_loss=[0.1, np.nan]))["outcome"]
    assert unknown.isna().tolist() == [False, True]  # and the others have theirs
    for name in ("vanished_ratio", "vanished_norm", "begun_ratio", "wrong_ratio", "still_ratio", "kept_ratio"):
        with pytest.raises(UsageError, match=f"{name} is 2"):
            Criteria(**{name: 2})


def test_shares_of_every_outcome_and_ties_go_to_the_worse() -> None:
    kinds = ["learned", "learned", "trapped", "learned", "diverged", "trapped_at_start", "plateau"]
    table = shares(outcomes(runs_of(kinds, timescale=[1, 1, 1, 2, 2, 3, 3])), ["timescale"])
    assert [f"share_{name}" for name in OUTCOMES] == table.filter(like="share_").columns.tolist()
    assert table["share_learned"].tolist() == [2 / 3, 0.5, 0]
    assert table["share_trapped"].tolist() == [1 / 3, 0, 0]
    assert table["share_diverged"].tolist() == [0, 0.5, 0]
    assert table["share_trapped_at_start"].tolist() == [0, 0, 0.5]
    assert table["n_seeds"].tolist() == [3, 2, 2]
    assert table["majority"].tolist() == ["learned", "diverged", "trapped_at_start"]
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
    assert (judged.loc[eta > 0.78, "outcome"] == "trapped").all()


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
    assert (judged.loc[judged["confidence"] == 60, "outcome"] == "trapped_at_start").all()
    slow, fast = (judged[(judged["confidence"] == 10) & (judged["learning_rate"] == lr)] for lr in (1e-3, 1.0))
    assert (slow["outcome"] == "plateau").all()
    assert "trapped" in set(fast["outcome"]) and "trapped_at_start" not in set(fast["outcome"])


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


def test_epochs_that_follow_the_rate_tell_no_cells_apart() -> None:
    rates, delays = np.array([0.1, 0.03, 0.01, 0.003]), np.array([20.0, 40.0])
    rate, delay = (axis.ravel() for axis in np.meshgrid(rates, delays))
    runs = pd.DataFrame({"model": "full_rank", "learning_rate": rate, "delay_ms": delay, "seed": 0})
    following = runs.assign(epochs=np.maximum(1000, 30 / rate).round())
    assert cell_fields(following) == ["model", "delay_ms"]
    rising = runs.assign(epochs=(1000 * rate).round())
    assert cell_fields(rising) == ["model", "delay_ms", "epochs"]
    assert cell_fields(runs.assign(epochs=100 * delay)) == ["model", "delay_ms", "epochs"]
    both = pd.concat([following, following.assign(epochs=50)])
    assert cell_fields(both) == ["model", "delay_ms", "epochs"]
