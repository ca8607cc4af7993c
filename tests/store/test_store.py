"""The store: one commit point, one training for all of a run, damage set aside, trouble that stops, moved folders."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import stored
from faults.sweeps import BASE, OPTIONS, PHASES, SNAPSHOTS, run, sweep_of

import ghostsweep
from ghostsweep import UsageError
from ghostsweep.analysis import analyzing
from ghostsweep.machine import resources
from ghostsweep.store import columns, files, manifest, merging, parts, tables
from ghostsweep.training import engine
from ghostsweep.training.progress import Progress


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


# One commit point.


def test_the_manifest_names_every_file_with_its_digest_and_what_it_holds(tmp_path: Path) -> None:
    found = run(BASE + PHASES + SNAPSHOTS, tmp_path)
    said = json.loads((found.folder / "meta.json").read_text())
    there = {str(path.relative_to(found.folder)) for path in found.folder.rglob("*") if path.is_file()}
    assert there == {*said["files"], "meta.json"} and said["discard"] == {}
    for name, entry in said["files"].items():
        data = (found.folder / name).read_bytes()
        assert (entry["sha256"], entry["size"]) == (files.digest(data), len(data))
    runs = said["files"]["runs.parquet"]
    assert (runs["holds"], runs["rows"]) == ("runs", len(found.runs)) and len(
        pd.read_parquet(found.folder / "runs.parquet")
    ) == runs["rows"]


def test_what_the_manifest_does_not_name_is_neither_read_nor_deleted(tmp_path: Path) -> None:
    found = run(BASE + SNAPSHOTS, tmp_path)
    own = [
        "notes.txt",
        "more.parquet",
        "snapshots/mine.npz",
        "ends/mine.npz",
        "checkpoints/mine.txt",
        "failed/mine.log",
    ]
    for name in own:
        (found.folder / name).parent.mkdir(exist_ok=True)
        (found.folder / name).write_text("mine")
    shutil.copy(found.folder / "runs.parquet", found.folder / "unplanned_runs.parquet")
    again = run((BASE + SNAPSHOTS).replace("range = 2", "range = 3"), tmp_path)
    assert len(again.runs) == 15 and all((found.folder / name).read_text() == "mine" for name in own)
    with pytest.warns(UserWarning, match="parts/mine.npz: not the bytes"):
        (found.folder / "parts").mkdir()
        (found.folder / "parts" / "mine.npz").write_text("mine")
        run(BASE + SNAPSHOTS, tmp_path)
    assert (found.folder / "damaged" / "mine.npz.0").read_text() == "mine"


def test_tables_wait_until_the_manifest_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(BASE, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "settle", lambda folder, new: new)  # killed right after the manifest was replaced
        stored.merge(before.folder, before.runs["run_id"].iloc[:4], **before.meta)
    assert len(pd.read_parquet(before.folder / "runs.parquet")) == 10  # as it was
    assert len(tables.read("x", tmp_path).runs) == 4  # as the manifest says
    manifest.settle(before.folder, manifest.read(before.folder) or manifest.Manifest())
    assert len(pd.read_parquet(before.folder / "runs.parquet")) == 4


def test_nothing_is_written_that_lacks_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(BASE, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}
    monkeypatch.setattr(merging, "_ordered", lambda place, *_: np.flatnonzero(place >= 0)[:-1])
    with pytest.raises(RuntimeError, match="10 finished runs would have become"):
        run(BASE + "# another text\n", tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == before


# One training.


def changed(found: tables.Tables, factor: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What another machine might have made of the same runs."""
    return found.runs.assign(final_loss=found.runs["final_loss"] * factor), found.curves.assign(
        loss=found.curves["loss"] * factor
    )


def test_a_later_training_replaces_the_earlier_one_whole(tmp_path: Path) -> None:
    found = run(BASE, tmp_path)
    runs, curves = changed(found, 2.0)
    ids = found.runs["run_id"].iloc[[4, 1]].tolist()
    later = curves[curves["run_id"].isin(ids) & (curves["epoch"] != 0)]  # of another record
    parts.write(found.folder, runs.set_index("run_id").loc[ids].reset_index(), later.iloc[::-1])
    for merge in (False, True):
        again = stored_merge(found) if merge else tables.read("x", tmp_path)
        for before, after in ((found.runs, again.runs), (found.curves, again.curves)):
            old = after[~after["run_id"].isin(ids)].reset_index(drop=True)
            pd.testing.assert_frame_equal(old, before[~before["run_id"].isin(ids)].reset_index(drop=True))
        new = again.curves[again.curves["run_id"].isin(ids)].sort_values(["run_id", "epoch"], ignore_index=True)
        pd.testing.assert_frame_equal(new, later.sort_values(["run_id", "epoch"], ignore_index=True))
        factors = again.runs.set_index("run_id")["final_loss"] / found.runs.set_index("run_id")["final_loss"]
        assert factors.loc[ids].tolist() == [2, 2]
    assert again.curves.groupby("run_id")["epoch"].is_monotonic_increasing.all()
    assert again.runs["run_id"].tolist() == found.runs["run_id"].tolist()


def stored_merge(found: tables.Tables) -> tables.Tables:
    """The tables once what waits is in them."""
    stored.merge(found.folder, found.runs["run_id"], **found.meta)
    return tables.read(found.folder)


def test_of_two_parts_the_later_counts_whatever_their_names(tmp_path: Path) -> None:
    found = run(BASE, tmp_path)
    for size, factor in ((4, 2.0), (3, 3.0), (2, 4.0)):
        runs, curves = changed(found, factor)
        ids = runs["run_id"].iloc[:size]
        parts.write(found.folder, runs[runs["run_id"].isin(ids)], curves[curves["run_id"].isin(ids)])
    again = tables.read("x", tmp_path).runs.set_index("run_id").loc[found.runs["run_id"], "final_loss"].to_numpy()
    np.testing.assert_array_equal(again / found.runs["final_loss"].to_numpy(), [4, 4, 3, 2, 1, 1, 1, 1, 1, 1])


def test_later_phases_begin_anew_where_their_parent_ended_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BASE + PHASES
    before = run(text, tmp_path)
    original = engine.train_chunk

    def elsewhere(chunk: Any, *args: Any, **options: Any) -> Any:
        trained = original(chunk, *args, **options)
        return trained._replace(ends={name: end * 1.01 for name, end in trained.ends.items()})

    finer = text.replace("points = 5", "points = 6")  # all are trained again, on another machine
    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_chunk", elsewhere)
        between = run(
            finer.replace("points = 6", "points = 6\n[[phases]]\nepochs = 30\n").split("[[phases]]")[0], tmp_path
        )
    assert between.runs["phase"].max() == 1
    again = run(finer, tmp_path)
    parents = again.runs.set_index("run_id")["ends_at"]
    later = again.runs[again.runs["phase"] > 1]
    assert (later["begins_from"] == later["parent"].map(parents).to_numpy()).all()
    assert set(before.runs["run_id"]) == set(again.runs["run_id"])


def test_a_row_of_a_later_phase_that_begins_where_no_run_ends_is_trained_again(tmp_path: Path) -> None:
    found = run(BASE + PHASES, tmp_path)
    later = found.runs[found.runs["phase"] == 2].iloc[:3].assign(begins_from="f" * 16)
    parts.write(found.folder, later, found.curves[found.curves["run_id"].isin(later["run_id"])])
    assert ghostsweep.status(sweep_of(BASE + PHASES), tmp_path).done == len(found.runs) - 3
    pd.testing.assert_frame_equal(run(BASE + PHASES, tmp_path).runs, found.runs, check_exact=True)


# Damage, absence, trouble.


@pytest.mark.parametrize("victim", ["runs.parquet", "curves.parquet"])
def test_a_damaged_table_is_set_aside_and_its_runs_trained_again(tmp_path: Path, victim: str) -> None:
    found = run(BASE, tmp_path)
    path = found.folder / victim
    path.write_bytes(damaged := path.read_bytes()[:-9] + b"x" * 9)
    with pytest.warns(UserWarning, match=f"{victim}: not the bytes that were written"), pytest.raises(UsageError):
        tables.read("x", tmp_path)
    with pytest.warns(UserWarning, match=f"{victim}: not the bytes .*damaged/{victim}.0.*count as missing"):
        again = run(BASE, tmp_path)
    pd.testing.assert_frame_equal(again.runs, found.runs, check_exact=True)
    assert (found.folder / "damaged" / f"{victim}.0").read_bytes() == damaged


@pytest.mark.parametrize("damage", ["gone", "cut", "not JSON", "nested", "edited"])
def test_meta_is_healed_from_the_tables_and_no_criterion_is_a_default(tmp_path: Path, damage: str) -> None:
    text = BASE + SNAPSHOTS + "[fit]\nshare = 0.25\n"
    found = run(text, tmp_path)
    path, sound = found.folder / "meta.json", (found.folder / "meta.json").read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        other = {
            "cut": sound[:300],
            "not JSON": b"\xff",
            "nested": b"[" * 10_000,
            "edited": sound.replace(b"0.25", b"0.75"),
        }
        path.write_bytes(other[damage])
    told = (
        pytest.warns(UserWarning, match="meta.json: .*taken from the tables")
        if damage != "gone"
        else contextlib.nullcontext()
    )
    with told:
        assert tables.read("x", tmp_path).meta == found.meta
    with told:
        assert (analyzing.analyze("x", out=tmp_path).critical["share"] == 0.25).all()
    with told:
        again = run(text, tmp_path)
    assert again.meta == found.meta and again.runs.equals(found.runs)
    assert json.loads(path.read_text())["files"] == json.loads(sound)["files"]
    assert names(found.folder) - {"damaged"} == {"runs.parquet", "curves.parquet", "meta.json", "snapshots"}


@pytest.mark.parametrize("size", [0, 100, -20])
def test_damaged_tables_without_a_manifest_are_named_and_set_aside(tmp_path: Path, size: int) -> None:
    found = run(BASE, tmp_path)
    path = found.folder / "runs.parquet"
    path.write_bytes(damaged := path.read_bytes()[:size])
    (found.folder / "meta.json").unlink()
    with pytest.warns(UserWarning, match="runs.parquet: not readable.*count as missing"):
        assert ghostsweep.status(sweep_of(BASE), tmp_path).done == 0
    with pytest.warns(UserWarning, match="runs.parquet: not readable.*damaged/runs.parquet.0.*count as missing"):
        again = run(BASE, tmp_path)
    assert (found.folder / "damaged" / "runs.parquet.0").read_bytes() == damaged
    pd.testing.assert_frame_equal(again.runs, found.runs, check_exact=True)


def test_folders_from_before_there_were_manifests_keep_what_is_sound(tmp_path: Path) -> None:
    found = run(BASE + SNAPSHOTS, tmp_path)
    folder = found.folder
    for path in (folder / "snapshots").iterdir():
        path.rename(path.with_name(f"{path.name.split('.')[0]}.npz"))
    for name in ("runs", "curves"):  # as they were: without anything in their metadata
        pd.read_parquet(folder / f"{name}.parquet").to_parquet(folder / f"{name}.parquet")
    (folder / "meta.json").unlink()
    (folder / "snapshots" / "My Notes.npz").write_text("mine")
    victim = sorted(folder.glob("snapshots/*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:50])
    with pytest.warns(UserWarning, match=f"{victim.name}: not readable.*without snapshots"):
        assert len(tables.read("x", tmp_path).runs) == 10
    with pytest.warns(UserWarning, match=f"{victim.name}: not readable"):
        again = run(BASE + SNAPSHOTS, tmp_path)
    assert ghostsweep.status(sweep_of(BASE + SNAPSHOTS), tmp_path).done == 10
    np.testing.assert_array_equal(again.runs["final_loss"], found.runs["final_loss"])
    assert (folder / "snapshots" / "My Notes.npz").read_text() == "mine"


def test_the_criterion_is_known_before_the_first_chunk_is_done(tmp_path: Path) -> None:
    text = BASE + "[fit]\nshare = 0.0\n"

    def look(now: Progress) -> None:
        if now.runs_done == 5:
            assert tables.read("x", tmp_path).meta["fit"] == {"share": 0.0}
            seen.append(True)

    seen: list[bool] = []
    run(text, tmp_path, progress=look)
    assert seen


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_table_that_cannot_be_read_stops_all_and_nothing_is_lost(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(BASE, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}
    original = files.read

    def read(path: Path) -> bytes:
        if path.name == "curves.parquet":
            raise OSError(number, os.strerror(number), str(path))
        return original(path)

    smaller = BASE.replace("range = 2", "range = 1")
    with monkeypatch.context() as patch:
        patch.setattr(files, "read", read)
        for look in (
            run,
            lambda text, out: tables.read("x", out),
            lambda text, out: ghostsweep.status(sweep_of(text), out),
        ):
            with pytest.raises(OSError, match="curves.parquet") as caught:
                look(smaller, tmp_path)
            assert caught.value.errno == number
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_look", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            run(smaller, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == before
    assert len(run(BASE, tmp_path).runs) == 10


def test_a_table_too_large_for_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(BASE, tmp_path)
    monkeypatch.setattr(resources, "free_bytes", lambda: 1000)
    with pytest.raises(UsageError, match=r"parquet: found 10 rows; allowed: what fits in the 1e-06 GB"):
        tables.read("x", tmp_path)


# Sessions.


def test_sessions_say_what_they_did_however_they_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(now: Progress) -> None:
        if now.runs_done == 5:
            (path,) = (tmp_path / "x" / "sessions").iterdir()
            assert files.read_json(path).keys() >= {"started", "host", "devices", "jax", "jax_config", "git_commit"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(BASE, tmp_path, progress=stop)

    def die(now: Progress) -> None:
        if now.runs_done == 5:
            monkeypatch.setattr(files, "write_json", lambda *_, **__: None)  # as SIGKILL: nothing is written any more
            raise SystemExit

    more = BASE.replace("range = 2", "range = 4")
    with pytest.raises(SystemExit):
        run(more, tmp_path, progress=die)
    monkeypatch.undo()
    first, second, third = run(more, tmp_path).meta["sessions"]
    assert [each.get("ended") for each in (first, second, third)] == ["interrupted", None, "all done"]
    assert [each["runs_trained"] for each in (first, second, third)] == [5, 5, 10]
    assert second["devices"] == third["devices"] and second["runs_planned"] == 15


def test_a_name_is_always_a_folder_below_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(BASE, tmp_path / "here")
    run(BASE.replace("range = 2", "range = 3"), tmp_path / "there")
    monkeypatch.chdir(tmp_path / "here")
    assert len(tables.read("x", tmp_path / "there").runs) == 15
    assert (
        len(ghostsweep.run(sweep_of(BASE.replace("range = 2", "range = 3")), out=tmp_path / "there", **OPTIONS).runs)
        == 15
    )
    assert len(tables.read(Path("x")).runs) == len(tables.read("./x").runs) == 10


def test_columns_of_the_store_are_in_the_dictionary() -> None:
    assert all(f"`{name}`" in columns.data_dictionary() for name in columns.NEWER)
