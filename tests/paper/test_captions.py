"""What figures are said to show, by the models and tasks of the tables that they are drawn from."""

from pathlib import Path

import pytest

from ghostsweep.paper import catalog

RESULTS = Path(__file__).parents[2] / "results"
MODELS = {"canonical": "canonical form", "rank_one": "rank-one", "low_rank": "rank-", "full_rank": "full-rank"}
OTHERS = {"optimizer", "rank-one", "rank-2", "rank-K", "full-rank", "cue task", "canonical form"}
"""Words of which a caption has those alone that are of its tables."""


@pytest.mark.parametrize("name", catalog.every())
def test_a_caption_names_the_models_of_its_tables_and_no_others(name: str) -> None:
    plan = catalog.every()[name]
    runs = [catalog.read(sweep, RESULTS).runs for sweep in plan.sweeps]
    models = {model for table in runs for model in table["model"].unique()}
    ranks = {int(rank) for table in runs if "rank" in table for rank in table["rank"].dropna().unique()}
    tasks = {task for table in runs for task in table["task"].unique()}
    wanted = {MODELS[model] for model in models & {"rank_one", "full_rank"}}
    wanted |= {"canonical form"} if "canonical" in models or name == "fig8" else set()  # whose a is drawn from theory
    wanted |= {f"rank-{ranks.pop()}" if len(ranks) == 1 else "rank-K"} if ranks else set()
    wanted |= {"cue task"} if tasks & {"dcdt", "dmts"} else set()
    found = {word for word in OTHERS if word in plan.caption.lower().replace("rank-k", "rank-K")}
    assert found == wanted
    assert plan.caption.endswith(".") and len(plan.caption) <= 220
