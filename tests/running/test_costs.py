"""Cost before work: what is counted from axes is what is planned run by run, states, and what a dry run says."""

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import UsageError, plan
from ghostsweep.cli.app import app
from ghostsweep.declare import Shape
from ghostsweep.machine import resources
from ghostsweep.models.sizes import parameter_shapes
from ghostsweep.plan import expanding, groups
from ghostsweep.plan.groups import Group
from ghostsweep.running import estimating, ledger
from ghostsweep.spec import Sweep, load, loads, run
from ghostsweep.store import parts, tables
from ghostsweep.training import calibrate, engine

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "sweeps").glob("*.toml"))
AXES = {
    "task": st.lists(st.sampled_from(["dcdt", "dmts"]), min_size=1, max_size=2, unique=True),
    "confidence": st.lists(st.floats(0.1, 9), min_size=1, max_size=2, unique=True),
    "rank": st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True),
    "dt_ms": st.lists(st.sampled_from([2.0, 2.5, 5.0]), min_size=1, max_size=3, unique=True),
    "noise_sigma": st.lists(st.sampled_from([0.0, 0.1, 0.2]), min_size=1, max_size=3, unique=True),
    "momentum": st.lists(st.sampled_from(["none", 0.5, 0.9]), min_size=1, max_size=3, unique=True),
    "epochs": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
}
PHASES = """
[[phases]]
epochs = 3
axes.learning_rate = [0.1, 0.2]
axes.confidence = [1.0, 2.0, 3.0]
[[phases]]
axes.optimizer = ["adam", "lion"]
axes.epochs = [4, 5]
"""
SMALL = """
[run]
model = "canonical"
timescale = 10.0
epochs = 60
[axes]
learning_rate = { logspace = [-7, -3, 8] }
[record]
points = 3
[quick]
epochs = 50
"""


def counted(found: list[Group]) -> dict[tuple[Shape, int, int], int]:
    return {(group.shape, group.epochs, group.phase): group.runs for group in found}


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({}, optional=AXES), st.booleans())
def test_groups_counted_from_axes_are_those_of_the_runs(axes: dict[str, list[Any]], continued: bool) -> None:
    shared = {"rank": 2, "task": "'dcdt'", "epochs": 7, "learning_rate": 0.01}
    lines = [f"{key} = {value}" for key, value in shared.items() if key not in axes]
    lines = ["[run]", "model = 'low_rank'", "input_ms = 30\ndelay_ms = 20\nreaction_ms = 30", *lines, "[axes]"]
    text = "\n".join([*lines, *(f"{key} = {values!r}" for key, values in axes.items())])
    sweep = loads(text + (PHASES if continued and "momentum" not in axes else ""), name="x")
    found = groups.planned(sweep)
    assert counted(found) == counted(groups.of(plan.Plan.of(sweep)))
    assert sum(group.runs for group in found) == sweep.n_runs


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_groups_of_the_sweeps_here(path: Path) -> None:
    sweep = load(path, quick=True) if "[quick]" in path.read_text() else load(path)
    assert counted(groups.planned(sweep)) == counted(groups.of(plan.Plan.of(sweep)))
    for group in groups.planned(sweep)[:3]:
        sizes = [1 if not shape else shape[0] * (shape[1] if shape[1:] else 1) for shape in shapes_of(group)]
        assert groups.n_parameters(group.shape) == sum(sizes)


def shapes_of(group: Group) -> list[tuple[int, ...]]:
    return list(parameter_shapes(group.shape).values())


def test_a_million_runs_are_counted_without_planning_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "expand", None)
    refined = loads(
        "[axes]\ntimescale = { linspace = [1, 64, 64] }\nlearning_rate = { logspace = [-9, -1, 1025] }\n"
        'seed = { range = 32 }\n[run]\nmodel = "rank_one"\nepochs = 10\n[refine]\nlevels = 3',
        name="refined",
    )
    for sweep, runs in ((load(ROOT / "sweeps/canonical_dense.toml"), 1024**2), (refined, 64 * 129 * 32)):
        state = ghostsweep.status(sweep, tmp_path)
        assert (state.runs, state.done, state.state) == (runs, 0, "new")
        assert state.growing == (sweep is refined)


@pytest.mark.parametrize(
    ("timescales", "held", "most"),
    [(["5, 55"], 65, 130), (["5, 30", "30, 55"], 200, 270), (["5, 30", "20, 45"], 200, 270)],
    ids=["one grid", "two grids", "two that share runs"],
)
def test_bytes_of_a_plan(timescales: list[str], held: int, most: int) -> None:
    """Of each run; with all columns written out the first would hold 160 too, and 460 with texts for each run."""
    axes = "\n[[axes]]\nlearning_rate = { logspace = [-9, -1, 400] }\nseed = { range = 10 }"
    text = '[run]\nmodel = "canonical"\nepochs = 9' + "".join(
        f"{axes}\ntimescale = {{ range = [{each}] }}" for each in timescales
    )
    plan.Plan.of(loads(text.replace("400", "4"), name="first"))  # what is imported and kept once
    sweep = loads(text, name="x")
    tracemalloc.start()
    try:
        whole = plan.Plan.of(sweep)
        kept = [tracemalloc.get_traced_memory()]
        planned = ledger.work(whole, tables.Stored.nothing())
        assert ledger.Status.of(planned, {}).runs == len(whole.runs)
        chunks = plan.chunks(planned, 1, 1e8)
        kept.append(tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert sum(len(chunk.runs) for chunk in chunks) == len(whole.runs)
    for bytes_held, peak in kept:
        assert bytes_held < held * len(whole.runs)
        assert peak < most * sweep.n_runs


def test_the_list_of_all_sweeps_plans_what_is_neither_new_nor_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = dict[str, int]()

    def counting(sweep: Sweep) -> pd.DataFrame:
        runs = expanding.expand(sweep)
        planned[sweep.name] = planned.get(sweep.name, 0) + len(runs)
        return runs

    monkeypatch.setattr(plan.planned, "expand", counting)
    states = [ghostsweep.status(load(path, execute=False), ROOT / "results") for path in SWEEPS]
    asked = {state.sweep.name: state for state in states}
    assert not {name for name in planned if asked[name].state == "new"}
    assert sum(planned.values()) < 50_000 < sum(state.sweep.n_runs for state in states) / 50


def test_two_grids_that_share_runs_count_them_once(tmp_path: Path) -> None:
    two = "[[axes]]\nseed = [0, 1]\nlearning_rate = [1e-5]\n[[axes]]\nseed = [1, 2]\nlearning_rate = [1e-5]\n"
    sweep = loads(SMALL[: SMALL.index("[axes]")] + two, name="x")
    assert ghostsweep.status(sweep, tmp_path).runs == 3


def test_states_go_from_new_to_done_and_stale(tmp_path: Path) -> None:
    sweep = loads(SMALL, name="x")
    assert ghostsweep.status(sweep, tmp_path).state == "new"
    ghostsweep.run(sweep, out=tmp_path)
    done = ghostsweep.status(sweep, tmp_path)
    assert (done.state, done.done, done.runs, done.curve_rows) == ("done", 8, 8, 24)
    grown = loads(SMALL.replace("[-7, -3, 8]", "[-7, -3, 15]"), name="x")
    state = ghostsweep.status(grown, tmp_path)
    assert (state.state, state.done, state.runs) == ("stale", 8, 15)
    commented = loads(SMALL + "# a word\n", name="x")
    assert ghostsweep.status(commented, tmp_path).state == "stale"
    ghostsweep.run(commented, out=tmp_path)  # nothing to train, and the tables say which text they are of
    assert ghostsweep.status(commented, tmp_path).state == "done"
    assert len(tables.read_meta(tmp_path / "x")["sessions"]) == 1


def test_another_engine_makes_tables_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = loads(SMALL, name="x")
    ghostsweep.run(sweep, out=tmp_path)
    grown = loads(SMALL.replace("[-7, -3, 8]", "[-7, -3, 15]"), name="x")
    assert ghostsweep.status(grown, tmp_path).done == 8
    for module in (ledger, run):
        monkeypatch.setattr(module, "ENGINE_VERSION", 2)
    assert ghostsweep.status(sweep, tmp_path).state == "stale"
    assert ghostsweep.status(grown, tmp_path).done == 0


def test_parts_without_tables_are_a_partial_sweep(tmp_path: Path) -> None:
    sweep = loads(SMALL, name="x")
    found = ghostsweep.run(sweep, out=tmp_path)
    half = found.runs.iloc[:4]
    (tmp_path / "y").mkdir()
    parts.write(tmp_path / "y", half, found.curves[found.curves["run_id"].isin(half["run_id"])])
    state = ghostsweep.status(loads(SMALL, name="y"), tmp_path)
    assert (state.state, state.done, state.runs) == ("partial", 4, 8)
    assert tables.row_counts(tmp_path / "y") is None


def test_a_table_with_rows_missing_is_not_done(tmp_path: Path) -> None:
    sweep = loads(SMALL, name="x")
    found = ghostsweep.run(sweep, out=tmp_path)
    stored.merge(tmp_path / "x", found.runs["run_id"][:5], **found.meta)
    state = ghostsweep.status(sweep, tmp_path)
    assert (state.state, state.done) == ("done", 8)  # three of them beside the tables
    for kind in ("runs", "curves"):
        (tmp_path / f"x/unplanned_{kind}.parquet").unlink()
    with pytest.warns(UserWarning, match="unplanned_runs.parquet: is gone"):
        state = ghostsweep.status(sweep, tmp_path)
    assert (state.state, state.done) == ("partial", 5)


def test_an_estimate_by_the_constants_of_the_plan(tmp_path: Path) -> None:
    sweep = loads(SMALL.replace("epochs = 60", "epochs = 60_000_000"), name="x")
    found = estimating.estimate(sweep, out=tmp_path, calibrate=False, devices=2)
    (cost,) = found.costs
    assert (cost.width, cost.chunks, cost.group.runs, cost.measured) == (8, 1, 8, False)
    assert cost.run_seconds == pytest.approx(2.7e-9 * 60e6 * 8 / 2)
    assert found.run_seconds == pytest.approx(cost.run_seconds, rel=1e-3)
    narrow = estimating.estimate(sweep, out=tmp_path, calibrate=False, devices=2, memory_bytes=2 * 2 * 16 * 8 * 64)
    assert (narrow.costs[0].width, narrow.costs[0].chunks) == (4, 2)
    with pytest.raises(UsageError, match="memory: found"):
        estimating.estimate(sweep, out=tmp_path, calibrate=False, memory_bytes=1)
    assert not list(tmp_path.iterdir())


BIG = """
import jax.numpy as jnp
from ghostsweep.declare import Field, Model

def initial(shape, traced, key):
    return {"w": jnp.full((15_000, 15_000), traced["timescale"], shape.dtype)}

def loss(shape, params, traced):
    return (params["w"] ** 2).mean(), jnp.ones((), shape.dtype)

BIG = Model("big", (Field("timescale", "size of the weights, 0.9 GB of them"),), initial, loss=loss)
"""


@pytest.mark.parametrize(
    ("free", "model", "rates"),
    [(2e9, "big.py:BIG", "[0.1]"), (2e3, "canonical", "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]")],
    ids=["a run", "the plan"],
)
def test_a_dry_run_refuses_for_memory_as_training_does(
    free: float, model: str, rates: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("big.py").write_text(BIG)
    Path("x.toml").write_text(
        f'[run]\nmodel = "{model}"\nepochs = 9\n[axes]\nlearning_rate = {rates}\ntimescale = [9.0]\n'
    )
    monkeypatch.setattr(resources, "free_bytes", lambda: int(free))
    said = []
    for options in ((), ("--dry-run",), ("--dry-run", "--no-calibrate")):
        done = CliRunner().invoke(app, ["run", "x.toml", *options])
        assert isinstance(done.exception, UsageError) and "allowed:" in str(done.exception), done.output
        said.append(str(done.exception))
    assert said[0] == said[1] == said[2]


def test_a_measured_estimate_is_near_what_training_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calibrate, engine):  # both times are those of this process: others on the machine do not count
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=time.process_time))
    text = SMALL.replace("epochs = 60\n", "epochs = 400_000\n").replace("[-7, -3, 8]", "[-9, -8, 256]")
    sweep = loads(text, name="x")
    found = estimating.estimate(sweep, out=tmp_path)
    assert found.costs[0].measured and found.compile_seconds > 0
    assert not list(tmp_path.iterdir())
    (session,) = ghostsweep.run(sweep, out=tmp_path).meta["sessions"]
    assert 1 / 4 < found.run_seconds / session["run_seconds"] < 4


def test_disk_is_near_what_tables_take(tmp_path: Path) -> None:
    for name in ("fig6a_rank_one", "rank_one_lr_timescale", "fig7_dmts", "cue_lr_delay"):
        sweep = load(ROOT / "sweeps" / f"{name}.toml")
        size = sum((ROOT / "results" / name / f"{part}.parquet").stat().st_size for part in ("runs", "curves"))
        assert 1 / 3 < groups.disk_bytes(groups.planned(sweep), sweep) / size < 3, name


def test_a_dry_run_prints_groups_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(SMALL + "[[phases]]\nepochs = 5\n")
    command = [sys.executable, "-W", "error", "-m", "ghostsweep", "run", "x.toml", "--dry-run", "--devices", "1"]
    for extra, source in ((["--no-calibrate"], "by the constants of the plan"), ([], "2 of 2 groups timed here")):
        done = subprocess.run([*command, *extra], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "x: 16 runs, 0 done, 16 to train; 48 rows of curves" in done.stdout
        assert "phase 2, canonical, delayed_activation, sgd, float64: 8 runs of 5 epochs" in done.stdout
        assert source in done.stdout and "on 1 devices" in done.stdout and "on disk" in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]
