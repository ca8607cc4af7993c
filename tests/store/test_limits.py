"""What is too large or senseless is one line that names it, before memory is taken; no clock decides what counts."""

import functools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ghostsweep import UsageError
from ghostsweep.errors import TrainingError
from ghostsweep.machine import resources
from ghostsweep.plan import Plan
from ghostsweep.running import exporting, sweeping
from ghostsweep.spec import loads
from ghostsweep.store import columns, described, files, manifest, parts, tables

SWEEP = """
[run]
model = "canonical"
timescale = 10.0
epochs = 3
[axes]
learning_rate = { logspace = [-7, -5, 1000] }
"""


def rows(value: float, epochs: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run and its curve."""
    runs = pd.DataFrame({c.name: [{"string": "x", "int64": 7}.get(c.kind, value)] for c in columns.all_columns()})
    runs = runs.assign(run_id="a" * 16, final_loss=value, epochs=9)
    others = {column.name: 1.0 for column in columns.CURVES}
    return runs, pd.DataFrame(others | {"run_id": "a" * 16, "epoch": epochs, "loss": value})


def test_a_later_training_counts_whatever_the_clock_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("x").mkdir()
    monkeypatch.setattr(parts, "chunk_name", lambda _: next(names))
    names = iter("zyxwvutsrqponmlkjihgfedcba")
    rng = np.random.default_rng(0)
    first = parts.write(tmp_path / "x", *rows(-1.0, (0,)), order=(0, 2 * time.time_ns()))  # of a version with clocks
    assert first
    for value in range(20):
        for name, now in (("time", float), ("time_ns", int)):  # jumps by up to a year, either way
            monkeypatch.setattr(time, name, functools.partial(now, rng.uniform(0, 4e9)))
        parts.write(tmp_path / "x", *rows(float(value), (0,)))
        assert tables.stored(tmp_path / "x").frames()[0]["final_loss"].tolist() == [value]


def test_what_is_whole_for_the_question_counts_before_what_is_later(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    def whole(runs: pd.DataFrame, curves: pd.DataFrame) -> "pd.Series[bool]":
        return runs["run_id"].map(curves["run_id"].value_counts()) == 2

    for name, value, epochs in (("b", 1.0, (0, 1)), ("a", 2.0, (0,))):
        parts.write(tmp_path / "x", *rows(value, epochs))
        (tmp_path / "x/parts" / f"{parts.chunk_name(['a' * 16])}.npz").rename(tmp_path / f"x/parts/{name}.npz")
    assert tables.stored(tmp_path / "x").frames()[0]["final_loss"].tolist() == [2.0]
    runs, curves = tables.stored(tmp_path / "x", asked=whole).frames()
    assert runs["final_loss"].tolist() == [1.0] and curves["loss"].tolist() == [1.0, 1.0]


def test_runs_that_were_trained_and_do_not_count_are_told(tmp_path: Path) -> None:
    planned = Plan.of(loads(SWEEP, name="x"))
    ids = planned.runs["run_id"].tolist()
    sweeping._refuse_lost(tmp_path, ids, planned.leaving(np.zeros(1000, bool)))
    with pytest.raises(TrainingError, match="1,000 of 1,000 runs were trained and are not among the results"):
        sweeping._refuse_lost(tmp_path, ids, planned)


def test_what_memory_cannot_hold_is_refused_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "meta.json").open("wb") as file:
        file.truncate(8 * 10**12)
    with pytest.raises(UsageError, match="meta.json: found 8,000,000,000,000 bytes; allowed: what fits in"):
        files.read(tmp_path / "meta.json")
    files.write_arrays(tmp_path / "x.npz", {"a": np.zeros(8 * 10**6)})
    assert (tmp_path / "x.npz").stat().st_size < 10**5
    monkeypatch.setattr(resources, "free_bytes", lambda: 300_000)
    with pytest.raises(UsageError, match="x.npz: found 64,000,.* bytes, unpacked; allowed: what fits in the 0.0003 GB"):
        files.read_arrays(tmp_path / "x.npz")
    with pytest.raises(UsageError, match="x: found 1,000 runs to plan; allowed: what fits in the 0.0003 GB"):
        Plan.of(loads(SWEEP, name="x"))


@pytest.mark.parametrize("key", ["a." * 60_000 + "b = 1", "[" + "a." * 60_000 + "b]", "'a' . " * 60_000 + "b = 1"])
def test_a_key_of_very_many_parts_is_refused_before_it_is_read(key: str) -> None:
    began = time.process_time()
    with pytest.raises(UsageError, match="keys: found one of more than 100 parts"):
        loads(SWEEP + key, name="x")
    assert time.process_time() - began < 2


@pytest.mark.parametrize("key", ["code", "engine_version", "sessions", "identities", "spec", "title", "counts", "fit"])
@pytest.mark.parametrize("value", [[1], True, None, {"a": 1}, "x", 2.5])
def test_senseless_metadata_is_named_as_damaged(key: str, value: Any, tmp_path: Path) -> None:
    fits = {"counts": dict, "fit": dict, "spec": str, "title": str, "engine_version": str}
    if not isinstance(value, fits.get(key, ())):
        files.write_json(tmp_path / "meta.json", {"generation": 1, "files": {}, "discard": {}, key: value})
        with pytest.raises(files.Damaged, match=f"meta.json: {key}.*: found a "):
            manifest.read(tmp_path)


CODE = {"kind": "model", "attribute": "MODEL", "text": ""}
FILE = {"sha256": "0", "size": 1, "holds": "runs"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("code.mine.kind", {"code": {"mine": CODE | {"kind": 1}}}),
        ("code.mine.modules.0", {"code": {"mine": CODE | {"modules": ["x"]}}}),
        ("code.mine.data.points.npz", {"code": {"mine": CODE | {"data": {"points.npz": None}}}}),
        ("sessions.1.order", {"sessions": [{}, {"order": [0]}]}),
        ("sessions.0.devices", {"sessions": [{"devices": {"cpu": 1}}]}),
        ("identities.gru", {"identities": {"gru": 5}}),
        ("record.points", {"record": {"points": "all"}}),
        ("discard.ends/0.npz", {"discard": {"ends/0.npz": []}}),
        ("files.runs.parquet.size", {"files": {"runs.parquet": FILE | {"size": -1}}}),
        ("files.runs.parquet.holds", {"files": {"runs.parquet": FILE | {"holds": "all"}}}),
        ("files.runs.parquet.holds", {"files": {"runs.parquet": FILE | {"holds": "curves"}}}),
        ("files.runs.parquet.more", {"files": {"runs.parquet": FILE | {"more": 1}}}),
        ("generation", {"generation": True}),
    ],
)
def test_senseless_metadata_is_named_at_any_depth(where: str, said: dict[str, Any], tmp_path: Path) -> None:
    files.write_json(tmp_path / "meta.json", {"generation": 1, "files": {}, "discard": {}} | said)
    with pytest.raises(files.Damaged, match=f"meta.json: {re.escape(where)}"):
        manifest.read(tmp_path)


def test_a_folder_of_a_later_format_is_not_called_damaged(tmp_path: Path) -> None:
    files.write_json(tmp_path / "meta.json", {"format": 2, "generation": "a word", "files": 1})
    with pytest.raises(UsageError, match=r"meta.json: format: found 2; allowed: up to 1; a later ghostsweep wrote it"):
        tables.stored(tmp_path)
    assert manifest.Manifest().as_json()["format"] == described.FORMAT


WRITTEN = {"generation": "1", "written": 1, "session": "", "engine_version": 1}


@pytest.mark.parametrize("about", [{"generation": 1}, WRITTEN, []])
def test_a_part_that_says_nothing_sensible_of_itself_is_damaged(about: Any, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    name = parts.write(tmp_path, *rows(1.0, (0,)))
    arrays = files.read_arrays(tmp_path / name)
    said = np.frombuffer(json.dumps(about).encode(), np.uint8)
    files.write_arrays(tmp_path / name, arrays | {"about": said}, compressed=False)
    with pytest.raises(files.Damaged, match=name):
        parts.read(tmp_path, name)


def test_an_export_has_no_text_that_is_executed() -> None:
    assert exporting._harmless("=HYPERLINK(1)") == "'=HYPERLINK(1)" and exporting._harmless("@a") == "'@a"
    assert exporting._harmless("a\x1b[2J") == "a\\x1b[2J" and exporting._harmless("a = b") == "a = b"
    assert exporting._harmless(-1.5) == -1.5


@pytest.mark.parametrize(("mode", "of_files", "of_folders"), [(0o770, 0o660, 0o770), (0o755, 0o600, 0o700)])
def test_colleagues_who_share_a_folder_can_read_what_is_written_there(
    mode: int, of_files: int, of_folders: int, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    before = os.umask(0o077)
    try:
        files.write_json(shared / "x" / "meta.json", {})
    finally:
        os.umask(before)
    assert (shared / "x").stat().st_mode & 0o777 == of_folders
    assert (shared / "x" / "meta.json").stat().st_mode & 0o777 == of_files
