"""Networks with ghosts that are planted, and flows whose reduction is known in closed form."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from ghostsweep import Run
from ghostsweep.dynamics.programs import TAU, Networks
from ghostsweep.dynamics.visits import networks_of

KINDS = ("ghost", "started beyond it", "two states", "one state")
Array = np.ndarray


class Planted(NamedTuple):
    """Full-rank networks of one size: what each is, its parameters, and kappa of what is planted (NaN: nothing)."""

    kinds: list[str]
    networks: Networks
    n: Array
    kappa: Array


def flow_1d(kappa: Array, m: Array, n: Array, b: Array) -> Array:
    """-kappa + sum n tanh(m kappa + b), at (K,), of units (N,)."""
    return np.tanh(kappa[:, None] * m + b) @ n - kappa


def networks(n_units: int, count: int, seed: int, kinds: tuple[str, ...] = KINDS) -> Planted:
    """`count` networks w = n m^T, of each kind about as many, which live on kappa = n . x.

    With a bias the flow along kappa has a minimum of height 1e-4 to 2e-2 below 0 ("ghost"), or one as far below 0, with
    a fixed point on either side ("two states"); with a gain below 1 it has neither ("one state"). A unit without
    feedback has kappa begin before the minimum, or beyond it, from where it goes on to the upper state.
    """
    rng = np.random.default_rng(seed)
    grid = np.linspace(-6, 6, 2001)
    chosen, parts, places = [], [], []
    while len(parts) < count:
        kind = kinds[len(parts) % len(kinds)]
        m, n = rng.uniform(0.5, 1.5, (2, n_units - 1))
        gain = rng.uniform(0.2, 0.8) if kind == "one state" else rng.uniform(1.5, 3.0)
        n *= gain / (m @ n)
        along = m * rng.uniform(0.5, 1.5, n_units - 1)
        bias, at, kappa = rng.uniform(-0.5, 0.5) * along, np.nan, np.nan
        if kind != "one state":
            height = 10 ** rng.uniform(-4, np.log10(0.02)) * (-1 if kind == "two states" else 1)
            low = grid[grid < 0.0]

            def lowest(beta: float, m: Array = m, n: Array = n, along: Array = along, low: Array = low) -> float:
                flow = flow_1d(low, m, n, beta * along)
                inner = np.flatnonzero((flow[1:-1] <= flow[:-2]) & (flow[1:-1] <= flow[2:])) + 1
                return float(flow[inner].min()) if len(inner) else 1.0

            if not lowest(0.0) < height < lowest(1.5):
                continue
            beta = brentq(lambda x, height=height, lowest=lowest: lowest(x) - height, 0.0, 1.5)
            bias = beta * along
            flow = flow_1d(low, m, n, bias)
            inner = np.flatnonzero((flow[1:-1] <= flow[:-2]) & (flow[1:-1] <= flow[2:])) + 1
            if not len(inner):
                continue
            at = low[inner[flow[inner].argmin()]]
            kappa = np.nan if kind == "two states" else at
        began = (
            rng.uniform(-2, 2) if kind == "one state" else at + rng.uniform(0.8, 1.5) * (1 if "beyond" in kind else -1)
        )
        free = -began / 0.3 - n.sum()  # of the unit without feedback
        if not np.isfinite(free):
            continue
        m, n, bias = np.append(m, 0.0), np.append(n, free), np.append(bias, 0.0)
        parts.append({"w": np.outer(n, m), "b": bias, "w_out": n / 10, "b_out": np.zeros(1), "n": n})
        chosen.append(kind)
        places.append(kappa)
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    n = stacked.pop("n")
    run = Run(model="full_rank", n_units=n_units, timescale=100, learning_rate=0.1, epochs=1)
    return Planted(chosen, networks_of([run.fields] * count, stacked), n, np.array(places))


def of_flow(flow: Callable[..., Any], dimension: int, **params: Array) -> Networks:
    """B systems of a velocity with params (B, ...), as programs take them."""
    count = len(next(iter(params.values())))
    return Networks(flow, params, {TAU: np.ones(count)}, dimension, 0, dimension)


def circle(p: Any, t: Any, y: Any, u: Any) -> Any:
    """A saddle-node on a circle: d theta / dt = 1 + r - cos theta, and the radius goes to 1."""
    import jax.numpy as jnp

    radius = jnp.sqrt(y @ y)
    turn = 1 + p["r"] - y[0] / radius
    return y * (1 - radius) + turn * jnp.stack([-y[1], y[0]])


def curved(p: Any, t: Any, y: Any, u: Any) -> Any:
    """dx/dt = r + x^2 - b x y, dy/dt = -y + k x^2: the slow manifold y = k x^2 + ... is a steep parabola."""
    import jax.numpy as jnp

    return jnp.stack([p["r"] + y[0] ** 2 - p["b"] * y[0] * y[1], p["k"] * y[0] ** 2 - y[1]])


def embedded(p: Any, t: Any, y: Any, u: Any) -> Any:
    """ds/dt = r + s^2 and N - 1 stable directions, in coordinates y = mix (s + (p . z)^2 / 5, z), z = rest + q s^2."""
    import jax
    import jax.numpy as jnp

    def out(inner: Any) -> Any:
        s, z = inner[0], inner[1:] + p["q"] * inner[0] ** 2
        return p["mix"] @ jnp.concatenate([(s + (p["p"] @ z) ** 2 / 5)[None], z])

    flat = p["back"] @ y
    z = flat[1:]
    s = flat[0] - (p["p"] @ z) ** 2 / 5
    inner = jnp.concatenate([s[None], z - p["q"] * s**2])
    velocity = jnp.concatenate([(p["r"] + s**2)[None], -p["rates"] * inner[1:]])
    return jax.jvp(out, (inner,), (velocity,))[1]
