"""Short forms of results, sweeps, runs and histories: text for terminals, HTML for notebooks."""

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ghostsweep import analysis, drawing
from ghostsweep.store import tables

if TYPE_CHECKING:
    from ghostsweep.front.history import History


def text_of_tables(found: tables.Tables) -> str:
    """Five lines: the sweep, its runs and axes, what became of them, what is recorded, where it lies."""
    lines = _about_tables(found)
    return f"Tables {found.name}: {found.meta.get('title', found.name)}\n" + "\n".join(
        f"  {name}: {said}" for name, said in lines.items()
    )


def html_of_tables(found: tables.Tables) -> str:
    """The same as a table for a notebook."""
    return _table(f"{found.name}: {found.meta.get('title', found.name)}", _about_tables(found))


def _about_tables(found: tables.Tables) -> dict[str, str]:
    runs = found.runs
    fields = [*(name for name in analysis.cell_fields(runs) if runs[name].nunique(dropna=False) > 1)]
    axes = [span(name, runs[name]) for name in (*fields, "learning_rate", "seed") if name in runs]
    judged = analysis.with_task_outcome(analysis.outcomes(runs))
    per_run = len(found.curves) / max(len(runs), 1)
    kinds = sorted({*runs["model"], *runs.get("task", pd.Series(dtype=str)).dropna()})
    return {
        "runs": f"{len(runs):,} of {', '.join(map(str, kinds))}",
        "axes": "; ".join(axes),
        "outcomes": _counted(judged["outcome"]),
        **({"task outcomes": _counted(judged["task_outcome"])} if "task_outcome" in judged else {}),
        "curves": f"{per_run:.4g} epochs of each run",
        "folder": str(found.folder),
        **({"lacks": lacks} if (lacks := drawing.lack(found)) else {}),
    }


def _counted(outcomes: "pd.Series[Any]") -> str:
    counts = outcomes.value_counts(sort=False)
    return ", ".join(f"{count:,} {str(name).replace('_', ' ')}" for name, count in counts.items() if count)


def span(name: str, values: "pd.Series[Any]") -> str:
    """A field in words: its values, or from where to where and how many."""
    found = values.dropna().unique()
    if pd.api.types.is_numeric_dtype(values):
        found = np.sort(found)
    if len(found) <= 4:
        return f"{name} {', '.join(_short(value) for value in found)}"
    return f"{name} {_short(found[0])} to {_short(found[-1])} ({len(found)})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text_of_history(one: "History") -> str:
    """What a run was, how its loss went, and what it ended with."""
    said = _about_history(one)
    return f"History of {one.run!r}\n" + "\n".join(f"  {name}: {value}" for name, value in said.items())


def html_of_history(one: "History") -> str:
    """The same as a table for a notebook."""
    return _table(repr(one.run), _about_history(one))


def _about_history(one: "History") -> dict[str, str]:
    learned = np.flatnonzero(one.loss < one.run.learned_loss)
    first = f"first below {one.run.learned_loss:g} at epoch {learned[0]:,}" if len(learned) else "never learned"
    sizes = (f"{name} {value.shape}" for name, value in one.params.items())
    return {
        "epochs": f"{len(one.loss):,}",
        "loss": f"{one.loss[0]:.4g} at first, {np.nanmin(one.loss):.4g} at least, {one.loss[-1]:.4g} at last; {first}",
        "accuracy": f"{one.accuracy[-1]:.4g} at last",
        "params": ", ".join(sizes),
    }


def _table(title: str, lines: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(said)}</td></tr>'
        for name, said in lines.items()
    )
    return f"<table><caption style='text-align:left'>{html.escape(title)}</caption>{rows}</table>"
