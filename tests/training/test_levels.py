"""What is said of one run is of that run: levels of users' tasks, each of its own run and sure of itself."""

from pathlib import Path

import numpy as np
import pytest

import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import loads

TASK = """
import jax, jax.numpy as jnp
from ghostsweep.declare import Field, Task, Trials

def trials(shape, traced):
    sign = jax.random.rademacher(traced["key"], (4, shape.many, 1), jnp.float32).astype(shape.dtype)
    return Trials(jnp.zeros((4, shape.many, 1), shape.dtype), traced["amplitude"] * sign)

def still(shape, traced):
    target = jnp.where(jnp.arange(4) < 2, 0, traced["amplitude"]).astype(shape.dtype)
    return Trials(jnp.zeros((4, 1, 1), shape.dtype), target[:, None, None])

FIELDS = (Field("amplitude", "of targets", default=1.0),
          Field("many", "trials", kind=int, default=1, ge=1, traced=False))
SIGNS = Task("signs", FIELDS, trials, drawn=True)
STILL = Task("still", FIELDS, still)
"""


def tables(folder: Path, task: str, axes: str) -> "ghostsweep.Tables":
    (folder / "own.py").write_text(TASK)
    text = f'[run]\nmodel = "full_rank"\ntask = "own.py:{task}"\nn_units = 2\nepochs = 3\nlearning_rate = 1e-6\n'
    return ghostsweep.run(loads(f"{text}[axes]\n{axes}\n", name="x", folder=folder), out=folder / axes[-9:])


def test_what_knows_nothing_in_a_drawn_task_is_measured_in_as_many_draws_as_it_takes(tmp_path: Path) -> None:
    """Signs: the best constant output is 0, of loss 1 and right in half; not what one epoch of one trial says."""
    runs = tables(tmp_path, "SIGNS", "seed = [0, 1, 2]").runs
    assert runs["constant_loss"].to_numpy() == pytest.approx(1, rel=0.02)
    assert runs["blind_loss"].to_numpy() == pytest.approx(1, rel=0.02)
    assert runs["wrong_loss"].to_numpy() == pytest.approx(401, rel=0.02)  # an output without bounds, taken at -20
    assert runs["chance_accuracy"].to_numpy() == pytest.approx(0.5, abs=0.01)
    assert runs["constant_loss"].nunique() == 1


@pytest.mark.parametrize(("task", "share"), [("SIGNS", 1.0), ("STILL", 0.25)])
def test_levels_are_those_of_the_run_whatever_is_trained_beside_it(task: str, share: float, tmp_path: Path) -> None:
    both = tables(tmp_path, task, "amplitude = [0.1, 10.0]").runs.set_index("run_id")
    alone = tables(tmp_path, task, "amplitude = [10.0]").runs.set_index("run_id")
    others = tables(tmp_path, task, "amplitude = [10.0, 3.0]\nseed = [0, 1]").runs.set_index("run_id")
    np.testing.assert_allclose(both["constant_loss"], share * both["amplitude"] ** 2, rtol=0.02)
    for name in ("constant_loss", "blind_loss", "wrong_loss", "chance_accuracy"):
        (run,) = alone.index
        assert both.loc[run, name] == alone.loc[run, name] == others.loc[run, name]


def test_a_grown_sweep_says_the_same_of_its_old_runs(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(TASK)
    text = '[run]\nmodel = "full_rank"\ntask = "own.py:STILL"\nn_units = 2\nepochs = 2\nlearning_rate = 0.1\n[axes]\n'
    first = ghostsweep.run(loads(text + "amplitude = [0.1]", name="x", folder=tmp_path), out=tmp_path).runs
    grown = ghostsweep.run(loads(text + "amplitude = [0.1, 10.0]", name="x", folder=tmp_path), out=tmp_path).runs
    whole = ghostsweep.run(loads(text + "amplitude = [10.0, 0.1]", name="y", folder=tmp_path), out=tmp_path).runs
    assert set(first["run_id"]) < set(grown["run_id"])
    by_id = [each.set_index("run_id")["constant_loss"].sort_index() for each in (grown, whole)]
    assert by_id[0].equals(by_id[1]) and by_id[0].nunique() == 2


def test_levels_are_worked_out_once_for_what_the_task_looks_at() -> None:
    from ghostsweep.spec import shape_of
    from ghostsweep.training.levels import _looked_at

    folder = Path(__file__).parents[2] / "sweeps"
    sweep = loads((folder / "flip_flop_lr_rank.toml").read_text(), name="x", folder=folder, quick=True)
    (shape, *_) = {shape_of(row) for row in plan.expand(sweep).to_dict("records")}
    assert _looked_at(shape) == ("pulse_rate",)
