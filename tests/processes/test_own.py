"""Users' own models and tasks: the examples, what tells an edited file, and mistakes in them, a line each."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import UsageError, plan
from ghostsweep.analysis import levels
from ghostsweep.cli.commands import app
from ghostsweep.declare.field import RESULTS
from ghostsweep.running import ledger
from ghostsweep.spec import Run, load, loads, shape_of
from ghostsweep.store import tables
from ghostsweep.training import probe, train
from ghostsweep.training.evaluation import evaluate, through_outputs

SWEEPS = Path(__file__).parents[2] / "sweeps"
EXAMPLES = ("gru_lr_delay", "flip_flop_lr_rank", "two_layer_lr_scale")
MODEL = """
import jax, jax.numpy as jnp
from ghostsweep.declare import Field, Model, Task, Trials

def initial(shape, traced, key):
    return {"w": jnp.full((shape.n_hidden,), traced["scale"], shape.dtype)}

def loss(shape, params, traced):
    error = (params["w"] - 1) ** 2
    return error.mean(), (jnp.abs(params["w"] - 1) < 0.5).mean(dtype=shape.dtype)

OWN = Model("own", (
    Field("n_hidden", "hidden units", kind=int, default=3, ge=1, traced=False),
    Field("scale", "size of the initial weights", "mV", default=0.5, gt=0),
), initial, loss=loss)
"""
SWEEP = """
[run]
model = "own.py"
epochs = 30
learned_loss = 0.01
[axes]
learning_rate = { logspace = [-2, 1, 7] }
scale = [0.1, 0.5]
seed = { range = 2 }
"""


def write(folder: Path, model: str = MODEL, sweep: str = SWEEP) -> Path:
    (folder / "own.py").write_text(model)
    (folder / "x.toml").write_text(sweep)
    return folder / "x.toml"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.seldom] * (name != "two_layer_lr_scale")) for name in EXAMPLES]
)
def test_an_example_trains_and_is_fitted(name: str, tmp_path: Path) -> None:
    sweep = load(SWEEPS / f"{name}.toml", quick=True)
    found = ghostsweep.run(sweep, out=tmp_path)
    assert len(found.runs) == sweep.n_runs and ledger.status(sweep, tmp_path).state == "done"
    outcomes = set(ghostsweep.outcomes(found.runs)["outcome"])
    assert len(outcomes) > 1 and ("learned" in outcomes or name != "two_layer_lr_scale")
    assert len(ghostsweep.analyze(found).critical) > 0
    assert ghostsweep.plot(found.name, out=tmp_path, to=tmp_path / "figures")


def test_a_table_has_what_an_own_model_says_of_itself(tmp_path: Path) -> None:
    """Units and symbols of fields, the theory's rate, the floor of its loss, the size of its gradients."""
    model = MODEL.replace('"mV", default', '"mV", symbol="s", default').replace(
        "loss=loss)",
        "loss=loss, theory=lambda f: 0.5 + f['scale'], floor=lambda f: 0.25, gradient_unit=lambda f: 1e-9)",
    )
    found = ghostsweep.run(load(write(tmp_path, model=model)), out=tmp_path / "results")
    (tmp_path / "own.py").unlink()
    runs = ghostsweep.read("x", tmp_path / "results").runs
    assert runs["theory_lr"].tolist() == (0.5 + runs["scale"]).tolist()
    assert runs.attrs["symbols"]["scale"] == "s" and runs.attrs["units"]["scale"] == "mV"
    told = levels(runs)
    assert set(told.floor) == {0.25} and set(told.unit) == {1e-9} and told.theory.tolist() == runs["theory_lr"].tolist()
    figure = ghostsweep.phase_diagram(found.runs, x="scale")
    (line,) = (line for line in figure.axes[0].get_lines() if line.get_label() == "critical rate by theory")
    assert list(line.get_xdata()) == [0.1, 0.5] and list(line.get_ydata()) == [0.6, 1.0]
    assert figure.axes[0].get_xlabel() == "scale s (mV)"


def test_reading_needs_neither_the_file_nor_jax(tmp_path: Path) -> None:
    path = write(tmp_path)
    ghostsweep.run(load(path), out=tmp_path / "results")
    (tmp_path / "own.py").unlink()
    code = """
import sys
sys.modules["jax"] = None
import ghostsweep
found = ghostsweep.read("x", "results")
print(found.runs.attrs["units"]["scale"], found.runs["n_hidden"].dtype, sorted(found.runs["scale"].unique()))
print(ghostsweep.analyze(found).critical["boundary"].tolist(), found.runs["model"].iloc[0].partition("@")[0])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "mV int64 [np.float64(0.1), np.float64(0.5)]"
    assert "own" in done.stdout.splitlines()[1]


def test_columns_are_those_that_apply(tmp_path: Path) -> None:
    found = ghostsweep.run(load(write(tmp_path)), out=tmp_path / "results").runs
    assert not {"task", "n_units", "timescale", "confidence"} & set(found) and "scale" in found


def test_an_edited_file_is_never_mixed_with_the_old_one(tmp_path: Path) -> None:
    path = write(tmp_path)
    first = ghostsweep.run(load(path), out=tmp_path / "results").runs
    write(tmp_path, "# a comment\n\n" + MODEL)
    assert ledger.status(load(path), tmp_path / "results").state == "done"
    write(tmp_path, MODEL.replace("** 2", "** 4"))
    edited = load(path)
    assert ledger.status(edited, tmp_path / "results").left
    assert ledger.status(load(path, execute=False), tmp_path / "results").state == "stale"
    assert not set(plan.expand(edited)["run_id"]) & set(first["run_id"])
    second = ghostsweep.run(edited, out=tmp_path / "results").runs
    assert len(second) == len(first) and not second["final_loss"].equals(first["final_loss"])


def test_a_declared_version_trains_nothing_again_for_an_edit(tmp_path: Path) -> None:
    versioned = MODEL.replace("loss=loss)", 'loss=loss, version="2")')
    path = write(tmp_path, versioned)
    before = plan.expand(load(path))
    assert before["model"].unique().tolist() == ["own@2"]
    write(tmp_path, versioned.replace("hidden units", "units within"))
    assert plan.expand(load(path))["run_id"].equals(before["run_id"])


PHASED = (
    SWEEP
    + """
[[phases]]
epochs = 5
[phases.axes]
learning_rate = [0.1, 0.2, 0.3]
[[phases]]
epochs = 7
[quick]
scale = [0.1]
[[quick.phases]]
axes.learning_rate = [0.1]
"""
)


@pytest.mark.parametrize("quick", [False, True])
def test_runs_of_phases_are_counted_without_executing_anything(tmp_path: Path, quick: bool) -> None:
    path = write(tmp_path, sweep=PHASED)
    planned = plan.expand(load(path, quick=quick)).groupby("phase").size()
    state = ledger.status(load(path, quick=quick, execute=False), tmp_path)
    assert planned.tolist() == [group.runs for group in state.planned] and np.isnan(state.core_seconds_left)
    if quick:
        ghostsweep.run(load(path, quick=quick), out=tmp_path / "results")
        again = ledger.status(load(path, quick=quick, execute=False), tmp_path / "results")
        assert (again.state, again.done) == ("done", planned.sum())


def test_a_refined_sweep_is_done_without_executing_anything(tmp_path: Path) -> None:
    path = write(tmp_path, sweep=SWEEP + "[refine]\nlevels = 2\n")
    first = ledger.status(load(path, execute=False), tmp_path).runs
    assert first == ledger.status(load(path), tmp_path).runs
    found = ghostsweep.run(load(path), out=tmp_path / "results").runs
    state = ledger.status(load(path, execute=False), tmp_path / "results")
    assert len(found) > first and (state.state, state.runs, state.done) == ("done", len(found), len(found))


def test_what_changed_is_said_in_words(tmp_path: Path) -> None:
    path, out = write(tmp_path), str(tmp_path / "results")

    def said(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, str(path), "--out", out])
        assert result.exit_code == 0, result.output
        return result.output

    said("run")
    write(tmp_path, MODEL.replace("** 2", "** 4"))
    assert "stale: own.py has changed: runs of another text do not count" in said("status")
    assert "own.py has changed: runs of another text do not count" in said("run") and "changed" not in said("status")
    write(tmp_path)
    assert f"{28:,} runs, 28 done, 0 to train (stale)" in said("status")  # the first text again: its runs are kept
    write(tmp_path, MODEL.replace("loss=loss)", 'loss=loss, version="5")'))
    said("run")
    write(tmp_path, MODEL.replace("loss=loss)", 'loss=loss, version="5", unroll=2)'))
    assert "own.py has changed: runs are kept as long as it declares the same version" in said("status")
    refused = CliRunner().invoke(app, ["run", str(path), "--out", out, "--expect", "0" * 16]).exception
    assert isinstance(refused, UsageError) and "x.toml: found another text of it or of its models" in str(refused)


def test_an_edited_file_of_a_declared_version_is_what_is_trained_in_the_same_process(tmp_path: Path) -> None:
    versioned = MODEL.replace("loss=loss)", 'loss=loss, version="3")')
    first = ghostsweep.run(load(write(tmp_path, versioned)), out=tmp_path / "first").runs
    second = ghostsweep.run(load(write(tmp_path, versioned.replace("** 2", "** 4"))), out=tmp_path / "second").runs
    assert first["run_id"].equals(second["run_id"]) and not first["initial_loss"].equals(second["initial_loss"])


def test_a_model_without_a_file_is_known_by_the_text_of_its_functions_or_declares_a_version() -> None:
    there: dict[str, Any] = {}
    exec(MODEL, there)
    with pytest.raises(UsageError, match="own: found no text of its functions, .*; allowed: version = a text"):
        Run(model=there["OWN"], learning_rate=0.1, epochs=1)
    exec(MODEL.replace("loss=loss)", 'loss=loss, version="4")'), there)
    assert Run(model=there["OWN"], learning_rate=0.1, epochs=1).model == "own@4"


def test_list_and_status_execute_nothing(tmp_path: Path) -> None:
    write(tmp_path, "raise SystemExit(3)\n")
    command = [sys.executable, "-m", "ghostsweep"]
    for verb in (["list"], ["status", "x"]):
        options = ["--sweeps", str(tmp_path), "--out", str(tmp_path / "results")]
        done = subprocess.run([*command, *verb, *options], capture_output=True, text=True)
        assert done.returncode == 0 and "x" in done.stdout, done.stderr
    done = subprocess.run([*command, "run", "x", *options], capture_output=True, text=True)
    assert done.returncode == 2 and "own.py, line 1: SystemExit: 3; traceback in " in done.stderr


def test_a_worker_of_another_process_has_the_text(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    path = write(tmp_path)
    sweep = load(path)
    (tmp_path / "own.py").write_text(MODEL.replace("** 2", "** 4"))  # changed before the worker begins
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = ghostsweep.run(sweep, out=tmp_path / "results", executor=pool, shards=2).runs
    alone = ghostsweep.run(sweep, out=tmp_path / "alone").runs
    np.testing.assert_array_equal(found["final_loss"], alone["final_loss"])


def test_a_run_is_shown_and_trained_again_with_the_text_stored(tmp_path: Path) -> None:
    found = ghostsweep.run(load(write(tmp_path)), out=tmp_path / "results")
    (tmp_path / "own.py").unlink()
    shown = ghostsweep.show(found.runs["run_id"].iloc[0], out=tmp_path / "results", rerun=True)
    assert shown.again is not None and shown.again.apart_from is None and shown.fields["scale"] == 0.1
    assert json.loads((tmp_path / "results/x/meta.json").read_text())["code"]["own.py"]["text"] == MODEL


def test_autodiff_through_the_open_interface_equals_the_hand_written_kernel() -> None:
    from ghostsweep.models import model_of, task_of

    run = Run(model="rank_one", timescale=6, n_units=12, learning_rate=0.1, epochs=1, dtype="float64")
    shape = shape_of(run.fields)
    columns = {name: np.array([value]) for name, value in run.fields.items() if value is not None}
    with train.precision(shape):
        state, traced = train.start(shape, columns)
        params = {name: value[0] for name, value in state.params.items()}
        one = {name: value[0] for name, value in traced.items()}
        task = task_of(shape)
        assert task is not None
        plain = through_outputs(model_of(shape), task, shape, params, one)
        fast = evaluate(shape, params, one)
    assert float(plain.loss) == pytest.approx(float(fast.loss), rel=1e-12)
    for name, grad in fast.grads.items():
        np.testing.assert_allclose(plain.grads[name], grad, rtol=1e-9, atol=1e-14)


SCALE = 'Field("scale", "size of the initial weights", "mV", default=0.5, gt=0)'
MISTAKES: dict[str, tuple[str, str, str]] = {
    "syntax": ("def initial(shape, traced, key):", "def initial(shape, traced, key)", r"own.py, line 5: SyntaxError: "),
    "import": ("import jax, jax.numpy as jnp", "import jaxx", r"own.py, line 2: ModuleNotFoundError: No module named"),
    "name": ('Model("own"', 'Model("my own"', r"own.py: model name: found 'my own'; allowed: letters, digits"),
    "version": ("loss=loss)", 'loss=loss, version="a@b")', r"version: found 'a@b'; allowed: a text without @"),
    "number of version": ("loss=loss)", "loss=loss, version=2)", r"version: found 2; allowed: a text"),
    "no model": ("OWN = Model(", "own = (lambda *a, **b: None)(", r"found 0 of them; allowed: .*Model in the file"),
    "two models": ("OWN = Model(", "TWO = OWN = Model(", r"found 2 of them; allowed: FILE.py:NAME with "),
    "twice": ('Field("scale"', 'Field("n_hidden"', r"fields: found n_hidden twice; allowed: every name once"),
    "no name": ('Field("scale"', 'Field("a b"', r"fields: found Field\(name='a b'.*; allowed: Field\(NAME"),

           "no field": (SCALE, "'scale'", "fields: found 'scale'"),
    "default": ("default=0.5", "default=-0.5", r"default of scale: found -0.5; allowed: a finite number > 0"),
    "default of another kind": ("default=3", "default=3.5", r"default of n_hidden: found 3.5; allowed: a whole number"),
    "no loss": (", loss=loss", "", r"own: found none of them; allowed: one of outputs, step \(with readout\), loss"),
    "no function": ("initial, loss=loss", "None, loss=loss", r"own, initial: found None; allowed: a function"),
    "of the engine": ('Field("scale"', 'Field("seed"', r"own, field seed: .*; allowed: another name"),
    "of the results": ('Field("scale"', 'Field("final_loss"', r"own, field final_loss: .*; allowed: another name"),
    "no dict": ('{"w": jnp.full((shape.n_hidden,), traced["scale"], shape.dtype)}', "1.0",
        r"own, initial: found one array; allowed: a dict"),
    "wrong dtype": ("shape.dtype)}", "jnp.int32)}", r"own, initial: found w of int32; allowed: a dict of float32"),
    "no parameter": ("return {", "return {} and {",
        r"own, initial: found an empty dict; allowed: a dict of float32 arrays"),
    "missing field": ('traced["scale"]', 'traced["size"]', r"own.py, line 6: own, initial: KeyError: 'size'"),
    "missing size": ("shape.n_hidden,", "shape.hidden,",
        r"own.py, line 6: own, initial: AttributeError: hidden: no size"),
    "missing parameter": ('params["w"] - 1) ** 2', 'params["v"] - 1) ** 2',
        r"own.py, line 9: own, loss: KeyError: 'v'"),
    "exception": ("    error = ", "    raise ValueError('no')\n    error = ",
        r"own.py, line 9: own, loss: ValueError: no; traceback"),
    "branch on a number": ("    error = ", "    if params['w'][0] > 0: pass\n    error = ",
        r"own.py, line 9: own, loss: TracerBool"),
    "no scalar": ("error.mean(), (", "error, (", r"own.py.*own, loss: TypeError: Gradient only defined for scalar"),
    "one value": ("    return error.mean(), (", "    return error.mean()\n    (", r"own.py.*own, loss: "),
    "accuracy of no scalar": (".mean(dtype=shape.dtype)", "",
        r"own, accuracy: found shape \(3,\); allowed: shape \(\)"),
    "accuracy of another dtype": (".mean(dtype=shape.dtype)", ".sum()",
        r"own, accuracy: found int32; allowed: float32"),
    "side effect": ("OWN = Model", "open('/nonexistent/x')\nOWN = Model", r"own.py, line \d+: FileNotFoundError: "),
    "exit": ("OWN = Model", "import sys; sys.exit()\nOWN = Model", r"own.py, line \d+: SystemExit: "),
}  # fmt: skip
FILES: dict[str, tuple[str, str, str]] = {
    "no file": ('"own.py"', '"none.py"', r"none.py: cannot be read: No such file"),
    "no name": ('"own.py"', '"own.py:ELSE"', r"own.py: model ELSE: not there; allowed: OWN"),
    "another thing": ('"own.py"', '"own.py:initial"', r"own.py: model initial: found a function; allowed: OWN"),
    "no module": ('"own.py"', '"no_such.module:OWN"', r"model: found 'no_such.module:OWN'; allowed: FILE.py"),
    "a module without a name": ('"own.py"', '"json:"', r"model: found 'json:'; allowed: FILE.py"),
    "unknown field": ("epochs = 30", "epochs = 30\nscales = 1.0", r"scales: no such field; did you mean 'scale'"),
    "field of another model": ("epochs = 30", "epochs = 30\nn_units = 3",
        r"n_units: model 'own@"),
    "value": ("scale = [0.1, 0.5]", "scale = [0.1, -0.5]", r"axes.scale: found -0.5; allowed: a finite number > 0"),
    "kind": ("epochs = 30", "epochs = 30\nn_hidden = 1.5", r"n_hidden: found 1.5; allowed: a whole number >= 1"),
    "a task": ("epochs = 30", 'epochs = 30\ntask = "dcdt"',
        r"task: model 'own@.* has no task"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_file_is_one_line(case: str, tmp_path: Path) -> None:
    before, after, line = MISTAKES[case]
    assert before in MODEL
    path = write(tmp_path, MODEL.replace(before, after), SWEEP.replace("scale = [0.1, 0.5]\n", ""))
    with pytest.raises(UsageError, match=line) as error:
        probe.prove({shape_of(row) for row in plan.expand(load(path)).to_dict("records")})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_a_sweep_is_one_line(case: str, tmp_path: Path) -> None:
    before, after, line = FILES[case]
    assert before in SWEEP
    path = write(tmp_path, MODEL, SWEEP.replace(before, after))
    with pytest.raises(UsageError, match=line) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_task_of_wrong_shapes_is_found_before_compilation(tmp_path: Path) -> None:
    text = (SWEEPS / "flip_flop.py").read_text()
    sweep = (SWEEPS / "flip_flop_lr_rank.toml").read_text()
    wrong = {
        "shape.trials, 3)": ("shape.trials, 2)", r"inputs of shape \(25, 16, 2\)"),
        "(targets != 0).astype(shape.dtype)": (
            "jnp.ones((7,))",
            r"weights of shape \(7,\); allowed: a shape that broad",
        ),
        "return jnp.where(right, trials.weights, 0).sum()": ("return right", r"flip_flop.py.*flip_flop, "),
    }
    for before, (after, line) in wrong.items():
        assert before in text
        (tmp_path / "flip_flop.py").write_text(text.replace(before, after).replace('version="1"', 'version=""'))
        found = loads(sweep, name="x", folder=tmp_path, quick=True)
        with pytest.raises(UsageError, match=line) as error:
            probe.prove({shape_of(row) for row in plan.expand(found).to_dict("records")})
        assert len(str(error.value).splitlines()) == 1


def test_a_run_may_be_given_the_model_itself(tmp_path: Path) -> None:
    shutil.copy(SWEEPS / "gru.py", tmp_path / "a_gru.py")
    sys.path.insert(0, str(tmp_path))
    try:
        from a_gru import GRU  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    fields: dict[str, Any] = {"task": "dcdt", "input_ms": 10.0, "delay_ms": 10.0, "reaction_ms": 10.0}
    history = ghostsweep.train_one(Run(model=GRU, n_units=8, learning_rate=1.0, epochs=40, **fields))
    assert history.loss[-1] < history.loss[0]


def test_names_of_results_are_kept_from_fields() -> None:
    assert {*RESULTS} == tables.RESULT_NAMES
