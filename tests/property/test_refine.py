"""Property: refinement finds the boundary of the full grid with a fraction of its runs, however interrupted."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ghostsweep
from ghostsweep import UsageError, plan
from ghostsweep.analysis import refined
from ghostsweep.plan.groups import Group
from ghostsweep.running import lacking, sessions
from ghostsweep.running.ledger import Status, work
from ghostsweep.spec import loads
from ghostsweep.store import parts, tables
from ghostsweep.training import engine

TEXT = """
[run]
model = "canonical"
r_start_sigma = 0.1
epochs = 3_000
[axes]
timescale = [10.0, 20.0, 40.0]
learning_rate = { logspace = [-10, -3, 129] }
seed = { range = 4 }
[fit]
share = 0.0
"""
REFINE = "\n[refine]\nlevels = 5\n"


@pytest.mark.seldom
def test_critical_rates_are_those_of_the_full_grid_for_a_fifth_of_the_runs(tmp_path: Path) -> None:
    full = ghostsweep.run(loads(TEXT, name="full"), out=tmp_path)
    some = ghostsweep.run(loads(TEXT + REFINE, name="some"), out=tmp_path)
    assert len(full.runs) / len(some.runs) > 5
    shared = full.runs.set_index("run_id").loc[some.runs["run_id"]]
    pd.testing.assert_frame_equal(shared, some.runs.set_index("run_id"), rtol=1e-9)
    columns = ["timescale", "boundary", "lr_below", "lr_above", "lr_critical", "censored"]
    upper = [ghostsweep.critical_lr(t.runs, share=0).query("boundary == 'upper'")[columns] for t in (full, some)]
    pd.testing.assert_frame_equal(upper[1], upper[0])
    lower = [ghostsweep.critical_lr(t.runs).query("boundary == 'lower'") for t in (full, some)]
    np.testing.assert_allclose(lower[1]["lr_critical"], lower[0]["lr_critical"], rtol=0.15)  # 13% from rate to rate


def test_an_interrupted_refinement_goes_on_to_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = loads(TEXT + REFINE, name="some")
    whole = ghostsweep.run(sweep, out=tmp_path / "whole")
    original, calls = engine.train_chunks, [0]

    def stopping(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] in (2, 4):
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(engine, "train_chunks", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ghostsweep.run(sweep, out=tmp_path / "parts")
        state = ghostsweep.status(sweep, tmp_path / "parts")
        assert state.growing
        assert 0 < state.done < state.runs <= len(whole.runs)
    parts = ghostsweep.run(sweep, out=tmp_path / "parts")
    pd.testing.assert_frame_equal(parts.runs, whole.runs, rtol=1e-9)
    state = ghostsweep.status(sweep, tmp_path / "parts")
    assert (state.growing, state.done, state.runs) == (False, len(whole.runs), len(whole.runs))


def test_a_refinement_killed_between_two_levels_lacks_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, trained = loads(TEXT + REFINE, name="some"), [0]
    original = sessions.train

    def killed(*args: Any) -> Any:
        trained[0] += 1
        if trained[0] > 1:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(sessions, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        ghostsweep.run(sweep, out=tmp_path)
    found = ghostsweep.read("some", tmp_path)
    assert found.meta["sessions"][-1]["ended"] == "all done"
    lacks = lacking.lacks(found, tmp_path)
    assert lacks is not None and lacks.runs < lacks.planned
    monkeypatch.setattr(sessions, "train", original)
    ghostsweep.run(sweep, out=tmp_path)
    assert lacking.lacks(ghostsweep.read("some", tmp_path), tmp_path) is None


def test_a_refined_sweep_stands_as_its_whole_plan_says_whatever_is_there(tmp_path: Path) -> None:
    text = """[run]\nmodel = "canonical"\nr_start_sigma = 0.1\nepochs = 300\n
    [[axes]]\ntimescale = [10.0, 20.0]\nlearning_rate = { logspace = [-8, -3, 65] }\nseed = { range = 4 }
    [[axes]]\ntimescale = [20.0, 40.0]\nlearning_rate = { logspace = [-8, -3, 33] }\nseed = { range = [2, 5] }\n"""
    full = ghostsweep.run(loads(text, name="full"), out=tmp_path)
    sweep = loads(text + "[refine]\nlevels = 4\n", name="some")
    wanted = ghostsweep.run(sweep, out=tmp_path).runs["run_id"]
    whole, rng, seen = plan.Plan.of(sweep), np.random.default_rng(0), set()
    assert plan.may_repeat(sweep) and 2 * len(wanted) < len(full.runs)

    def told(groups: tuple[Group, ...]) -> list[tuple[object, ...]]:
        return [(group.shape, group.epochs, group.phase, group.runs) for group in groups]

    for number in range(12):
        is_there = full.runs["run_id"].isin(wanted.drop(rng.choice(len(wanted), number**2, replace=False)))
        is_there |= rng.random(len(full.runs)) < 0.01 * number  # some of no level, and not of all seeds
        there, folder = full.runs[is_there], tmp_path / f"{number}/some"
        folder.mkdir(parents=True)
        parts.write(folder, there, full.curves[full.curves["run_id"].isin(there["run_id"])])
        found, asked = ghostsweep.status(sweep, folder.parent), Status.of(work(whole, tables.stored(folder)), {})
        assert (told(found.planned), told(found.left)) == (told(asked.planned), told(asked.left))
        seen.add((found.runs, found.done))
    assert (len(wanted), len(wanted)) in seen and len({runs for runs, _ in seen}) > 3


def rows(bad: list[bool], n_seeds: int) -> pd.DataFrame:
    """Runs over len(bad) rates, all seeds trapped or all learned."""
    n = len(bad) * n_seeds
    return pd.DataFrame(
        {
            "run_id": [f"{i:016x}" for i in range(n)],
            "model": "canonical",
            "task": "delayed_activation",
            "timescale": 10.0,
            "learning_rate": np.repeat(np.logspace(-3, 0, len(bad)), n_seeds),
            "seed": np.tile(np.arange(n_seeds), len(bad)),
            "status": "done",
            "learned_loss": 0.1,
            "initial_loss": 1.0,
            "min_loss": 0.01,
            "min_loss_epoch": 3,
            "epochs_done": 100,
            "recent_mean_loss": np.repeat(np.where(bad, 1.0, 0.01), n_seeds),
            "final_loss": np.repeat(np.where(bad, 1.0, 0.01), n_seeds),
            "max_accuracy": 1.0,
            "recent_max_accuracy": np.repeat(np.where(bad, 0.5, 1.0), n_seeds),
            "final_accuracy": np.repeat(np.where(bad, 0.5, 1.0), n_seeds),
            "initial_grad_norm": 1.0,
            "mean_grad_norm": 1.0,
            "recent_mean_grad_norm": np.repeat(np.where(bad, 0.0, 1.0), n_seeds),
            "learned_epoch": pd.array(np.repeat(np.where(bad, -1, 3), n_seeds), dtype="Int64"),
        }
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 200), st.integers(0, 200), st.integers(1, 6), st.integers(1, 3))
def test_the_bracket_of_one_boundary_is_found_wherever_it_is(n: int, first: int, levels: int, n_seeds: int) -> None:
    runs = rows([i >= first for i in range(n)], n_seeds)
    done, rounds = runs.iloc[:0], 0
    while True:
        wanted = refined(runs, done, levels=levels)
        assert wanted[done.index].all()  # nothing trained is dropped
        if wanted.sum() == len(done):
            break
        done, rounds = runs[wanted], rounds + 1
    assert rounds <= levels + 1
    trained = set(done["learning_rate"])
    rates = sorted(set(runs["learning_rate"]))
    if 0 < first < n:
        assert {rates[first - 1], rates[first]} <= trained
    assert len(trained) <= -(-(n - 1) // 2**levels) + 1 + levels
    assert {rates[0], rates[-1]} <= trained


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n[refine]\nlevels = 0", "refine.levels: found 0; allowed: a whole number >= 1 and <= 20"),
        ("\n[refine]\naxis = 'seed'\nlevels = 2", "refine.axis: found 'seed'; allowed: one of 'learning_rate'"),
        ("\n[refine]", "x.toml: refine.levels: missing; a whole number"),
        ("\n[refine]\nlevels = 2\n[[phases]]\nepochs = 2", "refine: a sweep of several phases cannot be refined"),
    ],
)
def test_mistakes_in_refine_are_named(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        loads(TEXT + text, name="x", source="x.toml")
    assert line in str(caught.value)
