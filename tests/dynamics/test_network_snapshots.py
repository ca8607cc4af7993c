"""The dynamics of a cue network at its snapshots, against networks whose points are known in closed form."""

import numpy as np
import pytest
from cue_networks import FULL_GHOSTS, GHOSTS, NINE, SLOW, network_tables

from ghostsweep import Run, UsageError
from ghostsweep.dynamics import count_points, cue_inputs, network_snapshots, slow_points, trajectories
from ghostsweep.spec import shape_of
from ghostsweep.tasks.cues import trials as cue_trials


@pytest.mark.parametrize("task", ["dcdt", "dmts"])
@pytest.mark.parametrize("durations", [(10.0, 50.0, 50.0, 5.0), (0.3, 1.0, 0.7, 0.1), (15.0, 0.0, 10.0, 5.0)])
def test_inputs_are_those_of_training(task: str, durations: tuple[float, ...]) -> None:
    names = ("input_ms", "delay_ms", "reaction_ms", "dt_ms")
    run = Run(model="full_rank", task=task, learning_rate=1e-2, epochs=1, **dict(zip(names, durations, strict=True)))
    fields = run.fields
    np.testing.assert_array_equal(cue_inputs(fields), cue_trials(shape_of(fields), {}).inputs)


def test_a_task_without_cues_has_no_inputs() -> None:
    with pytest.raises(UsageError, match="task: found 'delayed_activation'; allowed: 'dcdt', 'dmts'"):
        cue_inputs({"task": "delayed_activation"})


def test_a_rank_two_network_is_seen_in_its_singular_basis() -> None:
    """Split in two in another way, the same weights give the same paths and points, sorted by epoch."""
    mix = np.array([[3.0, 2.2], [2.0, 1.5]])
    inverse = np.linalg.inv(mix)
    mixed = NINE | {"s_l": NINE["s_l"] @ mix, "s_r": inverse @ NINE["s_r"], "w_out": inverse @ NINE["w_out"]}
    tables = network_tables("low_rank", "dmts", {70: mixed, 0: NINE})
    first, last = network_snapshots(tables.snapshots("a"), tables.runs.iloc[0])
    assert (first.epoch, last.epoch) == (0, 70)
    np.testing.assert_allclose(first.paths, last.paths, atol=1e-12)
    order = [np.lexsort(one.points.points.round(6).T) for one in (first, last)]
    np.testing.assert_allclose(first.points.points[order[0]], last.points.points[order[1]], atol=1e-9)
    # The paths, by hand: cue, delay, the other cue, reaction, with a leak of 5 ms / 10 ms.
    inputs = np.repeat([[1, -1, -1, 1], [0, 0, 0, 0], [1, -1, 1, -1], [0, 0, 0, 0]], [4, 8, 4, 4], axis=0)
    r = [np.zeros((4, 2))]
    for u in inputs:
        r.append(0.5 * r[-1] + 0.5 * np.tanh(r[-1] * [2.0, 1.6] + [0.1, -0.05] + u[:, None] * [0.8, -0.5]))
    np.testing.assert_allclose(first.paths, np.stack(r), atol=1e-12)


def test_searches_of_a_full_rank_network_begin_at_all_its_states() -> None:
    tables = network_tables("full_rank", "dcdt", {3: FULL_GHOSTS})
    (one,) = network_snapshots(tables.snapshots("a"), tables.runs.iloc[0])
    np.testing.assert_array_equal(one.paths, trajectories(FULL_GHOSTS, cue_inputs(tables.runs.iloc[0]), leak=0.5))
    expected = slow_points(FULL_GHOSTS, one.paths)
    assert one.points.table.attrs["n_starts"] == 2 * 17
    np.testing.assert_array_equal(one.points.points, expected.points)


def test_counts_of_known_points() -> None:
    tables = network_tables("low_rank", "dcdt", {0: NINE, 50: GHOSTS})
    snapshots = network_snapshots(tables.snapshots("a"), tables.runs.iloc[0])
    counts = count_points(snapshots)
    kinds = [
        f"{stability}_{kind}_points" for kind in ("fixed", "slow") for stability in ("stable", "saddle", "unstable")
    ]
    assert counts[["epoch", "fixed_points", "slow_points", *kinds]].to_numpy().tolist() == [
        [0, 9, 0, 4, 4, 1, 0, 0, 0],
        [50, 3, 3, 2, 1, 0, 2, 0, 1],
    ]
    assert np.isnan(counts["lowest_slow_speed"][0]) and counts["lowest_slow_speed"][1] == pytest.approx(SLOW)
    for row, snapshot in zip(counts.to_dict("records"), snapshots, strict=True):
        apart = np.linalg.norm(snapshot.points.points[:, None, None] - snapshot.paths, axis=-1).min(axis=(1, 2))
        nearest = snapshot.points.table.iloc[apart.argmin()]
        assert row["nearest_distance"] == pytest.approx(apart.min())
        assert (row["nearest_kind"], row["nearest_stability"]) == (nearest["kind"], nearest["stability"])
        assert snapshot.nearest == apart.argmin()
    assert counts.attrs == {"speed_tolerance": 1e-9, "merge_distance": 1e-3, "neutral_tolerance": 1e-6}


def test_where_no_point_was_found_none_is_nearest() -> None:
    """The state of a search that begins at a maximum of the speed stays there, and is dropped."""
    top = np.arctanh(np.sqrt(0.5)) / 2
    still = {
        "w_rec": np.array([[2.0]]),
        "w_in": np.zeros(1),
        "b_in": np.zeros(1),
        "w_out": np.ones(1),
        "b_out": np.zeros(1),
    }
    tables = network_tables("full_rank", "dcdt", {0: still})
    (one,) = network_snapshots(tables.snapshots("a"), tables.runs.iloc[0])
    empty = type(one)(0, still, one.paths, slow_points(still, [[top]]), one.ghosts)
    row = count_points([empty]).iloc[0]
    assert empty.nearest is None and row["nearest_kind"] is None and np.isnan(row["nearest_distance"])
    assert row["fixed_points"] == row["slow_points"] == 0
