"""Budget: how often runs are planned, and files of results read, by commands that have little or nothing to do."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import cli, plan
from ghostsweep.plan import expanding, programs
from ghostsweep.spec import loads
from ghostsweep.store import ends, files, gathered, tables
from ghostsweep.training import engine

RUN_BYTES = 8192
"""Of a canonical run, as planned."""
PLAIN = """
[run]
model = "canonical"
timescale = 10.0
epochs = 3
[axes]
learning_rate = { logspace = [-7, -5, 24] }
[record]
points = 2
"""
REFINED = PLAIN + "[refine]\nlevels = 2\n"
PHASED = PLAIN + "[[phases]]\nepochs = 3\naxes.momentum = [0.5, 0.9]\n"
SCATTERED = """
[run]
model = "canonical"
timescale = 10.0
learning_rate = 1e-6
[axes]
clip_norm = { linspace = [1.0, 2.0, 12] }
epochs = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
[record]
points = 2
[[phases]]
epochs = 3
axes.learning_rate = [1e-6, 1e-5]
"""
"""Each chunk of the later phase goes on from runs of six parts, since runs of a part have the same number of epochs."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is done from here on: expansions, shapes, and files read by what they hold."""
    found = Counter[str]()

    def count(name: Callable[..., str], original: Callable[..., Any]) -> None:
        def spy(*args: Any, **options: Any) -> Any:
            found[name(*args)] += 1
            return original(*args, **options)

        for module in [module for key, module in sys.modules.items() if key.startswith("ghostsweep")]:
            if getattr(module, original.__name__, None) is original:
                monkeypatch.setattr(module, original.__name__, spy)

    def kind(path: Path) -> str:
        return path.name if path.suffix in (".parquet", ".json") else path.parent.name

    count(lambda *_: "expand", expanding.expand)
    count(lambda *_: "shapes", programs.shapes)
    count(kind, files.read)
    return found


def run(out: Path, text: str, lanes: int = 24, **options: Any) -> tables.Tables:
    memory_bytes = lanes * RUN_BYTES
    return ghostsweep.run(loads(text, name="x"), out=out, devices=1, memory_bytes=memory_bytes, **options)


def command(out: Path, text: str, *options: str) -> str:
    path = out / "x.toml"
    path.write_text(text)
    told = ["run", str(path), "--out", str(out), "--devices", "1", *options]
    done = CliRunner().invoke(cli.app, told, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def data(counted: Counter[str]) -> dict[str, int]:
    """Reads of data files alone."""
    return {kind: n for kind, n in counted.items() if kind.endswith(".parquet") or kind in ("parts", "ends")}


def same(one: tables.Tables, other: tables.Tables) -> None:
    pd.testing.assert_frame_equal(one.runs, other.runs, check_exact=True)
    pd.testing.assert_frame_equal(one.curves, other.curves, check_exact=True)
    assert one.runs.attrs == other.runs.attrs
    assert (one.name, one.meta, one.folder) == (other.name, other.meta, other.folder)


@pytest.mark.parametrize("text", [PLAIN, REFINED, PHASED], ids=["plain", "refined", "phased"])
def test_where_nothing_is_left_all_is_planned_and_read_once(tmp_path: Path, counted: Counter[str], text: str) -> None:
    run(tmp_path, text)
    once = {"runs.parquet": 1, "curves.parquet": 1} | ({"ends": 1} if text == PHASED else {})
    counted.clear()
    found = run(tmp_path, text)
    assert counted == {"expand": 1, "meta.json": 3} | once
    counted.clear()
    assert f"x: {len(found.runs)} runs, {len(found.runs)} of them done before" in command(tmp_path, text)
    assert counted == {"expand": 1, "shapes": 1, "meta.json": 4} | once
    same(found, tables.read("x", tmp_path))


def test_tables_of_a_sweep_that_shrank_are_those_that_are_read(tmp_path: Path, counted: Counter[str]) -> None:
    both = PLAIN.replace('"canonical"\ntimescale', '"rank_one"\nn_units = 9\ntimescale').replace("10.0", "10")
    run(tmp_path, both)
    run(tmp_path, PLAIN)
    counted.clear()
    found = run(tmp_path, PLAIN)
    unplanned = {"unplanned_runs.parquet": 1, "unplanned_curves.parquet": 1}
    assert data(counted) == {"runs.parquet": 1, "curves.parquet": 1} | unplanned
    same(found, tables.read("x", tmp_path))
    assert "n_units" not in found.runs
    half = run(tmp_path, PLAIN.replace("24", "48"), lanes=9, shard="1/2")  # parts beside tables of both kinds
    same(half, tables.read("x", tmp_path))
    assert 24 < len(half.runs) < 70


def test_a_shard_plans_once(tmp_path: Path, counted: Counter[str]) -> None:
    planned = {"expand": 1, "shapes": 1}

    def share(number: int) -> dict[str, int]:
        counted.clear()
        found = run(tmp_path, PLAIN, lanes=2, shard=f"{number}/2")
        assert {name: counted[name] for name in planned} == planned
        reads = data(counted)
        same(found, tables.read("x", tmp_path))
        return reads

    parts = 6  # of a share
    # Before training, to see whether all is done, and by the last one to put them together and let go of them.
    assert share(1) == {"parts": 0 + parts, "runs.parquet": 1}  # of which there is none yet
    assert share(1) == {"parts": parts + parts}
    assert share(2) == {"parts": parts + 2 * parts + 2 * parts, "runs.parquet": 1, "curves.parquet": 1}
    assert share(2) == {"runs.parquet": 2, "curves.parquet": 2}


def test_the_command_of_a_shard_plans_once(tmp_path: Path, counted: Counter[str]) -> None:
    said = []
    for number in (1, 1, 2):
        counted.clear()
        said.append(command(tmp_path, PLAIN, "--shard", f"{number}/2").splitlines())
        assert (counted["expand"], counted["shapes"]) == (1, 1)
    left = "12 of 24 runs are left, for others or once these are done"
    assert [lines[0] for lines in said] == ["x: 24 runs", *["x: 24 runs, 12 of them done before"] * 2]
    assert [lines[-1] == left for lines in said] == [True, True, False]


@pytest.mark.parametrize(("text", "lanes"), [(PHASED, 2), (SCATTERED, 12)], ids=["in order", "scattered"])
def test_what_24_chunks_go_on_from_is_read_once(
    tmp_path: Path, counted: Counter[str], text: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = 12, 24  # chunks, and so parts
    merging = (first + later) + first + (first + later)  # read, keep their ends, let go of them
    counted.clear()
    whole = run(tmp_path / "whole", text, lanes)
    assert counted["parts"] == first + merging
    run(tmp_path / "grown", text.replace("[[phases]]\nepochs = 3", "[[phases]]\nepochs = 4"), lanes)
    counted.clear()
    grown = run(tmp_path / "grown", text, lanes)
    assert counted["ends"] == 3 * first  # proven before and after, and gone on from
    monkeypatch.setattr(ends, "KEPT_BYTES", 0)
    counted.clear()
    scarce = run(tmp_path / "scarce", text, lanes)
    assert counted["parts"] == (first if text == PHASED else later * 6) + merging  # once a chunk that draws on it
    for other in (grown, scarce):
        pd.testing.assert_frame_equal(other.runs, whole.runs, check_exact=True)


def test_who_goes_on_from_whom_is_asked_once_and_not_by_each_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(list[str]):
        walked = 0

        def __iter__(self) -> Iterator[str]:
            Told.walked += 1
            return super().__iter__()

    trained = []
    monkeypatch.setattr(engine, "train_and_store", lambda chunk, *_, needed, **__: trained.append(needed))
    planned = plan.Plan.of(loads(PHASED, name="x"))
    chunks = plan.chunks(planned, 1, 2 * RUN_BYTES)
    store = engine.Store(tmp_path, ends.Ends(tmp_path))
    parents = Told(planned.runs["parent"].dropna())
    engine.train_chunks(chunks, planned.sweep.record_of, store, [], parents=parents)
    assert [needed.tolist() for needed in trained] == [[True, True]] * 12 + [[False, False]] * 24
    assert Told.walked == 1


def test_rows_of_many_parts_are_copied_a_few_times_each(monkeypatch: pytest.MonkeyPatch) -> None:
    copied, original = [], gathered.together

    def spy(found: list[pa.Table]) -> pa.Table:
        copied.append(sum(map(len, found)))
        return original(found)

    monkeypatch.setattr(gathered, "together", spy)
    monkeypatch.setattr(gathered, "TOGETHER", 4)
    every, n = gathered.Gathered(), 4**4
    for i in range(n):
        every.add(pa.table({"run_id": [f"{i:016x}"]}), pa.table({"run_id": [f"{i:016x}"] * 2, "epoch": [0, 1]}))
    runs, curves, source_of = every.joined([*range(n)][::-1])
    assert all(source_of(f"{i:016x}") == i for i in range(n))
    assert sum(copied) == n * (4 + 1)
    assert runs["run_id"].to_pylist() == [f"{i:016x}" for i in reversed(range(n))]
    assert curves["run_id"].to_pylist() == [f"{i:016x}" for i in reversed(range(n)) for _ in range(2)]
