"""One field of a run: said once, by the model, the task or the update rule that it belongs to."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_STEPS = 1_000_000
"""Time steps at most of a trial, or until its output must switch on."""

RESULTS = frozenset(
    [
        "status",
        "epochs_done",
        "initial_loss",
        "final_loss",
        "mean_loss",
        "min_loss",
        "min_loss_epoch",
        "recent_mean_loss",
        "min_recent_mean_loss",
        "initial_grad_norm",
        "final_grad_norm",
        "mean_grad_norm",
        "recent_mean_grad_norm",
        "final_accuracy",
        "max_accuracy",
        "recent_max_accuracy",
        "learned_epoch",
        "final_weight_norm",
        "begins_from",
        "ends_at",
        "constant_loss",
        "blind_loss",
        "wrong_loss",
        "chance_accuracy",
        "floor_loss",
        "gradient_unit",
        "theory_lr",
    ]
)
"""Names of the columns that a run's training adds to its fields, which no field may have."""

ANALYSES = frozenset([
    "along", "aicc", "at", "best", "bic", "boundary", "censored", "ci_high", "ci_low", "contiguous", "counted",
    "curvature", "curvature_p", "decisive", "delta_aicc", "delta_bic", "exponent", "exponent_above", "exponent_high",
    "exponent_low", "exponent_se", "knee", "law", "learns", "level", "lr_above", "lr_below", "lr_critical", "lr_high",
    "lr_low", "majority", "method", "monotone", "n_censored", "n_parameters", "n_rates", "n_seeds", "n_used",
    "power_exponential", "power_knee", "prefactor", "prefactor_high", "prefactor_low", "r_squared", "rate",
    "rejected", "scatter", "se_from_L", "se_from_TL", "share", "theory_exponent", "theory_prefactor", "width",
    "width_decades", "width_high", "width_low",
    "vanished_ratio", "vanished_norm", "begun_ratio", "wrong_ratio", "still_ratio", "start_ratio", "risen_ratio",
    "kept_ratio", "moved_ratio",
    "epoch", "loss", "grad_norm", "accuracy", "weight_norm",
])  # fmt: skip
"""Names of columns that tables of analyses and of curves have beside fields, which no field may have either."""


@dataclass(frozen=True)
class Field:
    """One field of a run. A field that is null for a run is not there for its model.

    kind: float, int, bool or str. default: None where it may be left out. gt, ge, lt, le: limits of a number; options:
    of a text. traced: whether it enters the compiled program as a number a run; else the program is compiled for its
    value. decides: whether, though traced, the sizes of a program depend on it. random: whether an epoch draws random
    numbers where it is above 0. noise: of a task, whether the model is what draws them. symbol: how figures call it.
    begins: the parameter that it sets at the start, which a later phase that is given the field begins anew. inherited:
    of what a later phase cannot change, since its parameters come from the phase before.
    """

    name: str
    meaning: str
    unit: str = ""
    kind: type = float
    default: Any = None
    required: bool = False
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    options: tuple[str, ...] = ()
    traced: bool = True
    decides: bool = False
    random: bool = False
    noise: bool = False
    symbol: str = ""
    begins: str = ""
    inherited: bool = False

    @property
    def allowed(self) -> str:
        """What it allows, in words."""
        if self.options:
            return "one of " + ", ".join(map(repr, self.options))
        words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
        signs = ((">", self.gt), (">=", self.ge), ("<", self.lt), ("<=", self.le))
        limits = [f"{sign} {limit}" for sign, limit in signs if limit is not None]
        return " ".join([words[self.kind], " and ".join(limits)]).strip()

    def read(self, value: Any) -> Any:
        """A value as the run has it. Raises ValueError where it is not allowed."""
        value = value.item() if isinstance(value, np.generic) else value
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind or (self.options and value not in self.options):
            raise ValueError
        if isinstance(value, int | float):
            inside = (
                math.isfinite(value)
                and (self.gt is None or value > self.gt)
                and (self.ge is None or value >= self.ge)
                and (self.lt is None or value < self.lt)
                and (self.le is None or value <= self.le)
            )
            if not inside:
                raise ValueError
        return value

    def near(self, value: Any) -> str:
        """The option that a text may have meant, in words; empty where there is none."""
        close = difflib.get_close_matches(value, self.options, n=1) if isinstance(value, str) else []
        return f"; did you mean {close[0]!r}?" if close else ""


def is_null(value: Any) -> bool:
    """Whether a field is absent, which a column of a table shows as NaN, of whole numbers as pandas' NA."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


def steps(duration_ms: float, dt_ms: float) -> int:
    """Whole time steps in a duration, int(duration / dt), with 0.3 / 0.1 being 3."""
    return int(duration_ms / dt_ms * (1 + 1e-9))


def whole_steps(fields: Mapping[str, Any], name: str, least: int = 1) -> str:
    """What a duration in ms allows, in words, where it is no whole number of steps `dt_ms`; empty where it is one.

    A cut one would be the network of a shorter duration under another id.
    """
    duration_ms, dt_ms = fields[name], fields["dt_ms"]
    count = duration_ms / dt_ms
    if steps(duration_ms, dt_ms) < least:
        return f"at least dt_ms = {dt_ms:g}, one step"
    if not math.isclose(count, round(count), rel_tol=5e-10):  # within what `steps` allows for
        nearest = " or ".join(f"{n * dt_ms:.12g}" for n in (math.floor(count), math.ceil(count)) if n >= least)
        return f"a whole number of steps of dt_ms = {dt_ms:g}; nearest: {nearest}"
    return ""
