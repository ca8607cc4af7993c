"""Tables have the columns that apply to their runs; a field that a run does not have is null where it is asked for."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cue_networks import FULL, network_tables
from drawn import continued, labelled, network, text, ys
from planted import runs_of

from ghostsweep import analysis, dynamics, figures
from ghostsweep.errors import UsageError
from ghostsweep.findings import words
from ghostsweep.paper import claims
from ghostsweep.paper.fig5 import fig5
from ghostsweep.paper.fig8 import fig8
from ghostsweep.store import tables
from ghostsweep.store.columns import with_fields

RESULTS = Path(__file__).parents[2] / "results"


def without(table: SimpleNamespace, *names: str) -> SimpleNamespace:
    return SimpleNamespace(**vars(table) | {"runs": table.runs.drop(columns=list(names))})


def test_a_field_that_no_run_has_is_null_with_its_kind_and_unit_and_all_else_stays() -> None:
    runs = tables.read("fig8b_confidence", RESULTS).runs.iloc[3:5]
    found = with_fields(runs, ["readout_l1", "delay_ms", "rank", "rng", "seed", "no_field"])
    assert [*found] == [*runs, "readout_l1", "delay_ms", "rank", "rng"]
    assert found[["readout_l1", "delay_ms", "rank", "rng"]].isna().all(axis=None)
    assert found.index.equals(runs.index) and found["readout_l1"].dtype == float and found["rank"].dtype == "Int64"
    assert found.attrs["units"]["delay_ms"] == "ms" and found.attrs["units"]["tau_ms"] == "ms"
    assert with_fields(runs, ["seed", "no_field"]) is runs
    assert "readout_l1" not in runs  # what is stored has what applies


def test_figure_8_is_drawn_of_rank_one_networks_which_have_no_readout() -> None:
    parts = [continued("confidence", [0.1, 10.0], 6), continued("confidence", [1.0], 5)]
    readout = continued("readout_l1", [0.1, 3.0, np.nan], 4)
    assert "b: networks trapped at c = 10" in text(fig8(*(without(part, "readout_l1") for part in parts), readout))
    alone = continued("confidence", [1.0], 4)
    panels = {ax.get_title(loc="left"): ax for ax in fig8(*parts, without(alone, "readout_l1")).axes}
    merged = alone.curves.merge(alone.runs, on="run_id")
    second = merged[merged["phase"] == 2].groupby("epoch")["accuracy"].mean()
    np.testing.assert_allclose(ys(labelled(panels["c"], "left alone")), second)


def test_claims_of_figure_8_on_readouts_that_nobody_scaled_do_not_hold() -> None:
    first = runs_of(["plateau"] * 3, run_id=list("abc"), seed=range(3), phase=1, parent=None, confidence=1.0)
    then = runs_of(["learned"] * 3, run_id=list("def"), seed=range(3), phase=2, parent=list("abc"), confidence=1.0)
    runs = pd.concat([first, then]).assign(input_ms=20.0, delay_ms=20.0, reaction_ms=10.0)
    found = claims.recovery._readout(SimpleNamespace(runs=runs))
    assert not found.holds and found.measured == "no readout was scaled"


def test_what_the_model_of_a_run_has_is_missing_where_its_column_is_not_there() -> None:
    parts = [network_tables("full_rank", task, {0: FULL}) for task in ("dcdt", "dmts")]
    with pytest.raises(UsageError, match=r"Figure 5, dcdt, runs: missing column\(s\) readout_l1; found"):
        fig5(without(parts[0], "readout_l1"), parts[1])
    other = without(parts[0], "readout_l1")
    other.runs["model"] = "two_bias"
    with pytest.raises(UsageError, match="Figure 5, dcdt: found a run of two_bias, dcdt, .*; allowed: full_rank"):
        fig5(other, parts[1])


@pytest.mark.parametrize("task", ["dcdt", None])
def test_loss_against_rate_of_cue_tasks_and_models_without_a_task_needs_no_timescale(task: str | None) -> None:
    found = network(np.geomspace(1e-3, 1e-1, 9), 3, (10_000, 100_000))
    runs = found.runs.drop(columns=["timescale", "confidence"])
    runs = runs if task is None else runs.assign(task=task, delay_ms=80.0)
    figure = figures.loss_against_learning_rate(SimpleNamespace(runs=runs, curves=found.curves), "one", (100_000,))
    line = labelled(figure.axes[0], "100k")
    mean = found.curves.merge(runs, on="run_id").query("epoch == 100_000").groupby("learning_rate")["loss"].mean()
    np.testing.assert_allclose(ys(line), mean)


def test_lines_by_a_field_that_no_run_has_are_one() -> None:
    found = network(np.geomspace(1e-3, 1e-1, 9), 3, (10_000,))
    figure = figures.loss_against_learning_rate(found, "one", by=["rank"])
    assert len(figure.axes[0].get_lines()) == 1
    with pytest.raises(UsageError, match=r"one, runs: missing column\(s\) no_field"):
        figures.loss_against_learning_rate(found, "one", by=["no_field"])


def test_epochs_that_differ_without_the_field_that_decides_them_are_a_range() -> None:
    runs = pd.DataFrame({"epochs": [100, 2_000, 300], "delay_ms": [0.0, 20.0, 40.0]})
    assert words.epochs(runs) == "100 to 2,000 epochs"
    assert words.epochs(runs, "delay_ms").startswith("100 epochs at a delay of 0 ms")


def test_networks_without_a_task_or_a_time_constant_are_refused_in_words() -> None:
    with pytest.raises(UsageError, match="task: found None; allowed: 'dcdt', 'dmts'"):
        dynamics.cue_inputs({"model": "pair@1"})
    of_gru = {"model": "gru@1", "task": "dcdt", "dt_ms": 5.0, "input_ms": 5.0, "delay_ms": 5.0, "reaction_ms": 5.0}
    with pytest.raises(UsageError, match="model: found 'gru@1'; allowed: a network with dt_ms and tau_ms"):
        dynamics.network_snapshots({"epochs": np.zeros(1)}, of_gru)


def test_a_reduction_without_the_field_that_is_asked_for_says_so() -> None:
    ends = pd.DataFrame({"outcome": ["learned"], "seed": [0], "learning_rate": [0.1]})
    with pytest.raises(UsageError, match="highest_kept needs the columns timescale"):
        analysis.highest_kept(ends)
