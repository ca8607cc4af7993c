"""Every verb of the command line, of the installed package, on a small sweep of each model that a file brings."""

from pathlib import Path
from typing import Any

import installed
from verbs import verbs

OWN = {
    "gru_lr_delay": ("gru.py", 'task = "dcdt"\nn_units = 3\ninput_ms = 5.0\ndelay_ms = 10.0\nreaction_ms = 5.0\n'),
    "flip_flop_lr_rank": ("low_rank", 'task = "flip_flop.py"\nsteps = 4\nrank = 1\nn_units = 2\n'),
    "two_layer_lr_scale": ("two_layer.py", ""),
}


def test_every_verb_on_models_and_tasks_in_files(tried: Any, tmp_path: Path) -> None:
    """Each copied from the package by `new --like`."""
    wanted = []
    for sweep, (model, fields) in OWN.items():
        folder = tmp_path / sweep
        folder.mkdir()
        has_task = model != "two_layer.py"
        each = [installed.command(folder, f"new mine --like {sweep}")]
        each += verbs(folder, model, fields, steps=has_task, switches=has_task, again=model == "gru.py")
        wanted += [one | {"what": f"{sweep}: {one['what']}"} for one in each]
    tried(wanted)
