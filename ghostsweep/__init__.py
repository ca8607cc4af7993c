"""ghostsweep: learning-rate phase diagrams of small recurrent networks and of their canonical form.

    tables = ghostsweep.run("canonical_lr_timescale")     # or read("...") what was trained before
    tables.phase_diagram()
    tables.analyze().power_law

Tables are pandas frames: `tables.runs` has a row per run, `tables.curves` a row per run and recorded epoch. Every verb
takes the name of a sweep, a result folder, tables, or (where enough) a frame.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from ghostsweep.analysis import Criteria
    from ghostsweep.errors import UsageError
    from ghostsweep.figures import learning_curves
    from ghostsweep.front.ghosts import ghosts
    from ghostsweep.front.history import History, Simulated, simulate, train_one
    from ghostsweep.front.results import Tables
    from ghostsweep.front.verbs import (
        analyze,
        band_plot,
        compare_scaling,
        critical_lr,
        fit_power_law,
        learnable_band,
        list_sweeps,
        load,
        local_exponent,
        outcomes,
        phase_diagram,
        plot,
        read,
        reduce,
        run,
        scaling_plot,
        status,
    )
    from ghostsweep.paper.reproduction import reproduce
    from ghostsweep.reporting import report
    from ghostsweep.running.showing import show
    from ghostsweep.spec import Run, Sweep, sweep

__all__ = [
    "Criteria",
    "History",
    "Run",
    "Simulated",
    "Sweep",
    "Tables",
    "UsageError",
    "analyze",
    "band_plot",
    "compare_scaling",
    "critical_lr",
    "fit_power_law",
    "ghosts",
    "learnable_band",
    "learning_curves",
    "list_sweeps",
    "load",
    "local_exponent",
    "outcomes",
    "phase_diagram",
    "plot",
    "read",
    "reduce",
    "report",
    "reproduce",
    "run",
    "scaling_plot",
    "show",
    "simulate",
    "status",
    "sweep",
    "train_one",
]

_ROOMS = {
    "ghostsweep.analysis": ("Criteria",),
    "ghostsweep.errors": ("UsageError",),
    "ghostsweep.figures": ("learning_curves",),
    "ghostsweep.front.ghosts": ("ghosts",),
    "ghostsweep.front.history": ("History", "Simulated", "simulate", "train_one"),
    "ghostsweep.front.results": ("Tables",),
    "ghostsweep.paper.reproduction": ("reproduce",),
    "ghostsweep.reporting": ("report",),
    "ghostsweep.running.showing": ("show",),
    "ghostsweep.spec": ("Run", "Sweep", "sweep"),
}
"""Where the names outside `front.verbs` are. Each is imported on first use: training needs JAX, drawing Matplotlib."""
_MODULES = ("analysis", "declare", "dynamics", "figures", "theory")
"""Rooms that are for users too."""
_WHERE = dict.fromkeys(__all__, "ghostsweep.front.verbs") | {n: room for room, names in _ROOMS.items() for n in names}


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        found: _Any = _importlib.import_module("importlib.metadata").version("ghostsweep")
    elif name in _MODULES:
        found = _importlib.import_module(f"ghostsweep.{name}")
    elif name in _WHERE:
        found = getattr(_importlib.import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'ghostsweep' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__", "__doc__"]
