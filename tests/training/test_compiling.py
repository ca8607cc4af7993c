"""Programs that are compiled ahead: the same as those compiled when they are needed."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import pytest

from ghostsweep import Run
from ghostsweep.plan import Chunk
from ghostsweep.spec import shape_of
from ghostsweep.training import programs

SHAPE = shape_of(Run(model="canonical", timescale=10, learning_rate=1e-6, epochs=1).fields)


@dataclass(frozen=True)
class Card:
    platform: str = "cuda"


CARD: Any = Card()


def chunk(width: int) -> Chunk:
    return Chunk(SHAPE, 1, width, None)  # type: ignore[arg-type]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The widths that were compiled, in order, each by a program that says it; the first of width 7 fails."""
    widths: list[int] = []

    def compiled(shape: object, width: int, devices: object) -> int:
        widths.append(width)
        if width == 7 and widths.count(7) == 1:
            raise MemoryError
        return width

    monkeypatch.setattr(programs, "compiled", compiled)
    monkeypatch.setattr(programs, "AHEAD", 3)
    programs._begun.cache_clear()
    yield widths
    programs._begun.cache_clear()


def test_a_few_programs_are_compiled_ahead_and_each_once(asked: list[int]) -> None:
    programs.ahead([chunk(width) for width in (1, 1, 2, 3, 4)], [CARD] * 4)
    assert programs.program(SHAPE, 2, (CARD,) * 2) == 2
    assert programs.program(SHAPE, 1, (CARD,)) == 1
    assert programs.program(SHAPE, 3, (CARD,) * 3) == 3
    assert sorted(asked) == [1, 2, 3]


def test_what_failed_beside_training_is_compiled_once_more(asked: list[int]) -> None:
    programs.ahead([chunk(7)], [CARD])
    assert programs.program(SHAPE, 7, (CARD,)) == 7


def test_on_cpus_nothing_is_compiled_ahead(asked: list[int]) -> None:
    programs.ahead([chunk(1)], jax.local_devices()[:1])
    assert asked == []


def test_from_another_thread_comes_the_same_program() -> None:
    device = jax.local_devices()[0]
    here = programs.compiled(SHAPE, 2, (device,))
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(programs.compiled, SHAPE, 2, (device,)).result()
    assert _instructions(here) == _instructions(there)


def _instructions(program: programs.Program) -> str:
    """Without the lines of source that each comes from, which JAX tells apart by what it has traced before."""
    text = program.made.as_text()
    return re.sub(r" ?stack_frame_id=\d+", "", text[text.index("\n\n%") :])
