"""What became of every run, and means over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError

OUTCOME_MEANING = {
    "plateau": "Never learned, and its gradient is still alive.",
    "learned": "Its mean loss over the last epochs is below learned_loss.",
    "oscillating": "Had learned once, its gradient is alive, but its recent mean loss is not low.",
    "trapped": "Its gradient has vanished and its loss is not low: the output is confidently wrong.",
    "diverged": "Its loss or parameters stopped being finite.",
}
"""The outcomes, from mild to bad, and the one definition of each; the first that holds of diverged, learned,
trapped, oscillating, plateau is the run's."""

OUTCOMES = tuple(OUTCOME_MEANING)


@dataclass(frozen=True)
class Criteria:
    """The thresholds that turn numbers into outcomes.

    vanished_ratio: a gradient has vanished when its recent mean norm is at most this share of the larger of
    its initial norm and its mean norm over the whole run (dimensionless; the initial one counts since a run
    trapped early has a small mean). A norm that is exactly 0 has always vanished.
    """

    vanished_ratio: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.vanished_ratio < 1:
            raise UsageError(f"vanished_ratio is {self.vanished_ratio}: it must be at least 0 and below 1")


DEFAULT_CRITERIA = Criteria()


def require_columns(table: pd.DataFrame, columns: Iterable[str], use: str) -> None:
    """Raise UsageError naming the columns that `use` needs and the table lacks."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UsageError(f"{use} needs the columns {', '.join(missing)}, which the table does not have")


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """The column as float64, nulls as NaN."""
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


def outcomes(runs: pd.DataFrame, criteria: Criteria = DEFAULT_CRITERIA) -> pd.DataFrame:
    """Return a copy of the runs with a column `outcome`, an ordered categorical over OUTCOMES.

    The criteria stand in `.attrs["criteria"]`. Raises UsageError for missing columns, and for a finished run
    without a recent loss or gradient norm.
    """
    measured = ("recent_mean_loss", "recent_mean_grad_norm", "mean_grad_norm", "initial_grad_norm")
    require_columns(runs, ("status", "learned_loss", "learned_epoch", *measured), "outcomes")
    recent_loss, recent_gradient, mean_gradient, first_gradient = (numbers(runs, column) for column in measured)
    diverged = (runs["status"] == "diverged").to_numpy(dtype=bool)
    unknown = ~diverged & np.isnan(recent_loss + recent_gradient + mean_gradient + first_gradient)
    if unknown.any():
        raise UsageError(f"{unknown.sum()} runs have not diverged and yet have no value in {' or '.join(measured)}")
    conditions = {
        "diverged": diverged,
        "learned": recent_loss < numbers(runs, "learned_loss"),
        "trapped": recent_gradient <= criteria.vanished_ratio * np.maximum(mean_gradient, first_gradient),
        "oscillating": runs["learned_epoch"].notna().to_numpy(),
    }
    judged = runs.copy()
    outcome = np.select(list(conditions.values()), list(conditions), default="plateau")
    judged["outcome"] = pd.Categorical(outcome, categories=list(OUTCOMES), ordered=True)
    judged.attrs["criteria"] = asdict(criteria)
    return judged


def shares(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the share of runs with each outcome, a row for each combination of the columns `by`.

    runs: as `outcomes` returns it. Columns: `by`, share_<outcome> for every outcome, n_seeds, and majority,
    the most frequent outcome (a tie goes to the worse). Raises UsageError for missing columns.
    """
    by = list(by)
    require_columns(runs, [*by, "outcome"], "shares")
    columns = [f"share_{name}" for name in OUTCOMES]
    is_outcome = np.column_stack([(runs["outcome"] == name).to_numpy(dtype=float) for name in OUTCOMES])
    indicator = pd.DataFrame(is_outcome, columns=columns, index=runs.index)
    groups = pd.concat([runs[by], indicator], axis=1).groupby(by, sort=True, dropna=False, observed=True)
    table = groups[columns].mean()
    table["n_seeds"] = groups.size()
    last_maximum = len(OUTCOMES) - 1 - table[columns].to_numpy()[:, ::-1].argmax(axis=1)
    table["majority"] = pd.Categorical(np.array(OUTCOMES)[last_maximum], categories=list(OUTCOMES), ordered=True)
    table = table.reset_index()
    table.attrs = dict(runs.attrs)
    return table


def mean_sem(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Return mean, sem and n of the column `value`, a row for each combination of the columns `by`.

    n counts the values that are not null; sem = std / sqrt(n) with ddof 1, NaN for n < 2. Raises UsageError
    for missing columns.
    """
    by = list(by)
    require_columns(table, [*by, value], "mean_sem")
    groups = table.groupby(by, sort=True, dropna=False, observed=True)[value]
    return groups.agg(mean="mean", sem="sem", n="count").reset_index()
