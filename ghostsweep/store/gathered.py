"""Rows of many files as one table, each run whole from one of them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from ghostsweep.store.columns import CURVES, all_columns, empty, frame, together

TOGETHER = 256
"""Tables that wait to be put into one."""
Asked = Callable[[pd.DataFrame, pd.DataFrame], "pd.Series[bool]"]
"""From runs and curves, which of the runs have all that is asked for, along the first."""


class Gathered:
    """Runs and curves of many sources, each run whole from the last that has all that is asked, or else the last."""

    def __init__(self) -> None:
        # The newest sources are in the first list; each table of another one was put together from TOGETHER of the
        # list before, so that a row is copied as often as there are lists, however many sources there are.
        self.levels: list[list[tuple[pa.Table, pa.Table]]] = [[]]
        self.lengths = list[tuple[int, int]]()

    @property
    def sources(self) -> int:
        """How many there are."""
        return len(self.lengths)

    def add(self, runs: pa.Table, curves: pa.Table) -> int:
        """Add a source; return its number. Many small tables are put into one now and then, since each takes memory."""
        self.levels[0].append((runs, curves))
        self.lengths.append((len(runs), len(curves)))
        level = 0
        while len(self.levels[level]) == TOGETHER:
            if level + 1 == len(self.levels):
                self.levels.append([])
            runs, curves = _concatenated(self.levels[level])
            self.levels[level + 1].append((runs.combine_chunks(), curves.combine_chunks()))
            self.levels[level] = []
            level += 1
        return len(self.lengths) - 1

    def joined(
        self, order: list[int], asked: Asked | None = None
    ) -> tuple[pa.Table, pa.Table, Callable[[str], int | None]]:
        """Both tables, sources in the `order` given, and the source of each run, by its id.

        No row of a run's curve is from another source than its own.
        """
        if not order:
            return empty(all_columns()), empty(CURVES), lambda _: None
        runs, curves = _concatenated([pair for level in reversed(self.levels) for pair in level])
        if len(order) == 1:
            return runs, curves, lambda _: order[0]
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        of_runs, of_curves = (np.repeat(rank, [length[i] for length in self.lengths]) for i in (0, 1))
        ids, curve_ids = (table["run_id"].to_pandas().astype(object) for table in (runs, curves))
        preferred = of_runs
        if asked is not None and (several := ids.duplicated(keep=False).to_numpy()).any():
            of_several = curve_ids.isin(ids[several]).to_numpy()
            some, their = frame(runs.filter(several)), frame(curves.filter(of_several))
            for table, ranks in ((some, of_runs[several]), (their, of_curves[of_several])):
                table["run_id"] = [f"{run} {at}" for run, at in zip(table["run_id"], ranks, strict=True)]
            preferred = of_runs.copy()
            preferred[several] += len(order) * asked(some, their).to_numpy()
        rows = preferred.argsort(kind="stable")
        last = rows[~ids.iloc[rows].duplicated(keep="last").to_numpy()]
        last = last[of_runs[last].argsort(kind="stable")]
        owner = pd.Series(of_runs[last], ids.iloc[last])
        own = owner.reindex(curve_ids).to_numpy() == of_curves
        kept = of_curves.argsort(kind="stable")
        sources = dict(zip(owner.index, np.array(order)[owner.to_numpy()].tolist(), strict=True))
        return runs.take(last), curves.take(kept[own[kept]]), sources.get


def _concatenated(pairs: list[tuple[pa.Table, pa.Table]]) -> tuple[pa.Table, pa.Table]:
    """Tables of runs as one, and those of their curves."""
    return together([runs for runs, _ in pairs]), pa.concat_tables([curves for _, curves in pairs])
