"""Figure 2 of the paper, canonical form: loss landscape, two trajectories, loss against learning rate."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ghostsweep import analysis, theory
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.loss_vs_rate import loss_against_rate, missing_epochs, recorded_epochs
from ghostsweep.store.tables import Tables

EPOCHS = (1_000, 2_000, 3_000, 5_000, 10_000)
CONFIDENCES = (0.1, 1.0)


def fig2(trajectories: Tables, loss_vs_lr: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw panels b, c and d of Figure 2 from the tables of two sweeps of the canonical form.

    trajectories: a few runs whose curves hold loss and weight_norm = |r| at many epochs (panels b and c; b
    needs only their timescale). loss_vs_lr: many rates and seeds, with the epochs of `EPOCHS` recorded (panel
    d). width: inches. Raises UsageError for an empty table, missing columns, another model, several
    timescales, or more than six trajectories.
    """
    needed = ["run_id", "model", "timescale", "learning_rate", "status"]
    runs = style.require_runs(trajectories.runs, needed, "Figure 2c, runs")
    style.require(trajectories.curves, ["run_id", "epoch", "loss", "weight_norm"], "Figure 2c, curves")
    epochs = recorded_epochs(loss_vs_lr, EPOCHS, "Figure 2d")
    for name, table in (("Figure 2c", runs), ("Figure 2d", loss_vs_lr.runs)):
        if style.single_value(table, "model", name) != "canonical":
            raise UsageError(f"{name}: needs runs of the canonical form, found {table['model'].iloc[0]!r}")
    timescale = float(style.single_value(runs, "timescale", "Figure 2c"))
    critical = float(theory.critical_lr(style.single_value(loss_vs_lr.runs, "timescale", "Figure 2d")))
    if len(runs) > 6:
        raise UsageError(f"Figure 2c: shows at most 6 trajectories, found {len(runs)} runs")

    with style.rc():
        wide = width > style.ONE_COLUMN
        fig = style.new_figure(width, 2.9 if wide else 7.6)
        if wide:
            grid = fig.add_gridspec(2, 3)
            b, loss, position, d = (fig.add_subplot(grid[at]) for at in _WIDE)
        else:
            grid = fig.add_gridspec(4, 1, height_ratios=[1.2, 1, 1, 1.3])
            b, loss, position, d = (fig.add_subplot(grid[i, 0]) for i in range(4))
        loss.sharex(position)
        _landscape(b, timescale)
        remarks = _trajectories(loss, position, trajectories, timescale)
        colors = style.ordered_colors(epochs)
        remarks += loss_against_rate(d, loss_vs_lr, epochs, colors, "Figure 2, d")
        remarks += missing_epochs(epochs, EPOCHS, "d")
        d.axvline(critical, color=style.MUTED, linestyle="--", linewidth=0.9, label="critical")
        d.set_ylabel("loss")
        remarks.append("b: a is the confidence of a simulated output.")
        remarks.append("d: a colour per epoch, mean ± sem over seeds; dashed: the exact critical rate.")
        for ax, letter in ((b, "b"), (loss, "c"), (d, "d")):
            style.panel_letter(ax, letter)
        b.legend(loc="upper right", borderaxespad=0.0, handlelength=1.4)  # the curves stay below a half there
        for ax, n_columns in ((loss, 1), (d, 3)):
            ax.legend(
                loc="lower right",
                bbox_to_anchor=(1.0, 1.0),
                ncols=n_columns,
                columnspacing=1.0,
                handlelength=1.4,
            )
        style.remark(fig, remarks)
    return fig


_WIDE = ((slice(None), 0), (0, 1), (1, 1), (slice(None), 2))


def _landscape(ax: Axes, timescale: float) -> None:
    """Panel b: the loss against r on 100 points of [-r*, 2 r*], closed form and simulated."""
    best = float(theory.optimum(timescale))
    r = np.linspace(-best, 2 * best, 100)
    ax.plot(r / best, theory.loss(r, timescale), color=style.QUANTITY_COLORS["loss"], label="closed form")
    for confidence, dashes in zip(CONFIDENCES, ("--", ":"), strict=True):
        simulated = theory.simulated_loss(r, timescale, confidence)
        ax.plot(r / best, simulated, color="black", linestyle=dashes, label=f"a = {confidence:g}")
    ax.set_xlabel("r / r*")
    ax.set_ylabel("loss")
    ax.set_ylim(bottom=0)


def _trajectories(loss: Axes, position: Axes, tables: Tables, timescale: float) -> list[str]:
    """Panel c: loss above, |r| below, a line per run in the colour of its outcome; return remarks."""
    runs = analysis.outcomes(tables.runs).sort_values("learning_rate")
    lost = 0
    styles = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
    for run, dashes in zip(runs.to_dict("records"), styles, strict=False):
        curve = tables.curves[tables.curves["run_id"] == run["run_id"]].sort_values("epoch")
        kept = curve[np.isfinite(curve["loss"].to_numpy(dtype=float))]
        lost += int(len(kept) < len(curve) or run["status"] == "diverged")
        look: dict[str, Any] = {"color": style.OUTCOME_COLORS[run["outcome"]], "linestyle": dashes}
        name = f"lr = {style.sci(run['learning_rate'])}, {style.outcome_text(run['outcome'])}"
        loss.plot(kept["epoch"], kept["loss"], label=name, **look)
        position.plot(kept["epoch"], kept["weight_norm"], **look)
    for level, name in ((theory.optimum(timescale), "r*"), (theory.no_learning_edge(timescale), "r*/4")):
        position.axhline(float(level), color=style.MUTED, linewidth=0.8, linestyle="-" if name == "r*" else ":")
        position.text(1.01, float(level), name, transform=position.get_yaxis_transform(), va="center", fontsize=7)
    position.set_yscale("log")
    position.set_xlabel("epoch")
    position.set_ylabel("|r|")
    loss.set_ylabel("loss")
    loss.tick_params(labelbottom=False)
    return style.left_out(lost, len(runs), "after their last finite epoch", where="c")
