"""Fixed and slow points in two and more dimensions: all that is there is found, and all that is found is there."""

import numpy as np
import pytest
from scipy.optimize import brentq, root

from ghostsweep import UsageError
from ghostsweep.dynamics import (
    SlowPoints,
    flow_map,
    flow_map_points,
    flow_of,
    programs,
    search,
    slow_points,
    trajectories,
)

Params = dict[str, np.ndarray]


def slope(g: float, b: float, y: np.ndarray) -> np.ndarray:
    return g / np.cosh(g * y + b) ** 2 - 1


def zeros(g: float, b: float) -> list[float]:
    """All zeros of -y + tanh(g y + b), between its extrema, which lie where tanh = +-sqrt(1 - 1 / g)."""
    turns = [(sign * np.arctanh(np.sqrt(1 - 1 / g)) - b) / g for sign in (-1, 1)] if g > 1 else []
    ends = [-1.5, *turns, 1.5]
    f = [np.tanh(g * y + b) - y for y in ends]
    pairs = zip(ends, ends[1:], f, f[1:], strict=False)
    return [brentq(lambda y: np.tanh(g * y + b) - y, a, c, xtol=1e-15) for a, c, fa, fc in pairs if fa * fc < 0]


def ghost_bias(g: float, speed: float) -> tuple[float, float]:
    """(b, y): bias at which -y + tanh(g y + b) has a minimum of height `speed` > 0 and where, in closed form."""
    s = np.sqrt(1 - 1 / g)
    b = g * (speed + s) - np.arctanh(s)
    return float(b), float((-np.arctanh(s) - b) / g)


def grid(*axes: list[float]) -> np.ndarray:
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def same_points(found: np.ndarray, expected: np.ndarray, atol: float) -> np.ndarray:
    """Assert that the two sets of rows are one, and return the row of `expected` of each found."""
    assert len(found) == len(expected)
    distance = np.linalg.norm(found[:, None] - expected, axis=-1)
    nearest = distance.argmin(axis=1)
    assert sorted(nearest) == list(range(len(expected)))
    assert distance.min(axis=1).max() < atol
    return nearest


def stability(slopes: np.ndarray) -> list[str]:
    up = (slopes > 0).sum(axis=1)
    return ["stable" if n == 0 else "unstable" if n == slopes.shape[1] else "saddle" for n in up]


# Independent units: x = tanh(g x + b) each. In two coordinates with s_l = 1 and s_r = diag(g), in N with w = diag(g).


def plane(g: list[float], b: list[float], mix: np.ndarray | None = None) -> Params:
    mix = np.eye(2) if mix is None else mix
    return {
        "s_l": mix, "s_r": np.linalg.solve(mix, np.diag(g)), "w_in": np.array([0.3, -0.4]), "b_in": np.array(b),
        "w_out": np.linalg.solve(mix, [1.0, 0.5]), "b_out": np.array([0.12]),
    }  # fmt: skip


def units(g: list[float], b: list[float]) -> Params:
    return {
        "w_rec": np.diag(g),
        "w_in": np.zeros(len(g)),
        "b_in": np.array(b),
        "w_out": np.zeros(len(g)),
        "b_out": np.zeros(1),
    }


SHEARED = np.array([[3.0, 2.2], [2.0, 1.5]])


@pytest.mark.parametrize("n_points", [51, 201])
@pytest.mark.parametrize("mix", [np.eye(2), SHEARED], ids=["straight", "sheared"])
def test_nine_fixed_points_of_a_product_of_two_flows(mix: np.ndarray, n_points: int) -> None:
    """Sheared, the valleys of the speed are narrow and diagonal; on 51 points one zero is by no minimum of the grid."""
    g, b, u = [2.0, 1.6], [0.1, -0.05], 0.2
    with_input = [b[0] + 0.3 * u, b[1] - 0.4 * u]
    roots = [zeros(*pair) for pair in zip(g, with_input, strict=True)]
    assert [len(part) for part in roots] == [3, 3]
    expected = grid(*roots)
    slopes = np.column_stack([slope(g[i], with_input[i], expected[:, i]) for i in range(2)])
    found = flow_map_points(plane(g, b, mix), u=u, span=(-6, 6), n_points=n_points)
    at = same_points(found.points, expected @ mix, atol=1e-10)
    assert (found.table["kind"] == "fixed point").all() and (found.table["speed"] < 1e-13).all()
    assert found.table["stability"].tolist() == [stability(slopes)[i] for i in at]
    assert found.table["n_unstable"].tolist() == [(slopes[i] > 0).sum() for i in at]
    np.testing.assert_allclose(np.sort(found.eigenvalues.real, axis=1), np.sort(slopes[at], axis=1), atol=1e-9)
    jacobian = flow_of(plane(g, b, mix)).jacobian(found.points, u)
    along = np.take_along_axis(found.eigenvalues, np.abs(found.eigenvalues).argmin(axis=1)[:, None], axis=1)
    direction = found.slow_directions
    np.testing.assert_allclose((jacobian @ direction[..., None])[..., 0], along.real * direction, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1.0)
    assert (direction.max(axis=1) == np.abs(direction).max(axis=1)).all()


@pytest.mark.parametrize("speed", [0.05, 1e-3, 1e-5])
def test_ghosts_of_a_product_of_two_flows(speed: float) -> None:
    """One flow has three zeros, the other one zero and a ghost: three fixed points, and three slow points beside."""
    bias, ghost = ghost_bias(1.8, speed)
    g, b = [2.0, 1.8], [0.1, bias]
    found = flow_map_points(plane(g, b))
    fixed = (found.table["kind"] == "fixed point").to_numpy()
    same_points(found.points[fixed], grid(zeros(2.0, 0.1), zeros(1.8, bias)), atol=1e-12)
    same_points(found.points[~fixed], grid(zeros(2.0, 0.1), [ghost]), atol=1e-6)
    np.testing.assert_allclose(found.table["speed"][~fixed], speed, rtol=1e-9)
    assert (found.table["n_neutral"] == np.where(fixed, 0, 1)).all()
    np.testing.assert_allclose(found.slow_directions[~fixed], np.tile([0.0, 1.0], (3, 1)), atol=1e-6)
    assert sorted(found.table["stability"][~fixed]) == ["stable", "stable", "unstable"]  # of the other eigenvalue


def test_speed_tolerance_decides_between_fixed_and_slow_and_is_reported() -> None:
    bias, _ = ghost_bias(1.8, 1e-5)
    found = flow_map_points(plane([2.0, 1.8], [0.1, bias]), speed_tolerance=1e-4, merge_distance=0.01)
    assert (found.table["kind"] == "fixed point").all() and len(found.table) == 6
    assert (found.table["speed_tolerance"] == 1e-4).all() and (found.table["merge_distance"] == 0.01).all()
    reported = {"speed_tolerance": 1e-4, "merge_distance": 0.01, "neutral_tolerance": 1e-6, "n_dropped": 0}
    assert reported.items() <= found.table.attrs.items()


def test_a_focus_has_no_slow_direction() -> None:
    turn = np.array([[0.5, 2.0], [-2.0, 0.5]])
    found = flow_map_points(plane([1.0, 1.0], [0.0, 0.0]) | {"s_r": turn})
    at_zero = np.linalg.norm(found.points, axis=1) < 1e-9
    assert at_zero.sum() == 1 and found.table["stability"][at_zero].tolist() == ["stable"]
    eigenvalues = np.sort_complex(found.eigenvalues[at_zero][0])
    np.testing.assert_allclose(eigenvalues, [-0.5 - 2j, -0.5 + 2j], atol=1e-12)
    assert np.isnan(found.slow_directions[at_zero]).all()


def test_a_flow_map_shows_the_flow_and_the_output_on_its_grid() -> None:
    params = plane([2.0, 1.6], [0.1, -0.05])
    table = flow_map(params, task="dcdt", u=1.0, confidence=2.0, span=(-2, 2), n_points=41)
    k1, k2 = table["kappa_1"].to_numpy(), table["kappa_2"].to_numpy()
    assert np.array_equal(k1.reshape(41, 41)[7], np.linspace(-2, 2, 41))
    assert np.array_equal(k2.reshape(41, 41)[:, 7], np.linspace(-2, 2, 41))
    flow = [np.tanh(2.0 * k1 + 0.4) - k1, np.tanh(1.6 * k2 - 0.45) - k2]
    np.testing.assert_allclose(table[["flow_1", "flow_2"]].to_numpy().T, flow, atol=1e-14)
    np.testing.assert_allclose(table["log10_speed"], np.log10(np.hypot(*flow)), atol=1e-10)
    np.testing.assert_allclose(table["output"], np.tanh(2.0 * (k1 + 0.5 * k2 + 0.12)), atol=1e-14)
    edge = np.arctanh(0.33) / 2
    region = np.where(k1 + 0.5 * k2 + 0.12 > edge, 1, np.where(k1 + 0.5 * k2 + 0.12 < -edge, -1, 0))
    assert np.array_equal(table["decision"], region)
    assert table.attrs == {"task": "dcdt", "u": 1.0, "confidence": 2.0, "span": (-2, 2), "n_points": 41}
    assert np.array_equal(
        flow_map(params, task="dmts", span=(-2, 2), n_points=41)["decision"], k1 + 0.5 * k2 + 0.12 >= 0
    )


def everywhere(dimension: int, number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (number, dimension))


def test_all_fixed_points_of_independent_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """27 from three units with three zeros and one with one, their spectra and stability all known."""
    monkeypatch.setattr(programs, "LANES", 70 * 4**2)  # the last block is a short one
    g, b = [2.0, 1.5, 3.0, 0.5], [0.1, 0.0, -0.2, 0.3]
    expected = grid(*[zeros(*pair) for pair in zip(g, b, strict=True)])
    assert len(expected) == 27
    slopes = np.column_stack([slope(g[i], b[i], expected[:, i]) for i in range(4)])
    states = everywhere(4, 300)
    found = slow_points(units(g, b), states.reshape(30, 10, 4))
    at = same_points(found.points, expected, atol=1e-12)
    assert (found.table["kind"] == "fixed point").all() and (found.table["speed"] < 1e-13).all()
    assert found.table["slope"].isna().all()
    assert found.table["stability"].tolist() == [stability(slopes)[i] for i in at]
    assert (found.table["stability"] == "stable").sum() == 8 and "unstable" not in set(found.table["stability"])
    np.testing.assert_allclose(np.sort(found.eigenvalues.real, axis=1), np.sort(slopes[at], axis=1), atol=1e-12)
    assert found.table["n_starts"].sum() + found.table.attrs["n_dropped"] == found.table.attrs["n_starts"] == 300
    nearest = np.linalg.norm(found.points[:, None] - states, axis=-1).min(axis=1)
    np.testing.assert_allclose(found.distances(states), nearest, atol=1e-12)


def test_slow_points_of_independent_units_are_not_taken_for_fixed_points() -> None:
    bias, ghost = ghost_bias(1.8, 0.02)
    g, b = [1.8, 2.0, 0.5], [bias, 0.1, 0.3]
    rest = [zeros(2.0, 0.1), zeros(0.5, 0.3)]
    found = slow_points(units(g, b), everywhere(3, 80))
    fixed = (found.table["kind"] == "fixed point").to_numpy()
    same_points(found.points[fixed], grid(zeros(1.8, bias), *rest), atol=1e-12)
    same_points(found.points[~fixed], grid([ghost], *rest), atol=1e-7)
    np.testing.assert_allclose(found.table["speed"][~fixed], 0.02, rtol=1e-12)
    assert (found.table["slope"][~fixed] < 1e-8).all()
    assert (found.table["n_neutral"] == np.where(fixed, 0, 1)).all()
    assert sorted(found.table["stability"][~fixed]) == ["saddle", "stable", "stable"]


def test_only_the_zero_of_strong_units_has_all_directions_unstable() -> None:
    found = slow_points(units([2.0, 3.0], [0.0, 0.0]), everywhere(2, 60))
    unstable = (found.table["stability"] == "unstable").to_numpy()
    assert len(found.table) == 9 and unstable.sum() == 1
    np.testing.assert_allclose(found.points[unstable], 0.0, atol=1e-14)


def test_an_end_that_is_no_minimum_is_dropped_and_counted() -> None:
    """At an extremum of one unit's flow on the far side from 0 the speed is at a maximum: a start there cannot move."""
    top = np.arctanh(np.sqrt(0.5)) / 2
    found = slow_points(units([2.0], [0.0]), [[top]])
    assert len(found.table) == 0 and found.table.attrs["n_dropped"] == 1
    assert found.points.shape == (0, 1) and found.slow_directions.shape == (0, 1)


def test_a_search_that_is_cut_short_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_CALLS", 1)
    found = slow_points(units([2.0, 1.5, 3.0], [0.1, 0.0, -0.2]), everywhere(3, 100))
    assert 0 < found.table.attrs["n_dropped"] == 100 - found.table["n_starts"].sum()
    assert (found.table["kind"] == "fixed point").all()  # there is no slow point to be found


def test_points_within_the_merge_distance_are_one() -> None:
    bias, _ = ghost_bias(1.8, 1e-6)
    pair = zeros(1.8, bias - 3.6e-6)[:2]  # 1e-6 below the saddle-node: two zeros
    apart = pair[1] - pair[0]
    assert 1e-3 < apart < 5e-3
    counts = [
        len(slow_points(units([1.8], [bias - 3.6e-6]), everywhere(1, 40), merge_distance=apart * x).table)
        for x in (0.9, 1.1)
    ]
    assert counts == [3, 2]


def test_a_rank_two_network_has_the_same_fixed_points_unit_by_unit() -> None:
    """N units: the eigenvalues are those of the two coordinates, and -1 for each of the other directions."""
    rng = np.random.default_rng(4)
    n = 8
    low = {"s_l": rng.standard_normal((n, 2)), "s_r": rng.standard_normal((2, n)), "w_in": rng.standard_normal(n)}
    low["b_in"] = 0.3 * rng.standard_normal(n)
    full = {"w_rec": low["s_l"] @ low["s_r"], "w_in": low["w_in"], "b_in": low["b_in"]}
    by_map = flow_map_points(low, u=0.5, span=(-20, 20), n_points=401)
    by_kappa = slow_points(low, np.random.default_rng(0).uniform(-10, 10, (60, 2)), u=0.5)
    by_unit = slow_points(full, everywhere(n, 60), u=0.5)

    def fixed(found: SlowPoints) -> tuple[np.ndarray, np.ndarray]:
        kept = (found.table["kind"] == "fixed point").to_numpy()
        return found.points[kept], found.eigenvalues[kept]

    kappa, eigenvalues = fixed(by_map)
    assert len(kappa) == 3
    same_points(fixed(by_kappa)[0], kappa, atol=1e-9)
    x, of_units = fixed(by_unit)
    at = same_points(x @ low["s_l"], kappa, atol=1e-9)
    for spectrum, i in zip(of_units, at, strict=True):
        expected = np.concatenate([eigenvalues[i], np.full(n - 2, -1.0)])
        np.testing.assert_allclose(np.sort_complex(spectrum), np.sort_complex(expected), atol=1e-6)


def test_fixed_points_of_a_random_network_are_those_of_another_solver() -> None:
    rng = np.random.default_rng(11)
    params = {"w": 1.6 * rng.standard_normal((5, 5)), "b": 0.2 * rng.standard_normal(5)}
    states = trajectories(params, np.zeros((10, 4)), leak=0.5, start=everywhere(5, 4))
    found = slow_points(params, np.concatenate([states.reshape(-1, 5), everywhere(5, 60)]))
    solved = [root(lambda x: np.tanh(x @ params["w"] + params["b"]) - x, x0, tol=1e-13) for x0 in everywhere(5, 200, 9)]
    distinct: list[np.ndarray] = []
    for solution in solved:
        if solution.success and all(np.linalg.norm(solution.x - x) > 1e-4 for x in distinct):
            distinct.append(solution.x)
    assert len(distinct) == 5
    fixed = (found.table["kind"] == "fixed point").to_numpy()
    same_points(found.points[fixed], np.array(distinct), atol=1e-9)
    assert (~fixed).sum() == 2
    for i in np.flatnonzero(~fixed):  # a slow point: no zero, yet nothing slower around it
        around = found.points[i] + 1e-3 * rng.standard_normal((200, 5))
        speed = np.linalg.norm(np.tanh(around @ params["w"] + params["b"]) - around, axis=1)
        assert 1e-6 < found.table["speed"][i] < speed.min()


def test_what_is_wrong_is_named() -> None:
    params = units([2.0, 0.5], [0.0, 0.0])
    with pytest.raises(UsageError, match=r"found shape \(4, 3\); allowed: \(..., 2\)"):
        slow_points(params, np.zeros((4, 3)))
    with pytest.raises(UsageError, match="finite"):
        slow_points(params, np.full((4, 2), np.nan))
    with pytest.raises(UsageError, match="merge -1.*above 0"):
        slow_points(params, np.zeros((4, 2)), merge_distance=-1)
    with pytest.raises(UsageError, match="no w_in"):
        slow_points({"w": np.eye(2), "b": np.zeros(2)}, np.zeros((4, 2)), u=1.0)
    with pytest.raises(UsageError, match="3 coordinates; allowed: 2"):
        flow_map_points(units([1.0] * 3, [0.0] * 3))
    with pytest.raises(UsageError, match="rising span"):
        flow_map(plane([1.0, 1.0], [0.0, 0.0]), task="dcdt", span=(1, 1))
    with pytest.raises(UsageError, match="task: found 'x'"):
        flow_map(plane([1.0, 1.0], [0.0, 0.0]), task="x")
