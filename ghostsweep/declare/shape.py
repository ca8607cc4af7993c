"""The shape of a run: what its compiled program is specialised to, and what enters that program as a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ghostsweep.declare.field import PHASE_FIELDS, steps
from ghostsweep.declare.run import FIELDS, is_null, static_fields


@dataclass(frozen=True)
class Shape:
    """What a compiled program is specialised to: the static fields of a run, None where not applicable.

    `traced` names the numeric fields that enter the program as one value per run. A field that is null for the
    run is not among them, so that what it would add (momentum, clipping ...) is left out of the program. Durations
    are in steps, of the simulated canonical form in Euler steps; of its closed form there are none.
    """

    model: str
    task: str
    optimizer: str
    dtype: str
    nesterov: bool | None = None
    schedule: str = "constant"
    n_units: int | None = None
    rank: int | None = None
    timescale: int | None = None
    input_steps: int = 0
    delay_steps: int = 0
    reaction_steps: int = 0
    trials_per_class: int = 1
    random_start: bool = False
    noisy: bool = False
    train_confidence: bool = False
    traced: tuple[str, ...] = ()

    @property
    def stochastic(self) -> bool:
        """Whether an epoch draws random numbers."""
        return self.random_start or self.noisy

    @property
    def n_steps(self) -> int:
        """Time steps of a trial."""
        if self.timescale is not None:
            return 2 * self.timescale
        return self.input_steps * (2 if self.task == "dmts" else 1) + self.delay_steps + self.reaction_steps

    @property
    def n_trials(self) -> int:
        """Trials that an epoch computes: where nothing is random, one of each kind stands for all."""
        kinds = {"delayed_activation": 1, "dcdt": 2, "dmts": 4}[self.task]
        return kinds * (self.trials_per_class if self.stochastic else 1)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Shape":
        """The static part of a run's fields, which may be a row of a table (numbers as floats, null as NaN)."""
        given = [name for name in FIELDS if not is_null(fields[name])]
        static: dict[str, Any] = {name: fields[name] for name in static_fields(fields["model"]) if name in given}
        untraced = {*static, *PHASE_FIELDS, "seed", "epochs"}  # the seed becomes a key, the epochs a loop bound
        for name in [name for name in static if name.endswith("_ms")]:
            static[name.removesuffix("_ms") + "_steps"] = steps(static.pop(name), fields["dt_ms"])
        if fields["model"] == "canonical" and "confidence" in given:
            static["timescale"] = round(fields["timescale"] / fields["dt_steps"])  # T itself stays traced
        whole: dict[str, Any] = {n: int(value) if isinstance(value, float) else value for n, value in static.items()}
        return cls(
            **whole,
            random_start=(fields["r0_sigma"] or 0) > 0,
            noisy=(fields["noise_sigma"] or 0) > 0,
            traced=tuple(name for name in given if name not in untraced),
        )
