"""Fields that models of leaky units share, and tasks that speak of time in ms or of noise.

The same field may be declared by the model and the task of a run; another one of its name may not.
"""

from ghostsweep.declare.field import Field
from ghostsweep.declare.model import Mistakes, Values

N_UNITS = Field(
    "n_units", "number of units N", kind=int, default=100, ge=1, le=100_000, traced=False, symbol="N", inherited=True
)
DT_MS = Field("dt_ms", "time step of a network", "ms", default=5.0, gt=0, decides=True)
TAU_MS = Field("tau_ms", "time constant of a unit; the leak is dt_ms / tau_ms", "ms", default=10.0, gt=0)
NOISE_SIGMA = Field(
    "noise_sigma",
    "standard deviation of the noise inside tanh, drawn anew for every unit, step, trial and epoch",
    default=0.0,
    ge=0,
    random=True,
    noise=True,
)
R0_SIGMA = Field(
    "r0_sigma",
    "standard deviation of the noise whose tanh is the initial state, drawn anew for every trial and epoch",
    default=0.0,
    ge=0,
    random=True,
    noise=True,
)
RNG = Field(
    "rng",
    "generator of the noise: 'threefry' is JAX's; 'hash' takes a tenth of its time on a CPU, for many trials",
    kind=str,
    default="threefry",
    options=("threefry", "hash"),
    traced=False,
)
CONFIDENCE = Field(
    "confidence",
    "steepness c of the output: act(c (r . w_out + b_out)) with a trained readout",
    default=1.0,
    symbol="c",
)


def stable_leak(fields: Values) -> Mistakes:
    """The leak is at most 1."""
    if fields["tau_ms"] < fields["dt_ms"]:
        yield "tau_ms", f"at least dt_ms = {fields['dt_ms']:g}, so that the leak is at most 1"
