"""A folder for programs that tests have compiled, kept from run to run: most of their time went into compiling."""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

WHERE = "GHOSTSWEEP_TEST_PROGRAMS"
"""Variable that names another folder than the one in the user's cache; with `off` every run compiles all it needs."""
MAX_DAYS = 30
"""Age at which a program is dropped, so that old ones do not pile up and all are compiled anew at times."""
TORN = "Error reading persistent compilation cache entry"
"""How JAX's warning begins of a program that a killed process has written in part; it then compiles it."""
CODE = "import jax; print(jax.jit(lambda x: x * 2)(1.0))"


def keep() -> None:
    """Let JAX keep what it compiles, here and in all processes that are started from here.

    By the environment, so before JAX is imported. Nothing is done where the user has said where programs are kept, and
    where this machine does not take back what it has stored.
    """
    chosen = os.environ.get(WHERE, "")
    if chosen == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ghostsweep", "tests")
    folder = (Path(chosen).absolute() if chosen else usual) / _machine()
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONWARNINGS": f"ignore:{TORN}",
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "accepted").exists():
            _try(folder, variables)
    except (OSError, RuntimeError):  # nowhere to write, or no home
        return
    if (folder / "accepted").read_text() == "yes":
        _drop_old(folder)
        os.environ |= variables


def _machine() -> str:
    """A name for what decides whether a program runs: the compiler, and what the processor can do."""
    about = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about = "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    names = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
    text = "\n".join([*names, platform.python_version(), platform.platform(), about])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _try(folder: Path, variables: dict[str, str]) -> None:
    """Note whether a second process takes what the first has stored, without a word: some CPUs never do."""
    command = [sys.executable, "-W", "error", "-c", CODE]
    found = [subprocess.run(command, env=os.environ | variables, capture_output=True) for _ in range(2)]
    is_accepted = all(done.returncode == 0 and not done.stderr for done in found) and any(folder.glob("*-cache"))
    (folder / "accepted").write_text("yes" if is_accepted else "no")


def _drop_old(folder: Path) -> None:
    oldest = time.time() - MAX_DAYS * 86400
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # dropped by others meanwhile
            if path.stat().st_mtime < oldest or not path.stat().st_size:
                path.unlink()
