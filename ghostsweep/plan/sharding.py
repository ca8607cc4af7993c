"""Shares of a sweep for several processes: the same wherever they are asked for."""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.models.sizes import cost
from ghostsweep.plan.planned import Plan


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

    def runs(self, whole: Plan) -> pd.Series:
        """Ids of the runs of a whole sweep that are its own."""
        own: pd.Series = whole.runs.loc[shards(whole, self.of) == self.number - 1, "run_id"]
        return own

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards(planned: Plan, n: int) -> np.ndarray:
    """Which of `n` shards, from 0, each planned run belongs to: about equal work, and the same wherever it is asked.

    A shard has runs of as few programs as can be, all learning rates of a seed, and all that goes on from its runs.
    """
    (of_shape, which), runs = planned.programs, planned.runs
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
