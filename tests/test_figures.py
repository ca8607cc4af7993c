"""Figures, tested by the data handed to the artists."""

import subprocess
import sys
import time
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ghostsweep import analysis, figures, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.fig6a import EPOCHS
from ghostsweep.figures.phase import edges


def canonical(
    timescales: list[float], etas: np.ndarray, seeds: int, epochs: int = 10_000, record: tuple[int, ...] = ()
) -> SimpleNamespace:
    """Tables of runs of s <- s - eta sign(s - 1) s^-1.5 from s0 = 10 + N(0, 0.1), frozen below 1/4, in numpy."""
    timescale, eta, seed = (a.ravel() for a in np.meshgrid(timescales, etas, range(seeds), indexing="ij"))
    s = 10.0 + np.where(seed == 0, 0.0, 0.1 * np.random.default_rng(0).standard_normal(seeds)[seed.astype(int)])
    best = theory.optimum(timescale)
    rate = eta * np.pi**4 / 8 / timescale**5
    run_id = np.array([f"{i:016x}" for i in range(len(s))])
    total, recent, recent_gradient, gradients = (np.zeros_like(s) for _ in range(4))
    learned, curves = np.full(len(s), np.inf), []
    for epoch in range(epochs):
        alive = s >= 0.25
        loss = np.where(alive, np.abs(1 - np.where(alive, s, 1.0) ** -0.5), 1.0)
        slope = np.where(alive, np.where(alive, s, 1.0) ** -1.5, 0.0)
        learned = np.where((loss < 0.1) & np.isinf(learned), epoch, learned)
        total, gradients = total + loss, gradients + slope
        if epoch >= epochs - 50:
            recent, recent_gradient = recent + loss, recent_gradient + slope
        if epoch in record:
            part = {"run_id": run_id, "epoch": epoch, "loss": loss, "grad_norm": slope, "weight_norm": np.abs(s) * best}
            curves.append(pd.DataFrame(part))
        s = s - eta * np.sign(s - 1) * slope
    last = min(50, epochs)
    runs = pd.DataFrame(
        {
            "run_id": run_id, "model": "canonical", "task": "delayed_activation", "timescale": timescale,
            "confidence": np.nan, "learning_rate": rate, "optimizer": "sgd", "epochs": epochs, "seed": seed.astype(int),
            "r_start": 10.0, "r_start_sigma": 0.1, "learned_loss": 0.1, "dtype": "float64", "status": "done",
            "epochs_done": epochs, "final_loss": loss, "mean_loss": total / epochs, "recent_mean_loss": recent / last,
            "mean_grad_norm": gradients / epochs, "recent_mean_grad_norm": recent_gradient / last,
            "learned_epoch": pd.array(np.where(np.isinf(learned), 0, learned), dtype="Int64"),
        }
    )  # fmt: skip
    runs.loc[np.isinf(learned), "learned_epoch"] = pd.NA
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
    return SimpleNamespace(runs=runs, curves=pd.concat(parts, ignore_index=True))
