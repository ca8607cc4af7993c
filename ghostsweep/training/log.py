"""What a chunk's reports add up to: on the devices beside the runs, from where it crosses to the host once."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from ghostsweep.machine import ambient
from ghostsweep.spec import RECENT_EPOCHS
from ghostsweep.training.train import MIN_WINDOW, Report

TOTALS = ("epochs_done", "min_loss", "min_loss_epoch", "max_accuracy", "learned_epoch")
"""What is kept of a `train.State`."""
OWN = "own/{}"
"""How results that models and tasks declare are kept, which may have the name of anything here."""
CURVES = ("loss", "grad_norm", "accuracy", "weight_norm")


class Log(NamedTuple):
    """What is known of the runs of a batch, arrays (runs,); sums are float64, whatever the precision of the runs."""

    loss_sum: jax.Array
    grad_norm_sum: jax.Array
    recent_loss_sum: jax.Array  # of the last RECENT_EPOCHS epochs, as far as training has come
    recent_grad_norm_sum: jax.Array
    recent_max_accuracy: jax.Array
    initial_loss: jax.Array
    initial_grad_norm: jax.Array
    loss: jax.Array  # this and the following: at the last stop
    grad_norm: jax.Array
    accuracy: jax.Array
    weight_norm: jax.Array
    settled: jax.Array  # whether the run can no longer change


def empty(width: int, dtype: str) -> Log:
    """That of runs before their first epoch."""
    nothing = {name: np.zeros(width, "float64" if "_sum" in name else dtype) for name in Log._fields}
    nothing |= {"recent_max_accuracy": np.full(width, np.nan, dtype), "settled": np.zeros(width, bool)}
    return Log(**nothing)  # type: ignore[arg-type]


def placed(log: Log, sharding: jax.sharding.Sharding) -> Log:
    """The log on the devices."""
    with ambient.pinned(x64=True):
        found: Log = jax.device_put(log, sharding)
    return found


class Recorded(NamedTuple):
    """What a call leaves for the table of curves, not waited for: rows (fields, runs) of epochs, and its end."""

    epochs: np.ndarray
    rows: list[jax.Array]
    over: jax.Array

    def fetched(self) -> list[np.ndarray]:
        """The rows, once they are there."""
        if not self.rows:
            jax.block_until_ready(self.over)
        rows: list[np.ndarray] = jax.device_get(self.rows)
        return rows


def added(
    log: Log, report: Report, stops: np.ndarray, epochs: int, recorded: np.ndarray, *, rests: bool
) -> tuple[Log, Recorded]:
    """Add the reports of a call from stops[0] to the last; of runs of so many epochs, some of which are recorded.

    rests: whether runs without any gradient never move again.
    """
    ends = stops[1:] - 1
    found = np.flatnonzero(np.isin(ends, recorded))
    recent = np.searchsorted(ends, epochs - RECENT_EPOCHS)
    with ambient.pinned(x64=True):
        log = _add(log, report, stops[0] == 0, np.int32(len(ends)), np.int32(recent), np.bool_(rests))
        return log, Recorded(ends[found], [_row(report, np.int32(i)) for i in found], log.loss_sum)


@jax.jit
def _add(log: Log, report: Report, first: Any, count: Any, recent: Any, rests: Any) -> Log:
    """Add `count` stops, those from index `recent` on of the last epochs; of the first call where `first`.

    Sums are taken one by one, so that rounding does not depend on how many came together.
    """

    def at(field: Any, index: Any) -> jax.Array:
        found: jax.Array = field[index].astype(jnp.float64)
        return found

    def total(index: Any, log: Log) -> Log:
        return log._replace(
            loss_sum=log.loss_sum + at(report.loss_sum, index),
            grad_norm_sum=log.grad_norm_sum + at(report.grad_norm_sum, index),
        )

    def late(index: Any, log: Log) -> Log:
        return log._replace(
            recent_loss_sum=log.recent_loss_sum + at(report.loss, index),
            recent_grad_norm_sum=log.recent_grad_norm_sum + at(report.grad_norm, index),
            recent_max_accuracy=jnp.fmax(log.recent_max_accuracy, report.accuracy[index]),
        )

    log = lax.fori_loop(recent, count, late, lax.fori_loop(0, count, total, log))
    last: Report = jax.tree.map(lambda field: field[count - 1], report)
    return log._replace(
        initial_loss=jnp.where(first, report.loss[0], log.initial_loss),
        initial_grad_norm=jnp.where(first, report.grad_norm[0], log.initial_grad_norm),
        settled=~(jnp.isfinite(last.loss) & jnp.isfinite(last.grad_norm)) | (rests & (last.slope == 0)),
        **{name: getattr(last, name) for name in CURVES},
    )


@jax.jit
def _row(report: Report, index: Any) -> jax.Array:
    return jnp.stack([getattr(report, name)[index] for name in CURVES])


class Table:
    """What has come to the host, of all runs of a chunk: `kept` (runs,) by name, `rows` (fields, recorded, runs)."""

    def __init__(self, n_runs: int, epochs: int, recorded: np.ndarray, own: Iterable[str]) -> None:
        self.epochs, self.recorded = epochs, recorded
        names = (*TOTALS, MIN_WINDOW, *Log._fields[:-1])
        self.kept = {name: np.full(n_runs, np.nan) for name in (*names, *map(OWN.format, own))}
        self.rows = np.zeros((len(CURVES), len(recorded), n_runs))

    def arrays(self, epoch: int) -> dict[str, np.ndarray]:
        """All of it at an epoch, for a checkpoint."""
        rows = self.rows[:, : np.searchsorted(self.recorded, epoch)]
        return {f"kept/{name}": array for name, array in self.kept.items()} | {"rows": rows}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from `arrays`."""
        self.kept = {name: arrays[f"kept/{name}"] for name in self.kept}
        self.rows[:, : arrays["rows"].shape[1]] = arrays["rows"]

    def record(self, lanes: np.ndarray, found: Recorded) -> None:
        """Keep what a call has recorded of the runs in `lanes`."""
        for place, values in zip(np.searchsorted(self.recorded, found.epochs), found.fetched(), strict=True):
            self.rows[:, place, lanes] = values[:, : len(lanes)]

    def keep(self, lanes: np.ndarray, log: Log, totals: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Keep what is known of the runs in `lanes`: the log, what is kept of their state, and their own results."""
        for name, array in {**log._asdict(), **totals, **{OWN.format(name): own[name] for name in own}}.items():
            if name in self.kept:
                self.kept[name][lanes] = array[: len(lanes)]

    def drop(self, runs: np.ndarray, stops: np.ndarray) -> None:
        """Runs that can no longer change go on as they were last seen, from stops[0] to the last.

        Those that are finite count as trained to the end.
        """
        own = {name: array[runs] for name, array in self.kept.items()}
        finite = np.isfinite(own["loss"]) & np.isfinite(own["grad_norm"])
        for end, length in zip(stops[1:] - 1, np.diff(stops), strict=True):
            for name in ("loss", "grad_norm"):
                own[f"{name}_sum"] += np.where(finite, own[name], 0) * length
                if end >= self.epochs - RECENT_EPOCHS:
                    own[f"recent_{name}_sum"] += own[name]
            if end >= self.epochs - RECENT_EPOCHS:
                own["recent_max_accuracy"] = np.fmax(own["recent_max_accuracy"], own["accuracy"])
        own["epochs_done"][finite] = self.epochs
        for name, array in own.items():
            self.kept[name][runs] = array
        places = np.flatnonzero(self.recorded >= stops[0])
        for rows, name in zip(self.rows, CURVES, strict=True):
            rows[np.ix_(places, runs)] = own[name]

    def of_runs(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs with the results of each."""
        of = self.kept
        done = of["epochs_done"].astype(np.int64)
        learned = pd.Series(of["learned_epoch"], dtype="Int64")
        n_recent = min(RECENT_EPOCHS, self.epochs)
        recent = of["recent_loss_sum"] / n_recent
        lowest = np.where(np.isinf(of[MIN_WINDOW]), recent, np.fmin(of[MIN_WINDOW] / RECENT_EPOCHS, recent))
        results: dict[str, Any] = {
            "status": np.where(of["epochs_done"] < self.epochs, "diverged", "done"),
            "epochs_done": done,
            "initial_loss": of["initial_loss"],
            "final_loss": of["loss"],
            "mean_loss": of["loss_sum"] / np.maximum(done, 1),
            "min_loss": of["min_loss"],
            "min_loss_epoch": of["min_loss_epoch"].astype(np.int64),
            "recent_mean_loss": recent,
            "min_recent_mean_loss": np.where(np.isnan(of[MIN_WINDOW]), np.nan, lowest),
            "initial_grad_norm": of["initial_grad_norm"],
            "final_grad_norm": of["grad_norm"],
            "mean_grad_norm": of["grad_norm_sum"] / np.maximum(done, 1),
            "recent_mean_grad_norm": of["recent_grad_norm_sum"] / n_recent,
            "final_accuracy": of["accuracy"],
            "max_accuracy": of["max_accuracy"],
            "recent_max_accuracy": of["recent_max_accuracy"],
            "learned_epoch": learned.mask(learned < 0),
            "final_weight_norm": of["weight_norm"],
        }
        own = {name.removeprefix(OWN.format("")): of[name] for name in of if name.startswith(OWN.format(""))}
        return runs.assign(**results | own)

    def of_curves(self, run_ids: np.ndarray) -> pd.DataFrame:
        """The table of curves, run after run."""
        columns = dict(zip(CURVES, (field.T.ravel() for field in self.rows), strict=True))
        epochs = np.tile(self.recorded, len(run_ids))
        return pd.DataFrame({"run_id": run_ids.repeat(len(self.recorded)), "epoch": epochs} | columns)
