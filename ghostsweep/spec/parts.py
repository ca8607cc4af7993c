"""Where the fields of runs come from: those of all runs, of models, of tasks, and of rules."""

import contextlib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ghostsweep.declare.field import Field, is_null
from ghostsweep.declare.model import Evidence, Model, Result, Rule, Tally, Task
from ghostsweep.models import registry
from ghostsweep.models.rules import OPTIMIZERS, SCHEDULES
from ghostsweep.tasks import TASKS

DEFAULT_TASK = "delayed_activation"
FIRST = (
    Field("model", "what is trained: the one-dimensional canonical form, or a network", kind=str, required=True),
    Field("task", "what it is trained to do", kind=str, default=DEFAULT_TASK),
)
LAST = (
    Field(
        "learning_rate",
        "step size of the optimizer, before its schedule lowers it; canonical: on the gradient of T times the loss",
        required=True,
        gt=0,
    ),
    Field(
        "optimizer",
        "update rule, as in optax",
        kind=str,
        default="sgd",
        options=tuple(OPTIMIZERS),
        traced=False,
    ),
    Field("clip_norm", "a run's gradient is scaled down to this norm where above; null: never", gt=0),
    Field(
        "schedule",
        "how the learning rate goes down after the warm-up",
        kind=str,
        default="constant",
        options=tuple(SCHEDULES),
        traced=False,
    ),
    Field(
        "warmup_epochs",
        "epochs over which the learning rate first rises linearly, from 0 at epoch 0; null: none",
        "epochs",
        kind=int,
        ge=1,
    ),
    Field(
        "epochs",
        "epochs trained: the loss is measured at epochs 0 .. epochs - 1, each before its update",
        "epochs",
        kind=int,
        required=True,
        ge=1,
        le=1_000_000_000,
    ),
    Field("stop_loss", "a run is stopped, and counts as diverged, once its loss is above this; null: never", gt=0),
    Field("seed", "decides the initial parameters, alone", kind=int, default=0, ge=0, lt=2**32),
    Field("phase", "which phase of its sweep the run is, from 1", kind=int, default=1, ge=1),
    Field("parent", "run of the phase before, or parameters given, where it begins; null: its seed", kind=str),
    Field("first_epoch", "epochs trained in the phases before", "epochs", kind=int, default=0, ge=0, le=2**31),
    Field("dtype", "precision of the training", kind=str, options=("float32", "float64"), traced=False),
)
CHOICES = ("model", "optimizer", "schedule", "task")
"""The fields on whose values it depends which other fields there are, and their defaults."""
PHASE_FIELDS = ("phase", "parent", "first_epoch")
"""What the phases of a sweep file decide, and no file gives."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What the fields of a run come from."""

    model: Model
    task: Task | None
    rules: tuple[Rule, ...]

    @cached_property
    def fields(self) -> dict[str, Field]:
        """All fields by name: the model's, the task's, those of all runs, those of the rules."""
        of_task = (*self.task.fields, _learned_loss(self.task.learned_loss)) if self.task else ()
        named = (*FIRST, *self.model.fields, *of_task, *LAST[:3], *(f for rule in self.rules for f in rule.fields))
        found: dict[str, Field] = {}
        for field in (*named, *LAST[3:]):
            found.setdefault(field.name, field)
        if self.task is None:
            del found["task"]
            found.setdefault("learned_loss", _learned_loss(0.1))
        for name, default in {"dtype": "float32", **(self.model.defaults or {})}.items():
            found[name] = replace(found[name], default=default)
        return found

    def static(self) -> set[str]:
        """Fields on whose values the shape of a run depends; on the others', whether they are null."""
        sized = set(self.model.sizes_from)
        if self.model.sizes is None:
            sized = {
                f.name for part in (self.model, self.task) if part for f in part.fields if not f.traced or f.decides
            }
        own = {f.name for f in self.model.fields if not f.traced or f.random}
        random = {f.name for f in (self.task.fields if self.task else ()) if f.random}
        return sized | own | random | {f.name for rule in self.rules for f in rule.fields if not f.traced} | {"dtype"}


def every_part() -> Iterator[Model | Task | Rule]:
    """All models, tasks and rules that are known."""
    for options in known_parts().values():
        yield from options.values()


def every_field(*, own: bool = True) -> dict[str, Field]:
    """A field of each name that some run has, in the order of the parts; of several with one name the first.

    Without `own` of the built-in models and tasks alone.
    """
    found = {field.name: field for field in FIRST}
    built_in = (registry.MODELS, TASKS)
    for options in (registry.models(), registry.tasks()) if own else built_in:
        for part in options.values():
            for field in part.fields:
                found.setdefault(field.name, field)
    for field in LAST[:3]:
        found.setdefault(field.name, field)
    for rules in (OPTIMIZERS, SCHEDULES):
        for rule in rules.values():
            for field in rule.fields:
                found.setdefault(field.name, field)
    for field in (*LAST[3:-1], _learned_loss(0.1), LAST[-1]):
        found.setdefault(field.name, field)
    return found


def every_result(*, own: bool = True, of: Collection[str] = ("tally", "evidence")) -> dict[str, Result]:
    """The results that tasks and models declare, by name; without `own` the built-in ones alone.

    of: whose, of tallies of tasks and evidence of models.
    """
    tasks, models = (registry.tasks(), registry.models()) if own else (TASKS, registry.MODELS)
    parts: list[Tally | Evidence | None] = [task.tally for task in tasks.values()] if "tally" in of else []
    parts += [model.evidence for model in models.values()] if "evidence" in of else []
    found: dict[str, Result] = {}
    for result in (result for part in parts if part for result in part.results):
        found.setdefault(result.name, result)
    return found


def fields_of(kinds: Iterable[Mapping[str, Any]]) -> dict[str, Field]:
    """The built-in fields and those of runs of these choices, whatever other models of users are known here."""
    found = every_field(own=False)
    for kind in kinds:
        with contextlib.suppress(KeyError):  # of a model or task that is not known here
            found |= parts_of(kind).fields
    return found


def given_fields() -> tuple[str, ...]:
    """Names of the fields that a sweep file may give."""
    return tuple(name for name in every_field() if name not in PHASE_FIELDS)


def likely_fields(*tables: Mapping[str, Any]) -> Collection[str]:
    """Names of the fields of runs with the choices of these tables; none where these are not known."""
    choices: dict[str, Any] = {}
    for table in tables:
        choices |= {name: value[:1] if isinstance(value, list) else [value] for name, value in table.items()}
    try:
        return parts_of({name: choices[name][0] for name in CHOICES if choices.get(name)}).fields
    except (KeyError, TypeError):
        return ()


def inherited() -> set[str]:
    """Names of the fields that a later phase cannot change."""
    own = {field.name for part in every_part() for field in part.fields if field.inherited}
    return own | {"model", "task", "seed", "dtype"}


def _learned_loss(default: float) -> Field:
    return Field("learned_loss", "a run counts as having learned once its loss is below this", default=default, gt=0)


def parts_of(values: Mapping[str, Any]) -> Parts:
    """The parts of a run from its choices, null ones filled in. Raises KeyError for one that is not known."""
    names = [None if is_null(value := values.get(name)) else value for name in CHOICES]
    return _parts(*names, texts=(registry.text_of(names[0]), registry.text_of(names[3])))


@functools.cache
def _parts(
    model: str, optimizer: str | None, schedule: str | None, task: str | None, *, texts: tuple[str, str]
) -> Parts:
    own = registry.model(model)
    rules = OPTIMIZERS[optimizer or "sgd"], SCHEDULES[schedule or "constant"]
    return Parts(own, None if own.loss else registry.task(task or DEFAULT_TASK), rules)


def known_parts() -> dict[str, dict[str, Any]]:
    """What each choice may be, by name."""
    return {"model": registry.models(), "task": registry.tasks(), "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
