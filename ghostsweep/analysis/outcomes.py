"""What became of every run, and means over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields

import numpy as np
import pandas as pd

from ghostsweep import theory
from ghostsweep.errors import UsageError

OUTCOME_MEANING = {
    "plateau": "Never learned, and its gradient is alive: it would go on towards learning with more epochs.",
    "learned": "Its mean loss over the last epochs is below learned_loss.",
    "oscillating": "Had learned once, its gradient is alive, but its recent mean loss is not low.",
    "thrown": "Its gradient was alive or it had begun to learn; now it is confidently wrong, its gradient vanished.",
    "never_left": "Its gradient had vanished at the start, stayed so, and its loss never began to fall.",
    "diverged": "Its loss or parameters stopped being finite.",
}
"""The outcomes, from mild to bad, and the one definition of each; the first that holds of diverged, learned,
never_left, thrown, oscillating, plateau is the run's."""

OUTCOMES = tuple(OUTCOME_MEANING)


@dataclass(frozen=True)
class Criteria:
    """The thresholds that turn numbers into outcomes; all are dimensionless.

    vanished_ratio: a gradient has vanished when its recent mean norm is at most this share of its peak, the
    larger of its norm at the start and its mean norm over the whole run. (The start counts since a run thrown
    early has a small mean, the mean since a network starts on a plateau.)

    vanished_norm: it has also vanished when the recent norm is at most this, and had vanished from the start
    when the peak is. The norm is that of the loss per unit of the parameters: of a network as it stands; of
    the canonical form |dL/ds|, s = r/r*, which is its gradient of T*L times r*/T and either (r*/r)^1.5 / 2 or
    exactly 0. Live starts lie far above: 0.016 for the canonical form at 10 r*, 7e-4 for a rank-one network
    of confidence 10, order 1 for cue tasks. At 1e-6 a float32 network of 100 units hardly moves: below
    learning rates of about 0.03 its update (3e-9 of a weight of 0.1) is lost in rounding. For cue tasks the
    norm is of the recurrent weights only.

    begun_ratio: a run had begun to learn once its loss fell below this share of the initial one.
    """

    vanished_ratio: float = 1e-3
    vanished_norm: float = 1e-6
    begun_ratio: float = 0.9

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < 1:
                raise UsageError(f"{name} is {value}: it must be at least 0 and below 1")


DEFAULT_CRITERIA = Criteria()
PLATEAU_ACCURACY = 0.5
"""Accuracy of a constant output in delayed activation, right during one half of the trial."""
CRITERIA = tuple(field.name for field in dataclass_fields(Criteria))
"""Names of the criteria, which are columns of every table that was judged by them."""


def with_criteria(table: pd.DataFrame, criteria: Mapping[str, float]) -> pd.DataFrame:
    """Return the table with the criteria as columns, for a saved copy, and in `.attrs["criteria"]`."""
    result = table.assign(**criteria)
    result.attrs = table.attrs | {"criteria": dict(criteria)}
    return result


def require_columns(table: pd.DataFrame, columns: Iterable[str], use: str) -> None:
    """Raise UsageError naming the columns that `use` needs and the table lacks."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UsageError(f"{use} needs the columns {', '.join(missing)}, which the table does not have")


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """The column as float64, nulls as NaN."""
    return table[column].to_numpy(dtype=np.float64, na_value=np.nan)


_MEASURED = (
    "recent_mean_loss", "recent_mean_grad_norm", "mean_grad_norm", "initial_grad_norm", "initial_loss", "min_loss",
)  # fmt: skip


def outcomes(runs: pd.DataFrame, criteria: Criteria = DEFAULT_CRITERIA) -> pd.DataFrame:
    """Return a copy of the runs with a column `outcome`, an ordered categorical over OUTCOMES.

    The criteria are columns too, and in `.attrs["criteria"]`. Raises UsageError for missing columns, and for
    a finished run without one of the losses or gradient norms.
    """
    require_columns(runs, ("model", "timescale", "status", "learned_loss", "learned_epoch", *_MEASURED), "outcomes")
    recent_loss, recent_norm, mean_norm, first_norm, first_loss, min_loss = (numbers(runs, c) for c in _MEASURED)
    diverged = (runs["status"] == "diverged").to_numpy(dtype=bool)
    unknown = ~diverged & np.isnan(recent_loss + recent_norm + mean_norm + first_norm + first_loss + min_loss)
    if unknown.any():
        raise UsageError(f"{unknown.sum()} runs have not diverged and yet have no value in {' or '.join(_MEASURED)}")
    canonical = (runs["model"] == "canonical").to_numpy(dtype=bool)
    timescale = numbers(runs, "timescale")
    unit = np.where(canonical, theory.optimum(timescale) / timescale, 1.0)  # from dTL/dr to dL/ds
    peak = np.maximum(mean_norm, first_norm)
    vanished = recent_norm <= np.maximum(criteria.vanished_ratio * peak, criteria.vanished_norm / unit)
    from_the_start = peak * unit <= criteria.vanished_norm
    conditions = {
        "diverged": diverged,
        "learned": recent_loss < numbers(runs, "learned_loss"),
        "never_left": vanished & from_the_start & (min_loss >= criteria.begun_ratio * first_loss),
        "thrown": vanished,
        "oscillating": runs["learned_epoch"].notna().to_numpy(),
    }
    judged = with_criteria(runs, asdict(criteria))
    outcome = np.select(list(conditions.values()), list(conditions), default="plateau")
    judged["outcome"] = pd.Categorical(outcome, categories=list(OUTCOMES), ordered=True)
    return judged


def trapped(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the first phase that had begun to learn and ended trapped, those kept in Fig. 8b.

    Trapped is a run whose accuracy exceeded PLATEAU_ACCURACY at some epoch, but not in its last 50. What went on from
    them are the rows whose `parent` is among their run_id. Raises UsageError for missing columns.
    """
    require_columns(runs, ("phase", "max_accuracy", "recent_max_accuracy"), "trapped")
    first = runs["phase"] == 1
    return runs[first & (runs["max_accuracy"] > PLATEAU_ACCURACY) & (runs["recent_max_accuracy"] <= PLATEAU_ACCURACY)]


def shares(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the share of runs with each outcome, a row for each combination of the columns `by`.

    runs: as `outcomes` returns it. Columns: `by`, share_<outcome> for every outcome, n_seeds, majority, the most
    frequent outcome (a tie goes to the worse), and the criteria. Raises UsageError for missing columns.
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
    return with_criteria(table, runs.attrs.get("criteria", {}))


def mean_sem(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Return mean, sem and n of the column `value`, a row for each combination of the columns `by`.

    n counts the values that are not null; sem = std / sqrt(n) with ddof 1, NaN for n < 2. Raises UsageError
    for missing columns.
    """
    by = list(by)
    require_columns(table, [*by, value], "mean_sem")
    groups = table.groupby(by, sort=True, dropna=False, observed=True)[value]
    return groups.agg(mean="mean", sem="sem", n="count").reset_index()
