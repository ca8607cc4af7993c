"""Runs that can no longer change are dropped, and the tables are as if they had gone on."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep.spec import Run, loads, shape_of
from ghostsweep.store import tables
from ghostsweep.training import chunk, log, programs, train
from ghostsweep.training.evaluation import evaluate

CANONICAL = """
[run]
model = "canonical"
timescale = 50.0
r_start_sigma = 0.1
[axes]
epochs = [7, 40, 3_000]
learning_rate = { logspace = [-10, -4, 24] }
seed = { range = 2 }
[record]
points = 30
"""
RESULTS = [column.name for column in tables.RESULTS]


def run(text: str, folder: Path, worthwhile: float, monkeypatch: pytest.MonkeyPatch) -> tuple[tables.Tables, list[int]]:
    """Tables, and the widths that were trained, when narrowing is worth it above `worthwhile` seconds."""
    monkeypatch.setattr(chunk, "WORTHWHILE_SECONDS", worthwhile)
    widths: list[int] = []
    original = programs.program

    def seen(shape: Any, width: int, devices: Any) -> Any:
        widths.append(width)
        return original(shape, width, devices)

    monkeypatch.setattr(programs, "program", seen)
    found = ghostsweep.run(loads(text, name="sweep"), out=folder)
    monkeypatch.setattr(programs, "program", original)
    return found, widths


def test_dropping_trapped_runs_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, wide = run(CANONICAL, tmp_path / "kept", np.inf, monkeypatch)
    dropped, narrowed = run(CANONICAL, tmp_path / "dropped", 0.0, monkeypatch)
    assert set(wide) == {48}
    assert min(narrowed) < 48
    pd.testing.assert_frame_equal(dropped.curves, kept.curves)
    pd.testing.assert_frame_equal(dropped.runs, kept.runs, rtol=1e-12)
    trapped = kept.runs["final_grad_norm"] == 0
    assert 10 < trapped.sum() < len(trapped) - 10
    assert (kept.runs["epochs_done"] == kept.runs["epochs"]).all()


def test_how_long_a_call_takes_changes_no_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "TURN_SECONDS", 0.0)  # calls of a stop
    slow, _ = run(CANONICAL, tmp_path / "slow", np.inf, monkeypatch)
    monkeypatch.setattr(chunk, "TURN_SECONDS", np.inf)  # of as many as there may be
    fast, _ = run(CANONICAL, tmp_path / "fast", np.inf, monkeypatch)
    pd.testing.assert_frame_equal(slow.curves, fast.curves, check_exact=True)
    pd.testing.assert_frame_equal(slow.runs, fast.runs, check_exact=True)


def test_a_chunk_whose_runs_are_all_trapped_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CANONICAL.replace("[7, 40, 3_000]", "[1_000_000]").replace("[-10, -4, 24]", "[-5, -4, 8]")
    found, _ = run(text.replace("points = 30", "points = 3"), tmp_path, np.inf, monkeypatch)
    assert (found.runs["recent_mean_loss"] == 1).all()
    assert (found.runs["epochs_done"] == 1_000_000).all()
    assert found.runs["mean_loss"].between(0.9999, 1.0).all()


def test_diverged_runs_are_dropped_with_their_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*args: Any) -> Any:
        found = evaluate(*args)
        wild = args[1]["b"].sum() > 0.05 / args[2]["learning_rate"]  # later at smaller rates, never at most
        return found._replace(
            loss=jnp.where(wild, jnp.nan, found.loss), grads=found.grads | {"b": -jnp.ones_like(found.grads["b"])}
        )

    monkeypatch.setattr(train, "evaluate", explode)
    text = """
    [run]
    model = "rank_one"
    timescale = 3
    n_units = 9
    epochs = 400
    [axes]
    learning_rate = [0.01, 0.02, 0.04, 0.05, 0.1, 0.2, 0.3, 0.4]
    [record]
    points = 9
    """
    kept, _ = run(text, tmp_path / "kept", np.inf, monkeypatch)
    dropped, narrowed = run(text, tmp_path / "dropped", 0.0, monkeypatch)
    assert min(narrowed) < 8
    pd.testing.assert_frame_equal(dropped.runs, kept.runs, rtol=1e-5)
    pd.testing.assert_frame_equal(dropped.curves, kept.curves, rtol=1e-5)
    found = kept.runs.set_index("learning_rate")
    for rate, row in found.iterrows():
        epoch = np.floor(0.05 / float(str(rate)) / 9 / float(str(rate)) + 1e-9) + 1  # b is rate * epoch in 9 units
        assert (row["status"], row["epochs_done"]) == (("diverged", epoch) if epoch < 400 else ("done", 400))
    assert (found["status"] == "diverged").sum() >= 4
    assert found["mean_loss"].notna().all()
    curve = kept.curves[kept.curves["run_id"] == found.loc[0.4, "run_id"]]
    assert curve["loss"].isna().sum() == len(curve) - 1


def test_cue_runs_are_dropped_only_where_the_whole_gradient_is_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their reported norm is over the recurrent weights, which rest here while the readout still learns, or is over."""
    text = """
    [run]
    model = "full_rank"
    task = "dcdt"
    input_ms = 10.0
    delay_ms = 10.0
    reaction_ms = 10.0
    n_units = 9
    epochs = 320
    [axes]
    learning_rate = [0.1, 0.2, 0.5, 1.0, 200.0, 500.0, 800.0, 1e3, 2e3, 5e3]
    seed = { range = 4 }
    """
    kept, _ = run(text, tmp_path / "kept", np.inf, monkeypatch)
    dropped, narrowed = run(text, tmp_path / "dropped", 0.0, monkeypatch)
    assert min(narrowed) < 40
    pd.testing.assert_frame_equal(dropped.runs, kept.runs, rtol=1e-5)
    assert (kept.runs["final_grad_norm"] == 0).sum() > 10


def test_results_of_users_may_have_the_name_of_what_is_kept_beside_them() -> None:
    names = ["sum", "loss_sum", "settled"]
    table = log.Table(3, 10, np.array([9]), names)
    found = log.empty(4, "float64")._replace(loss_sum=np.full(4, 20.0))
    totals = dict.fromkeys((*log.TOTALS, train.MIN_WINDOW, "sum"), np.full(4, 10.0))
    lanes = np.array([2, 0, 1])
    table.keep(lanes, found, totals, {name: np.arange(4.0) for name in names})
    runs = table.of_runs(pd.DataFrame({"seed": range(3)}))
    assert (runs["mean_loss"] == 2).all()
    assert all(runs[name].tolist() == [1, 2, 0] for name in names)


CUES = {"task": "dmts", "input_ms": 10.0, "delay_ms": 10.0, "reaction_ms": 10.0}
DELAY = {"timescale": 5}


@pytest.mark.parametrize(
    ("fields", "still"),
    [
        ({"model": "canonical", **DELAY, "schedule": "linear", "decay_epochs": 3, "clip_norm": 1.0}, True),
        ({"model": "full_rank", **DELAY}, True),
        ({"model": "canonical", **DELAY, "momentum": 0.9}, False),
        ({"model": "canonical", **DELAY, "weight_decay": 0.1}, False),
        ({"model": "canonical", **DELAY, "optimizer": "adam"}, False),
        ({"model": "full_rank", **DELAY, "readout_l1": 0.5}, False),
        ({"model": "full_rank", **CUES, "noise_sigma": 0.1}, False),
        ({"model": "full_rank", **CUES}, True),
    ],
)
def test_only_runs_that_nothing_moves_stand_still(fields: dict[str, Any], still: bool) -> None:
    run = Run(**fields, learning_rate=0.1, epochs=9)
    assert train.stands_still(shape_of(run.fields)) == still
