"""Budget: the trainer beside plain loops and naive JAX, in one process. Off by default:

    pip install ".[test,bench]" && python -m pytest tests/bench -s

prints one table, in three to four minutes. Everything is compiled and warmed up first. Then plain loop, naive JAX and
trainer of every protocol take turns of about a second, and the best turn of each counts; judge the ratios, not the
times. An epoch of the PyTorch loop is zero_grad, the loop over steps, the stacked outputs' squared error, backward,
the optimizer's step and item, of one run on one CPU thread. The trainer trains as many runs at once as the engine
would, and naive JAX the same runs. "Share of peak" is the least time that the protocol's `limits.operations` take at
this machine's measured peak, over the time taken; the C loops (`loops.c`, where there is gcc) are what a compiler makes
of the same arithmetic, in turns beside ours. Floors are of processor time, that of the C loops over ours: they mean the
same on any machine, busy or not. Runs on a GPU unchanged, where no floor is held.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import baselines
import jax
import limits
import numpy as np
import pytest

from ghostsweep import Run, plan
from ghostsweep.machine import memory, resources
from ghostsweep.spec import shape_of
from ghostsweep.training import engine, programs, train

DEVICES = engine.local_devices(resources.cores())  # before anything else uses JAX
TURN_SECONDS, TURNS = 1.0, 4
TIMED = {"learning_rate": 1e-3, "epochs": 1}  # so low that no run collapses, whose tiny numbers would be slow
CUES: dict[str, Any] = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}


class Protocol(NamedTuple):
    """A row of the table: fields of a run, and the least ratio of a core of the C loops to one of ours.

    Of the canonical form, which has no C loop, of its numpy loop.
    """

    fields: dict[str, Any]
    floor: float


def _low_rank(rank: int, floor: float) -> Protocol:
    return Protocol({"model": "low_rank", "rank": rank, "timescale": 20}, floor)


PROTOCOLS = {
    "canonical": Protocol({"model": "canonical", "timescale": 100, "learning_rate": 1e-10}, 800),
    "rank-one, T = 5": Protocol({"model": "rank_one", "timescale": 5}, 0.35),
    "rank-one, T = 20": Protocol({"model": "rank_one", "timescale": 20}, 0.4),
    "rank-one, T = 40": Protocol({"model": "rank_one", "timescale": 40}, 0.35),
    "readout, K = 1": _low_rank(1, 0.3),
    "readout, K = 10": _low_rank(10, 0.4),
    "readout, K = 30": _low_rank(30, 0.5),
    "readout, K = 100": _low_rank(100, 0.5),
    "readout, full": Protocol({"model": "full_rank", "timescale": 20}, 0.45),
    "dcdt, full": Protocol({"model": "full_rank", "task": "dcdt", **CUES}, 0.5),
    "dmts, full": Protocol({"model": "full_rank", "task": "dmts", **CUES}, 0.7),
}
NAIVE_FLOORS = {"rank-one, T = 20": 2.5, "dcdt, full": 2.5}


class Row(NamedTuple):
    """One protocol's measurements: seconds per run and epoch, and of compiling, by way of training."""

    times: dict[str, float]
    compiling: dict[str, float]
    share: float  # of the peak
    core: float  # processor time of ours
    plain: float  # processor time of the C loops, of the canonical form that of its numpy loop; NaN without gcc


class Ours:
    """The trainer as the engine calls it, on seeds 0, 1, 2 ...: a `baselines.Trainer`."""

    def __init__(self, run: Run, n_runs: int) -> None:
        self.shape, self.at = shape_of(run.fields), 0
        self.program = programs.program(self.shape, n_runs, tuple(DEVICES))
        columns = {name: np.full(n_runs, getattr(run, name)) for name in self.shape.traced}
        started = train.start(self.shape, columns | {"seed": np.arange(n_runs)})
        self.params = {name: np.array(value) for name, value in started[0].params.items()}
        with train.precision(self.shape):
            self.state, self.traced = jax.device_put(started, self.program.sharding)

    def __call__(self, epochs: int) -> np.ndarray:
        end, longest = self.at + epochs, self.program.reports * train.MAX_GAP
        with train.precision(self.shape):
            for at in range(self.at, end, longest):
                last = min(at + longest, end)
                cuts = np.append(np.arange(at, last, train.MAX_GAP), last)
                self.state, report = self.program.call(self.state, self.traced, cuts)
        self.at = end
        return np.asarray(report.loss)[len(cuts) - 2]


def trainers_of(run: Run, n_runs: int) -> tuple[dict[str, baselines.Trainer], dict[str, float]]:
    """All ways of training a run, with seed 0 in the plain loop and n_runs seeds else, and their compile seconds."""
    ours = Ours(run, n_runs)
    if run.model == "canonical":
        return {"ours": ours, "loop": baselines.numpy_canonical(run)}, {"ours": ours.program.compile_seconds}
    loop = baselines.torch_loop(run, {name: value[0] for name, value in ours.params.items()})
    compile_seconds, naive = baselines.naive_jax(run, ours.params)
    compiling = {"ours": ours.program.compile_seconds, "naive": compile_seconds}
    return {"ours": ours, "loop": loop, "naive": naive}, compiling


def turn(trainer: baselines.Trainer, epochs: int) -> tuple[float, float]:
    """Seconds of so many epochs: by the clock, and of processors."""
    started, used = time.perf_counter(), time.process_time()
    trainer(epochs)
    return time.perf_counter() - started, time.process_time() - used


def epochs_in_a_turn(trainer: baselines.Trainer) -> int:
    """Epochs that take TURN_SECONDS, once warm."""
    turn(trainer, 1)
    epochs = 1
    while (took := turn(trainer, epochs)[0]) < TURN_SECONDS / 10:
        epochs *= 4
    return max(1, round(epochs * TURN_SECONDS / took))


def measure(names: Iterable[str], folder: Path) -> dict[str, Row]:
    """Train protocols in all ways, in rounds of one turn each, so that a disturbance does not spoil all of a row."""
    peak, wide = limits.peaks(), DEVICES[0].platform != "cpu"
    runs = {name: Run(**TIMED | PROTOCOLS[name].fields) for name in names}
    shapes = {name: shape_of(run.fields) for name, run in runs.items()}
    widths = {
        name: plan.widest(shape, len(DEVICES), memory.usable_bytes(DEVICES) / len(DEVICES), wide=wide)
        for name, shape in shapes.items()
    }
    built = {name: trainers_of(run, widths[name]) for name, run in runs.items()}
    trainers = {(name, way): trainer for name, (ways, _) in built.items() for way, trainer in ways.items()}
    epochs = {key: epochs_in_a_turn(trainer) for key, trainer in trainers.items()}
    loops = {name: limits.c_loop(shape, folder) for name, shape in shapes.items()}
    rounds, plain = list[dict[tuple[str, str], tuple[float, float]]](), dict.fromkeys(names, np.inf)
    for _ in range(TURNS):
        rounds.append({})
        for (name, way), trainer in trainers.items():
            rounds[-1][name, way] = turn(trainer, epochs[name, way])
            if way == "ours" and (loop := loops[name]):
                plain[name] = min(plain[name], loop())
    table = {}
    for name, (ways, compiling) in built.items():
        ours = ways["ours"]
        assert (np.asarray(ours.state.epochs_done) == ours.at).all(), f"{name}: a run has diverged"
        best = {}
        for way in ways:
            each = np.array([times[name, way] for times in rounds]).min(axis=0) / epochs[name, way]
            best[way] = each / (1 if way == "loop" else widths[name])
        times = {way: float(seconds[0]) for way, seconds in best.items()}
        least = sum(count * peak[kind] for kind, count in limits.operations(shapes[name]).items())
        beside = float(best["loop"][1]) if shapes[name].model == "canonical" else plain[name]
        core = float(best["ours"][1])
        table[name] = Row(times, compiling, least / times["ours"], core, beside if np.isfinite(beside) else np.nan)
    show(table, peak)
    return table


def show(table: Mapping[str, Row], peak: Mapping[str, float]) -> None:
    """Print the table."""
    print(f"\n{len(DEVICES)} {DEVICES[0].device_kind} devices; at best ", end="")
    print(", ".join(f"{value * 1e9:.3g} ns a {kind}" for kind, value in peak.items()))
    print("protocol, per     loop   naive      ours   loop/  naive/   compile s   share of  C loop, a core,")
    print("run and epoch       us      us        us    ours    ours  naive  ours      peak  us and / a core of ours")
    for name, row in table.items():
        loop, naive, ours = (row.times.get(way, np.nan) for way in ("loop", "naive", "ours"))
        print(
            f"{name:16}{loop * 1e6:6.4g} {naive * 1e6:7.3g} {ours * 1e6:9.3g} {loop / ours:7.0f} {naive / ours:7.1f} "
            f"{row.compiling.get('naive', np.nan):6.1f} {row.compiling['ours']:5.1f} {row.share:9.0%}",
            f" {row.plain * 1e6:9.3g} {row.plain / row.core:8.0%}",
        )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    return measure(PROTOCOLS, tmp_path_factory.mktemp("loops"))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_ways_train_the_same(name: str) -> None:
    """In float64, over epochs in which the loss changes by far more than the tolerance, so that gradients count."""
    run = Run(**{"learning_rate": 0.1, "epochs": 1, "dtype": "float64"} | PROTOCOLS[name].fields)
    trainers, _ = trainers_of(run, len(DEVICES))
    losses = {way: np.array([np.ravel(trainer(1))[0] for _ in range(5)]) for way, trainer in trainers.items()}
    assert abs(losses["ours"][-1] / losses["ours"][0] - 1) > 1e-8
    for way in trainers:
        np.testing.assert_allclose(losses[way], losses["ours"], rtol=1e-11, err_msg=way)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_processor_time_beside_the_plain_loops(rows: dict[str, Row], name: str) -> None:
    if DEVICES[0].platform == "cpu" and not np.isnan(rows[name].plain):
        assert rows[name].plain / rows[name].core >= PROTOCOLS[name].floor


@pytest.mark.parametrize("name", NAIVE_FLOORS)
def test_ratio_to_naive_jax(rows: dict[str, Row], name: str) -> None:
    assert rows[name].times["naive"] / rows[name].times["ours"] >= NAIVE_FLOORS[name]
