"""Property: the plan neither loses nor repeats a run, whatever the grid; estimates and chunks keep their promises."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostsweep import Run, UsageError, plan
from ghostsweep.declare import Shape
from ghostsweep.plan.groups import of, planned
from ghostsweep.spec import Sweep, every_field, loads, shape_of

AXES = {
    "learning_rate": st.lists(st.floats(1e-12, 10), min_size=1, max_size=6, unique=True),
    "seed": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True),
    "timescale": st.lists(st.integers(1, 60), min_size=1, max_size=3, unique=True),
    "confidence": st.lists(st.floats(0.01, 100), min_size=1, max_size=3, unique=True),
    "epochs": st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True),
    "n_units": st.lists(st.integers(1, 30), min_size=1, max_size=2, unique=True),
}


def sweep_of(grids: list[dict[str, list[Any]]]) -> Sweep:
    lines = ['[run]\nmodel = "rank_one"']
    for grid in grids:
        lines += ["[[axes]]", *(f"{key} = {values!r}" for key, values in grid.items())]
    return loads("\n".join(lines), name="generated")


grids = st.lists(st.fixed_dictionaries(AXES), min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(grids)
def test_expansion_is_a_bijection_on_the_grid(given_grids: list[dict[str, list[Any]]]) -> None:
    table = plan.expand(sweep_of(given_grids))
    keys = list(AXES)
    wanted = {
        combo
        for grid in given_grids
        for combo in pd.MultiIndex.from_product([map(float, grid[key]) for key in keys]).tolist()
    }
    found = list(map(tuple, table[keys].astype(float).to_numpy().tolist()))
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert table["run_id"].is_unique


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"learning_rate": st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=2, unique=True)},
            optional={
                "epochs": st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
                "optimizer": st.lists(st.sampled_from(["sgd", "lion"]), min_size=1, max_size=2, unique=True),
                "warmup_epochs": st.lists(st.sampled_from(["none", 1]), min_size=1, max_size=2, unique=True),
                "weight_decay": st.lists(st.sampled_from([0.0, 0.5]), min_size=1, max_size=2, unique=True),
                "confidence": st.lists(st.sampled_from([1, 1.0, 2.0]), min_size=1, max_size=1),
            },
        ),
        min_size=2,
        max_size=3,
    ),
    st.booleans(),
)
def test_grids_told_apart_by_their_axes_share_no_run(given_grids: list[dict[str, list[Any]]], continued: bool) -> None:
    for grid in given_grids:
        grid.setdefault("epochs", [2])
    lines = ['[run]\nmodel = "rank_one"\ntimescale = 5']
    for grid in given_grids:
        lines += ["[[axes]]", *(f"{key} = {values!r}" for key, values in grid.items())]
    lines += ["[[phases]]\nepochs = 3\naxes.clip_norm = [1.0, 2.0]"] if continued else []
    sweep = loads("\n".join(lines), name="generated")
    whole = plan.Plan.of(sweep)
    assert whole.runs["run_id"].is_unique
    if not plan.may_repeat(sweep):
        assert len(whole.runs) == sweep.n_runs
    found, wanted = ({(g.shape, g.epochs, g.phase): g.runs for g in each} for each in (planned(sweep), of(whole)))
    assert found == wanted
    one, *others = ({name: set(map(str, values)) for name, values in grid.items()} for grid in given_grids)
    if all(one["learning_rate"].isdisjoint(other["learning_rate"]) for other in others) and len(others) == 1:
        assert not plan.may_repeat(sweep)


@settings(max_examples=30, deadline=None)
@given(grids)
def test_ids_of_a_grid_are_those_of_its_runs_alone(given_grids: list[dict[str, list[Any]]]) -> None:
    for row in plan.expand(sweep_of(given_grids)).head(5).to_dict("records"):
        fields = {name: row[name] for name in every_field() if name in row and not pd.isna(row[name])}
        fields |= {name: int(fields[name]) for name in ("n_units", "epochs", "seed")}
        fields |= {name: bool(fields[name]) for name in ("nesterov", "train_confidence")}
        assert Run(**fields).run_id == row["run_id"]


@settings(max_examples=60, deadline=None)
@given(grids, st.sampled_from([1, 2, 4]), st.floats(1e5, 1e9))
def test_every_run_is_in_exactly_one_chunk_of_its_shape(
    given_grids: list[dict[str, list[Any]]], n_devices: int, memory: float
) -> None:
    planned = plan.Plan.of(sweep_of(given_grids))
    table = planned.runs
    chunks = plan.chunks(planned, n_devices, memory)
    assert sorted(pd.concat([chunk.runs for chunk in chunks])["run_id"]) == sorted(table["run_id"])
    widths: dict[tuple[Shape, int], set[int]] = {}
    for chunk in chunks:
        assert chunk.width % n_devices == 0 or len(chunk.runs) == chunk.width < n_devices
        assert 0 < len(chunk.runs) <= chunk.width
        assert chunk.width // n_devices * plan.cost(chunk.shape).run_bytes <= max(
            memory, plan.cost(chunk.shape).run_bytes
        )
        assert (chunk.runs["epochs"] == chunk.epochs).all()
        assert (chunk.runs["timescale"] == chunk.shape.timescale).all()
        assert (chunk.runs["n_units"] == chunk.shape.n_units).all()
        widths.setdefault((chunk.shape, chunk.epochs), set()).add(chunk.width)
    assert all(len(found) == 1 for found in widths.values())  # a group compiles once, its last chunk padded


def test_learning_rate_confidence_and_seed_share_a_program() -> None:
    sweep = sweep_of(
        [{"learning_rate": [0.1, 0.2], "confidence": [1.0, 2.0], "seed": [0, 1, 2], "timescale": [5], "epochs": [9]}]
    )
    (chunk,) = plan.chunks(plan.Plan.of(sweep), 2, 1e9)
    assert len(chunk.runs) == 12
    more = sweep_of([{"learning_rate": [0.1, 0.2], "timescale": [5, 6], "epochs": [9]}])
    assert len(plan.chunks(plan.Plan.of(more), 2, 1e9)) == 2


def test_a_million_runs_are_planned_in_seconds() -> None:
    text = """
    [run]
    model = "canonical"
    timescale = 100.0
    epochs = 2_000
    [axes]
    learning_rate = { logspace = [-11, -8, 512] }
    r_start = { linspace = [1.0, 10.0, 512] }
    """
    planned = plan.Plan.of(loads(text, name="dense"))
    table = planned.runs
    assert len(table) == 512**2
    chunks = plan.chunks(planned, 2, 1e9)
    assert len(chunks) == math.ceil(512**2 / (2 * plan.cost(chunks[0].shape).lanes))
    np.testing.assert_allclose(table["r_start"].unique(), np.linspace(1.0, 10.0, 512))


def test_none_on_an_axis_leaves_a_field_out() -> None:
    text = """
    [run]
    model = "full_rank"
    timescale = 4
    epochs = 9
    learning_rate = 0.1
    [axes]
    momentum = ["none", 0.9]
    [[phases]]
    epochs = 5
    axes.readout_l1 = [0.5, "none"]
    [[phases]]
    epochs = 3
    """
    table = plan.expand(loads(text, name="nulls"))
    assert table.groupby("phase").size().tolist() == [2, 4, 4]
    last = table[table["phase"] == 3].sort_values(["momentum", "readout_l1"])
    assert last[["momentum", "readout_l1"]].fillna(0).to_numpy().tolist() == [[0.9, 0.5], [0.9, 0], [0, 0.5], [0, 0]]
    fields: dict[str, Any] = {"model": "full_rank", "timescale": 4, "learning_rate": 0.1}
    first = Run(**fields, epochs=9)
    second = Run(**fields, epochs=5, phase=2, parent=first.run_id, first_epoch=9)
    third = Run(**fields, epochs=3, phase=3, parent=second.run_id, first_epoch=14)
    assert {run.run_id for run in (first, second, third)} < set(table["run_id"])


def test_fields_that_a_model_has_not_are_null() -> None:
    text = """
    [run]
    timescale = 10
    epochs = 9
    learning_rate = 1e-5
    [axes]
    model = ["canonical", "canonical_simulated", "rank_one"]
    """
    sweep = loads(text, name="nulls")
    table = plan.expand(sweep)
    wanted = [[0, 0, 0, 10, 0], [1, 0.1, 10, 10, 0], [10, 0, 0, 0, 100]]
    fields = ["confidence", "dt_steps", "threshold", "r_start", "n_units"]
    assert table[fields].astype(float).fillna(0).to_numpy().tolist() == wanted
    assert table["n_units"].dtype == "Int64" and table["seed"].dtype == "int64"
    assert "rank" not in table and "input_ms" not in table
    shapes = {chunk.shape for chunk in plan.chunks(plan.Plan.of(sweep), 1, 1e9)}
    assert shapes == {shape_of(row) for row in table.drop(columns="run_id").to_dict("records")} and len(shapes) == 3
    with pytest.raises(UsageError, match=r"threshold: model 'canonical' has no such field"):
        loads(text + "threshold = [5.0]", name="nulls")
