"""Every verb of the command line, of the installed package, on a small sweep of each model."""

from pathlib import Path
from typing import Any

import installed

TIMES = "n_units = 3\ninput_ms = 5.0\ndelay_ms = 10.0\nreaction_ms = 5.0\n"
MODELS = {
    "canonical": "timescale = 5.0\n",
    "canonical_simulated": "timescale = 2.0\ndt_steps = 0.5\n",
    "rank_one": "n_units = 3\ntimescale = 2\n",
    "low_rank": 'rank = 2\ntask = "dcdt"\n' + TIMES,
    "full_rank": 'task = "dmts"\n' + TIMES,
    "two_bias": 'task = "dcdt_onehot"\n' + TIMES,
}
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


def test_every_verb_on_the_built_in_models(tried: Any, tmp_path: Path) -> None:
    wanted = []
    for model, fields in MODELS.items():
        each = verbs(tmp_path / model, model, fields, steps=model != "canonical", again=model == "rank_one")
        wanted += [one | {"what": f"{model}: {one['what']}"} for one in each]
    found = tried(wanted)
    assert sum("6 / 6 runs" in one.erred or "6 runs" in one.said for one in found) >= len(MODELS)
