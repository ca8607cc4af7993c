"""What `plot` draws: a figure of the paper, or all that the tables of a sweep allow.

What draws is imported where it is called: Matplotlib is slow to import, and most commands draw nothing.
"""

from pathlib import Path

from ghostsweep.errors import UsageError
from ghostsweep.running import lacking
from ghostsweep.store import tables


def plot(
    name: str, *, out: str | Path = "results", to: str | Path = "figures", sweeps: str | Path = "sweeps"
) -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure a sweep's tables allow; return the files written.

    Figures say what results lack by the sweep's file below `sweeps`: runs that are missing, and what has changed.
    Pictures of the sweep that an earlier call drew and this one does not are removed. Raises UsageError where nothing
    can be drawn.
    """
    from ghostsweep.figures import gallery
    from ghostsweep.paper import catalog

    if name in catalog.PAPER:
        found = [catalog.read(sweep, out) for sweep in catalog.PAPER[name].sweeps]
        return catalog.draw(name, found, to, [lack(each, sweeps) for each in found])
    if Path(name).name in ("", ".."):  # what is drawn is named after it
        raise UsageError(f"plot: found {name!r}; allowed: the name of a sweep that has results, or a paper figure")
    read = tables.read(name, out)
    return gallery.draw(read, out=out, to=to, note=lack(read, sweeps))


def lack(found: tables.Tables, sweeps: str | Path = "sweeps") -> str:
    """What figures say of tables that are not whole or not of today; empty where there is nothing to say."""
    from ghostsweep.figures import naming

    told = lacking.lacks(found, sweeps)
    return naming.shortfall(*told) if told else ""


def drawable(out: str | Path = "results") -> list[str]:
    """What `plot` can draw from the results that are there: sweeps over learning rates, then paper figures."""
    from ghostsweep.paper import catalog

    names = []
    for name in tables.results(out):
        try:
            enough = tables.read(name, out).runs["learning_rate"].nunique() > 2
        except (UsageError, OSError):
            enough = True  # for `plot` to say what is wrong with it
        if enough:
            names.append(name)
    names += catalog.drawable(out)
    if not names:
        raise UsageError(f"{out}: found no results that can be drawn; allowed: after `ghostsweep run`")
    return names
