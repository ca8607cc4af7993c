"""ghostsweep: learning-rate phase diagrams of small recurrent networks and of their canonical form.

    tables = ghostsweep.run("canonical_lr_timescale")     # or read("...") what was trained before
    ghostsweep.fit(tables).power_law

Tables are pandas frames: `tables.runs` has a row per run, `tables.curves` a row per run and recorded epoch.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ghostsweep.analysis import (
    Criteria,
    compare_scaling,
    critical_lr,
    fit_power_law,
    learnable_band,
    local_exponent,
    outcomes,
)
from ghostsweep.analysis.fitting import fit
from ghostsweep.drawing import plot
from ghostsweep.errors import UsageError
from ghostsweep.machine import resources
from ghostsweep.running.ledger import status
from ghostsweep.running.showing import show
from ghostsweep.running.sweeping import run
from ghostsweep.spec import Run, Sweep, load
from ghostsweep.store.tables import Tables, read

if TYPE_CHECKING:
    import numpy as np

    from ghostsweep.figures import band_plot, phase_diagram, scaling_plot
    from ghostsweep.paper.reproduction import reproduce
    from ghostsweep.reporting import report
    from ghostsweep.training.train import History

__version__ = importlib.metadata.version("ghostsweep")

__all__ = [
    "Criteria",
    "Run",
    "Sweep",
    "Tables",
    "UsageError",
    "band_plot",
    "compare_scaling",
    "critical_lr",
    "fit",
    "fit_power_law",
    "learnable_band",
    "load",
    "local_exponent",
    "outcomes",
    "phase_diagram",
    "plot",
    "read",
    "report",
    "reproduce",
    "run",
    "scaling_plot",
    "show",
    "status",
    "train_one",
]

_DRAWN = {
    "band_plot": "ghostsweep.figures",
    "phase_diagram": "ghostsweep.figures",
    "scaling_plot": "ghostsweep.figures",
    "report": "ghostsweep.reporting",
    "reproduce": "ghostsweep.paper.reproduction",
}
"""Where the names are that need Matplotlib, which is imported when one of them is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _DRAWN:
        raise AttributeError(f"module 'ghostsweep' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_DRAWN[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(globals().keys() | _DRAWN)


def train_one(run: Run, initial: "Mapping[str, np.ndarray] | None" = None, after: "History | None" = None) -> "History":
    """Train one run and return every epoch's loss, grad_norm, accuracy and weight_norm and the final params.

    `initial` gives parameters by name ({"r": r0}, or {"m": m, "n": n, "b": b}); without it the seed decides. `after`
    makes it a later phase, which goes on from the end of an earlier history. Each history has shape (epochs,),
    measured before the epoch's update. See `ghostsweep.training.train.train_one`. UsageError where JAX is not there.
    """
    resources.load_jax()
    from ghostsweep.training.train import train_one as train  # here, so that importing the package needs no JAX

    return train(run, initial, after)
