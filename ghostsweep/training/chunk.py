"""Trains one chunk: calls of the compiled program, what is kept of each, and runs that may stop early."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.declare import Shape
from ghostsweep.models import model_of, task_of
from ghostsweep.plan import Chunk
from ghostsweep.spec import RECENT_EPOCHS, Record
from ghostsweep.store import declared
from ghostsweep.training import continuing, evaluation, levels, train
from ghostsweep.training.checkpoint import Checkpoint
from ghostsweep.training.log import OWN, TOTALS, Log, Recorded, Table, added, empty, placed
from ghostsweep.training.programs import Program

TURN_SECONDS = 0.5
"""How long one call of the compiled program should take by the estimate, so that progress and Ctrl-C are prompt."""
GPU_CORES, GPU_EPOCH_SECONDS = 30, 3e-4
"""How many cores a GPU is at the least once it is full, and how long its epochs are before (results/gpu/)."""
REVIEWS = 16
"""How often a chunk is searched for runs that can no longer change."""
WORTHWHILE_SECONDS = 5.0
"""Estimated saving above which a narrower program is compiled for the runs that are left."""


class Trained(NamedTuple):
    """What training a chunk leaves."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    ends: dict[str, np.ndarray]
    """`continuing.ends` of the runs asked for, in the order of their rows, along the first axis."""
    snapshots: dict[str, dict[str, np.ndarray]]
    """By run id: `epochs` (S,) and each parameter, snapshots along the first axis."""


def train_chunk(
    chunk: Chunk,
    record: Record,
    n_devices: int,
    program: Callable[[Shape, int], Program],
    tell: Callable[[int], None],
    checkpoint: Checkpoint,
    *,
    continued: Sequence[Mapping[str, np.ndarray]] | None = None,
    needed: np.ndarray | None = None,
) -> Trained:
    """Train one chunk from its seeds, or from the `continued` ends of earlier runs, one for each of its own.

    It goes on from its `checkpoint` if there is one, and writes that where it is due and when `tell` raises a
    KeyboardInterrupt. `program(shape, width)` gives the compiled program; `tell(epoch)` is called before each of its
    calls, whose number changes no digit. `needed` says of each run whether its end is asked for. Runs that can no
    longer change are dropped at fixed epochs, where that saves enough by the estimate of the plan: never by the
    clock, so that results do not depend on speed. Their rows are what they would be had they gone on. Those of which
    parameters are still to be kept stay, and all in programs that train runs in turn: there, standing still is free.
    """
    shape, epochs, n_runs = chunk.shape, chunk.epochs, len(chunk.runs)
    needed = np.zeros(n_runs, bool) if needed is None else needed
    album, recorded, rests = _Album(chunk, record), record.schedule(epochs), train.stands_still(shape)
    stops = _stops(epochs, recorded, album.epochs)
    reviews = np.searchsorted(stops, np.linspace(0, epochs, REVIEWS + 1)[1:])
    pauses = np.union1d(reviews, np.searchsorted(stops, album.epochs))
    tally, evidence = train.tally_of(shape), model_of(shape).evidence
    own = [result.name for part in (tally, evidence) if part for result in part.results]
    table = Table(n_runs, epochs, recorded, own)
    lanes = np.arange(n_runs)  # which run each lane trains; lanes beyond these are padding
    at, width = 0, chunk.width
    saved = checkpoint.read()
    if saved is not None:
        at, width, lanes = int(saved["at"]), int(saved["width"]), saved["lanes"]
        table.restore(saved)
        album.restore(saved)
    now = program(shape, width)
    if saved is None and now.in_turn:
        lanes = _dealt(n_runs, width, min(n_devices, width))
    padded_lanes = lanes[np.minimum(np.arange(width), len(lanes) - 1)]
    columns = {name: values[padded_lanes] for name, values in _columns(shape, chunk.runs).items()}
    told, under_way = at, list[tuple[int, Recorded]]()  # calls that are not waited for yet, and where each ends

    def finish(left: int = 0) -> None:
        """Wait for calls under way, all but so many, and keep what they recorded."""
        nonlocal told
        while len(under_way) > left:
            told, found = under_way.pop(0)
            table.record(lanes, found)

    def carried() -> dict[str, np.ndarray]:
        finish()
        leaves = jax.device_get(jax.tree.leaves((state, log)))
        whole = {"at": np.array(at), "width": np.array(width), "lanes": lanes}
        whole |= {f"state/{i}": leaf for i, leaf in enumerate(leaves)}
        return whole | table.arrays(int(stops[at])) | album.arrays()

    with train.precision(shape):
        state, traced = train.start(shape, columns)
        log = empty(width, shape.dtype)
        if saved is not None:
            leaves, kinds = jax.tree.flatten((state, log))
            state, log = jax.tree.unflatten(kinds, [saved[f"state/{i}"] for i in range(len(leaves))])
        elif continued is not None:
            state = continuing.continued(shape, state, [continued[run] for run in padded_lanes])
        (state, traced), log = jax.device_put((state, traced), now.sharding), placed(log, now.sharding)
        if saved is None:
            album.take(0, state, lanes)
        while at < len(stops) - 1 and len(lanes):
            try:
                tell(int(stops[told]))
            except KeyboardInterrupt:
                checkpoint.write(carried())
                raise
            if checkpoint.is_due():
                checkpoint.write(carried())
            pause = int(pauses[np.searchsorted(pauses, at, side="right")])
            end = min(at + _n_stops(now, shape, width, stops[at:]), pause)
            state, report = now.call(state, traced, stops[at : end + 1])
            log, found = added(log, report, stops[at : end + 1], epochs, recorded, rests=rests)
            under_way.append((end, found))
            at = end
            finish(left=0 if at == pause else 1)  # the next call begins while the last one's report is read
            album.take(int(stops[at]), state, lanes)
            if at in reviews:
                needs = needed | (album.chosen & (stops[at] < album.epochs.max(initial=0)))
                settled = False if now.in_turn else jax.device_get(log.settled)[: len(lanes)]  # in turn, it skips
                kept = np.flatnonzero(~np.broadcast_to(settled, len(lanes)) | needs[lanes])
                before, width = width, _narrower(chunk, len(kept), width, n_devices, epochs - int(stops[at]))
                if at == len(stops) - 1 or len(kept) == 0 or width < before:
                    totals = {name: state._asdict()[name] for name in TOTALS} | state.window
                    found_out = state.tally | evaluation.evidence(shape, state.params, traced)
                    last, totals, found_out = jax.device_get((log, totals, found_out))
                    table.keep(lanes, last, totals, found_out)
                if len(kept) == 0 or width < before:
                    table.drop(np.delete(lanes, kept), stops[at:])
                    lanes = lanes[kept]
                    if len(kept):
                        now = program(shape, width)
                        index = kept[np.minimum(np.arange(width), len(kept) - 1)]
                        narrow = jax.tree.map(lambda array, index=index: array[index], (state, traced))
                        state, traced = jax.device_put(narrow, now.sharding)
                        log = placed(Log(*(array[index] for array in last)), now.sharding)
        index = _lanes_of(needed, lanes)
        ends = _fetched(continuing.ends(shape, state), index) if len(index) else {}
    for result in evidence.results if evidence else ():
        table.kept[OWN.format(result.name)][table.kept["epochs_done"] < epochs] = np.nan
    runs = chunk.runs.assign(**_levels(shape, chunk.runs))
    return Trained(table.of_runs(runs), table.of_curves(chunk.runs["run_id"].to_numpy()), ends, album.by_run())


class _Album:
    """Snapshots of the parameters of chosen runs at the epochs asked for, as far as the chunk goes."""

    def __init__(self, chunk: Chunk, record: Record) -> None:
        wanted = record.snapshots
        self.runs = chunk.runs
        self.chosen = np.zeros(len(chunk.runs), bool) if wanted is None else wanted.chosen(chunk.runs)
        self.epochs = np.zeros(0, int) if wanted is None or not self.chosen.any() else wanted.schedule(chunk.epochs)
        self.taken: list[dict[str, np.ndarray]] = []

    def take(self, epoch: int, state: train.State, lanes: np.ndarray) -> None:
        """Keep the parameters, as they are before the update of `epoch`, if that is asked for."""
        if epoch in self.epochs:
            self.taken.append(_fetched(state.params, _lanes_of(self.chosen, lanes)))

    def arrays(self) -> dict[str, np.ndarray]:
        """What has been taken, for a checkpoint."""
        names = self.taken[0] if self.taken else ()
        return {f"album/{name}": np.stack([taken[name] for taken in self.taken]) for name in names}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from `arrays`."""
        own = {name.removeprefix("album/"): arrays[name] for name in arrays if name.startswith("album/")}
        count = len(next(iter(own.values()), ()))
        self.taken = [{name: array[i] for name, array in own.items()} for i in range(count)]

    def by_run(self) -> dict[str, dict[str, np.ndarray]]:
        """Snapshots stacked for each chosen run, by run id."""
        chosen = self.runs.loc[self.chosen, "run_id"] if self.taken else []
        names = self.taken[0] if self.taken else ()
        return {
            run_id: {"epochs": self.epochs}
            | {name: np.stack([taken[name][i] for taken in self.taken]) for name in names}
            for i, run_id in enumerate(chosen)
        }


def _dealt(n_runs: int, width: int, n_devices: int) -> np.ndarray:
    """The run of each lane where devices, whose lanes lie side by side, are dealt one run after the other.

    Neighbours of a plan are alike, so that each device has as many of the runs that soon stand still.
    """
    dealt = np.arange(width).reshape(-1, n_devices).T.ravel()
    lanes: np.ndarray = dealt[dealt < n_runs]
    return lanes


def _lanes_of(chosen: np.ndarray, lanes: np.ndarray) -> np.ndarray:
    """The lanes of chosen runs, in the order of the runs."""
    index = np.flatnonzero(chosen[lanes])
    ordered: np.ndarray = index[np.argsort(lanes[index])]
    return ordered


def _fetched(arrays: Mapping[str, jax.Array], index: np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of arrays on the devices; where they are most of them, chosen here."""
    most = 2 * len(index) > len(next(iter(arrays.values())))
    found = jax.device_get([array if most else array[index] for array in arrays.values()])  # of a dict it sorts names
    return {name: array[index] if most else array for name, array in zip(arrays, found, strict=True)}


def _columns(shape: Shape, runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """What enters the program of each run, (runs,); numbers that are not whole as the table has them."""
    kinds = {name: float if kind.startswith("float") else kind for name, kind in shape.traced_types.items()}
    return {name: runs[name].to_numpy(dtype=kind) for name, kind in kinds.items()}


def _levels(shape: Shape, runs: pd.DataFrame) -> dict[str, Any]:
    """Columns of what a user's model and task declare, and of what outputs reach in the task that know nothing."""
    found: dict[str, Any] = {
        name: values for name, values in declared.numbers(runs, users=True).items() if not np.isnan(values).all()
    }
    task = task_of(shape)
    if task is None or task.levels is not None:
        return found
    with train.precision(shape):
        reached = levels.levels(shape, _columns(shape, runs))
    return found | dict(zip(declared.LEVELS, reached, strict=True))


def _n_stops(now: Program, shape: Shape, width: int, stops: np.ndarray) -> int:
    """How many stops the call from stops[0] on should have: by what they cost by the plan, one at the least.

    Never by the clock, so that slow machines and slow reading do not make calls more.
    """
    devices = now.sharding.mesh.devices
    seconds = plan.cost(shape).epoch_seconds * width / devices.size
    if devices.flat[0].platform != "cpu":
        seconds = max(seconds / GPU_CORES, GPU_EPOCH_SECONDS)
    within = int(np.searchsorted(stops, stops[0] + TURN_SECONDS / seconds, side="right")) - 1
    return min(max(within, 1), now.reports)


def _narrower(chunk: Chunk, alive: int, width: int, n_devices: int, epochs_left: int) -> int:
    """The width to go on with: halved as often as the runs alive allow, if the estimated saving is worth it."""
    smaller = width
    while smaller // 2 >= max(alive, n_devices) and smaller // 2 % n_devices == 0:
        smaller //= 2
    saved = plan.cost(chunk.shape).epoch_seconds * epochs_left * (width - smaller) / n_devices
    return smaller if saved > WORTHWHILE_SECONDS else width


def _stops(epochs: int, recorded: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where training pauses to report: after each recorded epoch, the first, the last ones, and in between.

    And before the epochs of which parameters are `kept`.

    Depends on nothing but the arguments, so that sums and therefore results never depend on speed.
    """
    recent = np.arange(max(0, epochs - RECENT_EPOCHS), epochs)
    wanted = np.unique(np.concatenate([recorded + 1, [1], recent + 1, kept[kept > 0]]))
    filled = [np.arange(a + train.MAX_GAP, b, train.MAX_GAP) for a, b in zip([0, *wanted[:-1]], wanted, strict=True)]
    return np.unique(np.concatenate([[0], wanted, *filled])).astype(np.int32)
