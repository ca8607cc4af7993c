"""Figures 4 and 5, tested by the data handed to the artists."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cue_networks import FULL, FULL_GHOSTS, GHOSTS, NINE, SLOW, Params, network_tables, units
from drawn import labelled, meshes, text, xs, ys
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

import ghostsweep
from ghostsweep import dynamics, figures
from ghostsweep.errors import UsageError
from ghostsweep.paper.fig4 import fig4
from ghostsweep.paper.fig5 import fig5
from ghostsweep.spec import loads

Pair = tuple[SimpleNamespace, SimpleNamespace]
SPEED_MAP = sys.modules["ghostsweep.paper.fig5"].SPEED_MAP  # the function hides its module
DRAWN = {"fig4": fig4, "fig5": fig5}
WIDTHS = (figures.ONE_COLUMN, figures.TWO_COLUMNS)


@pytest.fixture(scope="module")
def low_rank() -> Pair:
    return (
        network_tables("low_rank", "dcdt", {0: NINE, 100: GHOSTS}),
        network_tables("low_rank", "dmts", {10: GHOSTS, 40: NINE, 100: GHOSTS}),
    )


@pytest.fixture(scope="module")
def full_rank() -> Pair:
    return (
        network_tables("full_rank", "dcdt", {0: FULL, 100: FULL_GHOSTS}),
        network_tables("full_rank", "dmts", {10: FULL_GHOSTS, 100: FULL}),
    )


def of_networks(tables: SimpleNamespace) -> list[dynamics.Snapshot]:
    return dynamics.network_snapshots(tables.snapshots("a"), tables.runs.iloc[0])


def maps_of(fig: Figure) -> list[Axes]:
    return [ax for ax in fig.axes if any(isinstance(c, ContourSet) for c in ax.collections)]


@pytest.mark.parametrize("width", WIDTHS)
def test_fig4_maps_are_the_flow_its_paths_and_its_points(low_rank: Pair, width: float) -> None:
    maps = maps_of(fig4(*low_rank, width=width))
    spans = ((-5, 5), (-1, 1))
    wanted = [
        (tables.runs["task"][0], one, span) for tables in low_rank for span in spans for one in of_networks(tables)
    ]
    assert len(maps) == len(wanted) == 10
    (scale,) = {mesh.get_clim() for ax in maps for mesh in meshes(ax)}
    flows = [dynamics.flow_map(one.params, task=task, span=span) for task, one, span in wanted]
    speeds = np.concatenate([flow["log10_speed"] for flow in flows])
    np.testing.assert_allclose(scale, [np.quantile(speeds, 0.01), speeds.max()])
    for ax, expected, (_, one, span) in zip(maps, flows, wanted, strict=True):
        assert ax.get_xlim() == ax.get_ylim() == span
        np.testing.assert_allclose(np.asarray(meshes(ax)[0].get_array()).ravel(), expected["log10_speed"])
        lines = [np.column_stack([xs(line), ys(line)]) for line in ax.get_lines()]
        np.testing.assert_allclose([line for line in lines if len(line) > 9], one.paths.swapaxes(0, 1))
        kinds = one.points.table.groupby(["kind", "stability"])
        for (kind, stability), rows in kinds:
            crosses = labelled(ax, f"{kind}, {stability}")
            np.testing.assert_allclose(np.column_stack([xs(crosses), ys(crosses)]), one.points.points[rows.index])
        crosses = [line for line in ax.get_lines() if line.get_marker() in ("X", "P")]
        assert len({(line.get_marker(), str(line.get_markerfacecolor())) for line in crosses}) == kinds.ngroups
        along = lines[len(one.paths[0]) : len(one.paths[0]) + len(one.points.points)]
        reach = 0.18 * (span[1] - span[0])
        np.testing.assert_allclose([np.diff(line, axis=0)[0] for line in along], reach * one.points.slow_directions)


def test_fig4_arrows_point_along_the_flow(low_rank: Pair) -> None:
    arrows = maps_of(fig4(*low_rank))[0].collections[1]
    x, y = np.asarray(arrows.get_offsets()).T  # of the network NINE
    flow = np.column_stack([np.tanh(2.0 * x + 0.1) - x, np.tanh(1.6 * y - 0.05) - y])
    drawn: Any = arrows  # matplotlib does not say that these are the arrows' U and V
    np.testing.assert_allclose(np.column_stack([drawn.U, drawn.V]), flow / np.linalg.norm(flow, axis=1)[:, None])


def test_fig4_contours_are_nullclines_and_the_cuts_of_the_output(low_rank: Pair) -> None:
    maps = maps_of(fig4(*low_rank))
    for ax, task, cuts in ((maps[0], "dcdt", [-0.33, 0.33]), (maps[5], "dmts", [0.5])):  # both of NINE
        contours = [c for c in ax.collections if isinstance(c, ContourSet)]
        assert [float(c.levels[0]) for c in contours] == [0.0, 0.0, *cuts]
        at = [np.concatenate([np.asarray(path.vertices) for path in c.get_paths()]) for c in contours]
        for i, (g, b) in enumerate(((2.0, 0.1), (1.6, -0.05))):
            np.testing.assert_allclose(np.tanh(g * at[i][:, i] + b), at[i][:, i], atol=0.02)
        for vertices, cut in zip(at[2:], cuts, strict=True):
            out = dynamics.output(NINE, vertices, task=task)
            np.testing.assert_allclose(out, cut, atol=0.02)


@pytest.mark.parametrize("name", ["fig4", "fig5"])
@pytest.mark.parametrize("width", WIDTHS)
def test_curves_are_those_of_the_table_and_snapshots_are_marked(
    low_rank: Pair, full_rank: Pair, name: str, width: float
) -> None:
    pair = {"fig4": low_rank, "fig5": full_rank}[name]
    fig: Figure = DRAWN[name](*pair, width=width)
    for quantity, column in (("loss", "loss"), ("gradient norm", "grad_norm"), ("accuracy", "accuracy")):
        panels = [ax for ax in fig.axes if ax.get_ylabel() == quantity]
        for ax, tables in zip(panels, pair, strict=True):
            np.testing.assert_array_equal(ys(labelled(ax, quantity)), tables.curves[column])
            marks = [xs(line)[0] for line in ax.get_lines() if line.get_linestyle() == ":"]
            assert marks == ([] if quantity == "gradient norm" else [s.epoch for s in of_networks(tables)])
    for words in ("1 run of 101 epochs, 1 seed; reduced, short", "noiseless, from the zero state"):
        assert words in text(fig)
    for words in (r"speed at most $10^{-9}$/τ", r"real part above $10^{-6}$/τ", "within 0.001 count once"):
        assert words in text(fig)


@pytest.mark.parametrize("width", WIDTHS)
def test_fig5_states_are_projected_on_one_set_of_axes(full_rank: Pair, width: float) -> None:
    fig = fig5(*full_rank, width=width)
    panels: list[Any] = [ax for ax in fig.axes if ax.name == "3d"]
    assert len(panels) == 4
    for tables, some in zip(full_rank, (panels[:2], panels[2:]), strict=True):
        snapshots = of_networks(tables)
        axes = dynamics.principal_axes([one.paths for one in snapshots])
        for ax, one in zip(some, snapshots, strict=True):
            drawn = [np.array(line.get_data_3d()).T for line in ax.get_lines()]
            np.testing.assert_allclose(drawn, axes.project(one.paths).swapaxes(0, 1))
            groups = one.points.table.groupby(["kind", "stability"])
            assert len(ax.collections) == groups.ngroups
            for marks, ((kind, stability), rows) in zip(ax.collections, groups, strict=True):
                assert marks.get_label() == f"{kind}, {stability}"
                at = np.column_stack(marks._offsets3d)  # matplotlib has no public way to read them
                np.testing.assert_allclose(at, axes.project(one.points.points[rows.index]))
        assert len({ax.get_zlim() for ax in some}) == 1
        share = ", ".join(f"{100 * part:.0f}" for part in axes.variance_share)
        assert f"axes hold {share} % of the variance" in text(fig)


def test_fig5_slow_points_are_coloured_by_speed_and_fixed_ones_are_black(full_rank: Pair) -> None:
    fig = fig5(*full_rank)
    panel: Any = [ax for ax in fig.axes if ax.name == "3d"][1]  # of FULL_GHOSTS
    (bar,) = [ax for ax in fig.axes if "speed" in ax.get_xlabel()]
    low, high = bar.get_xlim()
    assert (low, high) == (-1.5, -1.0)  # around log10(0.05)
    kinds = {str(marks.get_label()).split(",")[0] for marks in panel.collections}
    assert kinds == {"fixed point", "slow point"}
    for marks in panel.collections:
        fixed = str(marks.get_label()).startswith("fixed")
        color = "black" if fixed else SPEED_MAP((np.log10(SLOW) - low) / (high - low))
        assert {to_hex(c) for c in marks.get_edgecolor()} == {to_hex(color)}
        assert (len(marks.get_facecolor()) > 0) == fixed


def test_fig5_eigenvalues_are_those_of_the_point_nearest_to_a_trajectory(full_rank: Pair) -> None:
    fig = fig5(*full_rank)
    panels = [ax for ax in fig.axes if ax.get_xlabel().startswith("Re")]
    for ax, tables, networks in zip(panels, full_rank, ((FULL, FULL_GHOSTS), (FULL_GHOSTS, FULL)), strict=True):
        for one, params in zip(of_networks(tables), networks, strict=True):
            apart = np.linalg.norm(one.points.points[:, None, None] - one.paths, axis=-1).min(axis=(1, 2))
            nearest = one.points.points[apart.argmin()]
            gain = np.diag(params["w_rec"])
            slopes = gain * (1 - np.tanh(gain * nearest + params["b_in"]) ** 2) - 1  # the units are independent
            line = labelled(ax, f"{one.epoch}")
            np.testing.assert_allclose(np.sort(xs(line)), np.sort(slopes), atol=1e-9)
            np.testing.assert_array_equal(ys(line), 0.0)
            fixed = one.points.table["kind"].iloc[apart.argmin()] == "fixed point"
            assert (line.get_markerfacecolor() == "none") != fixed


def test_what_is_not_shown_is_said(low_rank: Pair, full_rank: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "beyond the map" not in text(fig4(*low_rank))
    assert "ended at no minimum" not in text(fig5(*full_rank))

    def changed(snapshots: Params, run: Any, known: Any) -> list[dynamics.Snapshot]:
        """The first snapshot's first point moved out of the map, and two of its searches lost."""
        first, *others = found(snapshots, run)
        table = first.points.table.copy()
        table.attrs |= {"n_dropped": 2}
        points = first.points.points.copy()
        points[0, 0] = 5.5
        return [
            dataclasses.replace(first, points=dataclasses.replace(first.points, points=points, table=table)),
            *others,
        ]

    found = dynamics.network_snapshots
    monkeypatch.setattr(dynamics, "network_snapshots", changed)
    assert "c: points beyond the map, not shown: 1 at epoch 0. g: points" in text(fig4(*low_rank))
    assert "f: searches that ended at no minimum: 2 at epoch 10." in text(fig5(*full_rank))


def test_networks_without_slow_points_are_drawn() -> None:
    fig = fig5(*(network_tables("full_rank", task, {0: FULL}) for task in ("dcdt", "dmts")))
    labels = {str(c.get_label()) for ax in fig.axes if ax.name == "3d" for c in ax.collections}
    assert labels and all(label.startswith("fixed") for label in labels)


def with_runs(tables: SimpleNamespace, runs: pd.DataFrame) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(tables), "runs": runs})


@pytest.mark.parametrize("name", ["fig4", "fig5"])
def test_what_is_wrong_is_named(low_rank: Pair, full_rank: Pair, name: str) -> None:
    (dcdt, dmts), number = {"fig4": low_rank, "fig5": full_rank}[name], name[-1]
    draw = DRAWN[name]
    model, other = ("low_rank", "full_rank") if name == "fig4" else ("full_rank", "low_rank")
    for wrong, message in (
        (dcdt.runs.iloc[:0], "the table has no rows"),
        (dcdt.runs.drop(columns="tau_ms"), "missing column.s. tau_ms"),
        (dcdt.runs.assign(model=other), f"found a run of {other}, dcdt, .*; allowed: {model}, dcdt"),
        (dcdt.runs.assign(readout_l1=1.0), "readout_l1 = 1.0; allowed: .* no readout_l1"),
        (dcdt.runs.assign(run_id="b"), "b: found no snapshots; allowed: a"),
    ):
        with pytest.raises(UsageError, match=message):
            draw(with_runs(dcdt, wrong), dmts)
    with pytest.raises(UsageError, match=f"Figure {number}, dcdt: found a run of {model}, dmts"):
        draw(dmts, dcdt)
    network = NINE if name == "fig4" else FULL
    three = units("low_rank", [2.0, 1.5, 0.5], [0.0, 0.0, 0.0])
    if name == "fig4":
        with pytest.raises(UsageError, match="found a network of 3 coordinates; allowed: 2"):
            draw(dcdt, network_tables("low_rank", "dmts", {0: three}))
    with pytest.raises(UsageError, match="found 9 snapshots; allowed: 1 to 8"):
        draw(dcdt, network_tables(model, "dmts", dict.fromkeys(range(9), network)))


def test_trained_networks_are_drawn_from_their_tables(low_rank: Pair, tmp_path: Path) -> None:
    sweep = """
    [run]
    model = "low_rank"
    task = "dcdt"
    n_units = 8
    rank = 2
    learning_rate = 0.1
    input_ms = 10.0
    delay_ms = 20.0
    reaction_ms = 20.0
    epochs = 20
    [record.snapshots]
    epochs = [0, 20]
    """
    tables = ghostsweep.run(loads(sweep, name="x"), out=tmp_path)
    for width in WIDTHS:
        fig = fig4(tables, low_rank[1], width=width)
        for path in figures.save(fig, tmp_path / "drawn"):
            assert path.stat().st_size > 20_000
    assert "a-d: 1 run of 20 epochs, 1 seed." in text(fig)
    stored = tables.snapshots(tables.runs["run_id"][0])
    start = {name: values[0] for name, values in stored.items() if name != "epochs"}
    flow = dynamics.flow_map(dynamics.singular_basis(start), task="dcdt")
    np.testing.assert_allclose(np.asarray(meshes(maps_of(fig)[0])[0].get_array()).ravel(), flow["log10_speed"])
