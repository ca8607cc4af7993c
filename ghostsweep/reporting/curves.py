"""Loss curves to few bytes: the runs of each cell that a page shows, their epochs, their losses to 0.1%.

Imports `store/` for its tables and no Altair.
"""

from typing import Any

import numpy as np
import pandas as pd

from ghostsweep.reporting.packing import packed

MAX_EPOCHS = 64
"""Epochs of a curve that are kept, spread as the recorded ones are, which is evenly on a logarithmic axis."""
MIN_EPOCHS = 8
STEPS = 65_533
"""Levels of a loss, from 1 on; 0 stands for one that is not finite."""
BYTES_A_LOSS = 8 / 3
"""Two, in base64."""


def data(runs: pd.DataFrame, curves: pd.DataFrame, firsts: np.ndarray, lasts: np.ndarray, room: int) -> dict[str, Any]:
    """The curves of cells, whose runs are runs[first:last], in at most about `room` bytes; seeds and outcomes beside.

    Where that is too little for all, each cell keeps as many curves as the room allows, those of its first seeds; where
    it is too little for one of each, they keep fewer epochs.
    Losses are kept as STEPS levels, even on a logarithmic axis where nearly all are positive (of a span of 20
    decades 0.07% each), those not positive then as the lowest.
    """
    schedules, of_run, losses = _by_run(runs, curves)
    rank = np.arange(len(runs)) - np.repeat(firsts, lasts - firsts)
    most, n_kept = _fitting(np.array([len(epochs) for epochs in schedules])[of_run], rank, room)
    kept_epochs = [epochs[thin(len(epochs), most)] for epochs in schedules]
    kept = np.flatnonzero(rank < n_kept)
    values = np.concatenate([losses[i][thin(len(losses[i]), most)] for i in kept] or [np.zeros(0)])
    finite = np.isfinite(values)
    positive = values > 0
    log = bool(positive[finite].mean() > 0.99) if finite.any() else True
    useful = values[finite & (positive | (not log))]
    low, high = (float(useful.min()), float(useful.max())) if len(useful) else (1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log10(np.maximum(values, low)) if log else values
        ends = (np.log10(low), np.log10(high)) if log else (low, high)
        step = (ends[1] - ends[0]) / STEPS or 1.0
        codes = np.where(finite, np.round((level - ends[0]) / step) + 1, 0).astype(int)
    epochs = np.concatenate(kept_epochs) if kept_epochs else np.zeros(0)
    return {
        "log": log,
        "log_epochs": bool(len(epochs) and np.median(epochs) < 0.3 * epochs.max()),
        "low": ends[0],
        "step": step,
        "schedules": [each.tolist() for each in kept_epochs],
        "schedule": packed(of_run[kept]),
        "losses": packed(codes),
        "per_cell": int(n_kept),
        "n": len(kept),
        "runs": len(runs),
        "epochs_kept": int(max(map(len, kept_epochs), default=0)),
        "epochs_recorded": int(max(map(len, schedules), default=0)),
        "zeros": int((finite & ~positive).sum()) if log else 0,
        "seeds": packed(runs["seed"].to_numpy(int)[kept]),
        "outcome": outcome(runs, firsts, lasts, int(n_kept)),
    }


def outcome(runs: pd.DataFrame, firsts: np.ndarray, lasts: np.ndarray, per_cell: int) -> dict[str, Any]:
    """What became of the runs whose curves are kept, `per_cell` of each cell: places among the outcomes of `runs`."""
    rank = np.arange(len(runs)) - np.repeat(firsts, lasts - firsts)
    return packed(runs["outcome"].cat.codes.to_numpy(int)[rank < per_cell])


def thin(n: int, most: int = MAX_EPOCHS) -> np.ndarray:
    """Which of n recorded epochs are kept: all, or `most` spread evenly, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else np.zeros(0, int)


def _fitting(length: np.ndarray, rank: np.ndarray, room: int) -> tuple[int, int]:
    """How many epochs of a curve, and curves of each cell, fit in so many bytes; at least MIN_EPOCHS, and one.

    length: recorded epochs of each run; rank: which of its cell's runs it is.
    """
    most = MAX_EPOCHS
    while True:
        cost = np.cumsum(np.bincount(rank, weights=np.minimum(length, most) * BYTES_A_LOSS + 4))
        fitting = int(np.searchsorted(cost, room, side="right"))
        if fitting or most <= MIN_EPOCHS:
            return most, max(fitting, 1)
        most //= 2


def _by_run(runs: pd.DataFrame, curves: pd.DataFrame) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """The distinct lists of recorded epochs, of each run which, and its losses; of a run without a curve none."""
    where = pd.Index(runs["run_id"].astype(object)).get_indexer(pd.Index(curves["run_id"].astype(object)))
    epoch, loss = curves["epoch"].to_numpy(), curves["loss"].to_numpy(dtype=float)
    order = np.lexsort((epoch, where))
    order = order[where[order] >= 0]
    where, epoch, loss = where[order], epoch[order], loss[order]
    starts = np.searchsorted(where, np.arange(len(runs) + 1))
    known: dict[bytes, int] = {}
    schedules: list[np.ndarray] = []
    of_run = np.zeros(len(runs), int)
    losses = []
    for i, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        key = epoch[a:b].tobytes()
        if key not in known:
            known[key] = len(schedules)
            schedules.append(epoch[a:b])
        of_run[i] = known[key]
        losses.append(loss[a:b])
    return schedules, of_run, losses
