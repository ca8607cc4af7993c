"""What random numbers cost an epoch of a full-rank network with many noisy trials, and the epoch beside a PyTorch loop.

    python tests/bench/noise.py [--torch /path/to/a/python/with/torch]

dcdt with 30 ms of cue, 50 ms of answer and 64 trials a class, noise_sigma 0.001, r0_sigma 0.1, by both generators and
with one number a run in place of every array of noise ("none"). Compiled and warmed up, all ways take many short turns,
and the best of each counts. Times are processor time, of all cores together, on which others on the machine tell least;
judge the ratios. The share of noise is what "none" saves. The PyTorch loop, of one run on one thread in a process of
its own, draws the same noise by `torch.randn`; "times" is a core against a core.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ghostsweep import Run, plan
from ghostsweep.declare import noise
from ghostsweep.machine import memory, resources
from ghostsweep.spec import shape_of
from ghostsweep.training import engine, programs, train

DEVICES = engine.local_devices(resources.cores())
TURN_SECONDS, TURNS = 0.1, 40
FIELDS: dict[str, Any] = {
    "model": "full_rank",
    "task": "dcdt",
    "input_ms": 30.0,
    "reaction_ms": 50.0,
    "trials_per_class": 64,
    "noise_sigma": 1e-3,
    "r0_sigma": 0.1,
    "learning_rate": 1e-3,
    "epochs": 1,
}
TORCH_LOOP = """
import sys, time, json, torch
torch.set_num_threads(1)
steps, cue, answer, trials, n = json.loads(sys.argv[1])
targets = torch.zeros(steps, trials); inputs = torch.zeros(steps, trials)
sign = torch.tensor([1.0, -1.0]).repeat_interleave(trials // 2)
inputs[:cue] = sign; targets[steps - answer:] = sign
def uniform(limit, *size): return torch.nn.Parameter((2 * torch.rand(size) - 1) * limit)
w, w_in, w_out = uniform((3 / n) ** 0.5, n, n), uniform((6 / (1 + n)) ** 0.5, n), uniform((6 / (1 + n)) ** 0.5, n)
b_in, b_out = uniform(1, n), uniform(n ** -0.5, 1)
optimizer = torch.optim.SGD([w, w_in, w_out, b_in, b_out], lr=1e-3)
def epoch():
    optimizer.zero_grad()
    r, outputs = torch.tanh(0.1 * torch.randn(trials, n)), []
    for u in inputs:
        outputs.append(torch.tanh(r @ w_out + b_out))
        r = 0.5 * r + 0.5 * torch.tanh(r @ w + u[:, None] * w_in + b_in + 1e-3 * torch.randn(trials, n))
    loss = ((torch.stack(outputs) - targets) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()
for line in sys.stdin:
    started = time.process_time()
    for _ in range(int(line)): epoch()
    print(time.process_time() - started, flush=True)
"""


class Trainer:
    """The trainer as the engine calls it, on as many seeds at once; called with epochs it gives seconds."""

    def __init__(self, delay_ms: float, rng: str) -> None:
        drawing = noise.normal
        if rng == "none":
            noise.normal = _one_number
        run = Run(**FIELDS, delay_ms=delay_ms, rng="hash" if rng == "none" else rng)
        self.shape, self.at = shape_of(run.fields), 0
        self.n_runs = plan.widest(self.shape, len(DEVICES), memory.usable_bytes(DEVICES) / len(DEVICES))
        columns = {name: np.full(self.n_runs, getattr(run, name)) for name in self.shape.traced_types}
        started = train.start(self.shape, columns | {"seed": np.arange(self.n_runs)})
        programs._kept.cache_clear()  # or the program with noise would be taken for that without
        jax.clear_caches()
        self.program = programs.program(self.shape, self.n_runs, tuple(DEVICES))
        with train.precision(self.shape):
            self.state, self.traced = jax.device_put(started, self.program.sharding)
        self(1)
        noise.normal = drawing

    def __call__(self, epochs: int) -> float:
        started = time.process_time()
        with train.precision(self.shape):
            self.state, report = self.program.call(self.state, self.traced, np.array([self.at, self.at + epochs]))
        assert np.isfinite(np.asarray(report.loss)[0]).all()
        self.at += epochs
        return time.process_time() - started


def _one_number(shape: Any, traced: Any, size: tuple[int, ...], purpose: int) -> jax.Array:
    key = jax.random.key_data(jax.random.fold_in(traced["key"], purpose))
    return jnp.broadcast_to(key[0].astype(jnp.int32).astype(shape.dtype) * 2**-31, size)


def torch_loop(python: str, trainer: Trainer) -> Callable[[int], float]:
    """Seconds of so many epochs of the loop in that Python."""
    shape = trainer.shape
    sizes = [shape.n_steps, shape.input_steps, shape.reaction_steps, shape.n_trials, shape.n_units]
    command = [python, "-W", "ignore", "-c", TORCH_LOOP, json.dumps(sizes)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin and child.stdout
    asked, told = child.stdin, child.stdout

    def seconds(epochs: int) -> float:
        print(epochs, file=asked, flush=True)
        return float(told.readline())

    return seconds


def measure(delay_ms: float, python: str | None) -> None:
    """Print one row."""
    ways: dict[str, Any] = {rng: Trainer(delay_ms, rng) for rng in ("threefry", "hash", "none")}
    trainer = ways["none"]
    if python:
        ways["PyTorch"] = torch_loop(python, trainer)
        ways["PyTorch"](2)
    epochs = {way: max(1, round(TURN_SECONDS / call(1))) for way, call in ways.items()}
    rounds = [{way: call(epochs[way]) / epochs[way] for way, call in ways.items()} for _ in range(TURNS)]
    best = {way: min(times[way] for times in rounds) / (1 if way == "PyTorch" else trainer.n_runs) for way in ways}
    states = trainer.shape.n_trials * trainer.shape.n_units * (trainer.shape.n_steps - 1)
    print(f"delay {delay_ms:g} ms, {trainer.n_runs} runs on {len(DEVICES)} devices, core-ms per run and epoch:")
    for way, seconds in best.items():
        line = f"  {way:9}{seconds * 1e3:8.3f}  {seconds / states * 1e9:6.2f} ns a unit, step and trial"
        if way in ("threefry", "hash"):
            line += f"  {1 - best['none'] / seconds:4.0%} noise"
        if python and way != "PyTorch":
            line += f"  {best['PyTorch'] / seconds:5.2f} times the PyTorch loop"
        print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    python = parser.parse_args().torch
    for delay_ms in (80.0, 400.0):
        measure(delay_ms, python)
    sys.exit()
