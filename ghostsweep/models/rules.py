"""Update rules and learning-rate schedules: the fields of each. What they compute is in `training/optimizers.py`."""

from collections.abc import Mapping
from typing import Any

from ghostsweep.declare.field import Field, is_null
from ghostsweep.declare.model import Mistakes, Rule, Values

_MOMENTUM = Field("momentum", "share of the last update kept in the next; null: none", ge=0, lt=1)
_NESTEROV = Field("nesterov", "whether the momentum looks ahead (1) or not (0)", kind=bool, default=False, traced=False)


def _beta1(default: float) -> Field:
    return Field("beta1", "decay per epoch of the mean of gradients", default=default, ge=0, lt=1)


def _beta2(default: float) -> Field:
    meaning = "decay per epoch of the mean of squared gradients (lion: of the mean it keeps)"
    return Field("beta2", meaning, default=default, ge=0, lt=1)


def _epsilon(default: float) -> Field:
    return Field("epsilon", "added to the divisor of the update, against division by zero", default=default, gt=0)


def _decay(default: float | None) -> Field:
    meaning = (
        "pull on the parameters: added to the update (adamw, lion) or, times the parameters, to the clipped gradient; "
        "null: none"
    )
    return Field("weight_decay", meaning, default=default, ge=0)


def _looks_ahead(fields: Values) -> Mistakes:
    if fields["nesterov"] and fields["momentum"] is None:
        yield "nesterov", f"false without momentum, where the optimizer is '{fields['optimizer']}'"


_ADAM = (_beta1(0.9), _beta2(0.999), _epsilon(1e-8))
OPTIMIZERS = {
    rule.name: rule
    for rule in (
        Rule("sgd", (_MOMENTUM, _NESTEROV, _decay(None)), _looks_ahead, ("nesterov", "momentum")),
        Rule("adam", (_NESTEROV, *_ADAM, _decay(None))),
        Rule("adamw", (_NESTEROV, *_ADAM, _decay(1e-4))),
        Rule("adamax", (*_ADAM, _decay(None))),
        Rule("amsgrad", (*_ADAM, _decay(None))),
        Rule("lion", (_beta1(0.9), _beta2(0.99), _decay(1e-3))),
        Rule(
            "rmsprop",
            (_MOMENTUM, _NESTEROV, _beta2(0.9), _epsilon(1e-8), _decay(None)),
            _looks_ahead,
            ("nesterov", "momentum"),
        ),
        Rule("adagrad", (_epsilon(1e-7), _decay(None))),
    )
}


def _falls(final: float) -> tuple[Field, ...]:
    meaning = "epochs after the warm-up at which the learning rate reaches its final value"
    return (
        Field("decay_epochs", meaning, "epochs", kind=int, ge=1),
        Field("final_learning_rate", "learning rate from there on", "learning_rate", default=final, ge=0),
        Field(
            "schedule_anew",
            "of a later phase: whether its schedule begins anew, as where the phase names one, or goes on",
            kind=bool,
            default=False,
            traced=False,
        ),
    )


def _ends(fields: Values) -> Mistakes:
    if fields["decay_epochs"] is None:
        yield "decay_epochs", f"a whole number >= 1, which schedule '{fields['schedule']}' needs"


OF_SCHEDULES = ("schedule", "warmup_epochs", "decay_epochs", "final_learning_rate")
"""Fields with which a phase names a schedule of its own."""


def is_zero(fields: Values, behind: int) -> bool:
    """Whether the learning rate of a run is 0 throughout, whose schedule has so many epochs behind it."""
    if fields.get("schedule", "constant") in (None, "constant") or fields.get("schedule_anew"):
        return False
    over = (fields.get("warmup_epochs") or 0) + (fields.get("decay_epochs") or 0)
    return behind >= over > 0 and (fields.get("final_learning_rate") or 0) == 0 and fields["schedule"] != "exponential"


def is_plain(fields: Mapping[str, Any]) -> bool:
    """Whether a run, given by its fields or its row, is trained by plain gradient descent at one rate."""
    bent = any(not is_null(fields.get(name)) for name in ("clip_norm", "warmup_epochs", "momentum", "weight_decay"))
    named = (("optimizer", "sgd"), ("schedule", "constant"))
    return not bent and all(is_null(fields.get(name)) or fields[name] == value for name, value in named)


def _ends_above_zero(fields: Values) -> Mistakes:
    yield from _ends(fields)
    if fields["final_learning_rate"] == 0:
        yield "final_learning_rate", "a finite number > 0, where the schedule is 'exponential'"


SCHEDULES = {
    rule.name: rule
    for rule in (
        Rule("constant", ()),
        Rule("linear", _falls(0.0), _ends),
        Rule("cosine", _falls(0.0), _ends),
        Rule("exponential", _falls(0.01), _ends_above_zero, ("final_learning_rate",)),
    )
}
