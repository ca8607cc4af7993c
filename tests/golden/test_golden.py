"""Golden: histories of an independent float64 implementation, step by step up to their horizons."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ghostsweep import Run, train_one

GOLDEN = Path(__file__).parents[1] / "golden"
HORIZONS = {row["file"]: row for row in csv.DictReader((GOLDEN / "horizons.csv").read_text().splitlines())}
RANK_ONE = ("seed0.lr0.003", "seed0.lr0.02", "seed1.lr0.003", "seed1.lr0.02", "seed1.lr0.02.abrupt")


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("canonical.*.npz")))
def test_canonical_to_the_end(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    _, timescale, rate = name.split(".", 2)
    run = Run(model="canonical", timescale=float(timescale[1:]), learning_rate=float(rate[2:]), epochs=len(golden["r"]))
    history = train_one(run, {"r": golden["r"][0]})
    np.testing.assert_allclose(history.loss, golden["loss"], rtol=1e-6)
    np.testing.assert_allclose(history.weight_norm, np.abs(golden["r"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "column", "rtol"), [("float64", "float64_1e-9", 1e-9), ("float32", "float32_1e-3", 1e-3)]
)
@pytest.mark.parametrize("name", RANK_ONE)
def test_rank_one_up_to_the_horizon(name: str, dtype: str, column: str, rtol: float) -> None:
    golden = np.load(GOLDEN / f"rank1_delayed_activation.{name}.npz")
    horizon = int(HORIZONS[f"rank1_delayed_activation.{name}"][column])
    rate = float(name.split(".lr")[1].removesuffix(".abrupt"))
    run = Run(model="rank_one", timescale=20, learning_rate=rate, epochs=len(golden["loss"]), dtype=dtype)
    history = train_one(run, {key: golden[f"init.{key}"] for key in ("m", "n", "b")})
    np.testing.assert_allclose(history.loss[:horizon], golden["loss"][:horizon], rtol=rtol)
    np.testing.assert_allclose(history.accuracy[:horizon], golden["accuracy"][:horizon], rtol=1e-6)
    before = horizon // 2  # the gradient norm drifts apart sooner than the loss, near the drop
    np.testing.assert_allclose(history.grad_norm[:before], golden["grad_norm"][:before], rtol=rtol)
    if name.endswith("abrupt"):
        assert np.argmax(history.loss < 0.9) == 3105
    elif dtype == "float64":
        for key in ("m", "n", "b"):
            np.testing.assert_allclose(history.params[key], golden[f"final.{key}"], rtol=1e-9, atol=1e-15)


def test_float32_network_of_figure_3_drops_where_the_reference_does() -> None:
    golden = np.load(GOLDEN / "rank1_delayed_activation.seed40.lr0.02.float32.npz")
    run = Run(model="rank_one", timescale=20, learning_rate=0.02, epochs=5060)
    history = train_one(run, {key: golden[f"init.{key}"] for key in ("m", "n", "b")})
    assert history.loss.dtype == np.float32
    assert np.argmax(history.loss < 0.9) == 5048
    assert np.argmax(history.loss < 0.5) == 5051
    np.testing.assert_allclose(history.loss[:5000], golden["loss"][:5000], rtol=1e-3)
