"""Results that are not whole say so on every figure, and what `plot` drew before is replaced."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import text
from matplotlib.figure import Figure

import ghostsweep
from ghostsweep import drawing
from ghostsweep.figures import gallery, naming
from ghostsweep.paper import catalog
from ghostsweep.running import lacking
from ghostsweep.spec import loads
from ghostsweep.store import tables

SWEEP = """title = "Four timescales"
[run]
model = "canonical"
epochs = 50
[axes]
timescale = {timescales}
learning_rate = {{ logspace = [-8, -4, 5] }}
seed = {{ range = 4 }}
"""


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that are saved, by name."""
    found: dict[str, Figure] = {}

    def save(fig: Figure, path: Path) -> list[Path]:
        found[Path(path).name] = fig
        return [Path(path)]

    monkeypatch.setattr(gallery, "save", save)
    return found


def write(folder: Path, timescales: list[int]) -> Path:
    (folder / "sweeps").mkdir(exist_ok=True)
    (folder / "sweeps" / "four.toml").write_text(SWEEP.format(timescales=timescales))
    return folder / "sweeps"


def test_figures_of_a_part_of_the_runs_say_how_many_and_which_are_missing(
    tmp_path: Path, pictures: dict[str, Figure]
) -> None:
    sweeps, out = write(tmp_path, [10, 20, 40, 80]), tmp_path / "results"
    sweep = ghostsweep.load(sweeps / "four.toml")
    ghostsweep.run(sweep, out=out, shard="1/3")
    runs = ghostsweep.read("four", out).runs
    missing = 4 - runs["seed"].nunique()
    assert len(runs) < 80 and missing
    ghostsweep.plot("four", out=out, to=tmp_path, sweeps=sweeps)
    said = f"50 epochs, {4 - missing} seeds {len(runs)} of 80 runs; {missing} of 4 seeds missing"
    for fig in pictures.values():
        assert f"Four timescales canonical, delayed activation, {said}" in text(fig)
    assert pictures and not any("since" in text(fig) for fig in pictures.values())
    ghostsweep.run(sweep, out=out)
    pictures.clear()
    ghostsweep.plot("four", out=out, to=tmp_path, sweeps=sweeps)
    assert pictures and not any("of 80 runs" in text(fig) for fig in pictures.values())
    (sweeps / "four.toml").unlink()  # the tables keep its text
    assert lacking.lacks(ghostsweep.read("four", out), sweeps) is None


def test_figures_of_an_older_sweep_file_say_so(tmp_path: Path, pictures: dict[str, Figure]) -> None:
    sweeps, out = write(tmp_path, [10, 80]), tmp_path / "results"
    ghostsweep.run(ghostsweep.load(sweeps / "four.toml"), out=out)
    write(tmp_path, [10, 20, 40, 80])
    ghostsweep.plot("four", out=out, to=tmp_path, sweeps=sweeps)
    said = "40 of 80 runs; T = 20, 40 missing; the sweep file has changed since"
    assert pictures and all(said in text(fig) for fig in pictures.values())
    with (sweeps / "four.toml").open("a") as file:
        file.write("mistake = 1\n")  # cannot be read: the text that the tables keep is whole
    assert drawing.lack(ghostsweep.read("four", out), sweeps) == ""


def test_a_note_in_words() -> None:
    two = {"optimizer": (["adam", "adam_w"], 3), "seed": ([3, 4], 5), "learning_rate": ([0.1], 15)}
    said = naming.shortfall(104, 416, {"timescale": ([10.0, 20.0], 4)} | two, ())
    assert said == "104 of 416 runs; T = 10, 20, adam, adam w, 2 of 5 seeds, 1 of 15 learning rates missing"
    many = naming.shortfall(1_040, 4_160, {"rank": (list(range(1, 10)), 20)}, ("a.py has changed: its runs are kept",))
    assert many == "1,040 of 4,160 runs; rank = 1, 2, 3, 4, 5, 6 and 3 more missing; a.py has changed since"
    assert naming.shortfall(7, 0, {}, ()) == "7 runs, unfinished"
    assert naming.shortfall(7, 7, {}, ("the sweep file has changed: x",)) == "the sweep file has changed since"


def test_an_unfinished_sweep_that_cannot_be_read_is_called_so(tmp_path: Path) -> None:
    runs = pd.DataFrame({"run_id": ["a", "b"]})
    for ended, said in (("stopped", "2 runs, unfinished"), ("all done", "")):
        meta = {"spec": "not TOML", "sessions": [{"ended": ended}]}
        found = tables.Tables("own", runs, pd.DataFrame(), meta, tmp_path / "own")
        assert drawing.lack(found, tmp_path) == said


def test_a_figure_of_the_paper_says_what_its_sweeps_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Figure] = []
    monkeypatch.setattr(catalog.figures, "save", lambda fig, path: saved.append(fig) or [])
    fig = Figure(layout="constrained")
    fig.supxlabel("two panels")
    monkeypatch.setitem(catalog.PAPER, "fig1", catalog.PaperFigure(lambda *found: fig, list, ("one", "two")))
    found = [tables.Tables(name, pd.DataFrame(), pd.DataFrame(), {}, tmp_path) for name in ("one", "two")]
    catalog.draw("fig1", found, tmp_path, ["", "3 of 4 runs"])
    assert saved == [fig] and fig.get_supxlabel() == "two panels\ntwo: 3 of 4 runs."


def test_pictures_that_nobody_is_known_to_have_drawn_stay(tmp_path: Path) -> None:
    out, to = tmp_path / "results", tmp_path / "figures"
    text = SWEEP.format(timescales=[10, 20, 40])
    ghostsweep.run(loads(text, name="four"), out=out)
    first = ghostsweep.plot("four", out=out, to=to, sweeps=tmp_path)
    assert {path.name for path in first} >= {"four.phase_timescale.png", "four.eta.pdf"}
    drawn = (to / "four.eta.png").read_bytes()
    own = [
        "four.scaling_rank.png",
        "four.phase_timescale_adam.png",
        "four.loss.png",
        "four.band_rank.pdf",
        "four.dense.png",
    ]
    kept = ["four.png", "four.notes.png", "four_zoom.eta.png", "five.eta.png", "four.eta.svg", "four.eta.2.png"]
    for name in own + kept:
        (to / name).write_bytes(drawn)
    (to / "four.phase_rank.png").write_bytes(b"drawn over in another program")
    (to / "four.phase_units.png").mkdir()
    assert ghostsweep.plot("four", out=out, to=to, sweeps=tmp_path) == first
    left = {path.name for path in to.iterdir()} - {".four.drawn.json"}
    assert left == {*(path.name for path in first), *own, *kept, "four.phase_rank.png", "four.phase_units.png"}


def test_optimizers_are_compared_in_one_picture_each(tmp_path: Path, pictures: dict[str, Figure]) -> None:
    axes = 'optimizer = ["sgd", "adam"]\nlearning_rate = { logspace = [-9, -2, 15] }\nseed = { range = 4 }'
    sweep = f'title = "Adam"\n[run]\nmodel = "canonical"\ntimescale = 20\nepochs = 300\n[axes]\n{axes}\n'
    ghostsweep.run(loads(sweep, name="adam_sgd"), out=tmp_path)
    ghostsweep.plot("adam_sgd", out=tmp_path, to=tmp_path, sweeps=tmp_path)
    assert {"loss_optimizer", "phase_optimizer", "loss_sgd", "loss_adam"} <= {n.split(".")[1] for n in pictures}
    for kind in ("phase", "band"):
        fig = pictures[f"adam_sgd.{kind}_optimizer"]
        fig.draw_without_rendering()
        assert [t.get_text() for t in fig.axes[-1].get_xticklabels()] == ["sgd", "adam"]
        assert fig.axes[-1].get_xlabel() == "optimizer"
        assert not any(name in text(fig) for name in ("beta", "epsilon", "nesterov"))
    assert np.isclose(pictures["adam_sgd.phase_optimizer"].get_figwidth(), 3.4)
    assert len(pictures["adam_sgd.loss_optimizer"].axes[0].get_lines()) == 2
    assert "4 seeds, adam" in text(pictures["adam_sgd.loss_adam"])
