"""Outcomes that a task declares: what a page has of them equals the tables, beside the usual ones, and mixed tasks."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import analysis
from ghostsweep.analysis.mechanisms import by_index
from ghostsweep.figures import style
from ghostsweep.reporting.packing import unpacked
from ghostsweep.store import declared, tables
from ghostsweep.tasks import onehot

pytest.importorskip("altair", reason="pip install 'ghostsweep[report]'")
RESULTS = Path(__file__).parents[2] / "results"
NAME = "companion_narrow_reduced"
HOSTILE = "</script><img src=x onerror=alert(1)>"


def block(text: str, section: str = "sweep-0") -> dict[str, Any]:
    """The data of a section, as the page has it."""
    found = re.search(rf'<script type="application/json" id="{section}-data">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def told(data: dict[str, Any], fields: list[dict[str, Any]]) -> pd.DataFrame:
    """The share of each outcome and the most frequent one, by the fields of the cells."""
    columns = {f["name"]: np.array([np.nan, *f["values"]], dtype=object)[unpacked(f["codes"])] for f in fields}
    names = [each["name"].replace(" ", "_") for each in data["outcomes"]]
    counts = unpacked(data["counts"]).reshape(-1, len(names))
    shares = pd.DataFrame(counts / counts.sum(axis=1, keepdims=True), columns=[f"share_{name}" for name in names])
    return pd.DataFrame(columns).join(shares).assign(majority=np.array(names)[unpacked(data["majority"])])


def same(found: pd.DataFrame, runs: pd.DataFrame) -> None:
    table = analysis.shares(runs, ["delay_ms", "learning_rate"])
    assert found["delay_ms"].tolist() == table["delay_ms"].tolist()
    assert found["majority"].tolist() == table["majority"].astype(str).tolist()
    for name in runs["outcome"].cat.categories:
        there = found.get(f"share_{name}", pd.Series(0.0, found.index))
        np.testing.assert_allclose(there, table[f"share_{name}"])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ghostsweep.report(NAME, to=tmp_path_factory.mktemp("own") / "page.html", out=RESULTS).read_text()


def test_a_page_has_the_outcomes_of_the_task_and_the_usual_ones(text: str) -> None:
    runs, data = tables.read(NAME, RESULTS).runs, block(text)
    own, usual = by_index(runs), analysis.outcomes(runs)
    same(told(data["cells"], data["cells"]["fields"]), own)
    same(told(data["usual"]["cells"], data["cells"]["fields"]), usual)
    order = runs.sort_values(["delay_ms", "learning_rate", "seed"], kind="stable")["run_id"]
    for judged, part in ((own, data), (usual, data["usual"])):
        names = [each["name"].replace(" ", "_") for each in part["all_outcomes"]]
        ends = [names[code] for code in unpacked(part["curves"]["outcome"])]
        assert ends == judged.set_index("run_id")["outcome"].astype(str)[order].tolist()


def test_colours_and_meanings_are_those_of_the_figures(text: str) -> None:
    data = block(text)
    colors = style.outcome_colors(list(onehot.OUTCOMES.meanings))
    for each in data["cells"]["outcomes"]:
        name = each["name"].replace(" ", "_")
        assert (each["color"], each["meaning"]) == (colors[name], onehot.OUTCOMES.meanings[name])
    for each in data["usual"]["cells"]["outcomes"]:
        assert each["meaning"] == analysis.OUTCOME_MEANING[each["name"].replace(" ", "_")]
    legends = re.findall(r'<div class="outcomes"( hidden)?>(.*?)</div>', text, re.S)
    assert [bool(hidden) for hidden, _ in legends] == [False, True]
    assert "limit cycle" in legends[0][1] and "boundary" not in legends[0][1]
    assert "limit cycle" not in legends[1][1] and "upper boundary with its 95% interval" in legends[1][1]


def test_boundaries_are_of_the_usual_outcomes_and_say_so(text: str) -> None:
    data = block(text)
    assert not any(any(view["boundaries"]) for view in data["views"])
    assert any(any(view["boundaries"]) for view in data["usual"]["views"])
    counts = by_index(tables.read(NAME, RESULTS).runs)["outcome"].value_counts()
    assert f"{counts['limit_cycle']} limit cycle, {counts['slow_point_manifold']} slow point manifold" in text
    assert "By the usual outcomes: half of 10 seeds collapse" in text
    assert "They are of the usual outcomes, not of those that the task declares itself." in text


def test_pages_of_tasks_without_have_no_such_choice(tmp_path: Path) -> None:
    text = ghostsweep.report("rank_lr", to=tmp_path / "page.html", out=RESULTS).read_text()
    assert "usual" not in block(text) and "usual outcomes" not in text
    assert text.count('class="outcomes"') == 1


def test_a_sweep_of_several_tasks_has_the_usual_outcomes(tmp_path: Path) -> None:
    own = {"task": ["dcdt_onehot"], "input_ms": [10], "delay_ms": [0, 10]}
    rest = {"learning_rate": [0.3, 0.1], "seed": [0, 1]}
    sweep = ghostsweep.sweep(
        "mixed",
        model="two_bias",
        n_units=6,
        reaction_ms=10,
        epochs=8,
        axes=[own | rest, {"task": ["onehot_cue"]} | rest],
    )
    found = ghostsweep.run(sweep, out=tmp_path, progress=False)
    judged = found.outcomes()
    for task, names in (("dcdt_onehot", set(onehot.OUTCOMES.meanings)), ("onehot_cue", {"learned", "no_solution"})):
        assert set(judged.loc[judged["task"] == task, "task_outcome"]) <= names
    assert analysis.own_outcomes(found.runs) is None
    text = ghostsweep.report("mixed", to=tmp_path / "page.html", out=tmp_path).read_text()
    assert "usual" not in block(text) and "By the outcomes that their tasks declare themselves: " in text
    assert found.plot(tmp_path / "figures")


def test_hostile_names_of_outcomes_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(runs: pd.DataFrame) -> list[declared.Judged]:
        names = np.where(runs["seed"] % 2 == 0, HOSTILE, "rest")
        return [declared.Judged("x", {HOSTILE: HOSTILE, "rest": "b"}, np.arange(len(runs)), names)]

    monkeypatch.setattr(declared, "outcomes", hostile)
    text = ghostsweep.report(NAME, to=tmp_path / "page.html", out=RESULTS).read_text()
    assert "<img src=x" not in text
    assert block(text)["cells"]["outcomes"][0]["name"] == block(text)["cells"]["outcomes"][0]["meaning"] == HOSTILE
