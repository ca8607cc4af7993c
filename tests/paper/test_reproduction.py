"""`reproduce`: figures and claims in one call, from runs trained there or from results that are there."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep.cli import app, main
from ghostsweep.errors import UsageError
from ghostsweep.paper import catalog, reproduction
from ghostsweep.running import ledger, sweeping

SWEEPS = Path(__file__).parents[2] / "sweeps"


def test_every_figure_of_the_paper_has_its_sweeps_and_each_a_quick_version() -> None:
    assert list(catalog.PAPER) == [f"fig{number}" for number in range(1, 9)]
    assert [len(sweeps) for sweeps in reproduction.planned(sweeps=SWEEPS).values()] == [0, 3, 4, 2, 2, 6, 3, 5]
    quick = reproduction.planned(quick=True, sweeps=SWEEPS)
    assert all(sweep.name.endswith("-quick") for sweeps in quick.values() for sweep in sweeps)
    with pytest.raises(UsageError, match="figure: found 'fig9'; allowed: fig1, fig2"):
        reproduction.planned(["fig9"], sweeps=SWEEPS)


def test_an_interrupted_call_goes_on_and_claims_are_kept(tmp_path: Path) -> None:
    out, to = tmp_path / "results", tmp_path / "figures"
    trained: list[str] = []

    def train(sweep: ghostsweep.Sweep) -> None:
        if len(trained) == 1 and not to.exists():
            raise KeyboardInterrupt
        state = ledger.status(sweep, out)
        if state.done < state.runs:
            trained.append(sweep.name)
        sweeping.run(sweep, out=out)

    def call(*names: str) -> reproduction.Reproduced:
        return ghostsweep.reproduce(names, quick=True, out=out, to=to, sweeps=SWEEPS, train=train)

    with pytest.raises(KeyboardInterrupt):
        call("fig2")
    to.mkdir()
    made = call("fig2")
    assert trained == ["fig2_trajectories-quick", "fig2_loss_vs_lr-quick", "canonical_lr_timescale_refined-quick"]
    assert [path.name for path in made.figures] == ["fig2.png", "fig2.pdf"] and not made.failed
    assert set(made.claims["scale"]) == {"quick"} and set(made.claims["verdict"]) == {"holds"}
    assert made.costs.loc[0, "drawing_s"] > 0 and made.costs.loc[0, "peak_memory_mb"] > 50
    call("fig1")  # its claims come beside those of fig2
    kept = pd.read_csv(to / "claims.csv")
    assert kept["figure"].tolist() == ["fig1"] + ["fig2"] * len(made.claims)
    assert (to / "claims.md").read_text().startswith("### Figure 1\n\n- **holds** (a check): ")
    # Drawn again from what is there, without training.
    again = ghostsweep.reproduce(["fig2"], from_results=True, out=out, to=to, sweeps=SWEEPS, train=train)
    pd.testing.assert_frame_equal(again.claims, made.claims)


def test_a_figure_without_results_is_named_and_the_others_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, to = str(tmp_path / "results"), str(tmp_path / "figures")
    arguments = ["reproduce", "fig5", "fig1", "--from-results", "--out", out, "--to", to, "--sweeps", str(SWEEPS)]
    monkeypatch.setattr("sys.argv", ["ghostsweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert "fig1: past the bifurcation" in said.out and (tmp_path / "figures/fig1.png").exists()
    assert said.err.count("\n") == 1 and "fig5: not drawn:" in said.err and "fig5_dcdt" in said.err


def test_a_claim_has_the_scale_of_the_tables_it_rests_on(tmp_path: Path) -> None:
    results = SWEEPS.parent / "results"
    (tmp_path / "some").mkdir()
    for folder in results.iterdir():
        if folder.is_dir() and folder.name != "fig6b_rank":
            (tmp_path / "some" / folder.name).symlink_to(folder)
    made = ghostsweep.reproduce(["fig6"], from_results=True, out=tmp_path / "some", to=tmp_path, sweeps=SWEEPS)
    assert made.claims["scale"].tolist() == ["paper"] * 4 + ["reduced", "paper"]  # one from fig6b_rank


def test_quick_and_from_results_exclude_each_other() -> None:
    result = CliRunner().invoke(app, ["reproduce", "--quick", "--from-results"])
    assert isinstance(result.exception, UsageError)
