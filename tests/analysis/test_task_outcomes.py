"""Outcomes that tasks declare themselves, beside the usual ones: of one task, of several, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import analysis, figures
from ghostsweep.analysis.mechanisms import by_index
from ghostsweep.errors import UsageError
from ghostsweep.figures import gallery, style
from ghostsweep.front.results import Tables
from ghostsweep.store import declared
from ghostsweep.tasks import onehot

OUT = Path(__file__).parents[2] / "results"
NAME, SHOWN, USUAL = "companion_narrow_reduced", "companion_control_reduced", "cue_lr_delay"


@pytest.fixture(scope="module")
def companion() -> Tables:
    return ghostsweep.read(NAME, OUT)


@pytest.fixture(scope="module")
def mixed(companion: Tables) -> pd.DataFrame:
    parts = [ghostsweep.read(name, OUT).runs for name in (USUAL, SHOWN)]
    return pd.concat([companion.runs, *parts]).sample(frac=1, random_state=0)


def test_both_stand_side_by_side(companion: Tables) -> None:
    found = companion.outcomes()
    assert found["outcome"].equals(analysis.outcomes(companion.runs)["outcome"])
    own = by_index(companion.runs)["outcome"]
    assert found["task_outcome"].tolist() == own.tolist() and found["task_outcome"].dtype == own.dtype
    assert found.attrs["meanings"] == onehot.OUTCOMES.meanings
    assert "task_outcome" in companion.compact() and "task_outcome" not in ghostsweep.outcomes(USUAL, out=OUT)
    counts = own.value_counts()
    said = repr(companion)
    assert f"task outcomes: {counts['slow_point_manifold']} slow point manifold, {counts['limit_cycle']}" in said
    assert "task outcomes" not in repr(ghostsweep.read(USUAL, OUT))


def test_runs_of_several_tasks_have_each_their_own(mixed: pd.DataFrame, companion: Tables) -> None:
    found = ghostsweep.outcomes(mixed)
    said = found.set_index("run_id")["task_outcome"]
    own, shown = by_index(companion.runs), analysis.own_outcomes(ghostsweep.read(SHOWN, OUT).runs)
    for part in (own, shown):
        assert part is not None
        assert said[part["run_id"]].tolist() == part["outcome"].astype(str).tolist()
    others = found["task"].isin(["dcdt", "dmts"])
    assert found.loc[others, "task_outcome"].isna().all() and found.loc[~others, "task_outcome"].notna().all()
    assert not found["task_outcome"].cat.ordered
    pd.testing.assert_series_equal(found["outcome"], analysis.outcomes(mixed)["outcome"])


def test_one_name_of_two_meanings_says_both(monkeypatch: pytest.MonkeyPatch) -> None:
    each = [declared.Judged(name, {"a": f"of {name}"}, np.array([i]), np.array(["a"])) for i, name in enumerate("xy")]
    monkeypatch.setattr(declared, "outcomes", lambda runs: each)
    assert analysis.with_task_outcome(pd.DataFrame({"seed": [0, 1]})).attrs["meanings"] == {"a": "of x In y: of y"}


def test_what_is_of_the_usual_outcomes_stays_so(companion: Tables) -> None:
    runs = companion.runs[companion.runs["delay_ms"] > 150]
    judged = ghostsweep.outcomes(runs)
    assert analysis.cell_fields(judged) == analysis.cell_fields(runs)
    pd.testing.assert_frame_equal(analysis.critical_lr(judged), analysis.critical_lr(runs))
    fitted = ghostsweep.analyze(runs)
    counts = by_index(runs)["outcome"].value_counts()
    last = fitted.summary.splitlines()[-1]
    assert last.startswith("these are of the usual outcomes; by those that the task declares itself: ")
    assert last.endswith(f"{counts['no_solution']} no solution")
    assert "usual" not in ghostsweep.analyze(USUAL, out=OUT).summary


def test_names_that_a_task_does_not_declare_are_refused(companion: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    def gives(names: object) -> None:
        task = replace(onehot.TASK, outcomes=onehot.OUTCOMES._replace(of=lambda columns: names))
        monkeypatch.setattr(declared, "parts_of", lambda values: type("Parts", (), {"task": task}))

    runs = companion.runs.head(2)
    gives(np.array(["limit_cycle", "lost"]))
    with pytest.raises(
        UsageError, match=r"^dcdt_onehot, outcomes: found lost; allowed: for each run one of slow_point"
    ):
        analysis.with_task_outcome(runs)
    gives(np.array(["limit_cycle"]))
    with pytest.raises(UsageError, match=r"found an array of shape \(1,\) for 2 runs; allowed"):
        analysis.with_task_outcome(runs)


def test_shares_take_names_that_are_no_categories_and_leave_out_what_has_none() -> None:
    runs = pd.DataFrame({"delay_ms": [0, 0, 0, 1], "outcome": ["cycle", "none", None, None]})
    table = analysis.shares(runs, ["delay_ms"])
    assert table["delay_ms"].tolist() == [0] and table["n_seeds"].tolist() == [2]
    assert table[["share_cycle", "share_none"]].to_numpy().tolist() == [[0.5, 0.5]]
    usual = analysis.shares(runs.assign(outcome="trapped"), ["delay_ms"])
    assert usual["share_trapped"].tolist() == [1, 1] and usual["share_learned"].tolist() == [0, 0]


def test_a_diagram_of_task_outcomes_leaves_out_runs_of_other_tasks(mixed: pd.DataFrame) -> None:
    judged = ghostsweep.outcomes(mixed)
    runs = judged[judged["delay_ms"].notna()].assign(outcome=lambda table: table["task_outcome"])
    runs = runs.drop(columns=[name for name in analysis.cell_fields(runs) if name != "delay_ms"]).assign(model="any")
    figure = figures.phase_diagram(runs, x="delay_ms")
    texts = " ".join(each.get_text() for each in (*figure.texts, *figure.findobj(lambda one: hasattr(one, "get_text"))))
    assert f"Left out 650 of {len(runs)} runs (outcome is null)." in texts
    with pytest.raises(UsageError, match="no run has an outcome"):
        figures.phase_diagram(runs.assign(outcome=None), x="delay_ms")


def test_a_name_of_the_usual_ones_has_its_colour_and_others_are_apart() -> None:
    shown = style.outcome_colors(list(onehot.SHOWN.outcomes.meanings))
    assert shown == {"learned": style.OUTCOME_COLORS["learned"], "no_solution": style.WORST_COLOR}
    names = list(onehot.OUTCOMES.meanings)
    own = style.outcome_colors(names)
    assert list(own) == names and own["learned"] == shown["learned"]
    assert own["slow_point_manifold"] == style.OWN_COLORS[0] and own["limit_cycle"] == style.OWN_COLORS[1]
    assert len(set(own.values())) == len(names)
    assert style.outcome_colors(["trapped", "learned"]) == {n: style.OUTCOME_COLORS[n] for n in ("learned", "trapped")}


def test_pictures_of_boundaries_say_of_which_outcomes_they_are() -> None:
    found = ghostsweep.read(SHOWN, OUT)
    drawn = dict(gallery._pictures(found, "part"))
    notes = {
        name: [" ".join(each.get_text().split()) for each in figure.texts if "part" in each.get_text()]
        for name, figure in drawn.items()
    }
    assert notes == {"phase_reaction_ms": ["part"], "band_reaction_ms": [f"part {gallery.USUAL}"]}


def test_export_and_show_have_it_too(tmp_path: Path, companion: Tables) -> None:
    from ghostsweep.cli import console
    from ghostsweep.running import exporting, showing

    exporting.export(NAME, out=OUT, to=tmp_path)
    runs, columns = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("runs", "columns"))
    judged = companion.outcomes()
    assert runs["task_outcome"].tolist() == judged["task_outcome"].tolist()
    meaning = columns.set_index("column").loc["task_outcome", "meaning"]
    assert meaning == " ".join(f"{name}: {said}" for name, said in onehot.OUTCOMES.meanings.items())
    exporting.export(USUAL, out=OUT, to=tmp_path)
    assert "task_outcome" not in pd.read_csv(tmp_path / "runs.csv", nrows=1)
    row = judged.iloc[1500]
    shown = showing.show(row["run_id"], out=OUT)
    assert (shown.outcome, shown.task_outcome) == (row["outcome"], row["task_outcome"])
    assert console._became(shown) == f"{row['outcome']} (of its task: {row['task_outcome']})"
    other = showing.show(ghostsweep.read(USUAL, OUT).runs["run_id"][0], out=OUT)
    assert other.task_outcome is None and console._became(other) == other.outcome
