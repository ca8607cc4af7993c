"""A reduction that is kept: what is written is read again, and what is damaged or not there is told."""

from pathlib import Path

import pandas as pd
import pytest

from ghostsweep.errors import UsageError
from ghostsweep.store import reduced

KEPT = Path(__file__).parents[2] / "results" / "fig3_learns_seeds"


def test_what_is_written_again_is_the_same_table(tmp_path: Path) -> None:
    table = reduced.read_reduction(KEPT)
    reduced.write_reduction(tmp_path, table)
    pd.testing.assert_frame_equal(reduced.read_reduction(tmp_path), table)


def test_a_flipped_bit_in_a_page_a_torn_file_and_none_are_told(tmp_path: Path) -> None:
    data = (KEPT / reduced.NAME).read_bytes()
    path = tmp_path / reduced.NAME
    with pytest.raises(UsageError, match="not there; allowed"):
        reduced.read_reduction(tmp_path)
    for at in range(1000, len(data) * 3 // 4, len(data) // 12):  # the pages; the table of contents is at the end
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(UsageError, match="cannot be read, or is damaged"):
            reduced.read_reduction(tmp_path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match="cannot be read, or is damaged"):
        reduced.read_reduction(tmp_path)
