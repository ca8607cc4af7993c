"""What mistakes say: their line in the file, the nearest names, and the same words in Python."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ghostsweep import Run, UsageError
from ghostsweep.spec import Axis, Fit, Record, Refine, Snapshots, every_field, loads, mistakes
from ghostsweep.spec.lines import lines_of
from ghostsweep.store import tables

RESULTS = Path(__file__).parents[2] / "results"
TOML = """\
title = 'x' # [run]
"quoted key" = \"\"\"
[run]
epochs = 3
\"\"\"
axes.delay_ms = [
  1.0, # axes.seed = 3
  2.0,
]
axes."seed" = { range = [0,
  3], linspace = [1, 2, 3] }
[run]
model . name = "a # \\" b"
empty = ''
[record] # epochs
epochs = [3, { range = 5 },
  { linspace = [1, 2, 3] }]
[record.snapshots.runs]
seed = [0]
[[phases]]
epochs = 1
[phases.axes]
confidence = [1.0]
[[phases]]
epochs = 2
phases = [{ a = 1 }]
[quick]
"a.b" = 1
a.b = 2
[[quick.phases]]
axes.x = 07:32:00
inline = { a = { b = [1, { c = 2 }] }, "d" = 1 }
"""


def test_keys_are_found_where_they_stand() -> None:
    found = lines_of(TOML)
    expected = {
        "title": 1,
        "quoted key": 2,
        "axes.delay_ms": 6,
        "axes.seed": 10,
        "axes.seed.range": 10,
        "axes.seed.linspace": 11,
        "run": 12,
        "run.model.name": 13,
        "run.empty": 14,
        "record.epochs": 16,
        "record.epochs[1].range": 16,
        "record.epochs[2].linspace": 17,
        "record.snapshots.runs.seed": 19,
        "phases[0].epochs": 21,
        "phases[0].axes": 22,
        "phases[0].axes.confidence": 23,
        "phases[1].epochs": 25,
        "phases[1].phases[0].a": 26,
        "phases[1].phases.a": 26,
        "quick.phases[0].axes.x": 31,
        "quick.phases.axes.x": 31,
        "quick.phases[0].inline.a.b[1].c": 32,
        "quick.phases[0].inline.d": 32,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert not {"run.epochs", "quick.a.b", "axes", "seed", "phases.epochs"} & found.keys()


def test_every_key_of_our_sweeps_is_found_on_a_line_that_has_it() -> None:
    for path in sorted((RESULTS.parent / "sweeps").glob("*.toml")):
        text = path.read_text()
        found = lines_of(text)
        assert found, path
        for key, line in found.items():
            last = key.rpartition(".")[2].partition("[")[0]
            assert key.endswith("]") or last in text.splitlines()[line - 1], (path, key)


@pytest.mark.parametrize("text", ["= 3", "[", "a = [1", "a = {b", 'a = "', "[[a]", "a = [{} {}]", "'", "a." * 9])
def test_what_cannot_be_followed_has_no_lines(text: str) -> None:
    assert lines_of(text) == {}


FILE = """\
[run]
model = "rank_one"
timescale = 20
epochs = 10
[axes]
learning_rate = [0.1, 0.2]
"""


def said(text: str, quick: bool = False) -> list[str]:
    with pytest.raises(UsageError) as caught:
        loads(text, name="x", source="x.toml", quick=quick)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", ["learning_rate"]),
        ("eta", ["learning_rate"]),
        ("hidden_size", ["n_units"]),
        ("n_neurons", ["n_units"]),
        ("N", ["n_units"]),
        ("K", ["rank"]),
        ("T", ["timescale"]),
        ("delay", ["timescale"]),
        ("gain", ["confidence"]),
        ("seeds", ["seed"]),
        ("iterations", ["epochs"]),
        ("opt", ["optimizer"]),
        ("leraning_rate", ["learning_rate"]),
        ("timescal", ["timescale"]),
        ("qqq", []),
    ],
)
def test_a_mistyped_field_has_one_short_line_in_a_file_and_in_python(name: str, meant: list[str]) -> None:
    asked = f"; did you mean {meant[0]!r}? " if meant else "; "
    words = f"{name}: no such field{asked}`ghostsweep fields` lists all"
    assert said(FILE.replace("[axes]", f"{name} = 1\n[axes]")) == [f"x.toml, line 5: run.{words}"]
    with pytest.raises(UsageError) as caught:
        Run(model="rank_one", timescale=20, epochs=10, learning_rate=0.1, **{name: 1})
    assert str(caught.value) == words


def test_usual_words_are_of_fields_that_there_are_and_no_names_of_fields() -> None:
    fields = every_field(own=False)
    assert {name for names in mistakes.USUAL.values() for name in names} <= fields.keys()
    assert mistakes.USUAL.keys() & fields.keys() == {"delay_ms", "timescale"}


def test_the_delay_is_that_of_the_task() -> None:
    cues = FILE.replace("rank_one", "full_rank").replace("timescale = 20", 'task = "dcdt"\ninput_ms = 5\ndelay = 5')
    assert "run.delay: no such field; did you mean 'delay_ms'?" in said(cues)[0]
    lines = said(FILE.replace("timescale = 20", "delay_ms = 20"))
    assert lines[0] == (
        "x.toml, line 3: run.delay_ms: task 'delayed_activation' has no such field; did you mean 'timescale'?"
    )


def test_a_field_with_a_mistyped_name_is_not_missing_too() -> None:
    assert len(said(FILE.replace("epochs", "n_epochs").replace("learning_rate", "lr"))) == 2
    with pytest.raises(UsageError) as caught:
        Run(model="rank_one", timescale=20, n_epochs=10, lr=0.1)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["n_epochs", "lr"]
    with pytest.raises(UsageError, match=r"model: missing; one of 'canonical'.*\nlr: no such field; did you mean"):
        Run(lr=0.1)
    assert said(FILE.replace("epochs = 10\n", "")) == [
        "x.toml: run.epochs: missing; a whole number >= 1 and <= 1000000000, or an axis of such values"
    ]


def test_several_bad_values_of_an_axis_are_one_mistake() -> None:
    (line,) = said(FILE + "tau_ms = [-1.0, -2.0, -3.0]\n")
    assert line.startswith("x.toml, line 7: axes.tau_ms: found -1.0; allowed: a finite number > 0")


def test_fields_of_one_optimizer_among_several_are_told_the_way() -> None:
    lines = said(FILE + 'optimizer = ["adam", "sgd"]\nmomentum = [0.9, "none"]\n')
    assert lines == [
        "x.toml, line 8: axes.momentum: optimizer 'adam' has no such field; write [[axes]] twice, a table with what is "
        "of each optimizer"
    ]


def test_fields_out_of_place_are_told_theirs() -> None:
    assert said("epochs = 3\n" + FILE.replace("epochs = 10\n", "")) == [
        "x.toml, line 1: epochs: no such table; fields stand in [run] or, with several values, in [axes]"
    ]
    (line,) = said(FILE + "[quick]\naxes.timescale = [5]\n", quick=True)
    assert "quick.axes: no such table; what replaces fields of [run] and [axes] stands in [quick] itself" in line
    assert said(FILE + "[recrod]\n")[0] == "x.toml, line 7: recrod: no such key; did you mean 'record'?"
    assert said(FILE + "[xyz]\n")[0].startswith("x.toml, line 7: xyz: no such key; allowed: title, initial, run, ")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fit(shaer=0.5), "fit.shaer: no such key; did you mean 'share'?"),
        (lambda: Fit(share=2), "fit.share: found 2; allowed: a finite number >= 0 and < 1"),
        (lambda: Refine(), "refine.levels: missing; a whole number >= 1 and <= 20"),  # type: ignore[call-arg]
        (lambda: Refine(level=3), "refine.level: no such key; did you mean 'levels'?"),
        (lambda: Record(points="x"), "record.points: found 'x'; allowed: a whole number >= 0 and <= 1000000"),
        (lambda: Record(snapshots={"runs": {}}), "snapshots.epochs: missing; a list of whole numbers"),
        (lambda: Snapshots(epochs=(1.5,)), "snapshots.epochs: found 1.5; allowed: a list of whole numbers"),
        (lambda: Axis(), "axis: found {}; allowed: exactly one of logspace, geomspace, linspace, range"),
        (lambda: Axis.model_validate({"geomspaace": [1, 2, 3]}), "axis.geomspaace: no such key; did you mean 'geom"),
    ],
)  # fmt: skip
def test_small_tables_say_the_same_in_python(make: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(words) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["canonical_lr_timescale_refined", "rank_lr", "fig5_dmts", "fig7_dmts_collapse"])
def test_the_run_of_a_row_has_its_id(name: str) -> None:
    runs = tables.read(name, RESULTS).runs
    rows = runs.iloc[np.linspace(0, len(runs) - 1, 7).astype(int)]
    for _, row in rows.iterrows():
        assert Run.of(row).run_id == row["run_id"]
        assert Run.of(row.to_dict() | {"outcome": "learned"}).run_id == row["run_id"]
    for _, row in rows.astype(object).where(rows.notna(), None).iterrows():
        assert Run.of(row).run_id == row["run_id"]


def test_the_run_of_a_mapping_is_checked() -> None:
    row = {"model": "canonical", "timescale": 4, "learning_rate": np.float32(0.5), "epochs": 9.0, "n_units": math.nan}
    run = Run.of(row | {"final_loss": 1.0, "parent": pd.NA, "seed": np.float64(3.0)})
    assert (run.epochs, run.seed, type(run.epochs)) == (9, 3, int) and "n_units" not in run.fields
    with pytest.raises(UsageError, match="epochs: found 9.5; allowed: a whole number"):
        Run.of(row | {"epochs": 9.5})
    with pytest.raises(UsageError, match="n_units: model 'canonical' has no such field"):
        Run.of(row | {"n_units": 100.0})
    with pytest.raises(UsageError, match="epochs: found inf; allowed"):
        Run.of(row | {"epochs": math.inf})


def test_a_logspace_that_looks_like_rates_is_doubted_once() -> None:
    text = FILE.replace("[0.1, 0.2]", "{ logspace = [1e-3, 1, 13] }") + "[quick]\nepochs = 3\n"
    with pytest.warns(UserWarning) as caught:
        assert loads(text, name="x", source="x.toml").n_runs == 13
    (warning,) = caught
    assert str(warning.message) == (
        "x.toml, line 6: axes.learning_rate.logspace: these are exponents of ten, and rates from 1.002 to 10; "
        "geomspace = [0.001, 1, 13] has rates from 0.001 to 1"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for right in ("geomspace = [1e-3, 1, 13]", "logspace = [-3, 0, 13]", "logspace = [-3, 1, 13]"):
            loads(text.replace("logspace = [1e-3, 1, 13]", right), name="x")
