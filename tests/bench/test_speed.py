"""Budget: the trainer beside plain loops and naive JAX, in one process. Off by default:

    pip install ".[test,bench]" && python -m pytest tests/bench -s

prints one table, in about four minutes. Everything is compiled and warmed up first. Then plain loop, naive JAX and
trainer take turns of about a second, and the best turn of each counts; judge the ratios, not the times. An epoch of
the PyTorch loop is zero_grad, the loop over steps, the stacked outputs' squared error, backward, the optimizer's
step and item, of one run on one CPU thread. The trainer trains as many runs at once as the engine would, and naive
JAX the same runs. "Share of peak" is the least time that the protocol's multiply-adds and tanh take at this machine's
measured peak (`limits`), over the time taken. Runs on a GPU unchanged.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import baselines
import jax
import jax.numpy as jnp
import limits
import numpy as np
import pytest

from ghostsweep import Run, api, engine, plan, train
from ghostsweep.spec import Shape

TURN_SECONDS, TURNS = 1.0, 4
CUES: dict[str, Any] = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}


class Protocol(NamedTuple):
    """One row of the table: a run, how many times faster than its plain loop it must train, and what bounds it."""

    fields: dict[str, Any]
    floor: float | None
    bound: str


def _low_rank(rank: int, floor: float, bound: str) -> Protocol:
    return Protocol({"model": "low_rank", "rank": rank, "timescale": 20}, floor, bound)


PASSES = "passes over arrays in cache"
SUMS = "sums over units and steps, tanh"
VECTORS = "weights read from cache, once per step and pass"
PROTOCOLS = {
    "canonical": Protocol({"model": "canonical", "timescale": 100, "learning_rate": 1e-10}, 800, PASSES),
    "rank-one, T = 5": Protocol({"model": "rank_one", "timescale": 5}, None, SUMS),
    "rank-one, T = 20": Protocol({"model": "rank_one", "timescale": 20}, 1000, SUMS),
    "rank-one, T = 40": Protocol({"model": "rank_one", "timescale": 40}, None, SUMS),
    "readout, K = 1": _low_rank(1, 300, SUMS),
    "readout, K = 10": _low_rank(10, 130, VECTORS),
    "readout, K = 30": _low_rank(30, 100, VECTORS),
    "readout, K = 100": _low_rank(100, 40, VECTORS),
    "readout, full": Protocol({"model": "full_rank", "timescale": 20}, 40, VECTORS),
    "dcdt, full": Protocol({"model": "full_rank", "task": "dcdt", **CUES}, 60, VECTORS),
    "dmts, full": Protocol({"model": "full_rank", "task": "dmts", **CUES}, 45, VECTORS),
}
NAIVE_FLOORS = {"rank-one, T = 20": 2.5, "dcdt, full": 2.5}


class Row(NamedTuple):
    """One protocol's measurements: seconds per run and epoch, seconds of compiling, and losses of run 0."""

    times: Mapping[str, float]
    compiling: Mapping[str, float]
    share: float
    losses: Mapping[str, np.ndarray]
    finite: bool


class Ours:
    """The trainer as the engine calls it, on seeds 0, 1, 2 ...: a `baselines.Trainer`."""

    def __init__(self, run: Run, n_runs: int, devices: list[jax.Device]) -> None:
        self.shape, self.at = Shape.of(run.model_dump()), 0
        self.program = engine._program(self.shape, n_runs, tuple(devices))
        columns = {name: np.full(n_runs, getattr(run, name)) for name in self.shape.traced}
        columns["seed"] = np.arange(n_runs)
        with train.precision(self.shape):
            state, self.traced = jax.device_put(train.start(self.shape, columns), self.program.sharding)
            self.state: train.State = state

    def __call__(self, epochs: int) -> np.ndarray:
        end, longest = self.at + epochs, train.MAX_STOPS * train.MAX_GAP
        with train.precision(self.shape):
            for at in range(self.at, end, longest):
                cuts = np.append(np.arange(at, min(at + longest, end), train.MAX_GAP), min(at + longest, end))
                stops = np.full(train.MAX_STOPS + 1, end, np.int32)
                stops[: len(cuts)] = cuts
                count = jnp.int32(len(cuts) - 1)
                self.state, report = self.program.call(self.state, self.traced, jnp.asarray(stops), count)
        self.at = end
        return np.asarray(report.loss)[len(cuts) - 2]


def measure(run: Run, devices: list[jax.Device], peak: Mapping[str, float]) -> Row:
    """Train a protocol in all ways."""
    shape = Shape.of(run.model_dump())
    wide = devices[0].platform != "cpu"
    n_runs = plan.widest(shape, len(devices), api.DEFAULT_MEMORY_BYTES, wide=wide)
    ours = Ours(run, n_runs, devices)
    params = {name: np.array(value) for name, value in ours.state.params.items()}
    compiling = {"ours": ours.program.compile_seconds}
    trainers: dict[str, baselines.Trainer] = {"ours": ours}
    if run.model == "canonical":
        trainers["loop"] = baselines.numpy_canonical(run)
    else:
        trainers["loop"] = baselines.torch_loop(run, {name: value[0] for name, value in params.items()})
        compiling["naive"], trainers["naive"] = baselines.naive_jax(run, params)
    losses = {name: np.array([np.ravel(t(epochs))[0] for epochs in (1, 50)]) for name, t in trainers.items()}
    runs = {name: 1 if name == "loop" else n_runs for name in trainers}
    times = {name: seconds / runs[name] for name, seconds in epoch_seconds(trainers).items()}
    least = sum(count * peak[kind] for kind, count in limits.operations(shape).items())
    finite = bool((np.asarray(ours.state.epochs_done) == ours.at).all())
    return Row(times, compiling, least / times["ours"], losses, finite)


def epoch_seconds(trainers: Mapping[str, baselines.Trainer]) -> dict[str, float]:
    """Seconds per epoch, the best of several turns of about TURN_SECONDS that alternate between trainers."""

    def turn(trainer: baselines.Trainer, epochs: int) -> float:
        started = time.perf_counter()
        trainer(epochs)
        return (time.perf_counter() - started) / epochs

    epochs = {name: max(1, int(TURN_SECONDS / turn(trainer, 50))) for name, trainer in trainers.items()}
    turns = [{name: turn(trainer, epochs[name]) for name, trainer in trainers.items()} for _ in range(TURNS)]
    return {name: min(times[name] for times in turns) for name in trainers}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    devices = engine.local_devices(api.cores())
    peak = limits.peaks()
    print(f"\n{len(devices)} {devices[0].device_kind} devices; at peak ", end="")
    print(", ".join(f"{value * 1e9:.3g} ns a {kind}" for kind, value in peak.items()))
    print("protocol, per     loop   naive      ours   loop/  naive/  compile s     share of")
    print("run and epoch       us      us        us    ours    ours  naive  ours  peak, bound by")
    table = {}
    for name, protocol in PROTOCOLS.items():
        table[name] = row = measure(Run(**{"learning_rate": 1e-3, "epochs": 1} | protocol.fields), devices, peak)
        loop, naive, ours = (row.times.get(way, np.nan) for way in ("loop", "naive", "ours"))
        print(
            f"{name:16}{loop * 1e6:6.4g} {naive * 1e6:7.3g} {ours * 1e6:9.3g} {loop / ours:7.0f} {naive / ours:7.1f} "
            f"{row.compiling.get('naive', np.nan):6.1f} {row.compiling['ours']:5.1f} {row.share:5.0%} {protocol.bound}"
        )
    return table


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_ways_train_the_same_network(rows: dict[str, Row], name: str) -> None:
    """From the same start to the same loss, and no run has diverged while it was timed."""
    ours = rows[name].losses["ours"]
    assert rows[name].finite
    for losses in rows[name].losses.values():
        print(name, losses, losses / ours - 1, ours[1]/ours[0]-1)


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.floor])
def test_ratio_to_the_plain_loop(rows: dict[str, Row], name: str) -> None:
    assert rows[name].times["loop"] / rows[name].times["ours"] >= PROTOCOLS[name].floor


@pytest.mark.parametrize("name", NAIVE_FLOORS)
def test_ratio_to_naive_jax(rows: dict[str, Row], name: str) -> None:
    assert rows[name].times["naive"] / rows[name].times["ours"] >= NAIVE_FLOORS[name]
