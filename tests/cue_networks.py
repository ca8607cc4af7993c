"""Cue networks of independent units, whose fixed and slow points are known, as tables with snapshots."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.spec import Run

Params = dict[str, np.ndarray]
SLOW = 0.05  # 1/tau, the speed at each ghost below


def ghost_bias(g: float) -> float:
    """Bias at which -y + tanh(g y + b) has a minimum of height SLOW above 0, in closed form."""
    s = np.sqrt(1 - 1 / g)
    return float(g * (SLOW + s) - np.arctanh(s))


def units(model: str, g: list[float], b: list[float]) -> Params:
    """Units r = tanh(g r + b) that do not see one another, the strongest first, so that kappa of rank 2 is r."""
    n = len(g)
    back = {"s_l": np.eye(n), "s_r": np.diag(g)} if model == "low_rank" else {"w_rec": np.diag(g)}
    w_in = np.array([0.8, -0.5, 0.3])[:n]
    return back | {"w_in": w_in, "b_in": np.array(b), "w_out": np.array([1.0, 0.5, 0.2])[:n], "b_out": np.array([0.1])}


# Nine fixed points: of each unit two stable ones and one unstable one between them.
NINE = units("low_rank", [2.0, 1.6], [0.1, -0.05])
# Three fixed points, and three slow points where the second unit has a ghost.
GHOSTS = units("low_rank", [2.0, 1.8], [0.1, ghost_bias(1.8)])
FULL = units("full_rank", [2.0, 1.5, 0.5], [0.1, -0.02, 0.3])
FULL_GHOSTS = units("full_rank", [2.0, 1.8, 0.5], [0.0, ghost_bias(1.8), 0.3])


def network_tables(model: str, task: str, networks: dict[int, Params]) -> SimpleNamespace:
    """Tables of one run with networks by epoch as its snapshots."""
    rank = {"rank": 2} if model == "low_rank" else {}
    run = Run(
        model=model, task=task, input_ms=20.0, delay_ms=40.0, reaction_ms=20.0, learning_rate=0.1, epochs=101, **rank
    )
    epochs = np.arange(0, 101, 5)
    curves = pd.DataFrame(
        {"run_id": "a", "epoch": epochs, "loss": 1 / (1 + epochs), "grad_norm": np.exp(-epochs / 20)}
    ).assign(accuracy=np.linspace(0.5, 1, len(epochs)))
    arrays = {name: np.stack([params[name] for params in networks.values()]) for name in next(iter(networks.values()))}

    def snapshots(run_id: str) -> Params:
        if run_id != "a":
            raise UsageError(f"{run_id}: found no snapshots; allowed: a")
        return {"epochs": np.array(list(networks))} | arrays

    runs = pd.DataFrame([{"run_id": "a", **run.fields}])
    return SimpleNamespace(name=f"{task}-quick", runs=runs, curves=curves, meta={"title": "short"}, snapshots=snapshots)
