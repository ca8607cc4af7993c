"""Property: later phases go on exactly where earlier ones end, share them, and reuse what is on disk."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import Run, UsageError, plan, train_one
from ghostsweep.spec import every_field, loads
from ghostsweep.store import tables
from ghostsweep.store.ends import Ends
from ghostsweep.training import engine

CUES: dict[str, Any] = {"task": "dcdt", "input_ms": 10.0, "delay_ms": 15.0, "reaction_ms": 10.0, "n_units": 9}
KINDS: dict[str, dict[str, Any]] = {
    "canonical": {"model": "canonical", "timescale": 10.0, "learning_rate": 1e-5, "optimizer": "adam"},
    "rank_one": {"model": "rank_one", "timescale": 4, "n_units": 9, "learning_rate": 0.1, "momentum": 0.9},
    "noisy": {"model": "full_rank", "learning_rate": 0.1, "r0_sigma": 0.2, "noise_sigma": 0.1, "optimizer": "adam"}
    | CUES,
    "schedule": {
        "model": "low_rank",
        "rank": 2,
        "learning_rate": 0.1,
        "schedule": "cosine",
        "decay_epochs": 30,
        "warmup_epochs": 12,
    }
    | CUES,
}
TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 9
learning_rate = 0.3
epochs = 20
[axes]
seed = { range = 3 }
[record]
epochs = [0, 15]
[[phases]]
epochs = 12
axes.confidence = [1.0, 10.0]
"""


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_two_phases_that_change_nothing_are_one_run(fields: dict[str, Any]) -> None:
    whole = train_one(Run(**fields, epochs=30, dtype="float64"))
    first = train_one(Run(**fields, epochs=17, dtype="float64"))
    second = train_one(Run(**fields, epochs=13, dtype="float64"), after=first)
    assert (second.run.phase, second.run.parent, second.run.first_epoch) == (2, first.run.run_id, 17)
    for name in ("loss", "grad_norm", "accuracy", "weight_norm"):
        joined = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    for name, value in whole.params.items():
        np.testing.assert_array_equal(second.params[name], value)


def test_a_sweep_with_phases_is_its_runs_one_after_the_other(tmp_path: Path) -> None:
    text = TEXT + '\n[[phases]]\nepochs = 5\noptimizer = "adam"\naxes.learning_rate = [0.01, 0.02]\n'
    sweep = loads(text, name="chained")
    found = ghostsweep.run(sweep, out=tmp_path)
    assert found.runs["phase"].value_counts().to_dict() == {1: 3, 2: 6, 3: 12}
    assert sweep.n_runs == len(found.runs)
    shared = {"model": "rank_one", "timescale": 4, "n_units": 9}
    first = train_one(Run(**shared, learning_rate=0.3, epochs=20, seed=2))
    second = train_one(Run(**shared, learning_rate=0.3, epochs=12, seed=2, confidence=1.0), after=first)
    third = train_one(
        Run(**shared, learning_rate=0.02, epochs=5, seed=2, confidence=1.0, optimizer="adam"), after=second
    )
    for history in (first, second, third):
        rows = found.curves[found.curves["run_id"] == history.run.run_id]
        assert len(rows) == len(sweep.record_of(history.run.phase or 0).schedule(len(history.loss)))
        np.testing.assert_allclose(rows["loss"], history.loss[rows["epoch"]], rtol=1e-5)
        np.testing.assert_allclose(rows["grad_norm"], history.grad_norm[rows["epoch"]], rtol=1e-4)


def test_rows_say_where_they_come_from() -> None:
    planned = plan.expand(loads(TEXT, name="x"))
    parents = planned[planned["phase"] == 1]
    children = planned[planned["phase"] == 2]
    assert parents["parent"].isna().all()
    assert set(children["parent"]) == set(parents["run_id"])
    assert (children["first_epoch"] == 20).all()
    assert children.merge(parents, left_on="parent", right_on="run_id").eval("seed_x == seed_y").all()
    for row in children.to_dict("records"):
        fields = {name: row[name] for name in every_field() if name in row and not pd.isna(row[name])}
        fields |= {"n_units": 9, "nesterov": False, "train_confidence": False}
        assert Run(**fields).run_id == row["run_id"]
    assert planned["run_id"].is_unique


def test_each_run_of_each_phase_has_the_id_of_its_fields_in_the_order_of_the_axes() -> None:
    first = TEXT.split("[[phases]]")[0].replace("[axes]", '[axes]\nweight_decay = ["none", 0.5]\nepochs = [16, 20]')
    text = (
        first.replace("epochs = 20\n", "")
        + """
    [[phases]]
    epochs = 4
    axes.train_confidence = [true, false]
    confidence = 2
    axes.clip_norm = [2, "none"]
    [[phases]]
    confidence = 2
    axes.optimizer = ["sgd", "adam"]
    axes.epochs = [5, 6]
    """
    )
    planned = plan.expand(loads(text, name="x"))
    assert planned.groupby("phase").size().tolist() == [12, 48, 192]
    for row in planned.to_dict("records"):
        given = {name: field.kind(row[name]) for name, field in every_field().items() if not pd.isna(row.get(name))}
        assert Run(**given).run_id == row["run_id"]
    later = planned[planned["phase"] == 3]
    assert later["parent"].tolist() == planned.loc[planned["phase"] == 2, "run_id"].repeat(4).tolist()
    kinds = [("sgd", 5), ("sgd", 6), ("adam", 5), ("adam", 6)]
    assert list(zip(later["optimizer"], later["epochs"], strict=True)) == kinds * 48
    ends = planned.set_index("run_id")[["first_epoch", "epochs"]].sum(axis=1)
    assert (later["first_epoch"].to_numpy() == ends[later["parent"]].to_numpy()).all()


def test_phases_share_what_came_before_and_nothing_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[int]] = []
    original = engine.train_chunks

    def spy(chunks: Any, *args: Any) -> Any:
        trained.append([chunk.phase for chunk in chunks for _ in range(len(chunk.runs))])
        return original(chunks, *args)

    monkeypatch.setattr(engine, "train_chunks", spy)
    # The same bits however many are trained at once: a phase is trained again where what it began from has changed.
    start = TEXT.replace("rank_one", "canonical").replace("n_units = 9", "r_start_sigma = 0.1")
    start = start.replace("learning_rate = 0.3", "learning_rate = 1e-4")
    start = start.replace("confidence = [1.0, 10.0]", "learning_rate = [1e-5, 1e-4]")
    first = ghostsweep.run(loads(start, name="x"), out=tmp_path)
    ghostsweep.run(loads(start.replace("1e-4]", "1e-4, 3e-4]"), name="x"), out=tmp_path)
    more = ghostsweep.run(loads(start.replace("range = 3", "range = 4"), name="x"), out=tmp_path)
    for path in (tmp_path / "x" / "ends").iterdir():
        path.write_bytes(path.read_bytes()[:200])  # cut short: the first phase is needed again, once
    text = start.replace("1e-4]", "1e-4, 3e-5]").replace("range = 3", "range = 4")
    with pytest.warns(UserWarning, match="trained again"):
        again = ghostsweep.run(loads(text, name="x"), out=tmp_path)
    assert [[phases.count(n) for n in (1, 2)] for phases in trained] == [[3, 6], [0, 3], [1, 2], [4, 4]]
    keys = first.runs["run_id"]
    pd.testing.assert_frame_equal(
        more.runs.set_index("run_id").loc[keys], first.runs.set_index("run_id").loc[keys], rtol=1e-5
    )
    pd.testing.assert_frame_equal(
        again.runs.set_index("run_id").loc[more.runs["run_id"]], more.runs.set_index("run_id"), rtol=1e-5
    )


def test_a_trained_confidence_goes_on_or_begins_anew_where_one_is_given() -> None:
    fields: dict[str, Any] = {
        "model": "rank_one",
        "timescale": 4,
        "n_units": 9,
        "learning_rate": 3.0,
        "dtype": "float64",
    }
    first = train_one(Run(**fields, epochs=20, train_confidence=True))
    assert abs(first.params["c"][0] - 10) > 1e-4
    on = train_one(Run(**fields, epochs=1, train_confidence=True), after=first)
    assert on.run.confidence is None
    anew = train_one(Run(**fields, epochs=1, train_confidence=True, confidence=10.0), after=first)
    fixed = train_one(Run(**fields, epochs=1, confidence=10.0), after=first)
    assert set(fixed.params) == {"m", "n", "b"}
    assert anew.loss[0] == pytest.approx(fixed.loss[0], rel=1e-12)
    assert abs(on.loss[0] / fixed.loss[0] - 1) > 1e-8
    assert len({on.run.run_id, anew.run.run_id, fixed.run.run_id}) == 3
    text = TEXT.replace("epochs = 20", "epochs = 20\ntrain_confidence = true").replace(
        "axes.confidence = [1.0, 10.0]", ""
    )
    planned = plan.expand(loads(text, name="x"))
    assert planned.groupby("phase")["confidence"].unique().map(list).tolist() == [
        [10.0],
        pytest.approx([np.nan], nan_ok=True),
    ]


def test_none_leaves_the_readout_alone_beside_scaled_ones(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": "full_rank", "timescale": 4, "n_units": 5, "learning_rate": 0.3}
    text = """
    [run]
    model = "full_rank"
    timescale = 4
    n_units = 5
    learning_rate = 0.3
    epochs = 7
    [[phases]]
    epochs = 6
    axes.readout_l1 = [0.5, "none"]
    """
    found = ghostsweep.run(loads(text, name="scaled"), out=tmp_path).runs
    first = train_one(Run(**fields, epochs=7))
    for scale in (0.5, None):
        alone = train_one(Run(**fields, epochs=6, readout_l1=scale), after=first)
        row = found[found["run_id"] == alone.run.run_id].iloc[0]
        assert row["readout_l1"] == scale or (scale is None and np.isnan(row["readout_l1"]))
        np.testing.assert_allclose([row["initial_loss"], row["final_loss"]], alone.loss[[0, -1]], rtol=1e-5)
    assert found.loc[found["phase"] == 2, "initial_loss"].nunique() == 2


@pytest.mark.parametrize("rule", ["sgd", "adamax", "adamw"])  # the last two with a state that looks like adam's
def test_another_update_rule_begins_without_the_memory_of_the_first(rule: Any) -> None:
    fields: dict[str, Any] = {"model": "rank_one", "timescale": 4, "n_units": 9, "epochs": 6, "dtype": "float64"}
    adam = train_one(Run(**fields, learning_rate=0.01, optimizer="adam"))
    with jax.numpy_dtype_promotion("standard"):  # optax's adamax needs it
        after = train_one(Run(**fields, learning_rate=0.1, optimizer=rule), after=adam)
        fresh = train_one(Run(**fields, learning_rate=0.1, optimizer=rule), initial=adam.params)
    np.testing.assert_array_equal(after.loss, fresh.loss)


def test_another_schedule_begins_anew() -> None:
    fields: dict[str, Any] = {"model": "rank_one", "timescale": 4, "n_units": 9, "epochs": 6, "learning_rate": 0.1}
    fields |= {"dtype": "float64", "decay_epochs": 4}
    cosine = train_one(Run(**fields, schedule="cosine"))
    after = train_one(Run(**fields, schedule="linear"), after=cosine)
    fresh = train_one(Run(**fields, schedule="linear"), initial=cosine.params)
    np.testing.assert_array_equal(after.loss, fresh.loss)
    assert after.loss[-1] != after.loss[0]


def test_fields_of_the_first_rule_are_not_inherited_by_another() -> None:
    text = TEXT.replace("learning_rate = 0.3", 'learning_rate = 0.3\noptimizer = "adam"\nbeta1 = 0.8')
    runs = plan.expand(loads(text.replace("axes.confidence = [1.0, 10.0]", 'optimizer = "sgd"'), name="x"))
    assert runs.loc[runs["phase"] == 2, "beta1"].isna().all()
    assert (runs.loc[runs["phase"] == 1, "beta1"] == 0.8).all()


def test_runs_that_later_phases_need_are_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostsweep.training.chunk.WORTHWHILE_SECONDS", 0.0)
    text = """
    [run]
    model = "canonical"
    timescale = 10.0
    epochs = 400
    schedule = "linear"
    decay_epochs = 1_000
    [axes]
    learning_rate = { logspace = [-5, -2, 12] }
    [[phases]]
    epochs = 30
    """
    found = ghostsweep.run(loads(text, name="x"), out=tmp_path)
    trapped = found.runs[(found.runs["phase"] == 1) & (found.runs["final_grad_norm"] == 0)]
    assert 2 < len(trapped) < 12
    ends = Ends(tmp_path / "x", tables.stored(tmp_path / "x")).of(trapped["run_id"])
    counts = [end["opt_state/sgd/linear[0][1].count"] for end in ends]
    assert counts == [400] * len(trapped)  # the schedule goes on from here


@pytest.mark.parametrize(
    ("change", "key", "allowed"),
    [
        (("epochs = 12", ""), "phases[0].epochs: missing", "epochs of this phase"),
        (("epochs = 12", "epochs = 0"), "phases[0].epochs: found 0", "a whole number >= 1"),
        (("epochs = 12", "epochs = 12\nseed = 3"), "phases[0].seed", "a later phase cannot change it"),
        (
            ("axes.confidence", "axes.confidenze"),
            "phases[0].confidenze",
            "did you mean 'confidence' or 'train",
        ),
        (("[1.0, 10.0]", "[1.0, nan]"), "phases[0].confidence: found nan", "a finite number"),
        (("[1.0, 10.0]", "[]"), "phases[0].confidence: found []", "at least one value"),
        (("epochs = 12", "epochs = 12\nrank = 2"), "phases[0].rank", "a later phase cannot change it"),
        (("epochs = 12", "epochs = 12\nreadout_l1 = 2.0"), "phases[0].readout_l1", "has no such field"),
        (("epochs = 20", "epochs = 20\nparent = 'abc'"), "run.parent", "the phases of a sweep decide it"),
        (("[[phases]]", "[phases]"), "phases: found {", "a list of tables"),
        (("axes.confidence", "axes.train_confidence = true #"), "phases[0].train_confidence: found True", "a list, or"),
        (("axes.confidence", "axes.train_confidence = [true] #"), "phases[0].confidence: missing", "is an axis"),
        (("axes.confidence", "optimizer = ['adam'] #"), "phases[0].optimizer: found ['adam']", "one of 'sgd'"),
        (("axes.confidence", "axes = 3 #"), "phases[0].axes: found 3", "a table of fields"),
        (("range = 3", "range = 500_001"), "phases: found 1000002 runs in later phases", "at most 1000000"),
        (("epochs = 12", "epochs = 12\nrecord.epochs = [12]"), "phases[0].record.epochs: found 12", "from 0 to 11"),
    ],
)
def test_mistakes_in_phases_are_named(change: tuple[str, str], key: str, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        loads(TEXT.replace(*change), name="x", source="x.toml")
    (line,) = (line for line in str(caught.value).splitlines() if key in line)
    assert line.startswith(("x.toml: ", "x.toml, line "))
    assert allowed in line


def test_quick_changes_phases_too() -> None:
    quick = """
    [quick]
    epochs = 10
    seed = { range = 2 }
    [[quick.phases]]
    axes.confidence = [1.0, 2.0, 3.0]
    """
    found = plan.expand(loads(TEXT + quick, name="x", quick=True))
    assert found["phase"].value_counts().to_dict() == {1: 2, 2: 6}
    assert found.groupby("phase")["epochs"].unique().map(list).tolist() == [[10], [12]]
    with pytest.raises(UsageError, match=r"quick.phases\[0\].axes: found 3; allowed: a table of fields"):
        loads(TEXT + quick.replace("axes.confidence = [1.0, 2.0, 3.0]", "axes = 3"), name="x")
    with pytest.raises(UsageError, match=r"quick.phases: found 2 tables; allowed: one"):
        loads(TEXT + quick + "[[quick.phases]]\nepochs = 3\n", name="x")
