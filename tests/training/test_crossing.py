"""Budget: what crosses between the host and the devices, and in how many calls, with chunks as wide as on a GPU."""

from pathlib import Path

import pytest
from crossing import crossing

from ghostsweep.spec import load

SWEEPS = Path(__file__).parents[2] / "sweeps"


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("canonical_lr_timescale", 3),
        ("fig6a_rank_one", 17),
        ("rank_lr", 10),
        ("fig6a_full", 17),
        ("companion_narrow_reduced", 5),
    ],
)
def test_no_more_crosses_than_is_stored(name: str, calls: int) -> None:
    found = crossing(load(SWEEPS / f"{name}.toml", quick=True))
    assert 0 < found.fetched <= 1.1 * found.stored
    assert found.sent <= 500 * found.runs + 300 * found.calls
    assert found.calls <= calls
    assert found.waits <= 2 * calls + 3  # for a call, for a review, and at the end


def test_chunks_on_several_devices_fetch_no_more() -> None:
    sweep = load(SWEEPS / "rank_lr.toml", quick=True)
    one, two = (crossing(sweep, n_devices=n) for n in (1, 2))
    assert two.fetched <= one.fetched * 28 / 27 and two.waits <= one.waits  # the runs are padded to be even
