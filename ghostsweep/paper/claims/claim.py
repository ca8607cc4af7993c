"""What a claim is, and the statistics that claims share."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest, spearmanr

from ghostsweep.analysis.critical import COLLAPSED
from ghostsweep.analysis.outcomes import outcomes

HOLDS, FAILS, NOT_DECIDED = VERDICTS = ("holds", "does not hold", "not decided")
SIGNIFICANT = 0.05
"""A p-value below it rejects that there is no effect."""


class Claim(NamedTuple):
    """One claim: the figure it belongs to, what it says, what was measured, that as one number, whether it holds.

    `holds` is None where these runs cannot decide: the interval reaches both what is claimed and what would refute it.
    `tables` says by position which of the tables given it was measured on; None: all of them. `kind` is "claim" for
    what could fail, "check" for an identity or a definition. low and high are the 95% interval of the value and
    p_value that of there being no effect, each where there is one; n_seeds the networks behind it.
    """

    figure: str
    claim: str
    measured: str
    value: float
    holds: bool | None
    tables: tuple[int, ...] | None = None
    kind: Literal["claim", "check"] = "claim"
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan
    n_seeds: int | None = None

    @property
    def verdict(self) -> str:
        """One of VERDICTS; not decided where `holds` is None, nothing was measured, or an interval has no end."""
        if self.holds is None or np.isnan(self.value) or np.isinf([self.low, self.high]).any():
            return NOT_DECIDED
        return HOLDS if self.holds else FAILS


def of_networks(figure: str, claim: str, which: Sequence[bool], more: str = "", **fields: Any) -> Claim:
    """A claim about networks: in how many of them it is so, with the exact interval of that share.

    It holds where it is so in more than half of them; the interval says what that many networks are worth.
    """
    n, found = len(which), int(np.sum(which))
    interval = binomtest(found, n).proportion_ci(0.95) if n else None
    low, high = (float(interval.low), float(interval.high)) if interval else (np.nan, np.nan)
    measured = f"{found} of {n} networks ({low:.2f} to {high:.2f})" if n else "no networks"
    return Claim(
        figure, claim, f"{measured}{more}", found / max(n, 1), 2 * found > n, low=low, high=high, n_seeds=n, **fields
    )


def mcnemar(treated: ArrayLike, control: ArrayLike) -> tuple[int, int, float]:
    """How many pairs only the treated one of succeeds, only the control, and the exact two-sided p-value (McNemar)."""
    treated, control = np.asarray(treated, bool), np.asarray(control, bool)
    gained, lost = int((treated & ~control).sum()), int((control & ~treated).sum())
    return gained, lost, float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_difference(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The 95% interval of a difference of paired shares, half a pair added to each kind (Agresti, Min 2005)."""
    n, up, down = n + 2, gained + 0.5, lost + 0.5
    middle = (up - down) / n
    half = 1.96 * np.sqrt(max((up + down) - (up - down) ** 2 / n, 0.0)) / n
    return float(max(middle - half, -1.0)), float(min(middle + half, 1.0))


def collapse_rises(runs: pd.DataFrame) -> tuple[float, float]:
    """Rank correlation of having collapsed with the learning rate over runs, and its p-value; 0, 1 if all are alike."""
    collapsed = outcomes(runs)["outcome"].isin(COLLAPSED).to_numpy()
    if collapsed.all() or not collapsed.any():
        return 0.0, 1.0
    found = spearmanr(runs["learning_rate"], collapsed)
    return float(found.statistic), float(found.pvalue)


def upper(critical: pd.DataFrame) -> pd.DataFrame:
    """The upper boundaries of a table of critical rates."""
    return critical[critical["boundary"] == "upper"]


def p_text(p: float) -> str:
    """A p-value as it is written."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 1e-4"
