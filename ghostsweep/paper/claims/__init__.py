"""The claims of the paper, each tested on the tables of the figure that it belongs to.

A function per figure, tables in, claims out. What is said to hold is what these runs show, at their scale: a claim
that fails is a row like any other. A claim could fail, and there is a test for each with data on which it does; what
follows from a definition or an identity is a check. Losses are means of the last 50 epochs.
"""

from ghostsweep.paper.claims.bands import fig6, fig7
from ghostsweep.paper.claims.canonical import fig1, fig2
from ghostsweep.paper.claims.claim import Claim
from ghostsweep.paper.claims.companion import companion
from ghostsweep.paper.claims.networks import fig3, fig4, fig5
from ghostsweep.paper.claims.recovery import fig8
from ghostsweep.paper.claims.reduction import reduction

__all__ = [
    "Claim",
    "companion",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "fig6",
    "fig7",
    "fig8",
    "reduction",
]
