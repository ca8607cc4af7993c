"""Budget: the trainer beside plain loops and naive JAX, in one process. Off by default:

    pip install ".[test,bench]" && python -m pytest tests/bench -s

Times are the best of several, warmed, compilation apart; judge the ratios, not the times. Runs on a GPU unchanged.
"""

import os
from typing import NamedTuple

import baselines
import jax
import numpy as np
import pytest

from ghostsweep import Run, engine, plan, train
from ghostsweep.spec import Shape


class Row(NamedTuple):
    """One protocol's measurements, in seconds per run and epoch."""

    name: str
    loop: float
    naive: float
    ours: float
    compile_seconds: float
    limit: float
    bound: str


def ours(run: Run, n_runs: int, epochs: int) -> tuple[float, float]:
    """Compile seconds, and seconds per run and epoch, of the trainer as the engine calls it."""
    shape = Shape.of(run.model_dump())
    devices = engine.local_devices(len(os.sched_getaffinity(0)))
    program = engine._program(shape, n_runs, tuple(devices))
    columns = {name: np.full(n_runs, getattr(run, name)) for name in shape.traced}
    columns |= {"seed": np.arange(n_runs)}
    if run.model == "canonical":
        columns |= {"learning_rate": np.logspace(-11, -8, n_runs)}
    stops = np.full(train.MAX_STOPS + 1, epochs, np.int32)
    cuts = np.append(np.arange(0, epochs, train.MAX_GAP), epochs)
    stops[: len(cuts)] = cuts
    with train.precision(shape):
        traced = jax.device_put(train.start(shape, columns)[1], program.sharding)

        def call() -> object:
            state = jax.device_put(train.start(shape, columns)[0], program.sharding)
            return program.call(state, traced, jax.numpy.asarray(stops), jax.numpy.int32(len(cuts) - 1))

        return program.compile_seconds, baselines.seconds(call, 3) / n_runs / epochs


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    engine.local_devices(len(os.sched_getaffinity(0)))
    cores = len(jax.local_devices())
    peak = baselines.peaks()
    canonical = Run(model="canonical", timescale=100, learning_rate=1e-10, epochs=1)
    lanes = plan.cost(Shape.of(canonical.model_dump())).lanes * cores
    compiling, took = ours(canonical, lanes, 10_000)
    table = [
        Row(
            "canonical",
            baselines.numpy_canonical_loop(100.0, 1e-10, 30_000),
            float("nan"),
            took,
            compiling,
            float("nan"),
            "one division and square root, and a dozen passes over nine arrays in cache",
        )
    ]
    for timescale in (5, 20, 40):
        run = Run(model="rank_one", timescale=timescale, learning_rate=1e-3, epochs=1)
        compiling, took = ours(run, 300, 30_000 // timescale)
        table.append(
            Row(
                f"rank-one, T = {timescale}",
                baselines.torch_rank_one_loop(timescale, 100, 60),
                baselines.naive_rank_one(timescale, 100, 300, 1000 // timescale)[1],
                took,
                compiling,
                2 * timescale * 100 * peak["tanh"],
                "tanh",
            )
        )
    print(f"\n{cores} {jax.devices()[0].device_kind} devices; peaks: ", end="")
    print(", ".join(f"{key} {value * 1e9:.3f} ns" for key, value in peak.items()))
    print(
        "protocol           loop us   naive us    ours us   loop/ours  naive/ours  compile s  share of peak, bound by"
    )
    for row in table:
        print(
            f"{row.name:17}{row.loop * 1e6:9.1f} {row.naive * 1e6:10.2f} {row.ours * 1e6:10.5f} "
            f"{row.loop / row.ours:11.0f} {row.naive / row.ours:11.1f} {row.compile_seconds:10.2f}  "
            f"{row.limit / row.ours:8.0%}  {row.bound}"
        )
    return table


FLOORS = {"canonical": 800, "rank-one, T = 20": 1000}


@pytest.mark.parametrize("name", FLOORS)
def test_ratio_to_the_plain_loop(rows: list[Row], name: str) -> None:
    (row,) = (row for row in rows if row.name == name)
    assert row.loop / row.ours >= FLOORS[name]


def test_ratio_to_naive_jax(rows: list[Row]) -> None:
    (row,) = (row for row in rows if row.name == "rank-one, T = 20")
    assert row.naive / row.ours >= 2.5
