"""The engine: what is compiled, what is reused, and that grid, padding, chunks and devices change no result."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
import stored

import ghostsweep
from ghostsweep import Run, plan, train_one
from ghostsweep.spec import Sweep, every_field, loads
from ghostsweep.store import columns, tables
from ghostsweep.store.ends import Ends
from ghostsweep.training import engine, train
from ghostsweep.training.evaluation import evaluate
from ghostsweep.training.progress import Progress

TEXT = """
[run]
model = "rank_one"
n_units = 12
timescale = 6
epochs = 160
learned_loss = 0.95
[axes]
learning_rate = [0.01, 0.3, 1.0]
seed = { range = 3 }
[record]
points = 6
epochs = [40]
"""
RESULTS = [column.name for column in tables.RESULTS if column.kind == "float64"]


def sweep(text: str = TEXT, name: str = "small") -> Sweep:
    return loads(text, name=name)


def aligned(found: tables.Tables, like: tables.Tables) -> pd.DataFrame:
    return found.runs.set_index("run_id").loc[like.runs["run_id"]].reset_index()


@pytest.mark.parametrize(
    ("dtype", "epochs", "learned_loss", "rel"),
    [
        ("float32", 84, 0.999, 2e-4),  # the first drop, at 85, makes 1e-4 of a rounding, the next a gradient 50% off
        ("float64", 160, 0.95, 1e-6),  # and both 1e-9 of one of float64
    ],
)
def test_rows_say_what_the_history_says(
    dtype: str, epochs: int, learned_loss: float, rel: float, tmp_path: Path
) -> None:
    text = TEXT.replace("epochs = 160", f'epochs = {epochs}\ndtype = "{dtype}"').replace("0.95", str(learned_loss))
    found = ghostsweep.run(sweep(text), out=tmp_path)
    assert len(found.runs) == 9
    for row in found.runs.to_dict("records"):
        fields: dict[str, Any] = {name: row[name] for name in every_field() if name in row and not pd.isna(row[name])}
        fields |= {name: int(row[name]) for name in ("n_units", "epochs", "seed")}
        fields |= {name: bool(row[name]) for name in ("nesterov", "train_confidence")}
        history = train_one(Run(**fields))
        loss = history.loss.astype(float)
        expected = {
            "initial_loss": loss[0], "final_loss": loss[-1], "mean_loss": loss.mean(), "min_loss": loss.min(),
            "recent_mean_loss": loss[-50:].mean(), "initial_grad_norm": history.grad_norm[0],
            "final_grad_norm": history.grad_norm[-1], "mean_grad_norm": history.grad_norm.mean(),
            "recent_mean_grad_norm": history.grad_norm[-50:].mean(), "final_accuracy": history.accuracy[-1],
            "max_accuracy": history.accuracy.max(), "recent_max_accuracy": history.accuracy[-50:].max(),
            "final_weight_norm": history.weight_norm[-1],
        }  # fmt: skip
        assert {*expected, "min_recent_mean_loss"} == set(RESULTS)
        assert np.isnan(row["min_recent_mean_loss"])  # nothing is drawn
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=rel, abs=rel / 200), name
        below = np.flatnonzero(loss < row["learned_loss"])
        assert pd.isna(row["learned_epoch"]) if len(below) == 0 else row["learned_epoch"] == below[0]
        assert (row["status"], row["epochs_done"]) == ("done", epochs)
        curve = found.curves[found.curves["run_id"] == row["run_id"]]
        assert {40, epochs - 1} <= set(curve["epoch"])
        np.testing.assert_allclose(curve["loss"], loss[curve["epoch"]], rtol=rel)
        np.testing.assert_allclose(curve["weight_norm"], history.weight_norm[curve["epoch"]], rtol=rel / 20)
    assert found.runs["learned_epoch"].notna().any()


def test_a_grid_over_rate_confidence_and_seed_is_traced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []

    def counted(*args: Any) -> Any:
        traces.append(1)
        return evaluate(*args)

    monkeypatch.setattr(train, "evaluate", counted)
    text = TEXT.replace("n_units = 12", "n_units = 11").replace("[record]", "confidence = [5.0, 10.0]\n[record]")
    first = ghostsweep.run(sweep(text), out=tmp_path)
    assert first.meta["sessions"][0]["programs"] == 1
    traced = len(traces)
    assert 0 < traced <= 3  # the quiet epochs, the reported one, and no more
    other = text.replace("[0.01, 0.3, 1.0]", "[0.02, 0.4, 2.0]").replace("[5.0, 10.0]", "[3.0, 20.0]")
    second = ghostsweep.run(sweep(other, "other"), out=tmp_path)
    assert second.meta["sessions"][0]["programs"] == 0
    assert len(traces) == traced


def test_a_grown_grid_reuses_every_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ghostsweep.run(sweep(), out=tmp_path)
    trained: list[str] = []
    original = engine.train_chunks

    def spy(chunks: list[plan.Chunk], *args: Any) -> engine.Spent:
        trained.extend(run_id for chunk in chunks for run_id in chunk.runs["run_id"])
        return original(chunks, *args)

    monkeypatch.setattr(engine, "train_chunks", spy)
    written = (tmp_path / "small" / "runs.parquet").stat().st_mtime_ns
    ghostsweep.run(sweep(), out=tmp_path)
    assert trained == []
    assert (tmp_path / "small" / "runs.parquet").stat().st_mtime_ns == written
    grown = ghostsweep.run(sweep(TEXT.replace("range = 3", "range = 4")), out=tmp_path)
    assert len(trained) == 3
    assert len(grown.runs) == 12
    pd.testing.assert_frame_equal(aligned(grown, before), before.runs)
    shrunk = ghostsweep.run(sweep(TEXT.replace("range = 3", "range = 1")), out=tmp_path)
    assert len(trained) == 3
    assert len(pd.read_parquet(tmp_path / "small" / "runs.parquet")) == 3
    assert len(shrunk.runs) == 3  # what the plan no longer has is kept beside it, and found again
    ghostsweep.run(sweep(TEXT.replace("range = 3", "range = 4")), out=tmp_path)
    assert len(trained) == 3
    finer = ghostsweep.run(sweep(TEXT.replace("[40]", "[40, 41]")), out=tmp_path)
    assert len(trained) == 12  # an epoch that was not recorded has to be trained again
    assert (finer.curves["epoch"] == 41).sum() == 9


def test_tables_from_before_a_field_existed_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace("[axes]", 'optimizer = "adam"\n[axes]')
    before = ghostsweep.run(sweep(text), out=tmp_path)
    path = tmp_path / "small" / "runs.parquet"
    given = {"model", "n_units", "timescale", "epochs", "learned_loss", "learning_rate", "seed", "optimizer"}
    later = [*((every_field().keys() & set(before.runs)) - given), *columns.NEWER]
    pd.read_parquet(path).drop(columns=later).to_parquet(path)
    (path.parent / "meta.json").unlink()  # which had the digest of the file as it was
    pd.testing.assert_frame_equal(tables.read(tmp_path / "small").runs, before.runs)
    assert before.runs[["beta1", "nesterov", "clip_norm"]].isna().all().tolist() == [False, False, True]
    monkeypatch.setattr(engine, "train_chunks", None)  # nothing is left to train
    pd.testing.assert_frame_equal(ghostsweep.run(sweep(text), out=tmp_path).runs, before.runs)


def test_chunks_padding_and_devices_change_nothing_before_chaos(tmp_path: Path) -> None:
    planned = plan.Plan.of(sweep())
    record = sweep().record
    one_run = plan.cost(planned.programs[0][0]).run_bytes
    results = []
    for n_devices, lanes in ((1, 9), (2, 5), (2, 2), (1, 1)):
        devices = jax.local_devices()[:n_devices]
        folder = tmp_path / f"{n_devices}-{lanes}"
        chunks = plan.chunks(planned, n_devices, one_run * lanes)
        folder.mkdir()
        engine.train_chunks(chunks, lambda _: record, engine.Store(folder, Ends(folder)), devices)
        stored.merge(folder, planned.runs["run_id"])
        results.append(tables.read(folder))
    for other in results[1:]:
        for name in ("initial_loss", "mean_loss", "final_loss", "final_weight_norm"):
            np.testing.assert_allclose(aligned(other, results[0])[name], results[0].runs[name], rtol=1e-3, err_msg=name)


def test_a_canonical_sweep_is_the_same_bit_for_bit_in_any_chunk(tmp_path: Path) -> None:
    text = """
    [run]
    model = "canonical"
    epochs = 300
    r_start_sigma = 0.2
    [axes]
    timescale = [20.0, 50.0]
    learning_rate = { logspace = [-9, -5, 9] }
    seed = { range = 2 }
    """
    whole = ghostsweep.run(sweep(text, "whole"), out=tmp_path)
    planned = plan.Plan.of(sweep(text))
    parts = plan.chunks(planned, 1, plan.cost(planned.programs[0][0]).run_bytes * 8)
    assert len(parts) > 3
    store = engine.Store(tmp_path, Ends(tmp_path))
    engine.train_chunks(parts, sweep(text).record_of, store, jax.local_devices()[:1])
    found = tables.read(tmp_path)
    np.testing.assert_array_equal(aligned(found, whole)[RESULTS], whole.runs[RESULTS])
    assert whole.runs.groupby("timescale")["r_start_sigma"].nunique().eq(1).all()
    assert whole.runs["initial_loss"].round(9).nunique() == 2  # a start in units of r* depends on the seed alone


def test_an_interruption_keeps_finished_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace("timescale = 6", "").replace("[record]", "timescale = [5, 6]\n[record]")
    calls: list[Progress] = []

    def interrupt(now: Progress) -> None:
        calls.append(now)
        if now.runs_done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ghostsweep.run(sweep(text), out=tmp_path, progress=interrupt)
    assert ghostsweep.status(sweep(text), tmp_path).done == 9
    assert len(pd.read_parquet(tmp_path / "small" / "runs.parquet")) == 9
    finished = ghostsweep.run(sweep(text), out=tmp_path)
    assert finished.meta["sessions"][-1]["runs_trained"] == 9
    uninterrupted = ghostsweep.run(sweep(text), out=tmp_path / "again")
    pd.testing.assert_frame_equal(finished.runs, uninterrupted.runs)
    shares = [now.share for now in calls]
    assert np.diff(shares).min() > -1e-9
    assert dataclasses.is_dataclass(finished)


def test_progress_is_told_and_ends_with_everything(tmp_path: Path) -> None:
    calls: list[Progress] = []
    ghostsweep.run(sweep(), out=tmp_path, progress=calls.append)
    assert calls[-1].runs_done == calls[-1].runs == 9
    assert calls[-1].updates == 9 * 160
    assert calls[-1].share == pytest.approx(1)


def test_sums_stay_exact_over_many_epochs_in_float32(tmp_path: Path) -> None:
    text = """
    [run]
    model = "rank_one"
    n_units = 2
    timescale = 1
    epochs = 70_000
    learning_rate = 1e-12
    """
    (row,) = ghostsweep.run(sweep(text), out=tmp_path).runs.to_dict("records")
    # Summed in float32 over at most 1024 epochs at a time, the rest in float64: at most 2^-15 off. A float32 sum
    # of all 70,000 could be off by 2^-8.
    assert row["mean_loss"] == pytest.approx(row["initial_loss"], rel=2**-15)


def test_the_lowest_mean_of_noisy_losses_is_of_50_epochs(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": "full_rank", "task": "dcdt", "n_units": 4, "noise_sigma": 0.5}
    fields |= {"input_ms": 10.0, "delay_ms": 10.0, "reaction_ms": 10.0, "epochs": 130}
    rates = [1e-3, 0.3, 1e9]
    found = ghostsweep.run(ghostsweep.sweep("noisy", axes={"learning_rate": rates}, **fields), out=tmp_path)
    for row in found.runs.to_dict("records"):
        loss = train_one(Run(**fields, learning_rate=row["learning_rate"], seed=0)).loss.astype(float)
        means = [part.mean() for part in (loss[:50], loss[50:100], loss[-50:])]
        assert row["min_recent_mean_loss"] == pytest.approx(np.nanmin(means), rel=1e-3), row["learning_rate"]


@pytest.mark.parametrize(
    ("platform", "mode", "is_kept"), [("gpu", 0o700, True), ("gpu", 0o770, False), ("cpu", 0o700, False)]
)
def test_programs_are_kept_for_gpus_where_nobody_else_writes(
    platform: str, mode: int, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "ghostsweep" / "programs"
    if mode != 0o700:
        folder.mkdir(parents=True)
        folder.chmod(mode)
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        engine.keep_programs([SimpleNamespace(platform=platform)])  # type: ignore[list-item]
        assert (jax.config.jax_compilation_cache_dir == str(folder)) == is_kept
        assert platform == "cpu" or folder.stat().st_mode & 0o777 == mode
        assert jax.config.jax_compilation_cache_dir in (None, str(folder))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
