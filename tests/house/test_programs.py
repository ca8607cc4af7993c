"""Programs that tests keep: a folder for each machine, which does without what is old, torn or not accepted."""

import os
import subprocess
import sys
import time
from pathlib import Path

import programs
import pytest

KEEPING = ("JAX_COMPILATION_CACHE_DIR", "PYTHONWARNINGS", "JAX_ENABLE_COMPILATION_CACHE")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment in which nothing is kept yet, and the folder in which `keep` would."""
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in KEEPING})
    os.environ[programs.WHERE] = str(tmp_path)
    return tmp_path / programs._machine()


def test_nothing_is_kept_where_the_user_or_the_machine_does_not_want_it(clean: Path) -> None:
    clean.mkdir()
    (clean / "accepted").write_text("no")
    programs.keep()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    (clean / "accepted").write_text("yes")
    for name, value in ((programs.WHERE, "off"), ("JAX_ENABLE_COMPILATION_CACHE", "0")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, name, value)
            programs.keep()
        assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    os.environ["JAX_COMPILATION_CACHE_DIR"] = "theirs"
    programs.keep()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "theirs"


def test_what_a_killed_process_left_is_compiled_anew_and_what_is_old_dropped(clean: Path) -> None:
    programs.keep()
    assert os.environ.get("JAX_COMPILATION_CACHE_DIR") == str(clean)
    kept = sorted(clean.glob("*-cache"))
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    done = subprocess.run([sys.executable, "-c", programs.CODE], env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "")
    empty, old = kept[0], clean / "old-cache"
    empty.write_bytes(b"")
    old.write_bytes(b"x")
    os.utime(old, (time.time() - (programs.MAX_DAYS + 1) * 86400,) * 2)
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    programs.keep()
    assert not empty.exists() and not old.exists() and sorted(clean.glob("*-cache")) == kept[1:]
