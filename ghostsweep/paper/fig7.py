"""Figure 7 of the paper, full-rank cue tasks: loss, gradient and weights against learning rate, and a collapse."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ghostsweep import analysis
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.figures.loss_vs_rate import differ_only
from ghostsweep.paper import collapse
from ghostsweep.store.tables import Tables

EXAMPLE_RATES = {"dcdt": 0.3359818286283781, "dmts": 1.438449888287663}
"""Learning rates of the example runs: numbers 12 and 15 of the paper's 20, counted from 0."""
EXAMPLES = ("learned", "trapped")
_PER_RUN = {
    "mean_loss": "mean loss",
    "mean_grad_norm": "mean gradient\nnorm",
    "final_weight_norm": "last weight\nnorm",
}
_PER_EPOCH = {"loss": "loss", "grad_norm": "gradient\nnorm", "weight_norm": "weight\nnorm"}
_N_BINS = 40


def fig7(dcdt: Tables, dmts: Tables, collapse: Tables, *, width: float = style.TWO_COLUMNS) -> Figure:
    """Draw Figure 7 from the tables of three sweeps of full-rank networks.

    a: box plots and points, a point per run in the colour of its outcome, of each run's mean loss, mean gradient norm
    and last weight norm against learning rate. b: two example runs of each task at the rate nearest to that of
    `EXAMPLE_RATES`, a learned and a trapped one, of each outcome the run whose loss fell lowest: loss, gradient and
    weight norm against epoch. c, from collapse, one run on dmts with snapshots: histograms of the firing rates and
    the output, over all units, steps and trials without noise, just before and just after the collapse.

    The gradient is that of the recurrent weights, the weight norm that of all parameters. The paper draws weights
    of dmts only. width: inches; box plots stand side by side where there is room for two columns. Raises UsageError
    for an empty table, missing columns, another task, runs that differ in more than learning rate and seed, and
    where the run of collapse does not collapse between two snapshots.
    """
    columns = ["run_id", "task", "learning_rate", "seed", "epochs", *_PER_RUN]
    parts = {"dcdt": dcdt, "dmts": dmts}
    for task, tables in (*parts.items(), ("dmts", collapse)):
        what = "Figure 7c" if tables is collapse else f"Figure 7, {task}"
        style.require(tables.runs, columns, f"{what}, runs")
        style.require(tables.curves, ["run_id", "epoch", *_PER_EPOCH], f"{what}, curves")
        if (found := style.single_value(tables.runs, "task", what)) != task:
            raise UsageError(f"{what}: needs runs of {task!r}, found {found!r}")
        differ_only(tables.runs, ["learning_rate"], what)

    with style.rc():
        wide = width > style.ONE_COLUMN
        n_rows = 7 if wide else 10
        fig = style.new_figure(width, 1.0 + 1.27 * n_rows)
        grid = fig.add_gridspec(n_rows, 2)
        remarks = []
        for column, (task, tables) in enumerate(parts.items()):
            runs = analysis.outcomes(tables.runs)
            at = [(row, column) if wide else (3 * column + row, slice(None)) for row in range(3)]
            boxes = [fig.add_subplot(grid[place]) for place in at]
            first = n_rows - 4
            traces = [fig.add_subplot(grid[first + row, column]) for row in range(3)]
            for ax, (quantity, name) in zip(boxes, _PER_RUN.items(), strict=True):
                remarks += _boxes(ax, runs, quantity, name, f"a, {task.upper()}")
            remarks += _examples(traces, runs, tables.curves, EXAMPLE_RATES[task], f"b, {task.upper()}")
            for axes, letter in ((boxes, "a"), (traces, "b")):
                axes[0].set_title(task.upper())
                for ax in axes[:-1]:
                    ax.tick_params(labelbottom=False)
                    ax.set_xlabel("")
                if column == 0:
                    style.panel_letter(axes[0], letter)
        histograms = [fig.add_subplot(grid[n_rows - 1, column]) for column in range(2)]
        remarks += _histograms(histograms, collapse)
        style.panel_letter(histograms[0], "c")
        seen = {str(o) for tables in parts.values() for o in analysis.outcomes(tables.runs)["outcome"].unique()}
        handles: list[Artist] = [
            Line2D([], [], color=style.OUTCOME_COLORS[o], marker="o", label=style.outcome_text(o))
            for o in analysis.OUTCOMES
            if o in seen
        ]
        handles += histograms[0].get_legend_handles_labels()[0]
        fig.legend(handles=handles, loc="outside upper center", ncols=len(handles) if wide else 3)
        remarks.append("Gradient: of the recurrent weights; 0 lies below the axis. Weight norm: of all parameters.")
        remarks += [style.scale(tables, f"a, b, {task.upper()}") for task, tables in parts.items()]
        style.remark(fig, [*remarks, style.scale(collapse, "c")])
    return fig


def _boxes(ax: Axes, runs: pd.DataFrame, quantity: str, name: str, where: str) -> list[str]:
    """Draw box plots of a quantity against learning rate with a point per run; return remarks."""
    values = runs[quantity].to_numpy(dtype=float)
    kept = runs[np.isfinite(values) & (values > 0)]
    if kept.empty:
        raise UsageError(f"{where}: no run has a positive {quantity}, so there is nothing to draw")
    groups = {rate: group[quantity].to_numpy(dtype=float) for rate, group in kept.groupby("learning_rate")}
    rates = np.array(list(groups))
    line = {"linewidth": 0.6}
    ax.boxplot(
        list(groups.values()), positions=rates, widths=0.35 * rates, showfliers=False, manage_ticks=False,
        boxprops=line, whiskerprops=line, capprops=line, medianprops={"color": "black", "linewidth": 1.0},
    )  # fmt: skip
    beside = 0.3 * (kept["seed"].rank(method="dense") / kept["seed"].nunique() - 0.5)  # points of a rate side by side
    for outcome in analysis.OUTCOMES:
        some = kept["outcome"] == outcome
        at = kept.loc[some, "learning_rate"] * np.exp(beside[some])
        color = style.OUTCOME_COLORS[outcome]
        ax.scatter(at, kept.loc[some, quantity], s=3, color=color, linewidths=0, zorder=3, label=outcome)
    style.log_axis(ax.xaxis, rates.min() / 1.4, rates.max() * 1.4)
    style.log_axis(ax.yaxis, kept[quantity].min() / 1.3, kept[quantity].max() * 1.3)
    ax.set_xlabel(style.label(runs, "learning_rate"))
    ax.set_ylabel(name)
    return style.left_out(len(runs) - len(kept), len(runs), f"{quantity} not finite or 0", where)


def _examples(axes: list[Axes], runs: pd.DataFrame, curves: pd.DataFrame, rate: float, where: str) -> list[str]:
    """Draw the curves of a learned and a trapped run at the rate nearest to `rate`; return remarks."""
    rates = runs["learning_rate"].unique()
    nearest = rates[np.abs(np.log(rates / rate)).argmin()]
    chosen, missing = [], []
    for outcome in EXAMPLES:
        some = runs[(runs["learning_rate"] == nearest) & (runs["outcome"] == outcome)]
        if some.empty:
            missing.append(f"no run is {outcome}")
            continue
        run = some.loc[some["min_loss"].idxmin()]
        chosen.append(f"seed {run['seed']} {outcome}")
        curve = curves[curves["run_id"] == run["run_id"]].sort_values("epoch")
        for ax, quantity in zip(axes, _PER_EPOCH, strict=True):
            color = style.OUTCOME_COLORS[outcome]
            ax.plot(curve["epoch"] + 1, curve[quantity], color=color, linewidth=0.8, label=outcome)
    for ax, (quantity, name) in zip(axes, _PER_EPOCH.items(), strict=True):
        style.log_axis(ax.xaxis, 1, 1.05 * runs["epochs"].max())
        ax.set_yscale("linear" if quantity == "weight_norm" else "log")
        ax.set_xlabel("epoch + 1")
        ax.set_ylabel(name)
    why = "; of each outcome the run whose loss fell lowest" if chosen else ""
    return [f"{where}, lr = {style.sci(nearest)}: {', '.join(chosen + missing)}{why}."]


def _histograms(axes: list[Axes], tables: Tables) -> list[str]:
    """Draw the distribution of firing rates and of outputs on either side of the collapse; return remarks."""
    style.single_value(tables.runs, "run_id", "Figure 7c")
    run = {str(field): value for field, value in tables.runs.iloc[0].items()}
    snapshots = tables.snapshots(run["run_id"])
    around = collapse.around_collapse(run, tables.curves, snapshots["epochs"])
    for epoch, when, color in zip(around, ("before (c)", "after (c)"), style.SERIES_COLORS, strict=False):
        (index,) = np.flatnonzero(snapshots["epochs"] == epoch)
        params = {name: values[index] for name, values in snapshots.items() if name != "epochs"}
        for ax, values, low in zip(axes, collapse.cue_responses(params, run), (-1, 0), strict=True):
            weights = np.full(values.size, 1 / values.size)
            ax.hist(
                values.ravel(), _N_BINS, range=(low, 1), weights=weights,
                histtype="stepfilled", color=color, alpha=0.5, label=when,
            )  # fmt: skip
    for ax, name in zip(axes, ("firing rate", "output"), strict=True):
        ax.set_yscale("log")
        ax.set_xlabel(name)
        ax.set_ylabel("share")
    before, after = (f"{epoch:,}" for epoch in around)
    return [
        f"c: DMTS, lr = {style.sci(run['learning_rate'])}, seed {run['seed']} at epochs {before} and {after}, the "
        "snapshots on either side of its collapse; such runs are chaotic, and trained alone it collapses at an epoch "
        "of its own."
    ]
