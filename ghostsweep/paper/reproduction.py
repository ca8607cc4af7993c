"""`reproduce`: the whole paper in one call, its figures and a table of what became of its claims."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.figures import naming
from ghostsweep.paper import catalog, searched
from ghostsweep.paper.claims import Claim, reduction
from ghostsweep.running import finding, lacking, sweeping
from ghostsweep.spec import Sweep, load
from ghostsweep.store import files, tables
from ghostsweep.store.reduced import has_reduction, read_reduction

SEARCHED = ("fig3", "fig4", "fig5")
"""Figures that search for the slow places of networks."""
CLAIMS = ("figure", "kind", "claim", "measured", "value", "low", "high", "p_value", "n_seeds", "verdict", "scale")


@dataclass
class Reproduced:
    """What `reproduce` made.

    figures: the files drawn. claims: a row per claim: figure, kind (claim, or check: what follows from a definition),
    claim, measured (in words), value (its one number) with low and high, its 95% interval, p_value, n_seeds, verdict
    (holds, does not hold, not decided), scale (paper, reduced or quick: that of the smallest sweep behind it). costs: a
    row per figure: seconds spent training and drawing here, and the peak memory of the process so far. failed: reasons
    by figure.
    """

    figures: list[Path] = field(default_factory=list)
    claims: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CLAIMS)))
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    failed: dict[str, str] = field(default_factory=dict)


def planned(
    names: Iterable[str] = (), *, quick: bool = False, sweeps: str | Path = finding.OWN
) -> dict[str, list[Sweep]]:
    """The sweeps behind figures of the paper (none named: all eight), by figure. Raises UsageError for other names."""
    chosen = list(dict.fromkeys(names)) or list(catalog.PAPER)
    known = catalog.every()
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(f"figure: found {', '.join(map(repr, unknown))}; allowed: {', '.join(known)}")
    wanted = {name: known[name].sweeps + known[name].also for name in chosen}
    return {name: [load(finding.find(s, sweeps), quick=quick) for s in wanted[name]] for name in chosen}


def reproduce(
    names: Iterable[str] = (),
    *,
    quick: bool = False,
    from_results: bool = False,
    out: str | Path = "results",
    to: str | Path = "figures",
    sweeps: str | Path = finding.OWN,
    train: Callable[[Sweep], Any] | None = None,
    keep: bool = False,
) -> Reproduced:
    """Draw figures of the paper (none named: all eight) from runs trained here, and test the claims they support.

    Trains what is missing, at the paper's scale or, with `quick`, at a reduced one that each figure states; with
    `from_results` nothing is trained, and the best results there are drawn. Figures go to `to` as PNG and PDF, claims
    to `to`/claims.csv and claims.md, with those of other figures from earlier calls. A figure that cannot be drawn is
    in `failed`, and the others are drawn. An interrupted call goes on where it was. `train` replaces `sweeping.run`, to
    show progress. With `keep` what Figs. 3 to 5 search for in networks is kept in the result folders, and taken from
    there by later calls. Raises UsageError for names that are no figures.
    """
    train = train or (lambda sweep: sweeping.run(sweep, out=out))
    work = planned(names, quick=quick, sweeps=sweeps)
    made, costs = Reproduced(), []
    for name, needed in work.items():
        began = time.perf_counter()
        try:
            if not from_results:
                for sweep in needed:
                    train(sweep)
            trained = time.perf_counter()
            found = [
                catalog.read(sweep.name.removesuffix("-quick"), out) if from_results else tables.read(sweep.name, out)
                for sweep in needed
            ]
            plan = catalog.every()[name]
            for each in found if keep and name in SEARCHED else ():
                searched.keep(each.runs, each.snapshots, each.folder)
            lacks = [lacking.lacks(each, sweeps) for each in found[: len(plan.sweeps)]]
            notes = [naming.shortfall(*told) if told else "" for told in lacks]
            made.figures += catalog.draw(name, found, to, notes)
            made.claims = pd.concat([made.claims.astype(object), judged(plan, found)])
        except UsageError as error:
            made.failed[name] = str(error)
            continue
        seconds = {"training_s": trained - began, "drawing_s": time.perf_counter() - trained}
        costs.append({"figure": name} | seconds | {"peak_memory_mb": _peak_memory_mb()})
    made.claims = made.claims.infer_objects().reset_index(drop=True)
    made.costs = pd.DataFrame(costs)
    _write(made.claims, Path(to))
    return made


def claims(out: str | Path = "results") -> pd.DataFrame:
    """The claims of all figures judged from the best results there are, as `Reproduced.claims`; draws nothing.

    Then those of the reduction to the canonical form and of the companion paper, where their results are kept. Raises
    UsageError where a figure has none.
    """
    found = [
        judged(plan, [catalog.read(name, out) for name in plan.sweeps + plan.also]) for plan in catalog.PAPER.values()
    ]
    if all(has_reduction(Path(out) / name) for name in catalog.REDUCED):
        found.append(_judged(_reduction(Path(out)), []))
    for plan in catalog.COMPANION.values():
        with contextlib.suppress(UsageError):  # where there are none
            found.append(judged(plan, [catalog.read(sweep, out) for sweep in plan.sweeps + plan.also]))
    return pd.concat(found, ignore_index=True).infer_objects()


def _reduction(out: Path) -> list[Claim]:
    slow, many = (read_reduction(out / name) for name in catalog.REDUCED)
    return reduction(slow, many, tables.read(catalog.RATES, out).runs)


def judged(plan: catalog.PaperFigure, found: list[tables.Tables]) -> pd.DataFrame:
    """The claims of a figure, judged from the tables of all its sweeps, as `Reproduced.claims`."""
    return _judged(plan.claims(*found), found)


def _judged(claims: list[Claim], found: list[tables.Tables]) -> pd.DataFrame:
    rows = [
        claim._asdict()
        | {"verdict": claim.verdict}
        | {"scale": _scale(found if claim.tables is None else [found[i] for i in claim.tables])}
        for claim in claims
    ]
    return pd.DataFrame(rows, columns=list(CLAIMS)).astype(object)


def _scale(found: list[tables.Tables]) -> str:
    names = [each.name for each in found]
    if any(name.endswith("-quick") for name in names):
        return "quick"
    return "reduced" if any(name.endswith("_reduced") for name in names) else "paper"


def _write(claims: pd.DataFrame, to: Path) -> None:
    """Write the table of claims, in the place of earlier rows of the same figures."""
    path = to / "claims.csv"
    to.mkdir(parents=True, exist_ok=True)
    try:
        before = pd.read_csv(path)
        claims = pd.concat([before[~before["figure"].isin(claims["figure"])], claims]).sort_values("figure")
    except (OSError, ValueError, KeyError):
        pass
    files.write(path, lambda file: file.write(claims.to_csv(index=False).encode()))
    files.write(to / "claims.md", lambda file: file.write((claims_text(claims) + "\n").encode()))


def claims_text(claims: pd.DataFrame) -> str:
    """The claims in Markdown, a section a figure, a line a claim: whether it holds, and what was measured."""
    parts = []
    for figure, rows in claims.groupby("figure", sort=False):
        name = str(figure)
        titles = {"reduction": "The reduction to the canonical form", "companion": "The companion paper"}
        title = titles.get(name, f"Figure {name.removeprefix('fig')}")
        lines = [f"### {title}", ""]
        for row in rows.itertuples(index=False):
            check = " (a check)" if row.kind == "check" else ""
            scale = "" if row.scale == "paper" else f" At {row.scale} scale."
            lines.append(f"- **{row.verdict}**{check}: {row.claim}. *{row.measured}.*{scale}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
