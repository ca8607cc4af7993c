"""The figures of the paper as a part of a page, each with its claims: pictures in the file, no charts.

Imports `paper/`, which draws them from results and judges what it claims, and `figures/` for the look.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.paper import catalog, reproduction
from ghostsweep.reporting import page
from ghostsweep.store import tables

TITLE = "The paper, figure by figure"
DPI = 170


def section(name: str, out: str | Path) -> str:
    """The eight figures drawn from the best results there are, with their claims; of one without results why."""
    parts = [
        f'<section class="paper" id="{name}" aria-labelledby="{name}-title">',
        f'<h2 id="{name}-title">{TITLE}</h2>',
        '<p class="about">Dinc et al., <i>A ghost mechanism: an analytical model of abrupt learning in recurrent '
        "networks</i>, arXiv:2501.02378. Each figure is drawn from the results here, at the scale that it states.</p>",
    ]
    drawn, reasons, totals = list[str](), list[str](), [0, 0]
    for key, plan in catalog.PAPER.items():
        heading = f"Figure {key.removeprefix('fig')}"
        try:
            found = [catalog.read(sweep, out) for sweep in plan.sweeps + plan.also]
            claims = reproduction.judged(plan, found)
            picture = _picture(plan, found[: len(plan.sweeps)])
        except UsageError as error:
            reasons.append(f"<h3>{heading}</h3><p>Not drawn: {page.escaped(error)}.</p>")
            continue
        totals[0] += int((claims["verdict"] == "holds").sum())
        totals[1] += len(claims)
        drawn.append(
            f'<h3>{heading}</h3><figure><img alt="{page.escaped(plan.caption)}" src="{picture}" loading="lazy">'
            f"<figcaption>{page.escaped(plan.caption)}</figcaption></figure>"
            + page.table(_legible(claims), f"Claims of figure {key.removeprefix('fig')}", ("verdict",), "claims")
        )
    if not drawn:
        raise UsageError(f"{out}: found no results of the paper's figures; allowed: after `ghostsweep reproduce`")
    parts.append(f'<p class="summary">{totals[0]} of {totals[1]} claims hold.</p>')
    return "\n".join([*parts, *drawn, *reasons, "</section>"])


def _picture(plan: catalog.PaperFigure, found: Sequence[tables.Tables]) -> str:
    """A figure as WebP, in the page."""
    buffer = io.BytesIO()
    with style.rc():
        figure = plan.draw(*found)
        figure.savefig(buffer, format="webp", dpi=DPI, pil_kwargs={"lossless": True, "method": 4})
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _legible(claims: pd.DataFrame) -> pd.DataFrame:
    """What the paper says, what was measured, and whether it holds."""
    return pd.DataFrame(
        {
            "verdict": claims["verdict"],
            "the paper says": claims["claim"],
            "measured": claims["measured"],
            "kind": claims["kind"],
            "scale": claims["scale"],
        }
    )
