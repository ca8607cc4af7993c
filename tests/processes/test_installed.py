"""The package as it is installed: what comes with it works in any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ghostsweep import UsageError
from ghostsweep.running import finding

ROOT = Path(__file__).parents[2]


def test_sweeps_models_and_starts_come_with_the_package_and_its_commit(package: Path, tmp_path: Path) -> None:
    names = {
        path.name for path in (package / "ghostsweep" / "sweeps").iterdir() if path.suffix != ".md" and path.is_file()
    }
    assert names == {path.name for path in (ROOT / "sweeps").iterdir() if path.is_file() and path.suffix != ".md"}
    code = """
import sys, ghostsweep
from ghostsweep.running import sessions
assert ghostsweep.__file__.startswith(sys.argv[1]), ghostsweep.__file__
from ghostsweep.cli import main
print(sessions._git_commit())
sys.argv = ["ghostsweep", *sys.argv[2:]]
main()
"""
    for words in (
        ["list"],
        ["run", "gru_lr_delay", "--dry-run", "--no-calibrate"],
        ["run", "fig3_learns", "--dry-run"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(package), *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(package), "PATH": "", "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert words[-1] != "list" or "two_layer_lr_scale" in done.stdout
        assert (len(done.stdout.splitlines()[0]) >= 7) == (ROOT / ".git").exists()


def test_the_command_is_installed(package: Path, tmp_path: Path) -> None:
    command, environment = [str(package / "bin" / "ghostsweep"), "list"], os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "two_layer_lr_scale" in done.stdout, done.stderr


def test_ones_own_sweeps_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert finding.find("fig2_trajectories") == ROOT / "sweeps" / "fig2_trajectories.toml"
    (tmp_path / "sweeps").mkdir()
    for name in ("mine", "fig2_trajectories"):
        (tmp_path / "sweeps" / f"{name}.toml").write_text("")
    found = finding.sweep_files()
    assert [path.stem for path in found[:2]] == ["fig2_trajectories", "mine"]
    assert found[0] == Path("sweeps/fig2_trajectories.toml") and len({path.stem for path in found}) == len(found)
    assert finding.find("mine") == Path("sweeps/mine.toml")
    with pytest.raises(UsageError, match=f"no such sweep among the 1 in {tmp_path / 'other'}, which"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "x.toml").write_text("")
        finding.find("mine", tmp_path / "other")
