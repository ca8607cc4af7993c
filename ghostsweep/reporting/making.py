"""`report`: sweeps and the paper's figures as one HTML file, made from finished tables alone.

Imports `store/` and `analysis/` for what it reads, and the other files of this room for what it makes of that.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import analysis, figures
from ghostsweep.analysis.analyzing import Analyzed, analyze
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.findings.words import listed
from ghostsweep.reporting import cells as cells_of
from ghostsweep.reporting import charts, curves, page, words
from ghostsweep.store import files, tables

ROOM = 6_800_000
"""Bytes of a page for its sweeps, of 8 MB; the rest is the bundle, and tables and texts."""
MAX_ROWS = 500
"""Rows of a table of boundaries that are written out."""


def report(
    names: str | Iterable[str] = (),
    *,
    to: str | Path | None = None,
    out: str | Path = "results",
    paper: bool = False,
) -> Path:
    """Write one HTML file about sweeps that have results, and with `paper` about the paper's figures; return its path.

    It opens from disk and loads nothing. Of each sweep: the phase diagram, whose cells show their loss curves when
    chosen, the boundaries with their intervals, the laws through them and their rivals, and where the tables are from.
    Where the task declares outcomes of its own, the diagram has these, and by choice the usual ones with boundaries.
    `to` is by default figures/NAME.html, of several figures/report.html, of the paper alone figures/paper.html. Raises
    UsageError where there are no results of a name, and where the extra `report` is not installed.
    """
    charts.altair()
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if not wanted and not paper:
        raise UsageError("report: found no sweep; allowed: names of sweeps that have results, or the paper's figures")
    path = Path(to) if to is not None else Path("figures") / f"{_stem(wanted, paper)}.html"
    if path.is_dir():
        raise UsageError(f"report: found the folder {path}; allowed: the name of an HTML file")
    found = [tables.read(name, out) for name in wanted]
    sections = [_section(f"sweep-{i}", each, ROOM // len(found)) for i, each in enumerate(found)]
    contents = [(f"sweep-{i}", _title(each)) for i, each in enumerate(found)]
    if paper:
        from ghostsweep.reporting import paper as of_paper  # here: what draws is slow to import

        sections.append(of_paper.section("paper", out))
        contents.append(("paper", of_paper.TITLE))
    title = "Report: " + ", ".join([each.name for each in found] + ["the figures of the paper"] * paper)
    text = page.document(title, contents, sections, bool(found))
    files.write(path, lambda file: file.write(text.encode()))
    return path


def _stem(names: list[str], paper: bool) -> str:
    if len(names) == 1 and not paper:
        return Path(names[0]).name or "report"
    return "report" if names else "paper"


def _title(found: tables.Tables) -> str:
    return str(found.meta.get("title") or found.name)


def _section(name: str, found: tables.Tables, room: int) -> str:
    """The part of a page about one sweep."""
    usual, own = analysis.outcomes(found.runs), analysis.own_outcomes(found.runs)
    usual.attrs = found.runs.attrs | usual.attrs
    fitted, why_not = _fitted(found)
    judged = [cells_of.cells(runs) for runs in ([usual] if own is None else [own, usual])]
    cells, by_usual = judged[0], judged[-1]
    drawn, other = cells_of.data(cells), cells_of.outcomes(by_usual) if own is not None else {}
    firsts, lasts = (cells.table[end].to_numpy(int) for end in ("first", "last"))
    room -= len(str(drawn)) + len(str(other)) + 40_000
    lines = curves.data(cells.runs, found.curves, firsts, lasts, room)
    data = {
        "cells": drawn,
        "curves": lines,
        "curves_spec": charts.loss_curves(lines["log_epochs"], lines["log"]),
        "max_panels": figures.MAX_PANELS,
        **_views(cells, fitted if own is None else None),
    }
    if own is not None:  # the same cells and runs in the same order
        codes = curves.outcome(by_usual.runs, firsts, lasts, lines["per_cell"])
        data["usual"] = {"cells": other, "curves": {"outcome": codes}, **_views(by_usual, fitted)}
    n_seeds = found.runs["seed"].nunique()
    summary = words.summary(fitted, n_seeds) if fitted is not None else why_not
    of_task = words.task_outcomes(found.runs)
    if of_task and fitted is not None:
        summary = f"By the usual outcomes: {summary[0].lower()}{summary[1:]}"
    parts = [
        f'<section class="sweep" id="{name}" data-cells="1" aria-labelledby="{name}-title">',
        f'<h2 id="{name}-title">{page.escaped(_title(found))}</h2>',
        f'<p class="about">{page.escaped("; ".join(words.about(found)))}.</p>',
        *(f'<p class="summary">{page.escaped(text)}</p>' for text in (of_task, summary) if text),
        *_phase(judged, lines, fitted),
        *(_boundaries(name, by_usual, fitted, bool(of_task)) if fitted is not None else []),
        *_origin(found),
        page.data_block(f"{name}-data", data),
        "</section>",
    ]
    return "\n".join(parts)


def _fitted(found: tables.Tables) -> tuple[Analyzed | None, str]:
    """What the analysis finds; where it makes no sense of boundaries, why."""
    if figures.is_dense(found.runs):
        return None, "Each cell is a single run: boundaries would tell less than the picture."
    if found.runs["learning_rate"].nunique() < 2:
        return None, "There is a single learning rate, so there are no boundaries between rates."
    try:
        return analyze(found), ""
    except UsageError as error:
        return None, f"There are no boundaries: {error}."


def _views(cells: cells_of.Cells, fitted: Analyzed | None) -> dict[str, Any]:
    """What is drawn of cells in each view, and all outcomes that the curves of their runs may have."""
    colors = style.outcome_colors(list(cells.runs["outcome"].cat.categories))
    return {
        "views": [_drawn(cells, view, fitted) for view in cells.views],
        "all_outcomes": [{"name": style.outcome_text(o), "line": DARKER.get(colors[o], colors[o])} for o in colors],
    }


DARKER = {style.OUTCOME_COLORS["oscillating"]: "#B8A800", style.OUTCOME_COLORS["unstable"]: "#B8923A"}
"""Colours of curves where those of the outcomes would be pale on white."""


def _drawn(cells: cells_of.Cells, view: cells_of.View, fitted: Analyzed | None) -> dict[str, Any]:
    """The spec of a view's panels, and the boundaries in each."""
    n = len(view.titles)
    height = charts.HEIGHT.get(n, 240) if n <= figures.MAX_PANELS else charts.HEIGHT[1]
    description = (
        f"Phase diagram: the outcome of most seeds, as a colour, in cells of {view.label} and learning rate. "
        f"Cells by outcome: {words.shares_text(cells)}. A table of the same follows the picture."
    )
    spec = charts.phase(view, height, analysis.is_closed_form(cells.runs), description)
    rows: list[list[dict[str, Any]]] = [[] for _ in view.titles]
    if fitted is not None:
        critical = fitted.critical
        if view.x not in critical:  # the same in all runs
            critical = critical.assign(**{view.x: cells.table[view.x].iloc[0]})
        seen = critical[(critical["censored"] == "") & critical["lr_critical"].notna() & critical[view.x].notna()]
        for panel in range(n):
            rows[panel] = charts.rows_of(cells_of.in_panel(seen, cells, view, panel), view.x)
            for row in rows[panel]:
                row |= {end: _inside(row[end], view.y_domain) for end in ("low", "high")}
    return {"spec": spec, "boundaries": rows}


def _inside(value: float | None, domain: tuple[float, float]) -> float | None:
    return None if value is None else float(np.clip(value, *domain))


def _phase(judged: list[cells_of.Cells], lines: dict[str, Any], fitted: Analyzed | None) -> list[str]:
    """The phase diagram and the curves of a cell; `page.js` fills in both.

    judged: the cells by the outcomes of their task, where it declares some, and by the usual ones, which come last.
    """
    cells, note = judged[0], ""
    if cells.pooled:
        size = listed(f"{n} values of {style.outcome_text(f)}" for f, n in cells.pooled.items())
        note = f'<p class="note">Each cell drawn holds the runs of {page.escaped(size)} that are neighbours.</p>'
    return [
        "<h3>Phase diagram</h3>",
        '<div class="controls layout"></div>',
        *(_legend(each, fitted if each is judged[-1] else None, each is not cells) for each in judged),
        note,
        '<div class="explore"><div><div class="panels"></div>'
        '<details class="cells-table"><summary>The column of the chosen cell as a table</summary><div></div></details>'
        '</div><div class="chosen-cell"><h4>Loss curves of one cell</h4>'
        '<p class="note">Choose a cell by a click in the picture, or here.</p>'
        '<div class="controls cell-menus"></div><p class="chosen" aria-live="polite"></p>'
        '<div class="chart curves"></div>'
        f'<p class="note">{page.escaped(_kept(lines))}</p>'
        '<details class="curves-table"><summary>The curves as a table</summary><div></div></details>'
        "</div></div>",
    ]


def _legend(cells: cells_of.Cells, fitted: Analyzed | None, hidden: bool) -> str:
    """Colours and meanings of the outcomes, and what else is drawn in the diagram."""
    drawn = cells_of.outcomes(cells)["outcomes"]
    legend = [
        f'<li><span class="swatch" style="background:{o["color"]}"></span>{page.escaped(o["name"])}</li>' for o in drawn
    ]
    legend.append('<li><span class="swatch" style="background:#d0d0d0"></span>paler: seeds disagree</li>')
    if fitted is not None:
        for boundary in ("upper", "lower"):
            known = (fitted.critical["boundary"] == boundary) & (fitted.critical["censored"] == "")
            if known.any():
                legend.append(
                    f'<li><span class="swatch dot {boundary}"></span>{boundary} boundary with its 95% interval</li>'
                )
    if analysis.is_closed_form(cells.runs) and any(view.x == "timescale" for view in cells.views):
        legend.append('<li><span class="swatch line"></span>exact critical rate</li>')
    meanings = "".join(f"<dt>{page.escaped(o['name'])}</dt><dd>{page.escaped(o['meaning'])}</dd>" for o in drawn)
    colors = f'<ul class="legend" aria-label="Colours">{"".join(legend)}</ul>'
    meant = page.details("What the outcomes mean", f"<dl>{meanings}</dl>")
    return f'<div class="outcomes"{" hidden" * hidden}>{colors}{meant}</div>'


def _kept(lines: dict[str, Any]) -> str:
    """How many curves and epochs the page holds."""
    n, all_runs, kept, recorded = (lines[k] for k in ("n", "runs", "epochs_kept", "epochs_recorded"))
    which = f"the curves of all {n:,} runs" if n == all_runs else f"the curves of {n:,} of {all_runs:,} runs"
    epochs = f"at all {kept:,} recorded epochs" if kept == recorded else f"at {kept:,} of {recorded:,} recorded epochs"
    epochs = "at the one recorded epoch" if recorded == 1 else epochs
    zeros = f" {lines['zeros']:,} losses that are not positive are drawn as the lowest." if lines["zeros"] else ""
    return f"This page holds {which}, {epochs}, losses to 0.1%.{zeros}"


def _boundaries(name: str, cells: cells_of.Cells, fitted: Analyzed, has_own: bool) -> list[str]:
    """The boundaries against each field that a law was fitted along, or else the usual one, and tables of both.

    has_own: whether tasks of the sweep declare outcomes that these boundaries are not of.
    """
    critical, laws = fitted.critical, fitted.power_law
    along = [str(x) for x in laws["along"].unique()] if laws is not None else []
    parts = ["<h3>Boundaries</h3>"]
    parts.append(
        '<p class="note">The critical learning rates, filled above and open below the learnable band, with their 95% '
        "intervals; an arrow where no more than a bound is known."
        f"{' They are of the usual outcomes, not of those that the task declares itself.' if has_own else ''}</p>"
    )
    for i, x in enumerate(along or [cells.views[0].x]):
        known = critical if x in critical else critical.assign(**{x: cells.table[x].iloc[0]})
        label = cells_of.label(cells.runs, x)
        own = None if laws is None else laws[laws["along"] == x]
        fields = words.series_fields(fitted, own) if own is not None and len(own) else _others(known, x)
        series = words.series_names(known, fields)
        if not charts.rows_of(known[known[x].notna()], x):
            continue
        if own is not None:
            own = own.assign(name=words.series_names(own, fields))
        what = (
            f"Critical learning rates against {label}, with 95% intervals. The numbers are in the table that follows."
        )
        block = f"{name}-bounds-{i}"
        parts.append(page.data_block(block, charts.boundaries(known, own, x, label, series, what)))
        parts.append(f'<div class="chart bounds" data-spec="{block}"></div>')
    rows = words.boundary_table(fitted, cells)
    shown = page.table(rows.head(MAX_ROWS), "Boundaries and learnable band of each cell, with 95% intervals")
    cut = f'<p class="note">The first {MAX_ROWS} of {len(rows):,} cells.</p>' if len(rows) > MAX_ROWS else ""
    parts.append(page.details("The boundaries as a table", shown + cut))
    for title, caption, rows in (
        ("Power laws", "Critical rate = prefactor · x^exponent, with 95% intervals", words.law_table(fitted)),
        ("Rivals of a power law", "Laws compared; 0.0 is the best", words.rival_table(fitted)),
    ):
        if len(rows):
            parts += [f"<h3>{title}</h3>", page.table(rows, caption)]
    return parts


def _others(critical: pd.DataFrame, x: str) -> list[str]:
    """The fields other than x that tell boundaries apart, without any law."""
    first = list(critical.columns).index("boundary")
    names = [field for field in critical.columns[:first] if field != x]
    names = [f for f in names if (critical.groupby(x, dropna=False)[f].nunique(dropna=False) > 1).any()]
    return cells_of.telling(critical, names)


def _origin(found: tables.Tables) -> list[str]:
    """Commit, versions and sessions, and the text of the sweep."""
    first, sessions = words.origin(found)
    text = found.meta.get("spec")
    shown = f'<pre tabindex="0">{page.escaped(text)}</pre>' if isinstance(text, str) else ""
    return [
        "<h3>Where it comes from</h3>",
        page.table(first, "What trained these runs") if first.shape[1] else "",
        page.details(f"Sessions of training ({len(sessions)})", page.table(sessions, "Sessions of training")),
        page.details("The sweep file", shown),
    ]
