"""One writer of a folder: locks that are respected, waited for and let go of, links, pipes, and folders that move."""

import errno
import os
import shutil
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faults.sweeps import BASE, run

from ghostsweep import UsageError
from ghostsweep.running import ledger
from ghostsweep.store import locks, tables
from ghostsweep.training.progress import Progress


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_a_folder_that_is_moved_or_made_anew_under_a_run_stops_it(tmp_path: Path) -> None:
    def move(now: Progress) -> None:
        if now.runs_done == 5 and not (tmp_path / "y").exists():
            (tmp_path / "x").rename(tmp_path / "y")
            if anew:
                (tmp_path / "x").mkdir()

    for anew in (False, True):
        with pytest.raises(OSError, match="renamed, removed or made anew") as caught:
            run(BASE, tmp_path, progress=move)
        assert caught.value.errno == errno.ESTALE
        assert (names(tmp_path / "x") if anew else set()) == set()
        assert len(tables.read("y", tmp_path).runs) == 5
        shutil.rmtree(tmp_path / "y")


def test_links_are_not_followed_where_something_is_written_or_deleted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.npz").write_text("mine")
    for name in ("parts", "sessions", "ends", "checkpoints", "failed"):
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        run(BASE, tmp_path)
        (tmp_path / "x" / name).symlink_to(elsewhere)
        with pytest.raises(UsageError, match=f"{name}: found a link; allowed: a folder"):
            run(BASE.replace("range = 2", "range = 3"), tmp_path)
    shutil.rmtree(tmp_path / "x")
    run(BASE, tmp_path)
    (tmp_path / "x" / "lock").symlink_to(elsewhere / "thesis.npz")
    with pytest.raises(UsageError, match="lock: found a link"):
        run(BASE, tmp_path)
    assert names(elsewhere) == {"thesis.npz"} and (elsewhere / "thesis.npz").read_text() == "mine"


def test_a_pipe_in_place_of_the_lock_or_a_table_hangs_nobody(tmp_path: Path) -> None:
    run(BASE, tmp_path)
    os.mkfifo(tmp_path / "x" / "lock")
    assert ledger.activity("x", tmp_path).at_work == ()
    with pytest.raises(UsageError, match="lock: found (no file|a link, a pipe)"):
        run(BASE, tmp_path)
    (tmp_path / "x" / "lock").unlink()
    (tmp_path / "x" / "curves.parquet").unlink()
    os.mkfifo(tmp_path / "x" / "curves.parquet")
    with pytest.warns(UserWarning, match="curves.parquet: is no file"):
        assert len(run(BASE, tmp_path).runs) == 10


def test_a_lock_that_cannot_be_written_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    opened = os.open

    def refuse(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if str(path).endswith("lock") and flags & os.O_RDWR:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))  # of another user, mode 0644
        return opened(path, flags, *args, **options)

    with locks.locked(tmp_path / "x"), monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(UsageError, match="found another run at work there"):
            run(BASE, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *args, **_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space", "lock")))
        with pytest.raises(OSError, match="No space"), locks.locked(tmp_path / "x"):
            pytest.fail("unlocked")


def test_a_lock_can_be_taken_by_whoever_may_write_in_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    before = os.umask(0o077)
    try:
        with locks.locked(tmp_path):
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o664
    finally:
        os.umask(before)


def test_who_only_looks_refuses_nobody(tmp_path: Path) -> None:
    run(BASE, tmp_path)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            locks.is_locked(tmp_path / "x")

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for each in watchers:
        each.start()
    try:
        for _ in range(60):
            with locks.locked(tmp_path / "x"):
                pass
    finally:
        done.set()
        for each in watchers:
            each.join()


def test_a_shard_waits_for_who_puts_the_tables_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.0)
    ready = threading.Event()

    def merge() -> None:
        with locks.locked(tmp_path / "x", doing=locks.MERGING):
            ready.set()
            time.sleep(0.5)

    other = threading.Thread(target=merge)
    other.start()
    assert ready.wait(10)
    assert len(run(BASE, tmp_path, shard="1/1").runs) == 10
    other.join()
