"""Flows, one-dimensional fixed points and trajectories against closed forms, a plain simulation and golden losses."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from ghostsweep import Run, UsageError
from ghostsweep.declare import Trials
from ghostsweep.dynamics import (
    count_fixed_points,
    decision,
    fixed_points,
    fixed_points_1d,
    flow_1d,
    flow_map,
    flow_of,
    output,
    principal_axes,
    singular_basis,
    trajectories,
)
from ghostsweep.spec import shape_of
from ghostsweep.tasks import TASKS
from ghostsweep.tasks.cues import trials as cue_trials
from ghostsweep.tasks.delayed_activation import X_START
from ghostsweep.tasks.delayed_activation import target as delayed_activation_target

GOLDEN = Path(__file__).parents[1] / "golden"
Params = dict[str, np.ndarray]


def stored(name: str, when: str = "init") -> Params:
    arrays = np.load(GOLDEN / f"{name}.npz")
    return {key.removeprefix(f"{when}."): arrays[key] for key in arrays if key.startswith(f"{when}.")}


def draw(kind: str, n: int = 7, k: int = 2) -> Params:
    """Random parameters of a small network of each kind; nothing symmetric, so that a transpose shows."""
    rng = np.random.default_rng(3)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "rank_one": {"m": (n,), "n": (n,), "b": (n,)},
        "low_rank": {"m": (n, k), "n": (k, n), "b": (n,)},
        "full_rank": {"w": (n, n), "b": (n,)},
        "low_rank cues": {"s_l": (n, k), "s_r": (k, n), "w_in": (n,), "b_in": (n,), "w_out": (k,), "b_out": (1,)},
        "full_rank cues": {"w_rec": (n, n), "w_in": (n,), "b_in": (n,), "w_out": (n,), "b_out": (1,)},
    }
    return {name: rng.standard_normal(shape) for name, shape in shapes[kind].items()}


def recurrent(params: Params, x: np.ndarray) -> np.ndarray:
    """The recurrent term of each kind of network, as the paper writes it (section 2)."""
    if "w" in params or "w_rec" in params:
        return x @ params.get("w", params.get("w_rec"))
    if "s_l" in params:
        return (x @ params["s_l"]) @ params["s_r"]
    if params["m"].ndim == 1:
        return np.outer(x @ params["n"], params["m"])
    return (x @ params["m"]) @ params["n"]


KINDS = ["rank_one", "low_rank", "full_rank", "low_rank cues", "full_rank cues"]


@pytest.mark.parametrize("kind", KINDS)
def test_trajectories_are_those_of_the_units(kind: str) -> None:
    """Oracle: the N units simulated as the paper has them, projected afterwards."""
    params, rng = draw(kind), np.random.default_rng(4)
    inputs = rng.standard_normal((20, 3)) * ("w_in" in params)
    x = rng.uniform(-1, 1, (3, 7))
    found = trajectories(params, inputs, leak=0.3, start=x)
    states = [x]
    for u in inputs:
        drive = u[:, None] * params.get("w_in", np.zeros(7)) + params.get("b", params.get("b_in"))
        states.append(0.7 * states[-1] + 0.3 * np.tanh(recurrent(params, states[-1]) + drive))
    into = {"rank_one": params.get("n"), "low_rank": params.get("m"), "low_rank cues": params.get("s_l")}.get(kind)
    expected = np.stack(states) if into is None else np.stack(states) @ into.reshape(7, -1)
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_velocity(kind: str) -> None:
    flow = flow_of(draw(kind))
    u = 0.4 if flow.w_in is not None else 0.0
    y, h = np.random.default_rng(5).uniform(-1, 1, (4, flow.dimension)), 1e-6
    jacobian = flow.jacobian(y, u)
    for k, step in enumerate(h * np.eye(flow.dimension)):
        by_k = (flow.velocity(y + step, u) - flow.velocity(y - step, u)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, :, k], by_k, atol=1e-8)
    at = np.zeros(len(y), np.intp)
    velocity, again = flow.networks().lanes("jacobian", at, np.array(u), y)  # those that searches go by
    np.testing.assert_allclose(velocity, flow.velocity(y, u), atol=1e-13)
    np.testing.assert_allclose(again, jacobian, atol=1e-13)


CUES = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}
FLOW_MAP = {"input_ms": 10.0, "delay_ms": 50.0, "reaction_ms": 50.0}
GOLDEN_CUES: dict[str, dict[str, Any]] = {
    "full_dcdt.seed0.lr0.1": {"model": "full_rank", "task": "dcdt"} | CUES,
    "full_dmts.seed0.lr0.1": {"model": "full_rank", "task": "dmts"} | CUES,
    "rank2_dcdt.seed0.lr0.1": {"model": "low_rank", "rank": 2, "task": "dcdt"} | FLOW_MAP,
    "rank2_dmts_adam.seed0.lr0.001": {"model": "low_rank", "rank": 2, "task": "dmts"} | CUES,
}


@pytest.mark.parametrize("name", GOLDEN_CUES)
def test_outputs_of_cue_networks_have_the_golden_loss_and_accuracy(name: str) -> None:
    shape = shape_of(Run(**GOLDEN_CUES[name], learning_rate=0.1, epochs=1).fields)
    params, history, trials = stored(name), np.load(GOLDEN / f"{name}.npz"), cue_trials(shape, {})
    for basis in [params, singular_basis(params)] if "s_l" in params else [params]:
        states = trajectories(basis, trials.inputs, leak=0.5)[:-1]
        out = output(basis, states, task=shape.task)
        assert np.mean((out - trials.targets) ** 2) == pytest.approx(history["loss"][0], rel=1e-10)
        answers = decision(out, shape.task)
        assert np.mean(answers == trials.targets) == pytest.approx(history["accuracy"][0], abs=1e-12)


@pytest.mark.parametrize("name", ["rank1_delayed_activation.seed0.lr0.02", "full_readout.seed0.lr0.1"])
def test_outputs_on_delayed_activation_have_the_golden_loss(name: str) -> None:
    params, history = stored(name), np.load(GOLDEN / f"{name}.npz")
    states = trajectories(params, np.zeros((40, 1)), leak=0.5, start=X_START)[1:]
    confidence = 10.0 if name.startswith("rank1") else 1.0
    out = output(params, states, task="delayed_activation", confidence=confidence)[:, 0]
    target = delayed_activation_target(20)
    assert np.sum((out - target) ** 2) / 20 == pytest.approx(history["loss"][0], rel=1e-10)


@pytest.mark.parametrize("task", ["dcdt", "dmts"])
def test_decisions_are_those_the_task_counts_as_right(task: str) -> None:
    shape = shape_of(Run(model="full_rank", task=task, **CUES, learning_rate=0.1, epochs=1).fields)
    out = np.linspace(-1, 1, 400) if task == "dcdt" else np.linspace(0, 1, 400)
    answers = decision(out, task).astype(float)
    assert set(answers) == ({-1, 0, 1} if task == "dcdt" else {0, 1})
    wanted = Trials(answers, answers.astype("float32"))
    assert TASKS[task].accuracy(shape, jnp.asarray(out, "float32"), wanted) == 1.0


# One dimension. N units of m = 1, n = g / N and one bias: F = -kappa + g tanh(kappa + b).


def equal_units(g: float, b: float, n: int = 5) -> Params:
    return {"m": np.ones(n), "n": np.full(n, g / n), "b": np.full(n, b)}


def saddle_node(g: float, above: float) -> tuple[float, float]:
    """(b, kappa): bias at which the lower minimum of F has the height `above`, and where it lies. Closed form:

    F' = 0 where tanh(kappa + b) = -s, s = sqrt(1 - 1 / g), so kappa = -atanh s - b and F = atanh s + b - g s.
    """
    s = np.sqrt(1 - 1 / g)
    b = above - np.arctanh(s) + g * s
    return float(b), float(-np.arctanh(s) - b)


@pytest.mark.parametrize("n_points", [1000, 1001])  # without and with the zero at 0 on the grid
@pytest.mark.parametrize("g", [0.5, 0.99, 1.01, 2.0, 10.0])
def test_one_or_three_fixed_points_of_equal_units(g: float, n_points: int) -> None:
    found = fixed_points_1d(equal_units(g, 0.0), n_points=n_points)
    outer = float(brentq(lambda k: g * np.tanh(k) - k, 0.1, 20, xtol=1e-15)) if g > 1 else None
    expected = [-outer, 0.0, outer] if outer else [0.0]
    np.testing.assert_allclose(found["kappa"], expected, atol=1e-12)
    np.testing.assert_allclose(found["derivative"], g / np.cosh(expected) ** 2 - 1, atol=1e-10)
    assert found["stability"].tolist() == (["stable", "unstable", "stable"] if outer else ["stable"])
    assert (found["kind"] == "fixed point").all() and (found["speed"] < 1e-13).all()
    assert found.attrs == {"span": (-15.0, 15.0), "n_points": n_points, "tolerance": 1e-12}


@pytest.mark.parametrize("distance", [0.3, 1e-3, 1e-6, 1e-10])  # the last pair is 1e-5 apart, far below a grid step
def test_a_saddle_node_from_ghost_to_two_fixed_points(distance: float) -> None:
    g = 2.0
    b, ghost = saddle_node(g, distance)
    after = fixed_points_1d(equal_units(g, b))
    assert after["kind"].tolist() == ["ghost", "fixed point"]
    assert after["stability"].tolist() == ["", "stable"]
    assert after["kappa"][0] == pytest.approx(ghost, abs=1e-8)
    assert after["speed"][0] == pytest.approx(distance, abs=1e-14)
    assert after["derivative"][0] == pytest.approx(0, abs=1e-8)

    b, middle = saddle_node(g, -distance)
    before = fixed_points_1d(equal_units(g, b))
    ends = [(middle - 3, middle), (middle, middle + 1), (1, 4)]
    expected = [brentq(lambda k: g * np.tanh(k + b) - k, *end, xtol=1e-15) for end in ends]
    assert before["kind"].tolist() == ["fixed point"] * 3
    assert before["stability"].tolist() == ["stable", "unstable", "stable"]
    np.testing.assert_allclose(before["kappa"], expected, atol=1e-14 / np.sqrt(distance) + 1e-13)

    counts = count_fixed_points(
        {name: np.stack([equal_units(g, c)[name] for c in (b, b + 2 * distance)]) for name in "mnb"}
    )
    assert counts.tolist() == [3, 1]


def test_a_bifurcation_is_dated_to_the_snapshot_after_it() -> None:
    before, after = (equal_units(2.0, saddle_node(2.0, distance)[0]) for distance in (1e-3, -1e-3))
    snapshots = {name: np.stack([before[name], before[name], after[name], after[name]]) for name in "mnb"}
    assert count_fixed_points(snapshots).tolist() == [1, 1, 3, 3]
    assert set(count_fixed_points(snapshots, span=(2.5, 3.5))) <= {0, 1}  # the pair lies outside


def test_a_tangential_zero_counts_once_wherever_the_grid_lies() -> None:
    b, kappa = saddle_node(2.0, 0.0)
    for shift in np.linspace(-0.02, 0.02, 9):  # 0: the zero is a point of the grid
        for n_points in (31, 301, 3001):
            found = fixed_points_1d(equal_units(2.0, b), span=(kappa - 3 + shift, kappa + 6 + shift), n_points=n_points)
            assert found["stability"].tolist() == ["half-stable", "stable"]
            assert found["kappa"][0] == pytest.approx(kappa, abs=1e-8)


def staircase(steps: list[float]) -> Params:
    """F = -kappa + sum tanh(200 (kappa - step)): a stable point on each tread, an unstable one at each step."""
    return {"m": np.full(len(steps), 200.0), "n": np.ones(len(steps)), "b": -200.0 * np.array(steps)}


def test_many_fixed_points_are_all_found_and_counted() -> None:
    steps = [-4.0, -2.0, 0.0, 2.0, 4.0]
    found = fixed_points_1d(staircase(steps))
    # Treads at -5, -3 ... 5; the steps are zeros where the others' tanh add up to the step itself, as here.
    np.testing.assert_allclose(found["kappa"], np.arange(-5, 6), atol=1e-12)
    assert found["stability"].tolist() == ["stable", "unstable"] * 5 + ["stable"]
    cut = fixed_points_1d(staircase(steps), span=(-3.5, 1.5))
    np.testing.assert_allclose(cut["kappa"], np.arange(-3, 2), atol=1e-12)


def test_counts_of_all_snapshots_are_those_of_each_and_of_a_fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_points, "_BLOCK", 7 * 1000 * 6)  # seven snapshots, so that the last block is a short one
    rng = np.random.default_rng(0)
    params = {name: scale * rng.standard_normal((60, 6)) for name, scale in (("m", 4.0), ("n", 2.0), ("b", 4.0))}
    counts = count_fixed_points(params)
    assert {1, 3, 5} <= set(counts)
    line = np.linspace(-15, 15, 30_001)
    for i, count in enumerate(counts):
        one = {name: value[i] for name, value in params.items()}
        table = fixed_points_1d(one)
        assert count == (table["kind"] == "fixed point").sum()
        flow = flow_1d(one, span=(-15, 15), n_points=len(line))
        sign = flow["flow"].to_numpy() > 0
        assert count == (sign[1:] != sign[:-1]).sum()
        speed = flow["flow"].abs().to_numpy()
        dips = 1 + np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:]))
        assert len(dips) == len(table)
        np.testing.assert_allclose(line[dips], table["kappa"], atol=1e-3)


def test_the_one_coordinate_may_come_from_any_rank_one_network() -> None:
    params = {"s_l": np.full((4, 1), 0.5), "s_r": np.ones((1, 4)), "w_in": np.full(4, 0.3), "b_in": np.zeros(4)}
    found, expected = fixed_points_1d(params, u=2.0), fixed_points_1d(equal_units(2.0, 0.6))
    np.testing.assert_allclose(found["kappa"], expected["kappa"], atol=1e-12)
    transposed = {"m": np.full((4, 1), 0.5), "n": np.ones((1, 4)), "b": np.full(4, 0.6)}
    np.testing.assert_allclose(fixed_points_1d(transposed)["kappa"], expected["kappa"], atol=1e-12)


def test_the_singular_basis_does_not_depend_on_how_the_weights_are_split() -> None:
    params = draw("low_rank cues")
    weights = params["s_l"] @ params["s_r"]
    left, singular, _ = np.linalg.svd(weights)
    basis = singular_basis(params)
    np.testing.assert_allclose(np.abs(basis["s_l"]), np.abs(left[:, :2]), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(basis["s_r"], axis=1), singular[:2])
    np.testing.assert_allclose(basis["s_l"] @ basis["s_r"], weights, atol=1e-12)
    np.testing.assert_allclose(basis["s_l"] @ basis["w_out"], params["s_l"] @ params["w_out"], atol=1e-12)
    assert (basis["w_out"] >= 0).all()

    b = np.array([[2.0, -1.0], [0.5, 3.0]])
    other = params | {"s_l": params["s_l"] @ b, "s_r": np.linalg.solve(b, params["s_r"])}
    other["w_out"] = np.linalg.solve(b, params["w_out"])
    maps = [flow_map(singular_basis(p), task="dcdt", u=0.5, n_points=11) for p in (params, other)]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-11)

    change = np.linalg.pinv(params["s_l"]) @ basis["s_l"]  # kappa' = kappa A
    inputs = np.random.default_rng(0).standard_normal((10, 2))
    kappa, new = (trajectories(p, inputs, leak=0.5, start=0.2) for p in (params, basis))
    np.testing.assert_allclose(kappa @ change, new, atol=1e-12)
    units = trajectories(
        {"w_rec": weights, "w_in": params["w_in"], "b_in": params["b_in"]}, inputs, leak=0.5, start=0.2
    )
    np.testing.assert_allclose(units @ basis["s_l"], new, atol=1e-12)


def test_principal_axes_of_planted_states() -> None:
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((20, 3)))
    latent = [rng.standard_normal((40, 5, 3)) * [3.0, 2.0, 1.0] for _ in range(2)]
    states = [part @ axes.T + 0.7 for part in latent]
    found = principal_axes(states)
    pooled = np.concatenate(states).reshape(-1, 20)
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(pooled.T))
    np.testing.assert_allclose(found.variance_share, eigenvalues[::-1][:3] / eigenvalues.sum(), atol=1e-12)
    np.testing.assert_allclose(np.abs(found.axes.T @ eigenvectors[:, ::-1][:, :3]), np.eye(3), atol=1e-10)
    assert (found.axes.max(axis=0) == np.abs(found.axes).max(axis=0)).all()
    for part in states:  # nothing is lost of states that lie in three dimensions
        np.testing.assert_allclose(found.project(part) @ found.axes.T + found.mean, part, atol=1e-12)


def test_what_is_wrong_is_named() -> None:
    cue, rank_one = draw("full_rank cues"), draw("rank_one")
    with pytest.raises(UsageError, match="found q, r; allowed"):
        flow_of({"q": np.zeros(2), "r": np.zeros(2)})
    with pytest.raises(UsageError, match=r"b_in \(6,\).*do not fit"):
        flow_of(cue | {"b_in": np.zeros(6)})
    with pytest.raises(UsageError, match="'w_rec'.*not finite"):
        flow_of(cue | {"w_rec": np.full((7, 7), np.nan)})
    with pytest.raises(UsageError, match="no w_in, so only 0"):
        trajectories(rank_one, np.ones((4, 1)), leak=0.5)
    with pytest.raises(UsageError, match=r"shape \(4,\)"):
        trajectories(rank_one, np.zeros(4), leak=0.5)
    with pytest.raises(UsageError, match="leak: found 1.5"):
        trajectories(rank_one, np.zeros((4, 1)), leak=1.5)
    with pytest.raises(UsageError, match="2 coordinates; allowed: 1"):
        fixed_points_1d(draw("low_rank"))
    with pytest.raises(UsageError, match="rising span"):
        fixed_points_1d(rank_one, span=(1, -1))
    with pytest.raises(UsageError, match=r"each of shape \(snapshots, units\)"):
        count_fixed_points(rank_one)
    with pytest.raises(UsageError, match="not finite"):
        count_fixed_points({name: np.full((2, 7), np.inf) for name in "mnb"})
    with pytest.raises(UsageError, match="low_rank network of a cue task"):
        singular_basis(cue)
    with pytest.raises(UsageError, match="'dcd'; allowed"):
        decision(0.2, "dcd")
    with pytest.raises(UsageError, match="no function of them"):
        output({"w_out": np.zeros(7), "b_out": np.zeros(1)}, np.zeros(2), task="delayed_activation")
    with pytest.raises(UsageError, match="n_axes: found 3"):
        principal_axes([np.zeros((3, 8))])
