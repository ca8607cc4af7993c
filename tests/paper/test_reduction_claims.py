"""Claims, figures and the command of the reduction: on the kept reductions, and on data on which each turns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import analysis, drawing, figures
from ghostsweep.cli import app
from ghostsweep.errors import UsageError
from ghostsweep.paper import catalog, claims
from ghostsweep.store import reduced

OUT = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def kept() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    slow, many = (reduced.read_reduction(OUT / name) for name in catalog.REDUCED)
    return slow, many, ghostsweep.read(catalog.RATES, OUT).runs


def verdicts(slow: pd.DataFrame, many: pd.DataFrame, runs: pd.DataFrame) -> dict[str, bool]:
    found = claims.reduction(slow, many, runs)
    assert all(np.isfinite(claim.value) and claim.measured for claim in found)
    return {claim.claim: bool(claim.holds) for claim in found}


def test_what_the_kept_reductions_say(kept: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> None:
    found = list(verdicts(*kept).values())
    assert found == [False, False, True, True, True, False, True, False, False, False]


def test_predictions_turn_where_they_are_made_right(kept: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> None:
    """Predicted rates replaced by those observed of other seeds at each T: right in size and power, not by seed."""
    slow, many, runs = kept
    observed = analysis.seed_thresholds(runs)
    middle = np.sqrt(observed["lr_below"] * observed["lr_above"])
    right = middle.set_axis(pd.MultiIndex.from_frame(observed[["timescale", "seed"]]))
    key = pd.MultiIndex.from_arrays([slow["timescale"], (slow["seed"] + 7) % 20])
    own = pd.MultiIndex.from_arrays([slow["timescale"], slow["seed"]])
    shuffled = list(verdicts(slow.assign(lr_critical=right.loc[key].to_numpy()), many, runs).values())
    assert shuffled[:3] == [True, True, False]
    assert list(verdicts(slow.assign(lr_critical=right.loc[own].to_numpy()), many, runs).values())[:3] == [True] * 3


def test_claims_of_the_end_turn_with_it(kept: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> None:
    slow, many, runs = kept
    own = many.assign(lr_critical=0.01 * many["seed"].add(1), eta=0.75 * many["learning_rate"] / 0.01)
    found = verdicts(slow, own.assign(cosine=0.5, norm_ratio=1.0), runs)
    assert list(found.values())[3:8] == [False, False, True, False, True]
    last = slow.groupby("run_id")["epoch"].transform("max") == slow["epoch"]
    lost = slow["outcome"].ne("learned") & (last | (slow["epoch"] > 240_000))
    high = slow.assign(eta=slow["eta"].where(~lost, 5.0))
    assert list(verdicts(high, many, runs).values())[8:] == [True, True]


def test_figures_show_what_the_tables_say(kept: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> None:
    slow, many, runs = kept
    prediction = analysis.predicted(slow)
    fig = figures.predicted_plot(prediction, runs)
    found = analysis.compare_predicted(prediction, runs, predictors=("highest",)).set_index("timescale")
    means = [container.lines[0].get_xydata()[0] for container in fig.axes[0].containers]
    np.testing.assert_allclose(means, found[["predicted", "observed"]].iloc[:8].to_numpy(), rtol=1e-12)
    ends = analysis.at_the_end(many)
    drawn = [line for line in figures.eta_at_end(ends).axes[0].lines if line.get_linestyle() == "None"]
    learned = ends[(ends["outcome"] == "learned") & ends["eta"].notna()]
    assert sorted(np.concatenate([line.get_ydata() for line in drawn])) == pytest.approx(sorted(learned["eta"]))
    one = reduced.read_reduction(OUT / "fig3_collapses")
    top, middle, bottom = figures.reduction_along(one).axes
    switched = one[one["eta"].notna()]
    for ax, name in ((top, "s"), (middle, "eta"), (bottom, "cosine")):
        values = np.asarray(ax.lines[0].get_ydata(), float)
        assert values[np.isfinite(values)].tolist() == switched[name].tolist()
    with pytest.raises(UsageError, match="found 160 runs with a switch; allowed: 1 to 6"):
        figures.reduction_along(slow)


def test_a_folder_that_keeps_a_reduction_alone_is_drawn(tmp_path: Path) -> None:
    drawn = drawing.plot(catalog.REDUCED[0], out=OUT, to=tmp_path)
    assert f"{catalog.REDUCED[0]}.predicted.png" in {path.name for path in drawn}
    assert len(ghostsweep.reduce("fig3_collapses", out=OUT)) == 3_001  # from its snapshots, where there are any


def test_a_kept_reduction_is_the_one_computed(tmp_path: Path) -> None:
    table = ghostsweep.reduce("fig3_collapses", out=OUT)
    reduced.write_reduction(tmp_path, table)
    read = ghostsweep.reduce(tmp_path)
    own = table[table["s"].notna() | (table["epoch"] == table["epoch"].max())].reset_index(drop=True)
    pd.testing.assert_frame_equal(read.astype(own.dtypes.to_dict()), own, rtol=1e-6, check_like=True)
    assert read.attrs["units"]["due"] == "steps"
    with pytest.raises(UsageError, match="no results"):
        ghostsweep.reduce(tmp_path / "none")
    with pytest.raises(UsageError, match=r"found no snapshots; allowed: a sweep with \[record.snapshots\]"):
        ghostsweep.reduce("cue_lr_delay", out=OUT)


def test_the_command_prints_and_keeps(tmp_path: Path) -> None:
    told = CliRunner().invoke(
        app, ["reduce", "fig3_learns_seeds", "--out", str(OUT), "--table", "predicted", "--format", "csv"]
    )
    assert told.exit_code == 0 and len(told.output.splitlines()) == 6
    short = CliRunner().invoke(app, ["reduce", catalog.REDUCED[0], "--out", str(OUT)])
    assert short.exit_code == 0 and "lr_highest" in short.output
