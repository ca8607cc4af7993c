"""What a user's model or task declares, checked before anything is made of it: names, defaults, functions."""

import itertools
from collections.abc import Iterable
from pathlib import Path

from ghostsweep.declare.field import ANALYSES, RESULTS, Field
from ghostsweep.declare.model import Model, Task
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import registry
from ghostsweep.models.registry import Known
from ghostsweep.spec.parts import FIRST, LAST, every_field, every_result
from ghostsweep.tasks import TASKS

OF_RUNS = {field.name for field in (*FIRST, *LAST)} | {"learned_loss"}
OF_TABLES = RESULTS | ANALYSES | {"run_id", "outcome", "task_outcome"}
OF_SHAPES = frozenset(name for name in (*dir(Shape), *Shape.__dataclass_fields__) if not name.startswith("_"))
"""Attributes of `Shape`, which no number that a program is compiled for can have as its name."""
OF_PROGRAMS = {"key": "the random key of an epoch", "x_start": "where units begin"}
"""What functions get in `traced` beside fields."""
UNUSABLE = '/\\:*?"<>|'
"""Characters that not every file system allows in names of files, as figures have them."""
KINDS = {float: "a number", int: "a whole number", bool: "a truth value", str: "a text"}


def named(part: Model | Task, known: Known | None = None, where: str = "") -> str:
    """The name that runs have a model or task by, once it is checked. Raises UsageError, one line."""
    if part not in (registry.MODELS | TASKS).values():
        check(part, where, known.folder if known else Path())
    return registry.named(part, known)


def check(part: Model | Task, where: str = "", folder: Path = Path()) -> None:
    """Refuse what a part declares and later code would stumble over. Raises UsageError that begins with `where`."""
    kind = "model" if isinstance(part, Model) else "task"

    def wrong(said: str) -> UsageError:
        return UsageError(f"{where}{': ' * bool(where)}{kind} {said}")

    if not isinstance(part.name, str) or not part.name.replace("_", "").isalnum():
        raise wrong(f"name: found {part.name!r}; allowed: letters, digits and _")
    if not isinstance(part.version, str) or {*"@;=", *UNUSABLE} & {*part.version}:
        raise wrong(f"{part.name}, version: found {part.version!r}; allowed: a text without @, ; = and {UNUSABLE}")
    for said in itertools.chain(_fields(part), _results(part), _functions(part), _data(part, folder)):
        raise wrong(f"{part.name}{said}")


def _fields(part: Model | Task) -> Iterable[str]:
    """What is wrong with its fields."""
    names = [getattr(field, "name", None) for field in part.fields]
    known = every_field(own=False)
    for field, name in zip(part.fields, names, strict=True):
        if not isinstance(name, str) or not name.isidentifier():
            yield f", fields: found {field!r}; allowed: Field(NAME, MEANING, ...)"
            continue
        if (clash := _taken(name)) or (clash := _hidden(part, field)):
            yield f", field {name}: found the name of {clash}; allowed: another name"
        if names.count(name) > 1:
            yield f", fields: found {name} twice; allowed: every name once"
        if field.kind not in KINDS:
            yield f", field {name}: found kind={field.kind!r}; allowed: float, int, bool or str"
        elif name in known and known[name].kind is not field.kind:
            its = KINDS[known[name].kind]
            yield f", field {name}: found {KINDS[field.kind]}, and {its} of that name; allowed: {its}, or another name"
        for option in field.options:
            if not isinstance(option, str) or {*UNUSABLE} & {*option} or not option.isprintable():
                yield f", options of {name}: found {option!r}; allowed: texts without {UNUSABLE}, for names of files"
        if field.kind is str and field.traced:
            yield f", field {name}: found a text that is traced; allowed: traced=False"
        if field.default is not None:
            try:
                field.read(field.default)
            except (ValueError, TypeError):
                yield f", default of {name}: found {field.default!r}; allowed: {field.allowed}"


def _taken(name: str) -> str:
    """What has this name already, of all runs and tables, in words; empty where nothing does."""
    if name in OF_RUNS:
        return "a field that all runs have"
    if name in OF_TABLES:
        return "a column of tables"
    return "a result of a built-in task" if name in every_result(own=False) else ""


def _hidden(part: Model | Task, field: Field) -> str:
    """What functions would get in place of a field of this name, in words; empty where it is what they get."""
    if field.name in OF_PROGRAMS:
        return f"{OF_PROGRAMS[field.name]} in `traced`"
    if field.name in OF_SHAPES and not field.traced:
        return f"an attribute of Shape (shape.{field.name})"
    sized = isinstance(part, Task) or not part.loss
    if field.name in ("n_inputs", "n_outputs") and not field.traced and sized:
        return "the channels of a task in Shape"
    return ""


def _results(part: Model | Task) -> Iterable[str]:
    """What is wrong with its results and outcomes."""
    declared = part.evidence if isinstance(part, Model) else part.tally
    of = "evidence" if isinstance(part, Model) else "tally"
    results = [result.name for result in declared.results] if declared else []
    fields, known = {field.name for field in part.fields}, every_field(own=False)
    for name in results:
        clash = "" if name.isidentifier() else "no name"
        clash = clash or ("a column of tables" if name in OF_TABLES else "")
        clash = clash or ("a field" if name in fields or name in known or name in OF_RUNS else "")
        if clash or results.count(name) > 1:
            yield f", {of}, result {name}: found a name that is taken ({clash or 'twice'}); allowed: another name"
    for name in part.outcomes.meanings if isinstance(part, Task) and part.outcomes else ():
        if not isinstance(name, str) or not name or {*UNUSABLE} & {*name}:
            yield f", outcomes: found {name!r}; allowed: texts without {UNUSABLE}"


def _data(part: Model | Task, folder: Path) -> Iterable[str]:
    """What is wrong with the names of its data."""
    fields = {field.name for field in part.fields} | OF_RUNS
    for name in part.data.arrays(folder) if part.data else ():
        if name in fields or name in OF_PROGRAMS:
            yield f", data: found {name}, the name of a field; allowed: another name"


def _functions(part: Model | Task) -> Iterable[str]:
    """What is wrong with its functions."""
    wanted = ["initial"] if isinstance(part, Model) else ["trials"]
    ways = [name for name in ("outputs", "step", "loss") if isinstance(part, Model) and getattr(part, name)]
    if isinstance(part, Model) and not part.evaluate and ("loss" in ways) == bool({"outputs", "step"} & {*ways}):
        yield f": found {' and '.join(ways) or 'none of them'}; allowed: one of outputs, step (with readout), loss"
    if "step" in ways and "outputs" not in ways:
        wanted.append("readout")
    for name in wanted:
        if not callable(getattr(part, name)):
            yield f", {name}: found {getattr(part, name)!r}; allowed: a function"


def apart(parts: Iterable[Model | Task]) -> str:
    """What the parts of a run or sweep declare apart, in words: one name for fields of two kinds, data or results."""
    found: dict[str, tuple[str, str]] = {}
    for part in parts:
        kind, declared = ("model", part.evidence) if isinstance(part, Model) else ("task", part.tally)
        own = {field.name: KINDS[field.kind] for field in part.fields}
        own |= {result.name: f"a result of a {kind}" for result in (declared.results if declared else ())}
        own |= dict.fromkeys(registry.data_names(part.name), f"data of a {kind}")
        for name, what in own.items():
            before, owner = found.setdefault(name, (what, part.name))
            if what != before:
                names = [each.partition("@")[0] for each in (owner, part.name)]
                return (
                    f"{name} is {before} in {names[0]} and {what} in {names[1]}; allowed: another name in one of them"
                )
    return ""
