"""Tables know what their columns are, in processes that know nothing of users' tasks: roles, tallies, own outcomes."""

import os
import subprocess
import sys
from pathlib import Path

import apart
import pandas as pd
import pyarrow as pa
import pytest

import ghostsweep
from ghostsweep import analysis
from ghostsweep.errors import UsageError
from ghostsweep.store import columns, tables

MINE = """\
from dataclasses import replace
import jax.numpy as jnp
import numpy as np
from ghostsweep.declare import Evidence, Outcomes, Result, Tally
from ghostsweep.models.readout import FULL_RANK
from ghostsweep.tasks import onehot
def start(shape, traced):
    return {"worst_gap": jnp.zeros((), shape.dtype)}
def update(shape, traced, tally, epoch, measured):
    return {"worst_gap": jnp.maximum(tally["worst_gap"], measured["gap"])}
def gap(shape, output, trials):
    return jnp.abs(output - trials.targets).max()
def of(columns):
    assert set(columns["status"]) <= {"done", "diverged"} and columns["dtype"][0] == "float32"
    return np.where(columns["seed"] == 0, "small", "large")
MINE = replace(
    onehot.TASK, name="mine", version="r1",
    tally=Tally((Result("worst_gap", "largest error of any epoch", "V"),), start, update, {"gap": gap}),
    outcomes=Outcomes({"small": "a small one", "large": "a large one"}, of),
)
SIZED = replace(
    FULL_RANK, name="sized", version="r1", floor=None,
    evidence=Evidence((Result("w_size", "size"),), lambda s, t, p: {"w_size": jnp.abs(p["w_rec"]).sum()}),
)
"""
SWEEP = """\
[run]
model = "mine.py:SIZED"
task = "mine.py"
n_units = 6
input_ms = 10
reaction_ms = 10
epochs = 4
[axes]
learning_rate = [0.1, 0.2, 0.4]
delay_ms = [10, 20]
seed = [0, 1]
"""


def fresh(folder: Path, code: str) -> str:
    """What a process prints that has loaded no user's file."""
    whole = (
        f"import ghostsweep, sys\nfrom ghostsweep import analysis\nfound = ghostsweep.read('own', 'results')\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", whole], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MINE)
    (folder / "own.toml").write_text(SWEEP)
    with apart.forgotten():
        ghostsweep.run(folder / "own.toml", out=folder / "results", progress=False)
    return folder


def test_a_fresh_process_knows_fields_tallies_and_evidence(trained: Path) -> None:
    said = fresh(
        trained,
        "print(analysis.cell_fields(found.runs), {n: found.runs.attrs['roles'][n] for n in ('worst_gap', 'w_size')})\n"
        "print(len(found.analyze().band), found.runs.attrs['units']['worst_gap'])\n"
        "print(ghostsweep.show(found.runs['run_id'][0], out='results').results['worst_gap'] > 0)\n"
        "print([n for n in sys.modules if n.startswith('ghostsweep_own')])\n",
    )
    assert said.splitlines() == [
        "['model', 'delay_ms'] {'worst_gap': 'tally', 'w_size': 'evidence'}", "2 V", "True", "[]"
    ]  # fmt: skip


def test_own_outcomes_are_shown_there_with_what_they_mean(trained: Path) -> None:
    said = fresh(
        trained,
        "own = analysis.own_outcomes(found.runs)\n"
        "print(own['outcome'].tolist() == ['small', 'large'] * 6, own.attrs['meanings'])\n"
        "print(found.analyze().critical.attrs['task_outcomes'])\n"
        "from ghostsweep.running import exporting\n"
        "exporting.export('own', out='results', to='exported')\n",
    )
    assert said.splitlines() == ["True {'small': 'a small one', 'large': 'a large one'}", "{'small': 6, 'large': 6}"]
    meant = pd.read_csv(trained / "exported" / "columns.csv").set_index("column")["meaning"]
    assert meant["task_outcome"] == "small: a small one large: a large one"
    assert meant["worst_gap"] == "largest error of any epoch"


def test_runs_that_wait_to_be_put_together_have_them_too(trained: Path, tmp_path: Path) -> None:
    sweep = ghostsweep.load(trained / "own.toml")
    ghostsweep.run(sweep, out=tmp_path, shard="1/2", progress=False)
    found = tables.read("own", tmp_path)
    assert (found.folder / "parts").is_dir()
    own = analysis.own_outcomes(found.runs)
    assert own is not None and set(own["outcome"]) <= {"small", "large"}


def test_an_edited_function_judges_anew_and_trains_nothing(trained: Path, tmp_path: Path) -> None:
    for name in ("mine.py", "own.toml"):
        (tmp_path / name).write_text((trained / name).read_text())
    before = ghostsweep.run(tmp_path / "own.toml", out=tmp_path / "results", progress=False)
    (tmp_path / "mine.py").write_text(MINE.replace('== 0, "small"', '== 1, "small"').replace("a small", "a tiny"))
    after = ghostsweep.run(tmp_path / "own.toml", out=tmp_path / "results", progress=False)
    assert after.runs["task_outcome"].tolist() == ["large", "small"] * 6
    assert after.outcomes().attrs["meanings"]["small"] == "a tiny one"
    pd.testing.assert_frame_equal(after.runs.drop(columns="task_outcome"), before.runs.drop(columns="task_outcome"))


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ('np.where(columns["seed"] == 0', 'np.where(columns["sed"] == 0'),
        ('== 0, "small"', '== 0, "tiny"'),
        ('"small", "large")', '"small", "large")[:3]'),
    ],
)
def test_an_error_in_it_is_one_line_and_nothing_is_drawn_instead(edit: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace(edit, line))
    (tmp_path / "own.toml").write_text(SWEEP)
    said = {"sed": r"mine.py, line 15: mine@r1, outcomes: KeyError: 'sed'", "tiny": "found tiny; allowed"}
    wanted = next((text for key, text in said.items() if key in line), r"an array of shape \(3,\) for 12 runs")
    with pytest.raises(UsageError, match=wanted) as error:
        ghostsweep.run(tmp_path / "own.toml", out=tmp_path / "results", progress=False)
    assert len(str(error.value).splitlines()) == 1
    found = ghostsweep.read("own", tmp_path / "results")
    assert len(found.runs) == 12 and found.runs["task_outcome"].isna().all()
    with pytest.raises(UsageError, match=wanted):
        ghostsweep.plot("own", out=tmp_path / "results", to=tmp_path / "figures")
    assert not (tmp_path / "figures").exists() or not os.listdir(tmp_path / "figures")
    (tmp_path / "mine.py").write_text(MINE)
    mended = ghostsweep.run(tmp_path / "own.toml", out=tmp_path / "results", progress=False)
    assert mended.runs["task_outcome"].tolist() == ["small", "large"] * 6


def test_older_tables_are_known_by_names_and_by_the_order_of_their_columns() -> None:
    names = {"run_id": ["a"], "model": ["m@1"], "gain": [1.0], "learning_rate": [0.1], "epochs": [3], "seed": [0]}
    rest = {"status": ["done"], "final_loss": [1.0], "gap": [2.0]}
    every = {c.name: pa.array([None], columns.TYPES[c.kind]) for c in columns.RESULTS}
    table = pa.table({**names, **every, **rest})
    table = table.select([*names, *every, "gap"])
    lost = [c.name for c in columns.all_columns() if c.name not in table.column_names]
    for name in lost:
        kind = next(c.kind for c in columns.all_columns() if c.name == name)
        table = table.add_column(1, name, pa.array([None], columns.TYPES[kind]))
    runs = columns.frame(columns.conformed_runs(table))
    assert "gain" in columns.field_names(runs) and "gap" not in columns.field_names(runs)
