"""Ghosts: the reduction against a simulated passage, and each condition failed by a place that lacks it alone."""

import numpy as np
import pytest
from cue_networks import SLOW, ghost_bias

from ghostsweep import dynamics
from ghostsweep.dynamics import ghosts, ghosts_over_training
from ghostsweep.errors import UsageError

G = 1.8


def coupled(seed: int, low_rank: bool) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two units, one with a ghost of speed SLOW, in other coordinates; the ghost, and the way along it."""
    bias = np.array([0.0, ghost_bias(G)])
    s = -(SLOW + np.sqrt(1 - 1 / G))
    if not low_rank:
        # r = tanh(r w + b): unit 1 has its ghost at s, unit 0 a stable state at 0 since its gain is below 1.
        return {"w_rec": np.diag([0.4, G]), "w_in": np.zeros(2), "b_in": bias}, np.array([0.0, s]), np.array([0.0, 1.0])
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((2, 2)))
    params = {"s_l": turn, "s_r": turn.T @ np.diag([0.4, G]), "w_in": np.zeros(2), "b_in": bias}
    return params, np.array([0.0, s]) @ turn, np.array([0.0, 1.0]) @ turn


@pytest.mark.parametrize("low_rank", [False, True])
def test_the_passage_is_the_simulated_one(low_rank: bool) -> None:
    params, ghost, way = coupled(0, low_rank)
    flow = dynamics.flow_of(params)
    found = ghosts(params, ghost[None], np.stack([ghost - way, ghost + way])[:, None]).iloc[0]
    assert found["speed"] == pytest.approx(SLOW) and abs(found["r"]) == pytest.approx(SLOW)
    # a = g^2 |tanh''| / 2 with tanh'' = -2 t (1 - t^2) and 1 - t^2 = 1 / g.
    assert abs(found["a"]) == pytest.approx(G * np.sqrt(1 - 1 / G))
    y, steps, dt = ghost - found["half_width"] * way, 0, 1e-3
    while (y - ghost) @ way < found["half_width"]:
        y, steps = y + dt * flow.velocity(y[None])[0], steps + 1
    assert steps * dt == pytest.approx(found["passage"] / 2, rel=0.03)  # half of pi / sqrt(r a) within +-sqrt(r / a)
    assert found["next_time"] == pytest.approx(1 / 0.6)
    assert found["ghost"] and found["distance"] == pytest.approx(0, abs=1e-12)


def test_each_condition_can_fail_alone() -> None:
    params, ghost, way = coupled(0, False)
    through = np.stack([ghost - 0.2 * way, ghost + 0.2 * way])[:, None]
    aside = through + np.array([0.5, 0.0])  # in parallel, farther than the half-width
    wide = float(ghosts(params, ghost[None], through)["half_width"].iloc[0])
    assert wide < 0.5

    def verdict(*given: object, **options: object) -> list[bool]:
        row = ghosts(*given, **options).iloc[0]  # type: ignore[arg-type]
        return [bool(row[name]) for name in ("reachable", "passed", "lasting", "ghost")]

    assert verdict(params, ghost[None], through) == [True, True, True, True]
    assert verdict(params, ghost[None], aside) == [True, False, True, False]
    # A step of the trajectory that is taken at another input does not count.
    assert verdict(params, ghost[None], through, along=[[False]]) == [True, False, True, False]
    assert verdict(params, ghost[None], through, separation=20.0) == [True, True, False, False]
    # The same ghost moved out of what tanh gives: at y below -1, where the speed is the more for it.
    far = params | {"b_in": np.array([0.0, ghost_bias(G) + 0.4 * G])}
    beyond = ghost - np.array([0.0, 0.4])
    assert verdict(far, beyond[None], np.stack([beyond - way, beyond + way])[:, None])[0] is False
    # Coordinates that only rates beyond 1 would give.
    low, at, along = coupled(0, True)
    small = low | {"s_l": 0.5 * low["s_l"], "s_r": 2.0 * low["s_r"]}
    assert verdict(low, at[None], np.stack([at - along, at + along])[:, None])[0] is True
    assert verdict(small, at[None], np.stack([at - along, at + along])[:, None])[0] is False


def rank_one(b: float) -> dict[str, np.ndarray]:
    """One unit, kappa = n r with n = G and m = 1: kappa / n obeys the flow of a unit of gain G."""
    return {"epochs": np.array([7]), "m": np.array([[1.0]]), "n": np.array([[G]]), "b": np.array([[b]])}


def test_a_rank_one_network_passes_its_ghost_or_starts_beyond_it() -> None:
    s = SLOW + np.sqrt(1 - 1 / G)
    # With a positive bias the ghost lies at -s and the state comes from -0.3 and leaves it behind.
    beyond = ghosts_over_training(rank_one(ghost_bias(G)), timescale=20, leak=0.5).iloc[0]
    assert (beyond["fixed_points"], beyond["slow_points"], beyond["ghosts"]) == (1, 1, 0)
    # A unit more, without feedback, shifts the start of kappa to before the ghost; -0.3 (n_1 + n_2) = -1.4.
    two = {name: np.concatenate([values, [[{"m": 0.0, "n": 2.867, "b": 0.0}[name]]]], axis=1)
           for name, values in rank_one(ghost_bias(G)).items() if name != "epochs"}  # fmt: skip
    passed = ghosts_over_training({"epochs": np.array([7])} | two, timescale=40, leak=0.5).iloc[0]
    assert (passed["epoch"], passed["fixed_points"], passed["ghosts"]) == (7, 1, 1)
    assert passed["kappa"] == pytest.approx(-G * s) and passed["stable"] > 0
    assert passed["passage"] == pytest.approx(np.pi / np.sqrt(SLOW * G * np.sqrt(1 - 1 / G)))


def test_shapes_that_do_not_fit_are_named() -> None:
    params, ghost, _ = coupled(0, False)
    with pytest.raises(UsageError, match=r"points, paths: found shapes \(2,\)"):
        ghosts(params, ghost, np.zeros((3, 1, 2)))
    with pytest.raises(UsageError, match=r"along: found shape \(3,\)"):
        ghosts(params, ghost[None], np.zeros((3, 1, 2)), along=[True] * 3)
    assert ghosts(params, np.empty((0, 2)), np.zeros((3, 1, 2))).empty
