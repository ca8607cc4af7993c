"""What a sweep will take before it is trained: time, by a short measurement here, memory and disk."""

import importlib.util
import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from ghostsweep import plan
from ghostsweep.declare import Shape
from ghostsweep.machine import resources
from ghostsweep.plan import groups
from ghostsweep.plan.groups import Group
from ghostsweep.running.ledger import Status, status
from ghostsweep.spec import Sweep

BUDGET_SECONDS = 5.0
"""Time that the measurement may take; what it has not come to by then is as slow as the mean of the rest."""
COMPILE_SECONDS = 1.5
"""Compilation of one program, where it is not measured."""
RUN_SECONDS, CURVE_SECONDS = 40e-6, 1e-6
"""Planning, storing and merging of a run and of a row of its curve: canonical_dense, a million runs, took 44 s."""
BASE_BYTES, PLANNED_BYTES, RUN_BYTES, CURVE_BYTES = 460e6, 500, 1_500, 250
"""Peak memory of a process, and what each run planned, run trained and row of curves adds: sweeps of 200,000 runs, and
of 2,610,000 rows, peaked at 844 and 1,145 MB; a plan adds 100 bytes a run, of several grids 250, refined 500."""


@dataclass(frozen=True)
class Cost:
    """What a group of runs will take: `chunks` batches of `width` runs each, in seconds on all devices together."""

    group: Group
    width: int
    chunks: int
    compile_seconds: float
    """Of its program; 0 where a group before has the same."""
    run_seconds: float
    measured: bool
    """Whether this group was timed here, or another one, or none."""


@dataclass(frozen=True)
class Estimate:
    """What a sweep will take: `costs` of what is left, a row per group; memory and disk of the whole, in bytes."""

    status: Status
    costs: tuple[Cost, ...]
    devices: int
    memory_bytes: float
    disk_bytes: float

    @property
    def compile_seconds(self) -> float:
        """Compilation of all programs."""
        return sum(cost.compile_seconds for cost in self.costs)

    @property
    def run_seconds(self) -> float:
        """Training and storing."""
        left = tuple(cost.group for cost in self.costs)
        rows = groups.curve_rows(left, self.status.sweep)
        stored = RUN_SECONDS * sum(group.runs for group in left) + CURVE_SECONDS * rows
        return sum(cost.run_seconds for cost in self.costs) + stored


def estimate(
    sweep: Sweep,
    *,
    out: str | Path = "results",
    calibrate: bool = True,
    devices: int | None = None,
    memory_bytes: float | None = None,
    shard: plan.Shard | None = None,
    persistent: bool = False,
) -> Estimate:
    """Estimate what is left of a sweep, or of a share of it; trains nothing into results and writes nothing.

    With `calibrate`, where JAX is installed, a few epochs of each program are compiled and timed, the costliest
    first, in about five seconds; without, the constants of the plan are taken, measured on another machine. Of a
    refined sweep only the runs wanted so far are counted. `devices`, `memory_bytes` and, where a program is timed,
    `persistent` are as in `run`, which raises the same UsageErrors.
    """
    state = status(sweep, out, shard)
    can_measure = calibrate and len(state.left) > 0 and importlib.util.find_spec("jax") is not None
    n_devices, wide, given = devices or resources.cores(), False, memory_bytes
    if state.left:
        plan.require_memory(sweep)
    if can_measure:
        resources.load_jax()
        from ghostsweep.machine import memory
        from ghostsweep.training import engine

        found = engine.local_devices(resources.cores(), devices)
        n_devices, wide = len(found), found[0].platform != "cpu"
        given = memory.usable_bytes(found) if given is None else given
    given = resources.usable_of(resources.free_bytes()) if given is None else given
    cut = [_cut(group, n_devices, given / n_devices, wide) for group in state.left]
    programs: dict[tuple[Shape, int], Group] = {}
    for group, (width, _) in sorted(zip(state.left, cut, strict=True), key=lambda pair: -pair[0].seconds):
        programs.setdefault((group.shape, width), group)
    measured: dict[tuple[Shape, int], tuple[float, float]] = {}
    if can_measure:
        from ghostsweep.training.calibrate import measure
        from ghostsweep.training.persistent import chosen

        timed = list(programs.values())
        if persistent:
            timed = [replace(group, shape=chosen(group.shape, found[0].platform)) for group in timed]
        widths = [width for _, width in programs]
        speeds = measure(list(zip(timed, widths, strict=True)), found, BUDGET_SECONDS)
        measured = dict(zip(programs, speeds, strict=False))
    # A program that was not measured is taken to be as fast as the others of its model, or as all.
    costs, compiled = [], set()
    for group, (width, chunks) in zip(state.left, cut, strict=True):
        own = measured.get((group.shape, width))
        near = [speed for (shape, _), speed in measured.items() if shape.model == group.shape.model]
        like = [own] if own else near or list(measured.values()) or [(COMPILE_SECONDS, 1.0)]
        compile_seconds, slowness = (statistics.mean(values) for values in zip(*like, strict=True))
        core_seconds = plan.cost(group.shape).epoch_seconds * group.epochs * width * chunks
        seconds = core_seconds / min(n_devices, width) * slowness
        new = (group.shape, width) not in compiled
        compiled.add((group.shape, width))
        costs.append(Cost(group, width, chunks, compile_seconds if new else 0.0, seconds, own is not None))
    batch = max((plan.cost(cost.group.shape).run_bytes * cost.width for cost in costs), default=0)
    held = PLANNED_BYTES * sweep.n_runs + RUN_BYTES * state.runs + CURVE_BYTES * state.curve_rows
    memory_needed = BASE_BYTES + held + batch
    return Estimate(state, tuple(costs), n_devices, memory_needed, groups.disk_bytes(state.planned, sweep))


def _cut(group: Group, n_devices: int, device_bytes: float, wide: bool) -> tuple[int, int]:
    """Width and number of the chunks that a group is trained in, as `plan.chunks` cuts it."""
    chunks = math.ceil(group.runs / plan.widest(group.shape, n_devices, device_bytes, wide=wide))
    return plan.padded(math.ceil(group.runs / chunks), n_devices), chunks
