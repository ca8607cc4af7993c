"""Claims of the companion paper on planted runs: they hold where they should, and fail where they should."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ghostsweep.errors import UsageError
from ghostsweep.paper import catalog, claims
from ghostsweep.paper.companion import companion
from ghostsweep.plan import expand
from ghostsweep.spec import load
from ghostsweep.store import columns

SWEEP = Path(__file__).parents[2] / "sweeps" / "companion_narrow_reduced.toml"
CLAIMS = (
    "less often", "more are limit cycles", "power 2.72", "power 4.05", "steeper", "same mechanism", "sign",
    "fail at a rate of 0.078", "power 0.38", "toy models",
)  # fmt: skip


def planted(slow: float = 4.05, none: float = 2.72, wrong: float = 0.0, blur: float = 3.0) -> Any:
    """Runs of the reduced sweep with boundaries of these exponents, and an index that errs in a share of them."""
    runs, rng = expand(load(SWEEP)), np.random.default_rng(1)
    rate, delay = runs["learning_rate"].to_numpy(), runs["delay_ms"].to_numpy()
    fails = rng.random(len(runs)) < 1 - np.exp(-0.1 * np.clip(delay - 240 * (rate / 0.1) ** (-1 / none), 0, None))
    cycles = rng.random(len(runs)) < 1 / (1 + np.exp(-(delay - 100 * (rate / 0.1) ** (-1 / slow)) / blur))
    index = np.where(cycles ^ (rng.random(len(runs)) < wrong), 0.1, 1.0)
    measured = {
        "late_accuracy": np.where(fails, 0.5, 1.0), "late_reliability": np.where(fails, 0.5, 0.99),
        "good_epoch": 20.0, "low_count": np.where(fails, 900.0, 0.0), "high_count": np.where(fails, 10.0, 900.0),
        "power_index": index, "power_index_flipped": index, "free_amplitude": np.where(cycles, 0.4, 0.0),
        "free_decay": np.where(cycles, 1.0, 0.0), "free_cycles": np.where(cycles, 12.0, 0.0), "free_speed": 0.0,
    }  # fmt: skip
    assert set(measured) <= columns.result_names()
    return SimpleNamespace(name=SWEEP.stem, runs=runs.assign(status="done", **measured), curves=pd.DataFrame(), meta={})


def control(beta: float = 0.38, rate: float = 0.078, sharp: float = 6.0) -> Any:
    """Runs of the reduced control, half of which fail along rate times (200 ms / window) to a power."""
    runs, rng = expand(load(SWEEP.with_stem("companion_linear_control_reduced"))), np.random.default_rng(2)
    at = rate * (runs["reaction_ms"].to_numpy(float) / 200) ** -beta
    fails = rng.random(len(runs)) < 1 / (1 + (runs["learning_rate"].to_numpy(float) / at) ** -sharp)
    measured = {"late_accuracy": np.where(fails, 0.5, 1.0), "late_reliability": np.where(fails, 0.5, 0.99)}
    runs = runs.assign(status=np.where(fails, "diverged", "done"), **measured)
    return SimpleNamespace(name="control", runs=runs, curves=pd.DataFrame(), meta={})


def verdicts(tables: Any, without_memory: Any = None) -> dict[str, str]:
    found = claims.companion(tables, without_memory or control())
    assert [name in claim.claim for name, claim in zip(CLAIMS, found, strict=True)] == [True] * len(CLAIMS)
    assert all(claim.figure == "companion" and claim.measured for claim in found)
    return dict(zip(CLAIMS, (claim.verdict for claim in found), strict=True))


def test_claims_hold_where_the_papers_boundaries_were_planted() -> None:
    assert verdicts(planted()) == dict.fromkeys(CLAIMS, "holds")


def test_claims_fail_where_something_else_was_planted() -> None:
    found = verdicts(planted(slow=1.5, none=1.5))
    assert (found["power 2.72"], found["power 4.05"]) == ("does not hold", "does not hold")
    assert verdicts(planted(wrong=0.4))["same mechanism"] == "does not hold"
    assert verdicts(planted(slow=2.0, none=4.0))["steeper"] == "does not hold"
    nothing = planted()
    nothing.runs = nothing.runs.assign(late_accuracy=0.5)
    alone = control()
    alone.runs = alone.runs.assign(late_accuracy=0.5)
    found = verdicts(nothing, alone)
    assert [name for name, verdict in found.items() if verdict == "holds"] == ["toy models"]
    assert {found[name] for name in (*CLAIMS[2:6], *CLAIMS[7:9])} == {"not decided"}


def test_claims_on_the_control_can_fail_and_can_be_undecided() -> None:
    names = CLAIMS[7:9]
    for planted_one, verdict in ((control(beta=0.9, rate=0.03), "does not hold"), (control(sharp=0.3), "not decided")):
        found = verdicts(planted(), planted_one)
        assert {found[name] for name in names} == {verdict}


def test_the_figure_draws_both_verdicts_and_says_where_they_differ() -> None:
    fig = companion(planted(wrong=0.1))
    said = " ".join(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))
    assert "the two differ in" in said and "the paper's fits: " in said and "paper 4.05" in said
    assert len(fig.axes) == 4


def test_runs_of_other_tasks_are_refused() -> None:
    other = planted()
    other.runs = other.runs.assign(task="dcdt")
    with pytest.raises(UsageError, match="found other runs; allowed: those of dcdt_onehot"):
        companion(other)
    assert "companion" in catalog.every() and "companion" not in catalog.PAPER
