"""What pictures do with users' files, words, names and values: nothing is removed, taken for a formula or lost."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import ghostsweep
from ghostsweep import analysis, figures
from ghostsweep.analysis import analyzing
from ghostsweep.figures import framing, gallery, naming, style
from ghostsweep.spec import loads

SWEEP = """\
title = "budgets from $5, 6% to $7"
[run]
model = "canonical"
epochs = 60
[axes]
timescale = [10, 20, 40]
learning_rate = { logspace = [-8, -2, 7] }
seed = { range = 2 }
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    ghostsweep.run(loads(SWEEP, name="mine"), out=out, progress=False)
    return out


def test_only_what_was_drawn_before_is_removed(results: Path, tmp_path: Path) -> None:
    to = tmp_path / "figures"
    first = ghostsweep.plot("mine", out=results, to=to, sweeps=tmp_path)
    own = Figure()
    for name in ("mine.phase_talk.pdf", "mine.eta.png", "mine.band_x.png", "mine.loss.pdf"):
        if not (to / name).exists():
            own.savefig(to / name)
    old, edited = to / "mine.phase_gain.png", to / "mine.phase_rank.png"
    for path in (old, edited):
        own.savefig(path)
    said = json.loads((to / ".mine.drawn.json").read_text())
    said |= {old.name: gallery._digest(old), edited.name: gallery._digest(edited), "../x": "0"}
    (to / ".mine.drawn.json").write_text(json.dumps(said))
    edited.write_bytes(edited.read_bytes() + b" ")
    before = {path.name for path in to.iterdir()}
    assert ghostsweep.plot("mine", out=results, to=to, sweeps=tmp_path) == first
    assert before - {path.name for path in to.iterdir()} == {old.name}


def test_dollars_of_users_are_no_formulas(results: Path, tmp_path: Path) -> None:
    runs = ghostsweep.read("mine", results).runs
    for title in ("budgets from $5, 6% to $7", "from $5 to $7", "a_$b$ \\$", "$\\foo{$", "one $"):
        fig = figures.phase_diagram(runs, x="timescale", title=f"{title}\nabout {title}", note=title)
        fig.draw_without_rendering()
        said = [each.get_text().replace("\n", " ") for each in fig.texts]
        assert sum(title.replace("\\$", "$") in text for text in said) == 3
        assert not any(each.get_parse_math() for each in fig.texts[:3])
    assert framing.extent("$x$ of") < framing.extent("$x$ of", formulas=False)


@pytest.mark.parametrize(("symbol", "shown"), [("T", "T"), (r"\kappa", r"\kappa"), ("5%$", None), (r"\foo{", None)])
def test_a_symbol_that_is_no_formula_is_replaced_by_the_name(symbol: str, shown: str | None) -> None:
    table = pd.DataFrame({"gain": [1.0]})
    table.attrs = {"symbols": {"gain": symbol}, "units": {"gain": "$"}}
    assert style.symbol(table, "gain") == (shown or r"\mathrm{gain}")
    fig = style.new_figure(3, 2)
    fig.subplots().set(xlabel=style.label(table, "gain"), title=f"${style.symbol(table, 'gain')}$")
    fig.draw_without_rendering()


@pytest.mark.parametrize("value", ["relu/6", "a b", "../up", "é" * 200, "x:y", "sgd"])
def test_names_of_files_have_safe_characters_alone(value: str, tmp_path: Path) -> None:
    name = gallery._file_name(f"loss_{value}")
    assert "/" not in name and len(name) < 100 and (name == "loss_sgd" if value == "sgd" else name != f"loss_{value}")
    assert gallery._file_name(f"loss_{value}") == name != gallery._file_name(f"loss_{value}_")
    assert all(path.parent == tmp_path for path in style.save(style.new_figure(1, 1), tmp_path / f"mine.{name}"))


@pytest.mark.parametrize("first", [0.0, -10.0])
def test_an_axis_that_is_not_positive_is_linear(results: Path, first: float) -> None:
    runs = ghostsweep.read("mine", results).runs
    runs = runs.assign(timescale=runs["timescale"].replace({10: first}).astype(float), model="own@1")
    band = analysis.learnable_band(runs).assign(
        timescale=[first, 20.0, 40.0], lr_low=1e-6, lr_high=1e-4, width_decades=2.0, width_low=1.0, width_high=3.0
    )
    for fig in (figures.phase_diagram(runs, x="timescale"), figures.band_plot(band, x="timescale")):
        fig.draw_without_rendering()
        assert fig.axes[0].get_xscale() == "linear"
        low, high = fig.axes[0].get_xlim()
        assert low < first and high > 40
    critical = analysis.critical_lr(runs)
    fitted = analyzing.Analyzed(critical, band)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        list(gallery._fits(fitted, ["timescale"], "", ""))
    assert [str(each.message) for each in told] == ["no law along timescale, which has values that are not positive"]


def test_runs_without_a_value_on_an_axis_are_counted(results: Path) -> None:
    runs = ghostsweep.read("mine", results).runs
    runs = runs.assign(timescale=runs["timescale"].where(runs["timescale"] > 10).astype(float))
    fig = figures.phase_diagram(runs, x="timescale")
    assert "Left out 14 of 42 runs (timescale or learning_rate is null)." in fig.texts[-1].get_text()


def test_analyze_says_of_which_cell_it_speaks(results: Path) -> None:
    runs = ghostsweep.read("mine", results).runs
    gain, size = runs["timescale"].map({10: 0.0, 20: 0.4, 40: 0.8}), runs["timescale"].map({10: "a", 20: "b", 40: "b"})
    runs = runs.drop(columns="timescale").assign(gain=gain, size=size, model="own@1")
    said = analyzing.analyze_runs(runs, share=0.5).summary.splitlines()
    for gain in ("0", "0.4", "0.8"):
        assert any(line.startswith("critical rate") and f"gain = {gain}" in line for line in said), said
        assert not any(line.startswith("critical rate") and "(" not in line for line in said)


def test_two_versions_of_a_model_are_told_apart() -> None:
    runs = pd.DataFrame({"model": ["near@1", "near@80c3e4be", "far@1"], "seed": [0, 0, 0]})
    named = [naming.name_of(runs, ["model"], row) for _, row in runs.iterrows()]
    assert named == ["near 1", "near 80c3e4be", "far"]
    assert naming.about(runs[1:]) == "near and far, 1 seed"
    assert naming.about(runs[:2]) == "near 1 and near 80c3e4be, 1 seed"


def test_a_backend_of_a_notebook_that_is_not_here_is_no_matter(results: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ghostsweep", "plot", "mine", "--out", str(results), "--to", str(tmp_path), "-q"]
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_nowhere.backend_inline"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "mine.phase_timescale.png").is_file()
