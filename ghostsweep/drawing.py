"""What `plot` draws: a figure of the paper, or all that the tables of a sweep allow.

What draws is imported where it is called: Matplotlib is slow to import, and most commands draw nothing.
"""

from pathlib import Path

from ghostsweep.errors import UsageError
from ghostsweep.store import tables


def plot(name: str, *, out: str | Path = "results", to: str | Path = "figures") -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure a sweep's tables allow; return the files written.

    Raises UsageError where nothing can be drawn.
    """
    from ghostsweep.figures import gallery
    from ghostsweep.paper import catalog

    if name in catalog.PAPER:
        return catalog.draw(name, out, to)
    if Path(name).name in ("", ".."):  # what is drawn is named after it
        raise UsageError(f"plot: found {name!r}; allowed: the name of a sweep that has results, or a paper figure")
    return gallery.draw(name, out=out, to=to)


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
        raise UsageError(f"{out}: no results that can be drawn; `ghostsweep run` makes them")
    return names
