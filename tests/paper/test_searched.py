"""What searches found and is kept with the results: the same as a search finds, and of these networks alone."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ghostsweep import dynamics
from ghostsweep.paper import searched
from ghostsweep.store import tables

RESULTS = Path(__file__).parents[2] / "results"
TRAINED = ["fig3_learns", "fig3_collapses", "fig3_learns_seeds", "fig3_collapses_seeds"]
CUES = ["fig4_dcdt", "fig4_dmts", "fig5_dcdt", "fig5_dmts"]


def networks(name: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Every run of a sweep that has snapshots, with these."""
    found = tables.read(name, RESULTS)
    there = tables.every_snapshot(found.folder)
    return [(run, there[run["run_id"]]) for run in found.runs.to_dict("records") if run["run_id"] in there]


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("searched for what is kept")

    for name in ("slow_points", "flow_map_points"):
        monkeypatch.setattr(f"ghostsweep.dynamics.snapshots.{name}", refuse)
    monkeypatch.setattr(dynamics, "ghosts_over_training", refuse)


@pytest.mark.parametrize("name", CUES)
def test_every_point_kept_is_one_of_its_network(name: str, no_search: None) -> None:
    for run, arrays in networks(name):
        for one in searched.network_snapshots(arrays, run, RESULTS / name):
            flow, points = dynamics.flow_of(one.params), one.points
            speed = np.linalg.norm(flow.velocity(points.points), axis=1)
            np.testing.assert_allclose(speed, points.table["speed"], rtol=1e-6, atol=1e-9)
            for at, values in zip(points.points, points.eigenvalues, strict=True):
                trace = flow.jacobian(at).trace()
                np.testing.assert_allclose(values.sum().real, trace, rtol=1e-6, atol=1e-9)
            assert one.ghosts.index.tolist() == np.flatnonzero(points.table["kind"] == "slow point").tolist()


@pytest.mark.parametrize("name", TRAINED)
def test_every_network_along_training_is_kept(name: str, no_search: None) -> None:
    for run, arrays in networks(name):
        found = searched.over_training(arrays, run, RESULTS / name)
        assert found["epoch"].tolist() == sorted(arrays["epochs"].tolist())


def test_a_search_finds_what_is_kept() -> None:
    run, arrays = networks("fig4_dmts")[0]
    kept = searched.network_snapshots(arrays, run, RESULTS / "fig4_dmts")
    for one, again in zip(kept, searched.network_snapshots(arrays, run, None), strict=True):
        np.testing.assert_allclose(one.points.points, again.points.points, atol=1e-7)
        np.testing.assert_allclose(one.points.slow_directions, again.points.slow_directions, atol=1e-5)
        pd.testing.assert_frame_equal(one.points.table, again.points.table, atol=1e-7, check_dtype=False)
        assert {**again.points.table.attrs} == {**one.points.table.attrs}
        pd.testing.assert_frame_equal(one.ghosts, again.ghosts[["ghost", "passage"]], rtol=1e-5, check_dtype=False)
    pd.testing.assert_frame_equal(
        dynamics.count_points(kept), dynamics.count_points(searched.network_snapshots(arrays, run, None)), rtol=1e-5
    )
    run, arrays = min(networks("fig3_learns_seeds"), key=lambda each: len(each[1]["epochs"]))
    pd.testing.assert_frame_equal(
        searched.over_training(arrays, run, RESULTS / "fig3_learns_seeds"),
        searched.over_training(arrays, run, None),
        rtol=1e-6,
    )


def test_what_is_kept_of_other_networks_or_cannot_be_read_is_searched_for(tmp_path: Path) -> None:
    run, arrays = networks("fig3_learns_seeds")[0]
    few = {name: values[-3:] for name, values in arrays.items()}
    other = few | {"m": few["m"] * 1.01}
    path = searched.keep(pd.DataFrame([run]), lambda _: few, tmp_path)
    pd.testing.assert_frame_equal(
        searched.over_training(few, run, tmp_path), searched.over_training(few, run, None), rtol=1e-12
    )
    assert searched._kept(tmp_path, path.name, run, few) is not None
    assert searched._kept(tmp_path, path.name, run, other) is None
    assert searched._kept(tmp_path, path.name, run | {"run_id": "other"}, few) is None
    assert searched.over_training(other, run, tmp_path)["epoch"].tolist() == few["epochs"].tolist()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match="cannot be read, or is damaged, and is left out"):
        assert searched._kept(tmp_path, path.name, run, few) is None


def test_criteria_that_have_changed_are_searched_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(RESULTS / "fig4_dmts" / searched.POINTS, tmp_path)
    run, arrays = networks("fig4_dmts")[0]
    assert searched._kept(tmp_path, searched.POINTS, run, arrays) is not None
    monkeypatch.setattr(searched, "_CRITERIA", searched._CRITERIA | {"separation": 4.0})
    assert searched._kept(tmp_path, searched.POINTS, run, arrays) is None
