"""The steps of `check.py`: each a function that returns what it finds, and keeps it as it goes."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import measuring
from measuring import ROOT, golden_names, golden_of, keep, seconds_of, trainer_of
from persistent import persistent

from ghostsweep.machine import resources
from ghostsweep.spec import shape_of

WIDTHS = (128, 1024, 8192, 65536)
CUES: dict[str, Any] = {"input_ms": 30.0, "delay_ms": 80.0, "reaction_ms": 50.0}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "rank-one, T = 20": {"model": "rank_one", "timescale": 20},
    "canonical": {"model": "canonical", "timescale": 100, "learning_rate": 1e-10},
    "readout, K = 10": {"model": "low_rank", "rank": 10, "timescale": 20},
    "readout, full": {"model": "full_rank", "timescale": 20},
    "dcdt, full": {"model": "full_rank", "task": "dcdt", **CUES},
    "dmts, full": {"model": "full_rank", "task": "dmts", **CUES},
    "rank-one, T = 40": {"model": "rank_one", "timescale": 40},
    "readout, K = 1": {"model": "low_rank", "rank": 1, "timescale": 20},
    "readout, K = 100": {"model": "low_rank", "rank": 100, "timescale": 20},
}
MANY: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    f"full rank, 128 trials, noise, {delay} ms": (
        {"model": "full_rank", "task": "dcdt", **CUES, "delay_ms": delay, "trials_per_class": 64}
        | {"noise_sigma": 1e-3, "r0_sigma": 0.1},
        (1, 16, 128, 512),
    )
    for delay in (80.0, 400.0)
} | {
    "rank 2, 1,000 trials (Fig. 4, dcdt)": (
        {"model": "low_rank", "rank": 2, "task": "dcdt", "input_ms": 10.0, "delay_ms": 50.0, "reaction_ms": 50.0}
        | {"trials_per_class": 500, "r0_sigma": 0.3},
        (1,),
    )
}
"""Protocols of many trials, and the numbers of runs they are timed at."""
SMALL = """title = "Small"
[run]
model = "rank_one"
epochs = 3_000
[axes]
timescale = [5, 7, 10]
learning_rate = { logspace = [-3, -1, 8] }
seed = { range = 4 }
"""


def run_of(name: str, **fields: Any) -> Any:
    from ghostsweep import Run

    own = PROTOCOLS[name] if name in PROTOCOLS else MANY[name][0]
    return Run(**{"learning_rate": 1e-3, "epochs": 1} | own | fields)


def card() -> dict[str, Any]:
    """What the machine is."""
    import jax

    devices = jax.local_devices()
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        smi = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        smi = "no nvidia-smi"
    return {
        "devices": [f"{device.platform}: {device.device_kind}" for device in devices],
        "nvidia-smi": smi,
        "jax": jax.__version__,
        "python": sys.version.split()[0],
        "cores": len(os.sched_getaffinity(0)),
    }


def golden() -> dict[str, Any]:
    """The largest relative difference of the loss up to each file's horizon, in both precisions, and seconds."""
    kept: dict[str, Any] = {}
    jobs = [(name, dtype) for dtype in ("float64", "float32") for name in golden_names()]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = {pool.submit(golden_of, *job): job for job in jobs}
        for future in concurrent.futures.as_completed(waiting):
            name, dtype = waiting[future]
            try:
                kept[f"{name} {dtype}"] = future.result()
            except Exception as error:
                kept[f"{name} {dtype}"] = {"error": f"{type(error).__name__}: {error}"[:300]}
            keep(kept)
    return kept


def widths(budget: float = 0.4, sizes: tuple[int, ...] = WIDTHS) -> dict[str, Any]:
    """Microseconds of a run's epoch, by protocol and number of runs at once; compile seconds apart."""
    return _timed([(name, width) for width in sizes for name in PROTOCOLS], budget)


def graphs(budget: float = 0.4) -> dict[str, Any]:
    """`widths` of few runs, in a process whose XLA captures loops and conditionals as CUDA graphs."""
    return widths(budget, WIDTHS[:2])


def many(budget: float = 0.6) -> dict[str, Any]:
    """The same of protocols of many trials."""
    return _timed([(name, width) for name, (_, sizes) in MANY.items() for width in sizes], budget)


def _timed(jobs: list[tuple[str, int]], budget: float) -> dict[str, Any]:
    import jax

    devices = tuple(jax.local_devices())
    found: dict[str, Any] = {}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        built = {job: pool.submit(trainer_of, run_of(job[0]), job[1], devices) for job in jobs}
    for name, width in jobs:  # once all are compiled, so that nothing else is at work
        row = found.setdefault(name, {})
        try:
            trainer, compiling = built.pop((name, width)).result()
            each = seconds_of(trainer, budget)
            row[str(width)] = {"us": each / width * 1e6, "epoch_ms": each * 1e3, "compile_s": compiling}
            if stats := devices[0].memory_stats():  # of the process so far: none on a CPU
                row["peak_mb"] = stats["peak_bytes_in_use"] / 1e6
        except Exception as error:
            row[str(width)] = {"error": f"{type(error).__name__}: {error}"[:300]}
        keep(found)
    return found


def cpu() -> dict[str, Any]:
    """The same on the cores of this machine, as wide as the engine makes it."""
    from ghostsweep import plan
    from ghostsweep.training import engine

    devices = tuple(engine.local_devices(resources.cores()))
    found = {"cores": len(devices)}
    for name in PROTOCOLS:
        run = run_of(name)
        width = plan.widest(shape_of(run.fields), len(devices), 1e9)
        trainer, compiling = trainer_of(run, width, devices)
        each = seconds_of(trainer, 1.0)
        found[name] = {"us": each / width * 1e6, "width": width, "compile_s": compiling}  # type: ignore[assignment]
        keep(found)
    return found


def naive(width: int = 8192) -> dict[str, Any]:
    """Microseconds of a run's epoch in naive JAX, the plain function of the loss differentiated and vectorised."""
    sys.path.insert(0, str(ROOT / "tests/bench"))
    import baselines
    import jax
    import numpy as np

    found: dict[str, Any] = {}
    for name in ("rank-one, T = 20", "readout, K = 10", "dcdt, full", "readout, full"):
        run = run_of(name)
        trainer, _ = trainer_of(run, width, tuple(jax.local_devices()))
        state, _ = trainer(1)
        params = {key: np.asarray(value) for key, value in state.params.items()}
        compiling, plain = baselines.naive_jax(run, params)
        found[name] = {"us": seconds_of(plain, 0.4) / width * 1e6, "width": width, "compile_s": compiling}
        keep(found)
    return found


def independent() -> dict[str, Any]:
    """The largest relative difference of parameters between a run trained among few and among many, 200 epochs."""
    import jax
    import numpy as np

    found: dict[str, Any] = {}
    for name in ("rank-one, T = 20", "readout, K = 10", "dcdt, full", "canonical"):
        ends = []
        for width in (8, 1024):
            trainer, _ = trainer_of(run_of(name, learning_rate=1e-9 if name == "canonical" else 1e-3), width,
                                  tuple(jax.local_devices()))  # fmt: skip
            state, _ = trainer(200)
            ends.append({key: np.asarray(value)[:8] for key, value in state.params.items()})
        found[name] = max(
            float(np.abs(ends[1][key] - value).max() / np.abs(value).max()) for key, value in ends[0].items()
        )
        keep(found)
    return found


def _sweep(*arguments: str, stop: Callable[[], int | None] | None = None, seconds: float = 100, log: str = "") -> float:
    """Run the command line; send the signal that `stop` gives as soon as it gives one. Returns seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "ghostsweep", *arguments]
    with open(log or os.devnull, "w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and time.perf_counter() - began < seconds:
        if stop is not None and (number := stop()) is not None:
            process.send_signal(number)
            stop = None
        time.sleep(0.05)
    if process.poll() is None:
        process.terminate()  # which saves where it is
        process.wait(60)
    if process.returncode not in (0, 130, 143, -signal.SIGKILL):
        raise RuntimeError(f"{' '.join(arguments)}: {process.returncode}")
    return time.perf_counter() - began


def _sessions(folder: Path) -> list[dict[str, Any]]:
    """What the manifest says of those who trained, or, where training is not done, their own files."""
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("sessions/*.json"))]
    about = folder / "meta.json"
    return files + (json.loads(about.read_text()).get("sessions", []) if about.exists() else [])


def resumed() -> dict[str, Any]:
    """A sweep killed between chunks, interrupted within one and gone on with, against one left alone."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = str(Path(place, "cache"))
        spec = Path(place, "small.toml")
        spec.write_text(SMALL)
        found: dict[str, Any] = {"alone_s": _sweep("run", str(spec), "--out", f"{place}/alone")}
        struck = Path(place, "struck/small")

        def one_stored() -> int | None:
            return signal.SIGKILL if any(struck.glob("parts/*")) else None

        began = time.perf_counter()
        _sweep("run", str(spec), "--out", f"{place}/struck", stop=one_stored)
        found["parts_after_the_kill"] = len(list(struck.glob("parts/*")))
        _sweep("run", str(spec), "--out", f"{place}/struck",
               stop=lambda: signal.SIGTERM if time.perf_counter() - began > found["alone_s"] else None)  # fmt: skip
        _sweep("run", str(spec), "--out", f"{place}/struck")
        tables = [pd.read_parquet(f"{place}/{way}/small/runs.parquet").sort_values("run_id", ignore_index=True)
                  for way in ("alone", "struck")]  # fmt: skip
        told = [name for name in tables[0].columns if name not in ("session",)]
        found["rows"] = [len(table) for table in tables]
        found["columns_that_differ"] = [name for name in told if not tables[0][name].equals(tables[1][name])]
        curves = [pd.read_parquet(f"{place}/{way}/small/curves.parquet").sort_values(["run_id", "epoch"],
                  ignore_index=True) for way in ("alone", "struck")]  # fmt: skip
        found["curves_equal"] = curves[0].equals(curves[1])
        keep(found)
        found["again_s"] = _sweep("run", str(spec), "--out", f"{place}/again")
        for way in ("alone", "again"):
            found[f"{way}_compile_s"] = _sessions(Path(place, way, "small"))[0].get("compile_seconds")
    return found


def main_job() -> dict[str, Any]:
    """README's main job, after installation, and what it says of its time."""
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, Any] = {}
        for verb in ("run", "analyze", "plot"):
            more = [] if verb != "plot" else ["--to", f"{place}/figures"]
            found[f"{verb}_s"] = _sweep(
                verb, "canonical_lr_timescale", "--out", place, *more, log=f"{place}/{verb}.log"
            )
            found[verb] = Path(place, f"{verb}.log").read_text()[-400:]
            keep(found)
        ended = _sessions(Path(place, "canonical_lr_timescale"))
        found["sessions"] = [{key: value for key, value in one.items() if "seconds" in key} for one in ended]
    return found


def fig6a(seconds: float = 150) -> dict[str, Any]:
    """300 rank-one networks for 200,001 epochs: seconds, and how the table compares with the committed one."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as place:
        log = f"{place}/log"
        found: dict[str, Any] = {"s": _sweep("run", "fig6a_rank_one", "--out", place, seconds=seconds, log=log)}
        found["log"] = Path(log).read_text()[-400:]
        folder = Path(place, "fig6a_rank_one")
        sessions = _sessions(folder)
        found["session"] = {key: value for key, value in sessions[0].items() if "seconds" in key or key == "ended"}
        if (folder / "runs.parquet").exists():
            here = pd.read_parquet(folder / "runs.parquet").set_index("run_id")
            there = pd.read_parquet(ROOT / "results/fig6a_rank_one/runs.parquet").set_index("run_id")
            found["runs"] = len(here)
            both = here.join(there, rsuffix="_there", how="inner")
            for name in ("final_loss", "recent_mean_loss", "learned_epoch"):
                off = (both[name].astype(float) / both[f"{name}_there"].astype(float) - 1).abs()
                found[f"{name}_within_1_percent"] = float((off < 0.01).mean())
            low = [(both[f"recent_mean_loss{end}"] < 0.1).mean() for end in ("", "_there")]
            found["share_below_0.1"] = [float(value) for value in low]
    return found


STEPS: Mapping[str, Callable[..., dict[str, Any]]] = {
    step.__name__: step
    for step in (card, golden, persistent, widths, graphs, many, cpu, naive, independent, resumed, main_job, fig6a)
}


def alone(name: str, path: Path) -> None:
    """One step in this process, what it finds written to the path."""
    measuring.place = path
    keep(STEPS[name]())
