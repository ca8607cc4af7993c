"""Snapshots are the parameters a run has before the update of an epoch, of the runs that were named."""

from pathlib import Path

import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run, UsageError, train_one
from ghostsweep.spec import loads
from ghostsweep.store import tables

TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 9
epochs = 60
[axes]
learning_rate = { logspace = [-2, 0, 3] }
seed = { range = 3 }
[record.snapshots]
epochs = [0, 7, 59, 60]
runs = { seed = [1, 2], learning_rate = 0.1 }
"""


def test_snapshots_are_what_training_one_run_passes_through(tmp_path: Path) -> None:
    found = ghostsweep.run(loads(TEXT, name="x"), out=tmp_path)
    chosen = found.runs.query("seed in (1, 2) and 0.05 < learning_rate < 0.5")
    assert sorted(p.name.split(".")[0] for p in (tmp_path / "x" / "snapshots").iterdir()) == sorted(chosen["run_id"])
    run_id = chosen["run_id"].iloc[1]
    taken = tables.read_snapshots(tmp_path / "x", run_id)
    assert taken.pop("epochs").tolist() == [0, 7, 59, 60]
    assert set(taken) == {"m", "n", "b"}
    for index, epochs in ((1, 7), (3, 60)):
        run = Run(model="rank_one", timescale=4, n_units=9, learning_rate=0.1, seed=2, epochs=epochs)
        for name, value in train_one(run).params.items():
            np.testing.assert_allclose(taken[name][index], value, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(taken["m"][0], taken["m"][1])
    with pytest.raises(UsageError, match=f"snapshots: none of 0+; of .*{run_id}"):
        tables.read_snapshots(tmp_path / "x", "0" * 16)


def test_a_run_without_its_snapshots_is_not_finished(tmp_path: Path) -> None:
    ghostsweep.run(loads(TEXT, name="x"), out=tmp_path)
    folder = tmp_path / "x" / "snapshots"
    first, second = sorted(folder.iterdir())
    run_id = second.name.split(".")[0]
    before = tables.read_snapshots(tmp_path / "x", run_id)
    first.unlink()
    second.write_bytes(damaged := second.read_bytes()[:100])
    more = loads(TEXT.replace("7, 59", "7, 8, 59"), name="x")
    assert (ghostsweep.status(loads(TEXT, name="x"), tmp_path).done, ghostsweep.status(more, tmp_path).done) == (7, 7)
    with pytest.warns(UserWarning, match=f"{second.name}: not the bytes that were written"):
        ghostsweep.run(loads(TEXT, name="x"), out=tmp_path)
    assert (ghostsweep.status(loads(TEXT, name="x"), tmp_path).done, ghostsweep.status(more, tmp_path).done) == (9, 7)
    assert [path.read_bytes() for path in (tmp_path / "x" / "damaged").iterdir()] == [damaged]
    for name, value in tables.read_snapshots(tmp_path / "x", run_id).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-5, atol=1e-7)


def test_trapped_runs_stay_until_their_last_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostsweep.training.chunk.WORTHWHILE_SECONDS", 0.0)
    text = """
    [run]
    model = "canonical"
    timescale = 10.0
    epochs = 4_000
    [axes]
    learning_rate = { logspace = [-5, -3, 8] }
    [record.snapshots]
    epochs = { range = [0, 3_001, 500] }
    """
    found = ghostsweep.run(loads(text, name="x"), out=tmp_path)
    trapped = found.runs[found.runs["final_grad_norm"] == 0]
    assert len(trapped) > 2
    for run_id in trapped["run_id"]:
        taken = tables.read_snapshots(tmp_path / "x", run_id)
        assert taken["r"].shape == (7,)
        assert taken["r"][-1] == taken["r"][-2] != taken["r"][0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("7, 59, 60", "7, 61"), "record.snapshots.epochs: found 61; allowed: from 0 to 60"),
        (("7, 59, 60", "-1"), "record.snapshots.epochs: found -1; allowed: from 0 to 60"),
        (("[1, 2]", "[1, 7]"), "record.snapshots.runs.seed: found 7; allowed: a value that runs of this sweep have"),
        (("seed = [1, 2]", "sead = [1, 2]"), "record.snapshots.runs.sead: no such field; did you mean 'seed'"),
        (("epochs = [0, 7, 59, 60]", ""), "record.snapshots.epochs: missing; a list of whole numbers"),
        (("runs = { seed", "runs = 3 #"), "record.snapshots.runs: found 3; allowed: a table of fields"),
    ],
)
def test_mistakes_in_snapshots_are_named(change: tuple[str, str], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        loads(TEXT.replace(*change), name="x", source="x.toml")
    lines = str(caught.value).splitlines()
    assert any(found.startswith("x.toml") and f": {line}" in found for found in lines), lines


def test_quick_leaves_out_snapshots_of_runs_it_does_not_have() -> None:
    assert loads(TEXT + "[quick]\nseed = { range = 2 }", name="x", quick=True).record.snapshots is None
    kept = loads(TEXT + "[quick]\nepochs = 20", name="x", quick=True).record.snapshots
    assert kept is not None
    assert kept.epochs == (0, 7)
