"""Property: fields given by other fields become plain numbers, as if written by hand; mistakes are a line."""

import numpy as np
import pytest

import ghostsweep
from ghostsweep.analysis import cell_fields
from ghostsweep.errors import UsageError
from ghostsweep.plan import expand, groups
from ghostsweep.spec import Sweep, loads
from ghostsweep.spec.expressions import parse

GOOD = """
[run]
model = "rank_one"
timescale = 5
epochs = "max(1000, 30 / learning_rate)"

[axes]
learning_rate = [0.1, 0.04, 0.02, 0.01]
seed = { range = 3 }

[quick]
learning_rate = [0.1, 0.001]
"""


def made(epochs: object, **more: object) -> Sweep:
    axes = {"timescale": [5, 10], "learning_rate": [0.1, 0.01], "seed": [0, 1]}
    return ghostsweep.sweep("made", model="rank_one", epochs=epochs, axes=axes, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("max(1000, 30 / rate)", 1500.0),
        ("-(rate ** 2) + 1e-3", -0.0004 + 0.001),
        ("round(2.4) + ceil(2.1) + floor(2.9)", 7.0),
        ("min(3, 2, rate * 50) - +1", 0.0),
    ],
)
def test_the_grammar_is_arithmetic(text: str, value: float) -> None:
    assert parse(text).value({"rate": 0.02}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "rate.real", "[1][0]", "lambda: 1", "max(rate)", "round(1, 2)", "rate if 1 else 2", "1 < 2",
     "'a' * 3", "True + 1", "max(*rate, 1)", "max(1, 2, key=rate)", "1 // 2", "f(1)", "(", "1j", "x" * 501, "a := 2"],
)  # fmt: skip
def test_whatever_else_python_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        parse(text)


def test_runs_are_those_of_a_file_with_the_numbers_written_out() -> None:
    found = expand(loads(GOOD, name="given"))
    assert found.groupby("learning_rate")["epochs"].unique().map(list).to_dict() == {
        0.1: [1000], 0.04: [1000], 0.02: [1500], 0.01: [3000],
    }  # fmt: skip
    for rate, epochs in ((0.04, 1000), (0.02, 1500), (0.01, 3000)):
        plain = ghostsweep.sweep(
            "plain", model="rank_one", timescale=5, epochs=epochs, axes={"learning_rate": [rate], "seed": range(3)}
        )
        assert set(expand(plain)["run_id"]) == set(found.loc[found["learning_rate"] == rate, "run_id"])
    assert loads(GOOD, name="given", quick=True).n_runs == 6
    assert set(expand(loads(GOOD, name="given", quick=True))["epochs"]) == {1000, 30000}


def test_values_that_are_the_same_stay_in_one_grid_and_the_plan_counts_them() -> None:
    sweep = loads(GOOD, name="given")
    assert [(len(grid), grid.shared["epochs"]) for grid in sweep.grids] == [(6, 1000), (3, 1500), (3, 3000)]
    assert sum(group.runs * group.epochs for group in groups.planned(sweep)) == 6 * 1000 + 3 * 1500 + 3 * 3000


def test_defaults_several_axes_and_other_fields_may_be_named() -> None:
    runs = expand(made("timescale * n_units + round(1 / learning_rate)", confidence="2 * timescale"))
    assert (runs["epochs"] == runs["timescale"] * 100 + (1 / runs["learning_rate"]).round()).all()
    assert (runs["confidence"] == 2 * runs["timescale"]).all()
    assert len(runs) == 8


def test_epochs_that_follow_the_rate_make_no_cells_of_their_own_and_others_do() -> None:
    along = expand(loads(GOOD, name="given"))
    assert "epochs" not in cell_fields(along)
    assert "epochs" in cell_fields(expand(made(100)).assign(epochs=lambda t: np.where(t["timescale"] == 5, 10, 20)))


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ("30 / lerning_rate", "no such field of these runs: 'lerning_rate' in '30 / lerning_rate'; did you mean"),
        ("30 / task", "'task' in it is 'delayed_activation'; allowed: fields that are numbers"),
        ("30 / clip_norm", "'clip_norm' in it is null; allowed: fields that are numbers"),
        ("1 + epochs", "'epochs' in it is given by an expression too"),
        ("30 / (learning_rate - 0.1)", "no finite number at learning_rate = 0.1"),
        ("1 / learning_rate - 50", "found -40; allowed: a whole number >= 1"),
        ("30 / learning_rate.x", "found 'learning_rate.x' in it; allowed: numbers, names of fields"),
        ("30 / (learning_rate", "allowed: an expression of numbers"),
        ("many", "found 'many'; allowed: a whole number"),
        ("1e3", "found '1e3'; allowed: a whole number"),
    ],
)
def test_each_mistake_is_one_line_with_the_file_and_the_key(epochs: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(epochs)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("made, line ") and ": run.epochs: " in line and said in line, line


def test_a_later_phase_takes_numbers_alone() -> None:
    with pytest.raises(UsageError, match=r"phases.*epochs.*found '30 / learning_rate'; allowed: a whole number"):
        made(100, phases=[{"epochs": "30 / learning_rate"}])
