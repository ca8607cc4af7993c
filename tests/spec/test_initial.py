"""Parameters that a sweep file names, from which all its runs begin."""

import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep.errors import UsageError

SPEC = """
initial = "start.npz"
[run]
model = "rank_one"
timescale = 5
n_units = 6
epochs = 40
[axes]
learning_rate = [0.01, 0.1]
"""
RUN = {"model": "rank_one", "timescale": 5, "n_units": 6, "epochs": 40}


def _write(folder, **params):
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=6) for name in "mnb"} | params
    np.savez(folder / "start.npz", **{name: value for name, value in given.items() if value is not None})
    (folder / "begun.toml").write_text(SPEC)
    return given


def test_runs_begin_from_the_parameters_of_the_file(tmp_path):
    params = _write(tmp_path)
    tables = ghostsweep.run(tmp_path / "begun.toml", out=tmp_path / "results")
    assert tables.runs["parent"].nunique() == 1 and (tables.runs["phase"] == 1).all()
    for run in tables.runs.itertuples():
        alone = ghostsweep.train_one(ghostsweep.Run(**RUN, learning_rate=run.learning_rate), initial=params)
        np.testing.assert_allclose(run.initial_loss, alone.loss[0], rtol=1e-6)
        np.testing.assert_allclose(run.final_loss, alone.loss[-1], rtol=1e-5)


def test_finished_runs_are_reused_until_the_parameters_change(tmp_path):
    _write(tmp_path)
    first = ghostsweep.run(tmp_path / "begun.toml", out=tmp_path / "results")
    again = ghostsweep.run(tmp_path / "begun.toml", out=tmp_path / "results")
    assert len(again.meta["sessions"]) == 1
    pd.testing.assert_frame_equal(again.runs, first.runs)
    _write(tmp_path, m=np.ones(6))
    changed = ghostsweep.run(tmp_path / "begun.toml", out=tmp_path / "results")
    assert not set(changed.runs["run_id"]) & set(first.runs["run_id"])


@pytest.mark.parametrize("params", [{"m": np.ones(5)}, {"m": None}, {"extra": np.ones(3)}])
def test_parameters_of_another_model_are_named_before_training(tmp_path, params):
    _write(tmp_path, **params)
    with pytest.raises(UsageError, match="start.npz: found parameters .* allowed for this model: .*'n': \\(6,\\)"):
        ghostsweep.run(tmp_path / "begun.toml", out=tmp_path / "results")


@pytest.mark.parametrize("content", [b"not a zip", b"", None, "nan", "object"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, content):
    _write(tmp_path)
    path = tmp_path / "start.npz"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, m=np.array([np.nan] if content == "nan" else [None]))
    with pytest.raises(UsageError, match=r"begun.toml, line 2: initial: .*start.npz.*; allowed: an .npz file beside"):
        ghostsweep.load(tmp_path / "begun.toml")


@pytest.mark.parametrize("name", ['"../start.npz"', '"/etc/passwd"', "3", '"start.txt"', '""'])
def test_only_files_beside_the_sweep_are_read(tmp_path, name):
    _write(tmp_path)
    (tmp_path / "begun.toml").write_text(SPEC.replace('"start.npz"', name))
    with pytest.raises(UsageError, match="initial: found .*; allowed: an .npz file beside the sweep file"):
        ghostsweep.load(tmp_path / "begun.toml")
