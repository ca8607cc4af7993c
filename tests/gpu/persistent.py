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
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from persistent_cuda import CUDA_VARIANTS, cuda_arrays, cuda_trainer
from persistent_pallas import PALLAS_VARIANTS, lowered, pallas_arguments
from persistent_task import NAMES, RATE, Arrays, Variant, away, initial, mixed, plain_trainer, reference

SIZES = (300, 1056, 4224)
STARTED = time.perf_counter()


def elapsed() -> float:
    """Seconds since this program began."""
    return time.perf_counter() - STARTED


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
