"""The schedule of a later phase: begins anew where the phase names one, goes on where it does not, and says which."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import Run, plan, train_one
from ghostsweep.cli.commands import app
from ghostsweep.spec import loads

FIELDS: dict[str, Any] = {"model": "canonical", "timescale": 10.0, "learning_rate": 3e-5, "dtype": "float64"}
COSINE: dict[str, Any] = {"schedule": "cosine", "decay_epochs": 20}
TEXT = """
[run]
model = "canonical"
timescale = 10.0
dtype = "float64"
epochs = 20
schedule = "cosine"
decay_epochs = 20
OPTIMIZER
[axes]
learning_rate = [3e-5]
[[phases]]
epochs = 20
"""


def ends(text: str, folder: Path) -> tuple[float, float]:
    """Loss at the start and the end of the last phase."""
    runs = ghostsweep.run(loads(text, name="x", folder=folder), out=folder).runs
    last = runs[runs["phase"] == runs["phase"].max()]
    return float(last["initial_loss"].iloc[0]), float(last["final_loss"].iloc[0])


@pytest.mark.parametrize("optimizer", ["", 'optimizer = "adam"', "warmup_epochs = 3", "momentum = 0.5"])
def test_a_phase_that_names_a_schedule_begins_it_anew(optimizer: str, tmp_path: Path) -> None:
    text = TEXT.replace("OPTIMIZER", optimizer)
    if "warmup" in optimizer:  # so that it, too, has come to its end
        text = text.replace("decay_epochs = 20", "decay_epochs = 17")
    first, last = ends(text + 'schedule = "cosine"\ndecay_epochs = 20\n', tmp_path / "named")
    assert abs(last - first) > 1e-7
    with pytest.warns(UserWarning, match="phases.*epochs: the learning rate is 0 throughout: the schedule goes on"):
        first, last = ends(text.replace('"cosine"', '"linear"'), tmp_path / "not")
    if not optimizer or "warmup" in optimizer:
        assert last == first
    more = text.replace("decay_epochs = ", "decay_epochs = 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, last = ends(more, tmp_path / "more")
    assert abs(last - first) > 1e-7


def test_what_begins_anew_has_another_id_and_what_goes_on_its_old_one() -> None:
    def of(last: str) -> Any:
        text = TEXT.replace("OPTIMIZER", "").replace("decay_epochs = 20", "decay_epochs = 50")
        return plan.expand(loads(text + last, name="x")).set_index("phase")["run_id"]

    on, anew, said = of(""), of("decay_epochs = 50"), of("decay_epochs = 50\nschedule_anew = false")
    assert on[1] == anew[1] and on[2] != anew[2] and said[2] == on[2]
    later = of("decay_epochs = 50\n[[phases]]\nepochs = 3\n")
    assert later[2] == anew[2]
    third = plan.expand(loads(TEXT.replace("OPTIMIZER", "") + "decay_epochs = 50\n[[phases]]\nepochs = 3", name="x"))
    assert third["schedule_anew"].tolist() == [0, 1, 0]


def test_a_schedule_that_begins_anew_is_that_of_a_first_phase() -> None:
    """With no memory but the parameters, the second phase is a run that begins where the first one ended."""
    first = train_one(Run(**FIELDS, **COSINE, epochs=20))
    second = train_one(Run(**FIELDS, **COSINE, epochs=20, schedule_anew=True), after=first)
    alone = train_one(Run(**FIELDS, **COSINE, epochs=20), initial=first.params)
    np.testing.assert_array_equal(second.loss, alone.loss)
    other = train_one(Run(**FIELDS, **COSINE | {"decay_epochs": 30}, epochs=20), after=first)
    assert other.run.schedule_anew and other.loss[-1] != other.loss[0]
    with pytest.warns(UserWarning, match="the learning rate is 0 throughout: the schedule goes on"):
        still = train_one(Run(**FIELDS, **COSINE, epochs=20), after=first)
    assert set(still.loss) == {still.loss[0]} and not still.run.schedule_anew


def test_moments_go_on_where_the_schedule_begins_anew() -> None:
    adam = FIELDS | COSINE | {"optimizer": "adam", "epochs": 20}
    first = train_one(Run(**adam))
    second = train_one(Run(**adam, schedule_anew=True), after=first)
    alone = train_one(Run(**adam), initial=first.params)
    assert second.loss[0] == alone.loss[0] and second.loss[1] != alone.loss[1]


def test_a_dry_run_says_which(tmp_path: Path) -> None:
    for last, words in (("decay_epochs = 50", "its cosine schedule begins anew"), ("", "its cosine schedule goes on")):
        text = TEXT.replace("OPTIMIZER", "").replace("decay_epochs = 20", "decay_epochs = 50")
        (tmp_path / "x.toml").write_text(text + last + "\n")
        said = CliRunner().invoke(app, ["run", str(tmp_path / "x.toml"), "--dry-run", "--no-calibrate"])
        assert said.exit_code == 0 and f"phase 2, {words}" in said.output


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_first_phase_begins_nothing_anew(schedule: str) -> None:
    with pytest.raises((ghostsweep.UsageError, ValueError), match="schedule_anew: "):
        train_one(Run(**FIELDS, **(COSINE if schedule == "cosine" else {}), epochs=3, schedule_anew=True))
    with pytest.raises(ghostsweep.UsageError, match="run.schedule_anew: "):
        loads(TEXT.replace("OPTIMIZER", "schedule_anew = true").replace('"cosine"', f'"{schedule}"'), name="x")
