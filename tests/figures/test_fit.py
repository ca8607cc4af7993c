"""From finished tables to every fit and every figure that they allow."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from planted import band_of
from typer.testing import CliRunner

from ghostsweep import UsageError, cli, drawing
from ghostsweep.analysis import analyzing
from ghostsweep.figures import gallery, style
from ghostsweep.store import tables

RATES = np.logspace(-4, 1, 26)


def planted(timescales: list[float], ranks: list[float], share: float = 0.5) -> SimpleNamespace:
    """Seeds that learn from 0.001 rank^0 to 0.5 rank / timescale, scattered by a tenth."""
    rng = np.random.default_rng(0)
    cells = [
        band_of(
            0.001 * np.exp(0.1 * rng.standard_normal(5)),
            0.5 * rank / timescale * np.exp(0.1 * rng.standard_normal(5)),
            RATES,
            timescale=timescale,
            rank=rank,
            epochs=int(100 * timescale),
        )
        for timescale in timescales
        for rank in ranks
    ]
    runs = pd.concat(cells, ignore_index=True)
    runs["run_id"] = runs.index.astype(str)
    return SimpleNamespace(
        name="planted", runs=runs, curves=pd.DataFrame(), meta={"fit": {"share": share}}, folder=Path("planted")
    )


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts planted results in the place of stored ones."""

    def put(*planned: object) -> None:
        monkeypatch.setattr(tables, "read", lambda name, out: planted(*planned))

    return put


@pytest.fixture(autouse=True)
def light_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which pictures there are is asked here: each is drawn once, at a low resolution, not laid out and not as PDF too.

    (Pictures of every kind are saved as users get them in the tests of figures and of the command line.)
    """

    def save(fig: Figure, path: str | Path) -> list[Path]:
        target = Path(f"{path}.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        fig.set_layout_engine("none")
        with style.rc():
            fig.savefig(target, dpi=50)
        return [target]

    monkeypatch.setattr(gallery, "save", save)


def test_laws_are_fitted_along_every_field_that_scales(store: Callable[..., None]) -> None:
    store([5.0, 10.0, 20.0], [1.0, 2.0, 4.0, 8.0])
    found = analyzing.analyze("planted")
    assert len(found.critical) == 24 and len(found.band) == 12
    assert found.power_law is not None and found.local_exponent is not None and found.scaling is not None
    exponents = found.power_law[found.power_law["boundary"] == "upper"].groupby("along")["exponent"]
    assert exponents.size().to_dict() == {"rank": 3, "timescale": 4}  # a series each; epochs follow the timescale
    assert exponents.median().to_dict() == pytest.approx({"rank": 1, "timescale": -1}, abs=0.1)
    assert set(found.local_exponent["along"]) == set(found.scaling["along"]) == {"rank", "timescale"}
    assert found.local_exponent["at"].notna().all()


def test_too_few_cells_give_boundaries_and_bands_alone(store: Callable[..., None]) -> None:
    store([5.0, 10.0], [1.0, 2.0])
    found = analyzing.analyze("planted")
    assert len(found.critical) == 8 and len(found.band) == 4
    assert found.power_law is found.local_exponent is found.scaling is None


@pytest.mark.parametrize(("share", "learned"), [(0.0, 1.0), (0.25, 0.75)])
def test_the_band_is_of_those_who_are_neither_thrown_nor_slow(
    share: float, learned: float, store: Callable[..., None]
) -> None:
    store([5.0], [1.0], share)
    found = analyzing.analyze("planted")
    assert (found.critical["share"] == share).all() and (found.band["share"] == learned).all()
    assert (analyzing.analyze("planted", share=0.5).band["share"] == 0.5).all()


@pytest.mark.parametrize(
    ("ranks", "laws"),
    [
        ([1.0, 2.0, 4.0], {"scaling_timescale", "scaling_rank"}),
        ([1.0, 2.0, 3.0, 4.0], {"scaling_timescale", "scaling_rank"}),  # along T: eight series, of which the upper four
        ([float(k) for k in range(1, 9)], {"scaling_rank"}),  # along T: too many for one figure
    ],
)
def test_what_is_legible_is_drawn(
    ranks: list[float], laws: set[str], tmp_path: Path, store: Callable[..., None]
) -> None:
    store([5.0, 10.0, 20.0], ranks)
    drawn = {path.name.split(".")[1] for path in drawing.plot("planted", to=tmp_path)}
    assert {name for name in drawn if name.startswith("scaling")} == laws
    assert ("band_timescale" in drawn) == (len(ranks) <= 6) and "band_rank" in drawn


@pytest.mark.parametrize("meta", [{}, {"fit": None}, {"fit": []}, {"fit": {"share": "x"}}, {"fit": {"share": 2}}])
def test_a_share_that_is_not_told_is_no_default_in_silence(meta: dict[str, object]) -> None:
    found = planted([5.0], [1.0])
    with pytest.warns(UserWarning, match="planted: meta.json says nothing of the share of seeds .*: 0.5 is taken"):
        assert (
            analyzing.analyze(tables.Tables("planted", found.runs, found.curves, meta, Path("."))).critical["share"]
            == 0.5
        ).all()


WORDS = ["adagrad", "adam", "adamax", "adamw", "amsgrad", "lion", "rmsprop", "sgd"]


def worded(n_words: int, timescales: list[float], more: list[str] | None = None) -> tables.Tables:
    """Planted results of several optimizers, each with its own momentum; `more` has values of a second text field."""
    parts = [
        planted(timescales, [1.0]).runs.assign(optimizer=word, beta2=0.9 + 0.09 * (i % 2), schedule=other)
        for i, word in enumerate(WORDS[:n_words])
        for other in more or ["constant"]
    ]
    runs = pd.concat(parts, ignore_index=True).assign(run_id=lambda table: table.index.astype(str))
    curves = pd.DataFrame({"run_id": runs["run_id"], "epoch": 99, "loss": runs["recent_mean_loss"]})
    return tables.Tables("planted", runs, curves, {"fit": {"share": 0.5}}, Path("planted"))


def test_fields_of_words_are_panels_or_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(results: tables.Tables) -> set[str]:
        monkeypatch.setattr(tables, "read", lambda name, out: results)
        return {path.name.split(".")[1] for path in drawing.plot("planted", to=tmp_path)}

    assert "phase_timescale" in drawn(worded(2, [5.0, 10.0]))
    many = drawn(worded(8, [5.0, 10.0]))
    assert {name for name in many if name.startswith("phase_t")} == {f"phase_timescale_{word}" for word in WORDS}
    alone = {"loss_optimizer", "phase_optimizer", "band_optimizer"}  # beta2 goes along with the optimizer
    assert drawn(worded(8, [5.0])) == alone | {f"loss_{word}" for word in WORDS}
    with pytest.raises(UsageError, match="planted: found runs that differ in .*optimizer.*; allowed: at most 6 comb"):
        drawn(worded(8, [5.0, 10.0], ["constant", "linear"]))


def test_runs_without_a_field_take_no_panels_along_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_rank, without = planted([5.0, 10.0], [1.0, 2.0]), planted([20.0], [float(k) for k in range(1, 9)])
    cue = without.runs.assign(delay_ms=10.0 * without.runs["rank"], task="dcdt", timescale=np.nan)
    runs = pd.concat([with_rank.runs.assign(task="delayed_activation", delay_ms=np.nan), cue], ignore_index=True)
    runs["run_id"] = runs.index.astype(str)
    results = tables.Tables("planted", runs, pd.DataFrame(), {"fit": {"share": 0.5}}, Path("planted"))
    monkeypatch.setattr(tables, "read", lambda name, out: results)
    assert "phase_timescale" in {path.name.split(".")[1] for path in drawing.plot("planted", to=tmp_path)}


def test_a_folder_that_cannot_be_read_does_not_keep_the_others_from_being_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "planted"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "runs.parquet").touch()

    def read(name: str, out: object) -> SimpleNamespace:
        if name in ("a", "b"):
            raise (
                UsageError("a: found no results") if name == "a" else PermissionError(13, "Permission denied", "out/b")
            )
        return planted([5.0, 10.0], [1.0] if name == "planted" else [1.0, 2.0])

    monkeypatch.setattr(tables, "read", read)
    assert drawing.drawable(tmp_path)[:4] == ["a", "b", "c", "planted"]
    done = CliRunner().invoke(cli.app, ["plot", "all", "--out", str(tmp_path), "--to", str(tmp_path / "to")])
    lines = str(done.exception).splitlines()
    assert lines[:2] == ["a: not drawn: a: found no results", "b: not drawn: out/b: Permission denied"]
    assert "planted.phase_timescale.png" in done.output
