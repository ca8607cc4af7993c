"""Rank-one networks on delayed activation, trained through the scalar they live on (paper, sections 2 and 4).

The N-dimensional state x <- (1 - a) x + a tanh(m (n . x) + b) enters loss and output only through
kappa = n . x, which obeys kappa <- (1 - a) kappa + a n . tanh(m kappa + b), kappa(0) = n . x(0).
"""

from typing import TYPE_CHECKING, Any

from ghostsweep.declare.field import Field
from ghostsweep.declare.model import Cost, Evaluation, Model, Params, Traced, Trials
from ghostsweep.declare.network import DT_MS, N_UNITS, TAU_MS, stable_leak
from ghostsweep.declare.shape import VECTOR, Shape
from ghostsweep.declare.sums import total
from ghostsweep.tasks.delayed_activation import X_START, target

if TYPE_CHECKING:
    import jax

THRESHOLD = 1.0  # the output is sigmoid(c (kappa - 1))

# Steps per turn of the time loops. XLA fuses the elementwise work of a block; measured at T = 20, N = 100, two
# cores, 150 runs each: blocks of 1, 8, 16, 40 steps took 3.5, 2.7, 2.7, 3.1 us per run and epoch.
BLOCK = 8
# Of a persistent kernel: steps per turn of its loops, and the bytes of one number a step up to which it has no loops.
# Compiled for an H100 at T = 20, N = 100, float32: 7,100 instructions an epoch without loops and 14,600 with them, in
# 255 and 72 registers, after 4 and 0.8 s; in float64 without loops 8 kB do not fit into registers.
TURN, UNROLLED = 4, 256


def initial(shape: Shape, traced: Traced, key: "jax.Array") -> "dict[str, jax.Array]":
    """Draw m, n ~ N(0, 1) / sqrt N, each of shape (N,), and b = 0 (paper, section 2); c, shape (1,), if trained.

    Drawn in float32 and then widened, so that both precisions train the same network.
    """
    import jax
    import jax.numpy as jnp

    m, n = jax.random.normal(key, (2, shape.n_units), jnp.float32).astype(shape.dtype) / shape.n_units**0.5
    params = {"m": m, "n": n, "b": jnp.zeros_like(m)}
    if shape.train_confidence:  # without a confidence a later phase goes on with the c of the one before
        params["c"] = traced.get("confidence", jnp.full((), jnp.nan, shape.dtype))[None]
    return params


def evaluate(shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """Loss sum_t (o_t - target_t)^2 / T over 2T steps, share of right steps, and gradient by a scalar adjoint.

    With h_t = tanh(m kappa_t + b) and lambda_t = dL/dkappa_t, the backward pass is
    lambda_t = g_t + lambda_{t+1} ((1 - a) + a sum_i n_i m_i (1 - h_ti^2)), where g_t is the direct part, and

        dL/dn = sum_t w_t h_t + lambda_0 x(0)      w_t = a lambda_{t+1}
        dL/db = n sum_t w_t (1 - h_t^2)
        dL/dm = n sum_t w_t kappa_t (1 - h_t^2)

    The sum over units that the adjoint needs is taken in the forward pass, while h_t is in cache.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    vector, block = (VECTOR, 1) if shape.kernel else (1, BLOCK)
    timescale = shape.timescale
    spare = -shape.n_units % vector
    m, n, b = (jnp.pad(params[name], (0, spare)) for name in ("m", "n", "b"))
    leak = traced["dt_ms"] / traced["tau_ms"]
    steps = 2 * timescale
    block = max(size for size in range(1, block + 1) if steps % size == 0)
    nm = n * m
    nm_sum = total(shape, nm)

    def forward(kappa: "jax.Array", _: None) -> "tuple[jax.Array, Any]":
        kappas, slopes, rates = [], [], []
        for _step in range(block):
            h = jnp.tanh(m * kappa + b)
            kappas.append(kappa)
            slopes.append(nm_sum - total(shape, nm * h * h))
            rates.append(h)
            kappa = (1 - leak) * kappa + leak * total(shape, n * h)
        return kappa, (jnp.stack(kappas), jnp.stack(slopes), tuple(rates))

    last, (kappas, slopes, rates) = lax.scan(forward, X_START * total(shape, n), None, length=steps // block)
    kappas, slopes = kappas.ravel(), slopes.ravel()

    wanted = jnp.asarray(target(timescale), shape.dtype)
    read = jnp.concatenate([kappas[1:], last[None]])  # the output is read after each step
    confidence = params["c"][0] if shape.train_confidence else traced["confidence"]
    output = jax.nn.sigmoid(confidence * (read - THRESHOLD))
    error = output - wanted
    loss = (error * error).sum() / timescale
    accuracy = ((output > 0.5) == (wanted > 0.5)).mean(dtype=shape.dtype)

    def backward(adjoint: "jax.Array", step: "tuple[jax.Array, ...]") -> "tuple[jax.Array, jax.Array]":
        direct, slope = step
        adjoint = adjoint + direct
        return adjoint * ((1 - leak) + leak * slope), adjoint

    direct = 2 / timescale * confidence * error * output * (1 - output)
    first, adjoints = lax.scan(backward, jnp.zeros_like(last), (direct, slopes), reverse=True, unroll=8)
    weights = leak * adjoints
    weights_kappa = weights * kappas
    if shape.kernel:
        (h,) = rates
        by_h, by_h2, by_kappa_h2 = weights @ h, weights @ (h * h), weights_kappa @ (h * h)
    else:
        by_h, by_h2, by_kappa_h2 = _sums(weights.reshape(-1, block), weights_kappa.reshape(-1, block), rates)
    grads = {
        "m": n * (weights_kappa.sum() - by_kappa_h2),
        "n": by_h + X_START * first,
        "b": n * (weights.sum() - by_h2),
    }
    grads = {name: grad[: shape.n_units] for name, grad in grads.items()}
    if shape.train_confidence:
        grads["c"] = 2 / timescale * (error * output * (1 - output) * (read - THRESHOLD)).sum()[None]
    return Evaluation(loss, accuracy, grads)


def _sums(weights: "jax.Array", weights_kappa: "jax.Array", rates: "tuple[jax.Array, ...]") -> "Any":
    """Sums over all steps of w h, w h^2 and w kappa h^2, (N,) each, from a block's steps at a time."""
    import jax.numpy as jnp
    from jax import lax

    def accumulate(sums: Any, step: Any) -> tuple[Any, None]:
        by_h, by_h2, by_kappa_h2 = sums
        w, w_kappa, hs = step
        for i, h in enumerate(hs):
            by_h = by_h + w[i] * h
            by_h2 = by_h2 + w[i] * (h * h)
            by_kappa_h2 = by_kappa_h2 + w_kappa[i] * (h * h)
        return (by_h, by_h2, by_kappa_h2), None

    zero = jnp.zeros_like(rates[0][0])
    return lax.scan(accumulate, (zero, zero, zero), (weights, weights_kappa, rates))[0]


def persistent(shape: Shape, params: Params, traced: Traced) -> Evaluation:
    """As `evaluate`, with m, n and b in registers, padded with zeros to a power of two.

    A kernel of a GPU has no other place for arrays than registers, which have no index. A few steps are written out, so
    that each keeps its own; of many, three numbers each are kept in arrays from which one is taken as a sum, and h_t is
    computed again on the way back.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    timescale = shape.timescale
    steps = 2 * timescale
    turn = max(size for size in range(1, TURN + 1) if steps % size == 0)
    if steps * jnp.dtype(shape.dtype).itemsize <= UNROLLED:
        turn = steps
    known: list[Any] = []
    m, n, b = (params[name] for name in ("m", "n", "b"))
    confidence = params["c"].sum() if shape.train_confidence else traced["confidence"]
    leak = traced["dt_ms"] / traced["tau_ms"]
    is_unit = lax.iota(jnp.int32, len(m)) < shape.n_units
    number = lax.iota(jnp.int32, 1 << (steps - 1).bit_length())
    zero, none = jnp.zeros((), shape.dtype), jnp.zeros(number.shape, shape.dtype)
    nm = n * m
    nm_sum = nm.sum()

    def rates(kappa: "jax.Array") -> "jax.Array":
        return jnp.where(is_unit, jnp.tanh(m * kappa + b), 0)  # infinity by a zero beside the units would be none

    def take(kept: "jax.Array", step: Any) -> "jax.Array":
        return jnp.where(number == step, kept, 0).sum()

    def turns(step: Any, carry: Any) -> Any:
        return step(0, carry) if turn == steps else lax.fori_loop(0, steps // turn, step, carry)

    def forward(index: Any, carry: Any) -> Any:
        kappa, kappas, slopes, read = carry
        for offset in range(turn):
            here = number == index * turn + offset
            h = rates(kappa)
            slope = nm_sum - (nm * h * h).sum()
            if turn == steps:
                known.append((kappa, slope, h))
            else:
                kappas, slopes = jnp.where(here, kappa, kappas), jnp.where(here, slope, slopes)
            kappa = (1 - leak) * kappa + leak * (n * h).sum()
            read = jnp.where(here, kappa, read)
        return kappa, kappas, slopes, read

    kappa = X_START * n.sum()
    _, kappas, slopes, read = turns(forward, (kappa, none, none, none))

    wanted = number >= timescale
    output = jax.nn.sigmoid(confidence * (read - THRESHOLD))
    error = jnp.where(number < steps, output - wanted.astype(shape.dtype), 0)
    loss = (error * error).sum() / timescale
    right = (number < steps) & ((output > 0.5) == wanted)
    by_output = 2 / timescale * error * output * (1 - output)
    direct = confidence * by_output

    def backward(index: Any, carry: Any) -> Any:
        adjoint, weights, weights_kappa, by_h, by_h2, by_kappa_h2 = carry
        for offset in range(turn):
            step = steps - 1 - index * turn - offset
            if known:
                kappa, slope, h = known[step]
            else:
                kappa, slope = take(kappas, step), take(slopes, step)
                h = rates(kappa)
            adjoint = adjoint + take(direct, step)
            weight = leak * adjoint
            weight_kappa = weight * kappa
            weights, weights_kappa = weights + weight, weights_kappa + weight_kappa
            by_h, by_h2 = by_h + weight * h, by_h2 + weight * (h * h)
            by_kappa_h2 = by_kappa_h2 + weight_kappa * (h * h)
            adjoint = adjoint * ((1 - leak) + leak * slope)
        return adjoint, weights, weights_kappa, by_h, by_h2, by_kappa_h2

    start = (zero, zero, zero, jnp.zeros_like(n), jnp.zeros_like(n), jnp.zeros_like(n))
    first, weights, weights_kappa, by_h, by_h2, by_kappa_h2 = turns(backward, start)
    grads = {
        "m": n * (weights_kappa - by_kappa_h2),
        "n": by_h + X_START * first,
        "b": n * (weights - by_h2),
    }
    grads = {name: jnp.where(is_unit, grad, 0) for name, grad in grads.items()}
    if shape.train_confidence:
        grads["c"] = (by_output * (read - THRESHOLD)).sum()[None]
    return Evaluation(loss, right.astype(shape.dtype).sum() / steps, grads)


def outputs(shape: Shape, params: Params, traced: Traced, trials: Trials) -> "jax.Array":
    """Readouts c (kappa_t - 1) after each step, (steps, 1), without the hand-written gradient: the plain way."""
    import jax.numpy as jnp
    from jax import lax

    m, n, b = params["m"], params["n"], params["b"]
    leak = traced["dt_ms"] / traced["tau_ms"]

    def step(kappa: "jax.Array", _: None) -> "tuple[jax.Array, jax.Array]":
        kappa = (1 - leak) * kappa + leak * (n * jnp.tanh(m * kappa + b)).sum()
        return kappa, kappa

    _, kappas = lax.scan(step, trials.x_start * n.sum(), None, length=len(trials.targets))
    confidence = params["c"][0] if shape.train_confidence else traced["confidence"]
    return (confidence * (kappas - THRESHOLD))[:, None]


def step(shape: Shape, params: Params, traced: Traced, kappa: "jax.Array", u: "jax.Array") -> "jax.Array":
    """The scalar that the network lives on, (1,), after a step (paper, section 4)."""
    import jax.numpy as jnp

    leak = traced["dt_ms"] / traced["tau_ms"]
    return (1 - leak) * kappa + leak * (params["n"] * jnp.tanh(params["m"] * kappa + params["b"])).sum()[None]


def readout(shape: Shape, params: Params, traced: Traced, kappa: "jax.Array") -> "jax.Array":
    """The argument c (kappa - 1) of the output, (1,)."""
    confidence = params["c"][0] if shape.train_confidence else traced["confidence"]
    return confidence * (kappa - THRESHOLD)


def start(shape: Shape, params: Params, traced: Traced) -> "jax.Array":
    """kappa of units that are all at x_start, (1,)."""
    return traced["x_start"] * params["n"].sum()[None]


def _cost(shape: Shape) -> Cost:
    """In a kernel 0.55 ns per unit, step and epoch of one core of a Zen 5 (0.68 and 0.64 at T = 5 and 100), else 1.9.

    Fewer units than two vectors are faster side by side: 20 took 1.7 us an epoch and 2.0 in a kernel, 2 took 0.3 and 2.
    """
    size, slower = (8, 2.0) if shape.dtype == "float64" else (4, 1.0)
    steps, units = shape.n_steps, shape.n_units
    kernel = units >= 2 * VECTOR and shape.task == "delayed_activation"  # else without the hand-written gradient
    seconds = (0.55e-9 if kernel else 1.9e-9) * steps * units * slower
    return Cost(300, seconds, int(size * units * (2 * steps + 24)), kernel)


MODEL = Model(
    "rank_one",
    (
        N_UNITS,
        DT_MS,
        TAU_MS,
        Field(
            "confidence",
            "steepness c of the output sigmoid(c (kappa - 1)); null in a later phase that trains c: it goes on",
            default=10.0,
            symbol="c",
            begins="c",
        ),
        Field(
            "train_confidence",
            "whether c is trained too (1), from the confidence given, or not (0)",
            kind=bool,
            default=False,
            traced=False,
        ),
    ),
    initial,
    outputs,
    evaluate,
    step,
    readout,
    start,
    tasks=("delayed_activation",),
    channels=(0, 1),
    cost=_cost,
    n_parameters=lambda shape: 3 * shape.n_units + shape.train_confidence,
    together=("dt_ms", "tau_ms"),
    check=stable_leak,
    persistent=persistent,
    version="1",
    about="a network of rank one, which lives on kappa = n . x; output sigmoid(c (kappa - 1))",
)
