"""The mistakes of a sweep file, collected so that all of them are reported at once."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from ghostsweep.errors import UsageError
from ghostsweep.machine.terminal import visible
from ghostsweep.spec import mistakes
from ghostsweep.spec.lines import lines_of
from ghostsweep.spec.mistakes import Mistake
from ghostsweep.spec.parts import PHASE_FIELDS, every_field, given_fields
from ghostsweep.spec.run import check
from ghostsweep.spec.strict import Wrong

MAX_LINES = 20
"""Mistakes that are written out."""
MAX_DEPTH = 12
"""Tables and lists within each other; a sweep has up to five."""


class _Nothing:
    """A value that no field allows."""


class Problems:
    """Collects every mistake of a file as a line of its own: the file, its line, the key, and what is wrong."""

    def __init__(self, source: str, text: str = "") -> None:
        self.source = source
        self.text = text
        self.lines: list[str] = []
        self.likely: Collection[str] = ()
        """Fields of runs like those of the file, where it says what they are."""
        self._doubts: list[str] = []
        self._meant: set[str] = set()
        self._checked: set[str] = set()

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return lines_of(self.text)

    def at(self, key: str) -> str:
        """Where a key stands: the file, and the line where it is known."""
        names = (key, re.sub(r"(phases\[\d+\])\.", r"\1.axes.", key))
        line = next((self._places[name] for name in names if name in self._places), None)
        return f"{self.source}, line {line}" if line else self.source

    def say(self, key: str, sentence: str) -> None:
        """Say what is wrong with a key."""
        line = visible(f"{self.at(key)}: {_cut(key)}: {sentence}")
        if line not in self.lines:
            self.lines.append(line)

    def add(self, key: str, found: Any, allowed: str, nearest: str = "") -> None:
        self.say(key, f"found {_cut(mistakes.written(found))}; allowed: {allowed}{nearest}")

    def missing(self, key: str, allowed: str) -> None:
        """Say that a key is missing, unless it is there with its name mistyped."""
        if key.rpartition(".")[2] not in self._meant:
            self.say(key, f"missing; {allowed}")

    def doubt(self, key: str, sentence: str) -> None:
        """Keep what may be meant otherwise, for `warn`; of [quick] only what stands there."""
        if not key.startswith("quick") or key in self._places:
            self._doubts.append(visible(f"{self.at(key)}: {_cut(key)}: {sentence}"))

    def warn(self) -> None:
        """Warn of each doubt once."""
        for doubt in dict.fromkeys(self._doubts):
            warnings.warn(doubt, stacklevel=1)  # as from here, whoever reads the file: once a process

    def toml(self, error: Exception) -> None:
        """Say why the text is no TOML."""
        said = str(error)
        place = re.search(r" \(at line (\d+), column \d+\)$", said)
        where = f"{self.source}, line {place.group(1)}" if place else self.source
        self.lines.append(visible(f"{where}: not valid TOML: {_cut(said)}"))

    def error(self) -> UsageError:
        more = len(self.lines) - MAX_LINES
        said = [f"{self.source}: and {more} more mistakes"] if more > 0 else []
        return UsageError("\n".join(self.lines[:MAX_LINES] + said))

    def unknown(self, where: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
        """Say which keys of a table there are not, with the names that may have been meant."""
        for key in table:
            if key in allowed:
                continue
            place = f"{where}.{key}" if where else key
            fields = "learning_rate" in allowed
            mistake = mistakes.unknown(key, allowed, fields=fields, likely=self.likely)
            if fields and key in every_field():
                by = "the phases of a sweep decide it" if key in PHASE_FIELDS else "a later phase cannot change it"
                self.say(place, by)
            elif where == "quick" and key in ("run", "axes"):
                self.say(place, "no such table; what replaces fields of [run] and [axes] stands in [quick] itself")
            elif not where and not mistake.meant and mistakes.nearest(key, given_fields()):
                self.say(place, "no such table; fields stand in [run] or, with several values, in [axes]")
                self._meant |= {key}
            else:
                self.say(place, mistake.words)
            if not where.startswith("quick"):
                self._meant |= {*mistake.meant}

    def table(self, key: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.add(key, value, "a table of fields")
        return {}

    def tables(self, key: str, value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [self.table(f"{key}[{i}]" if len(value) > 1 else key, item) for i, item in enumerate(value)]
        self.add(key, value, "a list of tables")
        return []

    def plain(self, data: Mapping[str, Any]) -> None:
        """Refuse what no field takes and few programs can print: numbers beyond 64 bits, tables nested without end."""
        waiting: list[tuple[str, Any, int]] = [(key, value, 1) for key, value in data.items()]
        while waiting:  # not by recursion, which nesting would exhaust
            key, value, depth = waiting.pop()
            if type(value) is int and not -(2**63) <= value < 2**63:
                self.add(key, value, "whole numbers of at most 64 bits")
            elif isinstance(value, dict | list) and depth > MAX_DEPTH:
                self.say(key, f"found more tables and lists within each other; allowed: {MAX_DEPTH} deep")
            elif isinstance(value, dict):
                waiting += [(f"{key}.{name}", item, depth + 1) for name, item in value.items()]
            elif isinstance(value, list):
                waiting += [(key, item, depth + 1) for item in value]

    def model(self, cls: type[Any], key: str, data: Any) -> Any:
        """Validate `data` as a small model; None where that fails."""
        if not isinstance(data, dict):
            self.add(key, data, "a table with " + ", ".join(cls.model_fields))
            return None
        try:
            return cls(**data)
        except Wrong as wrong:
            for mistake in wrong.mistakes:
                self.say(".".join(filter(None, (key, mistake.name))), _short(mistake).words)
            return None

    def run(
        self,
        fields: Mapping[str, Any],
        where: str,
        here: Set[str],
        only: Set[str] | None,
        several: Set[str] = frozenset(),
    ) -> None:
        """Check one run of a grid: mistakes in the fields `only` (None: all), each under the table that holds the key.

        Fields in `here` stand in the table `where`, all others in [run]; null ones say something only where the run
        has the field and no default fills it. `several` are the axes of the grid. Of a key one mistake is said.
        """
        filled, wrong = check(fields)
        known = {mistake.name for mistake in wrong}
        for name in [name for name, value in fields.items() if value is None and name not in known]:
            if name not in filled or filled[name] is not None:
                _, said = check({**fields, name: _Nothing()})
                wrong += [mistake._replace(found="none") for mistake in said if mistake.name == name]
        for mistake in wrong:
            if only is None or mistake.name in only:
                self._mistake(mistake, where if mistake.name in here else "run", several)

    def _mistake(self, mistake: Mistake, table: str, several: Set[str]) -> None:
        name, found = mistake.name, mistake.found
        if found is None:
            self.missing(f"run.{name}", f"{mistake.allowed}, or an axis of such values")
            return
        if (key := f"{table}.{name}") in self._checked:
            return
        self._checked.add(key)
        near = mistake.near
        if table == "run" and isinstance(found, list | dict):
            near = "; several values belong in [axes]"
        if mistake.choice in several:
            near = f"; write [[axes]] twice, a table with what is of each {mistake.choice}"
        self.say(key, _short(mistake._replace(near=near)).words)


class _Said(str):
    """A text that is written as it is."""

    __repr__ = str.__str__


def _short(mistake: Mistake) -> Mistake:
    """A mistake whose value is not longer than a line holds."""
    return mistake if mistake.found is None else mistake._replace(found=_Said(_cut(mistakes.written(mistake.found))))


def _cut(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
