"""Reads sweep files: TOML in, frozen `Sweep` out, every mistake of a file reported at once."""

import itertools
import math
import re
import stat
import tomllib
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ghostsweep.errors import UsageError
from ghostsweep.machine.terminal import visible
from ghostsweep.models.rules import is_zero
from ghostsweep.spec.code import Code, is_reference
from ghostsweep.spec.code import read as read_code
from ghostsweep.spec.declaring import apart
from ghostsweep.spec.expressions import written_out
from ghostsweep.spec.initial import Initial, read_initial
from ghostsweep.spec.parts import CHOICES, every_field, every_part, given_fields, inherited, likely_fields
from ghostsweep.spec.phasing import OF_ZERO, continued_by, left_behind, override, scheduled
from ghostsweep.spec.problems import Problems
from ghostsweep.spec.recording import axis_values, check_record, has_value, read_record, values_of
from ghostsweep.spec.sweep import Fit, Grid, Phase, Record, Refine, Sweep

MAX_RUNS = 20_000_000
MAX_CONTINUED = 1_000_000
"""Runs of later phases, which are planned one by one."""
MAX_ROWS = 100_000_000
"""Rows of curves: 2 GB on disk, and about 25 GB of memory where they are put together."""
MAX_BYTES = 64_000_000
"""Size of a sweep file: axes of a million values written out are a third of it."""
RESERVED = ("all", "companion", *(f"fig{number}" for number in range(1, 9)))
"""What `plot` takes beside names of sweeps."""
DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")
"""Where a key of very many parts begins."""
MAX_CROSSED = 100_000
"""Combinations of values of fields that depend on each other, which are checked one by one."""


def load(path: str | Path, *, quick: bool = False, execute: bool = True) -> Sweep:
    """Read a sweep file.

    With `quick`, the file's [quick] table replaces fields, axes and records, and the name ends in `-quick`. Without
    `execute` users' own models and tasks are read and not executed, so that the fields of their runs are not checked.
    Raises UsageError that lists every mistake in the file.
    """
    path = Path(path)
    try:
        about = path.stat()  # first, since opening a pipe would wait for its other end
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(visible(f"{path}: cannot be read: no plain file; allowed: a file of TOML"))
        if about.st_size > MAX_BYTES:
            raise UsageError(visible(f"{path}: found {about.st_size} bytes; allowed: at most {MAX_BYTES}"))
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin files with a byte order mark
    except OSError as error:
        raise UsageError(visible(f"{path}: cannot be read: {error.strerror or error}")) from None
    except UnicodeDecodeError as error:
        raise UsageError(visible(f"{path}: is not UTF-8 text (byte {error.start}); allowed: TOML in UTF-8")) from None
    return loads(text, name=path.stem, source=str(path), folder=path.parent, quick=quick, execute=execute)


def loads(
    text: str,
    *,
    name: str,
    source: str = "<text>",
    folder: str | Path = ".",
    quick: bool = False,
    execute: bool = True,
) -> Sweep:
    """Read a sweep from TOML text, files that it names from `folder`; see `load`."""
    if DOTTED.search(text):  # whose tables in tables take memory by the square of their number
        said = "keys: found one of more than 100 parts with dots between; allowed: those of a sweep file"
        raise UsageError(visible(f"{source}: {said}"))
    problems = Problems(source, text)
    if not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        problems.say("file name", f"found {name}; allowed: letters, digits, _ and -")
    elif name.endswith("-quick"):
        problems.say("file name", f"{name} is taken: the results of another's --quick are in NAME-quick")
    elif name in RESERVED:
        problems.say("file name", f"{name} is taken: `plot` and `reproduce` mean something else by it")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML's alone: Python limits the digits of whole numbers
        problems.toml(error)
        raise problems.error() from None
    problems.plain(data)
    if problems.lines:  # what follows computes with the numbers
        raise problems.error()
    data, own = _own_parts(data, source, Path(folder), execute)
    problems.unknown("", data, ("title", "initial", "run", "axes", "phases", "record", "fit", "refine", "quick"))
    title = data.get("title", name)
    if not isinstance(title, str):
        problems.add("title", title, "a text")
    initial = read_initial(problems, data["initial"], Path(folder)) if "initial" in data else None
    shared = problems.table("run", data.get("run", {}))
    axes = data.get("axes", {})
    if axes == []:
        problems.add("axes", axes, "at least one table")
    tables = problems.tables("axes", axes if isinstance(axes, list) else [axes])
    where = [f"axes[{i}]" for i in range(len(tables))] if len(tables) > 1 else ["axes"]
    if own and not execute:
        return _outline(problems, data, name, title, text, own, quick)
    if clash := apart(each.part() for each in own):
        raise UsageError(visible(f"{source}: {clash}"))
    problems.likely = likely_fields(shared, *tables)
    problems.unknown("run", shared, given_fields())
    for place, table in (("run", shared), *zip(where, tables, strict=True)):
        if "schedule_anew" in table:
            problems.say(f"{place}.schedule_anew", "only a later phase has a schedule to begin anew")
    for place, table in zip(where, tables, strict=True):
        problems.unknown(place, table, given_fields())
    placed = zip(where, tables, strict=True)
    written = [(place, pair) for place, table in placed for pair in written_out(problems, shared, table, place)]
    grids = tuple(_grid(problems, *pair, place) for place, pair in written)
    record = read_record(problems, data.get("record", {}), "record")
    fit = problems.model(Fit, "fit", data.get("fit", {}))
    refine = problems.model(Refine, "refine", data["refine"]) if "refine" in data else None
    if refine is not None and data.get("phases"):
        problems.say("refine", "a sweep of several phases cannot be refined")
    if refine is not None and not all("learning_rate" in grid.axes for grid in grids):
        problems.say("refine", "only a sweep with learning_rate among its axes can be refined")
    given = problems.tables("phases", data.get("phases", []))
    phases: tuple[Phase, ...] = ()
    small = None
    if record is not None:
        check_record(problems, record, grids, "record")
        phases = _phases(problems, grids, record, given, "phases")
        small = _quick(problems, shared, tables, record, given, data.get("quick"))
    if problems.lines or record is None:
        raise problems.error()
    sweep = Sweep(name, title, _begun(grids, initial), phases, record, fit, refine, text, initial, own)
    _check_size(problems, sweep)
    if quick and small is None:
        problems.missing("quick", "a table of what --quick changes")
    elif quick and small is not None:
        sweep = replace(
            sweep,
            name=f"{name}-quick",
            title=f"{title} (quick)",
            grids=_begun(small[0], initial),
            phases=small[1],
            record=small[2],
        )
        _check_size(problems, sweep)
    if problems.lines:
        raise problems.error()
    problems.warn()
    return sweep


def _own_parts(
    data: dict[str, Any], source: str, folder: Path, execute: bool
) -> tuple[dict[str, Any], tuple[Code, ...]]:
    """The file with the names of users' models and tasks, in place of where they are, and what was read of them."""
    found: dict[tuple[str, str], Code] = {}

    def named(kind: str, value: Any) -> Any:
        if isinstance(value, list):
            return [named(kind, each) for each in value]
        if not is_reference(value):
            return value
        if (kind, value) not in found:
            try:
                found[kind, value] = read_code(kind, value, folder)
            except UsageError as error:
                raise UsageError(visible(f"{source}: {error}")) from None
        return found[kind, value].load() if execute else value

    def inside(table: Any) -> Any:
        if isinstance(table, list):
            return [inside(each) for each in table]
        if not isinstance(table, dict):
            return table
        return {key: named(key, value) if key in ("model", "task") else inside(value) for key, value in table.items()}

    tables = {key: inside(value) if key in ("run", "axes", "quick") else value for key, value in data.items()}
    return tables, tuple(found.values())


def _outline(
    problems: Problems, data: dict[str, Any], name: str, title: str, text: str, own: tuple[Code, ...], quick: bool
) -> Sweep:
    """A sweep of which nothing was executed: what its axes count, whatever their values may be."""

    def written(table: dict[str, Any], place: str) -> dict[str, Any]:
        return {key: axis_values(problems, f"{place}.{key}", value) for key, value in table.items()}

    def plain(table: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key not in ("axes", "record", "phases")}

    shared, axes = problems.table("run", data.get("run", {})), data.get("axes", {})
    change = problems.table("quick", data.get("quick", {})) if quick else {}
    grids = []
    for table in problems.tables("axes", axes if isinstance(axes, list) else [axes]):
        own_pairs = written_out(Problems(""), *override(shared, table, plain(change)), "axes")
        grids += [Grid(fields, written(own_axes, "axes")) for fields, own_axes in own_pairs]
    record = read_record(problems, data.get("record", {}), "record")
    fit = problems.model(Fit, "fit", data.get("fit", {}))
    refine = problems.model(Refine, "refine", data["refine"]) if "refine" in data else None
    if problems.lines or record is None:
        raise problems.error()
    phases: list[Phase] = []
    changes = problems.tables("quick.phases", change.get("phases", []))
    given = problems.tables("phases", data.get("phases", []))
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]] = itertools.zip_longest(given, changes, fillvalue={})
    for index, (table, other) in enumerate(pairs):
        fields, own_axes = override(plain(table), table.get("axes", {}), plain(other) | other.get("axes", {}))
        values = written(own_axes, f"phases[{index}].axes")
        before = phases[-1].grids if phases else tuple(grids)
        continued = tuple(Grid(*continued_by(grid, fields | values, values)) for grid in before)
        phases.append(Phase(tuple(values), continued, record))
    if problems.lines:
        raise problems.error()
    return Sweep(
        f"{name}-quick" if quick else name,
        title,
        tuple(grids),
        tuple(phases),
        record,
        fit,
        refine,
        text,
        code=own,
        executed=False,
    )


def _check_size(problems: Problems, sweep: Sweep) -> None:
    """Refuse sweeps whose later runs or whose tables no machine will hold; a refined one trains few of its runs."""
    if (continued := sweep.n_runs - sum(map(len, sweep.grids))) > MAX_CONTINUED:
        problems.say("phases", f"found {continued} runs in later phases; allowed: at most {MAX_CONTINUED}")
    elif sweep.refine is None and (rows := sweep.n_curve_rows) > MAX_ROWS:
        problems.say("record", f"found {rows} rows of curves, runs times recorded epochs; allowed: at most {MAX_ROWS}")


def _begun(grids: tuple[Grid, ...], initial: Initial | None) -> tuple[Grid, ...]:
    """The grids of a first phase that begins from given parameters."""
    if initial is None:
        return grids
    return tuple(Grid({**grid.shared, "parent": initial.run_id}, grid.axes) for grid in grids)


def _quick(
    problems: Problems,
    shared: dict[str, Any],
    tables: Sequence[dict[str, Any]],
    record: Record,
    phases: Sequence[dict[str, Any]],
    given: Any,
) -> tuple[tuple[Grid, ...], tuple[Phase, ...], Record] | None:
    """The grids, the phases and the record with the values of [quick] in place; None without such a table.

    Epochs of an inherited record that the shorter runs do not reach are left out, as are snapshots of runs that
    the smaller grid does not have.
    """
    if given is None:
        return None
    overrides = dict(problems.table("quick", given))
    own_record = overrides.pop("record", None)
    own_phases = problems.tables("quick.phases", overrides.pop("phases", []))
    if len(own_phases) > len(phases):
        problems.say("quick.phases", f"found {len(own_phases)} tables; allowed: one a phase, {len(phases)}")
    problems.unknown("quick", overrides, (*given_fields(), "record", "phases"))
    chosen = record if own_record is None else read_record(problems, own_record, "quick.record")
    # Mistakes in all else are reported for the full grid, unless a change made them.
    own = overrides.keys() if problems.lines else None
    written = [written_out(problems, *override(shared, table, overrides), "quick") for table in tables]
    grids = tuple(_grid(problems, *pair, "quick", own) for pairs in written for pair in pairs)
    if problems.lines or chosen is None:
        return None
    changed = []
    both: Iterable[tuple[dict[str, Any], dict[str, Any]]] = itertools.zip_longest(phases, own_phases, fillvalue={})
    for index, (table, change) in enumerate(both):
        own_axes = problems.table(f"quick.phases[{index}].axes", change.get("axes", {}))
        fields = {key: value for key, value in table.items() if key in every_field()}
        changes = {key: value for key, value in change.items() if key in every_field()} | own_axes
        new_fields, new_axes = override(fields, table.get("axes", {}), changes)
        changed.append(table | change | new_fields | {"axes": new_axes})
    chosen = _reached(chosen, grids)
    return grids, _phases(problems, grids, chosen, changed, "quick.phases"), chosen


def _reached(record: Record, grids: Sequence[Grid]) -> Record:
    """The record without epochs that the longest run does not reach, and without snapshots of nothing."""
    longest = max(max(values_of(grid, "epochs")) for grid in grids)
    snapshots = record.snapshots
    if snapshots is not None:
        epochs = tuple(e for e in snapshots.epochs if e <= longest)
        found = epochs and all(has_value(grids, name, v) for name, values in snapshots.runs.items() for v in values)
        snapshots = snapshots.model_copy(update={"epochs": epochs}) if found else None
    kept = tuple(e for e in record.epochs if e < longest)
    return record.model_copy(update={"epochs": kept, "snapshots": snapshots})


def _phases(
    problems: Problems, grids: tuple[Grid, ...], record: Record, given: Sequence[dict[str, Any]], where: str
) -> tuple[Phase, ...]:
    """Read the later phases; each inherits fields and axes of the one before, and the epochs to record."""
    result: list[Phase] = []
    behind = [0] * len(grids)  # epochs that the schedule of each has behind it
    plain, names, fixed = record.model_copy(update={"snapshots": None}), given_fields(), inherited()
    for index, table in enumerate(given):
        place = f"{where}[{index}]"
        axes = problems.table(f"{place}.axes", table.get("axes", {}))
        changes = {key: value for key, value in table.items() if key not in ("axes", "record")} | axes
        problems.unknown(place, changes, (*(name for name in names if name not in fixed), "axes", "record"))
        if "epochs" not in changes:
            problems.missing(f"{place}.epochs", "a whole number >= 1, the epochs of this phase")
        own = {key: value for key, value in changes.items() if key in names and key not in fixed}
        before = result[-1].grids if result else grids
        # As in [quick]: what a change of this phase makes of an inherited field is a mistake of this phase.
        only = own.keys() if problems.lines else None
        pairs = [scheduled(*continued_by(grid, own, axes), own) for grid in before]
        continued = tuple(_grid(problems, *pair, place, only) for pair in pairs)
        behind = [left_behind(*each) for each in zip(before, continued, behind, strict=True)]
        for grid, epochs in zip(continued, behind, strict=True):
            if is_zero({name: (values_of(grid, name) or [None])[0] for name in OF_ZERO}, epochs):
                problems.doubt(
                    f"{place}.epochs",
                    f"the learning rate is 0 throughout: the schedule goes on, and came to its end {epochs} epochs "
                    f"after it began; a schedule that the phase names (schedule = ...) begins anew",
                )
        if "confidence" not in own and any("train_confidence" in grid.axes for grid in continued):
            problems.missing(f"{place}.confidence", "a value, where train_confidence is an axis")
        chosen = read_record(problems, table["record"], f"{place}.record") if "record" in table else plain
        if chosen is None:
            break
        if "record" in table and where == "phases":
            check_record(problems, chosen, continued, f"{place}.record")
        result.append(Phase(tuple(axes), continued, chosen if problems.lines else _reached(chosen, continued)))
    return tuple(result)


def _grid(
    problems: Problems, shared: dict[str, Any], axes: dict[str, Any], where: str, only: Set[str] | None = None
) -> Grid:
    """Write out one grid and check every value on it, reporting mistakes in the fields `only`."""
    written: dict[str, list[Any]] = {}
    given = given_fields()

    def asked(key: str) -> bool:
        return only is None or key in only

    for key, value in axes.items():
        if key in given:  # others are reported by the caller, with the nearest name
            values = axis_values(problems if asked(key) else Problems(""), f"{where}.{key}", value)
            if key in shared and asked(key):
                problems.add(f"{where}.{key}", value, f"a field not given in [run] too (there: {shared[key]!r})")
            if values:
                written[key] = values
    known = {key: value for key, value in shared.items() if key in given}
    grid = Grid(known, written)
    if len(grid) > MAX_RUNS:
        problems.say(where, f"found a grid of {len(grid)} runs; allowed: at most {MAX_RUNS}")
    # Every combination of the fields that are checked against each other, then the other axes one value at a
    # time; of a list of plain numbers the extremes are enough, since their limits are ranges.
    first = {key: values[0] for key, values in written.items()}
    together = (*CHOICES, *(name for part in every_part() for name in part.together))
    together += tuple(key for key, values in written.items() if None in values and key not in together)
    crossed = [key for key in dict.fromkeys(together) if key in written]
    combos = itertools.product(*(written[key] for key in crossed))
    changes = [dict(zip(crossed, combo, strict=True)) for combo in itertools.islice(combos, MAX_CROSSED)]
    for key in written.keys() - set(crossed):
        changes += [{key: value} for value in _telling(written[key])]
    if math.prod(len(written[key]) for key in crossed) > MAX_CROSSED:  # then at least every value once
        changes += [{key: value} for key in crossed for value in written[key]]
    failed = axes.keys() - written.keys()
    several = {key for key, values in written.items() if len(values) > 1}
    for change in changes:
        here = change.keys() if where.startswith("axes") else set(given) if only is None else only
        elsewhere = written.keys() - change.keys()  # axes that another change checks
        names = set(every_field()) if only is None else only
        problems.run(known | first | change, where, here, names - failed - elsewhere, several)
        if len(problems.lines) >= 20:
            break
    return grid


def _telling(values: Sequence[Any]) -> Sequence[Any]:
    """The values whose check stands for the check of all of them."""
    if all(type(v) is int for v in values) or all(type(v) is float and np.isfinite(v) for v in values):
        return sorted({min(values), max(values)})
    return values
