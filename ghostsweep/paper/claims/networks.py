"""Claims of Figs. 3, 4 and 5: what single networks do as they learn, in several of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.analysis.outcomes import outcomes
from ghostsweep.dynamics.flow import THRESHOLD
from ghostsweep.dynamics.snapshots import count_points
from ghostsweep.errors import UsageError
from ghostsweep.paper import searched
from ghostsweep.paper.claims.claim import SIGNIFICANT, Claim, mcnemar, of_networks, p_text, paired_difference
from ghostsweep.store.columns import with_fields
from ghostsweep.store.tables import Tables

PLATEAU_LOSS = 0.9
"""A loss above this share of its first value is on the plateau."""
DROP = (0.99, 0.5)
"""The drop begins where the loss falls below the first share of its first value and ends where below the second."""
ABRUPT = 0.01
"""A drop, from the plateau to the end of `DROP`, is abrupt where it takes at most this share of the epochs before."""
INSIDE = 5
"""Snapshots without which nothing has been tested inside a drop."""


class _Fall(NamedTuple):
    """One rank-one network: its run, its dynamics by snapshot, and when its loss fell."""

    run: pd.Series
    dynamics: pd.DataFrame
    begin: float
    end: float
    plateau: float  # the last recorded epoch before the loss is below PLATEAU_LOSS

    @property
    def duration(self) -> float:
        """Epochs from the plateau to the end of the drop, at most; inf where it has not fallen."""
        return self.end - self.plateau if np.isfinite(self.end) else np.inf

    def within(self, low: float, high: float) -> pd.DataFrame:
        """The snapshots from one epoch to another, both with them."""
        return self.dynamics[self.dynamics["epoch"].between(low, high)]

    @property
    def tested(self) -> bool:
        """Whether there are snapshots enough inside the drop."""
        return len(self.within(self.begin, self.end)) >= INSIDE

    @property
    def unchanged(self) -> bool:
        """Whether the number of fixed points is the same at every snapshot up to the end of the drop."""
        return self.tested and self.within(0, self.end)["fixed_points"].nunique() == 1

    @property
    def moves(self) -> bool:
        """Whether a single stable fixed point crosses the threshold in the drop or within its length after."""
        above = self.dynamics["stable"] > THRESHOLD
        if not self.tested or not above.any():
            return False
        at = float(self.dynamics.loc[above, "epoch"].iloc[0])
        alone = self.within(0, at)["fixed_points"].eq(1).all()
        return bool(alone and self.begin < at <= self.end + (self.end - self.begin))


def _falls(tables: Tables) -> list[_Fall]:
    """The networks of a sweep of which snapshots were kept."""
    found = []
    for _, run in outcomes(tables.runs).iterrows():
        try:
            snapshots = tables.snapshots(str(run["run_id"]))
        except UsageError:
            continue  # kept of some seeds only
        curve = tables.curves[tables.curves["run_id"] == run["run_id"]].sort_values("epoch")
        epoch, loss = curve["epoch"].to_numpy(float), curve["loss"].to_numpy(float) / float(run["initial_loss"])
        below = {share: epoch[loss < share] for share in (*DROP, PLATEAU_LOSS)}
        begin, end, left = (float(below[s][0]) if len(below[s]) else np.inf for s in (*DROP, PLATEAU_LOSS))
        before = epoch[epoch < left]
        dynamics = searched.over_training(snapshots, run.to_dict(), getattr(tables, "folder", None))
        found.append(_Fall(run, dynamics, begin, end, float(before[-1]) if len(before) else 0.0))
    return found


def fig3(learns: Tables, collapses: Tables, learns_seeds: Tables, collapses_seeds: Tables) -> list[Claim]:
    """Abrupt learning needs no bifurcation; a higher rate collapses after it (Fig. 3)."""
    low, high = (
        [*_falls(one), *_falls(seeds)] for one, seeds in ((learns, learns_seeds), (collapses, collapses_seeds))
    )
    claims = []
    for falls, which in ((low, (0, 2)), (high, (1, 3))):
        rate = f"lr {falls[0].run['learning_rate']:g}"
        longest = max(falls, key=lambda fall: fall.duration)
        inside = [len(fall.within(fall.begin, fall.end)) for fall in falls]
        before = [fall.within(0, fall.begin)["ghosts"].gt(0) for fall in falls]
        at = [fall.within(fall.begin, fall.end)["ghosts"].gt(0) for fall in falls]
        after = [fall.dynamics[fall.dynamics["epoch"] > fall.end] for fall in falls]
        passages = np.array([part["passage"].iloc[-1] if len(part) else np.nan for part in after])
        learned = [
            bool(fall.within(0, fall.run["learned_epoch"])["fixed_points"].nunique() == 1)
            for fall in falls
            if pd.notna(fall.run["learned_epoch"])
        ]
        claims += [
            of_networks(
                "fig3",
                f"a long plateau, then an abrupt drop ({rate})",
                [fall.duration <= ABRUPT * fall.plateau for fall in falls],
                f"; from above {PLATEAU_LOSS} of the first loss to below {DROP[1]} within at most "
                f"{longest.duration:,.0f} epochs, after {min(f.plateau for f in falls):,.0f} to "
                f"{max(f.plateau for f in falls):,.0f}",
                tables=which,
            ),
            of_networks(
                "fig3",
                f"no bifurcation comes before the drop or in it ({rate})",
                [fall.unchanged for fall in falls],
                f"; {min(inside)} to {max(inside)} snapshots inside each drop; up to where the loss is below "
                f"{falls[0].run['learned_loss']:g}, the same in {sum(learned)} of {len(learned)} that get there",
                tables=which,
            ),
            of_networks(
                "fig3",
                f"a ghost is there on the plateau or in the drop ({rate})",
                [bool(one.any() or other.any()) for one, other in zip(before, at, strict=True)],
                f"; a ghost at {sum(map(sum, before))} of {sum(map(len, before)):,} snapshots before and at "
                f"{sum(map(sum, at))} of {sum(map(len, at)):,} in the drop",
                tables=which,
            ),
            of_networks(
                "fig3",
                f"in the drop the one stable fixed point moves across the threshold ({rate})",
                [fall.moves for fall in falls],
                tables=which,
            ),
            of_networks(
                "fig3",
                f"a ghost is there in the end ({rate})",
                [bool(len(part) and part["ghosts"].iloc[-1] > 0) for part in after],
                f"{_passages(passages)}; of all snapshots after the drop "
                f"{np.mean([part['ghosts'].gt(0).mean() if len(part) else 0.0 for part in after]):.0%} have one, mean",
                tables=which,
            ),
        ]
    return [*claims, _keeps((learns, learns_seeds), (collapses, collapses_seeds))]


def _passages(passages: np.ndarray) -> str:
    there = passages[np.isfinite(passages)]
    if not len(there):
        return ""
    ends = dict.fromkeys(f"{passage:.0f}" for passage in (there.min(), there.max()))
    return f"; it takes {' to '.join(ends)} tau to pass"


def _keeps(low: Sequence[Tables], high: Sequence[Tables]) -> Claim:
    """The same networks at two rates: which keep what they learned."""
    both = [pd.concat([outcomes(tables.runs) for tables in some]).set_index("seed") for some in (low, high)]
    rates = [float(runs["learning_rate"].iloc[0]) for runs in both]
    seeds = both[0].index.intersection(both[1].index)
    names = [runs.loc[seeds, "outcome"].astype(str) for runs in both]
    kept = [(name == "learned").to_numpy() for name in names]
    gained, lost, p = mcnemar(*kept)
    low_share, high_share = paired_difference(gained, lost, len(seeds))
    return Claim(
        "fig3",
        "the low rate keeps what it learned, the higher one collapses after the drop, without gradient",
        f"{len(seeds)} networks, {kept[0].sum()} learned at lr {rates[0]:g} and {kept[1].sum()} at {rates[1]:g}, where "
        f"{int((names[1] == 'trapped').sum())} were trapped (McNemar, {p_text(p)})",
        float(kept[0].mean() - kept[1].mean()) if len(seeds) else 0.0,
        bool(gained > lost and p < SIGNIFICANT),
        low=low_share,
        high=high_share,
        p_value=p,
        n_seeds=len(seeds),
    )


def fig4(dcdt: Tables, dmts: Tables) -> list[Claim]:
    """Ghosts in the plane of rank-2 networks on cue tasks (Fig. 4)."""
    return _cue_tasks("fig4", dcdt, dmts)


def fig5(dcdt: Tables, dmts: Tables) -> list[Claim]:
    """Slow points of full-rank networks on cue tasks (Fig. 5)."""
    return _cue_tasks("fig5", dcdt, dmts)


def _cue_tasks(figure: str, dcdt: Tables, dmts: Tables) -> list[Claim]:
    claims = []
    for at, (name, tables) in enumerate((("delayed cue discrimination", dcdt), ("delayed match to sample", dmts))):
        runs = with_fields(outcomes(tables.runs), ["trials_per_class"])
        counts: dict[str, pd.DataFrame] = {}
        for _, run in runs.iterrows():
            fields: dict[str, Any] = {str(field): value for field, value in run.items()}
            counts[run["run_id"]] = count_points(
                searched.network_snapshots(tables.snapshots(run["run_id"]), fields, getattr(tables, "folder", None))
            )
        # A network trained with several numbers of trials counts once, with most of them.
        once = runs.sort_values("trials_per_class", ascending=False).drop_duplicates("seed").sort_values("seed")
        of = [counts[run_id] for run_id in once["run_id"]]
        learned = (once["outcome"] == "learned").tolist()
        passages = np.array([count["ghost_passage"].iloc[-1] for count in of])
        epochs = [int(epoch) for epoch in of[0]["epoch"]]
        before = [sum(count["ghosts"].iloc[i] > 0 for count in of) for i in range(len(epochs))]
        changed = sum(count["fixed_points"].nunique() > 1 for count in of)
        first, trials = runs.iloc[0], once["trials_per_class"]
        fewer = int((trials < trials.max()).sum())
        from_fewer = (
            f"; {fewer} of them from {int(trials.min())} trials instead of {int(trials.max())}" if fewer else ""
        )
        claims += [
            of_networks(
                figure,
                f"{name}: the network learns",
                learned,
                f"; the one drawn from a loss of {first['initial_loss']:.3g} to {first['recent_mean_loss']:.3g}, best "
                f"accuracy {first['max_accuracy']:.2f}{from_fewer}",
                tables=(at,),
            ),
            of_networks(
                figure,
                f"{name}: a ghost is there once the network has learned",
                [bool(ok and count["ghosts"].iloc[-1] > 0) for ok, count in zip(learned, of, strict=True)],
                f"{_passages(passages)}; slow points in {sum(count['slow_points'].iloc[-1] > 0 for count in of)}; by "
                "snapshot networks with a ghost: "
                + ", ".join(f"{k} at epoch {epoch:,}" for k, epoch in zip(before, epochs, strict=True))
                + f"; the number of fixed points changes in {changed}{from_fewer}",
                tables=(at,),
            ),
        ]
        claims += _fewer_trials(figure, name, runs, counts, at)
    return claims


def _fewer_trials(figure: str, name: str, runs: pd.DataFrame, counts: dict[str, pd.DataFrame], at: int) -> list[Claim]:
    """Whether the fixed points and ghosts of a network trained with fewer trials are the same, where there is one."""
    claims = []
    for _, same in runs.groupby("seed"):
        if same["trials_per_class"].nunique() < 2:
            continue
        same = same.sort_values("trials_per_class", ascending=False)
        numbers = [counts[run_id][["fixed_points", "ghosts"]].to_numpy() for run_id in same["run_id"]]
        equal = (numbers[0] == numbers[-1]).all(axis=1)
        trials = [f"{int(n)}" for n in same["trials_per_class"].iloc[[0, -1]]]
        claims.append(
            Claim(
                figure,
                f"{name}: a tenth of the trials changes neither fixed points nor ghosts",
                f"the same numbers at {int(equal.sum())} of {len(equal)} snapshots with {' and '.join(trials)} trials "
                "of each kind",
                float(equal.mean()),
                bool(equal.all()),
                (at,),
                "check",
                n_seeds=1,
            )
        )
    return claims
