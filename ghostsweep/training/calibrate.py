"""Measures how fast programs compile and run here, in a few seconds and without results."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np

from ghostsweep import plan
from ghostsweep.plan.groups import Group
from ghostsweep.training import probe, programs, train

EPOCHS_SECONDS = 0.2
"""How long the epochs that are timed should take, by the constants of the plan."""


class Speed(NamedTuple):
    """What was measured of one program."""

    compile_seconds: float
    slowness: float
    """Time of an epoch as a multiple of what the constants of the plan say."""


def measure(batches: Iterable[tuple[Group, int]], devices: list[jax.Device], budget_seconds: float) -> list[Speed]:
    """Compile and time a few epochs of groups, each in a batch of the width given; stop when the time is up.

    At least the first is measured, and of the others as many as `budget_seconds` are likely to allow.
    """
    batches = list(batches)
    probe.prove({group.shape for group, _ in batches})
    began, found = time.perf_counter(), list[Speed]()
    for group, width in batches:
        spent = time.perf_counter() - began
        if found and spent * (1 + 1 / len(found)) > budget_seconds:
            break
        found.append(_measure(group, width, devices))
    return found


def _measure(group: Group, width: int, devices: list[jax.Device]) -> Speed:
    """Time the program of one group on seeds 0 .. width - 1 of its example."""
    shape, devices, began = group.shape, devices[:width], time.perf_counter()
    per_epoch = plan.cost(shape).epoch_seconds * width / len(devices)
    epochs = int(np.clip(EPOCHS_SECONDS / per_epoch, 2, 2000))
    program = programs.program(shape, width, tuple(devices))
    columns = {name: np.full(width, group.example[name]) for name in shape.traced}
    counts = {"seed": np.arange(width), "first_epoch": np.zeros(width)}
    with train.precision(shape):
        started = train.start(shape, columns | counts)
        compile_seconds = time.perf_counter() - began
        state, traced = jax.device_put(started, program.sharding)
        state = jax.block_until_ready(program.call(state, traced, np.array([0, 1]))[0])  # warms up
        # Runs in turn skip what lies between the first and the last epoch before a stop: with two there is nothing.
        apart = 2 if program.in_turn else epochs
        stops = np.append(np.arange(1, epochs, apart), epochs)
        called = time.perf_counter()
        for at in range(0, len(stops) - 1, program.reports):
            state, _ = program.call(state, traced, stops[at : at + program.reports + 1])
        jax.block_until_ready(state)
    return Speed(compile_seconds, (time.perf_counter() - called) / (epochs - 1) / per_epoch)
