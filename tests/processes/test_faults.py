"""Some of the faults, bits and crowds of tests/faults, which tries all of them by a command each."""

import errno
import random
from pathlib import Path

import pytest
from faults import check, flips
from faults.inject import ERRORS
from faults.sweeps import KINDS

from ghostsweep.store import locks
from ghostsweep.training import chunk

STRUCK = 3
"""Operations of each kind of sweep, of which `tests/faults/check.py` strikes all."""
FLIPPED = 24
"""Bits of each file."""


@pytest.mark.parametrize("name", KINDS)
def test_what_is_cut_off_anywhere_is_finished_to_the_same_tables(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(chunk, "REVIEWS", 3)  # each is a call and a checkpoint, of which one is like the other
    kind, rng = KINDS[name], random.Random(name)
    expected = check.whole(kind, tmp_path / "whole")
    check.prepared(kind, tmp_path / "start")
    operations = check.count(kind, tmp_path / "start", tmp_path / "out")
    assert operations > 50
    for i, at in enumerate(rng.sample(range(1, operations + 1), STRUCK)):
        for fault in (None, ERRORS[i % len(ERRORS)]):
            outcome = check.strike(kind, expected, tmp_path / "start", tmp_path / "out", at, fault)
            assert outcome.operation is not None, (at, operations)
            assert fault is not None or outcome.ended == "killed"


def test_a_fault_is_found_where_it_is(tmp_path: Path) -> None:
    kind = KINDS["nothing left"]
    check.prepared(kind, tmp_path / "start")
    expected = check.whole(kind, tmp_path / "whole")
    runs = tmp_path / "start" / "x" / "runs.parquet"
    runs.write_bytes(runs.read_bytes()[:-1] + b"x")
    with pytest.raises(UserWarning, match="not the bytes that were written"):  # the check itself can fail
        check.strike(kind, expected, tmp_path / "start", tmp_path / "out", 1, errno.EIO)


def test_a_flipped_bit_of_any_file_is_told(tmp_path: Path) -> None:
    folder, rng = flips.made(tmp_path), random.Random(0)
    kinds = set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        bits = list(flips.chosen(path, FLIPPED, rng))
        tally = flips.flipped(folder, path, bits)
        assert tally["told"] + (tally["no change"] if path.suffix == ".json" else 0) == len(bits), (path, tally)
        kinds.add(path.parent.name)
    assert kinds == {"x", "parts", "ends", "snapshots", "checkpoints"}
