"""A small sweep of any model, and every verb of the command line on it, for the check of the installed package."""

from pathlib import Path
from typing import Any

import installed

SWEEP = """
[run]
model = "{model}"
{fields}
epochs = 60
[axes]
learning_rate = {{ geomspace = [1e-3, 1, 3] }}
seed = {{ range = 2 }}
[record]
points = 5
[record.snapshots]
epochs = [0, 59]
[quick]
epochs = 20
"""
ONE_RUN = """
import sys
import ghostsweep
from ghostsweep.cli import main

run = ghostsweep.read("small").runs["run_id"].iloc[0]
for words in (["show", run, *{again}], ["curves", run]):
    sys.argv = ["ghostsweep", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
"""


def verbs(
    folder: Path, model: str, fields: str, *, steps: bool = True, switches: bool = True, again: bool = False
) -> list[dict[str, Any]]:
    """Every verb on a small sweep of a model, with steps or without; a task whose target switches can be reduced.

    again: whether a run is trained again too, which is compiled anew.
    """
    (folder / "sweeps").mkdir(parents=True, exist_ok=True)
    (folder / "sweeps" / "small.toml").write_text(SWEEP.format(model=model, fields=fields))
    (folder / "results").mkdir()
    words = [
        "list", "run small --dry-run --no-calibrate", "run small", "status small", "analyze small", "plot small",
        "report small", "export small",
    ]  # fmt: skip
    done = [installed.command(folder, line) for line in words]
    options = ["--rerun"] * again
    what = " ".join(["ghostsweep show RUN", *options, "and curves RUN"])
    done.append(installed.python(folder, what, ONE_RUN.format(again=options)))
    done.append(installed.command(folder, "ghosts small", wanted=0 if steps else 2))
    done.append(installed.command(folder, "reduce small --keep", wanted=0 if switches else 2))
    return done
