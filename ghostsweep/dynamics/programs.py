"""What is computed at many states of many networks at once: one compiled program a kind of network.

A velocity is a function of (params, traced, y, u), in 1/tau: the closed form of `Flow`, or the step of a model less the
state, times the steps in a time constant. Its derivatives are JAX's. Below, L lanes are (network, state) pairs.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ghostsweep.declare import Shape
from ghostsweep.errors import UsageError
from ghostsweep.models import model_of
from ghostsweep.models.registry import with_data

if TYPE_CHECKING:
    import jax

Array = NDArray[np.float64]
Velocity = Callable[[Any, Any, Any, Any], Any]
TAU = "steps in a time constant"
"""Name of that number beside the traced fields, which no field can have."""
LANES = 4_000_000
"""Numbers in the Hessians of the lanes of a call: 32 MB."""
SHIFT = 1e-6  # 1/tau^2; a Hessian that is positive but for this is that of a minimum


@dataclass(frozen=True, eq=False)
class Networks:
    """B networks of one kind, for programs.

    kind: a shape, whose model declares a step, or a velocity itself, as `closed_form`. params (B, ...) and traced (B,)
    by name, TAU among the latter. dimension, D: numbers in a state. n_inputs: channels.
    n_units, N: units that these numbers are of, D where they are the units.
    """

    kind: Shape | Velocity
    params: Mapping[str, Array]
    traced: Mapping[str, Array]
    dimension: int
    n_inputs: int
    n_units: int

    def __len__(self) -> int:
        return len(self.traced[TAU])

    def lanes(self, what: str, at: NDArray[np.intp], u: Array, *arrays: Array) -> tuple[Array, ...]:
        """A quantity of `program` at lanes (L, ...), of networks at (L,), at u (inputs,) or (L, inputs).

        In calls of 64, 256, ... lanes, filled up with their first one: to compile a program takes longer than a call.
        """
        from ghostsweep.machine import resources

        resources.load_jax()
        from ghostsweep.machine import ambient

        program, count, held = lane_program(self.kind, what), len(at), self._held
        if not self.n_inputs and np.any(u):
            raise UsageError(
                "u: found an input that is not 0; the network has no w_in and no other, so only 0 is allowed"
            )
        u = np.broadcast_to(np.asarray(u, np.float64), (count, self.n_inputs))
        if not count:  # the shapes of what is found are those of any lane
            u, arrays = np.zeros((1, self.n_inputs)), tuple(np.zeros((1, *array.shape[1:])) for array in arrays)
            at = np.zeros(1, np.intp)
        largest = max(1, LANES // self.dimension**2)
        size = min(largest, next(4**k for k in range(3, 32) if 4**k >= count))

        parts = []
        with ambient.pinned(x64=True):
            for first in range(0, max(count, 1), size):
                rows = np.arange(first, first + size)
                rows[rows >= max(count, 1)] = first
                found = program(*held, at[rows], u[rows], *(array[rows] for array in arrays))
                parts.append([np.array(value)[: count - first] for value in found])
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    @functools.cached_property
    def _held(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and numbers where they are computed with."""
        from ghostsweep.machine import resources

        resources.load_jax()
        from ghostsweep.machine import ambient

        with ambient.pinned(x64=True):
            import jax.numpy as jnp

            params, traced = ({n: jnp.asarray(v) for n, v in part.items()} for part in (self.params, self.traced))
            return params, traced


def velocity_of(kind: Shape | Velocity) -> Velocity:
    """The velocity of a kind of network, in 1/tau."""
    if not isinstance(kind, Shape):
        return kind
    step = model_of(kind).step
    assert step is not None

    def velocity(p: Any, t: Any, y: Any, u: Any) -> Any:
        return (step(kind, p, with_data(kind, t), y, u) - y) * t[TAU]

    return velocity


def closed_form(p: Any, t: Any, y: "jax.Array", u: "jax.Array") -> "jax.Array":
    """-y + tanh(y back + u w_in + bias) into, of `Flow`."""
    import jax.numpy as jnp

    drive = u[0] * p["w_in"] if "w_in" in p else 0
    rates = jnp.tanh(y @ p["back"] + p["bias"] + drive)
    return (rates @ p["into"] if "into" in p else rates) - y


@functools.lru_cache(maxsize=64)
def lane_program(kind: Shape | Velocity, what: str) -> "Callable[..., tuple[jax.Array, ...]]":
    """A quantity of L lanes, compiled: (params, traced, networks (L,), u (L, inputs), arrays (L, ...)) -> arrays.

    - velocity (y); jacobian (y): velocity and Jacobian (D, D); readout (y): what the model reads;
    - search (y, damping): a few turns of a search: y, damping, and whether it is at its end;
    - minimum (y): speed, slope, and whether the Hessian of half the squared speed is that of a minimum;
    - reduce (y, v, w), see `reduction`: r, a, the coefficients of the reduced flow, the bend of its manifold.
    """
    import jax

    velocity = velocity_of(kind)

    def one(p: Any, t: Any, u: "jax.Array", *arrays: "jax.Array") -> "tuple[jax.Array, ...]":
        def flow(y: "jax.Array") -> "jax.Array":
            return velocity(p, t, y, u)  # type: ignore[no-any-return]

        if what == "readout":
            assert isinstance(kind, Shape) and (readout := model_of(kind).readout) is not None
            return (readout(kind, p, with_data(kind, t), *arrays),)
        return _QUANTITIES[what](flow, *arrays)  # type: ignore[no-any-return]

    def lanes(
        params: Any, traced: Any, at: "jax.Array", u: "jax.Array", *arrays: "jax.Array"
    ) -> "tuple[jax.Array, ...]":
        own = jax.tree.map(lambda value: value[at], (params, traced))
        return jax.vmap(one)(*own, u, *arrays)

    return jax.jit(lanes)


_END_SLOPE, _END_SPEED, _END_STEP, _LARGEST_DAMPING, _TURNS = 1e-9, 1e-14, 1e-11, 1e9, 4

Of = Callable[[Any], Any]


def _half_squared(flow: Of) -> Of:
    return lambda y: (flow(y) ** 2).sum() / 2


def _slope(q: Any, gradient: Any) -> "tuple[jax.Array, jax.Array]":
    """The speed, and the size of its gradient."""
    import jax.numpy as jnp

    speed = jnp.sqrt(2 * q)
    return speed, jnp.linalg.norm(gradient) / jnp.where(speed > 0, speed, 1.0)


def _search(flow: Of, y: "jax.Array", damping: "jax.Array") -> "tuple[jax.Array, ...]":
    """A few turns of a damped Newton search on half the squared speed q.

    The step is -(H + damping)^-1 grad q, the Hessian H with a damping that makes the sum positive definite, so that it
    goes downhill. The damping falls tenfold with a step that lowers q and rises tenfold with one that does not. A
    search ends where the slope or the speed is 0 but for rounding, or where a step that rounding swallows lowers no q.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    half = _half_squared(flow)

    def turn(carry: Any, _: None) -> tuple[Any, None]:
        y, q, damping, ended = carry
        gradient, hessian = jax.grad(half)(y), jax.hessian(half)(y)
        factor = jnp.linalg.cholesky(hessian + damping * jnp.eye(len(y), dtype=y.dtype))
        step = jax.scipy.linalg.cho_solve((factor, True), gradient)
        tried = half(y - step)
        lower = tried < q  # not where the factor is none
        speed, slope = _slope(q, gradient)
        swallowed = ~lower & (jnp.linalg.norm(step) <= _END_STEP * (1 + jnp.linalg.norm(y)))
        ended |= (slope <= _END_SLOPE) | (speed <= _END_SPEED) | (damping >= _LARGEST_DAMPING) | swallowed
        moves = lower & ~ended
        after = jnp.where(moves, y - step, y), jnp.where(moves, tried, q)
        return (*after, jnp.where(lower, 0.1, 10.0) * damping, ended), None

    begin = (y, half(y), damping, jnp.zeros((), bool))
    (y, q, damping, ended), _ = lax.scan(turn, begin, None, length=_TURNS)
    return y, damping, ended


def _minimum(flow: Of, y: "jax.Array") -> "tuple[jax.Array, ...]":
    import jax
    import jax.numpy as jnp

    half = _half_squared(flow)
    speed, slope = _slope(half(y), jax.grad(half)(y))
    factor = jnp.linalg.cholesky(jax.hessian(half)(y) + SHIFT * jnp.eye(len(y), dtype=y.dtype))
    return speed, slope, jnp.isfinite(factor).all()


def _derivatives(function: Of, order: int) -> "list[Of]":
    """A function of a number and its derivatives by it."""
    import jax

    found = [function]
    for _ in range(order):
        found.append(jax.jacfwd(found[-1]))
    return found


def _reduce(flow: Of, y: Any, v: Any, w: Any, inverse: Any) -> "tuple[jax.Array, ...]":
    """See `reduction`: r and a, and the five coefficients of the reduced flow with the bend of its manifold.

    inverse (D, D): of the Jacobian across v. It is given, since two calls of LAPACK in one program of which none needs
    the other can wait for each other for ever on two cores (JAX 0.10).
    """
    import jax
    import jax.numpy as jnp

    velocity = flow(y)

    def across(right: Any) -> Any:
        """The z with w . z = 0 for which J z = right but for a part along v."""
        return inverse @ right

    def second(one: Any, other: Any) -> Any:
        """D2F(one, other)."""
        return jax.jvp(lambda y: jax.jvp(flow, (y,), (one,))[1], (y,), (other,))[1]

    bent = second(v, v)
    r, a = w @ velocity, w @ bent / 2
    y2 = across(-bent)
    y0 = across(-velocity)
    y1 = across(y2 * r - second(v, y0))
    y0 = across(y1 * r - velocity - second(y0, y0) / 2)
    zero = jnp.zeros((), y.dtype)
    third = _derivatives(lambda s: flow(y + s * v + s * s / 2 * y2), 3)[3](zero)
    y3 = across(6 * a * y2 - third)

    def reduced(s: Any) -> Any:
        along = y + y0 + s * (v + y1 + s / 2 * (y2 + s / 3 * y3))
        return w @ flow(along)

    value, *slopes = (each(zero) for each in _derivatives(reduced, 4))
    coefficients = jnp.stack([value, slopes[0], slopes[1] / 2, slopes[2] / 6, slopes[3] / 24])
    return r, a, coefficients, y2


def _jacobian(flow: Of, y: "jax.Array") -> "tuple[jax.Array, ...]":
    import jax

    return flow(y), jax.jacfwd(flow)(y)


_QUANTITIES: dict[str, Callable[..., Any]] = {
    "velocity": lambda flow, y: (flow(y),),
    "jacobian": _jacobian,
    "search": _search,
    "minimum": _minimum,
    "reduce": _reduce,
}
