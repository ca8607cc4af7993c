"""Several processes that train one sweep in one folder: shards, executors, Dask, submitit and a real SLURM."""

import concurrent.futures
import functools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import stored
from cluster import FINISHED, OPTIONS, SHORT, TEXT, assert_same, in_shards, kill_in_a_chunk, names, status, sweep_of
from hypothesis import given, settings
from hypothesis import strategies as st

import ghostsweep
from ghostsweep import UsageError, plan
from ghostsweep.errors import TrainingError
from ghostsweep.running import ledger, sweeping
from ghostsweep.running.sweeping import Shard
from ghostsweep.store import locks, parts, tables
from ghostsweep.training import engine

GRIDS = st.fixed_dictionaries(
    {
        "timescale": st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True),
        "seed": st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
        "learning_rate": st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=3, unique=True),
    }
)


@settings(max_examples=40, deadline=None)
@given(GRIDS, st.integers(1, 12), st.booleans())
def test_shards_share_the_work_and_keep_together_what_goes_on(grid: dict[str, Any], n: int, phased: bool) -> None:
    axes = "".join(f"{name} = {values}\n" for name, values in grid.items())
    text = f'[run]\nmodel = "rank_one"\nepochs = 7\n[axes]\n{axes}'
    phases = "[[phases]]\nepochs = 5\naxes.confidence = [1.0, 2.0]\n" if phased else ""
    planned = plan.Plan.of(sweep_of(text + phases))
    runs, shard = planned.runs, plan.shards(planned, n)
    assert shard.min() >= 0 and shard.max() < n
    of_run = pd.Series(shard, runs["run_id"])
    later = runs["phase"] > 1
    np.testing.assert_array_equal(of_run[runs.loc[later, "run_id"]], of_run[runs.loc[later, "parent"]])
    work = runs["epochs"] * runs["timescale"]  # of rank-one networks of one size
    each = work.groupby(shard).sum().reindex(range(n), fill_value=0)
    root = runs["parent"].where(later, runs["run_id"])
    largest = work.groupby(root).sum().max()
    assert abs(each - work.sum() / n).max() <= largest * (1 + 1e-9)
    # A shard has runs of as few programs as can be: only where one ends does it take from the next.
    borders = runs.groupby(shard)["timescale"].nunique().sum() - runs["timescale"].nunique()
    assert borders <= len(np.unique(shard)) - 1


def test_shards_have_all_learning_rates_of_a_seed() -> None:
    planned = plan.Plan.of(sweep_of())
    runs = planned.runs
    assert (runs.groupby("seed")["learning_rate"].nunique() == 2).all()
    shards = pd.Series(plan.shards(planned, 4)).groupby(runs["seed"]).unique()
    assert sorted(int(value) for values in shards for value in values) == [0, 1, 2, 3]


def test_shards_in_any_order_leave_the_tables_of_one_run(tmp_path: Path) -> None:
    text = SHORT.replace("[run]", '[run]\ndtype = "float64"')
    one = ghostsweep.run(sweep_of(text), out=tmp_path / "one", devices=1)
    done = []
    for shard in ("3/3", "1/3", "2/3"):
        found = ghostsweep.run(sweep_of(text), out=tmp_path / "shards", shard=shard, devices=1)
        done.append(len(found.runs))
        assert (names(found.folder) == FINISHED) == (shard == "2/3")
        assert found.meta["spec"] == text  # also where no table is there yet
    assert done[0] < done[1] < done[2] == 24
    assert_same(found, one, rtol=1e-9, atol=1e-12)
    sessions = found.meta["sessions"]
    assert sum(session["runs_trained"] for session in sessions) == 24 and len(sessions) == 3
    again = ghostsweep.run(sweep_of(text), out=tmp_path / "shards", shard="1/3", devices=1)
    assert again.meta == found.meta  # nothing to do


def test_a_refined_sweep_in_shards_takes_a_round_for_each_level(tmp_path: Path) -> None:
    text = """
    [run]
    model = "canonical"
    epochs = 500
    [axes]
    timescale = [8.0, 12.0]
    learning_rate = { logspace = [-7, -1, 33] }
    [refine]
    levels = 2
    """
    one = ghostsweep.run(sweep_of(text), out=tmp_path / "one")
    for _ in range(3):
        for shard in ("2/2", "1/2"):
            found = ghostsweep.run(sweep_of(text), out=tmp_path / "shards", shard=shard)
    assert names(found.folder) == ["curves.parquet", "meta.json", "runs.parquet"]
    assert_same(found, one, rtol=1e-9)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # waits for each level itself
        assert_same(ghostsweep.run(sweep_of(text), out=tmp_path / "pool", executor=pool, shards=2), one, rtol=1e-9)


def test_who_is_at_work_is_told_and_kept_apart(tmp_path: Path) -> None:
    told: list[str] = []

    def meanwhile(now: Any) -> None:
        if told or not now.updates:
            return
        told.extend(ledger.activity("x", tmp_path).at_work)
        for options, refusal in (({"shard": "1/2"}, r"shard-1-of-2: found another run"), ({}, "x: found another run")):
            with pytest.raises(UsageError, match=refusal):
                ghostsweep.run(sweep_of(), out=tmp_path, **options)  # type: ignore[arg-type]
        ghostsweep.run(sweep_of(), out=tmp_path, shard="2/2")

    ghostsweep.run(sweep_of(), out=tmp_path, shard="1/2", progress=meanwhile)
    assert told == [f"shard 1 of 2: pid {os.getpid()} on {socket.gethostname()}"]
    assert names(tmp_path / "x") == FINISHED
    assert ledger.activity("x", tmp_path).at_work == ()


def test_status_reads_nothing_but_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.toml").write_text(SHORT)
    with pytest.raises(UsageError, match="no results of any sweep there"):
        status(tmp_path)
    assert "x: 24 runs, 0 done, 24 to train (new)" in status(tmp_path, "x") and not (tmp_path / "out").exists()
    ghostsweep.run(sweep_of(), out=tmp_path / "out", shard="1/2")
    monkeypatch.setattr(sweeping, "train_shard", lambda *_: pytest.fail("trained"))
    said = status(tmp_path)
    assert "x: 24 runs, 12 done, 12 to train (partial); about" in said
    assert "2 finished chunks wait to be put into the tables" in said and "at work" not in said
    (row,) = json.loads(status(tmp_path, "--format", "json"))["status"]
    assert (row["sweep"], row["state"], row["runs"], row["done"], row["parts"]) == ("x", "partial", 24, 12, 2)


def start(out: Path, *options: str) -> "subprocess.Popen[bytes]":
    (out.parent / "x.toml").write_text(TEXT)
    fixed = ["--devices", "1", "--checkpoint-seconds", "0", "--out", str(out)]
    return subprocess.Popen([sys.executable, "-m", "ghostsweep", "run", str(out.parent / "x.toml"), *fixed, *options])


def test_shards_at_once_one_killed_in_a_chunk_and_started_again(whole: tables.Tables, tmp_path: Path) -> None:
    processes = [start(tmp_path / "out", "--shard", shard) for shard in ("1/2", "2/2")]
    killed = kill_in_a_chunk(tmp_path / "out" / "x")
    assert sorted(process.wait(300) for process in processes) == [-signal.SIGKILL, 0]
    left = names(tmp_path / "out" / "x")
    assert "parts" in left and "sessions" in left
    number = 1 + [process.pid for process in processes].index(killed)
    assert f"shard-{number}-of-2" in left
    shutil.copytree(tmp_path / "out", tmp_path / "plain" / "out")
    for options in (["--shard", f"{number}/2"], []):  # or a plain run takes over
        out = tmp_path / ("out" if options else "plain/out")
        assert start(out, *options).wait(300) == 0
        assert names(out / "x") == FINISHED
    assert_same(tables.read("x", tmp_path / "out"), whole)
    assert len(tables.read("x", tmp_path / "plain" / "out").runs) == 24


def test_tables_are_read_whole_while_another_process_puts_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_shards(tmp_path, 1)
    done = tables.read("x", tmp_path)
    (tmp_path / "y").mkdir()
    for i in range(2):
        rows = done.runs.iloc[12 * i : 12 * i + 12]
        parts.write(tmp_path / "y", rows, done.curves[done.curves["run_id"].isin(rows["run_id"])])
    original, merged = parts.read, []

    def read(folder: Path, name: str) -> parts.Part:
        if not merged:
            merged.append(name)
            stored.merge(tmp_path / "y", done.runs["run_id"])
        return original(folder, name)

    monkeypatch.setattr(parts, "read", read)
    runs, curves = tables.stored(tmp_path / "y").frames()
    assert merged and not (tmp_path / "y" / "parts").exists()
    pd.testing.assert_frame_equal(runs, done.runs)
    pd.testing.assert_frame_equal(curves, done.curves)


def test_shards_belong_to_an_executor(tmp_path: Path) -> None:
    both = {"shard": "1/2", "executor": 1}
    for options, line in (({"shards": 2}, "shards: missing an executor"), (both, "not together")):
        with pytest.raises(UsageError, match=line):
            ghostsweep.run(sweep_of(), out=tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/2.0", "½/1"])
def test_a_shard_is_a_number_of_a_number(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shard: found .*; allowed: i/n, from 1/n to n/n"):
        ghostsweep.run(sweep_of(), out=tmp_path, shard=text)
    assert not any(tmp_path.iterdir())


def test_a_process_pool_trains_the_shards(tmp_path: Path) -> None:
    one = in_shards(tmp_path / "one", 3)
    told: list[Any] = []
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        found = ghostsweep.run(
            sweep_of(), out=tmp_path / "pool", executor=pool, shards=3, progress=told.append, **OPTIONS
        )
    assert_same(found, one)
    assert names(found.folder) == FINISHED and len(found.meta["sessions"]) == 3
    assert told[-1].runs_done == told[-1].runs == 24 and told[-1].share == 1


def _elsewhere(folder: Path) -> None:
    os.chdir(folder)


def test_workers_in_another_folder_store_where_the_caller_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=_elsewhere, initargs=(there,)) as pool:
        ghostsweep.run(sweep_of(), out="results", executor=pool, shards=2, **OPTIONS)
    assert not any(there.iterdir()) and any((here / "results").iterdir())


def _killed_at_first(flag: Path) -> None:
    """Have this process killed at its first work, unless one was before."""
    if not flag.exists():
        flag.touch()
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()


def test_the_share_of_a_killed_process_of_a_pool_is_given_out_again(tmp_path: Path) -> None:
    context, flag = multiprocessing.get_context("spawn"), tmp_path / "killed"
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=_killed_at_first, initargs=(flag,)) as pool:
        found = ghostsweep.run(sweep_of(), out=tmp_path / "out", executor=pool, shards=1, **OPTIONS)
        assert flag.exists() and len(found.runs) == 24
        with pytest.raises(BrokenProcessPool):  # it was broken, so that another one did the work
            pool.submit(os.getpid).result()


class Failing:
    """An executor that loses a worker some times before the work is done."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def submit(self, call: Callable[..., Any], *args: Any) -> Any:
        self.times -= 1
        if self.times >= 0:
            call = functools.partial(self.lose)
            args = ()
        return self.pool.submit(call, *args)

    @staticmethod
    def lose() -> None:
        raise RuntimeError("first line\nworker lost")


def test_shards_of_lost_workers_are_given_out_again_but_not_for_ever(tmp_path: Path) -> None:
    found = ghostsweep.run(sweep_of(), out=tmp_path / "twice", executor=Failing(2), shards=1)
    assert len(found.runs) == 24
    with pytest.raises(TrainingError, match="1 of 1 shards .*\n  shard 1/1: RuntimeError: worker lost"):
        ghostsweep.run(sweep_of(), out=tmp_path / "always", executor=Failing(99), shards=1)
    assert len(ghostsweep.run(sweep_of(), out=tmp_path / "always").runs) == 24


def test_a_chunk_that_fails_on_a_worker_is_told_and_all_else_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = engine.train_chunk

    def fail(chunk: plan.Chunk, *args: Any, **options: Any) -> Any:
        if (chunk.runs["seed"] == 3).any():
            raise RuntimeError("a bad seed")
        return original(chunk, *args, **options)

    monkeypatch.setattr(engine, "train_chunk", fail)
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        pytest.raises(TrainingError, match="(?s)1 of 4 shards .*\n  shard 4/4: .*a bad seed"),
    ):
        ghostsweep.run(sweep_of(), out=tmp_path, executor=pool, shards=4)
    assert sorted(tables.read("x", tmp_path).runs["seed"].unique()) == [0, 1, 2]
    failed = ledger.activity("x", tmp_path).failed
    assert sorted("a bad seed" in path.read_text() for path in failed) == [False, True]  # and what goes on from it
    monkeypatch.undo()
    assert len(ghostsweep.run(sweep_of(), out=tmp_path).runs) == 24
    assert names(tmp_path / "x") == FINISHED


@pytest.mark.seldom
def test_dask_loses_a_worker_in_a_chunk(whole: tables.Tables, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="pip install 'ghostsweep[dask]'")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = set(client.run(os.getpid).values())
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            killed = thread.submit(kill_in_a_chunk, tmp_path / "x")
            found = ghostsweep.run(sweep_of(TEXT), out=tmp_path, executor=client.get_executor(), shards=2, **OPTIONS)
        assert killed.result() in workers
    assert_same(found, whole)
    assert names(found.folder) == FINISHED


def test_submitit_on_this_machine_trains_the_shards(tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="pip install 'ghostsweep[slurm]'")
    one = in_shards(tmp_path / "one", 2)
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    assert_same(ghostsweep.run(sweep_of(), out=tmp_path, executor=executor, shards=2, **OPTIONS), one)


def test_shards_are_a_minute_of_a_core_each_where_nobody_says() -> None:
    whole = plan.Plan.of(sweep_of(TEXT.replace("20_000", "20_000_000")))
    core_seconds = sum(group.seconds for group in ghostsweep.status(sweep_of(TEXT)).planned) * 1000
    assert (
        sweeping.n_shards(whole, None) == pytest.approx(core_seconds / 60, abs=1) and sweeping.n_shards(whole, 7) == 7
    )
    with pytest.raises(UsageError, match="shards: found 0"):
        sweeping.n_shards(whole, 0)
    assert str(Shard.parse("2/8")) == "2/8" and locks.is_locked(Path("nowhere")) == ""
