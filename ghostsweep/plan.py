"""From a sweep to work: the table of planned runs, groups that share a compiled program, chunks that fit."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.spec import CHOICES, FIELDS, Grid, Run, Shape, Sweep, fragment, is_null, kind, run_id, static_fields

_NAMED = ("model", "task", "n_units", "rank", "optimizer", "epochs", "seed", "parent", "dtype")
"""Fields beside the numbers that a chunk's `parameters` name also where all runs share them."""
STEPS = ("timescale", "dt_steps")
"""Fields that decide the number of steps of a simulated canonical form, and nothing of its closed form."""
NOISE = ("noise_sigma", "r0_sigma")
"""Fields of which a program only knows whether there is noise at all."""
CACHE_BYTES = 320_000
"""Weights of a CPU core's batch that stay in its cache from step to step."""


class Cost(NamedTuple):
    """Measured cost of one run, for chunk widths and estimates; never part of a result."""

    lanes: int
    """Runs per CPU device beyond which a wider batch is not faster."""
    epoch_seconds: float
    """Seconds that one epoch of one run takes on one core."""
    run_bytes: int
    """Working memory of one run in a batch."""


def cost(shape: Shape) -> Cost:
    """Cost of one run of a shape.

    Measured on one core of an AMD EPYC (Zen 4): canonical 2.7 ns an epoch at 4,096 runs a device (3.2 at 8,192,
    whose arrays leave the cache), simulated 3.1 ns an Euler step at 512 and 1,024 runs (3.6 at 128, 3.4 at 8,192, in
    float32 1.2), half of it the sigmoid; rank-one 1.35 ns per unit, step and epoch, flat from 64 to 300 runs; rank K
    2.2 + 0.33 K ns and full rank 3 + 0.12 N ns per unit, step, trial and epoch, and 9 ns per random number.

    Networks with weight matrices are fastest when the matrices of a batch stay in a core's cache. Us per run and
    epoch, N = 100, two cores, for 1, 4, 8, 16, 64, 150 runs a device: full rank on dcdt (30/80/50 ms) 60, 47, 45,
    45, 67, 77; on delayed activation (T = 20) full rank -, 37, 35, 36, 42, 52. Rank 1 took twice as long at 300 runs
    as at 150. One run after the other (`lax.map`) took 50 and 44 for the two full-rank tasks.
    """
    if shape.model == "canonical" and shape.timescale is None:
        return Cost(4096, 2.7e-9, 16 * 8 * 64)
    steps, units = shape.n_steps, shape.n_units or 0
    size = 8 if shape.dtype == "float64" else 4
    slower = 2.2 if shape.dtype == "float64" else 1.0
    if shape.model == "canonical":
        return Cost(1024, 1.4e-9 * steps * slower, 16 * 8 * 64)
    if shape.model == "rank_one":
        return Cost(300, 1.35e-9 * steps * units * slower, int(size * units * (2 * steps + 24)))
    rank = shape.rank
    states = steps * shape.n_trials * units
    weights = units * (2 * rank if rank else units)
    seconds = states * (2.2e-9 + 0.33e-9 * rank if rank else 3e-9 + 0.12e-9 * units) * slower
    lanes = int(np.clip(CACHE_BYTES // (size * weights), 4, 150))
    return Cost(lanes, seconds + 9e-9 * states * shape.noisy, size * (8 * states + 8 * weights + 32 * units))


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
        for name in FIELDS:
            values = self.runs[name].dropna().unique()
            if len(values) == 1 and (name in _NAMED or kind(name) == "float64"):
                words.append(f"{name} {values[0]}")
            elif len(values) > 1:
                words.append(f"{name} {min(values)} .. {max(values)} ({len(values)})")
        return f"{len(self.runs)} runs: {', '.join(words)}"

    @property
    def seconds(self) -> float:
        """Estimated core-seconds of training."""
        return cost(self.shape).epoch_seconds * self.epochs * len(self.runs)


def expand(sweep: Sweep) -> pd.DataFrame:
    """The planned runs of all phases: a row each with run_id and every field, without repetitions.

    Rows of a grid are the product of its axes, the last one fastest: CHOICES and axes with a null, on which other
    fields may depend, then the others by alphabet. Those of a later phase come after all of the phase before.
    """
    phases = [[_expand_grid(grid) for grid in sweep.grids]]
    for index, phase in enumerate(sweep.phases):
        continued = zip(phases[-1], phase.grids, strict=True)
        phases.append([_continue_grid(parents, grid, phase.axes, index + 2) for parents, grid in continued])
    table = pd.concat([part for parts in phases for part in parts], ignore_index=True)
    return table.drop_duplicates("run_id", ignore_index=True)


def _continue_grid(parents: pd.DataFrame, grid: Grid, axes: tuple[str, ...], phase: int) -> pd.DataFrame:
    """The runs of a later phase: every parent continued at every point of the phase's own `axes`."""
    inherited = [name for name in grid.axes if name not in axes]
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*(grid.axes[a] for a in axes))]
    places = {name: {value: i for i, value in enumerate(grid.axes[name])} for name in inherited}
    rows = []
    for parent in parents.to_dict("records"):
        # The values as the file has them: a table's column holds whole numbers as floats.
        values = {name: grid.axes[name][places[name][_nan_to_null(parent[name])]] for name in inherited}
        came_from = {
            "phase": phase,
            "parent": parent["run_id"],
            "first_epoch": parent["first_epoch"] + parent["epochs"],
        }
        for point in points:
            run = Run(**dict(grid.shared) | values | point | came_from)
            rows.append({"run_id": run.run_id} | run.model_dump())
    table = pd.DataFrame(rows, columns=["run_id", *FIELDS])
    return table.astype({name: _numpy_dtype(name) for name in FIELDS}).map(_null_to_nan)


def _null_to_nan(value: object) -> object:
    return np.nan if value is None else value


def _nan_to_null(value: object) -> object:
    return None if is_null(value) else value


def _expand_grid(grid: Grid) -> pd.DataFrame:
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    parts = []
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).model_dump()
        shape = [len(values) for values in axes.values()]
        index = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), int)
        columns = {
            name: np.asarray(list(axes[name]), dtype=_numpy_dtype(name))[index[list(axes).index(name)]]
            if name in axes
            else np.full(math.prod(shape), first[name] if first[name] is not None else np.nan, _numpy_dtype(name))
            for name in FIELDS
        }
        texts = [
            [fragment(first, name, _typed(name, value)) for value in axes.get(name, [first[name]])]
            for name in sorted(FIELDS)
        ]
        said = [fragments for fragments in texts if fragments != [""]]
        ids = [run_id(fragments) for fragments in itertools.product(*said)]
        parts.append(pd.DataFrame({"run_id": ids} | columns))
    return pd.concat(parts, ignore_index=True)


def lie_on(grid: Grid, runs: pd.DataFrame) -> np.ndarray:
    """Which rows of a table of runs are among those of a grid; booleans along `runs`. Nothing is written out."""
    result = np.zeros(len(runs), bool)
    names = sorted(grid.axes)
    chosen = [name for name in names if name in CHOICES or None in grid.axes[name]]
    axes = {name: grid.axes[name] for name in names if name not in chosen}
    for values in itertools.product(*(grid.axes[name] for name in chosen)):
        fixed = dict(grid.shared) | dict(zip(chosen, values, strict=True))
        first = Run(**fixed, **{name: values[0] for name, values in axes.items()}).model_dump()
        here = np.ones(len(runs), bool)
        for name in FIELDS:
            allowed = pd.Series(
                list(axes.get(name, [first[name]])), dtype=_numpy_dtype(name) if name in axes else object
            )
            here &= (runs[name].astype(object) if allowed.dtype == object else runs[name]).isin(allowed).to_numpy() | (
                runs[name].isna().to_numpy() & bool(allowed.isna().any())
            )
        result |= here
    return result


def _numpy_dtype(name: str) -> type:
    return {"string": object, "int64": int, "float64": float}[kind(name)]


def _typed(name: str, value: object) -> object:
    return float(value) if isinstance(value, int) and _numpy_dtype(name) is float else value


def widest(shape: Shape, n_devices: int, memory_bytes: float, *, wide: bool = False) -> int:
    """Most runs of a chunk: as many as `memory_bytes` per device allows and, unless `wide`, a CPU core can use.

    Raises UsageError if not even one run fits.
    """
    one = cost(shape)
    lanes = int(min(memory_bytes / one.run_bytes, 2**20 if wide else one.lanes))
    if lanes < 1:
        sizes = f"T = {shape.timescale}" if shape.n_units is None else f"{shape.n_units} units, {shape.n_steps} steps"
        raise UsageError(
            f"memory: found {memory_bytes * n_devices / 1e6:.3g} MB; allowed: {one.run_bytes * n_devices / 1e6:.3g} MB "
            f"or more, which one run a device takes ({shape.model}, {sizes}, devices: {n_devices})"
        )
    return lanes * n_devices


def chunks(
    runs: pd.DataFrame,
    n_devices: int,
    memory_bytes: float,
    *,
    wide: bool = False,
    left: np.ndarray | None = None,
) -> list[Chunk]:
    """Cut planned runs into chunks of one shape, phase and number of epochs, earlier phases first.

    Chunks of a group are equally wide (a multiple of `n_devices`, unless they are fewer), as few as `memory_bytes`
    per device allows and, unless `wide` (GPUs), no wider than a CPU core can use. `left` says which runs are to be
    trained, by default all. A chunk of which all are left is the same whatever is left of the others, so that an
    interrupted sweep goes on with the same chunks; what is left of the others is cut anew. Raises UsageError if not
    even one run fits.
    """
    result = []
    of_shape, which = shapes(runs)
    left = np.ones(len(runs), bool) if left is None else left
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
        result += [Chunk(shape, epochs, width, runs.iloc[part].reset_index(drop=True)) for part in whole]
        for first in range(0, len(others), width):
            part = runs.iloc[others[first : first + width]].reset_index(drop=True)
            result.append(Chunk(shape, epochs, padded(len(part), n_devices), part))
    return sorted(result, key=lambda chunk: chunk.phase)


class Shard(NamedTuple):
    """One of several shares of a sweep, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2/8". Raises UsageError for anything else."""
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise UsageError(f"shard: found {text!r}; allowed: i/n, from 1/n to n/n")

    def runs(self, planned: pd.DataFrame) -> pd.Series:
        """Ids of the runs of a plan that are its own."""
        own: pd.Series = planned.loc[shards(planned, self.of) == self.number - 1, "run_id"]
        return own

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards(runs: pd.DataFrame, n: int) -> np.ndarray:
    """Which of `n` shards, from 0, each planned run belongs to: about equal work, and the same wherever it is asked.

    A shard has runs of as few programs as can be, all learning rates of a seed, and all that goes on from its runs.
    """
    of_shape, which = shapes(runs)
    work = np.array([cost(shape).epoch_seconds for shape in of_shape])[which] * runs["epochs"].to_numpy()
    place = pd.Series(np.arange(len(runs)), runs["run_id"])
    root, phase = np.arange(len(runs)), runs["phase"].to_numpy()
    for number in range(2, phase.max() + 1):
        later = np.flatnonzero(phase == number)
        root[later] = root[place[runs["parent"].iloc[later]]]
    of_root = np.bincount(root, work, len(runs))
    firsts = np.flatnonzero(phase == 1)
    order = firsts[np.lexsort((runs["seed"].to_numpy()[firsts], which[firsts]))]
    middle = np.cumsum(of_root[order]) - of_root[order] / 2
    found = np.zeros(len(runs), int)
    found[order] = middle / of_root.sum() * n
    return found[root]


def halves(chunk: Chunk, n_devices: int) -> list[Chunk]:
    """A chunk as two of half the width, or as one where the other half was padding."""
    first = padded(math.ceil(len(chunk.runs) / 2), n_devices)
    parts = [chunk.runs.iloc[:first], chunk.runs.iloc[first:].reset_index(drop=True)]
    return [Chunk(chunk.shape, chunk.epochs, padded(len(part), n_devices), part) for part in parts if len(part)]


def padded(n_runs: int, n_devices: int) -> int:
    """Width of a batch of runs: equal shares for all devices, or one run each for as many devices as there are runs."""
    return n_runs if n_runs < n_devices else math.ceil(n_runs / n_devices) * n_devices


def deciding(models: Iterable[str]) -> set[str]:
    """Fields on whose values the shape of a run of these models may depend; on the others', whether they are null."""
    return {name for model in models for name in static_fields(model)} | {"dt_ms", *STEPS, *NOISE}


def shapes(runs: pd.DataFrame) -> tuple[list[Shape], np.ndarray]:
    """The different shapes of runs, and for every run the index of its own."""
    by_value = deciding(runs["model"].unique())
    keys = [runs[name] if name in by_value else runs[name].isna() for name in FIELDS]
    keys = [key for key in keys if key.nunique(dropna=False) > 1]
    codes = runs.groupby(keys, sort=False, dropna=False).ngroup() if keys else pd.Series(0, index=runs.index)
    firsts = runs.loc[~codes.duplicated(), list(FIELDS)].itertuples(index=False)
    of_code = [Shape.of(dict(zip(FIELDS, row, strict=True))) for row in firsts]
    found = list(dict.fromkeys(of_code))
    return found, np.array([found.index(shape) for shape in of_code])[codes]
