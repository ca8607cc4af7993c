"""Every verb of the command line, of the installed package, on a small sweep of each model."""

from pathlib import Path
from typing import Any

from verbs import verbs

TIMES = "n_units = 3\ninput_ms = 5.0\ndelay_ms = 10.0\nreaction_ms = 5.0\n"
MODELS = {
    "canonical": "timescale = 5.0\n",
    "canonical_simulated": "timescale = 2.0\ndt_steps = 0.5\n",
    "rank_one": "n_units = 3\ntimescale = 2\n",
    "low_rank": 'rank = 2\ntask = "dcdt"\n' + TIMES,
    "full_rank": 'task = "dmts"\n' + TIMES,
    "two_bias": 'task = "dcdt_onehot"\n' + TIMES,
}


def test_every_verb_on_the_built_in_models(tried: Any, tmp_path: Path) -> None:
    wanted = []
    for model, fields in MODELS.items():
        each = verbs(tmp_path / model, model, fields, steps=model != "canonical", again=model == "rank_one")
        wanted += [one | {"what": f"{model}: {one['what']}"} for one in each]
    found = tried(wanted)
    assert sum("6 / 6 runs" in one.erred or "6 runs" in one.said for one in found) >= len(MODELS)
