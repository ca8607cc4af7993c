"""What a page says in words and small tables: the summary, the laws and their rivals, where it all comes from.

Imports `findings/` for its numbers in words, `spec/` to read how many runs a sweep plans; no Altair.
"""

import tempfile
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ghostsweep import analysis
from ghostsweep.analysis.analyzing import Analyzed
from ghostsweep.errors import UsageError
from ghostsweep.figures import style
from ghostsweep.findings import words
from ghostsweep.reporting.cells import Cells, label, telling
from ghostsweep.spec import loads
from ghostsweep.spec.code import Code
from ghostsweep.store.tables import Tables

_NAMED = 4
"""Boundaries or laws that the summary names one by one."""
_OPTIMAL = "power"


def about(found: Tables) -> list[str]:
    """Model, task, epochs and seeds, and how many of the planned runs there are."""
    runs = found.runs
    pairs = runs[[name for name in ("model", "task") if name in runs]].drop_duplicates()
    kinds = [" on ".join(style.outcome_text(str(v)) for v in row if pd.notna(v)) for row in pairs.to_numpy()]
    epochs = sorted(runs["epochs"].unique())
    several = [f"{n:,}" for n in (epochs if len(epochs) <= 3 else [epochs[0], epochs[-1]])]
    length = (" to " if len(epochs) > 3 else " or ").join(several)
    return [words.listed(kinds), f"{length} epochs", words.several(runs["seed"].nunique(), "seed"), done(found)]


def done(found: Tables) -> str:
    """How many runs there are, and of how many where the sweep plans more."""
    n, planned = len(found.runs), _planned(found)
    if planned is None or planned <= n:
        return words.several(n, "run")
    if found.meta.get("refine"):
        return f"{n:,} of the grid's {planned:,} runs, those that refinement chose"
    return f"{n:,} of {planned:,} runs; the sweep is not finished, and what follows is of these"


def _planned(found: Tables) -> int | None:
    """Runs that the sweep's own text plans, none of a user's code executed; None where it does not tell."""
    text, name = found.meta.get("spec"), found.name
    if not isinstance(text, str):
        return None
    quick = name.endswith("-quick")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for code in Code.of_results(found.meta):  # where the text names files of a user, as they were stored
                file = code.reference.split(":")[0]
                if Path(file).name == file:
                    Path(folder, file).write_text(code.text)
            return loads(text, name=name.removesuffix("-quick"), folder=folder, quick=quick, execute=False).n_runs
    except (UsageError, OSError, KeyError, AttributeError, TypeError):  # the last three: meta.json by other hands
        return None


def task_outcomes(runs: pd.DataFrame) -> str:
    """How many runs have which of the outcomes that their tasks declare themselves; empty where none does."""
    judged = analysis.with_task_outcome(runs)
    if "task_outcome" not in judged:
        return ""
    counts = judged["task_outcome"].value_counts()
    told = words.listed(f"{n:,} {style.outcome_text(str(name))}" for name, n in counts.items() if n)
    rest = len(runs) - int(counts.sum())
    others = f"; the other {rest:,} are of tasks without" if rest else ""
    who = "the task declares itself" if runs["task"].nunique() == 1 else "their tasks declare themselves"
    return f"By the outcomes that {who}: {told}{others}."


def summary(fitted: Analyzed, n_seeds: int) -> str:
    """One sentence: where training collapses, and as which power of what."""
    upper = fitted.critical[fitted.critical["boundary"] == "upper"]
    who = collapse(float(upper["share"].iloc[0]), n_seeds)
    known = upper[upper["censored"] == ""]
    laws = _upper_laws(fitted)
    if len(laws):
        return f"{who} above a critical learning rate that goes as {_exponents(fitted, laws)}."
    if known.empty:
        bounds = {words.rate(row) for _, row in upper.iterrows()}
        return f"{who} at no learning rate that was tried, as far as was seen (boundary {'; '.join(sorted(bounds))})."
    if len(known) <= _NAMED:
        fields = telling(known, fields_of(fitted))
        at = [f"{words.rate(row)}{_place(row, fields)}" for _, row in known.iterrows()]
        return f"{who} above a critical learning rate of {words.listed(at)}."
    low, high = (words.measured(float(known["lr_critical"].agg(end))) for end in ("min", "max"))
    return f"{who} above a critical learning rate of {low} to {high}, cell by cell."


def collapse(share: float, n_seeds: int) -> str:
    """Who collapses at a boundary: the first of all seeds, half of them, or another share."""
    if n_seeds == 1:
        return "The one seed collapses"
    if share == 0:
        return f"The first of {n_seeds} seeds collapses"
    return f"{'Half' if share == 0.5 else f'{share:.0%}'} of {n_seeds} seeds collapse"


def _upper_laws(fitted: Analyzed) -> pd.DataFrame:
    laws = fitted.power_law
    if laws is None:
        return pd.DataFrame()
    laws = laws[(laws["boundary"] == "upper") & laws["exponent"].notna()]
    usual = "timescale" if (laws["along"] == "timescale").any() else laws["along"].iloc[0] if len(laws) else ""
    return laws[laws["along"] == usual]


def _exponents(fitted: Analyzed, laws: pd.DataFrame) -> str:
    x = str(laws["along"].iloc[0])
    symbol = words.SYMBOLS.get(x, style.outcome_text(x)).removesuffix(" of").removeprefix("a ")
    told = f"{symbol} to the "
    if len(laws) > _NAMED:
        low, high = (words.exponent(float(laws["exponent"].agg(end))) for end in ("min", "max"))
        return f"{told}{low} to {high}, by series"
    fields = series_fields(fitted, laws)
    each = [f"{_exponent(law)}{_place(law, fields)}" for _, law in laws.iterrows()]
    told += words.listed(each)
    if len(laws) == 1:
        law = laws.iloc[0]
        told += f" through {words.several(int(law['n_used']), 'estimate')}"
        if pd.notna(law["theory_exponent"]):
            return f"{told}; exact: {words.exponent(law['theory_exponent'], 0)}"
    rejected = _rejected(fitted, x)
    return f"{told}; one power law is rejected ({rejected})" if rejected else told


def _exponent(law: "pd.Series[Any]") -> str:
    places = 4 if law["exponent_high"] - law["exponent_low"] < 0.01 else 2
    return words.between(
        law["exponent"], law["exponent_low"], law["exponent_high"], lambda v: words.exponent(v, places)
    )


def _rejected(fitted: Analyzed, x: str) -> str:
    """By which p the upper boundary's power law along x is rejected, of the only series; else nothing."""
    if fitted.scaling is None:
        return ""
    rows = fitted.scaling
    rows = rows[(rows["boundary"] == "upper") & (rows["along"] == x) & (rows["law"] == _OPTIMAL)]
    return f"p = {words.probability(rows['curvature_p'].iloc[0])}" if len(rows) == 1 and rows["rejected"].all() else ""


def fields_of(fitted: Analyzed) -> list[str]:
    """The fields of the cells that boundaries were found of."""
    names = list(fitted.critical.columns)
    return names[: names.index("boundary")]


def series_fields(fitted: Analyzed, laws: pd.DataFrame) -> list[str]:
    """The fields that tell the series of laws along one field apart."""
    return telling(laws, [name for name in fields_of(fitted) if name in laws])


def _place(row: "pd.Series[Any]", fields: Sequence[str]) -> str:
    return f" at {', '.join(style.value_text(name, row[name]) for name in fields)}" if fields else ""


def series_names(rows: pd.DataFrame, fields: Sequence[str]) -> "pd.Series[str]":
    """What each row is called in legends, by the fields that tell it apart."""
    names = [", ".join(style.value_text(f, row[f]) for f in fields) or "all" for _, row in rows.iterrows()]
    return pd.Series(names, index=rows.index, dtype=object)


def boundary_table(fitted: Analyzed, found: Cells) -> pd.DataFrame:
    """Both boundaries and the band of every cell, in words."""
    rows = fitted.critical.assign(rate=[words.rate(row) for _, row in fitted.critical.iterrows()])
    fields = [field for field in found.fields if field in rows]
    wide = rows.pivot_table(index=fields or ["model"], columns="boundary", values="rate", aggfunc="first", sort=False)
    band = fitted.band.assign(width=[words.width(row) for _, row in fitted.band.iterrows()])
    wide = wide.reset_index().merge(band[[*(fields or ["model"]), "width", "n_seeds"]], how="left")
    named = {field: label(found.runs, field) for field in fields}
    wide = wide[[*(fields or ["model"]), "lower", "upper", "width", "n_seeds"]]
    return wide.rename(
        columns=named
        | {"lower": "lower boundary", "upper": "upper boundary", "width": "band (decades)", "n_seeds": "seeds"}
    )


def law_table(fitted: Analyzed) -> pd.DataFrame:
    """The power law of every series: exponent and prefactor with their intervals, and the exact ones where known."""
    rows = []
    for law in _ordered(fitted.power_law):
        row = pd.Series(law)
        known = pd.notna(row["exponent"])
        prefactor = words.between(row["prefactor"], row["prefactor_low"], row["prefactor_high"], _three)
        exact = pd.notna(row["theory_exponent"])
        rows.append(
            _series(fitted, fitted.power_law, row)
            | {"exponent": _exponent(row) if known else "none", "prefactor": prefactor if known else "none"}
            | {"estimates": int(row["n_used"]), "bounds": int(row["n_censored"])}
            | {
                "exact": f"{words.exponent(row['theory_exponent'], 0)}, {_three(row['theory_prefactor'])}"
                if exact
                else ""
            }
        )
    table = pd.DataFrame(rows)
    return table.drop(columns="exact") if len(table) and not table["exact"].any() else table


def rival_table(fitted: Analyzed) -> pd.DataFrame:
    """The laws compared, of every series: how far each is from the best, and whether one power law is rejected."""
    rows = list[dict[str, Any]]()
    names = {"power": "power law", "exponential": "exponential", "broken_power": "power law with a knee"}
    scaling = fitted.scaling
    for law in _ordered(scaling):
        row = pd.Series(law)
        if pd.isna(row["aicc"]):
            continue
        rejected = f"{'yes' if row['rejected'] else 'no'} (p = {words.probability(row['curvature_p'])})"
        rows.append(
            _series(fitted, scaling, row)
            | {"law": names[row["law"]], "numbers": _numbers(row)}
            | {"AICc above the best": f"{row['delta_aicc']:.1f}", "BIC above the best": f"{row['delta_bic']:.1f}"}
            | {"rejected by its curvature": rejected if row["law"] == _OPTIMAL and pd.notna(row["curvature_p"]) else ""}
        )
    return pd.DataFrame(rows)


def _numbers(row: "pd.Series[Any]") -> str:
    if row["law"] == "exponential":
        return f"{_three(row['prefactor'])} · exp({_three(row['rate'])} x)"
    if row["law"] == "broken_power":
        ends = [words.exponent(row[name]) for name in ("exponent", "exponent_above")]
        return f"exponent {ends[0]} below {_three(row['knee'])}, {ends[1]} above"
    return f"exponent {words.exponent(row['exponent'])}"


def _ordered(laws: pd.DataFrame | None) -> list[dict[Hashable, Any]]:
    """The rows of a table of laws, those of the upper boundary first along each field."""
    if laws is None:
        return []
    order = laws["along"].map(list(dict.fromkeys(laws["along"])).index) * 2 + (laws["boundary"] == "lower")
    return laws.loc[order.sort_values(kind="stable").index].to_dict("records")


def _series(fitted: Analyzed, laws: pd.DataFrame | None, row: "pd.Series[Any]") -> dict[str, Any]:
    if laws is None:
        return {}
    own = laws[laws["along"] == row["along"]]
    fields = series_fields(fitted, own)
    place = ", ".join(style.value_text(name, row[name]) for name in fields)
    first = {"along": style.outcome_text(str(row["along"])), "boundary": row["boundary"]}
    return first | ({"series": place} if laws["along"].nunique() > 1 or fields else {})


def _three(value: float) -> str:
    return words.number(float(value), 3)


def origin(found: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Commit, versions and text of the tables, and the sessions that trained them, as `show` tells them."""
    names = {
        "ghostsweep": "ghostsweep",
        "git_commit": "commit",
        "engine_version": "engine",
        "spec_sha256": "sweep text",
    }
    meta = found.meta
    first = {shown: str(meta[name])[:16] for name, shown in names.items() if name in meta}
    own = meta.get("code")
    for reference, code in own.items() if isinstance(own, dict) else ():
        first[f"code of {reference}"] = str(code.get("digest", ""))[:16] if isinstance(code, dict) else ""
    given = meta.get("sessions")
    sessions = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    rows = [
        {
            "began": str(each.get("started", ""))[:16].replace("T", " "),
            "runs trained": each.get("runs_trained", ""),
            "devices": _devices(each.get("devices")),
            "JAX": each.get("jax", ""),
            "seconds": round(sum(each.get(f"{part}_seconds") or 0 for part in ("compile", "run", "store")), 1),
        }
        for each in sessions
    ]
    return pd.DataFrame([first]), pd.DataFrame(rows)


def _devices(given: Any) -> str:
    counts = pd.Series([str(each) for each in given] if isinstance(given, list) else [], dtype=object).value_counts()
    return ", ".join(f"{n} × {name}" if n > 1 else str(name) for name, n in counts.items())


def shares_text(found: Cells) -> str:
    """Of all cells in how many most seeds have which outcome, the most frequent first."""
    counts = found.table["majority"].value_counts()
    told = [f"{style.outcome_text(str(name))} {n:,}" for name, n in counts.items() if n]
    return words.listed(told)
