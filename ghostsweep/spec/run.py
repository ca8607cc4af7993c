"""One training run: its fields, which are also columns of the result tables, and its identity.

The fields of a run are those below, and those that its model, its task, its optimizer and its schedule declare.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from ghostsweep.declare.field import Field, is_null
from ghostsweep.declare.model import Model, Rule, Task
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import registry
from ghostsweep.spec import code, declaring
from ghostsweep.spec.mistakes import USUAL, Mistake, either, told, unknown
from ghostsweep.spec.parts import PHASE_FIELDS, Parts, every_field, fields_of, given_fields, known_parts, parts_of

ENGINE_VERSION = 1
"""Raised by hand when the numbers of unchanged runs of all models change; part of every run id."""
EXACT = 2**53
"""Whole numbers up to which are floats too."""
_NEVER_TRACED = {"model", "task", *PHASE_FIELDS, "seed", "epochs"}
"""The seed becomes a key, the epochs a loop bound; where a task keeps a tally that is told them, a number too."""


def check(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mistake]]:
    """The fields of a run with every default filled in, and what is wrong with them."""
    values = {name: value for name, value in given.items() if value is not None}
    wrong = list(_choices(values))
    bad = {mistake.name for mistake in wrong}
    try:
        found = parts_of({name: value for name, value in values.items() if name not in bad})
    except KeyError:
        known = every_field()
        return values, [*wrong, *(unknown(name, given_fields(), fields=True) for name in values if name not in known)]
    fields = found.fields
    if clash := declaring.apart(part for part in (found.model, found.task) if part):
        wrong.append(Mistake(clash.partition(" ")[0], "", "", said=clash))
    for name in [name for name in values if name not in fields and name not in bad]:
        wrong.append(_not_here(name, given[name], found))
        bad.add(name)
    filled: dict[str, Any] = {}
    elsewhere = set[str]()  # of a task that the model cannot do
    if found.task is not None and not serves(found.model, found.task):
        wrong.append(Mistake("task", found.task.name, _can_do(found.model, found.task)))
        elsewhere = {field.name for field in found.task.fields}
        bad |= {"task", *elsewhere}
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            filled[name] = None if field.begins and _goes_on(field, values) else field.default
            if field.required and name not in bad and name not in elsewhere:
                wrong.append(Mistake(name, None, field.allowed))
                bad.add(name)
        else:
            try:
                filled[name] = field.read(value)
            except (ValueError, TypeError):
                if name not in bad:
                    wrong.append(Mistake(name, value, field.allowed, field.near(value)))
                bad.add(name)
    for name, value in filled.items():
        own = type(value) is int and fields[name].traced and name not in _NEVER_TRACED | {"seed", "first_epoch"}
        if own and filled.get("dtype") != "float64" and abs(value) >= 2**31 and name not in bad:
            bad.add(name)
            wrong.append(Mistake(name, value, f"a whole number below {2**31} in float32; float64 has larger ones"))
    wrong += [m._replace(found=given.get(m.name, m.found)) for m in _together(found, filled, bad)]
    return filled, wrong


def _goes_on(field: Field, values: Mapping[str, Any]) -> bool:
    """Whether a parameter that the field begins goes on from an earlier phase, where it is trained."""
    return bool(values.get("parent") and values.get(f"train_{field.name}"))


def _choices(values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Models, tasks and rules that there are not."""
    for name, options in known_parts().items():
        field = Field(name, "", kind=str, options=tuple(options))
        value = values.get(name)
        if value is None and name == "model":
            yield Mistake(name, None, field.allowed)
        elif value is not None and (not isinstance(value, str) or value not in options):
            yield Mistake(name, value, field.allowed, field.near(value))


def _not_here(name: str, value: Any, found: Parts) -> Mistake:
    """The mistake of a field that a run does not have."""
    if name == "task":
        return Mistake(name, value, "", said=f"model {found.model.name!r} has no task", choice="model")
    own = {"task": found.task, "optimizer": found.rules[0], "schedule": found.rules[1], "model": found.model}
    for kind, part in own.items():
        if part and any(field.name == name for other in known_parts()[kind].values() for field in other.fields):
            meant = [each for each in USUAL.get(name, ()) if each in found.fields]
            near = f"; did you mean {either(meant)}?" if meant else ""
            return Mistake(name, value, "", near, f"{kind} {part.name!r} has no such field", kind, tuple(meant))
    return unknown(name, given_fields(), fields=True, likely=found.fields)


def serves(model: Model, task: Task) -> bool:
    """Whether a model can do a task: written for it, or with steps or outputs for as many channels.

    One that evaluates by hand, at sizes of its own, takes its steps in the tasks that it is written for alone.
    """
    steps = model.step is not None and not (model.evaluate and model.sizes)
    fits = all(mine in (None, its) for mine, its in zip(model.channels, task.channels, strict=True))
    return task.name in model.tasks or ((model.outputs is not None or steps) and fits)


def _can_do(model: Model, task: Task) -> str:
    mine = [other.name for other in registry.tasks().values() if serves(model, other)]
    able = [other.name for other in registry.models().values() if not other.loss and serves(other, task)]
    return f"{' or '.join(map(repr, mine))} for model {model.name!r}; {task.name} needs one of {', '.join(able)}"


def _together(found: Parts, filled: Mapping[str, Any], bad: set[str]) -> Iterator[Mistake]:
    """What each part says of values that are allowed one by one; where some are not, it may have nothing to say."""
    for field in found.task.fields if found.task else ():
        if field.noise and field.name not in (*found.model.noise, *bad) and filled[field.name]:
            bad.add(field.name)
            yield Mistake(field.name, filled[field.name], f"0: model {found.model.name!r} draws no such noise")
    parts: list[Model | Task | Rule] = [found.model, *found.rules]
    if found.task is not None and found.model.sizes is None:
        parts.insert(1, found.task)
    for part in parts:
        try:
            for name, allowed in part.check(_Known(filled, bad)):
                if name not in bad:
                    bad.add(name)
                    yield Mistake(name, filled[name], allowed)
        except _Unknown:
            continue


class _Unknown(Exception):
    pass


class _Known(dict[str, Any]):
    """Values that are allowed; asking for another ends the check."""

    def __init__(self, values: Mapping[str, Any], bad: set[str]) -> None:
        super().__init__((name, value) for name, value in values.items() if name not in bad)
        self.bad = bad

    def __missing__(self, name: str) -> Any:
        raise _Unknown


class Run:
    """One training run, checked and with every default filled in: its fields are attributes.

    `model` and `task` are names, files ("gru.py"), or a Model and a Task themselves. Fields that do not belong to the
    model, task, optimizer or schedule are an error. Raises UsageError with a line for every mistake.
    """

    def __init__(self, **given: Any) -> None:
        for name, part in given.items():
            if isinstance(part, Model | Task):
                given[name] = declaring.named(part)
            elif name in code.KINDS and code.is_reference(part):
                given[name] = code.read(name, part, code.here(part)).load()
        filled, wrong = check(given)
        if wrong:
            raise UsageError(told(wrong))
        object.__setattr__(self, "fields", filled)
        object.__setattr__(self, "given", frozenset(given))

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The run of a row of a table of runs: `Run.of(runs.iloc[0])`, or of any mapping with fields among its keys.

        Keys that are no fields, as results are, are left out; NaN and NA are fields that are not given, and 100.0 is
        100 where a field is a whole number. Raises UsageError as `Run` does.
        """
        values = {str(name): value for name, value in row.items() if not is_null(value)}
        for name in code.KINDS:  # tables of others may say anything, and name files of this folder
            if code.is_reference(values.get(name)):
                raise UsageError(f"{name}: found {values[name]!r}; allowed in a table: a name that runs have")
        fields = fields_of([values])
        return cls(**{name: _as_given(fields[name], value) for name, value in values.items() if name in fields})

    fields: dict[str, Any]
    given: frozenset[str]

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "fields")[name]
        except KeyError:
            raise AttributeError(f"{name}: no field of this run") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Run does not change")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.fields == self.fields

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={self.fields[name]!r}" for name in self.fields if name in self.given)
        return f"Run({said})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.fields, self.given)

    @property
    def run_id(self) -> str:
        """Identity of the run: a hash of its fields, the same in every sweep and on every machine."""
        declared = parts_of(self.fields).fields
        return run_id(fragment(declared[name], value) for name, value in self.fields.items())


def _as_given(field: Field, value: Any) -> Any:
    """A value of a column as the field takes it: whole numbers and truth values may be floats there."""
    value = value.item() if isinstance(value, np.generic) else value
    if field.kind in (int, bool) and isinstance(value, float) and value.is_integer() and value == field.kind(value):
        return field.kind(value)
    return value


def _rebuilt(fields: dict[str, Any], given: frozenset[str]) -> Run:
    run = object.__new__(Run)
    object.__setattr__(run, "fields", fields)
    object.__setattr__(run, "given", given)
    return run


def fragment(field: Field, value: Any) -> str:
    """One field's part of the text behind a run id; empty where the field has its default.

    Leaving defaults out means that a field added later, with a default that keeps today's numbers, changes no id. A
    default that is changed must therefore raise the version of its model or task.
    """
    if is_null(value):
        return "" if field.default is None else f"{field.name}=null;"
    if value == field.default:
        return ""
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= EXACT):
        return f"{field.name}={float(value)!r};"
    return f"{field.name}={value};"


def run_id(fragments: Iterable[str]) -> str:
    """16 hexadecimal digits from the non-empty fragments of a run, in any order."""
    text = f"engine={ENGINE_VERSION};" + "".join(sorted(fragments))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def shape_of(fields: Mapping[str, Any]) -> Shape:
    """What the program of a run is compiled for; the fields may be a row of a table."""
    found = parts_of(fields)
    given = [name for name in found.fields if not is_null(fields.get(name))]
    known = {name: fields[name] if name in given else None for name in found.fields}
    sizes = _sizes(found, known)
    untraced = {f.name for f in found.fields.values() if not f.traced}
    if found.model.sizes is not None and found.task is not None:
        untraced -= {f.name for f in found.task.fields}
    random = tuple(f.name for f in found.fields.values() if f.random and (known[f.name] or 0) > 0)
    never = _NEVER_TRACED - ({"epochs"} if found.task and found.task.tally else set())
    traced = tuple(name for name in given if name not in untraced | never)
    own = {field.name: field.kind for part in (found.model, found.task) if part for field in part.fields}
    return Shape(
        found.model.name,
        found.task.name if found.task else None,
        known["optimizer"] or "sgd",
        str(known["dtype"]),
        known["schedule"] or "constant",
        tuple(sorted(sizes.items())),
        traced,
        tuple(name for name in traced if name in own and own[name] is int),
        tuple(name for name in traced if name in own and own[name] is bool),
        (*random, *(("trials",) if found.task and found.task.drawn else ())),
        (registry.text_of(found.model.name), registry.text_of(found.task.name if found.task else None)),
    )


def _sizes(found: Parts, known: Mapping[str, Any]) -> dict[str, int]:
    """Whole numbers and truth values that a program is compiled for."""
    sizes: dict[str, Any] = {}
    own = [*found.model.fields, *(field for rule in found.rules for field in rule.fields)]
    if found.task is not None and found.model.sizes is None:
        sizes |= dict(zip(("n_inputs", "n_outputs"), found.task.channels, strict=True))
        if found.task.sizes is None:
            own += found.task.fields
        else:
            sizes |= found.task.sizes(known)
    sizes |= {f.name: _whole(f, known[f.name]) for f in own if not f.traced and known[f.name] is not None}
    return sizes | (found.model.sizes(known) if found.model.sizes else {})


def _whole(field: Field, value: Any) -> Any:
    return field.kind(value) if field.kind in (bool, int) else value
