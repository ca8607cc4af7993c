"""The look of every figure in one place: sizes, fonts, a colour per meaning, axis and label helpers, saving.

Nothing here changes matplotlib's global state: figures are built inside `rc()`, never registered with pyplot.
"""

import io
import itertools
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ghostsweep.errors import UsageError
from ghostsweep.store.columns import with_fields

Color = tuple[float, float, float, float]
"""Red, green, blue, opacity, each 0 to 1."""

ONE_COLUMN = 3.4  # inches
TWO_COLUMNS = 7.0  # inches

# Okabe & Ito's palette (safe for colour-blind readers), each of its eight colours used for one meaning.
QUANTITY_COLORS = {"loss": "#0072B2", "gradient": "#E69F00", "accuracy": "#CC79A7"}
# Five of that palette and a blue, a sand and a dark purple, apart from them and from each other also to colour-blind
# readers; black stays apart from every other outcome in grayscale too.
OUTCOME_COLORS = {
    "plateau": "#56B4E9",
    "learned": "#009E73",
    "oscillating": "#F0E442",
    "fallen_back": "#3355FF",
    "unstable": "#E0C275",
    "trapped": "#D55E00",
    "trapped_at_start": "#7B3294",
    "diverged": "#000000",
}
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # where colour tells series apart
OWN_COLORS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2")  # of a task's own outcomes, faded too
WORST_COLOR = "#3F3F3F"  # of the last of a task's own outcomes, the worst
MUTED = "#6E6E6E"  # reference lines and remarks, which carry no meaning of their own

_RC: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "figure.constrained_layout.use": True,
}

_NAMES = {
    "timescale": "timescale T",
    "learning_rate": "learning rate",
    "confidence": "output confidence c",
    "n_units": "units N",
    "r_start": "initial r",
    "r_start_sigma": "spread of initial r",
    "dt_ms": "time step",
    "tau_ms": "time constant",
    "rank": "rank K",
    "input_ms": "cue length",
    "delay_ms": "delay",
    "reaction_ms": "reaction time",
}
_SHORT = {"timescale": "T", "confidence": "c", "n_units": "N", "r_start": "initial r/r*"}
_UNITS = {
    **{"timescale": "steps", "dt_ms": "ms", "tau_ms": "ms", "r_start": "r*", "r_start_sigma": "r*"},
    **dict.fromkeys(("input_ms", "delay_ms", "reaction_ms"), "ms"),
}


@contextmanager
def rc() -> Iterator[None]:
    """Apply the style to whatever is drawn or saved inside the block, and to nothing after it."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's own matplotlibrc must not change a figure
        mpl.rcParams.update(_RC)
        yield


class Picture(Figure):
    """A figure that notebooks show where it is the value of a cell, though pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        with rc():
            self.savefig(data, format="png", dpi=150)
        return data.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """Return an empty figure of width x height inches, not registered with pyplot."""
    return Picture(figsize=(width, height), layout="constrained")


def save(fig: Figure, path: str | Path) -> list[Path]:
    """Write fig to path + ".png" (300 dpi) and path + ".pdf", each whole or not at all; return both.

    Figures of this package are not registered with pyplot: dropping the last reference frees them.
    """
    base = Path(path)
    base.parent.mkdir(parents=True, exist_ok=True)
    written = []
    layout = fig.get_layout_engine()
    with rc():
        for kind in ("png", "pdf"):
            target = base.with_name(f"{base.name}.{kind}")
            part = base.with_name(f".{base.name}.{os.getpid()}.part")
            try:
                # A fixed creation date: the same table gives the same bytes.
                fig.savefig(part, format=kind, dpi=300, metadata={"CreationDate": None} if kind == "pdf" else None)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
            fig.set_layout_engine("none")  # it has its places: to find them takes longer than to draw
            written.append(target)
    fig.set_layout_engine(layout)
    return written


def require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise UsageError unless table has rows and all of columns; what names the figure and the table."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UsageError(f"{what}: missing column(s) {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    if table.empty:
        raise UsageError(f"{what}: the table has no rows, so there is nothing to draw")


def require_runs(runs: pd.DataFrame, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Return a table of runs with all of columns, those null that are fields of none of its runs; else as `require`."""
    found = with_fields(runs, columns)
    require(found, columns, what)
    return found


def single_value(table: pd.DataFrame, column: str, what: str) -> Any:
    """Return the one value of column; UsageError if the table holds several or none."""
    values = table[column].dropna().unique()
    if len(values) != 1:
        raise UsageError(f"{what}: needs one value of {column}, found {sorted(values.tolist())[:6]}")
    return values[0]


def label(table: pd.DataFrame, field: str) -> str:
    """Return the axis label of a run field, its unit and symbol from table.attrs where those say."""
    unit = table.attrs.get("units", {}).get(field) or _UNITS.get(field, "")
    words = field.removesuffix(f"_{unit}").replace("_", " ")
    name = _NAMES.get(field) or plain(f"{words} {table.attrs.get('symbols', {}).get(field, '')}".strip())
    return f"{name} ({plain(unit)})" if unit not in ("", "1", "-") else name


def plain(text: str) -> str:
    """Text of a user for Matplotlib, in which $ begins no formula."""
    return text.replace("$", r"\$")


def value_text(field: str, value: Any) -> str:
    """Return "field = value" as it stands in panel titles and legends ("rank one" alone for a model)."""
    if isinstance(value, str):  # the name of a user's model or task ends in its version
        return value.split("@")[0].replace("_", " ")
    name = _SHORT.get(field, field.replace("_", " "))
    return f"{name} = {value:g}" if pd.notna(value) else f"no {name}"


def symbol(table: pd.DataFrame, field: str) -> str:
    """Return what stands for a field in a formula: its symbol from table.attrs, or else its name."""
    known = {"timescale": "T", "confidence": "c", "n_units": "N", "rank": "K"} | table.attrs.get("symbols", {})
    words = field.removesuffix(f"_{_UNITS.get(field, '')}").split("_")
    named = r"\mathrm{" + r"\ ".join(words) + "}"
    found = str(known.get(field) or named)
    try:
        MathTextParser("path").parse(f"${found}^{{1}}$")  # as it stands in laws
    except ValueError:  # a symbol as it stands in texts, which is no formula
        return named
    return named if "$" in found else found


def outcome_colors(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each outcome: a name of the usual ones has its own, others of a task by their order.

    More than five others share colours.
    """
    if set(names) <= set(OUTCOME_COLORS):
        return {name: OUTCOME_COLORS[name] for name in OUTCOME_COLORS if name in names}
    usual = {name: OUTCOME_COLORS[name] for name in names if name in OUTCOME_COLORS}
    free = itertools.cycle(color for color in OWN_COLORS if color not in usual.values())
    own = {name: next(free) for name in names[:-1] if name not in usual}
    return {name: (own | usual).get(name, WORST_COLOR) for name in names}


def outcome_text(outcome: str) -> str:
    """Return an outcome as it stands in legends: trapped_at_start as "trapped at start"."""
    return outcome.replace("_", " ")


def sci(value: float, digits: int = 3, powers: bool = False) -> str:
    """Return value as text for matplotlib, with a power of ten outside 1e-3..1e4 or, if powers, always."""
    if value == 0 or not np.isfinite(value) or (1e-3 <= abs(value) < 1e4 and not powers):
        return f"{value:.{digits}g}"
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    front = "" if mantissa == "1" else rf"{mantissa}\times "
    return rf"${front}10^{{{int(power)}}}$"


def epoch_text(epoch: int) -> str:
    """Return an epoch for a legend: 10000 as "10k", 1234 as "1,234"."""
    return f"{epoch // 1000}k" if epoch >= 1000 and epoch % 1000 == 0 else f"{epoch:,}"


def ordered_colors(values: Sequence[float]) -> dict[float, Color]:
    """Return a viridis colour per distinct value, dark for the smallest (the palest yellow is left out)."""
    ordered = sorted(set(values))
    shades = np.array([0.3]) if len(ordered) == 1 else np.linspace(0.0, 0.88, len(ordered))
    return {value: mpl.colormaps["viridis"](float(shade)) for value, shade in zip(ordered, shades, strict=True)}


def panel_letter(ax: Axes, letter: str, x: float = 0.0) -> None:
    """Write a bold panel letter above the axes' upper left corner, moved by x of its width."""
    ax.set_title(letter, loc="left", x=x, fontweight="bold", fontsize=9)


def log_axis(axis: XAxis | YAxis, low: float, high: float) -> None:
    """Make axis logarithmic over low..high, labelling 1-2-5 steps where whole decades would be too few."""
    ax = axis.axes
    if isinstance(axis, XAxis):
        ax.set_xscale("log")
        ax.set_xlim(low, high)
    else:
        ax.set_yscale("log")
        ax.set_ylim(low, high)
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    decades = [10.0**k for k in exponents if low <= 10.0**k <= high]
    if len(decades) >= 2 and high / low > 30:
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(LogLocator(subs="auto", numticks=30))
    else:
        steps = (1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
        axis.set_major_locator(FixedLocator([t for k in exponents for m in steps if low <= (t := m * 10.0**k) <= high]))
        axis.set_minor_locator(NullLocator())
    plain = low >= 9e-3 and high <= 2e4  # one notation along the axis
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value) if plain else sci(value, powers=True)))


def _plain(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"


def is_log(values: np.ndarray) -> bool:
    """Say whether values call for a logarithmic axis: all positive and spanning a factor of five or more."""
    return bool(values.min() > 0 and values.max() / values.min() >= 5)


def remark(fig: Figure, lines: Sequence[str]) -> None:
    """Write small print under the figure (what was left out, how to read it), wrapped to its width."""
    if lines:
        width = int(fig.get_figwidth() * 17)
        text = "\n".join(textwrap.fill(line, width) for line in lines)
        fig.supxlabel(text, fontsize=7, color=MUTED, x=0.01, ha="left")


def remark_more(fig: Figure, lines: Sequence[str]) -> None:
    """Add to the small print under a figure."""
    if lines:
        said = fig.get_supxlabel()
        remark(fig, [*said.split("\n"), *lines] if said else lines)


def scale(tables: Any, where: str) -> str:
    """Return the remark what panel or panels `where` were drawn from: runs, epochs, seeds, and if reduced."""
    runs = tables.runs
    seeds = runs["seed"].nunique()
    lengths = sorted(runs["epochs"].unique())
    epochs = " + ".join(f"{length:,}" for length in lengths[:3]) + (" ..." if len(lengths) > 3 else "")
    text = f"{where}: {len(runs):,} run{'s' * (len(runs) > 1)} of {epochs} epochs, {seeds} seed{'s' * (seeds > 1)}"
    reduced = tables.name.endswith(("-quick", "_reduced"))
    return f"{text}; reduced, {tables.meta.get('title', tables.name)}." if reduced else f"{text}."


def left_out(count: int, total: int, why: str, where: str = "") -> list[str]:
    """Return the remark that count of total runs are not drawn (in panel where), or nothing if all are."""
    return [f"{where + ': left' if where else 'Left'} out {count} of {total} runs ({why})."] if count else []
