"""One training run: its fields, which are also the columns of every result table, and its identity.

`Run` is the one list of fields. Each says once its unit, its meaning, which models it belongs to and whether
it is static (a different value is another compiled program) or traced (one program serves all values).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

ENGINE_VERSION = 1
"""Raised by hand when the numbers of an unchanged run change; part of every run id."""

NETWORKS = ("rank_one",)
MODELS = ("canonical", *NETWORKS)


class FieldInfo(NamedTuple):
    """What the project knows about one field of a run beside its type and limits."""

    unit: str
    meaning: str
    models: tuple[str, ...]
    static: tuple[str, ...]
    defaults: Mapping[str, Any]


def _column(
    meaning: str,
    *,
    unit: str = "",
    models: tuple[str, ...] = MODELS,
    static: tuple[str, ...] = (),
    default: Any = None,
    defaults: Mapping[str, Any] | None = None,
    **limits: Any,
) -> Any:
    """A field of `Run`: optional for pydantic, filled per model from `default` or `defaults`."""
    by_model = dict.fromkeys(models, default) if defaults is None else dict(defaults)
    info = FieldInfo(unit, meaning, models, static, by_model)
    return Field(default=None, description=meaning, json_schema_extra={"info": info}, **limits)  # type: ignore[dict-item]


class Run(BaseModel):
    """One training run, checked and with every default filled in.

    Fields that do not apply to the model are None, and giving one is an error. Raises
    `pydantic.ValidationError`; spec files turn that into lines that name file and key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    model: Literal["canonical", "rank_one"] = Field(
        description="what is trained: the one-dimensional canonical form, or a network",
        json_schema_extra={"info": FieldInfo("", "what is trained", MODELS, MODELS, {})},  # type: ignore[dict-item]
    )
    task: Literal["delayed_activation"] | None = _column(
        "what it is trained to do", static=MODELS, default="delayed_activation"
    )
    n_units: int | None = _column("number of units N", models=NETWORKS, static=NETWORKS, default=100, ge=1, le=100_000)
    timescale: float | None = _column(
        "delay T before the output must switch on; the trial lasts 2T",
        unit="steps",
        static=NETWORKS,
        gt=0,
        le=1e6,
    )
    dt_ms: float | None = _column("time step of a network", unit="ms", models=NETWORKS, default=5.0, gt=0)
    tau_ms: float | None = _column(
        "time constant of a unit; the leak is dt_ms / tau_ms", unit="ms", models=NETWORKS, default=10.0, gt=0
    )
    confidence: float | None = _column(
        "steepness c of the output sigmoid(c (kappa - 1))", models=NETWORKS, default=10.0, gt=0
    )
    learning_rate: float | None = _column("step size of the optimizer", gt=0)
    optimizer: Literal["sgd"] | None = _column("update rule", static=MODELS, default="sgd")
    epochs: int | None = _column(
        "epochs trained: the loss is measured at epochs 0 .. epochs - 1, each before its update",
        unit="epochs",
        ge=1,
        le=1_000_000_000,
    )
    seed: int | None = _column("decides the initial parameters, alone", default=0, ge=0, lt=2**32)
    r_start: float | None = _column(
        "mean of the initial r", unit="r*", models=("canonical",), default=10.0, gt=-1e6, lt=1e6
    )
    r_start_sigma: float | None = _column(
        "standard deviation of the initial r over seeds", unit="r*", models=("canonical",), default=0.0, ge=0, lt=1e6
    )
    learned_loss: float | None = _column(
        "a run counts as having learned once its loss is below this", default=0.1, gt=0
    )
    dtype: Literal["float32", "float64"] | None = _column(
        "precision of the training",
        static=MODELS,
        defaults={"canonical": "float64"} | dict.fromkeys(NETWORKS, "float32"),
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = {key: value.item() if isinstance(value, np.generic) else value for key, value in data.items()}
        for name, info in FIELDS.items():
            default = info.defaults.get(filled.get("model", ""))
            if default is not None and filled.get(name) is None:
                filled[name] = default
        return filled

    @field_validator("*")
    @classmethod
    def _applies(cls, value: Any, info: ValidationInfo) -> Any:
        model = info.data.get("model")
        models = FIELDS[str(info.field_name)].models
        if value is not None and model is not None and model not in models:
            raise PydanticCustomError("not_applicable", f"nothing: model '{model}' has no such field")
        return value

    @field_validator("timescale")
    @classmethod
    def _whole_steps(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("model") in NETWORKS and not value.is_integer():
            raise PydanticCustomError("whole_steps", "a whole number of steps for a network")
        return value

    @field_validator("tau_ms")
    @classmethod
    def _stable_leak(cls, value: float | None, info: ValidationInfo) -> float | None:
        dt_ms = info.data.get("dt_ms")
        if value is not None and dt_ms is not None and value < dt_ms:
            raise PydanticCustomError("leak", f"at least dt_ms = {dt_ms:g}, so that the leak is at most 1")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in ("timescale", "learning_rate", "epochs") if getattr(self, name) is None]
        if missing:
            raise PydanticCustomError("incomplete", "missing: " + ", ".join(missing))
        return self

    @property
    def run_id(self) -> str:
        """Identity of the run: a hash of its fields, the same in every sweep and on every machine."""
        return run_id(fragment(self.model, name, value) for name, value in self.model_dump().items())


FIELDS: dict[str, FieldInfo] = {
    name: field.json_schema_extra["info"]  # type: ignore[index,misc]
    for name, field in Run.model_fields.items()
}


def fragment(model: str, name: str, value: Any) -> str:
    """One field's part of the text behind a run id; empty where the field is null or has its default.

    Leaving defaults out means that a field added later, with a default that keeps today's numbers, changes
    no id. A default that is changed must therefore raise ENGINE_VERSION.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or value == FIELDS[name].defaults.get(model):
        return ""
    return f"{name}={float(value)!r};" if isinstance(value, int | float) else f"{name}={value};"


def run_id(fragments: Iterable[str]) -> str:
    """16 hexadecimal digits from the non-empty fragments of a run, in any order."""
    text = f"engine={ENGINE_VERSION};" + "".join(sorted(fragments))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def static_fields(model: str) -> list[str]:
    """Fields of which a model compiles another program for every value."""
    return [name for name, info in FIELDS.items() if model in info.static]


def traced_fields(model: str) -> list[str]:
    """Numeric fields that enter a model's compiled program as one value per run."""
    untraced = {"seed", "epochs"}  # the seed becomes a key, the epochs a loop bound
    return [n for n, info in FIELDS.items() if model in info.models and model not in info.static and n not in untraced]


@dataclass(frozen=True)
class Shape:
    """What a compiled program is specialised to: the static fields of a run, None where not applicable."""

    model: str
    task: str
    optimizer: str
    dtype: str
    n_units: int | None = None
    timescale: float | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Shape":
        """The static part of a run's fields."""
        return cls(**{name: fields[name] for name in static_fields(fields["model"])})
