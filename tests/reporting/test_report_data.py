"""The data behind a page: what it draws and says equals the tables and what the analysis makes of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import planted
import pytest

from ghostsweep import analysis
from ghostsweep.analysis.analyzing import analyze
from ghostsweep.figures import phase
from ghostsweep.reporting import cells, charts, curves, words
from ghostsweep.reporting.packing import coded, packed, unpacked
from ghostsweep.store import tables

RESULTS = Path(__file__).parents[2] / "results"


def judged(name: str) -> pd.DataFrame:
    runs = tables.read(name, RESULTS).runs
    found = analysis.outcomes(runs)
    found.attrs = runs.attrs | found.attrs
    return found


def columns(data: dict) -> pd.DataFrame:
    """The fields of every cell, as the page unpacks them."""
    found = {}
    for field in data["fields"]:
        values = np.array([np.nan, *field["values"]], dtype=object)
        found[field["name"]] = values[unpacked(field["codes"])]
    return pd.DataFrame(found)


@pytest.mark.parametrize("values", [[0, 255], [256, 3], [2**16, 0], []])
def test_whole_numbers_come_back(values: list[int]) -> None:
    assert unpacked(packed(np.array(values, int))).tolist() == values


def test_a_column_comes_back_with_its_gaps() -> None:
    found = coded(pd.Series([3.0, np.nan, 1.0, 3.0]))
    assert found["values"] == [1.0, 3.0]
    assert unpacked(found["codes"]).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("name", ["rank_one_lr_timescale_confidence", "cue_lr_delay", "rank_lr", "fig8b_confidence"])
def test_cells_are_those_of_the_analysis(name: str) -> None:
    runs = judged(name)
    data = cells.data(cells.cells(runs))
    table = columns(data)
    names = [outcome["name"].replace(" ", "_") for outcome in data["outcomes"]]
    counts = unpacked(data["counts"]).reshape(len(table), -1)
    assert counts.sum() == len(runs)
    told = analysis.shares(runs, list(table.columns))
    assert len(told) == len(table)
    for i, outcome in enumerate(names):
        assert np.allclose(counts[:, i] / counts.sum(axis=1), told[f"share_{outcome}"])
    assert [names[k] for k in unpacked(data["majority"])] == told["majority"].astype(str).tolist()
    for column in table.columns:
        assert table[column].astype(object).where(table[column].notna(), None).tolist() == (
            told[column].astype(object).where(told[column].notna(), None).tolist()
        )


def test_panels_are_those_of_the_phase_diagram() -> None:
    runs = judged("rank_one_lr_timescale_confidence")
    views = cells.cells(runs).views
    assert [view.x for view in views] == ["timescale"]
    assert views[0].titles == ("c = 1", "c = 3", "c = 10", "c = 30")
    assert len(views[0].titles) == phase.panel_count(runs, "timescale")
    drawn = cells.cells(judged("rank_one_full_matched")).views[0]
    assert drawn.titles == ("full rank", "rank one")
    assert drawn.x == "timescale"


def test_boundaries_are_those_of_the_fit() -> None:
    found = tables.read("rank_one_lr_timescale_confidence", RESULTS)
    critical = analyze(found).critical
    drawn = cells.cells(judged(found.name))
    for panel, confidence in enumerate([1.0, 3.0, 10.0, 30.0]):
        rows = cells.in_panel(critical, drawn, drawn.views[0], panel)
        assert rows["confidence"].unique().tolist() == [confidence]
    rows = charts.rows_of(critical, "timescale")
    known = critical[critical["censored"] == ""]
    assert [row["rate"] for row in rows if row["rate"] is not None] == known["lr_critical"].tolist()
    bounds = [row for row in rows if row["rate"] is None]
    assert bounds and all((row["up"] is None) != (row["down"] is None) for row in bounds)
    assert all(row["low"] <= (row["rate"] or row["high"]) <= row["high"] for row in rows)


def test_an_open_end_is_an_arrow_and_one_seed_has_no_interval() -> None:
    table = planted.critical_table(np.array([10.0, 20.0, 30.0, 40.0]), np.log(np.full(4, 0.1)), 0.1)
    table["ci_low"] = [0.05, 0.0, np.nan, 0.2]
    table["ci_high"] = [0.2, 0.2, np.nan, np.inf]
    table.loc[3, ["censored", "lr_critical"]] = ["above", np.nan]
    closed, low, alone, above = charts.rows_of(table, "timescale")
    assert (closed["up"], closed["down"], closed["low"], closed["high"]) == (None, None, 0.05, 0.2)
    assert low["down"] == low["low"] == pytest.approx(0.05)
    assert alone["low"] is alone["high"] is alone["up"] is alone["down"] is None
    assert above["rate"] is None and above["up"] == above["high"] == pytest.approx(0.4)
    assert above["text"] == "upper boundary: at least 0.20"


@pytest.mark.parametrize("room", [10**9, 60_000])
def test_curves_are_those_of_the_table(room: int) -> None:
    found = tables.read("rank_one_lr_confidence", RESULTS)
    drawn = cells.cells(judged(found.name))
    firsts, lasts = (drawn.table[end].to_numpy() for end in ("first", "last"))
    data = curves.data(drawn.runs, found.curves, firsts, lasts, room)
    kept = np.concatenate([np.arange(a, min(b, a + data["per_cell"])) for a, b in zip(firsts, lasts, strict=True)])
    assert data["n"] == len(kept) and (data["per_cell"] == 10) == (room > 10**6)
    assert len(data["losses"]["base64"]) <= max(room, 4 * len(firsts) * data["epochs_kept"])
    runs = drawn.runs.iloc[kept]
    assert unpacked(data["seeds"]).tolist() == runs["seed"].tolist()
    codes, which = unpacked(data["losses"]), unpacked(data["schedule"])
    table = dict(iter(found.curves.groupby("run_id")))
    start = 0
    for run, schedule in zip(runs["run_id"], which, strict=True):
        epochs = data["schedules"][schedule]
        own = codes[start : start + len(epochs)]
        start += len(epochs)
        rows = table[run].set_index("epoch")["loss"][epochs].to_numpy()
        told = np.where(own > 0, 10 ** (data["low"] + (own - 1) * data["step"]), np.nan)
        assert np.allclose(told, rows, rtol=1e-3, equal_nan=True)
    assert start == len(codes)


def test_long_curves_are_thinned_with_both_ends_kept() -> None:
    kept = curves.thin(1000)
    assert len(kept) == curves.MAX_EPOCHS and kept[0] == 0 and kept[-1] == 999
    assert curves.thin(5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("room", "fits"), [(10**8, (64, 8)), (500_000, (64, 2)), (100_000, (32, 1)), (1, (8, 1))])
def test_curves_are_left_out_before_epochs(room: int, fits: tuple[int, int]) -> None:
    length, rank = np.full(8_000, 100), np.tile(np.arange(8), 1_000)
    assert curves._fitting(length, rank, room) == fits


def test_neighbours_are_put_together_where_cells_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = np.geomspace(1e-3, 1, 40)
    parts = [planted.grid(np.tile(rates > 0.1, (2, 1)), rates, timescale=float(T), epochs=100) for T in range(10, 30)]
    runs = pd.concat(parts, ignore_index=True).assign(task="delayed_activation")
    runs["run_id"] = [str(i) for i in range(len(runs))]
    monkeypatch.setattr(cells, "MAX_CELLS", 250)
    found = cells.cells(analysis.outcomes(runs))
    assert found.pooled == {"timescale": 2, "learning_rate": 2} and len(found.table) == 200
    assert found.table["n_seeds"].unique().tolist() == [8]


def test_a_page_says_how_much_of_a_sweep_is_done() -> None:
    found = tables.read("rank_lr", RESULTS)
    assert words.done(found) == "1,750 runs"
    part = replace(found, runs=found.runs.head(104))
    assert words.done(part).startswith("104 of 1,750 runs;")
    refined = tables.read("rank_one_lr_timescale_confidence", RESULTS)
    assert words.done(refined) == "4,360 of the grid's 16,320 runs, those that refinement chose"
    assert words.done(replace(found, meta={})) == "1,750 runs"
    code = {"own.py": {"kind": "model", "attribute": "", "digest": "", "text": "raise SystemExit"}}
    text = "[run]\nmodel = 'own.py'\n[axes]\nlearning_rate = { logspace = [-3, 0, 52] }\nseed = { range = 8 }\n"
    own = replace(part, name="own", meta={"spec": text, "code": code})
    assert words.done(own).startswith("104 of 416 runs;")


def test_the_summary_is_of_the_fit() -> None:
    fitted = analyze("rank_one_lr_timescale", out=RESULTS)
    assert fitted.power_law is not None
    law = fitted.power_law[fitted.power_law["boundary"] == "upper"].iloc[0]
    told = words.summary(fitted, 20)
    assert f"{law['exponent']:.2f}".replace("-", "−") in told
    assert told.startswith("Half of 20 seeds collapse above a critical learning rate that goes as T to the ")
    single = words.summary(analyze("fig7_dcdt", out=RESULTS), 20)
    assert single == "Half of 20 seeds collapse above a critical learning rate of 0.35 (0.30 to 0.42)."
