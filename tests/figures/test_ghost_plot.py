"""Ghosts beside the canonical form: what is handed to the artists; `plot` and `ghosts` on the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes

import ghostsweep
from ghostsweep import UsageError, cli
from ghostsweep.figures import ghost_plot
from ghostsweep.store.columns import GHOSTS

RESULTS = Path(__file__).parents[2] / "results"


def lines(ax: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_xydata(), float) for line in ax.get_lines()}


def test_flows_lie_over_the_parabola_and_steps_on_the_diagonal() -> None:
    s = np.linspace(-3, 3, 121)
    flows = {"first": pd.DataFrame({"s": s, "flow": -0.2 * (1 + s**2 - s**3 / 10), "canonical": -0.2 * (1 + s**2)})}
    table = pd.DataFrame(
        {"r": [0.01, -0.04], "a": [1.0, -1.0], "crossing": [20.0, 9.0], "crossing_canonical": [21.0, 8.0],
         "crossing_bent": [20.1, np.nan], "passage_bent": [31.0, 16.0]}
    )  # fmt: skip
    fig = ghost_plot(table, flows, title="head\nabout", note="partial")
    first, second, third = fig.axes
    np.testing.assert_allclose(lines(first)["first"][:, 1], 1 + s**2 - s**3 / 10)
    np.testing.assert_allclose(lines(first)["canonical form, $1+s^2$"][:, 1], 1 + s**2)
    np.testing.assert_array_equal(lines(second)["arctangent of r, a"], [[21, 20], [8, 9]])
    x, y = lines(second)["as expected"].T
    np.testing.assert_allclose(x, y)
    np.testing.assert_allclose(lines(third)["second order"], [[10, 31], [5, 16]])
    with pytest.raises(UsageError, match="ghosts: the table has no rows"):
        ghost_plot(table.iloc[:0], {})


def test_the_command_writes_what_the_verb_finds_and_plot_draws_it(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep of a single rate, which allows no other figure."""
    monkeypatch.chdir(tmp_path)
    tables = ghostsweep.read("fig4_dcdt", RESULTS)
    run_id = tables.runs["run_id"].iloc[0]
    monkeypatch.setattr("sys.argv", ["ghostsweep", "ghosts", "fig4_dcdt", "--out", str(RESULTS), "--run", run_id])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "by_snapshot" in said and "slow but not passed" in said
    file = pq.read_table(tmp_path / "exports" / "fig4_dcdt" / "ghosts.parquet")
    assert (
        file.schema.field("passage").metadata[b"meaning"] == b"pi / sqrt(r a), the time of a whole passage, first order"
    )
    found = tables.ghosts(run_id)
    assert file.column_names == [column.name for column in GHOSTS]
    assert file["verdict"].to_pylist() == found["verdict"].tolist()
    np.testing.assert_allclose(np.stack(file["position"].to_pylist()), np.stack(list(found["position"])))
    drawn = ghostsweep.plot("fig4_dcdt", out=RESULTS, to=tmp_path)
    assert [path.name for path in drawn] == ["fig4_dcdt.ghosts.png", "fig4_dcdt.ghosts.pdf"]
