"""README is true: its dictionary, its commands, its Python and its sweep."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import loads
from ghostsweep.store import columns, tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_data_dictionary_is_the_codes_own() -> None:
    shown = README.split("<!-- data dictionary -->")[1].split("<!-- end -->")[0].strip()
    assert shown == columns.data_dictionary()


def test_the_sweep_shown_is_valid() -> None:
    text, phases, refine = block("toml")
    assert loads(text + refine, name="shown").refine is not None
    assert loads(text, name="shown").n_runs == 8 * 37 * 20
    both = loads(text.replace("20, 28, 40, 56]", "20]").replace("[-3, 0, 37]", "[-3, 0, 4]") + phases, name="shown")
    assert both.n_runs == 5 * 4 * 20 * 31


def test_the_python_shown_runs(tmp_path: Path) -> None:
    (code,) = block("python")
    os.symlink(ROOT / "sweeps", tmp_path / "sweeps")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "learned" in done.stdout
    assert (tmp_path / "phase_diagram.png").exists()


def test_the_commands_shown_exist() -> None:
    main, tests = block("bash")
    assert "pytest" in tests
    commands = [part for part in main.split("&&") if "ghostsweep" in part]
    assert [shlex.split(part)[1] for part in commands] == ["run", "fit", "plot"]
    for part in commands:
        name = shlex.split(part)[2]
        assert (ROOT / "sweeps" / f"{name}.toml").exists()
    rooms = re.findall(r"^\| `([a-z]+/|[a-z]+\.py)` \|", README, re.MULTILINE)
    own = {path.name + "/" * path.is_dir() for path in (ROOT / "ghostsweep").iterdir() if path.name[0] != "_"}
    assert set(rooms) == own - {"errors.py"}
    for path in re.findall(r"`([a-z]+/[a-z_]+\.py)`", README):
        assert (ROOT / "ghostsweep" / path).exists() or (ROOT / path).exists(), path
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).exists(), picture


def test_every_id_in_results_is_one_that_todays_sweeps_plan() -> None:
    """And of all sweeps but refined ones, which train some of their rates, every one is there."""
    names = tables.results(ROOT / "results")
    assert len(names) >= 31
    for name in names:
        sweep = ghostsweep.load(ROOT / "sweeps" / f"{name.removesuffix('-quick')}.toml", quick=name.endswith("-quick"))
        found = tables.read(name, ROOT / "results").runs["run_id"].tolist()
        planned = plan.expand(sweep)["run_id"].tolist()
        if sweep.refine is None:
            assert found == planned, name
        else:
            assert len(found) > 1000 and set(found) <= set(planned), name
