"""What a command knows of the runs of a sweep: one object, made once, which all that counts or cuts them asks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from ghostsweep.declare import Shape
from ghostsweep.machine import resources
from ghostsweep.plan.expanding import expand
from ghostsweep.plan.programs import shapes
from ghostsweep.spec import Sweep

PLANNED_BYTES, REFINED_BYTES = 350, 1_200
"""Memory that a run takes at most while a sweep is planned and it is looked what is left, as measured of a million."""


def require_memory(sweep: Sweep) -> None:
    """Raise UsageError where memory has not room for the plan of a sweep."""
    each = REFINED_BYTES if sweep.refine else PLANNED_BYTES
    resources.require(each * sweep.n_runs, f"{sweep.name}: found {sweep.n_runs:,} runs to plan")


@dataclass(frozen=True, eq=False)
class Plan:
    """Runs of a sweep in planned order: all of them, or a part that knows what the whole has found out.

    runs: a row each with run_id and every field, numbered from 0. is_left: which are to be trained, booleans along
    them: all, until a result folder has been looked at. came_from: the plan that this is a part of, and its rows there.
    """

    sweep: Sweep
    runs: pd.DataFrame
    is_left: np.ndarray
    came_from: "tuple[Plan, np.ndarray | slice] | None" = None

    @classmethod
    def of(cls, sweep: Sweep, runs: pd.DataFrame | None = None) -> Self:
        """The plan of all runs of a sweep, or of some that are known already."""
        if runs is None:
            require_memory(sweep)
        runs = expand(sweep) if runs is None else runs.reset_index(drop=True)
        return cls(sweep, runs, np.ones(len(runs), bool))

    @cached_property
    def programs(self) -> tuple[list[Shape], np.ndarray]:
        """The different shapes of the whole, and for every run here the index of its own."""
        if self.came_from is None:
            return shapes(self.runs)
        whole, rows = self.came_from
        found, which = whole.programs
        return found, which[rows]

    def part(self, mask: np.ndarray) -> "Plan":
        """The runs at which `mask`, booleans along `runs`, is true."""
        if mask.all():
            return self
        rows = np.flatnonzero(mask)
        return Plan(self.sweep, self.runs.iloc[rows].reset_index(drop=True), self.is_left[rows], (self, rows))

    def among(self, run_ids: pd.Series) -> "Plan":
        """The runs that have one of these ids."""
        return self.part(self.runs["run_id"].astype(object).isin(run_ids).to_numpy())

    def leaving(self, is_left: np.ndarray) -> "Plan":
        """The same runs, of which these are to be trained."""
        return Plan(self.sweep, self.runs, is_left, (self, slice(None)))

    @property
    def left(self) -> "Plan":
        """The runs that are to be trained."""
        return self.part(self.is_left)
