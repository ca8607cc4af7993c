"""How figures call what they show: what a table is of, what tells its parts apart, and words as positions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ghostsweep.figures import style
from ghostsweep.spec import CHOICES


def head(title: str, table: pd.DataFrame) -> tuple[str, str]:
    """The title of a figure and the line beneath it: further lines of the title or else what the table is of."""
    first, _, rest = title.partition("\n")
    return first, rest or about(table)


def about(table: pd.DataFrame) -> str:
    """What a table of runs or of cells is of, as far as its columns tell: model, task, epochs, number of seeds."""
    parts = []
    for kind in ("model", "task"):
        values = table[kind].dropna().unique().tolist() if kind in table else []
        words = [value_text(table, kind, value) for value in values]
        parts += [" and ".join(words) if len(words) < 3 else f"{len(words)} {kind}s"] if words else []
    epochs = table["epochs"].dropna() if "epochs" in table else pd.Series(dtype=int)
    if len(epochs):
        ends = [f"{int(end):,}" for end in (epochs.min(), epochs.max())]
        parts.append(f"{'–'.join(dict.fromkeys(ends))} epochs")
    seeds = int(table["seed"].nunique() if "seed" in table else table["n_seeds"].max() if "n_seeds" in table else 0)
    if seeds:
        parts.append(f"{seeds} seed{'s' * (seeds > 1)}")
    return ", ".join(parts)


def telling(table: pd.DataFrame, keys: Sequence[str], row: "pd.Series[Any]") -> list[str]:
    """Of the fields `keys`, those that tell a row from the others of its table.

    These are choices, as of an optimizer, and what varies among rows alike in their choices: what a choice alone
    decides, as Adam its beta1, is not named beside it.
    """
    chosen: list[str] = []
    for kind in (kind for kind in CHOICES if kind in keys):
        counts = table.groupby(chosen, dropna=False)[kind].nunique(dropna=False) if chosen else table[kind].nunique()
        if (pd.Series(counts) > 1).any():
            chosen.append(kind)
    alike = table
    for kind in chosen:
        alike = alike[alike[kind].isna() if pd.isna(row[kind]) else alike[kind] == row[kind]]
    others = [key for key in keys if key not in CHOICES and alike[key].nunique(dropna=False) > 1]
    return [key for key in keys if key in chosen or key in others]


def name_of(table: pd.DataFrame, keys: Sequence[str], row: "pd.Series[Any]") -> str:
    """What tells a row from the others of its table, in words."""
    return ", ".join(value_text(table, key, row[key]) for key in telling(table, keys, row))


def value_text(table: pd.DataFrame, field: str, value: Any, among: Iterable[Any] = ()) -> str:
    """As `style.value_text`, for Matplotlib; with the version of a user's model or task where another has its name.

    among: the values that there are, by default those in the table.
    """
    said = style.plain(style.value_text(field, value))
    if not isinstance(value, str) or "@" not in value:
        return said
    own, _, version = value.partition("@")
    others = among or (table[field].dropna().unique() if field in table else ())
    alike = any(str(other).partition("@")[0] == own for other in others if other != value)
    return f"{said} {style.plain(version)}" if alike else said


def are_words(column: "pd.Series[Any]") -> bool:
    """Whether a field has no numbers for values, so that an axis of it has positions."""
    return bool(not is_numeric_dtype(column) or is_bool_dtype(column))


def positions(column: "pd.Series[Any]") -> dict[Any, float]:
    """A position for every value of a field of words, 1, 2, ... in the order of the table."""
    return {value: float(i) for i, value in enumerate(column.dropna().unique().tolist(), 1)}


def put(table: pd.DataFrame, field: str, at: dict[Any, float]) -> pd.DataFrame:
    """A table with the positions of a field of words in place of its values."""
    return table.assign(**{field: table[field].map(at).astype(float)})


def shortfall(runs: int, planned: int, missing: Mapping[str, tuple[Sequence[Any], int]], changed: Sequence[str]) -> str:
    """What a figure of results says that are not whole or not of today, as "104 of 416 runs; T = 10, 20 missing".

    missing: fields of which planned values are in no run, with these and how many are planned. changed: what is not as
    it was.
    """
    parts = [] if runs == planned else [f"{runs:,} of {planned:,} runs" if planned else f"{runs:,} runs, unfinished"]
    lacking = []
    for field, (values, total) in missing.items():
        if field in ("learning_rate", "seed"):
            lacking.append(f"{len(values)} of {total} {field.replace('_', ' ')}s")
            continue
        shown = [style.value_text(field, values[0]), *(_plain(value) for value in values[1:6])]
        more = f" and {len(values) - 6} more" if len(values) > 6 else ""
        lacking.append(", ".join(shown) + more)
    parts += [f"{', '.join(lacking)} missing"] if lacking else []
    for words in changed:
        said = words.partition(": ")[0]
        parts.append(f"{said} since" if "changed" in said else said)
    return "; ".join(parts)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value).replace("_", " ")
