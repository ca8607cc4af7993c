"""Chunks: runs of one program that are trained together, as wide as memory and cache allow."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models.sizes import cost
from ghostsweep.plan.planned import Plan
from ghostsweep.spec import every_field

_NAMED = ("model", "task", "n_units", "rank", "optimizer", "epochs", "seed", "parent", "dtype")
"""Fields beside the numbers that a chunk's `parameters` name also where all runs share them."""


@dataclass(frozen=True)
class Chunk:
    """Runs trained together: one row of `runs` each, padded to `width` lanes, all for `epochs` epochs."""

    shape: Shape
    epochs: int
    width: int
    runs: pd.DataFrame

    @property
    def phase(self) -> int:
        """The phase of its runs, from 1."""
        return int(self.runs["phase"].iloc[0])

    @property
    def parameters(self) -> str:
        """Its runs in words: the fields that they share, and the span of those that vary."""
        words = []
        for name, field in every_field().items():
            if name not in self.runs:
                continue
            values = self.runs[name].dropna().unique()
            if len(values) == 1 and (name in _NAMED or field.kind is not str):
                words.append(f"{name} {values[0]}")
            elif len(values) > 1:
                words.append(f"{name} {min(values)} .. {max(values)} ({len(values)})")
        return f"{len(self.runs)} runs: {', '.join(words)}"

    @property
    def seconds(self) -> float:
        """Estimated core-seconds of training."""
        return cost(self.shape).epoch_seconds * self.epochs * len(self.runs)


def widest(shape: Shape, n_devices: int, memory_bytes: float, *, wide: bool = False) -> int:
    """Most runs of a chunk: as many as `memory_bytes` per device allows and, unless `wide`, a CPU core can use.

    Raises UsageError if not even one run fits.
    """
    one = cost(shape)
    lanes = int(min(memory_bytes / one.run_bytes, 2**20 if wide else one.lanes))
    if lanes < 1:
        sizes = ", ".join([shape.model, *shape.sizes_in_words])
        raise UsageError(
            f"memory: found {memory_bytes * n_devices / 1e6:.3g} MB; allowed: {one.run_bytes * n_devices / 1e6:.3g} MB "
            f"or more, which one run a device takes ({sizes}, devices: {n_devices})"
        )
    return lanes * n_devices


def chunks(planned: Plan, n_devices: int, memory_bytes: float, *, wide: bool = False) -> list[Chunk]:
    """Cut what is left of a plan into chunks of one shape, phase and number of epochs, earlier phases first.

    Chunks of a group are equally wide (a multiple of `n_devices`, unless they are fewer), as few as `memory_bytes`
    per device allows and, unless `wide` (GPUs), no wider than a CPU core can use. A chunk of which all runs are left
    is the same whatever is left of the others, so that an interrupted sweep goes on with the same chunks; what is left
    of the others is cut anew. Raises UsageError if not even one run fits.
    """
    result = []
    (of_shape, which), runs, left = planned.programs, planned.runs, planned.is_left
    groups = runs.groupby([which, runs["epochs"].to_numpy(), runs["phase"].to_numpy()], sort=False).indices
    for key, rows in groups.items():
        if not left[rows].any():
            continue
        shape, epochs = of_shape[key[0]], int(key[1])  # type: ignore[index]
        n_chunks = math.ceil(len(rows) / widest(shape, n_devices, memory_bytes, wide=wide))
        width = padded(math.ceil(len(rows) / n_chunks), n_devices)
        cut = [rows[first : first + width] for first in range(0, len(rows), width)]
        whole = [part for part in cut if left[part].all()]
        others = np.concatenate([rows[:0], *(part[left[part]] for part in cut if not left[part].all())])
        result += [Chunk(shape, epochs, width, _rows(runs, np.asarray(part))) for part in whole]
        for first in range(0, len(others), width):
            part = _rows(runs, others[first : first + width])
            result.append(Chunk(shape, epochs, padded(len(part), n_devices), part))
    return sorted(result, key=lambda chunk: chunk.phase)


def _rows(runs: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Some rows, ascending, numbered from 0; those that lie side by side are not copied, which for millions adds up."""
    together = len(rows) == rows[-1] - rows[0] + 1
    return runs.iloc[slice(rows[0], rows[-1] + 1) if together else rows].reset_index(drop=True)


def halves(chunk: Chunk, n_devices: int) -> list[Chunk]:
    """A chunk as two of half the width, or as one where the other half was padding."""
    first = padded(math.ceil(len(chunk.runs) / 2), n_devices)
    parts = [chunk.runs.iloc[:first], chunk.runs.iloc[first:].reset_index(drop=True)]
    return [Chunk(chunk.shape, chunk.epochs, padded(len(part), n_devices), part) for part in parts if len(part)]


def padded(n_runs: int, n_devices: int) -> int:
    """Width of a batch of runs: equal shares for all devices, or one run each for as many devices as there are runs."""
    return n_runs if n_runs < n_devices else math.ceil(n_runs / n_devices) * n_devices
