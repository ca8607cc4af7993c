"""What the figures of single cue networks share (Figs. 4 and 5): what is read, learning curves, looks of trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ghostsweep import dynamics
from ghostsweep.dynamics.ghosts import SEPARATION
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.paper import searched
from ghostsweep.store.tables import Tables

TASK_NAMES = {"dcdt": "delayed cue discrimination", "dmts": "delayed match to sample"}
TRIAL_LINES: tuple[tuple[str, Any], ...] = tuple(zip(style.SERIES_COLORS[:4], ("-", "--", ":", "-."), strict=True))
"""Colour and dashes of each kind of trial, as far as a task has them."""


MAX_SNAPSHOTS = 8


@dataclass(frozen=True)
class Trained:
    """One run of a sweep: its fields, its curve by epoch, its dynamics at every snapshot; and of how many it is one."""

    run: dict[str, Any]
    curve: pd.DataFrame
    snapshots: list[dynamics.Snapshot]
    n_runs: int


def trained(tables: Tables, model: str, task: str, what: str) -> Trained:
    """Read and analyse the first run of a sweep, the one that is drawn; `what` names the figure.

    Raises UsageError unless it is of this model and task and without readout_l1 (its stored readout is not the one it
    uses), with a curve and one to MAX_SNAPSHOTS snapshots.
    """
    fields = ["run_id", "model", "task", "dt_ms", "tau_ms", "input_ms", "delay_ms", "reaction_ms", "confidence"]
    runs = style.require_runs(tables.runs, [*fields, "readout_l1", "epochs"], f"{what}, runs")
    style.require(tables.curves, ["run_id", "epoch", "loss", "grad_norm", "accuracy"], f"{what}, curves")
    run = {str(field): value for field, value in runs.iloc[0].items()}
    if (run["model"], run["task"]) != (model, task) or pd.notna(run["readout_l1"]):
        found = f"{run['model']}, {run['task']}, readout_l1 = {run['readout_l1']}"
        raise UsageError(f"{what}: found a run of {found}; allowed: {model}, {task}, no readout_l1")
    curve = tables.curves[tables.curves["run_id"] == run["run_id"]].sort_values("epoch")
    snapshots = tables.snapshots(run["run_id"])
    if not 1 <= len(snapshots["epochs"]) <= MAX_SNAPSHOTS:
        raise UsageError(f"{what}: found {len(snapshots['epochs'])} snapshots; allowed: 1 to {MAX_SNAPSHOTS}")
    return Trained(run, curve, searched.network_snapshots(snapshots, run, getattr(tables, "folder", None)), len(runs))


def learning_curves(loss: Axes, accuracy: Axes, one: Trained) -> None:
    """Draw loss (left) and gradient norm (right, logarithmic) in one panel and accuracy in another, by epoch.

    Dotted lines mark the epochs of the snapshots. Axes are labelled in the colours of their lines.
    """
    gradient = loss.twinx()
    gradient.spines["right"].set_visible(True)
    gradient.set_yscale("log")
    epoch, norm = (one.curve[name].to_numpy(float) for name in ("epoch", "grad_norm"))
    panels = (
        (gradient, np.where(norm > 0, norm, np.nan), "gradient", "gradient norm"),
        (loss, one.curve["loss"].to_numpy(float), "loss", "loss"),
        (accuracy, one.curve["accuracy"].to_numpy(float), "accuracy", "accuracy"),
    )
    for ax, values, quantity, name in panels:
        color = style.QUANTITY_COLORS[quantity]
        ax.plot(epoch, values, color=color, linewidth=0.9, label=name)
        ax.set_ylabel(name, color=color)
    loss.set_zorder(gradient.get_zorder() + 1)  # the loss in front
    loss.patch.set_visible(False)
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(top=1.03)
    for ax in (loss, accuracy):
        for snapshot in one.snapshots:
            ax.axvline(snapshot.epoch, color=style.MUTED, linestyle=":", linewidth=0.8)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.epoch_text(round(value))))


def ghosts_said(one: Trained) -> str:
    """Which of the runs is drawn, and of the slow points of each snapshot, how many are ghosts."""
    found = {s.epoch: (int(s.ghosts["ghost"].sum()), len(s.ghosts)) for s in one.snapshots if len(s.ghosts)}
    each = ", ".join(f"{k} of {n} at epoch {style.epoch_text(epoch)}" for epoch, (k, n) in found.items())
    drawn = f"the first of {one.n_runs} runs, seed {one.run['seed']}; " if one.n_runs > 1 else ""
    return f"{drawn}ghosts among the slow points: {each or 'no slow points'}."


GHOST_MEANS = (
    "Ghost (ringed): a slow point that rates within ± 1 can reach, whose bottleneck a trajectory enters, and that "
    f"takes at least {SEPARATION:g} times the next time scale to pass."
)


def trial_handles(tasks: Sequence[str]) -> list[Line2D]:
    """A legend's lines for the kinds of trial, the cues of each task as signs: "+ / + +"."""
    n_kinds = max(len(dynamics.CUES[task]) for task in tasks)
    names = [[_signs(dynamics.CUES[task][i]) for task in tasks if i < len(dynamics.CUES[task])] for i in range(n_kinds)]
    return [
        Line2D([], [], color=color, linestyle=dashes, label="cue " + " / ".join(some))
        for some, (color, dashes) in zip(names, TRIAL_LINES, strict=False)
    ]


def _signs(cues: Sequence[int]) -> str:
    return " ".join("+" if cue > 0 else "−" for cue in cues)


def tolerances(points: dynamics.SlowPoints) -> str:
    """The remark how points are found and told apart."""
    found = points.table.attrs
    speed, merged, neutral = (
        style.sci(found[f"{name}"]) for name in ("speed_tolerance", "merge_distance", "neutral_tolerance")
    )
    return (
        f"Points: minima of the speed without input. Fixed: speed at most {speed}/τ, else slow. Unstable, saddle: all "
        f"or some eigenvalues of the flow's Jacobian have a real part above {neutral}/τ (within ± that: left out). "
        f"Points within {merged} count once."
    )
