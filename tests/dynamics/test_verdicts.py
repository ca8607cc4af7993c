"""What slow places are: planted ghosts found and nothing else called so; the verb for all that users have."""

from typing import Any

import numpy as np
import pandas as pd
import planted_ghosts
import pytest

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.dynamics.ghosts import VERDICTS, ghosts_of
from ghostsweep.dynamics.visits import networks_of
from ghostsweep.front.ghosts import by_snapshot
from ghostsweep.store import columns

FIELDS: dict[str, Any] = {"timescale": 100, "learning_rate": 0.1, "epochs": 1}


@pytest.mark.parametrize("n_units", [2, 10])
def test_planted_ghosts_are_found_and_nothing_else(n_units: int) -> None:
    """Beside ghosts: the same place with the state beyond it, two fixed points in its stead, and no slow place."""
    planted = planted_ghosts.networks(n_units, 48, seed=n_units)
    found = ghosts_of(planted.networks)
    told = found[found["verdict"] == "ghost"]
    kinds = pd.Series(planted.kinds)
    assert kinds[told["network"].unique()].eq("ghost").all()
    assert told["network"].nunique() >= 0.9 * kinds.eq("ghost").sum()
    kappa = (np.stack(list(told["position"])) * planted.n[told["network"]]).sum(axis=1)
    np.testing.assert_allclose(kappa, planted.kappa[told["network"]], atol=0.05)
    # What the trajectory took through the bottleneck.
    ghosts = told[told["crossing"] >= 5]
    assert len(ghosts) > 8
    first, second = (np.abs(ghosts[f"crossing_{o}"] / ghosts["crossing"] - 1) for o in ("canonical", "bent"))
    assert first.max() < 0.02 and second.max() < 1e-3 and second.median() < 0.1 * first.median()


def test_fixed_points_alone_are_fixed_points() -> None:
    planted = planted_ghosts.networks(5, 12, seed=3, kinds=("two states",))
    found = ghosts_of(planted.networks)
    assert (found["speed"] <= 1e-9).all() and found["verdict"].eq("fixed point").all()
    assert set(found["stability"]) <= {"stable", "saddle"} and found["stability"].eq("stable").any()
    assert found[["r", "a", "passage", "crossing"]].isna().all(axis=None)


def test_places_that_nothing_passes_and_that_no_state_can_be_at() -> None:
    """One unit of gain 1.8, as in `cue_networks`, whose state begins beyond its ghost or cannot be there."""
    from cue_networks import ghost_bias

    run = Run(model="full_rank", n_units=2, **FIELDS)
    rest = {"w_out": np.zeros((2, 2)), "b_out": np.zeros((2, 1)), "w": np.stack([np.diag([0.4, 1.8])] * 2)}
    near, far = np.array([0.0, ghost_bias(1.8)]), np.array([0.0, ghost_bias(1.8) + 0.4 * 1.8])
    found = ghosts_of(networks_of([run.fields] * 2, rest | {"b": np.stack([near, far])}), n_starts=200)
    verdicts = [set(some["verdict"]) for _, some in found.groupby("network")]
    assert "slow but not passed" in verdicts[0] and "ghost" not in verdicts[0]
    assert verdicts[1] <= {"fixed point", "out of reach"}


def test_a_run_a_history_and_tables_say_the_same(tmp_path: Any) -> None:
    fields = {"model": "rank_one", "n_units": 20, "timescale": 10, "learning_rate": 0.03, "dtype": "float64"}
    run = Run(**fields, epochs=300, seed=1)
    history = ghostsweep.train_one(run)
    of_history = ghostsweep.ghosts(history)
    assert list(of_history) == [column.name for column in columns.GHOSTS]
    assert of_history.attrs["units"]["passage"] == "tau" and set(of_history["verdict"]) <= set(VERDICTS)
    assert (of_history["epoch"] == 300).all() and (of_history["run_id"] == run.run_id).all()
    pd.testing.assert_frame_equal(ghostsweep.ghosts(run, history.params), of_history)
    stacked = {name: np.stack([value, value]) for name, value in history.params.items()}
    twice = ghostsweep.ghosts(run, stacked | {"epochs": np.array([7, 3])})
    assert twice["epoch"].tolist() == [3] * len(of_history) + [7] * len(of_history)
    stacked["b"][1] = np.nan
    once = ghostsweep.ghosts(run, stacked | {"epochs": np.array([7, 3])})
    assert set(once["epoch"]) == {7} and once.attrs["n_not_finite"] == 1


def test_committed_snapshots_keep_their_ghosts() -> None:
    """As many in the drop and at the end as the paper's page says of Fig. 3, and the claims' passages."""
    from pathlib import Path

    tables = ghostsweep.read("fig3_learns", Path(__file__).parents[2] / "results")
    run_id = tables.runs["run_id"].iloc[0]
    snapshots = tables.snapshots(run_id)
    some = {name: values[::50] for name, values in snapshots.items()}
    found = by_snapshot(ghostsweep.ghosts(tables.run(run_id), some))
    plain = ghostsweep.dynamics.ghosts_over_training(some, timescale=20, leak=0.5)
    assert found["ghost"].tolist() == plain["ghosts"].tolist() and found["ghost"].sum() > 5
    np.testing.assert_allclose(found["passage"], plain["passage"], rtol=1e-5)
    np.testing.assert_allclose(found["fixed point"], 1)
    (one,) = {*tables.ghosts(run_id, n_starts=4)["run_id"]} if len(snapshots["epochs"]) < 100 else {run_id}
    assert one == run_id


def test_the_canonical_form_is_its_own_reduction() -> None:
    """Half of a whole passage, 2 T at the optimum r*, begins at the place itself; x ends where it is stopped."""
    run = Run(model="canonical_simulated", timescale=20, dt_steps=0.1, learning_rate=1e-3, epochs=1)
    r = np.pi**2 / 1600
    end, ghost = ghostsweep.ghosts(run, {"r": np.float64(r)}).to_dict("records")
    assert (end["verdict"], float(end["position"][0]), ghost["verdict"]) == ("fixed point", 1e6, "ghost")
    assert (ghost["r"], ghost["a"]) == pytest.approx((r, 1.0))
    assert ghost["passage"] == pytest.approx(40) and ghost["passage_bent"] == pytest.approx(40)
    assert ghost["discrete"] == pytest.approx(0.01 * r / 3, rel=1e-3)
    assert ghost["crossing"] == pytest.approx(ghost["crossing_bent"], rel=1e-6)
    assert ghost["to_switch"] > ghost["to_switch_canonical"] > 190  # Euler steps are late where x blows up


def test_an_own_model_enters_by_its_steps() -> None:
    run = Run(model="sweeps/gru.py", task="dcdt", n_units=4, input_ms=20, delay_ms=40, reaction_ms=20,
              dt_ms=5, learning_rate=0.1, epochs=3, dtype="float64")  # fmt: skip
    found = ghostsweep.ghosts(ghostsweep.train_one(run))
    assert len(found) and found["reachable"].all() and np.isfinite(found["next_time"]).all()


def test_what_cannot_be_done_is_said() -> None:
    run = Run(model="rank_one", n_units=3, **FIELDS)
    params = {name: np.ones(3) for name in "mnb"}
    with pytest.raises(UsageError, match="params: found none; allowed: the parameters of the run"):
        ghostsweep.ghosts(run)
    with pytest.raises(UsageError, match=r"params: found .*; allowed: \{'"):
        ghostsweep.ghosts(run, params | {"b": np.ones(4)})
    with pytest.raises(UsageError, match="u: found an input that is not 0"):
        ghostsweep.ghosts(run, params, u=1.0)
    with pytest.raises(UsageError, match="found no step"):
        ghostsweep.ghosts(Run(model="canonical", **FIELDS), {"r": np.ones(())})
    with pytest.raises(UsageError, match="n_starts, separation: found 0"):
        ghostsweep.ghosts(run, params, n_starts=0)
    with pytest.raises(UsageError, match="runs: found xyz; allowed"):
        ghostsweep.ghosts("fig5_dcdt", runs=["xyz"])
