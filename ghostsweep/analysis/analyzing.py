"""Everything that the tables of a sweep say of its critical learning rates, in one call."""

import html
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ghostsweep.analysis import summary
from ghostsweep.analysis.band import learnable_band
from ghostsweep.analysis.cells import cell_fields
from ghostsweep.analysis.critical import critical_lr
from ghostsweep.analysis.outcomes import numbers, with_task_outcome
from ghostsweep.analysis.power_law import fit_power_law, local_exponent
from ghostsweep.analysis.scaling import compare_scaling
from ghostsweep.analysis.series import scales
from ghostsweep.store import tables


@dataclass(frozen=True)
class Analyzed:
    """What is found, a table each; those of laws hold every field that a law can be fitted along (`along`).

    critical: upper and lower boundary of every cell, and whether any rate of it `learns`. band: its learnable band.
    power_law: a row per series of cells. local_exponent: a row per pair of neighbours. scaling: a row per series and
    law compared. The last three are None where no series is long enough. Where no rate learns, a boundary says where a
    plateau that is too long passes into collapse. All are of the usual outcomes; how many runs have which of those that
    their task declares itself is in `critical.attrs["task_outcomes"]`, where it does.
    """

    critical: pd.DataFrame
    band: pd.DataFrame
    power_law: pd.DataFrame | None = None
    local_exponent: pd.DataFrame | None = None
    scaling: pd.DataFrame | None = None

    @property
    def summary(self) -> str:
        """A line for each law of the upper boundary, else for each cell, and one for cells where nothing learns."""
        return summary.lines(self.critical, self.band, self.power_law)

    def __repr__(self) -> str:
        tables = (f"{name} {len(table)} rows" for name, table in vars(self).items() if table is not None)
        return f"{self.summary}\n{', '.join(tables)}"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(line)}</p>" for line in self.summary.splitlines()]
        for name, table in vars(self).items():
            if table is not None:
                parts.append(f"<details><summary>{name}</summary>{table.to_html(index=False)}</details>")
        return "".join(parts)


def analyze(
    results: tables.Tables | str | Path, *, out: str | Path = "results", share: float | None = None
) -> Analyzed:
    """Critical learning rates and learnable band of every cell, and the laws through the critical rates.

    `share` is the share of seeds at which a boundary lies (0: the first seed); by default what the sweep says.
    In the band the others learned: at least 1 - share. Laws are fitted along every field of positive numbers
    with three cells or more, the timescale for one.
    """
    found = results if isinstance(results, tables.Tables) else tables.read(results, out)
    return analyze_runs(found.runs, share=share_of(found) if share is None else share)


def analyze_runs(runs: pd.DataFrame, *, share: float) -> Analyzed:
    """The same of a table of runs, whose sweep is not asked."""
    critical = critical_lr(runs, share=share)
    band = learnable_band(runs, share=1 - share)
    critical = critical.assign(learns=_learns(runs, critical))
    judged = with_task_outcome(runs)
    if "task_outcome" in judged:
        counts = judged["task_outcome"].value_counts(sort=False)
        critical.attrs = critical.attrs | {"task_outcomes": {str(name): int(n) for name, n in counts.items() if n}}
    laws = (fit_power_law, local_exponent, compare_scaling)
    along = scales(critical)
    if not along:
        return Analyzed(critical, band)
    return Analyzed(
        critical, band, *(pd.concat([law(critical, x=x) for x in along], ignore_index=True) for law in laws)
    )


def _learns(runs: pd.DataFrame, critical: pd.DataFrame) -> pd.Series:
    """Which boundaries are of cells in which, at some rate, half of the seeds come below `learned_loss` at all."""
    fields = [name for name in cell_fields(runs) if name in critical]
    low = (numbers(runs, "min_loss") < numbers(runs, "learned_loss")) & (runs["status"] == "done").to_numpy()
    learned = pd.Series(low, runs.index).groupby([runs[name] for name in (*fields, "learning_rate")], dropna=False)
    best = learned.mean().groupby(level=list(range(len(fields))), dropna=False).max().rename("best").reset_index()
    found = critical[fields].merge(best, how="left", on=fields)["best"]
    return pd.Series((found >= 0.5).to_numpy(), critical.index)


def share_of(found: tables.Tables) -> float:
    """The share of seeds that boundaries take, as meta.json says it; with a warning 0.5 where it does not."""
    given = found.meta.get("fit")
    share = given.get("share") if isinstance(given, dict) else None
    if isinstance(share, int | float) and 0 <= share < 1:
        return float(share)
    warnings.warn(
        f"{found.name}: meta.json says nothing of the share of seeds at which boundaries lie: 0.5 is taken",
        stacklevel=3,
    )
    return 0.5
