"""What was learned, and how: verdicts on the tables of arXiv 2502.17433's task, from the evidence that they hold.

The paper's index calls a mechanism a limit cycle or a slow-point manifold; beside it stands a criterion of our own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ghostsweep.analysis.outcomes import numbers, own_outcomes, require_columns
from ghostsweep.errors import UsageError
from ghostsweep.tasks import onehot

MECHANISMS = ("slow_point_manifold", "limit_cycle")
MEASURED = ("good_epoch", "low_count", "high_count", "late_accuracy", "late_reliability")
EVIDENCE = ("power_index", "power_index_flipped", "free_amplitude", "free_decay", "free_cycles", "free_speed")


@dataclass(frozen=True)
class Motion:
    """When a network that is left alone for 36 times a trial goes round.

    amplitude: motion of the state per unit in the last quarter, at least; rates lie in -1..1, and rounding in float32
    leaves 1e-7. decay: that over the motion of the quarter before, at least: what spirals into a fixed point falls
    short of it. cycles: rises through the mean in the last half, at least. What moves in the end and does not go round
    is none of the two: a path along slow points, which takes longer than was looked at.
    """

    amplitude: float = 1e-2
    decay: float = 0.9
    cycles: int = 2


DEFAULT_MOTION = Motion()


def mechanisms(runs: pd.DataFrame, motion: Motion = DEFAULT_MOTION) -> pd.DataFrame:
    """Return a copy of the runs with what was learned, and how.

    stable, learned: by the paper's definitions. mechanism: by its index, below 0.5 a limit cycle, else a slow-point
    manifold; mechanism_flipped: by the index with the sign of one principal component turned, which is arbitrary;
    own_mechanism: by `motion`, limit_cycle where the free network goes round in the end, else slow_point_manifold;
    settles: whether it is at rest there. The mechanisms are null where nothing was learned. Raises UsageError for
    missing columns.
    """
    require_columns(runs, (*MEASURED, *EVIDENCE), "mechanisms")
    columns = {name: numbers(runs, name) for name in (*MEASURED, *EVIDENCE)}
    learned = onehot.is_learned(columns) & np.isfinite(columns["power_index"])
    amplitude, decay, cycles = (columns[f"free_{name}"] for name in ("amplitude", "decay", "cycles"))
    goes_round = (amplitude >= motion.amplitude) & (decay >= motion.decay) & (cycles >= motion.cycles)
    judged = runs.assign(stable=onehot.is_stable(columns), learned=learned, settles=amplitude < motion.amplitude)
    verdicts = {
        "mechanism": columns["power_index"] < onehot.CYCLE,
        "mechanism_flipped": columns["power_index_flipped"] < onehot.CYCLE,
        "own_mechanism": goes_round,
    }
    for name, is_cycle in verdicts.items():
        said = pd.Series(np.where(is_cycle, "limit_cycle", "slow_point_manifold"), runs.index, dtype=object)
        judged[name] = pd.Categorical(said.where(learned), categories=list(MECHANISMS))
    return judged


def agreement(judged: pd.DataFrame) -> pd.DataFrame:
    """How often two verdicts on the runs that learned agree: a row for each pair, of a table that `mechanisms` gave.

    Columns: verdict, other, n_runs, n_differ, share_differ, and of those that differ how many `verdict` calls a limit
    cycle. Raises UsageError where no run learned.
    """
    known = judged[judged["learned"]]
    if known.empty:
        raise UsageError("agreement: no run learned; allowed: a table with runs that did")
    rows = []
    for verdict, other in (
        ("mechanism", "own_mechanism"),
        ("mechanism_flipped", "own_mechanism"),
        ("mechanism", "mechanism_flipped"),
    ):
        first, second = known[verdict].astype(str), known[other].astype(str)
        differs = first != second
        cycles = int((differs & (first == "limit_cycle")).sum())
        rows.append((verdict, other, len(known), int(differs.sum()), float(differs.mean()), cycles))
    names = ["verdict", "other", "n_runs", "n_differ", "share_differ", "limit_cycle_alone"]
    return pd.DataFrame(rows, columns=names)


def by_index(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with `outcome` by the paper's index. Raises UsageError where they are of another task."""
    found = own_outcomes(runs)
    if found is None or not set(MECHANISMS) <= set(found["outcome"].cat.categories):
        raise UsageError("mechanisms: found other runs; allowed: those of dcdt_onehot, with its tallies and evidence")
    return found


def by_motion(runs: pd.DataFrame) -> pd.DataFrame:
    """The same with `outcome` by our criterion: whether the network, left alone, goes round in the end."""
    paper, own = by_index(runs), mechanisms(runs)
    said = own["own_mechanism"].astype(object).where(own["learned"], "no_solution")
    return paper.assign(outcome=pd.Categorical(said, categories=paper["outcome"].cat.categories, ordered=True))
