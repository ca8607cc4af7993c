"""Grids that grow by whole steps keep their values, so that what is trained is reused."""

from decimal import Decimal
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostsweep.errors import UsageError
from ghostsweep.spec import Axis

Form = Literal["logspace", "geomspace", "linspace"]


def values(form: Form, first: float, last: float, points: int) -> list[float]:
    return Axis.model_validate({form: [first, last, points]}).values()


def test_a_grid_of_the_review_grows_by_whole_steps() -> None:
    short, long = values("logspace", -4, -1, 31), values("logspace", -5, -1, 41)
    assert long[10:] == short
    assert short[0] == 1e-4 and short[-1] == 0.1 and short[10] == 1e-3
    assert all(float(f"{value:.12g}") == value for value in long)


decimals = st.integers(0, 4)


@given(st.data(), st.sampled_from(["logspace", "linspace"]), decimals, st.integers(1, 40), st.integers(0, 40))
def test_a_grown_grid_has_every_value_of_the_smaller(
    data: st.DataObject, form: Form, places: int, before: int, after: int
) -> None:
    unit = Decimal(1).scaleb(-places)
    step, first = (data.draw(st.integers(*ends)) * unit for ends in ((1, 20), (-300, 300)))
    points = data.draw(st.integers(2, 40))
    if form == "logspace" and max(abs(first - before * step), abs(first + (points + after) * step)) > 200:
        first, step = first / 100, step / 100
    last = first + (points - 1) * step
    short = values(form, float(first), float(last), points)
    low, high = first - before * step, last + after * step
    long = values(form, float(low), float(high), before + points + after)
    assert long[before : before + points] == short
    # Each is the decimal it stands for, or the power of ten, to the last digit that is given.
    expected = [first + i * step for i in range(points)]
    if form == "linspace":
        assert short == [float(value) for value in expected]
    else:
        assert all(abs(value / 10 ** float(e) - 1) < 1e-11 for value, e in zip(short, expected, strict=True))


def test_a_geomspace_is_numpys_and_grows_by_whole_steps() -> None:
    short, long = values("geomspace", 1e-3, 1, 13), values("geomspace", 1e-4, 10, 21)
    assert short[0] == 1e-3 and short[-1] == 1 and short == long[4:17] == values("logspace", -3, 0, 13)
    for first, last, points in ((1e-3, 1, 13), (5, 0.3, 40), (1e-300, 1e300, 7), (2, 2, 3), (0.1 + 0.2, 7, 2)):
        found = values("geomspace", first, last, points)
        np.testing.assert_allclose(found, np.geomspace(first, last, points), rtol=1e-11)
        assert (found[0], found[-1]) == (first, last)
    assert values("geomspace", 5, 7, 1) == [5]
    for first in (0, -1):
        with pytest.raises(UsageError, match="axis: found .* allowed: first and last value of geomspace above 0"):
            values("geomspace", first, 1, 3)
    assert len(values("geomspace", 1, 2, 1_000_000)) == 1_000_000


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40), st.sampled_from([2, 4, 10]))
def test_a_grown_geomspace_has_every_value_of_the_smaller(points: int, before: int, after: int, base: int) -> None:
    def grid(first: int, last: int) -> list[float]:
        return values("geomspace", float(base) ** first, float(base) ** last, last - first + 1)

    assert grid(-before, points + after)[before : before + points + 1] == [
        float(f"{float(base) ** e:.12g}") if 0 < e < points or (e == points and after) else float(base) ** e
        for e in range(points + 1)
    ]


def test_ends_and_single_points_are_as_given() -> None:
    assert values("linspace", 0.1, 0.3, 3) == [0.1, 0.2, 0.3]
    assert values("linspace", 0.7, 0.9, 1) == [0.7]
    assert values("logspace", -2, 5, 1) == [0.01]
    assert values("linspace", 3, 1, 5) == [3, 2.5, 2, 1.5, 1]
    assert values("linspace", -1.5e308, 1.5e308, 3) == [-1.5e308, 0, 1.5e308]
