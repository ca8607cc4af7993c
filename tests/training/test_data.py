"""Data of a model or task: an argument of its programs, part of its identity, and whole numbers that stay whole."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.declare import Data
from ghostsweep.models import registry
from ghostsweep.running import ledger
from ghostsweep.spec import code, load, loads, shape_of
from ghostsweep.training import programs, train

MODEL = """
import jax, jax.numpy as jnp
from ghostsweep.declare import Data, Evidence, Field, Model, Result

def initial(shape, traced, key):
    return {"w": jnp.zeros(1, shape.dtype)}

def loss(shape, p, traced):
    at = traced["x"][traced["labels"]]
    error = ((p["w"][None] - at[:, None]) ** 2).mean()
    return error, (error < 1).astype(shape.dtype)

def seen(shape, traced, p):
    return {"largest": traced["x"].max()}

OWN = Model("own", (), initial, loss=loss, data=Data("points.npz"),
            evidence=Evidence((Result("largest", "of x"),), seen))
"""
SWEEP = '[run]\nmodel = "own.py"\nepochs = 3\nlearning_rate = 0.1\n[axes]\nseed = [0, 1, 2]\n'


def write(folder: Path, x: Any = (0.0, 3.0, 5.0), labels: Any = (1, 1, 2, 1)) -> Path:
    np.savez(folder / "points.npz", x=np.array(x), labels=np.array(labels))
    (folder / "own.py").write_text(MODEL)
    (folder / "x.toml").write_text(SWEEP)
    return folder / "x.toml"


def test_data_of_a_file_train_and_tell_runs_apart(tmp_path: Path) -> None:
    path = write(tmp_path)
    first = ghostsweep.run(load(path), out=tmp_path / "results").runs
    assert first["initial_loss"].tolist() == [13.0] * 3 and first["largest"].tolist() == [5.0] * 3
    write(tmp_path, x=(0.0, 3.0, 7.0))
    assert ledger.status(load(path, execute=False), tmp_path / "results").changed == (
        "points.npz has changed: runs of another text do not count",
    )
    second = ghostsweep.run(load(path), out=tmp_path / "results").runs
    assert second["initial_loss"].tolist() == [19.0] * 3 and not set(first["run_id"]) & set(second["run_id"])
    write(tmp_path)
    assert load(path).grids[0].shared["model"] == first["model"].iloc[0]


def test_data_are_arguments_of_the_program_and_not_in_it(tmp_path: Path) -> None:
    write(tmp_path, x=np.arange(30_000.0))
    run = Run(model=code.read("model", "own.py", tmp_path).load(), learning_rate=0.1, epochs=1)
    shape = shape_of(run.fields)
    columns = {name: np.array([value]) for name, value in run.fields.items() if value is not None}
    stops = jnp.arange(train.MAX_STOPS + 1, dtype=jnp.int32)
    with train.precision(shape):
        state, traced = train.start(shape, columns)
        made = jax.make_jaxpr(train.batched(shape))(state, traced, stops, jnp.int32(1), registry.data_of(shape))
    assert not [const for const in made.consts if np.size(const) > 1]
    assert programs.program(shape, 1, (jax.devices()[0],)).call is not None
    assert float(ghostsweep.train_one(run).loss[0]) == 1.75  # labels 1, 1, 2, 1: (3 * 1 + 4) / 4


@pytest.mark.parametrize("kernel", [False, True])
def test_data_as_arrays_in_python_of_each_kind_of_program(kernel: bool, tmp_path: Path) -> None:
    text = MODEL.replace('Data("points.npz")', "Data({'x': np.array([1.0, 2.0]), 'labels': np.array([0, 1])})")
    text = text.replace("import jax,", "import numpy as np, jax,").replace("Model, ", "Model, Cost, ")
    if kernel:
        text = text.replace("OWN = Model(", "def cost(shape):\n    return Cost(8, 1e-6, 1000, kernel=True)\n\n"
                            "OWN = Model(").replace("data=", "cost=cost, data=").replace(
            'at = traced["x"][traced["labels"]]', 'at = traced["x"]')  # fmt: skip
    (tmp_path / "own.py").write_text(text)
    name = code.read("model", "own.py", tmp_path).load()
    assert float(ghostsweep.train_one(Run(model=name, learning_rate=0.1, epochs=1)).loss[0]) == 2.5
    (tmp_path / "own.py").write_text(text.replace("[1.0, 2.0]", "[1.0, 4.0]"))
    assert code.read("model", "own.py", tmp_path).load() != name


def test_workers_elsewhere_read_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    sweep = load("x.toml")
    monkeypatch.chdir("/")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = ghostsweep.run(sweep, out=tmp_path / "results", executor=pool, shards=2).runs
    assert found["initial_loss"].tolist() == [13.0] * 3
    (tmp_path / "own.py").unlink()
    monkeypatch.chdir(tmp_path)
    again = ghostsweep.show(found["run_id"].iloc[0], out=tmp_path / "results", rerun=True).again
    assert again is not None and again.apart_from is None


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"x": np.array(["a"])}, "Data, x: found <U1; allowed: an .npz file of arrays of numbers"),
        ({"x y": np.ones(1)}, "Data: found an array 'x y'; allowed: letters, digits and _"),
        ({}, "Data: found no arrays"),
        ({"x": np.array([2**40])}, "Data, x: found whole numbers beyond 32 bits"),
        ("none.npz", "none.npz: No such file or directory; allowed"),
        (3, "Data: found int; allowed"),
    ],
)
def test_what_is_no_data_is_one_line(data: Any, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        Data(data).arrays(Path("/nowhere"))


KINDS = """
import jax.numpy as jnp
from ghostsweep.declare import Evidence, Field, Model, Result

def initial(shape, traced, key):
    assert traced["n"].dtype == (jnp.int64 if shape.dtype == "float64" else jnp.int32), traced["n"]
    assert traced["flag"].dtype == bool
    return {"w": jnp.zeros(1, shape.dtype) + (traced["n"] % 1000).astype(shape.dtype) + shape.big % 1000}

def loss(shape, p, traced):
    return (p["w"] ** 2).sum(), jnp.zeros((), shape.dtype)

OWN = Model("own", (Field("n", "a whole number", kind=int, default=3),
    Field("flag", "a switch", kind=bool, default=False),
    Field("big", "a size", kind=int, default=0, traced=False)), initial, loss=loss)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_stay_whole_from_file_to_table_to_program(dtype: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(KINDS)
    text = f'[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\ndtype = "{dtype}"\n[axes]\n'
    axes = f"n = [20261131, 20261132]\nflag = [true, false]\nbig = [{2**53}, {2**53 + 1}]\n"
    runs = ghostsweep.run(loads(text + axes, name="x", folder=tmp_path), out=tmp_path).runs
    assert len(runs) == 8 == runs["run_id"].nunique()
    assert set(runs["n"]) == {20261131, 20261132} and set(runs["big"]) == {2**53, 2**53 + 1}
    assert runs["initial_loss"].tolist() == ((runs["n"] % 1000 + runs["big"] % 1000) ** 2).astype(float).tolist()
    for run in runs.to_dict("records"):
        assert Run.of(run).run_id == run["run_id"]
        assert float(ghostsweep.train_one(Run.of(run)).loss[0]) == run["initial_loss"]


def test_a_traced_whole_number_that_the_program_cannot_hold_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(KINDS)
    name = code.read("model", "own.py", tmp_path).load()
    with pytest.raises(UsageError, match="n: found 2147483648; allowed: a whole number below 2147483648 in float32"):
        Run(model=name, learning_rate=0.1, epochs=1, n=2**31)
    assert Run(model=name, learning_rate=0.1, epochs=1, n=2**31, dtype="float64").n == 2**31
