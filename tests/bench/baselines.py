"""What the trainer is compared with: a plain loop of each protocol, and naive JAX."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

X_START, THRESHOLD, LEAK, CONFIDENCE = -0.3, 1.0, 0.5, 10.0


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Shortest of several timings of a call that was warmed up."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - started)
    return min(times)


def numpy_canonical_loop(timescale: float, learning_rate: float, epochs: int) -> float:
    """Seconds per update of one run of the canonical form in a plain numpy loop that keeps what `train_one` returns."""
    best = np.pi**2 / (4 * timescale**2)
    started = time.perf_counter()
    r = np.float64(10 * best)
    losses, gradients, accuracies, positions = np.empty((4, epochs))
    for epoch in range(epochs):
        if r < best / 4:
            loss, gradient = 1.0, 0.0
        else:
            loss = np.abs(timescale - np.pi / (2 * np.sqrt(r))) / timescale
            gradient = (1 if r > best else -1) * np.pi / (4 * r**1.5)
        losses[epoch], gradients[epoch] = loss, np.abs(gradient)
        accuracies[epoch], positions[epoch] = 1 - loss / 2, r
        r = r - learning_rate * gradient
    return (time.perf_counter() - started) / epochs


def torch_rank_one_loop(timescale: int, n_units: int, epochs: int) -> float:
    """Seconds per epoch of one rank-one run in a plain PyTorch loop on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    m, n = (torch.nn.Parameter(torch.randn(n_units) / n_units**0.5) for _ in range(2))
    b = torch.nn.Parameter(torch.zeros(n_units))
    optimizer = torch.optim.SGD([m, n, b], lr=1e-3)
    target = torch.cat([torch.zeros(timescale), torch.ones(timescale)])

    def epoch() -> None:
        optimizer.zero_grad()
        x = torch.full((n_units,), X_START)
        outputs = []
        for _ in range(2 * timescale):
            x = (1 - LEAK) * x + LEAK * torch.tanh(m * (n @ x) + b)
            outputs.append(torch.sigmoid(CONFIDENCE * (n @ x - THRESHOLD)))
        loss = ((torch.stack(outputs) - target) ** 2).sum() / timescale
        loss.backward()
        loss.item()
        optimizer.step()

    epoch()
    started = time.perf_counter()
    for _ in range(epochs):
        epoch()
    return (time.perf_counter() - started) / epochs


def naive_rank_one(timescale: int, n_units: int, n_runs: int, epochs: int) -> tuple[float, float]:
    """Compile seconds, and seconds per run and epoch, of jit(vmap(value_and_grad(scan))) of the plain network."""
    target = jnp.repeat(jnp.array([0.0, 1.0]), timescale)

    def loss(params: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        m, n, b = params

        def step(x: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = (1 - LEAK) * x + LEAK * jnp.tanh(m * (n @ x) + b)
            return x, (jax.nn.sigmoid(CONFIDENCE * (n @ x - THRESHOLD)) - wanted) ** 2

        return jax.lax.scan(step, jnp.full(n_units, X_START), target)[1].sum() / timescale

    def one(params: Any) -> Any:
        _, grads = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)

    @jax.jit
    def train(params: Any) -> Any:
        return jax.lax.fori_loop(0, epochs, lambda _, p: jax.vmap(one)(p), params)

    keys = jax.random.split(jax.random.key(0), 2)
    m, n = (jax.random.normal(key, (n_runs, n_units)) / n_units**0.5 for key in keys)
    params = (m, n, jnp.zeros((n_runs, n_units)))
    started = time.perf_counter()
    compiled = train.lower(params).compile()
    compiling = time.perf_counter() - started
    return compiling, seconds(lambda: compiled(params), 3) / epochs / n_runs


def peaks() -> dict[str, float]:
    """Measured limits of this machine over all devices: seconds per tanh, and per multiply-add of a matrix product."""
    size = 1 << 22
    x = jax.random.normal(jax.random.key(0), (size,))
    tanh = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: jnp.tanh(y + 0.1), x))
    a = jax.random.normal(jax.random.key(1), (2048, 2048))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return {
        "tanh": seconds(lambda: tanh(x)) / (20 * size),
        "multiply-add": seconds(lambda: product(a)) / 2048**3,
    }
