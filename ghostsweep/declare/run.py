"""One training run: its fields, which are also the columns of every result table, and its identity.

`Run` is the one list of fields. Each says once its unit, its meaning, which models, tasks, optimizers or schedules
it belongs to and whether it is static (a different value is another compiled program) or traced (one program serves
all values).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ghostsweep.declare.field import (
    ADAMS,
    CUE_TASKS,
    DECAYS,
    MAX_STEPS,
    MODELS,
    NETWORKS,
    OPTIMIZERS,
    READOUTS,
    FieldInfo,
    check_duration,
    check_euler_step,
    column,
    duration,
)

ENGINE_VERSION = 1
"""Raised by hand when the numbers of an unchanged run change; part of every run id."""


class Run(BaseModel):
    """One training run, checked and with every default filled in.

    Fields that do not apply to the model, task, optimizer or schedule are None, and giving one is an error. Raises
    `pydantic.ValidationError`; spec files turn that into lines that name file and key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    model: Literal["canonical", "rank_one", "low_rank", "full_rank"] = Field(
        description="what is trained: the one-dimensional canonical form, or a network",
        json_schema_extra={"info": FieldInfo("", "what is trained", MODELS, MODELS, {})},  # type: ignore[dict-item]
    )
    task: Literal["delayed_activation", "dcdt", "dmts"] | None = column(
        "what it is trained to do", static=MODELS, default="delayed_activation"
    )
    n_units: int | None = column("number of units N", models=NETWORKS, static=NETWORKS, default=100, ge=1, le=100_000)
    rank: int | None = column(
        "rank K of the recurrent weights", models=("low_rank",), static=NETWORKS, required=True, ge=1, le=100_000
    )
    timescale: float | None = column(
        "delay T before the output must switch on; the trial lasts 2T",
        unit="steps",
        static=NETWORKS,
        by="task",
        defaults={"delayed_activation": None},
        required=True,
        gt=0,
        le=MAX_STEPS,
    )
    dt_ms: float | None = column("time step of a network", unit="ms", models=NETWORKS, default=5.0, gt=0)
    tau_ms: float | None = column(
        "time constant of a unit; the leak is dt_ms / tau_ms", unit="ms", models=NETWORKS, default=10.0, gt=0
    )
    input_ms: float | None = duration("length of a cue")
    delay_ms: float | None = duration("time between the first cue and what follows it")
    reaction_ms: float | None = duration("time at the end in which the answer is due")
    trials_per_class: int | None = column(
        "trials of each kind of cue in an epoch",
        static=NETWORKS,
        by="task",
        defaults=dict.fromkeys(CUE_TASKS, 1),
        ge=1,
        le=1_000_000,
    )
    noise_sigma: float | None = column(
        "standard deviation of the noise inside tanh, drawn anew for every unit, step, trial and epoch",
        by="task",
        defaults=dict.fromkeys(CUE_TASKS, 0.0),
        ge=0,
    )
    r0_sigma: float | None = column(
        "standard deviation of the noise whose tanh is the initial state, drawn anew for every trial and epoch",
        by="task",
        defaults=dict.fromkeys(CUE_TASKS, 0.0),
        ge=0,
    )
    confidence: float | None = column(
        "steepness c of the output: sigmoid(c (kappa - 1)), or act(c (r . w_out + b_out)) with a trained readout; "
        "canonical: sigmoid(c (x - threshold)), simulated, or null: a step where x blows up, in closed form; "
        "null in a later phase that trains c: it goes on from where it is",
        defaults={"canonical": None, "rank_one": 10.0} | dict.fromkeys(READOUTS, 1.0),
    )
    dt_steps: float | None = column(
        "Euler step of the canonical form, where it is simulated",
        unit="steps",
        models=("canonical",),
        default=0.1,
        needs="confidence",
        gt=0,
    )
    threshold: float | None = column(
        "x at which the output of the simulated canonical form is 1/2",
        models=("canonical",),
        default=10.0,
        needs="confidence",
        ge=-1e6,
        le=1e6,
    )
    train_confidence: bool | None = column(
        "whether c is trained too (1), from the confidence given, or not (0)",
        models=("rank_one",),
        static=NETWORKS,
        default=False,
    )
    readout_l1: float | None = column(
        "sum of the sizes of w_out to which w_out and b_out are scaled before each forward pass; null: not scaled",
        models=READOUTS,
        gt=0,
    )
    learning_rate: float | None = column(
        "step size of the optimizer, before its schedule lowers it; canonical: on the gradient of T times the loss",
        required=True,
        gt=0,
    )
    optimizer: Literal["sgd", "adam", "adamw", "adamax", "amsgrad", "lion", "rmsprop", "adagrad"] | None = column(
        "update rule, as in optax", static=MODELS, default="sgd"
    )
    momentum: float | None = column(
        "share of the last update kept in the next; null: none",
        by="optimizer",
        defaults={"sgd": None, "rmsprop": None},
        ge=0,
        lt=1,
    )
    nesterov: bool | None = column(
        "whether the momentum looks ahead (1) or not (0)",
        by="optimizer",
        static=MODELS,
        defaults=dict.fromkeys(("sgd", "rmsprop", "adam", "adamw"), False),
    )
    beta1: float | None = column(
        "decay per epoch of the mean of gradients",
        by="optimizer",
        defaults=dict.fromkeys((*ADAMS, "lion"), 0.9),
        ge=0,
        lt=1,
    )
    beta2: float | None = column(
        "decay per epoch of the mean of squared gradients (lion: of the mean it keeps)",
        by="optimizer",
        defaults=dict.fromkeys(ADAMS, 0.999) | {"lion": 0.99, "rmsprop": 0.9},
        ge=0,
        lt=1,
    )
    epsilon: float | None = column(
        "added to the divisor of the update, against division by zero",
        by="optimizer",
        defaults=dict.fromkeys((*ADAMS, "rmsprop"), 1e-8) | {"adagrad": 1e-7},
        gt=0,
    )
    weight_decay: float | None = column(
        "pull on the parameters: added to the update (adamw, lion) or, times the parameters, to the clipped gradient; "
        "null: none",
        by="optimizer",
        defaults=dict.fromkeys(OPTIMIZERS) | {"adamw": 1e-4, "lion": 1e-3},
        ge=0,
    )
    clip_norm: float | None = column("a run's gradient is scaled down to this norm where above; null: never", gt=0)
    schedule: Literal["constant", "linear", "cosine", "exponential"] | None = column(
        "how the learning rate goes down after the warm-up", static=MODELS, default="constant"
    )
    warmup_epochs: int | None = column(
        "epochs over which the learning rate first rises linearly, from 0 at epoch 0; null: none", unit="epochs", ge=1
    )
    decay_epochs: int | None = column(
        "epochs after the warm-up at which the learning rate reaches its final value",
        unit="epochs",
        by="schedule",
        defaults=dict.fromkeys(DECAYS),
        ge=1,
        validate_default=True,
    )
    final_learning_rate: float | None = column(
        "learning rate from there on",
        unit="learning_rate",
        by="schedule",
        defaults={"linear": 0.0, "cosine": 0.0, "exponential": 0.01},
        ge=0,
    )
    epochs: int | None = column(
        "epochs trained: the loss is measured at epochs 0 .. epochs - 1, each before its update",
        unit="epochs",
        required=True,
        ge=1,
        le=1_000_000_000,
    )
    seed: int | None = column("decides the initial parameters, alone", default=0, ge=0, lt=2**32)
    r_start: float | None = column(
        "mean of the initial r", unit="r*", models=("canonical",), default=10.0, gt=-1e6, lt=1e6
    )
    r_start_sigma: float | None = column(
        "standard deviation of the initial r over seeds", unit="r*", models=("canonical",), default=0.0, ge=0, lt=1e6
    )
    phase: int | None = column("which phase of its sweep the run is, from 1", default=1, ge=1)
    parent: str | None = column("run of the phase before, or parameters given, where it begins; null: its seed")
    first_epoch: int | None = column("epochs trained in the phases before", unit="epochs", default=0, ge=0, le=2**31)
    learned_loss: float | None = column(
        "a run counts as having learned once its loss is below this",
        by="task",
        defaults={
            "delayed_activation": 0.1,
            "dcdt": 0.03,
            "dmts": 0.013,
        },  # a tenth of that of output 0, at 30/80/50 ms
        gt=0,
    )
    dtype: Literal["float32", "float64"] | None = column(
        "precision of the training",
        static=MODELS,
        defaults={"canonical": "float64"} | dict.fromkeys(NETWORKS, "float32"),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _fill_defaults(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return validate(data)
        filled = {key: value.item() if isinstance(value, np.generic) else value for key, value in data.items()}
        for name, info in FIELDS.items():
            default = info.defaults.get(str(filled.get(info.by)))
            carried_on = name == "confidence" and filled.get("parent") and filled.get("train_confidence")
            wanted = not carried_on and (not info.needs or filled.get(info.needs) is not None)
            if default is not None and wanted and filled.get(name) is None:
                filled[name] = default
        run = validate(filled)
        run.model_fields_set.intersection_update(data)  # what was given, not what was filled in
        return run

    @field_validator("*")
    @classmethod
    def _applies(cls, value: Any, info: ValidationInfo) -> Any:
        field = FIELDS[str(info.field_name)]
        choice = info.data.get(field.by)
        if value is not None and choice is not None and choice not in field.defaults:
            raise PydanticCustomError("not_applicable", f"nothing: {field.by} '{choice}' has no such field")
        if value is not None and info.data.get(field.needs, value) is None:
            raise PydanticCustomError("not_applicable", f"nothing where {field.needs} is not given")
        return value

    @field_validator("task")
    @classmethod
    def _can_do(cls, value: str, info: ValidationInfo) -> str:
        model = info.data.get("model")
        if model is not None and model not in READOUTS and value in CUE_TASKS:
            allowed = f"'delayed_activation' for model '{model}'; {value} needs one of {', '.join(READOUTS)}"
            raise PydanticCustomError("combination", allowed)
        return value

    @field_validator("rank")
    @classmethod
    def _at_most_full(cls, value: int | None, info: ValidationInfo) -> int | None:
        n_units = info.data.get("n_units")
        if value is not None and n_units is not None and value > n_units:
            raise PydanticCustomError("combination", f"at most n_units = {n_units}")
        return value

    @field_validator("timescale")
    @classmethod
    def _whole_steps(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("model") in NETWORKS and not value.is_integer():
            raise PydanticCustomError("whole_steps", "a whole number of steps for a network")
        return value

    @field_validator("dt_steps")
    @classmethod
    def _whole_euler_steps(cls, value: float | None, info: ValidationInfo) -> float | None:
        timescale = info.data.get("timescale")
        if value is not None and timescale is not None:
            check_euler_step(value, timescale)
        return value

    @field_validator("tau_ms")
    @classmethod
    def _stable_leak(cls, value: float | None, info: ValidationInfo) -> float | None:
        dt_ms = info.data.get("dt_ms")
        if value is not None and dt_ms is not None and value < dt_ms:
            raise PydanticCustomError("leak", f"at least dt_ms = {dt_ms:g}, so that the leak is at most 1")
        return value

    @field_validator("input_ms", "delay_ms", "reaction_ms")
    @classmethod
    def _whole_duration(cls, value: float | None, info: ValidationInfo) -> float | None:
        dt_ms = info.data.get("dt_ms")
        if value is not None and dt_ms is not None:
            check_duration(value, dt_ms, least=int(info.field_name != "delay_ms"))
        return value

    @field_validator("nesterov")
    @classmethod
    def _with_momentum(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        optimizer = info.data.get("optimizer")
        if value and optimizer in FIELDS["momentum"].defaults and info.data.get("momentum", 0) is None:
            raise PydanticCustomError("combination", f"false without momentum, where the optimizer is '{optimizer}'")
        return value

    @field_validator("decay_epochs")
    @classmethod
    def _decay_has_an_end(cls, value: int | None, info: ValidationInfo) -> int | None:
        schedule = info.data.get("schedule")
        if value is None and schedule in DECAYS:
            raise PydanticCustomError("combination", f"a whole number >= 1, which schedule '{schedule}' needs")
        return value

    @field_validator("final_learning_rate")
    @classmethod
    def _exponential_above_zero(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value == 0 and info.data.get("schedule") == "exponential":
            raise PydanticCustomError("combination", "a finite number > 0, where the schedule is 'exponential'")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in required_fields(self.model_dump()) if getattr(self, name) is None]
        if missing:
            raise PydanticCustomError("incomplete", "missing: " + ", ".join(missing))
        return self

    @property
    def run_id(self) -> str:
        """Identity of the run: a hash of its fields, the same in every sweep and on every machine."""
        fields = self.model_dump()
        return run_id(fragment(fields, name, value) for name, value in fields.items())


FIELDS: dict[str, FieldInfo] = {
    name: field.json_schema_extra["info"]  # type: ignore[index,misc]
    for name, field in Run.model_fields.items()
}


CHOICES = tuple(sorted({info.by for info in FIELDS.values()}))
"""The fields on whose values it depends which other fields there are, and their defaults."""


def is_null(value: Any) -> bool:
    """Whether a field is absent, which a column of a table shows as NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def fragment(choices: Mapping[str, Any], name: str, value: Any) -> str:
    """One field's part of the text behind a run id; empty where the field has its default or does not apply.

    `choices` has at least the run's CHOICES.
    Leaving defaults out means that a field added later, with a default that keeps today's numbers, changes
    no id. A default that is changed must therefore raise ENGINE_VERSION.
    """
    info = FIELDS[name]
    default = info.defaults.get(choices[info.by])
    if is_null(value):
        return "" if default is None or info.needs else f"{name}=null;"
    if value == default:
        return ""
    return f"{name}={float(value)!r};" if isinstance(value, int | float) else f"{name}={value};"


def run_id(fragments: Iterable[str]) -> str:
    """16 hexadecimal digits from the non-empty fragments of a run, in any order."""
    text = f"engine={ENGINE_VERSION};" + "".join(sorted(fragments))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def required_fields(choices: Mapping[str, Any]) -> list[str]:
    """Fields that a run must give; where a choice is missing or unknown, those that every run must."""
    return [
        name
        for name, info in FIELDS.items()
        if info.required and (str(choices.get(info.by)) in info.defaults or set(info.defaults) == set(MODELS))
    ]


def kind(name: str) -> str:
    """Type of a field as a column: string, int64 where it is a whole number that is never null, else float64."""
    info, annotation = FIELDS[name], str(Run.model_fields[name].annotation)
    if "Literal" in annotation or "str" in annotation:
        return "string"
    always = all(info.defaults.get(model) is not None or (info.required and model in info.defaults) for model in MODELS)
    return "int64" if "int" in annotation and always else "float64"


def static_fields(model: str) -> list[str]:
    """Fields of which a model compiles another program for every value."""
    return [name for name, info in FIELDS.items() if model in info.static]
