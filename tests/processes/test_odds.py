"""A few of what `python tests/faults/odds.py` tries by the hundred."""

import random
from pathlib import Path

import pytest
from faults import odds


@pytest.mark.parametrize(("kind", "n"), [(odds.senseless, 8), (odds.clocks, 12), (odds.memory, 2)], ids=lambda each: "")
def test_nothing_is_lost_and_nothing_silent(kind: odds.Kind, n: int, tmp_path: Path) -> None:
    told: list[str] = []
    counts = kind(tmp_path / "here", n, random.Random(1), told.append)
    assert not told and counts["tried"] >= n - 2
    assert not set(counts) - {"tried", "named as damaged", "refused"}
