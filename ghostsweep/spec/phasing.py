"""Fields and axes of a later phase, from those of the phase before and what it gives itself."""

from collections.abc import Mapping
from typing import Any

from ghostsweep.models.rules import OF_SCHEDULES, OPTIMIZERS, SCHEDULES
from ghostsweep.spec.recording import values_of
from ghostsweep.spec.sweep import Grid

Pair = tuple[dict[str, Any], dict[str, Any]]
"""What all runs of a grid share, and its axes."""
OF_ZERO = (*OF_SCHEDULES, "schedule_anew")


def scheduled(
    shared: dict[str, Any], axes: dict[str, Any], own: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A phase's fields and axes with whether its schedule begins anew: where it names one, unless it says so itself."""
    kinds = axes.get("schedule", [shared.get("schedule", "constant")])
    if "schedule_anew" not in own:
        shared = {name: value for name, value in shared.items() if name != "schedule_anew"}
        axes = {name: value for name, value in axes.items() if name != "schedule_anew"}
        if own.keys() & {*OF_SCHEDULES} and isinstance(kinds, list) and not {*map(str, kinds)} & {"constant", "None"}:
            shared["schedule_anew"] = True
    return shared, axes


def left_behind(before: Grid, now: Grid, epochs: int) -> int:
    """Epochs that the schedule of a phase has behind it, most of several; `epochs`: that of the phase before had."""
    same = all(values_of(before, name) == values_of(now, name) for name in ("schedule", "optimizer"))
    lengths = [length for length in values_of(before, "epochs") if type(length) is int]
    return 0 if values_of(now, "schedule_anew") == [True] or not same else epochs + max(lengths, default=0)


def continued_by(
    before: Grid, own: Mapping[str, Any], axes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and axes of a grid with a phase's own in their place.

    Fields that a choice of the phase (another optimizer, say) does not have are not inherited, nor is the confidence
    where it is trained and goes on as it is.
    """

    others = set[str]()  # of rules that are replaced
    for kind, rules in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        if kind not in axes and isinstance(own.get(kind), str) and own[kind] in rules:
            every = {field.name for rule in rules.values() for field in rule.fields}
            others |= every - {field.name for field in rules[own[kind]].fields}

    def applies(name: str) -> bool:
        return name not in others

    shared = {key: v for key, v in before.shared.items() if key not in own and applies(key)}
    shared |= {key: v for key, v in own.items() if key not in axes}
    inherited = {key: v for key, v in before.axes.items() if key not in own and applies(key)}
    if shared.get("train_confidence") and "confidence" not in own:
        inherited.pop("confidence", None)
        shared.pop("confidence", None)
    return shared, inherited | dict(axes)


def override(
    shared: dict[str, Any], axes: dict[str, Any], quick: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put the quick values in place of the ones they replace, whether axis or shared field."""
    is_axis = {key: isinstance(value, list | dict) for key, value in quick.items()}
    new_shared = {key: value for key, value in (shared | quick).items() if not is_axis.get(key, key not in shared)}
    new_axes = {key: value for key, value in (axes | quick).items() if is_axis.get(key, key in axes)}
    return new_shared, new_axes
