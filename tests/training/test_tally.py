"""Oracle: what a task tallies and a model finds out at the end, against plain NumPy, in chunks as in single runs."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import ghostsweep
from ghostsweep import Run, train_one
from ghostsweep.declare import Evidence, Model, Result, Tally, Task
from ghostsweep.errors import UsageError
from ghostsweep.models import free_run
from ghostsweep.models.readout import FULL_RANK
from ghostsweep.spec import shape_of
from ghostsweep.store import columns
from ghostsweep.tasks import onehot
from ghostsweep.training import evaluation, train

NETWORK: dict[str, Any] = {
    "model": "two_bias",
    "task": "dcdt_onehot",
    "n_units": 20,
    "input_ms": 30,
    "reaction_ms": 50,
    "momentum": 0.9,
    "weight_decay": 1e-7,
    "trials_per_class": 3,
    "noise_sigma": 0.001,
    "r0_sigma": 0.1,
}
OWN = [result.name for result in onehot.RESULTS]
FOUND = ["power_index", "free_amplitude", "free_speed", "free_cycles"]


def plain_tally(accuracy: np.ndarray, reliability: np.ndarray) -> dict[str, float]:
    """The protocol in NumPy, after the fact."""
    both = np.stack([accuracy, reliability])
    good = np.flatnonzero((both > 0.8).all(axis=0))
    after = both[:, good[0] :] if len(good) else both[:, :0]
    late = both[:, len(accuracy) - max(len(accuracy) // 10, 1) :].mean(axis=1)
    return {
        "final_reliability": reliability[-1],
        "late_accuracy": late[0],
        "late_reliability": late[1],
        "good_epoch": float(good[0]) if len(good) else -1.0,
        "low_count": float((after < 0.6).sum()),
        "high_count": float((after > 0.6).sum()),
    }


@pytest.mark.parametrize(("rate", "epochs"), [(0.3, 157), (0.001, 12), (0.3, 7)])
def test_a_tally_is_what_the_protocol_says_of_every_epoch(rate: float, epochs: int) -> None:
    found = train_one(Run(**NETWORK, delay_ms=20, learning_rate=rate, epochs=epochs))
    wanted = plain_tally(found.accuracy, found.tally["final_reliability"])
    assert set(found.tally) == set(OWN)
    for name, value in wanted.items():
        assert found.tally[name].shape == (epochs,)
        assert found.tally[name][-1] == pytest.approx(value, rel=2e-6), name


def test_chunks_keep_tallies_and_evidence_as_single_runs_do(tmp_path: Path) -> None:
    axes = {"delay_ms": [0, 40], "learning_rate": [0.3, 0.1], "seed": range(2)}
    sweep = ghostsweep.sweep("tallied", **NETWORK, epochs=120, axes=axes)
    runs = ghostsweep.run(sweep, out=tmp_path).runs
    row = runs.iloc[3]
    alone = train_one(Run.of(row))
    for name in OWN:
        assert row[name] == pytest.approx(alone.tally[name][-1], rel=1e-3, abs=1e-3), name
    assert runs[OWN + FOUND].notna().all().all()
    again = ghostsweep.read(tmp_path / "tallied").runs
    pd.testing.assert_frame_equal(again, runs)
    assert all(name in again.attrs["units"] for name in OWN)
    assert {"units", "symbols"} <= again.attrs.keys()


def test_tallies_of_runs_that_diverge_stay_and_there_is_no_evidence(tmp_path: Path) -> None:
    huge = NETWORK | {"noise_sigma": 0.0, "r0_sigma": 0.0, "clip_norm": None, "weight_decay": 1e3}
    sweep = ghostsweep.sweep(
        "broken", **huge, delay_ms=0, epochs=60, axes={"learning_rate": [0.1, 1e3], "seed": range(2)}
    )
    runs = ghostsweep.run(sweep, out=tmp_path).runs
    gone = runs[runs["status"] == "diverged"]
    assert len(gone) and gone[FOUND].isna().all().all()
    assert np.isfinite(gone[OWN].to_numpy(float)).all()


def test_runs_of_tasks_without_a_tally_carry_nothing_more() -> None:
    fields = Run(model="full_rank", task="dcdt", input_ms=10, delay_ms=10, reaction_ms=10, learning_rate=0.1, epochs=3)
    shape = shape_of(fields.fields)
    state, _ = train.start(
        shape, {name: np.array([value]) for name, value in fields.fields.items() if value is not None}
    )
    assert state.tally == {} and "epochs" not in shape.traced
    assert evaluation.evidence(shape, state.params, {}) == {}


def test_a_tally_is_checkpointed_and_goes_on(tmp_path: Path) -> None:
    sweep = ghostsweep.sweep(
        "kept", **NETWORK, delay_ms=0, epochs=2_500, axes={"learning_rate": [0.1], "seed": range(2)}
    )
    whole = ghostsweep.run(sweep, out=tmp_path / "whole").runs

    class Stop(Exception):
        pass

    calls = []

    def interrupt(progress: Any) -> None:
        calls.append(progress)
        if len(calls) == 4:
            raise KeyboardInterrupt

    from ghostsweep.running import sweeping

    with pytest.raises(KeyboardInterrupt):
        sweeping.run(sweep, out=tmp_path / "killed", progress=interrupt)
    again = ghostsweep.run(sweep, out=tmp_path / "killed").runs
    pd.testing.assert_frame_equal(again, whole)


def _plain_index(states: np.ndarray, turned: bool) -> float:
    """The protocol word by word: correlations of rows of two numbers, their two-dimensional power, its centre."""
    _, _, axes = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)
    parts = [axis * np.sign(axis[np.argmax(np.abs(axis))]) for axis in axes[:2]]
    two = states @ np.stack(parts).T * ([1, -1] if turned else [1, 1])
    power = np.abs(np.fft.fftshift(np.fft.fft2(np.corrcoef(two)))) ** 2
    middle = len(states) // 2
    at = np.arange(len(states)) - middle
    return float(power[at[:, None] ** 2 + at[None] ** 2 <= 9].sum() / power.sum())


@pytest.mark.parametrize("cycles", [0.0, 1.0, 2.0, 4.0, 9.0])
def test_the_index_is_the_protocol_word_by_word(cycles: float) -> None:
    rng, steps = np.random.default_rng(7), 180
    time = np.arange(steps) / steps
    two = np.stack([np.cos(2 * np.pi * cycles * time) + 0.3, np.sin(2 * np.pi * cycles * time) * 0.7 - 0.1 * time])
    states = (two.T @ rng.normal(size=(2, 12))) + 0.01 * rng.normal(size=(steps, 12))
    path = jnp.asarray(states, jnp.float32)
    found = free_run.power_index(path, free_run.axes(path)[0])
    assert float(found["power_index"]) == pytest.approx(_plain_index(states, False), abs=0.02)
    assert float(found["power_index_flipped"]) == pytest.approx(_plain_index(states, True), abs=0.02)


def test_square_waves_have_the_indices_that_algebra_says() -> None:
    share = jax.vmap(free_run._slow_share)
    time = np.arange(360) / 360
    waves = np.stack([np.sin(2 * np.pi * k * time + 0.01) for k in (1, 2, 3, 6)] + [np.ones(360)])
    found = np.asarray(share(jnp.asarray(waves, jnp.float32)))
    np.testing.assert_allclose(found[:2], 0.66, atol=0.01)
    assert found[3] < 0.01 and found[4] == pytest.approx(1.0)


def moved(states: np.ndarray, dt: jax.Array, tau: jax.Array) -> dict[str, jax.Array]:
    path = jnp.asarray(states, jnp.float32)
    return free_run.motion(path, free_run.axes(free_run.late(path))[0], dt, tau)


def test_motion_tells_a_cycle_its_period_and_what_settles() -> None:
    time = np.arange(1440) * 5.0
    circle = np.stack([np.cos(2 * np.pi * time / 130), np.sin(2 * np.pi * time / 130), 0 * time], axis=1) * 0.5
    rests = np.exp(-time / 300)[:, None] * circle
    dt, tau = jnp.float32(5), jnp.float32(10)
    found = {name: float(v) for name, v in moved(circle, dt, tau).items()}
    assert found["free_period"] == pytest.approx(130, rel=0.01)
    assert found["free_amplitude"] == pytest.approx(0.5 / 3**0.5, rel=0.01)
    assert found["free_decay"] == pytest.approx(1, rel=0.01)
    assert found["free_speed"] == pytest.approx(0.5 / 3**0.5 * 2 * np.pi / 130 * 10, rel=0.02)
    still = {name: float(v) for name, v in moved(rests, dt, tau).items()}
    assert still["free_amplitude"] < 1e-6 and still["free_decay"] < 0.1


def test_users_declare_tallies_evidence_and_outcomes_too(tmp_path: Path) -> None:
    def start(shape: Any, traced: Any) -> dict[str, jax.Array]:
        return {"worst_gap": jnp.zeros((), shape.dtype)}

    def update(shape: Any, traced: Any, tally: Any, epoch: Any, measured: Any) -> dict[str, jax.Array]:
        return {"worst_gap": jnp.maximum(tally["worst_gap"], measured["gap"])}

    def gap(shape: Any, output: jax.Array, trials: Any) -> jax.Array:
        return jnp.abs(output - trials.targets).max()

    from dataclasses import replace

    from ghostsweep.declare import Outcomes

    task: Task = replace(
        onehot.TASK,
        name="gapped",
        tally=Tally((Result("worst_gap", "largest error of any epoch"),), start, update, {"gap": gap}),
        outcomes=Outcomes({"small": "a", "large": "b"}, lambda c: np.where(c["worst_gap"] < 1, "small", "large")),
    )
    size = Evidence(
        (Result("w_size", "size of w_rec"),), lambda shape, traced, p: {"w_size": jnp.abs(p["w_rec"]).sum()}
    )
    model: Model = replace(FULL_RANK, name="sized", evidence=size, floor=None)
    sweep = ghostsweep.sweep(
        "own", model=model, task=task, n_units=8, input_ms=10, delay_ms=10, reaction_ms=10, epochs=5,
        axes={"learning_rate": [0.1, 0.2], "seed": [0, 1]},
    )  # fmt: skip
    runs = ghostsweep.run(sweep, out=tmp_path).runs
    assert (runs["worst_gap"] > 0).all() and (runs["w_size"] > 0).all()
    assert {"worst_gap", "w_size"} <= columns.result_names()
    from ghostsweep import analysis

    judged = analysis.own_outcomes(runs)
    assert judged is not None and list(judged["outcome"].cat.categories) == ["small", "large"]
    assert ghostsweep.outcomes(runs)["task_outcome"].equals(judged["outcome"])


def test_outcomes_of_a_users_file_are_known_without_it(tmp_path: Path) -> None:
    """In a process of its own: as they were stored, and as `show` trains it again."""
    import subprocess
    import sys

    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "import numpy as np\n"
        "from ghostsweep.declare import Outcomes\n"
        "from ghostsweep.tasks import onehot\n"
        "OF = Outcomes({'a': 'x', 'b': 'y'}, lambda c: np.where(c['seed'] == 0, 'a', 'b'))\n"
        "MINE = replace(onehot.TASK, name='mine', outcomes=OF, version='t1')\n"
    )
    fields = {"n_units": 8, "input_ms": 10, "delay_ms": 10, "reaction_ms": 10, "epochs": 5}
    axes = {"learning_rate": [0.1], "seed": [0, 1]}
    sweep = ghostsweep.sweep("own", model="two_bias", task=str(tmp_path / "mine.py"), **fields, axes=axes)
    trained = ghostsweep.run(sweep, out=tmp_path, progress=False)
    assert trained.outcomes()["task_outcome"].tolist() == ["a", "b"]
    code = (
        "import ghostsweep, sys\n"
        "found = ghostsweep.read('own', sys.argv[1])\n"
        "assert found.outcomes()['task_outcome'].tolist() == ['a', 'b']\n"
        "assert not any('own' in name for name in sys.modules if name.startswith('ghostsweep_own'))\n"
        "shown = ghostsweep.show(found.runs['run_id'][1], out=sys.argv[1], rerun=True)\n"
        "print(shown.task_outcome, shown.again.task_outcome, *found.outcomes()['task_outcome'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split() == ["b", "b", "a", "b"], done.stderr


def test_a_tally_that_does_not_give_what_it_declares_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "import jax.numpy as jnp\n"
        "from ghostsweep.declare import Result, Tally\n"
        "from ghostsweep.tasks import onehot\n"
        "def start(shape, traced):\n    return {'a': jnp.zeros((), shape.dtype)}\n"
        "def update(shape, traced, tally, epoch, measured):\n    return {}\n"
        "MINE = replace(onehot.TASK, name='mine', tally=Tally((Result('a', 'x'),), start, update), version='t2')\n"
    )
    fields = {"n_units": 8, "input_ms": 10, "delay_ms": 10, "reaction_ms": 10, "epochs": 5}
    sweep = ghostsweep.sweep(
        "own", model="two_bias", task=str(tmp_path / "mine.py"), **fields, axes={"learning_rate": [0.1], "seed": [0]}
    )
    with pytest.raises(UsageError, match=r"mine, tally.update: found \[\]; allowed: a dict of the results .* a"):
        ghostsweep.run(sweep, out=tmp_path)
