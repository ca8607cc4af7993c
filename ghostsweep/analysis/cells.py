"""The cells of a sweep: all runs that differ in nothing but learning rate and seed."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.analysis.outcomes import CRITERIA, OUTCOMES, Criteria, numbers, outcomes, require_columns
from ghostsweep.errors import UsageError
from ghostsweep.store.columns import field_names

# A field that is not listed must split cells, never be pooled in silence: hence the list of what is NOT one.
# `parent`, the run that one goes on from, is told apart by its seed.
_NOT_FIELDS = ("parent", "learning_rate", "seed", "outcome", *CRITERIA)
_ALWAYS_FIELDS = ("model", "timescale")
"""Fields that tell cells apart also where they do not vary, if there."""


def cell_fields(runs: pd.DataFrame) -> list[str]:
    """Fields that tell the cells of a table apart: model, timescale, and all else that varies but rate and seed.

    Not the epochs where they follow the learning rate, as in sweeps that train longer at a lower one.
    """
    others = [name for name in field_names(runs) if name not in (*_NOT_FIELDS, *_ALWAYS_FIELDS)]
    varying = [field for field in others if runs[field].nunique(dropna=False) > 1]
    found = [*(field for field in _ALWAYS_FIELDS if field in runs), *varying]
    rest = [field for field in found if field != "epochs"]
    return rest if "epochs" in found and rest and "learning_rate" in runs and _follow_rate(runs, rest) else found


def _follow_rate(runs: pd.DataFrame, by: list[str]) -> bool:
    """Whether epochs are one number per learning rate and no more at a higher one, of three rates at least."""
    pairs = runs[[*by, "learning_rate", "epochs"]].drop_duplicates()
    if pairs["learning_rate"].nunique() < 3 or pairs.duplicated([*by, "learning_rate"]).any():
        return False
    groups = pairs.sort_values("learning_rate", ascending=False).groupby(by, dropna=False)["epochs"]
    return bool(groups.nunique().max() > 1 and groups.apply(lambda epochs: epochs.is_monotonic_increasing).all())


def is_closed_form(table: pd.DataFrame) -> bool:
    """Whether all runs or cells are of the canonical form in closed form, for which the theory is exact.

    The simulated one has another critical rate.
    """
    return bool((table["model"] == "canonical").all())


class Cell(NamedTuple):
    """One cell: its fields, its learning rates (n_rates), seeds, and which runs there are and what became of them.

    seeds: (n_seeds). seen: (n_seeds, n_rates) of 0 and 1. outcome: (n_seeds, n_rates) indices into OUTCOMES, -1 where
    not seen.
    """

    fields: dict[str, Any]
    rates: np.ndarray
    seeds: np.ndarray
    seen: np.ndarray
    outcome: np.ndarray

    def having(self, names: Sequence[str]) -> np.ndarray:
        """Which runs have one of the named outcomes, (n_seeds, n_rates) of 0 and 1."""
        return np.isin(self.outcome, [OUTCOMES.index(name) for name in names]).astype(float)


def cells(runs: pd.DataFrame, criteria: Criteria, use: str) -> Iterator[Cell]:
    """Yield every cell of a table of runs, judged by `criteria`, in the order of their fields.

    Raises UsageError for an empty table, for missing columns, and where a cell has two runs of one seed and
    rate; `use` names who needs them.
    """
    require_columns(runs, ("model", "learning_rate", "seed"), use)
    if runs.empty:
        raise UsageError(f"{use}: the table has no runs")
    fields = cell_fields(runs)
    for key, cell in outcomes(runs, criteria).groupby(fields, sort=True, dropna=False, observed=True):
        rates, rate_index = np.unique(numbers(cell, "learning_rate"), return_inverse=True)
        seeds, seed_index = np.unique(cell["seed"].to_numpy(), return_inverse=True)
        if len(cell) > len(cell[["seed", "learning_rate"]].drop_duplicates()):
            where = ", ".join(f"{field} = {value}" for field, value in zip(fields, key, strict=True))
            raise UsageError(
                f"{use}: several runs have the same seed and learning rate at {where}; select the runs of one sweep, "
                "and of one learning rate in the phases before"
            )
        outcome = np.full((len(seeds), len(rates)), -1)
        outcome[seed_index, rate_index] = cell["outcome"].cat.codes
        yield Cell(dict(zip(fields, key, strict=True)), rates, seeds, (outcome >= 0).astype(float), outcome)


def check_outcomes(names: Sequence[str], argument: str) -> None:
    """Raise UsageError unless all names are outcomes."""
    if unknown := sorted(set(names) - set(OUTCOMES)):
        raise UsageError(f"{argument} names {', '.join(unknown)}: the outcomes are {', '.join(OUTCOMES)}")
