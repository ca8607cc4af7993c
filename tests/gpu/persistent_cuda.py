"""The persistent kernel in CUDA C++, and its launcher."""

import time
from collections.abc import Callable

import numpy as np
from persistent_task import CONFIDENCE, LEAK, Arrays, Variant

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
