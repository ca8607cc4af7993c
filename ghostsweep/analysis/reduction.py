"""Critical learning rates that the reduction to the canonical form predicts, held against those that are observed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ghostsweep.analysis import thresholds
from ghostsweep.analysis.cells import cells
from ghostsweep.analysis.critical import COLLAPSED, TOO_SLOW
from ghostsweep.analysis.draws import interval
from ghostsweep.analysis.outcomes import DEFAULT_CRITERIA, require_columns
from ghostsweep.errors import UsageError
from ghostsweep.store.columns import REDUCTION

PREDICTORS = {
    "first": "at the first snapshot after learning",
    "highest": "the highest after learning",
    "lowest": "the lowest after learning",
    "last": "at the last snapshot",
}
"""Where along training a run's critical rate is taken, its name in a table and in words."""


def predicted(reduction: pd.DataFrame, learned_loss: float = 0.1) -> pd.DataFrame:
    """Critical rates that each run of a reduction predicts, a row per run: where eta would be what throws a run out.

    reduction: as `ghostsweep.reduce` returns it. Snapshots count from the first on whose loss is below learned_loss,
    where the output switches; of several kinds of trial that with the lowest rate. Columns: run_id, the fields of the
    table, `lr_` and the names of `PREDICTORS`; growth, of |ds/dp|^2 from the flattest snapshot to the last, as a
    factor; passed, the epoch at which eta first is above the critical one, null if never. Raises UsageError for missing
    columns and where no run has learned.
    """
    require_columns(reduction, ("run_id", "epoch", "trial", "loss", "lr_critical", "eta", "eta_critical"), "predicted")
    fields = [name for name in reduction.columns if name not in MEASURED]
    rows = []
    for run_id, snapshots in reduction.groupby("run_id", sort=False):
        by_epoch = snapshots.sort_values("lr_critical").drop_duplicates("epoch").sort_values("epoch")
        learned = by_epoch["loss"].lt(learned_loss).cummax() & by_epoch["lr_critical"].gt(0)
        rates = by_epoch.loc[learned, "lr_critical"].to_numpy()
        if not len(rates):
            continue
        above = by_epoch["eta"] > by_epoch["eta_critical"]
        rows.append(
            {"run_id": run_id}
            | {name: snapshots[name].iloc[0] for name in fields}
            | {"lr_first": rates[0], "lr_highest": rates.max(), "lr_lowest": rates.min(), "lr_last": rates[-1]}
            | {"growth": rates.max() / rates[-1]}
            | {"passed": int(by_epoch.loc[above, "epoch"].iloc[0]) if above.any() else pd.NA}
        )
    if not rows:
        raise UsageError(f"predicted: none of {reduction['run_id'].nunique()} runs has a loss below {learned_loss:g}")
    return pd.DataFrame(rows).astype({"passed": "Int64"})


def at_the_end(reduction: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """Each run over its last `count` snapshots, a row a run and kind of trial.

    Columns: run_id, trial, the fields of the table, learning_rate, outcome; eta and lr_critical, geometric means, since
    s swings about the optimum and |ds/dp| with it; eta_highest; s_low and s_high; cosine and norm_ratio, means. NaN
    where the output never switches in them. Raises UsageError for missing columns.
    """
    require_columns(reduction, ("run_id", "trial", "epoch", "s", "eta", "lr_critical", "outcome"), "at_the_end")
    ordered = reduction.sort_values("epoch", kind="stable")
    # A run whose output has stopped to switch has no s at its end, whatever it had before.
    last = ordered[ordered["epoch"] == ordered.groupby("run_id")["epoch"].transform("max")]
    stopped = set(last.loc[last["s"].isna(), "run_id"])
    logs = ordered.assign(log_eta=np.log(ordered["eta"]), log_lr=np.log(ordered["lr_critical"]))
    some = logs.groupby(["run_id", "trial"], sort=False).tail(count).copy()
    some.loc[some["run_id"].isin(stopped), ["log_eta", "log_lr", "eta", "s", "cosine", "norm_ratio"]] = np.nan
    fields = [name for name in reduction.columns if name not in MEASURED] + ["learning_rate", "outcome"]
    found = some.groupby(["run_id", "trial"], sort=False).agg(
        **{name: (name, "first") for name in fields if name in reduction},
        eta=("log_eta", "mean"), lr_critical=("log_lr", "mean"), eta_highest=("eta", "max"),
        s_low=("s", "min"), s_high=("s", "max"), cosine=("cosine", "mean"), norm_ratio=("norm_ratio", "mean"),
    )  # fmt: skip
    return found.assign(eta=np.exp(found["eta"]), lr_critical=np.exp(found["lr_critical"])).reset_index()


def highest_kept(ends: pd.DataFrame, by: str = "timescale") -> pd.DataFrame:
    """Of each seed and value of `by` the run with the highest rate that kept what it learned, rows of `at_the_end`.

    Raises UsageError for missing columns.
    """
    require_columns(ends, (by, "seed", "learning_rate", "outcome"), "highest_kept")
    kept = ends[ends["outcome"] == "learned"].sort_values("learning_rate", kind="stable")
    return kept.groupby([by, "seed"], sort=True).tail(1).sort_values([by, "seed"], ignore_index=True)


MEASURED = (*(column.name for column in REDUCTION), "learning_rate")
"""The columns of a reduction that are not fields of its runs, and the rate, which a prediction does not depend on."""


def flattening(ends: pd.DataFrame, by: str = "timescale", least_ratio: float = 0.05) -> pd.DataFrame:
    """How a network's predicted critical rate goes with the rate it was trained at, a row per value of `by` and seed.

    ends: of `at_the_end`, of runs at several rates. Columns: `by`, seed, n_rates, exponent, the power of the learning
    rate that fits the lr_critical of the runs best that kept what they learned and whose loss sees s (norm_ratio at
    least least_ratio): 0 where |ds/dp| is the network's own, 1 where training finds a place where eta is the same
    whatever the rate. Of networks with three such runs or more.
    """
    require_columns(ends, (by, "seed", "learning_rate", "lr_critical", "outcome", "norm_ratio"), "flattening")
    kept = ends[(ends["outcome"] == "learned") & (ends["norm_ratio"] >= least_ratio)]
    rows = []
    for (value, seed), own in kept.groupby([by, "seed"]):
        if own["learning_rate"].nunique() >= 3:
            slope = np.polyfit(np.log(own["learning_rate"]), np.log(own["lr_critical"]), 1)[0]
            rows.append({by: value, "seed": seed, "n_rates": len(own), "exponent": float(slope)})
    return pd.DataFrame(rows, columns=[by, "seed", "n_rates", "exponent"])


def seed_thresholds(runs: pd.DataFrame) -> pd.DataFrame:
    """The rate at which each seed of each cell begins to collapse, a row each, as far as the grid shows it.

    Columns: the cell's fields, seed, lr_below and lr_above, the neighbouring rates of the grid with the fewest runs on
    the wrong side; 0 where the lowest rate collapses already, inf where the highest does not. Runs that are on the
    plateau do not count, as in `critical_lr`. Raises UsageError as that does.
    """
    rows = []
    for cell in cells(runs, DEFAULT_CRITERIA, "seed_thresholds"):
        bad = cell.having(COLLAPSED)
        seen = cell.seen * (1 - cell.having([name for name in TOO_SLOW if name not in COLLAPSED]))
        for seed, own, had in zip(cell.seeds, bad, seen, strict=True):
            told = had > 0
            if not told.any():
                continue
            gap = int(thresholds.likelihoods(own[None, told], had[None, told])[0].argmax())
            near = np.concatenate([[0.0], cell.rates[told], [np.inf]])
            rows.append(cell.fields | {"seed": seed, "lr_below": near[gap], "lr_above": near[gap + 1]})
    return pd.DataFrame(rows)


def compare_predicted(
    prediction: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    by: str = "timescale",
    predictors: Sequence[str] = tuple(PREDICTORS),
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Observed critical rates over predicted ones of the same seeds, a row per predictor and value of `by`, and for
    all.

    prediction: of `predicted`. runs: of a sweep of learning rates with these seeds and values of `by`, alike in all
    else. Columns, each but the counts with its interval (_low, _high): predictor; `by`, null for all values together;
    n_seeds that have both; observed and predicted, geometric means; ratio, of the first to the second; correlation of
    their logarithms over the seeds. Of the rows of all values together: observed_exponent and predicted_exponent, the
    powers of `by` that fit all seeds best, and within, the correlation about the means of each value of `by`.

    Intervals at `level` are of a bootstrap of `n_boot` draws from `seed`, over the seeds, common to all values of `by`;
    in each the rate observed of a seed lies anywhere in its bracket, evenly in the logarithm, and so do the means of
    their estimates. Seeds of which the grid shows one side alone are left out (`n_censored`).
    Raises UsageError for missing columns and where no seed is in both tables.
    """
    require_columns(prediction, ("seed", by), "compare_predicted")
    observed = seed_thresholds(runs)
    require_columns(observed, ("seed", by), "compare_predicted, of the rates observed,")
    observed = observed[["seed", by, "lr_below", "lr_above"]]
    both = prediction.merge(observed, on=["seed", by])
    if both.empty:
        raise UsageError(f"compare_predicted: no seed and {by} is in both tables")
    is_open = (both["lr_below"] == 0) | ~np.isfinite(both["lr_above"])
    closed = both[~is_open]
    rng = np.random.default_rng(seed)
    seeds, at = np.unique(closed["seed"], return_inverse=True)
    times = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), n_boot)
    weights = np.concatenate([np.ones((1, len(closed))), times[:, at]])  # first the seeds as they are
    low, high = np.log(closed["lr_below"].to_numpy()), np.log(closed["lr_above"].to_numpy())
    place = np.concatenate([np.full((1, len(closed)), 0.5), rng.random((n_boot, len(closed)))])
    seen = low + place * (high - low)
    rows = []
    for name in predictors:
        told = np.broadcast_to(np.log(closed[f"lr_{name}"].to_numpy(float)), seen.shape)
        parts = [(value, (closed[by] == value).to_numpy()) for value in sorted(closed[by].unique())]
        for value, own in [*parts, (None, np.ones(len(closed), bool))]:
            w, x, y = weights[:, own], told[:, own], seen[:, own]
            found = {
                "observed": np.exp(_mean(w, y)), "predicted": np.exp(_mean(w, x)),
                "ratio": np.exp(_mean(w, y - x)), "correlation": _correlation(w, x, y),
            }  # fmt: skip
            groups = [(closed.loc[own, by] == each).to_numpy() for each, _ in parts]
            inner = _within(w, x, y, groups) if value is None else np.full(len(w), np.nan)
            found["within"] = inner
            along = np.broadcast_to(np.log(closed.loc[own, by].to_numpy(float)), x.shape)
            for kind, of in (("observed", y), ("predicted", x)):
                found[f"{kind}_exponent"] = _slope(w, along, of) if value is None else np.full(len(w), np.nan)
            row = {"predictor": name, by: value, "n_seeds": int(own.sum())}
            row["n_censored"] = int(is_open.sum() if value is None else (is_open & (both[by] == value)).sum())
            for quantity, draws in found.items():
                ends = interval(np.where(np.isfinite(draws[1:]), draws[1:], np.nan), len(seeds), level)
                row |= {quantity: draws[0], f"{quantity}_low": ends[0], f"{quantity}_high": ends[1]}
            rows.append(row)
    return pd.DataFrame(rows).assign(level=level)


def _mean(w: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weighted means along the last axis, NaN without weight."""
    total = w.sum(axis=1)
    result: np.ndarray = np.divide((w * y).sum(axis=1), total, out=np.full(len(w), np.nan), where=total > 0)
    return result


def _moments(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = x - _mean(w, x)[:, None], y - _mean(w, y)[:, None]
    return _mean(w, x * x), _mean(w, y * y), _mean(w, x * y)


def _correlation(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    xx, yy, xy = _moments(w, x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = xy / np.sqrt(xx * yy)
    return result


def _within(w: np.ndarray, x: np.ndarray, y: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Correlation about the means of each group."""
    x, y = x.copy(), y.copy()
    for own in groups:
        for values in (x, y):
            values[:, own] -= np.nan_to_num(_mean(w[:, own], values[:, own]))[:, None]
    return _correlation(w, x, y)


def _slope(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    xx, _, xy = _moments(w, x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = xy / xx
    return result
