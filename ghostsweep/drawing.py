"""What `plot` draws: a figure of the paper, or all that the tables of a sweep allow.

What draws is imported where it is called: Matplotlib is slow to import, and most commands draw nothing.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ghostsweep.errors import UsageError
from ghostsweep.running import lacking, showing
from ghostsweep.spec import Run
from ghostsweep.spec.code import Code
from ghostsweep.store import columns, reduced, tables

MAX_NAME = 120
"""Characters of a name of a file."""


def plot(
    name: str, *, out: str | Path = "results", to: str | Path = "figures", sweeps: str | Path = "sweeps"
) -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure a sweep's tables allow; return the files written.

    Of networks of which snapshots are kept, ghosts are drawn too, where there are some (`figures.ghost_plot`).
    Figures say what results lack by the sweep's file below `sweeps`: runs that are missing, and what has changed.
    Pictures of the sweep that an earlier call drew and this one does not are removed. Raises UsageError where nothing
    can be drawn.
    """
    from ghostsweep.figures import gallery
    from ghostsweep.paper import catalog

    if name in catalog.every():
        found = [catalog.read(sweep, out) for sweep in catalog.every()[name].sweeps]
        return catalog.draw(name, found, to, [lack(each, sweeps) for each in found])
    if Path(name).name in ("", ".."):  # what is drawn is named after it
        raise UsageError(f"plot: found {name!r}; allowed: the name of a sweep that has results, or a paper figure")
    folder = Path(name) if Path(name).name != name else Path(out) / name
    if not tables.has_runs(folder) and reduced.has_reduction(folder):
        return gallery.draw_reduction(folder, to=to)
    read = tables.read(name, out)
    note = lack(read, sweeps)
    own = ghosts(read, to, note)
    try:
        return gallery.draw(read, out=out, to=to, note=note, also=own)
    except UsageError:
        if own:  # of a sweep of a single rate, say
            return own
        raise


MAX_NETWORKS = 200
"""Networks of which ghosts are drawn, spread over those kept."""


def ghosts(found: tables.Tables, to: str | Path, note: str = "") -> list[Path]:
    """Draw the ghosts of the networks kept, those of the longest passage with their flow; the files, none without any.

    None either without JAX, and of users' models, whose files are not executed to draw: `Tables.ghosts` does that.
    """
    if importlib.util.find_spec("jax") is None or Code.of_results(found.meta):
        return []
    there = tables.every_snapshot(found.folder)
    wanted = found.runs[found.runs["run_id"].isin(there)]
    if wanted.empty:
        return []
    from ghostsweep import figures
    from ghostsweep.dynamics import kept

    networks = []
    for _, row in wanted.iterrows():
        fields = Run.of({str(name): value for name, value in row.items()}).fields
        networks += kept.snapshots(row["run_id"], fields, there[row["run_id"]])
    some = networks[:: -(-len(networks) // MAX_NETWORKS)]
    try:
        table = kept.ghosts_of_all(some)[0]
    except UsageError:  # of a model without steps or without a task
        return []
    told = table[table["verdict"] == "ghost"] if len(table) else table
    if told.empty:
        return []
    flows = {}
    spread = told.drop_duplicates(["run_id", "epoch"]).iloc[:: -(-len(told) // figures.MAX_FLOWS)]
    for _, place in spread.head(figures.MAX_FLOWS).iterrows():
        (network,) = (one for one in some if (one.run_id, one.epoch) == (place["run_id"], place["epoch"]))
        seed = f", seed {network.fields['seed']}" if wanted["seed"].nunique() > 1 else ""
        named = f"epoch {place['epoch']:,}{seed}"
        flows[f"{named}, {network.run_id[:4]}" if named in flows else named] = kept.slow_flow(network, place)
    said = f"{len(told):,} ghosts of {len(some):,} of {len(networks):,} networks kept"
    title = f"{found.meta.get('title', found.name)}\n{said}"
    return figures.save(figures.ghost_plot(told, flows, title=title, note=note), Path(to) / f"{found.name}.ghosts")


def lack(found: tables.Tables, sweeps: str | Path = "sweeps") -> str:
    """What figures say of tables that are not whole or not of today; empty where there is nothing to say."""
    told = lacking.lacks(found, sweeps)
    if told is None:
        return ""
    from ghostsweep.figures import naming

    return naming.shortfall(*told)


def overlay(names: Sequence[str], *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw the runs of several sweeps as those of one, told apart by the fields in which they differ.

    A run that two of them have is drawn once. Returns the files written, named after all of them. Raises UsageError
    where they cannot be drawn so: paper figures, a pixel a run, criteria that differ, or more than a picture holds.
    """
    from ghostsweep.figures import gallery
    from ghostsweep.figures.dense import is_dense
    from ghostsweep.paper import catalog

    names = list(dict.fromkeys(names))
    if paper := [name for name in names if name in catalog.every()]:
        raise UsageError(f"--overlay: {' and '.join(paper)} cannot be overlaid, only sweeps")
    if len(names) < 2:
        raise UsageError(f"--overlay: found {' and '.join(names)}; allowed: two sweeps or more")
    every = [tables.read(name, out) for name in names]
    if pixels := [found.name for found in every if is_dense(found.runs)]:
        raise UsageError(f"--overlay: {' and '.join(pixels)} cannot be overlaid, with a pixel for each run")
    shares = {found.name: (found.meta.get("fit") or {}).get("share") for found in every}
    if len({*shares.values()}) > 1:
        said = ", ".join(f"{share} of {name}" for name, share in shares.items())
        raise UsageError(f"--overlay: their boundaries take different shares of seeds ({said}); draw them apart")
    try:
        joined = columns.together([tables.stored(found.folder, unplanned=False).runs for found in every])
    except (TypeError, ValueError) as error:
        raise UsageError(f"--overlay: {' and '.join(names)} have columns of different kinds: {error}") from None
    runs = columns.frame(joined)
    own = runs.drop_duplicates("run_id", ignore_index=True)
    own.attrs |= runs.attrs
    seen, curves = set[str](), []
    for found in every:
        curves.append(found.curves[~found.curves["run_id"].isin(seen)])
        seen |= {*found.runs["run_id"]}
    first = every[0]
    title = "+".join(found.name for found in every)
    if len(title) > MAX_NAME:
        title = f"{first.name}+{len(every) - 1}_others"
    said = " and ".join(str(found.meta.get("title", found.name)) for found in every)
    meta = {"title": said, "fit": first.meta.get("fit")}
    one = tables.Tables(title, own, pd.concat(curves, ignore_index=True), meta, first.folder)
    return gallery.draw(one, out=out, to=to)


def curves(run_ids: Sequence[str], *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw what the training of some runs went through, named by the fields in which they differ; return the files."""
    from ghostsweep import figures

    found = [showing.show(run_id, out=out) for run_id in dict.fromkeys(run_ids)]
    names = {name: None for one in found for name in one.fields}
    telling = [name for name in names if len({repr(one.fields.get(name)) for one in found}) > 1]
    parts = {}
    for one in found:
        said = [_said(name, one.fields[name]) for name in telling if one.fields.get(name) is not None]
        parts[", ".join(said) or one.run_id] = one.curve
    shared = [_said(name, value) for name, value in found[0].fields.items() if name not in telling]
    title = f"{found[0].sweep}\n{', '.join(shared)}"
    name = "_".join(one.run_id[:8] for one in found[:4]) + (f"_and_{len(found) - 4}" if len(found) > 4 else "")
    return figures.save(figures.learning_curves(parts, title=title), Path(to) / f"curves.{name}")


def _said(name: str, value: object) -> str:
    return f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"


def drawable(out: str | Path = "results") -> list[str]:
    """What `plot` can draw from the results that are there: sweeps over learning rates, then paper figures."""
    from ghostsweep.paper import catalog

    names = []
    for name in tables.results(out):
        try:
            enough = tables.read(name, out).runs["learning_rate"].nunique() > 2
        except (UsageError, OSError, MemoryError):
            enough = True  # for `plot` to say what is wrong with it
        if enough:
            names.append(name)
    names += catalog.drawable(out)
    if not names:
        raise UsageError(f"{out}: no results that can be drawn; `ghostsweep run` makes them")
    return names
