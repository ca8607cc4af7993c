"""Property: two models have equal names if and only if their programs are equal, and tables have what programs had."""

import itertools
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.models.registry import data_of, model_of
from ghostsweep.spec import code, loads, shape_of
from ghostsweep.training import train

HEAD = """
import functools, jax, jax.numpy as jnp, numpy as np
from ghostsweep.declare import Data, Field, Model

def initial(shape, traced, key):
    return {"w": jnp.zeros(2, shape.dtype)}

def scaled(by, x):
    return by * x

class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x

def plain_loss(act):
    def loss(shape, p, traced):
        e = ((act(p["w"]) - 1 - act(jnp.ones(2, shape.dtype))) ** 2).sum()
        return e, jnp.zeros((), shape.dtype)
    return loss
"""
VALUES = st.sampled_from([1, 2, 1.0, 2.0, 0.5, -1.5])
WAYS = {
    "closure": "(lambda by: lambda x: by * x)({value!r})",
    "partial": "functools.partial(scaled, {value!r})",
    "object": "Scale({value!r})",
    "method": "Scale({value!r}).__call__",
    "jitted": "jax.jit(functools.partial(scaled, {value!r}))",
    "default": "(lambda x, by={value!r}: by * x)",
    "nested": "(lambda f: lambda x: f(f(x)))(functools.partial(scaled, {value!r}))",
    "array": "functools.partial(scaled, np.full(2, {value!r}, np.float32))",
    "global": "(lambda x: GOAL_{place} * x)",
}


@st.composite
def models(draw: st.DrawFn) -> tuple[str, Any]:
    """How an act is written, and its value."""
    return draw(st.sampled_from(sorted(WAYS))), draw(VALUES)


def text_of(chosen: list[tuple[str, Any]]) -> str:
    lines = [HEAD]
    for place, (way, value) in enumerate(chosen):
        lines.append(f"GOAL_{place} = np.float32({value!r}).item() + 0\nGOAL_{place} = type({value!r})(GOAL_{place})")
        act = WAYS[way].format(value=value, place=place)
        lines.append(f'M_{place} = Model("own", (), initial, loss=plain_loss({act}))')
    return "\n".join(lines) + "\n"


def program(name: str) -> str:
    """What is computed, as JAX writes it, with its constants."""
    run = Run(model=name, learning_rate=0.1, epochs=1)
    shape = shape_of(run.fields)
    columns = {key: np.array([value]) for key, value in run.fields.items() if value is not None}
    with train.precision(shape):
        _, traced = train.start(shape, columns)
        own = {key: value[0] for key, value in traced.items()}
        model = model_of(shape)
        assert model.loss is not None
        loss = model.loss
        params = {"w": np.zeros(2, np.float32)}
        made = jax.make_jaxpr(lambda p, t: loss(shape, p, t))(params, {**own, **data_of(shape)})
    return f"{made} {[np.asarray(const).tolist() for const in made.consts]}"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(models(), min_size=2, max_size=4))
def test_models_of_one_file_are_told_apart_if_and_only_if_they_are_written_or_valued_otherwise(
    tmp_path: Path, chosen: list[tuple[str, Any]]
) -> None:
    (tmp_path / "own.py").write_text(text_of(chosen))
    names = [code.read("model", f"own.py:M_{place}", tmp_path).load() for place in range(len(chosen))]
    programs = [program(name) for name in names]
    for (i, one), (j, other) in itertools.combinations(enumerate(chosen), 2):
        if programs[i] != programs[j]:
            assert names[i] != names[j], (one, other)
        if one[0] == other[0] not in ("global", "closure", "default", "nested") and repr(one) == repr(other):
            assert names[i] == names[j], (one, other)
    again = text_of(chosen).replace("\n\n", "\n\n# a comment\n\n")
    (tmp_path / "own.py").write_text(again)
    assert names == [code.read("model", f"own.py:M_{place}", tmp_path).load() for place in range(len(chosen))]


HOSTILE = st.sampled_from(
    [
        "level",
        "key",
        "kernel",
        "seed",
        "rank",
        "x_start",
        "a",
        "s",
        "tau",
        "größe",
        "lambda_",
        "n_inputs",
        "share",
        "size",
    ]
)
FIELD = st.one_of(
    st.tuples(st.just("int"), st.sampled_from([0, 3, -7, 20261131, 2**31 - 1, 2**53, 2**53 + 1, -(2**60)])),
    st.tuples(st.just("float"), st.sampled_from([0.0, 1e-300, 0.1, -3.25, 2.0**60])),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("str"), st.sampled_from(["relu", "tanh", "two words", "relu/6"])),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE, FIELD, st.booleans())
def test_a_field_is_refused_in_one_line_or_its_value_is_the_same_from_file_to_table_to_program(
    tmp_path: Path, name: str, field: tuple[str, Any], traced: bool
) -> None:
    kind, value = field
    options = ', options=("relu", "tanh", "two words", "relu/6")' if kind == "str" else ""
    read = f"traced[{name!r}]" if traced else f"shape.{name}"
    text = (
        "import jax.numpy as jnp\nfrom ghostsweep.declare import Evidence, Field, Model, Result\nSEEN = []\n"
        "def initial(shape, traced, key):\n"
        f"    SEEN.append({read})\n    return {{'w': jnp.zeros(1, shape.dtype)}}\n"
        "def loss(shape, p, traced):\n    return (p['w'] ** 2).sum(), jnp.zeros((), shape.dtype)\n"
        f"def of(shape, traced, p):\n    return {{'seen': jnp.asarray({read if kind != 'str' else 0}, shape.dtype)}}\n"
        f"OWN = Model('own', (Field({name!r}, 'x', kind={kind}, traced={traced}{options}),), initial, loss=loss,\n"
        "    evidence=Evidence((Result('seen', 'x'),), of), version='1')\n"
    )
    (tmp_path / "own.py").write_text(text.replace("version='1'", f"version='{abs(hash(text))}'"))
    written = str(value).lower() if kind == "bool" else f"{value!r}".replace("'", '"')
    sweep = (
        f'[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\ndtype = "float64"\n[axes]\n"{name}" = [{written}]\n'
    )
    try:
        found = loads(sweep, name="x", folder=tmp_path)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
        return
    assume(not (kind == "str" and not traced and value == "relu/6"))
    out = tmp_path / str(abs(hash((text, written))))
    runs = ghostsweep.run(found, out=out).runs
    (there,) = runs[name].tolist()
    assert there == value and (kind != "int" or type(there) is int)
    if kind != "str":
        assert runs["seen"].tolist() == [float(value)] or math.isclose(runs["seen"].iloc[0], value)
    assert Run.of(runs.iloc[0]).run_id == runs["run_id"].iloc[0] or kind == "bool"


@pytest.mark.parametrize(("one", "other"), [(2**53, 2**53 + 1), (-(2**60), -(2**60) + 1)])
def test_large_whole_numbers_are_runs_of_their_own(one: int, other: int, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import jax.numpy as jnp\nfrom ghostsweep.declare import Field, Model\n"
        "def initial(shape, traced, key):\n    return {'w': jnp.full(1, shape.big % 7, shape.dtype)}\n"
        "def loss(shape, p, traced):\n    return (p['w'] ** 2).sum(), jnp.zeros((), shape.dtype)\n"
        "OWN = Model('own', (Field('big', 'x', kind=int, traced=False),), initial, loss=loss)\n"
    )
    text = '[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\n'
    both = loads(text + f"[[axes]]\nbig = [{one}]\n[[axes]]\nbig = [{other}]\n", name="x", folder=tmp_path)
    runs = ghostsweep.run(both, out=tmp_path).runs
    assert runs["big"].tolist() == [one, other] and runs["initial_loss"].tolist() == [
        float((each % 7) ** 2) for each in (one, other)
    ]
