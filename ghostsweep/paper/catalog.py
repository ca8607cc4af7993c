"""The figures of the paper: the sweeps that each needs, how it is drawn, and the claims that it supports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from ghostsweep import figures
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.paper import claims
from ghostsweep.paper.companion import companion
from ghostsweep.paper.fig1 import fig1
from ghostsweep.paper.fig2 import fig2
from ghostsweep.paper.fig3 import fig3
from ghostsweep.paper.fig4 import fig4
from ghostsweep.paper.fig5 import fig5
from ghostsweep.paper.fig6 import fig6
from ghostsweep.paper.fig7 import fig7
from ghostsweep.paper.fig8 import fig8
from ghostsweep.store import tables


class PaperFigure(NamedTuple):
    """One figure: `draw` takes the tables of `sweeps`, `claims` those of `sweeps` and of `also`, in their order.

    caption: what is to be seen in it, also for those who cannot see it; the claims say what it shows.
    """

    draw: Callable[..., Figure]
    claims: Callable[..., list[claims.Claim]]
    caption: str
    sweeps: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


PAPER = {
    "fig1": PaperFigure(
        fig1,
        claims.fig1,
        "The flow dx/dt = x² + r on either side of a saddle-node bifurcation: a ghost, slow but no fixed point, at "
        "r = 0.5, and two fixed points at r = −0.5.",
    ),
    "fig2": PaperFigure(
        fig2,
        claims.fig2,
        "The canonical form: its loss against r, loss and r along training at two learning rates, and its loss against "
        "the learning rate at several epochs.",
        ("fig2_trajectories", "fig2_loss_vs_lr"),
        ("canonical_lr_timescale_refined",),
    ),
    "fig3": PaperFigure(
        fig3,
        claims.fig3,
        "A rank-one network at two learning rates, one at which it learns and one at which it collapses: loss and "
        "gradient against epoch, the flow of κ at three epochs, and how many fixed points and ghosts there are.",
        ("fig3_learns", "fig3_collapses"),
        ("fig3_learns_seeds", "fig3_collapses_seeds"),
    ),
    "fig4": PaperFigure(
        fig4,
        claims.fig4,
        "Rank-2 networks on two cue tasks: loss, gradient and accuracy against epoch, and maps of the flow of their "
        "two coordinates at several epochs, with trajectories, fixed points, slow points and ghosts.",
        ("fig4_dcdt", "fig4_dmts"),
    ),
    "fig5": PaperFigure(
        fig5,
        claims.fig5,
        "Full-rank networks on two cue tasks: loss, gradient and accuracy against epoch, eigenvalues at the point "
        "nearest to a trajectory, and trajectories with fixed and slow points in three principal axes.",
        ("fig5_dcdt", "fig5_dmts"),
    ),
    "fig6": PaperFigure(
        fig6,
        claims.fig6,
        "Delayed activation: loss against learning rate of rank-one and of full-rank networks at several epochs, and "
        "of rank-K networks the loss against epoch and the share with a low last loss against K.",
        ("fig6a_rank_one", "fig6a_full", "fig6b_rank"),
        ("rank_one_lr_timescale", "rank_one_full_matched", "rank_lr"),
    ),
    "fig7": PaperFigure(
        fig7,
        claims.fig7,
        "Full-rank networks on two cue tasks: loss, gradient and weights against learning rate, a run that learns and "
        "one that is trapped, and firing rates and outputs before and after a collapse.",
        ("fig7_dcdt", "fig7_dmts", "fig7_dmts_collapse"),
    ),
    "fig8": PaperFigure(
        fig8,
        claims.fig8,
        "Lower output confidence: the gradient of the canonical form, trapped rank-one networks that go on at other "
        "confidences or with theirs reset, and full-rank networks on a cue task with a readout scaled down.",
        ("fig8b_confidence", "fig8b_trained_confidence", "fig8c_readout"),
        ("fig8b_recovery", "fig8b_trained_control"),
    ),
}

REDUCED = ("rank_one_lr_timescale_reduction", "rank_one_lr_reduction")
"""Sweeps whose reductions the claims on the canonical form take: at a low rate all along, at many rates at the end."""
RATES = "rank_one_lr_timescale"
"""The sweep of rates that they are held against."""


COMPANION = {
    "companion": PaperFigure(
        companion,
        claims.companion,
        "Delayed cue discrimination: what is learned at which delay and learning rate by two criteria, the boundaries "
        "of no solution and of slow points, and critical learning rates of two toy models against the delay.",
        ("companion_narrow",),
        ("companion_linear_control",),
    )
}
"""The figure of the companion paper, which is drawn and tested by its name alone."""


def every() -> dict[str, PaperFigure]:
    """All figures that have a name: the eight of the paper, and that of its companion."""
    return PAPER | COMPANION


def read(sweep: str, out: str | Path) -> tables.Tables:
    """The tables of a sweep of the paper: at full scale if there, else reduced, else of its quick version.

    Raises UsageError where there are none.
    """
    for candidate in (sweep, f"{sweep}_reduced", f"{sweep}-quick"):
        if tables.has_runs(Path(out) / candidate):
            return tables.read(candidate, out)
    raise UsageError(f"{Path(out) / sweep}: no results; `ghostsweep run {sweep}` makes them")


def draw(name: str, found: Sequence[tables.Tables], to: str | Path, notes: Sequence[str] = ()) -> list[Path]:
    """Draw a figure of the paper from the tables of its sweeps, as PNG and PDF; return the files.

    notes: what each of the tables lacks, in words, which the figure says too; empty where it lacks nothing.
    """
    plan = every()[name]
    fig = plan.draw(*found[: len(plan.sweeps)])
    lacks = [f"{each.name}: {note}." for each, note in zip(found, notes, strict=False) if note]
    style.remark_more(fig, lacks)
    return figures.save(fig, Path(to) / name)


def drawable(out: str | Path) -> list[str]:
    """The figures of the paper whose sweeps all have results."""

    def there(sweep: str) -> bool:
        return any(tables.has_runs(Path(out) / name) for name in (sweep, f"{sweep}_reduced", f"{sweep}-quick"))

    return [name for name, figure in every().items() if all(map(there, figure.sweeps))]
