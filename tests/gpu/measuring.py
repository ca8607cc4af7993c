"""What the steps of `check.py` share: a trainer of so many runs and its time, golden histories, and what was found."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ghostsweep.spec import shape_of

ROOT = Path(__file__).resolve().parent.parent.parent
place: Path | None = None
"""Where it is written."""


def keep(found: Mapping[str, Any]) -> None:
    """Write what a step has found so far."""
    if place is not None:
        place.write_text(json.dumps(found))


def trainer_of(
    run: Any, width: int, devices: tuple[Any, ...], *, persistent: bool = False
) -> tuple[Callable[[int], Any], float]:
    """A function that trains `width` seeds for so many epochs, and its compile seconds."""
    import jax
    import numpy as np

    from ghostsweep.training import programs, train

    shape = dataclasses.replace(shape_of(run.fields), persistent=persistent)
    program = programs.program(shape, width, devices)
    columns = {name: np.full(width, getattr(run, name)) for name in shape.traced}
    state, traced = train.start(shape, columns | {"seed": np.arange(width), "first_epoch": np.zeros(width)})
    with train.precision(shape):
        state, traced = jax.device_put((state, traced), program.sharding)

    def trainer(epochs: int) -> Any:
        nonlocal state
        with train.precision(shape):
            state, report = program.call(state, traced, np.array([0, epochs]))
            jax.block_until_ready(state)
        return state, report

    return trainer, program.compile_seconds


def seconds_of(trainer: Callable[[int], Any], budget: float) -> float:
    """Seconds of an epoch, at best of a few calls within the budget."""
    trainer(1)
    epochs, began = 1, time.perf_counter()
    while True:
        at = time.perf_counter()
        trainer(epochs)
        took = time.perf_counter() - at
        if took > budget / 4:
            break
        epochs = max(epochs * 2, min(epochs * 16, int(epochs * budget / 3 / max(took, 1e-5))))
    best = took
    while time.perf_counter() - began < budget:
        at = time.perf_counter()
        trainer(epochs)
        best = min(best, time.perf_counter() - at)
    return best / epochs


def golden_of(name: str, dtype: str, most: int = 10**9) -> dict[str, Any]:
    """How far a golden history is off, up to its horizon or as many epochs as `most`."""
    sys.path.insert(0, str(ROOT / "tests/golden"))
    import numpy as np
    import test_golden_networks as networks

    from ghostsweep import Run, train_one

    began = time.perf_counter()
    if name.startswith("canonical"):
        if dtype == "float32":
            return {}
        arrays = np.load(ROOT / "tests/golden" / f"{name}.npz")
        _, timescale, rate = name.split(".", 2)
        fields = {"model": "canonical", "timescale": float(timescale[1:]), "learning_rate": float(rate[2:])}
        epochs, params, allowed = len(arrays["r"]), {"r": arrays["r"][0]}, 1e-6
    else:
        column, allowed = networks.HORIZON[dtype]
        epochs = int(networks.HORIZONS.loc[name, column])
        if name.split(".seed")[0] in networks.KINDS:
            fields, params, arrays = networks.golden(name)
        else:
            arrays = np.load(ROOT / "tests/golden" / f"{name}.npz")
            rate = float(name.split(".lr")[1].removesuffix(".abrupt"))
            fields = {"model": "rank_one", "timescale": 20, "learning_rate": rate}
            params = {key: arrays[f"init.{key}"] for key in ("m", "n", "b")}
        fields = fields | {"dtype": dtype}
    epochs = min(epochs, most)
    found = train_one(Run(**fields, epochs=epochs), params).loss
    off = np.abs(np.asarray(found, float) / arrays["loss"][:epochs] - 1)
    beyond = np.flatnonzero(off > allowed)
    return {
        "epochs": epochs,
        "off": float(off.max()),
        "allowed": allowed,
        "first_beyond": int(beyond[0]) if len(beyond) else None,
        "seconds": round(time.perf_counter() - began, 2),
    }


def golden_names() -> list[str]:
    """All golden histories, but the one whose readout is scaled, which takes two phases and has none of the loss."""
    sys.path.insert(0, str(ROOT / "tests/golden"))
    import test_golden_networks as networks

    names = [name for name in networks.HORIZONS.index if "normalised" not in name]
    return names + sorted(path.stem for path in (ROOT / "tests/golden").glob("canonical.*.npz"))
