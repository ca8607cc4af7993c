"""Everything about a GPU, proved and measured by one command in about five minutes:

    python tests/gpu/check.py --out gpu

in a clone whose environment has `pip install ".[cuda]"`, on a machine with an NVIDIA GPU; without one it runs on the
CPU to its end. It writes `gpu.json` and `gpu.md`. Each step is a process of its own with a limit of time, so that what
fails or hangs costs its own lines alone; the files are written after each. Steps:

card: what it is. golden: every golden history of a network and of the canonical form, how far off and how long.
widths: microseconds per run and epoch of each protocol, at growing numbers of runs; many: of those with many trials.
cpu: the same on this machine's cores. naive: `jit(vmap(grad(scan)))` on the GPU. independent: whether a run's digits
depend on how many are trained beside it. resumed: a sweep killed and gone on with, against one left alone; compile
seconds with and without the programs kept. main_job: the first command of README. fig6a: 300 networks for 200,001
epochs. persistent: the option of that name against golden histories, and its time beside that of the plain program;
first of all those that time, so that a card which is lent for minutes decides (`--steps persistent`). graphs: widths
again where XLA captures loops and conditionals as CUDA graphs (`--flags`). README.md says what is expected, and in
which order fifteen minutes decide.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps import STEPS, alone

LIMITS = {
    "card": 40,
    "persistent": 170,
    "golden": 150,
    "resumed": 120,
    "independent": 60,
    "cpu": 100,
    "widths": 170,
    "naive": 60,
    "many": 90,
    "graphs": 100,
}
LIMITS |= {"main_job": 110, "fig6a": 170}
GRAPHS = "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL --xla_gpu_graph_min_graph_size=1"
"""XLA's flags by which loops and conditionals are captured as CUDA graphs; one it does not know ends its step alone."""
BESIDE = ("golden", "resumed", "independent", "cpu")  # do not time the GPU and so may share it


def _child(name: str, folder: Path, limit: float, flags: str) -> dict[str, Any]:
    """A step in a process of its own; what it had found where it fails or runs out of time."""
    began, path = time.perf_counter(), folder / f"{name}.json"
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if name == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    if name == "graphs":
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    command = [sys.executable, __file__, "--step", name, "--out", str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
        error = None if done.returncode == 0 else done.stderr[-600:]
    except subprocess.TimeoutExpired:
        error = f"stopped after {limit:.0f} s"
    found = json.loads(path.read_text()) if path.exists() else {}
    taken = {"step_s": round(time.perf_counter() - began, 1)}
    return {"found": found, **taken} | ({"error": error} if error else {})


def _persistent(found: Mapping[str, Any]) -> list[str]:
    """Microseconds of an epoch of all runs, with and without the option."""
    lines = ["| persistent kernel | runs | us per epoch | plain | times as fast | parameters off |", "|---" * 6 + "|"]
    for name, row in found.get("times", {}).items():
        for width, cell in row.items():
            own, plain = (cell.get(way, {}).get("us", float("nan")) for way in ("persistent", "plain"))
            lines.append(f"| {name} | {width} | {own:.3g} | {plain:.3g} | {plain / own:.1f} | {cell.get('off')} |")
    bad = {name: row for name, row in found.get("golden", {}).items() if row.get("first_beyond", 0) is not None}
    good = len(found.get("golden", {})) - len(bad)
    return lines + ["", f"Its golden histories: {good} of {good + len(bad)} within tolerance; others: `{bad}`"]


def report(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    about = results.get("card", {}).get("found", {})
    lines = [f"# {about.get('nvidia-smi') or about.get('devices')}", ""]
    lines += [f"JAX {about.get('jax')}, Python {about.get('python')}, {about.get('cores')} CPU cores beside it.", ""]
    on_gpu = results.get("widths", {}).get("found", {})
    on_cpu = results.get("cpu", {}).get("found", {})
    plain = results.get("naive", {}).get("found", {})
    sizes = sorted({int(width) for row in on_gpu.values() for width in row if width.isdigit()})
    lines += ["Microseconds per run and epoch:", ""]
    lines.append("| protocol | " + " | ".join(f"{size} runs" for size in sizes) + " | naive JAX | CPU, all cores |")
    lines.append("|---" * (len(sizes) + 3) + "|")
    for name, row in on_gpu.items():
        cells = [f"{row[str(size)]['us']:.3g}" if "us" in row.get(str(size), {}) else "-" for size in sizes]
        more = [f"{side[name]['us']:.3g}" if "us" in side.get(name, {}) else "-" for side in (plain, on_cpu)]
        lines.append(f"| {name} | " + " | ".join(cells + more) + " |")
    lines += [""] + [
        f"Memory at most, {name}: {row['peak_mb']:.0f} MB" for name, row in on_gpu.items() if "peak_mb" in row
    ]
    for name, row in results.get("graphs", {}).get("found", {}).items():
        cells = [
            f"{cell['us']:.3g} us with {size} runs"
            for size, cell in row.items()
            if isinstance(cell, dict) and "us" in cell
        ]
        lines.append(f"- {name}, loops as graphs, per run and epoch: {', '.join(cells)}")
    lines += [""] * bool(results.get("many"))
    for name, row in results.get("many", {}).get("found", {}).items():
        cells = [f"{cell['us']:.3g} us with {size}" for size, cell in row.items() if "us" in cell]
        lines.append(f"- {name}, per run and epoch: {', '.join(cells)}")
    files = results.get("golden", {}).get("found", {})
    for dtype in ("float64", "float32"):
        mine = {name: row for name, row in files.items() if name.endswith(dtype) and row}
        good = [name for name, row in mine.items() if row.get("first_beyond", 0) is None]
        lines += ["", f"Golden histories, {dtype}: {len(good)} of {len(mine)} within tolerance up to their horizon."]
        lines += [f"- {name}: {row}" for name, row in mine.items() if name not in good]
    lines += ["", *_persistent(results.get("persistent", {}).get("found", {}))]
    for name in ("independent", "resumed", "main_job", "fig6a"):
        lines += ["", f"{name}: `{json.dumps(results.get(name))}`"]
    lines += ["", f"Steps: {json.dumps({name: row.get('step_s') for name, row in results.items()})}"]
    errors = {name: row["error"] for name, row in results.items() if "error" in row}
    return "\n".join(lines + [f"\n{name} failed: {text}" for name, text in errors.items()]) + "\n"


def main() -> None:
    """Run all steps, or one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without a suffix")
    parser.add_argument("--step", choices=STEPS, help="this one alone, in this process")
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS), help="these alone")
    parser.add_argument("--flags", default=GRAPHS, help="of XLA, for the step `graphs`")
    parser.add_argument("--seconds", type=float, default=480, help="in all")
    options = parser.parse_args()
    if options.step:
        alone(options.step, options.out)
        return
    results: dict[str, Any] = {}
    end = time.monotonic() + options.seconds

    def keep() -> None:
        options.out.with_suffix(".json").write_text(json.dumps(results, indent=1))
        options.out.with_suffix(".md").write_text(report(results))

    with tempfile.TemporaryDirectory() as place:

        def step(name: str) -> None:
            left = end - time.monotonic()
            results[name] = (
                _child(name, Path(place), min(LIMITS[name], left), options.flags) if left > 5 else {"error": "no time"}
            )
            keep()
            print(name, results[name].get("step_s"), results[name].get("error", ""), flush=True)

        step("card")
        with concurrent.futures.ThreadPoolExecutor(len(BESIDE)) as pool:
            list(pool.map(step, [name for name in BESIDE if name in options.steps]))
        for name in ("persistent", "widths", "graphs", "many", "main_job", "fig6a", "naive"):
            if name in options.steps:
                step(name)
    print(report(results))


if __name__ == "__main__":
    main()
