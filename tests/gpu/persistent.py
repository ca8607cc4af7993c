"""Prototype: whole stretches of training of rank-one networks inside one GPU kernel, in Pallas-Triton and in CUDA C++.

    python tests/gpu/persistent.py --out persistent.json        on a GPU: correctness, then microseconds per epoch
    python tests/gpu/persistent.py --interpret                  on the CPU: correctness of the Pallas kernels
    python tests/gpu/persistent.py --lower                      on the CPU: lower the Pallas kernels for an H100

The task is delayed activation, with plain SGD in float32 at a fixed confidence. m, n and b stay in registers for all
epochs. A run whose loss or gradient is not finite keeps its parameters: it then repeats that epoch, with no state.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

warnings.filterwarnings("ignore", message=".*Pallas Triton.*")
UNITS, PADDED, X_START = 100, 128, -0.3
LEAK, CONFIDENCE, RATE = 0.5, 10.0, 0.003
SIZES = (300, 1056, 4224)
NAMES = ("m", "n", "b", "loss", "grad_norm")
STARTED = time.perf_counter()
Arrays = tuple[Any, ...]

# One run on LANES lanes of a warp, PER units each. Macros to set: TIMESCALE, LANES, TANH (0 exact, 1 by ex2 and
# division, 2 tanh.approx), KEEP (rates in registers, or else computed again), WARPS (per block) and UNROLL.
CUDA = r"""
#define UNITS 100
#define STEPS (2 * TIMESCALE)
#define PER ((UNITS + LANES - 1) / LANES)
#define GROUPS (WARPS * 32 / LANES)
#define ALL_LANES 0xffffffffu

__device__ __forceinline__ float rate(float x) {
#if TANH == 0
    return tanhf(x);
#elif TANH == 1
    return 1.0f - __fdividef(2.0f, __expf(2.0f * x) + 1.0f);
#else
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

__device__ __forceinline__ float total(float x) {
#pragma unroll
    for (int offset = LANES / 2; offset; offset /= 2) x += __shfl_xor_sync(ALL_LANES, x, offset);
    return x;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
train(float* ms, float* ns, float* bs, const float* lrs, float* losses, float* norms,
      float leak, float confidence, int epochs, int runs) {
    __shared__ float kappas[GROUPS][STEPS + 1], slopes[GROUPS][STEPS], directs[GROUPS][STEPS];
    const int group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int own = blockIdx.x * GROUPS + group, run = min(own, runs - 1);
    float *ks = kappas[group], *ss = slopes[group], *ds = directs[group];
    float m[PER], n[PER], b[PER];
#pragma unroll
    for (int u = 0; u < PER; u++) {
        const int i = lane + LANES * u;
        m[u] = i < UNITS ? ms[run * UNITS + i] : 0.0f;
        n[u] = i < UNITS ? ns[run * UNITS + i] : 0.0f;
        b[u] = i < UNITS ? bs[run * UNITS + i] : 0.0f;
    }
    [[maybe_unused]] constexpr int TURN = UNROLL;
    const float lr = lrs[run], stay = 1.0f - leak;
    float loss = 0.0f, norm = 0.0f;
    for (int epoch = 0; epoch < epochs; epoch++) {
        float sum = 0.0f, nm = 0.0f;
#pragma unroll
        for (int u = 0; u < PER; u++) {
            sum += n[u];
            nm += n[u] * m[u];
        }
        float kappa = -0.3f * total(sum);
        nm = total(nm);
#if KEEP
        float h[STEPS][PER];
#pragma unroll
#else
#pragma unroll(TURN)
#endif
        for (int t = 0; t < STEPS; t++) {
            if (lane == 0) ks[t] = kappa;
            float drive = 0.0f, square = 0.0f;
#pragma unroll
            for (int u = 0; u < PER; u++) {
                const float r = rate(m[u] * kappa + b[u]), nr = n[u] * r;
#if KEEP
                h[t][u] = r;
#endif
                drive += nr;
                square += nr * (m[u] * r);
            }
            drive = total(drive);
            square = total(square);
            if (lane == 0) ss[t] = stay + leak * (nm - square);
            kappa = stay * kappa + leak * drive;
        }
        if (lane == 0) ks[STEPS] = kappa;
        __syncwarp();
        float errors = 0.0f;
#pragma unroll
        for (int t = lane; t < STEPS; t += LANES) {
            const float output = 1.0f / (1.0f + expf(-confidence * (ks[t + 1] - 1.0f)));
            const float error = output - (t < TIMESCALE ? 0.0f : 1.0f);
            errors += error * error;
            ds[t] = (2.0f / TIMESCALE) * confidence * error * output * (1.0f - output);
        }
        loss = total(errors) / TIMESCALE;
        __syncwarp();
        float adjoint = 0.0f, weights = 0.0f, weights_kappa = 0.0f;
        float by_h[PER] = {}, by_h2[PER] = {}, by_kappa_h2[PER] = {};
#if KEEP
#pragma unroll
#else
#pragma unroll(TURN)
#endif
        for (int t = STEPS - 1; t >= 0; t--) {
            adjoint += ds[t];
            const float at = ks[t], w = leak * adjoint, wk = w * at;
            weights += w;
            weights_kappa += wk;
#pragma unroll
            for (int u = 0; u < PER; u++) {
#if KEEP
                const float r = h[t][u];
#else
                const float r = rate(m[u] * at + b[u]);
#endif
                by_h[u] += w * r;
                by_h2[u] += w * (r * r);
                by_kappa_h2[u] += wk * (r * r);
            }
            adjoint *= ss[t];
        }
        float squares = 0.0f;
#pragma unroll
        for (int u = 0; u < PER; u++) {
            by_kappa_h2[u] = n[u] * (weights_kappa - by_kappa_h2[u]);
            by_h2[u] = n[u] * (weights - by_h2[u]);
            by_h[u] = lane + LANES * u < UNITS ? by_h[u] - 0.3f * adjoint : 0.0f;
            squares += by_kappa_h2[u] * by_kappa_h2[u] + by_h2[u] * by_h2[u] + by_h[u] * by_h[u];
        }
        norm = sqrtf(total(squares));
        if (isfinite(loss) && isfinite(norm)) {
#pragma unroll
            for (int u = 0; u < PER; u++) {
                m[u] -= lr * by_kappa_h2[u];
                n[u] -= lr * by_h[u];
                b[u] -= lr * by_h2[u];
            }
        }
        __syncwarp();
    }
    if (own >= runs) return;
#pragma unroll
    for (int u = 0; u < PER; u++) {
        const int i = lane + LANES * u;
        if (i < UNITS) {
            ms[run * UNITS + i] = m[u];
            ns[run * UNITS + i] = n[u];
            bs[run * UNITS + i] = b[u];
        }
    }
    if (lane == 0) {
        losses[run] = loss;
        norms[run] = norm;
    }
}
"""
TANH = ("exact", "exp", "approx")
Variant = dict[str, Any]
# In the order they are timed, until the time is up.
CUDA_VARIANTS: list[Variant] = [
    {"lanes": 32, "tanh": "exact", "keep": False, "warps": 1, "unroll": 4},
    {"lanes": 32, "tanh": "exp", "keep": False, "warps": 1, "unroll": 4},
    {"lanes": 16, "tanh": "exp", "keep": False, "warps": 1, "unroll": 4},
    {"lanes": 32, "tanh": "exp", "keep": True, "warps": 1, "unroll": 4},
    {"lanes": 16, "tanh": "exact", "keep": False, "warps": 1, "unroll": 4},
    {"lanes": 32, "tanh": "exp", "keep": False, "warps": 4, "unroll": 4},
    {"lanes": 32, "tanh": "approx", "keep": False, "warps": 1, "unroll": 4},
]
# block: steps per turn of the kernel's time loops, or 0 for no loop; keep: rates in registers.
PALLAS_VARIANTS: list[Variant] = [
    *({"num_warps": warps, "tanh": "exact", "block": 0, "keep": False} for warps in (1, 2, 4)),
    *({"num_warps": warps, "tanh": "exp", "block": 0, "keep": False} for warps in (1, 2, 4)),
    *({"num_warps": warps, "tanh": "exp", "block": 4, "keep": False} for warps in (1, 2, 4)),
    {"num_warps": 4, "tanh": "exp", "block": 0, "keep": True},
    {"num_warps": 1, "tanh": "exact", "block": 4, "keep": False},
]


def elapsed() -> float:
    """Seconds since this program began."""
    return time.perf_counter() - STARTED


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


def plain_trainer(timescale: int) -> Callable[..., Arrays]:
    """The same by `rank_one.evaluate`, vectorised: function of epochs (), rates (runs,) and m, n, b (runs, 100)."""
    from ghostsweep import Run
    from ghostsweep.models import rank_one
    from ghostsweep.spec import Shape

    shape = Shape.of(Run(model="rank_one", timescale=timescale, learning_rate=RATE, epochs=1).model_dump())
    traced = {"dt_ms": jnp.float32(5), "tau_ms": jnp.float32(10), "confidence": jnp.float32(CONFIDENCE)}
    assert traced["dt_ms"] / traced["tau_ms"] == LEAK

    def train(epochs: jax.Array, rate: jax.Array, m: jax.Array, n: jax.Array, b: jax.Array) -> Arrays:
        def epoch(_: Any, carry: Arrays) -> Arrays:
            params = dict(zip("mnb", carry[:3], strict=True))
            loss, _accuracy, grads = rank_one.evaluate(shape, params, traced)
            norm = jnp.sqrt(sum((grads[name] ** 2).sum() for name in "mnb"))
            finite = jnp.isfinite(loss) & jnp.isfinite(norm)
            kept = (jnp.where(finite, params[name] - rate * grads[name], params[name]) for name in "mnb")
            return *kept, loss, norm

        return lax.fori_loop(0, epochs, epoch, (m, n, b, jnp.float32(0), jnp.float32(0)))

    return jax.jit(jax.vmap(train, in_axes=(None, 0, 0, 0, 0)))


def reference(timescale: int, epochs: int, rates: np.ndarray, start: Arrays) -> Arrays:
    """The same in NumPy and float64."""
    m, n, b = (x.astype(np.float64) for x in start)
    rate = rates.astype(np.float64)[:, None]
    steps = 2 * timescale
    loss = norm = np.zeros(len(rates))
    for _ in range(epochs):
        kappas, hs = [X_START * n.sum(1, keepdims=True)], []
        for _step in range(steps):
            hs.append(np.tanh(m * kappas[-1] + b))
            kappas.append((1 - LEAK) * kappas[-1] + LEAK * (n * hs[-1]).sum(1, keepdims=True))
        loss, adjoint = np.zeros((2, len(rates), 1))
        of_m, of_n, of_b = np.zeros((3, *m.shape))
        for step in reversed(range(steps)):
            output = 1 / (1 + np.exp(-CONFIDENCE * (kappas[step + 1] - 1)))
            error = output - (step >= timescale)
            loss = loss + error**2 / timescale
            adjoint = adjoint + 2 / timescale * CONFIDENCE * error * output * (1 - output)
            slope = n * (1 - hs[step] ** 2)
            of_n += LEAK * adjoint * hs[step]
            of_b += LEAK * adjoint * slope
            of_m += LEAK * adjoint * slope * kappas[step]
            adjoint = adjoint * (1 - LEAK + LEAK * (slope * m).sum(1, keepdims=True))
        of_n += X_START * adjoint
        norm = np.sqrt((of_m**2 + of_n**2 + of_b**2).sum(1))
        m, n, b = m - rate * of_m, n - rate * of_n, b - rate * of_b
    return m, n, b, loss[:, 0], norm


def initial(runs: int) -> Arrays:
    """What seeds 0, 1, ... draw in ghostsweep, in NumPy."""

    def draw(seed: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(jnp.stack([seed * 0, seed]), impl="threefry2x32")
        return jax.random.normal(jax.random.fold_in(key, 0), (2, UNITS), jnp.float32) / UNITS**0.5

    m, n = np.asarray(jax.vmap(draw)(jnp.arange(runs, dtype=jnp.uint32))).swapaxes(0, 1)
    return np.ascontiguousarray(m), np.ascontiguousarray(n), np.zeros_like(m)


def mixed(runs: int) -> Arrays:
    """Seeds 0 to 7 as they begin, where gradients are tiny, and again with a feedback that makes them learn."""
    m, n, b = (np.array(x) for x in initial(runs))
    m[8:16], n[8:16], b[8:16] = m[:8], n[:8] + 2 * m[:8], 0.5 * np.abs(m[:8])
    n[8:16] -= n[8:16].mean(1, keepdims=True) + 0.02
    return m, n, b


def away(found: Arrays, expected: Arrays, start: Arrays) -> dict[str, float]:
    """Largest difference of each array by its largest value; of learning seeds' parameters by their largest move."""
    result = {}
    for part, lanes in (("", slice(0, 8)), ("learning ", slice(8, 16))):
        for name, x, y, begin in zip(NAMES, found, expected, (*start, 0, 0), strict=True):
            x = np.asarray(x)[lanes, :UNITS] if np.ndim(x) == 2 else np.asarray(x)[lanes]
            scale = np.abs(y[lanes] - begin[lanes] if part and np.ndim(x) == 2 else y[lanes]).max()
            result[part + name] = float(np.abs(x - y[lanes]).max() / scale)
    return result


def cuda_trainer(timescale: int, variant: Variant) -> tuple[Callable[[int, Arrays], None], float]:
    """Function of epochs and CuPy arrays (m, n, b, rates, losses, norms) that trains in place; compile seconds."""
    import cupy

    macros = {
        "TIMESCALE": timescale,
        "LANES": variant["lanes"],
        "TANH": TANH.index(variant["tanh"]),
        "KEEP": int(variant["keep"]),
        "WARPS": variant["warps"],
        "UNROLL": variant["unroll"],
    }
    options = tuple(f"-D{name}={value}" for name, value in macros.items())
    before = time.perf_counter()
    kernel = cupy.RawKernel(CUDA, "train", options=("--std=c++17", *options))
    kernel.compile()
    seconds = time.perf_counter() - before
    groups = variant["warps"] * 32 // variant["lanes"]

    def train(epochs: int, arrays: Arrays) -> None:
        runs = len(arrays[0])
        settings = np.float32(LEAK), np.float32(CONFIDENCE), np.int32(epochs), np.int32(runs)
        kernel((-(-runs // groups),), (32 * variant["warps"],), (*arrays, *settings))
        cupy.cuda.get_current_stream().synchronize()

    train.registers = kernel.num_regs  # type: ignore[attr-defined]
    train.local_bytes = kernel.local_size_bytes  # type: ignore[attr-defined]
    return train, seconds


def cuda_arrays(rates: np.ndarray, start: Arrays) -> Arrays:
    """Arrays that a `cuda_trainer` works on: m, n, b, rates, losses, norms."""
    import cupy

    zeros = np.zeros(len(rates), np.float32)
    return tuple(cupy.asarray(np.array(x)) for x in (*start, rates, zeros, zeros))


def timed(call: Callable[[int], Any], seconds: float) -> tuple[float, int]:
    """Microseconds per epoch, best of three calls of about `seconds`, and epochs per call."""
    epochs = 16
    call(epochs)
    while True:  # grow until the call is long enough to trust, then set its length
        before = time.perf_counter()
        call(epochs)
        took = time.perf_counter() - before
        if took > seconds / 20:
            break
        epochs *= 4
    epochs = max(1, round(epochs * seconds / took))
    best = float("inf")
    for _ in range(3):
        before = time.perf_counter()
        call(epochs)
        best = min(best, time.perf_counter() - before)
    return best / epochs * 1e6, epochs


def _name(kind: str, variant: Variant) -> str:
    return " ".join([kind, *(f"{key}={value}" for key, value in variant.items())])


def _trouble(error: BaseException) -> str:
    print("".join(traceback.format_exception(error, limit=-3))[-1500:], flush=True)
    return f"{type(error).__name__}: {str(error)[:300]}"


def lowered(timescale: int, runs: int, variant: Variant, interpret: bool = False, **how: Any) -> Any:
    """A Pallas program, traced and lowered."""
    args = pallas_arguments(1, np.zeros(runs, np.float32), (np.zeros((runs, UNITS), np.float32),) * 3)
    return jax.jit(pallas_trainer(timescale, runs, interpret=interpret, **variant)).trace(*args).lower(**how)


class Bench:
    """What one call of this program finds, written after each part."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.timescale = options.timescale
        self.found: dict[str, Any] = {"correctness": {}, "compile_seconds": {}, "us_per_epoch": {}, "other": {}}
        self.pool = concurrent.futures.ThreadPoolExecutor(1 if options.interpret else 12)
        self.programs: dict[tuple[str, int], concurrent.futures.Future[Any]] = {}

    def write(self) -> None:
        self.found["seconds"] = round(elapsed(), 1)
        if self.options.out:
            Path(self.options.out).write_text(json.dumps(self.found, indent=1) + "\n")

    def left(self) -> float:
        return float(self.options.budget) - elapsed()

    def guarded(self, name: str, part: Callable[[], None]) -> None:
        """Run a part; where it fails, say so and go on."""
        try:
            if self.left() < 0:
                raise TimeoutError("no time left")
            part()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if isinstance(error, TimeoutError):
                print(f"{name}: {error or 'timed out'}", flush=True)
            else:
                print(name)
                self.found["other"][name] = _trouble(error)
        self.write()

    def submit(self, sizes: tuple[int, ...]) -> None:
        """Lower all Pallas programs here and begin to compile them in threads."""

        def compiled(key: tuple[str, int], program: Any) -> Any:
            before = time.perf_counter()
            result = program.compile()
            self.found["compile_seconds"][f"{key[0]}, {key[1]} runs"] = round(time.perf_counter() - before, 2)
            return result

        for runs in sizes:
            for variant in PALLAS_VARIANTS:
                key = _name("pallas", variant), runs

                def part(key: tuple[str, int] = key, runs: int = runs, variant: Variant = variant) -> None:
                    if self.options.interpret and variant["tanh"] == "approx":
                        return
                    program = lowered(self.timescale, runs, variant, self.options.interpret)
                    self.programs[key] = self.pool.submit(compiled, key, program)

                self.guarded(f"lower {key}", part)

    def correctness(self, runs: int) -> None:
        """Distance of each kernel from NumPy in float64, and from the plain program where that works, over 8 seeds."""
        epochs = self.options.epochs
        start, rates = mixed(runs), np.full(runs, RATE, np.float32)
        few = tuple(x[:16] for x in start)
        expected = reference(self.timescale, epochs, rates[:16], few)
        moved = ", ".join(f"{abs(e - s)[8:].max():.1e}" for e, s in zip(expected, few, strict=False))
        print(f"T = {self.timescale}, {epochs} epochs: largest difference from float64, of {', '.join(NAMES)}.")
        print("First of 8 seeds, by the largest value;", end=" ")
        print(f"then of 8 that learn, by the largest move; m, n, b move by {moved}", flush=True)
        plain: Arrays | None = None

        def record(name: str, train: Callable[[], Arrays]) -> None:
            def part() -> None:
                nonlocal plain
                found = tuple(np.asarray(x)[:16] for x in train())
                row = {"float64": away(found, expected, few)}
                if name == "plain":
                    plain = found
                elif plain is not None:
                    row["plain"] = away(found, plain, few)
                self.found["correctness"][name] = row
                print(f"{name:56s}" + "".join(f" {v:.0e}" for v in row["float64"].values()), flush=True)

            self.guarded(f"correctness: {name}", part)

        def by_cuda(variant: Variant) -> Arrays:
            train, seconds = cuda_trainer(self.timescale, variant)
            name = _name("cuda", variant)
            self.found["compile_seconds"][name] = round(seconds, 2)
            self.found["other"][f"{name}: registers, local bytes"] = train.registers, train.local_bytes  # type: ignore
            arrays = cuda_arrays(rates, start)
            train(epochs, arrays)
            m, n, b, _rates, losses, norms = (x.get() for x in arrays)
            return m, n, b, losses, norms

        record("plain", lambda: plain_trainer(self.timescale)(epochs, rates[:16], *few))
        for variant in [] if self.options.interpret else CUDA_VARIANTS:
            record(_name("cuda", variant), functools.partial(by_cuda, variant))

        def by_pallas(key: tuple[str, int]) -> Arrays:
            program = self.programs[key].result(timeout=max(1.0, self.left()))
            return tuple(program(*pallas_arguments(epochs, rates, start)))

        for key in [key for key in self.programs if key[1] == runs]:
            record(key[0], functools.partial(by_pallas, key))

    def timing(self) -> None:
        """Microseconds per epoch of each kernel at each number of runs."""
        print(f"\n{'us per epoch (ns per run and epoch)':56s}" + "".join(f"{size:>20d}" for size in SIZES), flush=True)
        starts = {size: (np.full(size, RATE, np.float32), initial(size)) for size in SIZES}

        def row(name: str, caller: Callable[[int], Callable[[int], Any]]) -> None:
            def part() -> None:
                cells = self.found["us_per_epoch"].setdefault(name, {})
                text = ""
                for size in SIZES:
                    try:
                        if self.left() < 0:
                            raise TimeoutError("no time left")
                        microseconds, epochs = timed(caller(size), self.options.seconds)
                        cells[size] = {"us": microseconds, "ns_per_run": microseconds / size * 1e3, "epochs": epochs}
                        text += f"{microseconds:11.2f} ({microseconds / size * 1e3:6.1f})"
                    except Exception as error:
                        cells[size] = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
                        text += f"{type(error).__name__:>20s}"
                print(f"{name:56s}{text}", flush=True)

            self.guarded(f"timing: {name}", part)

        def by_cuda(train: Any, size: int) -> Callable[[int], None]:
            arrays = cuda_arrays(*starts[size])
            return lambda epochs: train(epochs, arrays)

        def by_pallas(name: str, size: int) -> Callable[[int], None]:
            program = self.programs[name, size].result(timeout=max(1.0, self.left()))
            _, *args = pallas_arguments(1, *starts[size])
            return lambda epochs: jax.block_until_ready(program(jnp.array([epochs], jnp.int32), *args))

        def by_plain(size: int) -> Callable[[int], None]:
            rates, start = starts[size]
            args = jax.device_put((rates, *start))
            train = plain_trainer(self.timescale)
            return lambda epochs: jax.block_until_ready(train(jnp.int32(epochs), *args))

        def cuda_row(variant: Variant) -> None:
            train, _ = cuda_trainer(self.timescale, variant)
            row(_name("cuda", variant), functools.partial(by_cuda, train))

        names = list(dict.fromkeys(name for name, _ in self.programs))
        for variant in CUDA_VARIANTS[:3]:
            self.guarded("timing", functools.partial(cuda_row, variant))
        for name in names[:6]:
            row(name, functools.partial(by_pallas, name))
        row("plain", by_plain)
        for variant in CUDA_VARIANTS[3:]:
            self.guarded("timing", functools.partial(cuda_row, variant))
        for name in names[6:]:
            row(name, functools.partial(by_pallas, name))


def lower_for_h100(timescale: int) -> None:
    """Lower every Pallas variant for an H100, without one."""
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        for variant in PALLAS_VARIANTS:
            before = time.perf_counter()
            size = len(lowered(timescale, 300, variant, lowering_platforms=("cuda",)).as_text())
            seconds = time.perf_counter() - before
            print(f"{_name('pallas', variant):56s} lowered: {size} bytes, {seconds:.1f} s", flush=True)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Persistent training kernels: correctness and time")
    parser.add_argument("--out", help="JSON file to write")
    parser.add_argument("--interpret", action="store_true", help="correctness of the Pallas kernels on the CPU")
    parser.add_argument("--lower", action="store_true", help="only lower the Pallas kernels for an H100")
    parser.add_argument("--timescale", type=int, default=20)
    parser.add_argument("--epochs", type=int, help="of the check of correctness")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one timed call")
    parser.add_argument("--budget", type=float, default=85, help="seconds after which nothing new is begun")
    options = parser.parse_args()
    if options.lower:
        return lower_for_h100(options.timescale)
    options.epochs = options.epochs or (5 if options.interpret else 50)
    options.budget = 600 if options.interpret else options.budget
    bench = Bench(options)
    bench.found["device"] = str(jax.devices()[0].device_kind)
    print(bench.found["device"], jax.__version__, flush=True)
    runs = 16 if options.interpret else SIZES[0]
    bench.submit((runs,) if options.interpret else SIZES)
    bench.guarded("correctness", lambda: bench.correctness(runs))
    if not options.interpret:
        bench.guarded("timing", bench.timing)
    bench.write()
    print(f"{elapsed():.0f} s", flush=True)
    os._exit(0)  # whatever still compiles


if __name__ == "__main__":
    main()
