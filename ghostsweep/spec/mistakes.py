"""Mistakes in words, the same for sweep files and for Python: what is wrong, and the names that may have been meant."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

MAX_NAMES = 3
"""Names that are suggested for one that there is not."""
MAX_LISTED = 10
"""Names that are listed where none is near."""
FIELDS_COMMAND = "`ghostsweep fields` lists all"
_RATE, _UNITS, _LENGTH, _SCALE = ("learning_rate",), ("n_units",), ("epochs",), ("timescale", "delay_ms")
USUAL: dict[str, tuple[str, ...]] = {
    "lr": _RATE,
    "eta": _RATE,
    "alpha": _RATE,
    "step_size": _RATE,
    "rate": _RATE,
    "n": _UNITS,
    "hidden": _UNITS,
    "hidden_size": _UNITS,
    "hidden_dim": _UNITS,
    "n_hidden": _UNITS,
    "n_neurons": _UNITS,
    "neurons": _UNITS,
    "units": _UNITS,
    "num_units": _UNITS,
    "width": _UNITS,
    "k": ("rank",),
    "r": ("rank",),
    "t": _SCALE,
    "delay": ("delay_ms", "timescale"),
    "delay_ms": _SCALE,
    "timescale": ("delay_ms",),
    "time_scale": _SCALE,
    "horizon": _SCALE,
    "duration": _SCALE,
    "stimulus_ms": ("input_ms",),
    "cue_ms": ("input_ms",),
    "response_ms": ("reaction_ms",),
    "gain": ("confidence",),
    "c": ("confidence",),
    "temperature": ("confidence",),
    "beta": ("confidence", "beta1", "beta2"),
    "seeds": ("seed",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "n_seeds": ("seed",),
    "n_epochs": _LENGTH,
    "num_epochs": _LENGTH,
    "iterations": _LENGTH,
    "n_iter": _LENGTH,
    "steps": _LENGTH,
    "n_steps": _LENGTH,
    "updates": _LENGTH,
    "opt": ("optimizer",),
    "algorithm": ("optimizer",),
    "scheduler": ("schedule",),
    "lr_schedule": ("schedule",),
    "warmup": ("warmup_epochs",),
    "final_lr": ("final_learning_rate",),
    "wd": ("weight_decay",),
    "l2": ("weight_decay",),
    "clip": ("clip_norm",),
    "grad_clip": ("clip_norm",),
    "eps": ("epsilon",),
    "dt": ("dt_ms", "dt_steps"),
    "tau": ("tau_ms",),
    "noise": ("noise_sigma", "r0_sigma"),
    "sigma": ("noise_sigma", "r0_sigma"),
    "batch_size": ("trials_per_class",),
    "batch": ("trials_per_class",),
    "trials": ("trials_per_class",),
    "precision": ("dtype",),
    "network": ("model",),
    "architecture": ("model",),
    "arch": ("model",),
}
"""What the field elsewhere calls what runs have, in small letters; of several names those that the run has."""


class Mistake(NamedTuple):
    """One mistake: what was found and is allowed; found None: it is missing; `said` in place of both.

    choice: the field (optimizer, say) by whose value there is no such field. meant: what the name may have meant.
    """

    name: str
    found: Any
    allowed: str
    near: str = ""
    said: str = ""
    choice: str = ""
    meant: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Without the name."""
        if self.said:
            return f"{self.said}{self.near}"
        if self.found is None:
            return f"missing; {self.allowed}{self.near}"
        return f"found {written(self.found)}; allowed: {self.allowed}{self.near}"


def nearest(name: str, names: Collection[str], likely: Collection[str] = ()) -> tuple[str, ...]:
    """What a name may have meant, at most three of `names`: of those the `likely` ones, if one is among them."""
    usual = [each for each in USUAL.get(name.lower(), ()) if each in names]
    found = usual or difflib.get_close_matches(name, names, n=MAX_NAMES)
    return tuple([each for each in found if each in likely] or found)[:MAX_NAMES]


def unknown(name: str, names: Sequence[str], *, fields: bool, likely: Collection[str] = ()) -> Mistake:
    """The mistake of a name that there is not: of a field, or of a key of a small table."""
    meant = nearest(name, names, likely)
    asked = f"; did you mean {either(meant)}?" if meant else ""
    if fields:
        more = f"{' ' if meant else '; '}{FIELDS_COMMAND}"
    else:
        more = "" if meant or len(names) > MAX_LISTED else f"; allowed: {', '.join(names)}"
    return Mistake(name, name, "", f"{asked}{more}", f"no such {'field' if fields else 'key'}", meant=meant)


def either(names: Iterable[str]) -> str:
    """Names in words: 'a', 'b' or 'c'."""
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}" if first else last


def told(mistakes: Iterable[Mistake], where: str = "") -> str:
    """A line a mistake; what is missing because its name was mistyped is not said twice."""
    found = list(mistakes)
    meant = {name for mistake in found for name in mistake.meant}
    kept = [m for m in found if m.found is not None or m.name not in meant]
    return "\n".join(f"{where}{mistake.name}: {mistake.words}" for mistake in kept)


def written(found: Any) -> str:
    """A value as Python writes it; in words where that is more than Python writes."""
    try:
        return repr(found)
    except ValueError:  # its limit of digits, some thousands
        bits = f" of {found.bit_length():,} bits" if isinstance(found, int) else "s in it that are too long to print"
        return f"a whole number{bits}"
    except RecursionError:
        return "tables in tables without end"
