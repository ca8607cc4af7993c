"""The persistent kernel in Pallas-Triton."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from persistent_task import CONFIDENCE, LEAK, UNITS, X_START, Arrays, Variant

warnings.filterwarnings("ignore", message=".*Pallas Triton.*")
PADDED = 128
# block: steps per turn of the kernel's time loops, or 0 for no loop; keep: rates in registers.
PALLAS_VARIANTS: list[Variant] = [
    *({"num_warps": warps, "tanh": "exact", "block": 0, "keep": False} for warps in (1, 2, 4)),
    *({"num_warps": warps, "tanh": "exp", "block": 0, "keep": False} for warps in (1, 2, 4)),
    *({"num_warps": warps, "tanh": "exp", "block": 4, "keep": False} for warps in (1, 2, 4)),
    {"num_warps": 4, "tanh": "exp", "block": 0, "keep": True},
    {"num_warps": 1, "tanh": "exact", "block": 4, "keep": False},
]


def _rate(tanh: str, x: jax.Array) -> jax.Array:
    if tanh == "exact":
        return jnp.tanh(x)
    if tanh == "exp":
        return 1.0 - 2.0 / (jnp.exp(2.0 * x) + 1.0)
    return plgpu.approx_tanh(x)


def _pallas_kernel(timescale: int, tanh: str, block: int, keep: bool, barrier: bool, *refs: Any) -> None:
    """Train one run; with `block`, kappas and slopes go through a scratch row in global memory (L1)."""
    epochs_ref, settings_ref, lr_ref, m_ref, n_ref, b_ref, *outs = refs
    m_out, n_out, b_out, loss_out, norm_out, *scratch = outs
    steps = 2 * timescale
    assert not block or timescale % block == 0
    leak, confidence, lr = settings_ref[0], settings_ref[1], lr_ref[0]
    stay = 1.0 - leak
    x_start = jnp.where(lax.iota(jnp.int32, PADDED) < UNITS, X_START, 0.0)
    zeros = jnp.zeros(PADDED, jnp.float32)
    zero = jnp.float32(0)

    def measure(output_at: jax.Array, goal: Any) -> tuple[jax.Array, jax.Array]:
        output = 1.0 / (1.0 + jnp.exp(-confidence * (output_at - 1.0)))
        error = output - goal
        return error * error, (2.0 / timescale) * confidence * error * output * (1.0 - output)

    def epoch(_: Any, carry: Arrays) -> Arrays:
        m, n, b, _loss, _norm = carry
        nm = n * m
        nm_sum = nm.sum()

        def forward(kappa: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            h = _rate(tanh, m * kappa + b)
            slope = stay + leak * (nm_sum - (nm * h * h).sum())
            return stay * kappa + leak * (n * h).sum(), slope, h

        def backward(sums: Arrays, kappa: jax.Array, after: jax.Array, slope: Any, goal: Any, h: Any) -> Arrays:
            adjoint, loss, weights, weights_kappa, by_h, by_h2, by_kappa_h2 = sums
            squared, direct = measure(after, goal)
            adjoint = adjoint + direct
            w = leak * adjoint
            wk = w * kappa
            h = _rate(tanh, m * kappa + b) if h is None else h
            hh = h * h
            sums = loss + squared, weights + w, weights_kappa + wk, by_h + w * h, by_h2 + w * hh, by_kappa_h2 + wk * hh
            return adjoint * slope, *sums

        kappa = (x_start * n).sum()
        sums: Arrays = (zero, zero, zero, zero, zeros, zeros, zeros)
        if block:
            kappas_ref, slopes_ref = scratch

            def forwards(turn: jax.Array, kappa: jax.Array) -> jax.Array:
                for offset in range(block):
                    kappas_ref[0, turn * block + offset] = kappa
                    kappa, slope, _h = forward(kappa)
                    slopes_ref[0, turn * block + offset] = slope
                return kappa

            def backwards(goal: float, turn: jax.Array, carry: Arrays) -> Arrays:
                after, *sums = carry
                for offset in range(block):
                    step = (timescale if goal == 0 else steps) - 1 - turn * block - offset
                    kappa = kappas_ref[0, step]
                    sums = backward(tuple(sums), kappa, after, slopes_ref[0, step], goal, None)
                    after = kappa
                return after, *sums

            kappa = lax.fori_loop(0, steps // block, forwards, kappa)
            if barrier:
                plgpu.debug_barrier()  # only one lane stores a scalar
            late = lax.fori_loop(0, timescale // block, functools.partial(backwards, 1.0), (kappa, *sums))
            _, *rest = lax.fori_loop(0, timescale // block, functools.partial(backwards, 0.0), late)
            if barrier:
                plgpu.debug_barrier()
            sums = tuple(rest)
        else:
            kappas, slopes, rates = [kappa], [], []
            for _step in range(steps):
                kappa, slope, h = forward(kappa)
                kappas.append(kappa)
                slopes.append(slope)
                rates.append(h if keep else None)
            for step in reversed(range(steps)):
                goal = float(step >= timescale)
                sums = backward(sums, kappas[step], kappas[step + 1], slopes[step], goal, rates[step])
        first, loss, weights, weights_kappa, by_h, by_h2, by_kappa_h2 = sums
        loss = loss / timescale
        of_m = n * (weights_kappa - by_kappa_h2)
        of_n = by_h + x_start * first
        of_b = n * (weights - by_h2)
        norm = jnp.sqrt((of_m * of_m + of_n * of_n + of_b * of_b).sum())
        step_size = jnp.where((loss < jnp.inf) & (norm < jnp.inf), lr, zero)  # not finite: nan is not below inf
        moves = step_size > 0
        updated = (jnp.where(moves, p - step_size * g, p) for p, g in ((m, of_m), (n, of_n), (b, of_b)))
        return *updated, loss, norm

    m, n, b, loss, norm = lax.fori_loop(0, epochs_ref[0], epoch, (m_ref[...], n_ref[...], b_ref[...], zero, zero))
    m_out[...], n_out[...], b_out[...] = m, n, b
    loss_out[0], norm_out[0] = loss, norm


def pallas_trainer(
    timescale: int, runs: int, num_warps: int, tanh: str, block: int, keep: bool, interpret: bool = False
) -> Callable[..., Arrays]:
    """Function of epochs (1,), settings (2,), rates (runs,) and m, n, b (runs, 128) that returns NAMES."""
    row = pl.BlockSpec((None, PADDED), lambda run: (run, 0))
    scalar = pl.BlockSpec((1,), lambda run: (run,))
    whole = functools.partial(pl.BlockSpec, index_map=lambda run: (0,))
    rows = jax.ShapeDtypeStruct((runs, PADDED), jnp.float32)
    scalars = jax.ShapeDtypeStruct((runs,), jnp.float32)
    steps = 2 * timescale
    scratch = 2 * [jax.ShapeDtypeStruct((runs, steps), jnp.float32)] if block else []
    call = pl.pallas_call(
        functools.partial(_pallas_kernel, timescale, tanh, block, keep, not interpret),
        grid=(runs,),
        in_specs=[whole((1,)), whole((2,)), scalar, row, row, row],
        out_specs=[row, row, row, scalar, scalar, *(pl.BlockSpec((1, steps), lambda run: (run, 0)) for _ in scratch)],
        out_shape=[rows, rows, rows, scalars, scalars, *scratch],
        compiler_params=plgpu.CompilerParams(num_warps=num_warps, num_stages=1),
        interpret=interpret,
        name="persistent",
    )
    return lambda *args: tuple(call(*args)[:5])


def pallas_arguments(epochs: int, rates: np.ndarray, start: Arrays) -> Arrays:
    """Arguments of a `pallas_trainer`."""
    padded = (jnp.asarray(np.pad(x, ((0, 0), (0, PADDED - UNITS)))) for x in start)
    return jnp.array([epochs], jnp.int32), jnp.array([LEAK, CONFIDENCE], jnp.float32), jnp.asarray(rates), *padded


def lowered(timescale: int, runs: int, variant: Variant, interpret: bool = False, **how: Any) -> Any:
    """A Pallas program, traced and lowered."""
    args = pallas_arguments(1, np.zeros(runs, np.float32), (np.zeros((runs, UNITS), np.float32),) * 3)
    return jax.jit(pallas_trainer(timescale, runs, interpret=interpret, **variant)).trace(*args).lower(**how)
