"""What became of every run, and means over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields

import numpy as np
import pandas as pd

from ghostsweep.analysis.levels import levels
from ghostsweep.errors import UsageError
from ghostsweep.spec import RECENT_EPOCHS
from ghostsweep.store import declared

OUTCOME_MEANING = {
    "plateau": "Never learned, and its loss has not risen, or rests where an output that knows nothing has it: not "
    "confidently wrong, its gradient alive; more epochs would go on towards learning.",
    "learned": "Its mean loss over the last epochs is low, and its last loss does not show it swing out of that.",
    "oscillating": "Its loss swings: it has been low, or right, and comes back to that, but does not stay.",
    "fallen_back": "Had learned, or had begun to and rests now, and has lost most of it for good; not confidently "
    "wrong without a gradient.",
    "unstable": "Never learned, and its loss is far above its lowest, still swinging or with a live gradient.",
    "trapped": "Its gradient was alive or it had begun to learn; now it is confidently wrong, its gradient vanished.",
    "trapped_at_start": "Its gradient had vanished at the start, stayed so, and its loss never began to fall.",
    "diverged": "Its loss or parameters stopped being finite.",
}
"""The outcomes, from mild to bad, and the one definition of each, in the terms of `Criteria`."""

OUTCOMES = tuple(OUTCOME_MEANING)


@dataclass(frozen=True)
class Criteria:
    """The thresholds that turn numbers into outcomes; all are dimensionless.

    vanished_ratio: a gradient has vanished when its recent mean norm is at most this share of its peak, the
    larger of its norm at the start and its mean norm over the whole run. (The start counts since a run trapped
    early has a small mean, the mean since a network starts on a plateau.)

    vanished_norm: it has also vanished, and is dead, when the recent norm is at most this, and had vanished from
    the start when the peak is. The norm is that of the loss per unit of the parameters: of a network as it stands;
    of the canonical form |dL/ds|, s = r/r*, which is its gradient of T*L times r*/T and either (r*/r)^1.5 / 2 or
    exactly 0. Live starts lie far above: 0.016 for the canonical form at 10 r*, 7e-4 for a rank-one network
    of confidence 10, order 1 for cue tasks. At 1e-6 a float32 network of 100 units hardly moves: below
    learning rates of about 0.03 its update (3e-9 of a weight of 0.1) is lost in rounding. For cue tasks the
    norm is of the recurrent weights only.

    begun_ratio: a run had begun to learn once its loss fell below this share of the initial one.

    The others are in units of the task's `levels`, C the loss of the best constant output. A loss is low below
    learned_loss, or where the run's floor F is above 0 below F + (1 - F/C) learned_loss: the same share of what
    can be won.

    wrong_ratio: a run is confidently wrong when its loss is above C by more than this share of what an output
    has that is sure and knows nothing (`Levels.wrong`), and still.

    still_ratio: a loss is steady when the last one is within this share of C (or of the loss, where that is larger) of
    the recent mean, and a run is still when its last accuracy is besides within this of the best of the last 50
    epochs. It is on a level when its loss is steady and that mean is as close to C, to the loss of the best output
    blind to cues, or to its initial loss with a gradient norm that is at least start_ratio of the initial one.

    risen_ratio: a loss has risen when its recent mean is above its lowest by more than this share of C. Full
    gradient descent on a plateau only goes down: below the learnable band hardly any run rises by 0.05.

    kept_ratio: a run has kept what it had when the best accuracy of its last 50 epochs, less chance, is at least
    this share of its best ever, less chance. It had gained something when that best is above chance by more
    than still_ratio, and has kept nothing where it had not. Where accuracies are not known, both are of the loss: of
    what it has won since the start.

    moved_ratio: parameters have hardly moved when their updates cannot have moved them by more than this share of their
    norm: the learning rate times the epochs times a step, over 1 - momentum. A step of gradient descent is the mean
    gradient norm; one of a rule that scales it, such as Adam, at most n_units + 4, the root of how many numbers there
    are at the most (unknown for models without n_units); either is longer by weight_decay times the norm.
    """

    vanished_ratio: float = 1e-3
    vanished_norm: float = 1e-6
    begun_ratio: float = 0.9
    wrong_ratio: float = 0.1
    still_ratio: float = 0.03
    start_ratio: float = 0.1
    risen_ratio: float = 0.1
    kept_ratio: float = 0.75
    moved_ratio: float = 1e-2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < 1:
                raise UsageError(f"{name} is {value}: it must be at least 0 and below 1")


DEFAULT_CRITERIA = Criteria()
PLATEAU_ACCURACY = 0.5
"""Accuracy of a constant output in delayed activation, right during one half of the trial."""
NOISE_ERRORS = 4
"""Standard errors by which the lowest of hundreds of means of noisy losses, and another, may be apart."""
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
    "final_loss", "final_accuracy", "max_accuracy", "recent_max_accuracy",
)  # fmt: skip


def outcomes(runs: pd.DataFrame, criteria: Criteria = DEFAULT_CRITERIA) -> pd.DataFrame:
    """Return a copy of the runs with a column `outcome`, an ordered categorical over OUTCOMES.

    The first that holds is the run's, in the terms of `Criteria`:

    - diverged: so says its status;
    - trapped_at_start: no gradient at the start nor now, not begun, not low;
    - learned: its last loss is the lowest of all and low, or its recent mean loss, its last loss and that one's mirror
      image about the mean are low; oscillating: only the mean is;
    - trapped: its gradient has vanished and it is confidently wrong;
    - plateau: its parameters have hardly moved and its gradient is alive, whatever its luck in single epochs; or never
      low, on a level, and its gradient is not dead, or it never began;
    - fallen_back: it had been low, has not kept it, and is still or had its lowest loss in its first half; or it had
      begun and gained, has risen and not kept it, is still and had its lowest loss in its first half;
    - oscillating: it had been low; or it has kept what it gained, and has risen or swings (is not still, and its last
      loss is not the lowest);
    - unstable: it has risen;
    - plateau: none of these.

    Where every epoch draws random numbers (`min_recent_mean_loss` is known), one epoch tells nothing. The lowest loss
    is then the lowest of the means over as many epochs as the recent one, which is the last loss too; instead of
    accuracies, losses tell what was gained and kept, from the loss of the best constant output on; and a loss is on a
    level, or has risen, up to four standard errors of such a mean, which the lowest single loss bounds. A loss whose
    lowest is one of the first epochs has risen from there, or from that of the best constant output if that is higher.

    What a table of runs cannot tell: the last 50 epochs stand for what is "for good", so that a swing slower than
    that is judged by where it is in them; and one last loss stands for the swing in them. Of 25 runs of Fig. 8c called
    learned by their mean alone, 10 had 10 to 38% of the last 50 losses above learned_loss: 8 of them are told. A
    network that had learned and rests at a higher loss with all of its accuracy is called oscillating.

    Losses may be below zero: they are judged by what lies above the floor that a model declares. Where it declares none
    and a run begins below learned_loss, nothing tells what is low, and no loss is.

    The criteria are columns too, and in `.attrs["criteria"]`. A run that has not diverged and yet lacks one of the
    losses or gradient norms has no outcome. Raises UsageError for missing columns.
    """
    fields = ("model", "learned_loss")
    require_columns(runs, (*fields, "status", "epochs_done", "min_loss_epoch", *_MEASURED), "outcomes")
    measured = {name: numbers(runs, name) for name in _MEASURED}
    diverged = (runs["status"] == "diverged").to_numpy(dtype=bool)
    measured = {name: np.where(diverged & ~np.isfinite(values), np.nan, values) for name, values in measured.items()}
    loss, norm, mean_norm, first_norm, first_loss, lowest, last, last_accuracy, best, recent_best = measured.values()
    unknown = ~diverged & ~np.isfinite(loss + norm + mean_norm + first_norm + first_loss + lowest + last)
    no_accuracy = np.isnan(best) | np.isnan(recent_best)
    last_accuracy = np.where(np.isnan(last_accuracy), recent_best, last_accuracy)
    mean = numbers(runs, "min_recent_mean_loss") if "min_recent_mean_loss" in runs else np.full(len(runs), np.nan)
    noisy = np.isfinite(mean)
    error = np.where(noisy, NOISE_ERRORS * (loss - lowest) / np.sqrt(RECENT_EPOCHS), 0)
    lowest, last = np.where(noisy, mean, lowest), np.where(noisy, loss, last)
    no_accuracy |= noisy
    level, learned_loss = levels(runs), numbers(runs, "learned_loss")
    early = noisy & (numbers(runs, "min_loss_epoch") < RECENT_EPOCHS)  # before any mean
    calm = np.minimum(np.where(early, np.fmax(level.constant, first_loss), np.inf), lowest)  # what a rise is from
    first_loss = np.where(noisy, level.constant, first_loss)
    below = np.minimum(level.floor, 0)  # what is judged is above a floor that is below 0
    loss, first_loss, lowest, last, calm = (each - below for each in (loss, first_loss, lowest, last, calm))
    level = level._replace(**{name: getattr(level, name) - below for name in ("constant", "blind", "wrong", "floor")})
    scale = np.abs(level.constant)
    peak = np.maximum(mean_norm, first_norm)
    dead = norm * level.unit <= criteria.vanished_norm
    vanished = dead | (norm <= criteria.vanished_ratio * peak)
    begun = lowest + error < np.where(first_loss < 0, 2 - criteria.begun_ratio, criteria.begun_ratio) * first_loss

    reached = np.divide(level.floor, level.constant, out=np.zeros(len(runs)), where=level.constant > 0)
    low = level.floor + (1 - reached) * learned_loss
    low = np.where((first_loss < np.minimum(low, 0)) & (level.floor <= 0), -np.inf, low)
    had_learned = lowest < low
    margin = criteria.still_ratio * np.maximum(scale, np.abs(loss)) + error
    steady = np.abs(last - loss) <= margin
    still = steady & (no_accuracy | (recent_best - last_accuracy <= criteria.still_ratio))
    at_start = (np.abs(loss - first_loss) <= margin) & (norm >= criteria.start_ratio * first_norm)
    knows_nothing = np.minimum(np.abs(loss - level.constant), np.abs(loss - level.blind)) <= margin
    on_a_level = steady & (knows_nothing | at_start)
    wrong = still & (loss > level.constant + criteria.wrong_ratio * (level.wrong - level.constant))
    risen = np.minimum(loss, last) > calm + criteria.risen_ratio * scale + error
    late = numbers(runs, "min_loss_epoch") >= numbers(runs, "epochs_done") / 2
    gained = np.where(no_accuracy, begun, best > level.chance + criteria.still_ratio)
    won, had = (
        np.where(no_accuracy, first_loss - loss, recent_best - level.chance),
        np.where(no_accuracy, first_loss - lowest, best - level.chance),
    )
    kept = gained & (won >= criteria.kept_ratio * had)
    lowest_last = last <= lowest
    swings_out = (loss + np.abs(last - loss) >= low) & ~lowest_last
    swings = ~still & ~lowest_last
    conditions = [
        ("diverged", diverged),
        ("trapped_at_start", vanished & (peak * level.unit <= criteria.vanished_norm) & ~begun & (loss >= low)),
        ("learned", (np.where(lowest_last, last, loss) < low) & ~swings_out),
        ("plateau", _hardly_moved(runs, mean_norm, criteria) & ~vanished & (loss >= low)),
        ("oscillating", loss < low),
        ("trapped", vanished & wrong),
        ("plateau", on_a_level & ~had_learned & ~(dead & begun)),
        ("fallen_back", ~kept & np.where(had_learned, still | ~late, still & ~late & begun & risen & gained)),
        ("oscillating", had_learned | (kept & (risen | swings))),
        ("unstable", risen),
    ]
    judged = with_criteria(runs, asdict(criteria))
    outcome = np.select([holds for _, holds in conditions], [name for name, _ in conditions], default="plateau")
    outcome = np.asarray(outcome, dtype=object)
    outcome[unknown] = None
    judged["outcome"] = pd.Categorical(outcome, categories=list(OUTCOMES), ordered=True)
    return judged


def _hardly_moved(runs: pd.DataFrame, mean_norm: np.ndarray, criteria: Criteria) -> np.ndarray:
    """Which runs' parameters cannot have left where they, or this phase of theirs, began; not where that is unknown."""
    known = {name: numbers(runs, name) for name in ("learning_rate", "final_weight_norm", "n_units") if name in runs}
    if not {"learning_rate", "final_weight_norm"} <= set(known):
        return np.zeros(len(runs), dtype=bool)
    decay, momentum = (
        np.nan_to_num(numbers(runs, name)) if name in runs else 0.0 for name in ("weight_decay", "momentum")
    )
    plain = (runs["optimizer"] == "sgd").to_numpy(bool) if "optimizer" in runs else True
    norm = np.where(np.isfinite(known["final_weight_norm"]), known["final_weight_norm"], np.nan)
    step = np.where(plain, mean_norm, known.get("n_units", np.nan) + 4)
    way = known["learning_rate"] * numbers(runs, "epochs_done") * (step + decay * norm) / (1 - momentum)
    found: np.ndarray = way <= criteria.moved_ratio * norm  # false where it is NaN
    return found


def own_outcomes(runs: pd.DataFrame) -> pd.DataFrame | None:
    """Return a copy of the runs with a column `outcome` of those that their task declares; None where it does not.

    And where the tasks of the runs declare different ones. An ordered categorical, from mild to bad; what they mean is
    in `.attrs["meanings"]`.
    """
    found = declared.outcomes(runs)
    if len(found) != 1 or len(found[0].rows) < len(runs):
        return None
    judged = with_task_outcome(runs)
    return judged.assign(outcome=judged.pop("task_outcome"))


def with_task_outcome(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a column `task_outcome` where any of their tasks declares outcomes of its own.

    A categorical, null for runs of other tasks, ordered from mild to bad where there is one declaration. What they mean
    is in `.attrs["meanings"]`. Users' tasks count where their files were executed, as in training. Raises UsageError
    where a task gives other names than it declares.
    """
    found = declared.outcomes(runs)
    if not found:
        return runs
    outcome = np.full(len(runs), None, dtype=object)
    meanings: dict[str, str] = {}
    for each in found:
        outcome[each.rows] = each.outcome
        for name, said in each.meanings.items():
            if meanings.setdefault(name, said) != said:
                meanings[name] += f" In {each.task}: {said}"
    judged = runs.assign(task_outcome=pd.Categorical(outcome, categories=list(meanings), ordered=len(found) == 1))
    judged.attrs = runs.attrs | {"meanings": meanings}
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

    runs: as `outcomes` or `own_outcomes` returns it; those without an outcome are left out. Columns: `by`,
    share_<outcome> for every outcome, n_seeds, majority, the most frequent outcome (a tie goes to the worse), and the
    criteria. Raises UsageError for missing columns.
    """
    by = list(by)
    require_columns(runs, [*by, "outcome"], "shares")
    runs = categorised(runs[runs["outcome"].notna()])
    names = list(runs["outcome"].cat.categories)
    columns = [f"share_{name}" for name in names]
    is_outcome = np.column_stack([(runs["outcome"] == name).to_numpy(dtype=float) for name in names])
    indicator = pd.DataFrame(is_outcome, columns=columns, index=runs.index)
    groups = pd.concat([runs[by], indicator], axis=1).groupby(by, sort=True, dropna=False, observed=True)
    table = groups[columns].mean()
    table["n_seeds"] = groups.size()
    last_maximum = len(names) - 1 - table[columns].to_numpy()[:, ::-1].argmax(axis=1)
    table["majority"] = pd.Categorical(np.array(names)[last_maximum], categories=names, ordered=True)
    table = table.reset_index()
    table.attrs = dict(runs.attrs)
    return with_criteria(table, runs.attrs.get("criteria", {}))


def categorised(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with their column `outcome` a categorical: over OUTCOMES, or names of others as they come."""
    if isinstance(runs["outcome"].dtype, pd.CategoricalDtype):
        return runs
    found = [str(name) for name in runs["outcome"].dropna().unique()]
    names = OUTCOMES if set(found) <= set(OUTCOMES) else found
    return runs.assign(outcome=pd.Categorical(runs["outcome"], categories=list(names), ordered=True))


def mean_sem(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Return mean, sem and n of the column `value`, a row for each combination of the columns `by`.

    n counts the values that are not null; sem = std / sqrt(n) with ddof 1, NaN for n < 2. Raises UsageError
    for missing columns.
    """
    by = list(by)
    require_columns(table, [*by, value], "mean_sem")
    groups = table.groupby(by, sort=True, dropna=False, observed=True)[value]
    return groups.agg(mean="mean", sem="sem", n="count").reset_index()
