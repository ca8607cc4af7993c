"""What the pages and the notebook show, done by the installed package in an empty folder."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import installed
import pandas as pd

ROOT = installed.ROOT
RESULTS = ROOT / "results"
PAGES = {  # all pages of a folder, its first one first
    name: "\n".join(
        path.read_text() for path in sorted((ROOT / name).glob("*.md"), key=lambda path: path.stem != "README")
    )
    for name in (".", "sweeps", "results", "ghostsweep", "tests")
}
OUT = f"--out {RESULTS}"
COMMANDS: dict[str, tuple[str, ...]] = {
    "new mine": ("new mine",),
    "new mine --like gru_lr_delay": ("new other --like gru_lr_delay",),
    "new NAME [--like SWEEP]": ("new third --like rank_lr",),
    "fields": ("fields",),
    "fields rank_one": ("fields rank_one",),
    "fields [MODEL [TASK]]": ("fields full_rank dcdt",),
    "fields MODEL TASK": ("fields low_rank dmts",),
    "list": ("list",),
    "run NAME... [--quick] [--dry-run]": ("run tiny", "run tiny --quick", "run tiny mine --dry-run --no-calibrate"),
    "status [NAME...]": ("status", "status tiny"),
    "status SPEC": ("status tiny --quick",),
    "analyze NAME": (f"analyze rank_one_lr_epochs {OUT}",),
    "plot NAME...": ("plot tiny", f"plot fig1 {OUT}"),
    "plot NAME": ("plot tiny --quick",),
    "report NAME...": (f"report cue_lr_delay {OUT}",),
    "report NAME": ("report tiny",),
    "export NAME": (f"export fig5_dmts {OUT}",),
    "ghosts NAME": (f"ghosts fig4_dmts {OUT}",),
    "reduce NAME": (f"reduce rank_lr_reduction {OUT}",),
    "curves RUN_ID...": (f"curves {{run}} {OUT}",),
    "show RUN_ID [--rerun]": (f"show {{run}} {OUT}",),
    "reproduce": ("reproduce fig1",),
    "reproduce [fig1 ...]": ("reproduce fig1 --from-results",),
    "reproduce --from-results --keep": ("reproduce fig1 --from-results --keep",),
    "findings": ("findings --out few",),
    "findings --insert results/README.md": ("findings --out few --insert page.md",),
    "COMMAND -h": ("run -h",),
    "run SPEC --shard 1/4": ("run shared --shard 1/4", "run shared --shard 2/4"),
    "run SPEC --slurm partition=gpu,gpus_per_node=1,timeout_min=240 --shards 32": (
        "run tiny --slurm partition=gpu,gpus_per_node=1,timeout_min=240 --shards 32 --print-sbatch",
    ),
    "run NAME --persistent": ("run tiny --persistent --dry-run --no-calibrate",),
    "run canonical_lr_timescale canonical_dense canonical_dense_zoom canonical_lr_confidence": (
        "run canonical_lr_timescale canonical_dense canonical_dense_zoom canonical_lr_confidence --dry-run "
        "--no-calibrate",
    ),
    "run canonical_dense canonical_dense_zoom && ghostsweep plot canonical_dense": (
        "run canonical_dense canonical_dense_zoom --dry-run --no-calibrate",
    ),
}
"""What each command on the pages is tried as: smaller, with names in the place of capitals, or as a dry run."""
TINY = """
title = "A small one"
[run]
model = "canonical"
timescale = 10.0
epochs = 200
[axes]
learning_rate = { geomspace = [1e-7, 1e-4, 4] }
seed = { range = 2 }
[quick]
epochs = 50
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def smaller(code: str) -> str:
    """The same calls with fewer seeds, and in sweeps a tenth of the epochs."""
    code = re.sub(r"(    epochs=\d+)00,", r"\g<1>0,", code)
    return code.replace("range(8)", "range(2)").replace("range(20)", "range(2)")


def test_commands_on_the_pages(tried: Any, tmp_path: Path) -> None:
    shown = {line for page in PAGES.values() for line in re.findall(r"`ghostsweep ([a-zC][^`]*)`", page)}
    assert shown == set(COMMANDS)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "few").mkdir()
    for name in ("tiny", "shared"):
        (tmp_path / "sweeps" / f"{name}.toml").write_text(TINY)
    shutil.copytree(RESULTS / "fig7_dcdt", tmp_path / "few" / "fig7_dcdt")
    (tmp_path / "page.md").write_text("<!-- findings -->\n<!-- end findings -->\n")
    run_id = pd.read_parquet(RESULTS / "fig3_learns" / "runs.parquet")["run_id"].iloc[0]
    tasks = sorted(COMMANDS.items(), key=lambda item: not item[0].startswith(("new", "run")))
    wanted = [installed.command(tmp_path, line.format(run=run_id)) for _, lines in tasks for line in lines]
    job = [each for line in blocks(PAGES["."], "bash") for each in re.findall(r"bin/ghostsweep (.*?)(?: &&|\n)", line)]
    assert [line.split()[0] for line in job] == ["run", "analyze", "plot"]
    wanted += [installed.command(tmp_path, f"{line} --quick") for line in job]
    tried(wanted)
    assert "half of 20 seeds" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "figures" / "canonical_lr_timescale-quick.phase_timescale.png").exists()


def test_python_on_the_pages(tried: Any, tmp_path: Path) -> None:
    code, more = ("\n".join(blocks(PAGES[name], "python")) for name in (".", "sweeps"))
    shutil.copy(ROOT / "sweeps" / "gru.py", tmp_path)
    shown = installed.python(tmp_path, "the Python of README and sweeps/README", smaller(code) + more)
    (done,) = tried([shown])
    assert "first below 0.1 at epoch" in done.said and "learned" in done.said
    assert (tmp_path / "learning.png").exists() and (tmp_path / "phase.png").exists()


def test_cells_of_the_notebook(tried: Any, tmp_path: Path) -> None:
    cells = json.loads((RESULTS / "tour.ipynb").read_text())["cells"]
    lines = list[str]()
    for cell in (each for each in cells if each["cell_type"] == "code"):
        *most, last = re.sub(r"epochs=(\d+)000", r"epochs=\g<1>00", "".join(cell["source"])).splitlines()
        is_shown = last and not last.startswith((" ", ")", "}")) and "=" not in last.split("(")[0]
        lines += [*most, f"print(type({last.split('  #')[0]}).__name__)" if is_shown else last]
    (done,) = tried([installed.python(tmp_path, "the notebook, results/tour.ipynb", smaller("\n".join(lines)))])
    assert done.said.split().count("Picture") == 4 and "Analyzed" in done.said
