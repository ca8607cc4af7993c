"""Tables to draw, and what figures show, for the tests of the figures."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from ghostsweep import theory

ETAS = np.concatenate([np.geomspace(3e-3, 0.7, 20), np.linspace(0.74, 0.78, 21), np.geomspace(0.8, 1.6, 5)])


def canonical(
    timescales: list[float], etas: np.ndarray, seeds: int, epochs: int = 10_000, record: tuple[int, ...] = ()
) -> SimpleNamespace:
    """Tables of runs of s <- s - eta sign(s - 1) s^-1.5 from s0 = 10 + N(0, 0.1), frozen below 1/4."""
    timescale, eta, seed = (a.ravel() for a in np.meshgrid(timescales, etas, range(seeds), indexing="ij"))
    s = 10.0 + 0.1 * np.random.default_rng(0).standard_normal(seeds)[seed.astype(int)] * (seed > 0)
    best, unit = theory.optimum(timescale), 2 * timescale**3 / np.pi**2  # the gradient is unit s^-1.5
    first_gradient, first_loss = unit * s**-1.5, np.abs(1 - s**-0.5)
    lowest, lowest_at, recent_lowest = np.ones_like(s), np.zeros_like(s), np.ones_like(s)
    rate = eta * np.pi**4 / 8 / timescale**5
    run_id = np.array([f"{i:016x}" for i in range(len(s))])
    recent, recent_gradient, gradients = (np.zeros_like(s) for _ in range(3))
    learned, curves = np.zeros(len(s), dtype=bool), []
    for epoch in range(epochs):
        alive = s >= 0.25
        loss = np.where(alive, np.abs(1 - np.where(alive, s, 1.0) ** -0.5), 1.0)
        slope = np.where(alive, np.where(alive, s, 1.0) ** -1.5, 0.0)
        learned |= loss < 0.1
        lowest_at = np.where(loss < lowest, epoch, lowest_at)
        gradients, lowest = gradients + unit * slope, np.minimum(lowest, loss)
        if epoch >= epochs - 50:
            recent_lowest = np.minimum(recent_lowest, loss)
            recent, recent_gradient = recent + loss, recent_gradient + unit * slope
        if epoch in record:
            part = {"run_id": run_id, "epoch": epoch, "loss": loss, "weight_norm": np.abs(s) * best}
            curves.append(pd.DataFrame(part))
        s = s - eta * np.sign(s - 1) * slope
    runs = pd.DataFrame(
        {
            "run_id": run_id, "model": "canonical", "task": "delayed_activation", "timescale": timescale,
            "confidence": np.nan, "learning_rate": rate, "epochs": epochs, "seed": seed.astype(int),
            "r_start": 10.0, "learned_loss": 0.1, "status": "done", "mean_grad_norm": gradients / epochs,
            "initial_grad_norm": first_gradient, "initial_loss": first_loss, "min_loss": lowest,
            "min_loss_epoch": lowest_at, "epochs_done": epochs, "final_loss": loss, "final_accuracy": 1 - loss / 2,
            "max_accuracy": 1 - lowest / 2, "recent_max_accuracy": 1 - recent_lowest / 2,
            "recent_mean_loss": recent / min(50, epochs),
            "recent_mean_grad_norm": recent_gradient / min(50, epochs),
            "learned_epoch": pd.Series(np.ones(len(s)), dtype="Int64").where(learned),
        }
    )  # fmt: skip
    return SimpleNamespace(runs=runs, curves=pd.concat(curves) if curves else pd.DataFrame())


def network(rates: np.ndarray, seeds: int, epochs: tuple[int, ...]) -> SimpleNamespace:
    """Tables that look like a rank-one sweep: a smooth dip of the loss in log lr, deeper at later epochs."""
    rate, seed = (a.ravel() for a in np.meshgrid(rates, range(seeds), indexing="ij"))
    jitter = np.random.default_rng(1).normal(0, 0.05, len(rate))
    run_id = np.array([f"{i:016x}" for i in range(len(rate))])
    parts = []
    for epoch in epochs:
        learning = 1 / (1 + (1e-3 * 3e4 / epoch / rate) ** 2)
        loss = np.clip(1 - learning * (rate < 0.03 * np.exp(2 * jitter)) + 0.3 * jitter, 0.02, 1.3)
        parts.append(pd.DataFrame({"run_id": run_id, "epoch": epoch, "loss": loss}))
    runs = pd.DataFrame(
        {"run_id": run_id, "model": "rank_one", "timescale": 20.0, "confidence": 10.0, "learning_rate": rate,
         "seed": seed, "epochs": 200_001, "status": "done"}
    )  # fmt: skip
    return SimpleNamespace(name="planted", meta={}, runs=runs, curves=pd.concat(parts, ignore_index=True))


def continued(field: str, values: list[float], seeds: int, before: int = 40, after: int = 10) -> SimpleNamespace:
    """Runs of a first phase of `before` epochs, each continued for `after` at each value of the field."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        first: dict[str, Any] = {"run_id": f"{seed}", "parent": None, "phase": 1, "first_epoch": 0, "epochs": before}
        first |= {"confidence": 10.0, "readout_l1": np.nan, "seed": seed, "status": "done"}
        rows.append(first)
        for i, value in enumerate(values):
            then = {"run_id": f"{seed}-{i}", "parent": f"{seed}", "phase": 2, "first_epoch": before, "epochs": after}
            rows.append(first | then | {field: value})
    runs = pd.DataFrame(rows)
    runs["max_accuracy"], runs["final_grad_norm"] = rng.uniform(0.6, 1, len(runs)), rng.uniform(0.1, 1, len(runs))
    runs["final_accuracy"] = rng.uniform(0.6, 1, len(runs))
    # The first two networks are trapped, one never began, the others are still right.
    runs["recent_max_accuracy"] = np.where(runs["seed"] < 3, 0.5, 0.9)
    runs.loc[(runs["seed"] == 2) & (runs["phase"] == 1), "max_accuracy"] = 0.5
    parts = [
        pd.DataFrame({"run_id": run["run_id"], "epoch": range(0, run["epochs"], 5)}) for run in runs.to_dict("records")
    ]
    curves = pd.concat(parts, ignore_index=True)
    curves["accuracy"], curves["loss"] = rng.uniform(0.4, 1, len(curves)), rng.uniform(0, 1, len(curves))
    return SimpleNamespace(name="x-quick", meta={"title": "A question (quick)"}, runs=runs, curves=curves)


def text(fig: Figure) -> str:
    """All the text of a figure, line breaks as spaces."""
    return " ".join(" ".join(t.get_text().split()) for t in fig.findobj(Text))


def legend(fig: Figure) -> list[str]:
    """What the legend above the panels names, line breaks as spaces."""
    return [" ".join(t.get_text().split()) for one in fig.legends for t in one.get_texts()]


def labelled(ax: Axes, label: str) -> Line2D:
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]
    return line


def xs(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def ys(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def outline(band: Collection) -> np.ndarray:
    return np.asarray(band.get_paths()[0].vertices)


def meshes(ax: Axes) -> list[QuadMesh]:
    return [c for c in ax.collections if isinstance(c, QuadMesh)]
