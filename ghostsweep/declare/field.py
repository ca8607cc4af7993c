"""What is known about one field of a run, and the choices that it may belong to."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field
from pydantic_core import PydanticCustomError

READOUTS = ("low_rank", "full_rank")
NETWORKS = ("rank_one", *READOUTS)
MODELS = ("canonical", *NETWORKS)
CUE_TASKS = ("dcdt", "dmts")
OPTIMIZERS = ("sgd", "adam", "adamw", "adamax", "amsgrad", "lion", "rmsprop", "adagrad")
ADAMS = ("adam", "adamw", "adamax", "amsgrad")
DECAYS = ("linear", "cosine", "exponential")
PHASE_FIELDS = ("phase", "parent", "first_epoch")
"""What the phases of a sweep file decide, and no file gives."""
INHERITED = ("model", "task", "n_units", "rank", "seed", "r_start", "r_start_sigma", "dtype")
"""What a later phase cannot change, since its parameters come from the phase before."""
MAX_STEPS = 1_000_000
"""Time steps at most until the output must switch on."""


class FieldInfo(NamedTuple):
    """What the project knows about one field of a run beside its type and limits."""

    unit: str
    meaning: str
    models: tuple[str, ...]
    static: tuple[str, ...]
    defaults: Mapping[str, Any]  # of every choice that has the field
    by: str = "model"  # the field that makes this choice: model, task, optimizer or schedule
    required: bool = False
    needs: str = ""  # a field of which it is a detail: null where that is


def column(
    meaning: str,
    *,
    unit: str = "",
    models: tuple[str, ...] = MODELS,
    static: tuple[str, ...] = (),
    default: Any = None,
    defaults: Mapping[str, Any] | None = None,
    by: str = "model",
    required: bool = False,
    needs: str = "",
    **limits: Any,
) -> Any:
    """A field of `Run`: optional for pydantic, filled per model (or other choice `by`) from `default` or `defaults`."""
    filled = dict.fromkeys(models, default) if defaults is None else dict(defaults)
    info = FieldInfo(unit, meaning, models, static, filled, by, required, needs)
    return Field(default=None, description=meaning, json_schema_extra={"info": info}, **limits)  # type: ignore[dict-item]


def duration(meaning: str) -> Any:
    """A field of `Run` for an interval of a cue trial, in ms, which every cue task needs."""
    return column(
        meaning, unit="ms", static=NETWORKS, by="task", defaults=dict.fromkeys(CUE_TASKS), required=True, ge=0, le=1e6
    )


def steps(duration_ms: float, dt_ms: float) -> int:
    """Whole time steps in a duration, int(duration / dt), with 0.3 / 0.1 being 3."""
    return int(duration_ms / dt_ms * (1 + 1e-9))


def check_duration(duration_ms: float, dt_ms: float, least: int) -> None:
    """Raise PydanticCustomError unless a duration is a whole number of time steps, at least `least`.

    A cut one would be the network of a shorter duration under another id.
    """
    count = duration_ms / dt_ms
    if steps(duration_ms, dt_ms) < least:
        raise PydanticCustomError("combination", f"at least dt_ms = {dt_ms:g}, one step")
    if not math.isclose(count, round(count), rel_tol=5e-10):  # within what `steps` allows for
        nearest = " or ".join(f"{n * dt_ms:.12g}" for n in (math.floor(count), math.ceil(count)) if n >= least)
        raise PydanticCustomError("whole_steps", f"a whole number of steps of dt_ms = {dt_ms:g}; nearest: {nearest}")


def check_euler_step(dt_steps: float, timescale: float) -> None:
    """Raise PydanticCustomError unless a timescale is a whole number of Euler steps."""
    count = timescale / dt_steps
    if not 0.5 < count < MAX_STEPS + 0.5 or not math.isclose(count, round(count), rel_tol=1e-6):
        allowed = f"timescale = {timescale:g} divided by a whole number from 1 to {MAX_STEPS}"
        raise PydanticCustomError("combination", allowed)
