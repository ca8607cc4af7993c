"""Result files: round trip, damage, and no half-written table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stored
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostsweep import UsageError
from ghostsweep.spec import Record
from ghostsweep.store import files, parts, tables
from ghostsweep.store.columns import all_columns


def frames(ids: list[str], values: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    kinds = {"string": "x", "int64": 7}
    runs = pd.DataFrame({c.name: [kinds.get(c.kind, v) for v in values] for c in all_columns()})
    runs = runs.assign(run_id=ids, epochs=10)
    runs["learned_epoch"] = pd.Series([None if v != v else 3 for v in values], dtype="Int64")
    curves = pd.DataFrame({"run_id": np.repeat(ids, 2), "epoch": [0, 9] * len(ids)})
    for name in ("loss", "grad_norm", "accuracy", "weight_norm"):
        curves[name] = np.repeat(values, 2)
    return runs, curves


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(numbers, min_size=1, max_size=5))
def test_parquet_round_trip(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    ids = [f"{i:016x}" for i in range(len(values))]
    runs, curves = frames(ids, values)
    parts.write(folder, runs, curves)
    stored.merge(folder, ids, name="round")
    found = tables.read(folder)
    pd.testing.assert_frame_equal(found.runs, runs, check_dtype=False)
    pd.testing.assert_frame_equal(found.curves, curves, check_dtype=False)
    assert found.meta == {"name": "round", "counts": runs["status"].value_counts().to_dict(), "dtype": ["x"]}
    assert not (folder / "parts").exists()


def test_units_travel_with_the_frames(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    parts.write(tmp_path / "x", *frames(["a"], [1.0]))
    stored.merge(tmp_path / "x", ["a"])
    found = tables.read("x", tmp_path)
    assert found.runs.attrs["units"]["timescale"] == "steps"
    assert found.runs.attrs["units"]["dt_ms"] == "ms"
    assert found.curves.attrs["units"]["epoch"] == "epochs"
    plain = pd.read_parquet(tmp_path / "x" / "runs.parquet")
    assert list(plain.columns) == [c.name for c in all_columns()]


def test_merge_keeps_the_order_of_the_plan_and_the_last_of_two_rows(tmp_path: Path) -> None:
    parts.write(tmp_path, *frames(["b", "a"], [1.0, 2.0]))
    stored.merge(tmp_path, ["a", "b"])
    parts.write(tmp_path, *frames(["c", "b"], [3.0, 4.0]))
    runs = stored.merge(tmp_path, ["a", "b", "c"])
    assert runs["run_id"].tolist() == ["a", "b", "c"]
    assert runs["final_loss"].tolist() == [2.0, 4.0, 3.0]
    assert tables.read(tmp_path).curves["run_id"].tolist() == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("damage", ["truncate", "foreign", "empty", "mean_loss", "learning_rate", "unsealed"])
def test_damaged_parts_are_named_and_count_as_missing(tmp_path: Path, damage: str) -> None:
    parts.write(tmp_path, *frames(["a"], [1.0]))
    victim = tmp_path / parts.write(tmp_path, *frames(["b"], [2.0]))
    if damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-20])
    elif damage == "empty":
        victim.write_bytes(b"")
    elif damage == "foreign":
        files.write_arrays(victim, {"a": np.zeros(3)})
    elif damage == "unsealed":
        np.savez(victim, **files.read_arrays(victim))
    else:
        table = parts._table(files.read_arrays(victim, "runs")["runs"]).drop_columns(damage)
        files.write_arrays(victim, files.read_arrays(victim) | {"runs": parts._stream(table)})
    with pytest.warns(UserWarning, match="not (readable|the bytes that were written)") as warned:
        runs, curves = tables.stored(tmp_path).frames()
    assert str(victim) in str(warned[0].message)
    assert runs["run_id"].tolist() == ["a"]
    assert set(curves["run_id"]) == {"a"}


def test_a_failed_write_leaves_the_old_table_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.write(tmp_path, *frames(["a"], [1.0]))
    stored.merge(tmp_path, ["a"])
    old = (tmp_path / "runs.parquet").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    parts.write(tmp_path, *frames(["b"], [2.0]))
    monkeypatch.setattr("ghostsweep.store.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        stored.merge(tmp_path, ["a", "b"])
    assert (tmp_path / "runs.parquet").read_bytes() == old
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    assert stored.merge(tmp_path, ["a", "b"])["run_id"].tolist() == ["a", "b"]


def test_complete_means_every_epoch_asked_for(tmp_path: Path) -> None:
    runs, curves = frames(["a", "b"], [1.0, 2.0])
    curves = curves[~((curves["run_id"] == "b") & (curves["epoch"] == 0))]
    assert tables.complete(runs, curves, Record(epochs=(0,))).tolist() == [True, False]
    assert tables.complete(runs, curves, Record()).tolist() == [True, True]
    assert tables.complete(runs, curves, Record(epochs=(5,))).tolist() == [False, False]


def test_missing_results_name_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    parts.write(tmp_path / "there", *frames(["a"], [1.0]))
    stored.merge(tmp_path / "there", ["a"])
    with pytest.raises(UsageError, match="not_there: no results; did you mean there"):
        tables.read("not_there", tmp_path)
