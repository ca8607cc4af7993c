"""Every verb takes a name, a folder, tables or a frame, says the same of each, and one clear line of anything else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import ghostsweep
from ghostsweep import UsageError
from ghostsweep.front.results import Tables
from ghostsweep.store import tables

OUT = Path(__file__).parents[2] / "results"
NAME = "cue_lr_delay"


@pytest.fixture(scope="module")
def found() -> Tables:
    return ghostsweep.read(NAME, OUT)


FRAMES: dict[str, Callable[..., Any]] = {
    "outcomes": ghostsweep.outcomes,
    "critical_lr": ghostsweep.critical_lr,
    "learnable_band": ghostsweep.learnable_band,
    "fit_power_law": ghostsweep.fit_power_law,
    "local_exponent": ghostsweep.local_exponent,
    "compare_scaling": ghostsweep.compare_scaling,
}


@pytest.mark.parametrize("verb", FRAMES)
def test_a_verb_says_the_same_of_a_name_a_folder_tables_and_a_frame(verb: str, found: Tables) -> None:
    call = FRAMES[verb]
    told = call(found)
    for results in (NAME, OUT / NAME, found.runs):
        pd.testing.assert_frame_equal(call(results, out=OUT), told)
    if verb in ("outcomes", "critical_lr", "learnable_band"):
        pd.testing.assert_frame_equal(getattr(found, verb)(), told)


@pytest.mark.parametrize("verb", [*FRAMES, "analyze", "phase_diagram", "band_plot", "scaling_plot"])
@pytest.mark.parametrize("wrong", [None, 3, ["x"], "no_such_sweep"])
def test_what_is_no_results_is_one_clear_line(verb: str, wrong: object) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(ghostsweep, verb)(wrong, out=OUT)
    assert "\n" not in str(caught.value)


def test_tables_draw_themselves_and_are_short(found: Tables, tmp_path: Path) -> None:
    for figure in (found.phase_diagram(), found.band_plot(), found.scaling_plot()):
        assert isinstance(figure, Figure)
    first, second = found.runs["run_id"][:2]
    assert isinstance(found.learning_curves(first, second), Figure)
    with pytest.raises(UsageError, match="cue_lr_delay: no run 00 in it"):
        found.learning_curves("00")
    assert len(repr(found)) < 600 and "650 of" in repr(found) and "delay_ms 20 to 200 (5)" in repr(found)
    assert "<table>" in found._repr_html_() and "<script" not in found._repr_html_()
    assert {"outcome", "delay_ms", "task", "learning_rate", "seed"} <= set(found.compact()) and len(
        found.compact().T
    ) < 14
    two = pd.concat([found.runs, found.runs.assign(n_units=50)])
    assert isinstance(ghostsweep.phase_diagram(two, x="delay_ms"), Figure)


def test_the_share_is_what_the_sweep_says(tmp_path: Path) -> None:
    axes = {"timescale": [10, 20], "learning_rate": {"geomspace": [1e-8, 1e-2, 13]}, "seed": range(4)}
    sweep = ghostsweep.sweep("quarter", model="canonical", epochs=300, axes=axes, fit={"share": 0.25})
    other = ghostsweep.run(sweep, out=tmp_path)
    assert set(ghostsweep.critical_lr(other)["share"]) == {0.25} == set(other.critical_lr()["share"])
    assert set(ghostsweep.critical_lr(other, share=0.5)["share"]) == {0.5}
    assert set(ghostsweep.critical_lr(other.runs)["share"]) == {0.5}
    assert set(ghostsweep.analyze(other).band["share"]) == {0.75}


def test_a_sweep_is_asked_by_name_file_or_itself(tmp_path: Path) -> None:
    sweep = ghostsweep.sweep("x", model="canonical", timescale=10, epochs=20, axes={"learning_rate": [1e-6, 1e-5]})
    found = ghostsweep.run(sweep, out=tmp_path)
    assert isinstance(found, Tables) and ghostsweep.load(sweep) is sweep
    path = sweep.save(tmp_path / "sweeps")
    assert (
        ghostsweep.status("x", tmp_path, sweeps=path.parent).state == "done" == ghostsweep.status(path, tmp_path).state
    )
    assert ghostsweep.list_sweeps(path.parent, out=tmp_path)["state"].tolist() == ["done"]
    assert str(sweep).splitlines()[1].strip() == "2 runs: learning_rate 1e-06 .. 1e-05 (2)"


def test_a_row_is_a_run_again() -> None:
    for name in (NAME, "gru_lr_delay", "flip_flop_lr_rank"):
        there = ghostsweep.read(name, OUT)
        row = there.runs.iloc[3]
        assert there.run(row["run_id"]).run_id == row["run_id"]
    with pytest.raises(UsageError, match="no run 00 in it"):
        there.run("00")


def test_the_package_offers_its_own_names_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, ghostsweep; print(*dir(ghostsweep)); print('jax' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    names, is_jax = done.stdout.splitlines()
    modules = {"analysis", "declare", "dynamics", "figures", "theory"}
    assert set(names.split()) == {*ghostsweep.__all__, *modules, "__version__", "__doc__"} and is_jax == "False"


RUNS: dict[str, dict[str, Any]] = {
    "rank one": {"model": "rank_one", "timescale": 5},
    "low rank": {"model": "low_rank", "rank": 2, "timescale": 5},
    "dcdt": {"model": "full_rank", "task": "dcdt", "input_ms": 10, "delay_ms": 10, "reaction_ms": 10},
    "canonical": {"model": "canonical", "timescale": 5},
}


@pytest.mark.parametrize("name", RUNS)
def test_simulating_the_end_gives_the_loss_of_one_epoch_more(name: str) -> None:
    fields = {"n_units": 10, "dtype": "float64"} | RUNS[name]
    fields = {key: value for key, value in fields.items() if name != "canonical" or key != "n_units"}
    history = ghostsweep.train_one(ghostsweep.Run(learning_rate=0.01, epochs=20, **fields))
    again = ghostsweep.train_one(ghostsweep.Run(learning_rate=0.01, epochs=1, **fields), initial=history.params)
    found = history.simulate()
    assert found.loss == pytest.approx(again.loss[0], rel=1e-12)
    assert found.accuracy == pytest.approx(again.accuracy[0])
    assert history.curve["loss"].tolist() == history.loss.tolist() and len(repr(history)) < 400
    if name == "canonical":
        assert found.outputs is None and found.states is None
    else:
        assert found.outputs is not None and found.targets is not None and found.states is not None
        assert found.outputs.shape == found.targets.shape and len(found.states) == len(found.targets) + 1
    assert len(history.plot().axes) == 3 and "History of" in repr(history) and "<table>" in history._repr_html_()


def test_the_states_are_those_that_the_outputs_are_read_from() -> None:
    run = ghostsweep.Run(model="rank_one", timescale=6, n_units=9, learning_rate=0.1, epochs=5, dtype="float64")
    history = ghostsweep.train_one(run)
    found = history.simulate()
    assert found.states is not None and found.outputs is not None
    kappa = found.states[1:, :, 0]  # the output is read after each step
    np.testing.assert_allclose(found.outputs, 1 / (1 + np.exp(-10 * (kappa - 1))), rtol=1e-10)
    with pytest.raises(UsageError, match="params: found"):
        ghostsweep.simulate(run, {"m": history.params["m"]})


def test_cells_in_which_nothing_learns_are_told() -> None:
    found = ghostsweep.analyze("flip_flop_lr_rank", out=OUT)
    assert "no rate learns at rank = 1; rank = 2:" in found.summary
    assert set(found.critical.loc[~found.critical["learns"], "rank"]) == {1, 2}
    assert found.summary.splitlines()[0].startswith("critical rate ") and found.summary in repr(found)
    law = ghostsweep.analyze("canonical_lr_timescale_refined", out=OUT)
    assert law.summary == "critical rate 9.15 timescale^-5.0001 (-5.0005 to -4.9997), 9 values"
    assert tables.Tables in type(ghostsweep.read(NAME, OUT)).__mro__
