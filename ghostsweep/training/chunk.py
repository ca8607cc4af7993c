"""Trains one chunk: calls of the compiled program, what is kept of each, and runs that may stop early."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.declare import Shape
from ghostsweep.models import model_of, task_of
from ghostsweep.plan import Chunk
from ghostsweep.spec import RECENT_EPOCHS, Record
from ghostsweep.store import declared
from ghostsweep.training import levels, train
from ghostsweep.training.checkpoint import Checkpoint
from ghostsweep.training.programs import Program

TURN_SECONDS = 0.5
"""How long one call of the compiled program should take, so that progress and Ctrl-C are prompt."""
REVIEWS = 16
"""How often a chunk is searched for runs that can no longer change."""
WORTHWHILE_SECONDS = 5.0
"""Estimated saving above which a narrower program is compiled for the runs that are left."""
TOTALS = ("epochs_done", "min_loss", "min_loss_epoch", "max_accuracy", "learned_epoch")


class Trained(NamedTuple):
    """What training a chunk leaves."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    ends: dict[str, np.ndarray]
    """`train.ends` of the runs asked for, in the order of their rows, along the first axis."""
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
    album = _Album(chunk, record)
    stops = _stops(epochs, record.schedule(epochs), album.epochs)
    reviews = np.searchsorted(stops, np.linspace(0, epochs, REVIEWS + 1)[1:])
    pauses = np.union1d(reviews, np.searchsorted(stops, album.epochs))
    log = _Log(n_runs, epochs, record.schedule(epochs))
    tally, evidence = train.tally_of(shape), model_of(shape).evidence
    own = [result.name for part in (tally, evidence) if part for result in part.results]
    totals = {name: np.zeros(n_runs) for name in TOTALS} | {name: np.full(n_runs, np.nan) for name in own}
    stopped = np.zeros(n_runs, bool)  # dropped, and finite
    lanes = np.arange(n_runs)  # which run each lane trains; lanes beyond these are padding
    at, width = 0, chunk.width
    saved = checkpoint.read()
    if saved is not None:
        at, width, lanes, stopped = int(saved["at"]), int(saved["width"]), saved["lanes"], saved["stopped"]
        totals = {name: saved[f"totals/{name}"] for name in totals}
        log.restore(saved)
        album.restore(saved)
    now, turn = program(shape, width), 8
    if saved is None and now.in_turn:
        lanes = _dealt(n_runs, width, min(n_devices, width))
    padded_lanes = lanes[np.minimum(np.arange(width), len(lanes) - 1)]
    columns = {name: values[padded_lanes] for name, values in _columns(shape, chunk.runs).items()}

    def carried() -> dict[str, np.ndarray]:
        whole = {"at": np.array(at), "width": np.array(width), "lanes": lanes, "stopped": stopped}
        whole |= {f"totals/{name}": total for name, total in totals.items()}
        whole |= {f"state/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        return whole | log.arrays() | album.arrays()

    with train.precision(shape):
        state, traced = train.start(shape, columns)
        if saved is not None:
            leaves = [jnp.array(saved[f"state/{i}"]) for i in range(len(jax.tree.leaves(state)))]
            state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        elif continued is not None:
            state = train.continued(shape, state, [continued[run] for run in padded_lanes])
        state, traced = jax.device_put((state, traced), now.sharding)
        if saved is None:
            album.take(0, state, lanes)
        while at < len(stops) - 1 and len(lanes):
            try:
                tell(int(stops[at]))
            except KeyboardInterrupt:
                checkpoint.write(carried())
                raise
            if checkpoint.is_due():
                checkpoint.write(carried())
            pause = int(pauses[np.searchsorted(pauses, at, side="right")])
            count = min(turn, pause - at)
            began = time.perf_counter()
            padded = np.full(train.MAX_STOPS + 1, epochs, np.int32)
            padded[: count + 1] = stops[at : at + count + 1]
            state, report = now.call(state, traced, jnp.asarray(padded), jnp.asarray(count, jnp.int32))
            values = train.Report(*(np.asarray(field)[:count, : len(lanes)].astype(float) for field in report))
            log.add(stops[at : at + count + 1], lanes, values)
            at += count
            album.take(int(stops[at]), state, lanes)
            took = time.perf_counter() - began
            turn = int(np.clip(turn * TURN_SECONDS / max(took, 1e-6), max(1, turn // 2), turn * 2))
            turn = min(turn, train.MAX_STOPS)
            if at in reviews:
                for name in TOTALS:
                    totals[name][lanes] = np.asarray(getattr(state, name))[: len(lanes)]
                for name, array in state.tally.items():
                    totals[name][lanes] = np.asarray(array)[: len(lanes)]
                needs = needed | (album.chosen & (stops[at] < album.epochs.max(initial=0)))
                stays = now.in_turn | ~_settled(shape, log.last, lanes) | needs[lanes]  # in turn, a still run skips
                kept = np.flatnonzero(stays)
                before, width = width, _narrower(chunk, len(kept), width, n_devices, epochs - int(stops[at]))
                if at == len(stops) - 1 or len(kept) == 0 or width < before:
                    for name, array in train.evidence(shape, state, traced).items():
                        totals[name][lanes] = np.asarray(array)[: len(lanes)]
                if len(kept) == 0 or width < before:
                    dropped = np.delete(lanes, kept)
                    stopped[dropped[np.isfinite(log.last.loss[dropped] + log.last.grad_norm[dropped])]] = True
                    lanes = lanes[kept]
                    if len(kept):
                        now = program(shape, width)
                        index = kept[np.minimum(np.arange(width), len(kept) - 1)]
                        narrow = jax.tree.map(lambda array, index=index: array[index], (state, traced))
                        state, traced = jax.device_put(narrow, now.sharding)
        index = _lanes_of(needed, lanes)
        ends = {name: np.asarray(leaf)[index] for name, leaf in train.ends(shape, state).items()} if len(index) else {}
    log.add(stops[at:], lanes[:0], None)
    totals["epochs_done"][stopped] = epochs  # had they gone on, nothing would have changed
    for result in evidence.results if evidence else ():
        totals[result.name][totals["epochs_done"] < epochs] = np.nan
    runs = chunk.runs.assign(**_levels(shape, chunk.runs))
    rows = _run_rows(runs, totals, log), _curve_rows(chunk.runs, log.recorded, log.rows)
    return Trained(*rows, ends, album.by_run())


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
            index = _lanes_of(self.chosen, lanes)
            self.taken.append({name: np.asarray(array)[index] for name, array in state.params.items()})

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


def _settled(shape: Shape, last: train.Report, lanes: np.ndarray) -> np.ndarray:
    """Which lanes can no longer change: not finite any more, or without any gradient where that means no update."""
    finite = np.isfinite(last.loss[lanes]) & np.isfinite(last.grad_norm[lanes])
    still = last.slope[lanes] == 0 if train.stands_still(shape) else np.zeros(len(lanes), bool)
    result: np.ndarray = ~finite | still
    return result


def _narrower(chunk: Chunk, alive: int, width: int, n_devices: int, epochs_left: int) -> int:
    """The width to go on with: halved as often as the runs alive allow, if the estimated saving is worth it."""
    smaller = width
    while smaller // 2 >= max(alive, n_devices) and smaller // 2 % n_devices == 0:
        smaller //= 2
    saved = plan.cost(chunk.shape).epoch_seconds * epochs_left * (width - smaller) / n_devices
    return smaller if saved > WORTHWHILE_SECONDS else width


class _Log:
    """What a chunk's reports add up to; runs that were dropped go on as they were last seen."""

    def __init__(self, n_runs: int, epochs: int, recorded: np.ndarray) -> None:
        self.epochs, self.recorded = epochs, recorded
        self.loss_sum, self.grad_norm_sum = np.zeros(n_runs), np.zeros(n_runs)
        self.initial: list[train.Report] = []
        self.recent: list[train.Report] = []
        self.rows: list[train.Report] = []  # of the recorded epochs
        self.last = train.Report(*np.zeros((len(train.Report._fields), n_runs)))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, for a checkpoint; lists of reports with shape (reports, fields, runs)."""
        reports = {name: np.array(getattr(self, name)) for name in ("initial", "recent", "rows", "last")}
        whole = {"loss_sum": self.loss_sum, "grad_norm_sum": self.grad_norm_sum} | reports
        return {f"log/{name}": array for name, array in whole.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from `arrays`."""
        self.loss_sum, self.grad_norm_sum = arrays["log/loss_sum"], arrays["log/grad_norm_sum"]
        self.initial, self.recent, self.rows = (
            [train.Report(*report) for report in arrays[f"log/{name}"]] for name in ("initial", "recent", "rows")
        )
        self.last = train.Report(*arrays["log/last"])

    def add(self, stops: np.ndarray, lanes: np.ndarray, values: train.Report | None) -> None:
        """Add reports at stops[1:], `values` of shape (len(stops) - 1, len(lanes)) from the runs in `lanes`."""
        count = len(stops) - 1
        if count == 0:
            return
        full = train.Report(*(np.repeat(field[None], count, axis=0) for field in self.last))
        length = np.diff(stops)[:, None]
        finite = np.isfinite(self.last.loss) & np.isfinite(self.last.grad_norm)
        full.loss_sum[:] = np.where(finite, self.last.loss, 0) * length
        full.grad_norm_sum[:] = np.where(finite, self.last.grad_norm, 0) * length
        if values is not None:
            for whole, part in zip(full, values, strict=True):
                whole[:, lanes] = part
        for loss, grad_norm in zip(full.loss_sum, full.grad_norm_sum, strict=True):
            self.loss_sum += loss  # one by one, so that rounding does not depend on how many came together
            self.grad_norm_sum += grad_norm
        ends = stops[1:] - 1
        self.initial += _at(full, ends == 0)
        self.rows += _at(full, np.isin(ends, self.recorded))
        self.recent += _at(full, ends >= self.epochs - RECENT_EPOCHS)
        (self.last,) = _at(full, np.arange(count) == count - 1)


def _at(values: train.Report, chosen: np.ndarray) -> list[train.Report]:
    return [train.Report(*(field[i] for field in values)) for i in np.flatnonzero(chosen)]


def _stops(epochs: int, recorded: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where training pauses to report: after each recorded epoch, the first, the last ones, and in between.

    And before the epochs of which parameters are `kept`.

    Depends on nothing but the arguments, so that sums and therefore results never depend on speed.
    """
    recent = np.arange(max(0, epochs - RECENT_EPOCHS), epochs)
    wanted = np.unique(np.concatenate([recorded + 1, [1], recent + 1, kept[kept > 0]]))
    filled = [np.arange(a + train.MAX_GAP, b, train.MAX_GAP) for a, b in zip([0, *wanted[:-1]], wanted, strict=True)]
    return np.unique(np.concatenate([[0], wanted, *filled])).astype(np.int32)


def _run_rows(
    runs: pd.DataFrame,
    totals: Mapping[str, np.ndarray],
    log: "_Log",
) -> pd.DataFrame:
    initial, recent, last = log.initial[0], log.recent, log.recent[-1]
    done = totals["epochs_done"].astype(np.int64)
    learned = pd.Series(totals["learned_epoch"], dtype="Int64")
    results: dict[str, Any] = {
        "status": np.where(done < runs["epochs"].to_numpy(), "diverged", "done"),
        "epochs_done": done,
        "initial_loss": initial.loss,
        "final_loss": last.loss,
        "mean_loss": log.loss_sum / np.maximum(done, 1),
        "min_loss": totals["min_loss"].astype(float),
        "min_loss_epoch": totals["min_loss_epoch"].astype(np.int64),
        "recent_mean_loss": np.mean([row.loss for row in recent], axis=0),
        "initial_grad_norm": initial.grad_norm,
        "final_grad_norm": last.grad_norm,
        "mean_grad_norm": log.grad_norm_sum / np.maximum(done, 1),
        "recent_mean_grad_norm": np.mean([row.grad_norm for row in recent], axis=0),
        "final_accuracy": last.accuracy,
        "max_accuracy": totals["max_accuracy"].astype(float),
        "recent_max_accuracy": np.fmax.reduce([row.accuracy for row in recent], axis=0),
        "learned_epoch": learned.mask(learned < 0),
        "final_weight_norm": last.weight_norm,
    }
    results |= {name: values for name, values in totals.items() if name not in TOTALS}
    return runs.assign(**results)


def _curve_rows(runs: pd.DataFrame, recorded: np.ndarray, rows: list[train.Report]) -> pd.DataFrame:
    stacked = {
        name: np.stack([getattr(row, name) for row in rows], axis=1).ravel()
        for name in ("loss", "grad_norm", "accuracy", "weight_norm")
    }
    ids = runs["run_id"].to_numpy().repeat(len(recorded))
    return pd.DataFrame({"run_id": ids, "epoch": np.tile(recorded, len(runs))} | stacked)
