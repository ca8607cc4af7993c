"""Sweep files: what they mean, and what each mistake in one says."""

from pathlib import Path

import numpy as np
import pytest

from ghostsweep import Run, UsageError, load
from ghostsweep.models.registry import MODELS
from ghostsweep.spec import Record, Sweep, every_field, loads, shape_of

GOOD = """
title = "A question"
[run]
model = "rank_one"
timescale = 20
epochs = 100
[axes]
learning_rate = { logspace = [-3, -1, 5] }
seed = { range = 4 }
[record]
points = 10
epochs = [7, 50]
[quick]
epochs = 20
seed = [0]
"""


def read(text: str, **options: bool) -> Sweep:
    return loads(text, name="question", source="sweeps/question.toml", **options)


def test_axes_are_written_out() -> None:
    (grid,) = read(GOOD).grids
    np.testing.assert_array_equal(grid.axes["learning_rate"], [0.001, 0.00316227766017, 0.01, 0.0316227766017, 0.1])
    assert list(grid.axes["seed"]) == [0, 1, 2, 3]
    assert grid.shared == {"model": "rank_one", "timescale": 20, "epochs": 100}
    linspaced = read(GOOD.replace("logspace = [-3, -1, 5]", "linspace = [0.1, 0.3, 3]")).grids[0]
    np.testing.assert_allclose(linspaced.axes["learning_rate"], [0.1, 0.2, 0.3])
    stepped = read(GOOD.replace("range = 4", "range = [2, 9, 3]")).grids[0]
    assert list(stepped.axes["seed"]) == [2, 5, 8]


def test_a_list_of_tables_is_a_union() -> None:
    union = read(GOOD.replace("[axes]", "[[axes]]").replace("[record]", "[[axes]]\nlearning_rate = [5.0]\n[record]"))
    assert [len(grid) for grid in union.grids] == [20, 1]


def test_quick_replaces_fields_axes_and_records() -> None:
    quick = read(GOOD, quick=True)
    (grid,) = quick.grids
    assert quick.name == "question-quick"
    assert grid.shared["epochs"] == 20
    assert list(grid.axes["seed"]) == [0]
    assert quick.record.epochs == (7,)  # 50 lies beyond the quick runs
    assert read(GOOD).record.epochs == (7, 50)
    listed = read(GOOD.replace("[7, 50]", "[7, { range = [10, 40, 10] }, { linspace = [48, 50, 3] }]")).record
    assert listed.epochs == (7, 10, 20, 30, 48, 49, 50)


@pytest.mark.parametrize("epochs", [1, 2, 10, 999, 200_001])
def test_recorded_epochs_are_log_spaced_and_end_with_the_last(epochs: int) -> None:
    schedule = Record(points=40, epochs=(3, 5)).schedule(epochs)
    assert schedule[-1] == epochs - 1
    assert (np.diff(schedule) > 0).all()
    assert schedule[0] == 0
    assert {3, 5} <= set(schedule.tolist()) or epochs <= 5
    if epochs > 1000:
        steps = np.diff(np.log(schedule[10:] + 1.0))
        assert steps.max() < 3 * np.median(steps)


def test_shipped_sweeps_are_valid_in_both_versions() -> None:
    paths = sorted((Path(__file__).parents[2] / "sweeps").glob("*.toml"))
    assert len(paths) >= 5
    for path in paths:
        assert load(path).n_runs >= load(path, quick=True).n_runs > 0


PLACE = "sweeps/question.toml, line "
# Each mistake with the parts its one line must have: key, what was found, what is allowed.
MISTAKES = {
    "unknown key": (
        "epochs = 100",
        "epochz = 100",
        ["run.epochz", "no such field; did you mean 'epochs'?"],
    ),
    "unknown table": ("[record]", "[recrod]", ["recrod", "did you mean 'record'"]),
    "wrong type": ("timescale = 20", 'timescale = "20"', ["run.timescale", "'20'", "a finite number > 0"]),
    "out of range": ("epochs = 100", "epochs = -1", ["run.epochs", "-1", ">= 1"]),
    "not a number": ("timescale = 20", "timescale = nan", ["run.timescale", "nan", "finite"]),
    "fraction of a step": ("timescale = 20", "timescale = 20.5", ["run.timescale", "20.5", "whole number"]),
    "unknown model": ('"rank_one"', '"rank_won"', ["run.model", "rank_won", "'canonical'", "did you mean 'rank_one'"]),
    "field of another model": (
        "epochs = 100",
        "epochs = 100\nr_start = 2.0",
        ["run.r_start", "model 'rank_one' has no such field"],
    ),
    "missing field": ("timescale = 20\n", "", ["run.timescale", "missing"]),
    "empty axis": ("seed = { range = 4 }", "seed = []", ["axes.seed", "[]", "at least one"]),
    "bad axis form": ("{ range = 4 }", "{ rnge = 4 }", ["axes.seed.rnge", "did you mean 'range'"]),
    "two axis forms": ("{ range = 4 }", "{ range = 4, linspace = [0, 1, 2] }", ["axes.seed", "exactly one of"]),
    "bad value on an axis": ("{ range = 4 }", "[0, -1]", ["axes.seed", "-1", ">= 0"]),
    "repeated number": ("seed = {", "confidence = [5, 5.0]\nseed = {", ["axes.confidence", "5.0", "once"]),
    "several values in run": (
        "timescale = 20",
        "timescale = [5, 10]",
        ["run.timescale", "[5, 10]", "belong in [axes]"],
    ),
    "bad first value on an axis": ("timescale = 20\n", "", ["run.timescale", "missing", "or an axis"]),
    "repeated value": ("{ range = 4 }", "[1, 2, 1]", ["axes.seed", "1", "once"]),
    "field given twice": ("epochs = 100", "epochs = 100\nseed = 3", ["axes.seed", "not given in [run]"]),
    "record beyond the end": ("[7, 50]", "[7, 100]", ["record.epochs", "100", "from 0 to 99"]),
    "record of a wrong type": ("points = 10", "points = 1.5", ["record.points", "1.5", "whole number"]),
    "leak over one": ("epochs = 100", "epochs = 100\ntau_ms = 1.0", ["run.tau_ms", "1.0", "at least dt_ms = 5"]),
    "huge axis": ("range = 4", "range = 1_000_001", ["axes.seed", "1000001", "at most 1000000 values"]),
    "huge grid": (
        "seed = { range = 4 }",
        "seed = { range = 5_000 }\nconfidence = { linspace = [1, 9, 5_000] }",
        ["axes", "125000000 runs", "at most 20000000"],
    ),
    "bad quick": ("seed = [0]", "seeed = [0]", ["quick.seeed", "did you mean 'seed'"]),
    "quick makes a field idle": (
        "epochs = 100\n[axes]",
        "epochs = 100\nmomentum = 0.9\n[axes]",
        ["quick.momentum", "optimizer 'adam' has no such field"],
    ),
    "bad quick value": ("seed = [0]", "seed = [-4]", ["quick.seed", "-4", ">= 0"]),
    "null of a field with a default": ("{ range = 4 }", '[0, "none"]', ["axes.seed", "'none'", ">= 0"]),
    "null of a default of this model": ("seed = {", 'confidence = ["none"]\nseed = {', ["axes.confidence", "'none'"]),
    "null of another model's field": ("seed = {", 'readout_l1 = ["none"]\nseed = {', ["axes.readout_l1", "rank_one"]),
    "null of a needed field": (
        "learning_rate = { logspace = [-3, -1, 5] }",
        'learning_rate = ["none"]',
        ["learning_rate", "missing", "> 0"],
    ),
    "null of a field that another needs": (
        "seed = {",
        'momentum = [0.9, "none"]\nnesterov = [true]\nseed = {',
        ["axes.nesterov", "True", "false without momentum"],
    ),
    "null twice": ("seed = {", 'momentum = ["none", "none"]\nseed = {', ["axes.momentum", "'none'", "once"]),
    "null outside an axis": ("epochs = 100", 'epochs = 100\nclip_norm = "none"', ["run.clip_norm", "'none'", "> 0"]),
    "not TOML": ("[run]", "[run", ["TOML", "line 3: not valid TOML"]),
    "duplicate key": ("epochs = 100", "epochs = 100\nepochs = 5", ["TOML", "not valid TOML: Cannot overwrite"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_one_clear_line(case: str) -> None:
    before, after, parts = MISTAKES[case]
    assert before in GOOD
    with pytest.raises(UsageError) as caught:
        read(GOOD.replace(before, after, 1) + ('optimizer = "adam"\n' if "idle" in case else ""))
    lines = str(caught.value).splitlines()
    line = next(line for line in lines if parts[0] in line)
    assert line.startswith("sweeps/question.toml: " if ": missing; " in line or "idle" in case else PLACE)
    for part in parts:
        assert part in line
    assert len(lines) == 1


def test_all_mistakes_of_a_file_come_at_once() -> None:
    bad = GOOD.replace("timescale = 20", 'timescale = -3\noptimizer = "sdg"').replace("points = 10", "pionts = 10")
    bad = bad.replace("seed = { range = 4 }", "seed = [true]")
    with pytest.raises(UsageError) as caught:
        read(bad)
    keys = ["run.timescale", "run.optimizer", "axes.seed", "record.pionts"]
    assert [sum(f" {key}: " in line for line in str(caught.value).splitlines()) for key in keys] == [1, 1, 1, 1]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    with pytest.raises(UsageError, match=r"latin.toml: is not UTF-8 text \(byte 9\)"):
        load(tmp_path / "latin.toml")
    (tmp_path / "a b.toml").write_text(GOOD)
    with pytest.raises(UsageError, match="file name: found a b; allowed: letters"):
        load(tmp_path / "a b.toml")
    with pytest.raises(UsageError, match="quick: missing"):
        read(GOOD.split("[quick]")[0], quick=True)


def test_run_takes_numpy_numbers_and_fills_defaults() -> None:
    run = Run(model="rank_one", timescale=np.int64(4), learning_rate=np.float64(0.1), epochs=np.int64(9))
    assert (run.timescale, run.n_units, run.dtype, run.confidence) == (4.0, 100, "float32", 10.0)
    assert "r_start" not in run.fields
    assert Run(model="canonical", timescale=4, learning_rate=0.1, epochs=9).dtype == "float64"
    with pytest.raises(UsageError):
        Run(model="canonical", timescale=4, learning_rate=0.1, epochs=9, n_units=3)


def test_ids_are_for_good_and_ignore_defaults_spelt_out() -> None:
    run = Run(model="rank_one", timescale=20, learning_rate=0.01, epochs=100)
    spelt = Run(**{k: v for k, v in run.fields.items() if v is not None})
    assert run.run_id == spelt.run_id == "22e1ef8ecf1892ba"
    canonical = Run(model="canonical", timescale=100, learning_rate=1e-10, epochs=10)
    assert canonical.run_id == "7e309263e0c22676"
    changed = {Run(**run.fields | update).run_id for update in ({"seed": 1}, {"epochs": 101}, {"n_units": 101})}
    assert len({run.run_id, *changed}) == 4


def test_every_field_says_what_it_is() -> None:
    for name, info in every_field().items():
        assert info.meaning and info.name == name
    for model in MODELS:
        own = {"rank": 1} if model == "low_rank" else {}
        run = Run(model=model, **own, timescale=4, learning_rate=0.1, epochs=9)
        assert "learning_rate" in shape_of(run.fields).traced
