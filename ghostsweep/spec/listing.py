"""All fields of a model on a task, and what there is to choose from, as rows to be shown."""

import inspect
import sys
from typing import NamedTuple

from ghostsweep.declare import Field
from ghostsweep.declare.model import Model, Task
from ghostsweep.errors import UsageError
from ghostsweep.models import registry
from ghostsweep.models.rules import OPTIMIZERS, SCHEDULES
from ghostsweep.spec import code
from ghostsweep.spec.parts import DEFAULT_TASK, PHASE_FIELDS, parts_of
from ghostsweep.spec.run import serves
from ghostsweep.tasks import TASKS


class Listed(NamedTuple):
    """One field as it is told: what it belongs to, its unit and default ("" where none), what is allowed, meaning."""

    field: str
    of: str
    unit: str
    default: str
    allowed: str
    meaning: str


def choices() -> dict[str, dict[str, str]]:
    """Models and tasks that are known by name, each with what its file says of it."""
    return {
        "model": {name: meaning(model) for name, model in registry.models().items()},
        "task": {name: meaning(task) for name, task in registry.tasks().items()},
    }


def meaning(part: Model | Task) -> str:
    """What a model or task says of itself, or else the first line of its file."""
    if part.about:
        return part.about
    function = part.initial if isinstance(part, Model) else part.trials
    module = sys.modules.get(getattr(function, "__module__", ""))
    return (inspect.getdoc(module) or "").partition("\n")[0] if module else ""


def fields(model: str, task: str | None = None, optimizer: str = "sgd") -> list[Listed]:
    """The fields that a sweep file may give to runs of a model, in the order in which they are best read.

    Raises UsageError for a model or task that is not known, and for a task that the model cannot do.
    """
    model, task = _known("model", model), task if task is None else _known("task", task)
    found = parts_of({"model": model, "task": task, "optimizer": optimizer})
    if task is not None and (found.task is None or not serves(found.model, found.task)):
        raise UsageError(f"task: found {task!r}; model {model!r} cannot do it")
    owner = {field.name: f"model {model}" for field in found.model.fields}
    if found.task is not None:
        owner = {field.name: f"task {found.task.name}" for field in found.task.fields} | owner
    for rule in found.rules:
        owner |= {field.name: f"{rule.name}" for field in rule.fields}
    given = [field for field in found.fields.values() if field.name not in PHASE_FIELDS]
    given = [field for field in given if not field.noise or field.name in found.model.noise]
    rows = [_listed(field, owner.get(field.name, "every run")) for field in given]
    if found.task is not None and task is None:
        rows = [row._replace(default=DEFAULT_TASK) if row.field == "task" else row for row in rows]
    return rows


def _known(kind: str, name: str) -> str:
    """A name as runs have it, of a user's file once that is loaded."""
    if code.is_reference(name):
        return code.read(kind, name, code.here(name)).load()
    if name not in (known := choices()[kind]):
        raise UsageError(f"{kind}: found {name!r}; allowed: {', '.join(known)}, or a file of your own")
    return name


def _listed(field: Field, of: str) -> Listed:
    default = "required" if field.required else "" if field.default is None else str(field.default)
    return Listed(field.name, of, field.unit, default, field.allowed, field.meaning)


def markdown() -> str:
    """All fields of the built-in models, tasks and rules in Markdown, a table each."""
    every = parts_of({"model": "rank_one"}).fields
    own = {field.name for part in (registry.MODELS | TASKS).values() for field in part.fields}
    own |= {field.name for rules in (OPTIMIZERS, SCHEDULES) for rule in rules.values() for field in rule.fields}
    parts = {"Every run": [field for name, field in every.items() if name not in own | {*PHASE_FIELDS}]}
    parts |= {f"Model `{name}`": list(model.fields) for name, model in registry.MODELS.items()}
    parts |= {f"Task `{name}`": list(task.fields) for name, task in TASKS.items()}
    for kind, rules in (("Optimizer", OPTIMIZERS), ("Schedule", SCHEDULES)):
        parts |= {f"{kind} `{name}`": list(rule.fields) for name, rule in rules.items()}
    same: dict[str, tuple[list[str], list[Field]]] = {}  # parts of the same fields share a table
    for title, fields in parts.items():
        if fields:
            same.setdefault(repr(fields), ([], fields))[0].append(title)
    return "\n\n".join(f"**{', '.join(titles)}**\n\n{_table(fields)}" for titles, fields in same.values())


def _table(fields: list[Field]) -> str:
    lines = ["| field | unit | default | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
    for row in (_listed(field, "") for field in fields):
        if row.field == "learned_loss":
            others = (f"{name} {task.learned_loss:g}" for name, task in TASKS.items() if task.learned_loss != 0.1)
            row = row._replace(default=f"0.1; {', '.join(others)}")
        lines.append(f"| `{row.field}` | {row.unit} | {row.default} | {row.allowed} | {row.meaning} |")
    return "\n".join(lines)
