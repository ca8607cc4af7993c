"""Sweeps made in Python: the same runs as from a file, and a file that says the same."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostsweep import UsageError, plan
from ghostsweep.spec import load, loads, sweep

ROOT = Path(__file__).parents[2]
FIELDS: dict[str, Any] = {"model": "rank_one", "epochs": 100, "timescale": 5}
FILE = """
[run]
model = "rank_one"
epochs = 100
timescale = 5
[axes]
learning_rate = { logspace = [-3, 0, 13] }
seed = { range = 8 }
"""


def test_arrays_and_ranges_are_the_runs_of_a_file() -> None:
    made = sweep("mine", axes={"learning_rate": np.logspace(-3, 0, 13), "seed": range(8)}, **FIELDS)
    assert plan.expand(made)["run_id"].tolist() == plan.expand(loads(FILE, name="mine"))["run_id"].tolist()


def test_every_table_of_a_file_can_be_given_and_is_saved(tmp_path: Path) -> None:
    made = sweep(
        "all_of_it",
        title='a "quoted" title\\',
        axes=[
            {"learning_rate": {"logspace": [-2, 0, 3]}, "clip_norm": [None, 1]},
            {"learning_rate": np.array([0.5]), "seed": [np.int64(3)]},
        ],
        record={"points": 5, "snapshots": {"epochs": [0, 9], "runs": {"seed": [3]}}},
        phases=[{"epochs": 10, "axes": {"learning_rate": [0.1, 0.2]}}],
        fit={"share": 0},
        quick={"epochs": 20},
        **FIELDS,
    )
    path = made.save(tmp_path)
    again = load(path)
    assert again == made and again.title == 'a "quoted" title\\' and again.digest == made.digest
    assert len(load(path, quick=True).phases) == 1
    made.save(tmp_path)
    with pytest.raises(UsageError, match="all_of_it.toml: there is another text already; overwrite=True"):
        sweep("all_of_it", axes={"seed": [1]}, learning_rate=0.1, **FIELDS).save(tmp_path)


def test_models_and_tasks_themselves_are_named_by_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "sweeps")
    import flip_flop
    import gru

    made = sweep("x", model=gru.GRU, task=flip_flop.FLIP_FLOP, axes={"learning_rate": [0.1]}, epochs=3)
    assert [Path(code.path) for code in made.code] == [ROOT / "sweeps" / name for name in ("gru.py", "flip_flop.py")]
    assert made.grids[0].shared["model"] == "gru@1"
    for name in ("gru", "flip_flop"):
        del sys.modules[name]


def test_a_model_of_a_notebook_trains_and_is_not_saved(tmp_path: Path) -> None:
    there: dict[str, Any] = {}
    exec(
        "from ghostsweep.declare import Model\n"
        "def initial(shape, traced, key):\n    import jax.numpy as jnp\n    return {'w': jnp.ones(1, shape.dtype)}\n"
        "def loss(shape, p, traced):\n    return (p['w'] ** 2).sum(), (p['w'] < 1).mean(dtype=shape.dtype)\n"
        "M = Model('cell', (), initial, loss=loss, version='9')",
        there,
    )
    made = sweep("x", model=there["M"], axes={"learning_rate": [0.1]}, epochs=3)
    assert plan.expand(made)["model"].tolist() == ["cell@9"]
    with pytest.raises(UsageError, match="its model or task is in no file"):
        made.save(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"axes": {"seed": object()}}, r"axes.seed: found <object .*; allowed: a number, a text"),
        ({"axes": {"learning_rate": [0.1]}, "model": "rank_two"}, "rank_two"),
    ],
)
def test_mistakes_are_told_as_in_a_file(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep("x", **FIELDS | given)
