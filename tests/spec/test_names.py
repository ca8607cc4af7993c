"""Names of fields, results, data and parts: any that does not clash, and a clash is one line that says with what."""

from pathlib import Path
from typing import Any

import pytest

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.analysis import BAND_ESTIMATES, ESTIMATES
from ghostsweep.declare.field import ANALYSES, RESULTS
from ghostsweep.spec import code, loads, parts_of

MODEL = """
import jax.numpy as jnp
from ghostsweep.declare import Data, Evidence, Field, Model, Result, Task, Tally, Trials, Outcomes

def initial(shape, traced, key):
    return {"w": jnp.zeros(1, shape.dtype)}

def loss(shape, p, traced):
    return (p["w"] ** 2).sum(), jnp.zeros((), shape.dtype)

OWN = Model("own", (FIELDS,), initial, loss=loss)
"""


def load(folder: Path, fields: str, more: str = "", name: str = "own") -> str:
    (folder / "own.py").write_text(MODEL.replace("FIELDS", fields).replace("loss=loss)", f"loss=loss{more})"))
    return code.read("model", "own.py", folder).load()


CLASHES: dict[str, tuple[str, str]] = {
    **{
        name: (f'Field("{name}", "x", kind=int, default=3, traced=False)', f"an attribute of Shape .shape.{name}")
        for name in ("kernel", "random", "texts", "sizes", "traced", "persistent", "stochastic", "get", "traced_types")
    },
    "key": ('Field("key", "x")', "the random key of an epoch in `traced`"),
    "x_start": ('Field("x_start", "x")', "where units begin in `traced`"),
    "seed": ('Field("seed", "x")', "a field that all runs have"),
    **{
        name: (f'Field("{name}", "x", default=1.0)', "a column of tables")
        for name in ("level", "share", "n_seeds", "counted", "majority", "width", "final_loss", "outcome", "epoch",
                     "vanished_ratio", "lr_critical", "run_id", "constant_loss", "begins_from")
    },
    "rank": ('Field("rank", "x", default=1.0)', "found a number, and a whole number of that name; allowed: a whole"),
    "rng": ('Field("rng", "x", kind=int, traced=False)', "found a whole number, and a text of that name"),
    "confidence": ('Field("confidence", "x", kind=int)', "found a whole number, and a number of that name"),
    "relu/6": ('Field("act", "x", kind=str, options=("relu/6",), traced=False)', "options of act: found 'relu/6'"),
    "a text": ('Field("act", "x", kind=str)', "found a text that is traced; allowed: traced=False"),
    "a kind": ('Field("act", "x", kind=complex)', "found kind=<class 'complex'>"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASHES)
def test_a_clash_is_found_where_it_is_declared_in_one_line_that_says_with_what(case: str, tmp_path: Path) -> None:
    field, said = CLASHES[case]
    with pytest.raises(UsageError, match=f"own.py: model own, .*{said}") as error:
        load(tmp_path, field)
    assert len(str(error.value).splitlines()) == 1


RESULTS_OF: dict[str, tuple[str, str]] = {
    "a column": ('evidence=Evidence((Result("level", "x"),), initial)', "result level: .*a column of tables"),
    "a field": ('evidence=Evidence((Result("rank", "x"),), initial)', "result rank: .*a field"),
    "an own field": ('evidence=Evidence((Result("scale", "x"),), initial)', "result scale: .*a field"),
    "twice": ('evidence=Evidence((Result("a", "x"), Result("a", "x")), initial)', "result a: .*twice"),
    "data": ('data=Data({"scale": [1.0]})', "data: found scale, the name of a field"),
    "data of runs": ('data=Data({"learning_rate": [1.0]})', "data: found learning_rate, the name of a field"),
    "version": ('version="a/b"', "version: found 'a/b'"),
}


@pytest.mark.parametrize("case", RESULTS_OF)
def test_so_are_those_of_results_data_and_versions(case: str, tmp_path: Path) -> None:
    more, said = RESULTS_OF[case]
    with pytest.raises(UsageError, match=said):
        load(tmp_path, 'Field("scale", "x", default=1.0)', f", {more}")


@pytest.mark.parametrize(
    "name",
    [
        "kernel",
        "random",
        "sizes",
        "tau",
        "s",
        "cosine",
        "r",
        "a",
        "w",
        "time",
        "trial",
        "name",
        "lambda_",
        "größe",
        "loss_",
    ],
)
def test_whatever_does_not_clash_is_allowed_and_is_what_the_model_reads(name: str, tmp_path: Path) -> None:
    """As a traced number; and one that is not traced where Shape has no such attribute."""
    for traced in (True, False):
        if not traced and name in ("kernel", "random", "sizes"):
            continue
        field = f'Field("{name}", "x", kind=int, default=1, traced={traced})'
        (tmp_path / "own.py").write_text(
            MODEL.replace("FIELDS", field).replace(
                "jnp.zeros(1, shape.dtype)}",
                f"jnp.full(1, {f'traced[{name!r}]' if traced else f'shape.{name}'}, shape.dtype)}}",
            )
        )
        text = f'[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\n[axes]\n"{name}" = [1, 3, 9]\n'
        runs = ghostsweep.run(loads(text, name=f"x{traced}", folder=tmp_path), out=tmp_path).runs
        assert runs["initial_loss"].tolist() == [1.0, 9.0, 81.0] and runs[name].tolist() == [1, 3, 9]
        assert runs["run_id"].nunique() == 3


def test_python_is_checked_as_files_are() -> None:
    from ghostsweep.declare import Field, Model

    def initial(shape: Any, traced: Any, key: Any) -> dict[str, Any]:
        return {}

    for field, said in ((Field("level", "x"), "a column of tables"), (Field("rank", "x"), "a whole number of that")):
        model = Model("own", (field,), initial, loss=initial)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=said):
            Run(model=model, learning_rate=0.1, epochs=1)
        with pytest.raises(UsageError, match=said):
            ghostsweep.sweep("x", model=model, axes={"learning_rate": [0.1]}, epochs=1)


def test_two_models_of_a_sweep_mean_the_same_by_a_name(tmp_path: Path) -> None:
    for name, kind in (("one", "int"), ("two", "float")):
        text = MODEL.replace("FIELDS", f'Field("size", "x", kind={kind}, default=1)').replace('"own"', f'"{name}"')
        (tmp_path / f"{name}.py").write_text(text)
    sweep = '[run]\nepochs = 1\nlearning_rate = 0.1\n[axes]\nmodel = ["one.py", "two.py"]\n'
    with pytest.raises(UsageError, match="x: size is a whole number in one and a number in two; allowed: another name"):
        loads(sweep, name="x", source="x", folder=tmp_path)


TASK = """
import jax.numpy as jnp
from ghostsweep.declare import Field, Task, Trials

def trials(shape, traced):
    return Trials(jnp.zeros((2, 1, 1)), jnp.ones((2, 1, 1)))

OWN = Task("own_task", (Field("gate_bias", "x", kind=int, default=1),), trials)
"""


def test_a_model_and_its_task_mean_the_same_by_a_name(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    task = code.read("task", "task.py", tmp_path).load()
    model = code.read("model", "gru.py", Path(__file__).parents[2] / "sweeps").load()
    with pytest.raises(UsageError, match="gate_bias is a number in gru and a whole number in own_task"):
        Run(model=model, task=task, learning_rate=0.1, epochs=1)


def test_columns_of_analyses_are_kept_from_fields() -> None:
    found = ghostsweep.analyze("rank_one_lr_timescale", out=Path(__file__).parents[2] / "results")
    tables = (found.critical, found.band, found.local_exponent, found.power_law, found.scaling)
    columns = {*ESTIMATES, *BAND_ESTIMATES}.union(*(table.columns for table in tables if table is not None))
    fields = parts_of({"model": "rank_one"}).fields
    assert columns <= ANALYSES | RESULTS | fields.keys()


def test_expressions_of_whole_fields_give_whole_numbers() -> None:
    text = '[run]\nmodel = "low_rank"\nepochs = "1.5 + 1"\nn_units = 9\ntimescale = 4\nrank = "RANK"\n[axes]\n'
    axes = "learning_rate = [0.5, 1.0]\n"
    for rank in ("1.5 + learning_rate", "3 / 2", "2 ** 0.5"):
        with pytest.raises(UsageError, match="run.rank: found .*allowed: a whole number; round"):
            loads(text.replace("RANK", rank) + axes, name="x")
    found = loads(text.replace("RANK", "round(1.4 + learning_rate)") + axes, name="x")
    assert [grid.shared["rank"] for grid in found.grids] == [2, 2] or found.grids[0].shared["rank"] == 2
    assert found.grids[0].shared["epochs"] == 2
    exact = loads(text.replace("RANK", "2 * 3 * learning_rate / learning_rate") + axes, name="x")
    assert exact.grids[0].shared["rank"] == 6


def test_expressions_keep_whole_numbers_whole() -> None:
    from ghostsweep.spec.expressions import parse

    assert parse(f"{2**53} + 1").value({}) == 2**53 + 1
    assert parse("size + 1").value({"size": 2**53}) == 2**53 + 1


NESTED = {
    '{"layer": {"w": jnp.zeros(1)}}': "initial: found 'layer': a dict of parameters; allowed: a dict of float32 arrays",
    "[jnp.zeros(1)]": "initial: found a list; allowed: a dict of float32 arrays",
    '{"w": [jnp.zeros(1)]}': "initial: found 'w': a list of parameters",
    '{"w": jnp.zeros(1, jnp.complex64)}': "initial: found w of complex64; allowed: a dict of float32 arrays",
    '{"w": jnp.zeros(1, jnp.bfloat16)}': "initial: found w of bfloat16; allowed",
    '{"w": jnp.full(shape.scale, 1.0)}': r"AttributeError: scale: each run has its own, traced\['scale'\]; a size with "
    "traced=False in its Field",
    '{"w": jnp.zeros(traced["scale"])}': "TypeError|a number that decides sizes is one of a field with traced=False",
    '{"w": traced["scales"] + jnp.zeros(1)}': "KeyError: 'scales'; there is in traced: scale, learning_rate",
}


@pytest.mark.parametrize("initial", NESTED)
@pytest.mark.parametrize("way", ["run", "train_one", "dry run"])
def test_what_a_function_returns_is_checked_alike_in_one_line(initial: str, way: str, tmp_path: Path) -> None:
    text = MODEL.replace("FIELDS", 'Field("scale", "x", kind=int, default=2)')
    (tmp_path / "own.py").write_text(text.replace('{"w": jnp.zeros(1, shape.dtype)}', initial))
    with pytest.raises(UsageError, match=NESTED[initial]) as error:
        if way == "train_one":
            model = code.read("model", "own.py", tmp_path).load()
            ghostsweep.train_one(Run(model=model, learning_rate=0.1, epochs=1))
        else:
            sweep = loads('[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\n', name="x", folder=tmp_path)
            if way == "run":
                ghostsweep.run(sweep, out=tmp_path)
            else:
                from ghostsweep.running.estimating import estimate

                estimate(sweep, out=tmp_path)
    assert len(str(error.value).splitlines()) == 1
