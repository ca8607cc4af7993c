"""The tables of one sweep and what the analysis makes of them, each computed once; sentences on laws and bands."""

import math
from functools import cached_property

import numpy as np
import pandas as pd

from ghostsweep.analysis import compare_scaling, critical_lr, fit_power_law, learnable_band, local_exponent, outcomes
from ghostsweep.findings.words import between, chance, decades, exponent, listed, measured, place, probability, value
from ghostsweep.spec import loads
from ghostsweep.store.reduced import read_reduction
from ghostsweep.store.tables import Tables

LAW_NAMES = {"power": "one power law", "exponential": "an exponential", "broken_power": "a knee"}
_LESS = " or less"
WEAK = 0.5
"""Power below which a test that does not reject says little."""


class SweepTables:
    """A sweep's tables, with outcomes, boundaries and bands at half of the seeds (`share` for another)."""

    def __init__(self, found: Tables, share: float = 0.5) -> None:
        self.found, self.share = found, share

    @property
    def name(self) -> str:
        return self.found.name

    @cached_property
    def runs(self) -> pd.DataFrame:
        return outcomes(self.found.runs)

    @property
    def n_seeds(self) -> int:
        return int(self.runs["seed"].nunique())

    @property
    def n_planned(self) -> int:
        """Runs of the whole grid, of which a refined sweep trains some."""
        return loads(self.found.meta["spec"], name=self.name, execute=False).n_runs

    @property
    def question(self) -> str:
        """What the sweep asks, as its file says."""
        return str(self.found.meta.get("title", self.name))

    @property
    def scale(self) -> str:
        """How many runs there are, and of how many where some are missing or left out by refinement."""
        runs = self.found.runs
        refined = ", chosen by refinement" if self.found.meta.get("refine") else ""
        of = f" of {self.n_planned:,}" if len(runs) < self.n_planned else ""
        seeds = f", {self.n_seeds} seed{'s' * (self.n_seeds > 1)}"
        return f"{len(runs):,}{of} runs{refined}{seeds}."

    @cached_property
    def critical(self) -> pd.DataFrame:
        return critical_lr(self.found.runs, share=self.share)

    @cached_property
    def band(self) -> pd.DataFrame:
        return learnable_band(self.found.runs, self.share or 0.5)

    def boundary(self, name: str) -> pd.DataFrame:
        return self.critical[self.critical["boundary"] == name]

    def law(self, x: str, boundary: str = "upper") -> pd.DataFrame:
        return fit_power_law(self.boundary(boundary), x=x)

    def local(self, x: str, boundary: str = "upper") -> pd.DataFrame:
        return local_exponent(self.boundary(boundary), x=x)

    def scaling(self, x: str, boundary: str = "upper") -> pd.DataFrame:
        return compare_scaling(self.boundary(boundary), x=x)

    def reduction(self, name: str) -> pd.DataFrame:
        """The reduction of another sweep of the same networks, kept beside these tables."""
        return read_reduction(self.found.folder.parent / name)


def slope(law: "pd.Series[float]") -> str:
    """The exponent of a row of `fit_power_law`, with its interval."""
    if math.isnan(law["exponent"]):
        return "an unknown power (too few estimates)"
    return between(law["exponent"], law["exponent_low"], law["exponent_high"], exponent)


def verdict(law: "pd.Series[float]") -> str:
    """Whether one power law is rejected, by a row of `compare_scaling`, with the power of the test beside it."""
    if math.isnan(law["curvature_p"]):
        return "whether it is one power law cannot be tested on so few cells"
    power = (
        f"the test finds a change of the exponent by 1 in {chance(law['power_knee'])} of such tables, "
        f"an exponential in {chance(law['power_exponential'])}"
    )
    p = f"p = {probability(law['curvature_p'])}"
    if law["rejected"]:
        how = "falls" if law["curvature"] < 0 else "rises"
        by = exponent(abs(law["curvature"]) * math.log(2))
        return f"one power law is rejected ({p}): the exponent {how} by {by} with each doubling; {power}"
    little = ", which is little" if min(law["power_knee"], law["power_exponential"]) < WEAK else ""
    return f"one power law is not rejected ({p}); {power}{little}"


def preferred(laws: pd.DataFrame, x: str) -> str:
    """Which law AICc and BIC prefer, by the rows of one series of `compare_scaling`, and the knee where it is one."""
    fitted = laws[laws["aicc"].notna()].set_index("law")
    if len(fitted) < 2:
        return "too few cells to compare laws"
    aicc, bic = (str(fitted[f"delta_{criterion}"].idxmin()) for criterion in ("aicc", "bic"))
    told = f"AICc and BIC prefer {LAW_NAMES[aicc]}"
    if aicc != bic:
        told = f"AICc prefers {LAW_NAMES[aicc]}, BIC {LAW_NAMES[bic]}"
    if "broken_power" in (aicc, bic):
        knee, before, after = fitted.loc[["broken_power"], ["knee", "exponent", "exponent_above"]].to_numpy()[0]
        told += f" (at {place(x, round(knee))}: {exponent(before)} before, {exponent(after)} after)"
    return told


def widest(bands: pd.DataFrame, field: str) -> str:
    """Where a band is widest: at one value if its interval lies above all others, else at one of several."""
    there = bands[bands["lr_low"].notna()]
    if there.empty:
        return "half of the seeds learn nowhere"
    high = there["width_high"].where(there["censored"] == "", np.inf)
    if there["width_low"].isna().any():
        return "one seed does not tell where it is widest"
    open_to = there[high >= there["width_low"].max()]
    first, *others = [value(field, x) for x in open_to[field]]
    start = place(field, open_to[field].iloc[0])
    if not others:
        return f"widest at {start}"
    return f"widest at one of {listed([start, *others])}, whose order is not established"


def trend(bands: pd.DataFrame, field: str) -> str:
    """Whether a band is wider or narrower at the last value of a field than at the first, by their intervals; or ""."""
    ordered = bands.sort_values(field)
    first, last = ordered.iloc[0], ordered.iloc[-1]
    if last["width_low"] > (np.inf if first["censored"] else first["width_high"]):
        return "wider"
    if first["width_low"] > (np.inf if last["censored"] else last["width_high"]):
        return "narrower"
    return ""


def moved(first: float, last: float, start_bound: bool = False, end_bound: bool = False) -> str:
    """From where to where an end goes, and by how many decades, where both are known."""
    told = f"from {measured(first)}{_LESS * start_bound} to {measured(last)}{_LESS * end_bound}"
    if np.isnan(first) or np.isnan(last):
        return "is not known"
    if start_bound and end_bound:
        return f"{told}, both beyond the grid"
    step = math.log10(last / first)
    if not start_bound and not end_bound:
        return f"{told}, {decades(abs(step))} decades {'down' if step < 0 else 'up'}"
    more = "at least" if (step > 0) == start_bound else "at most"
    return f"{told}, {more} {decades(abs(step))} decades {'down' if step < 0 else 'up'}"
