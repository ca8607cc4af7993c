"""What training asks of a GPU, counted without having one:

    PYTHONPATH=.:tests python tests/gpu/ahead.py

First what crosses between the host and the device: of the largest chunk of five sweeps the runs, the calls of the
program, how often the host waits, the bytes that are fetched and sent, how many it stores, and the seconds of the host.

Then, where the following is installed, what an epoch asks of an NVIDIA H100, counted in its program, which XLA compiles
for that card:

    pip install --no-deps --target cuda jax-cuda12-pjrt jax-cuda12-plugin nvidia-cuda-nvcc-cu12
    PYTHONPATH=cuda:.:tests python tests/gpu/ahead.py

with the version of JAX that is installed. The table has of each protocol of `check.py` the kernels and copies of an
epoch of 128 runs, and what the epoch took on the card, in all and for each of them. In a persistent kernel there are
none within an epoch; of its program is printed that ptxas, which comes last, took it.
"""

import dataclasses
import importlib.util
import json
import os
import re
import time
from pathlib import Path
from typing import Any

CARD = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84929347584
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "async-done", "copy-done"}
"""Operations of a compiled program that are none of the card's."""
WIDTH = 128
SWEEPS = ("canonical_lr_timescale", "fig6a_rank_one", "rank_lr", "fig6a_full", "companion_narrow_reduced")


def card() -> Any:
    """The device to compile for."""
    nvidia = importlib.util.find_spec("nvidia")
    assert nvidia is not None and nvidia.submodule_search_locations
    cuda = Path(next(iter(nvidia.submodule_search_locations)), "cuda_nvcc")
    flags = f"--xla_gpu_cuda_data_dir={cuda} --xla_gpu_autotune_level=0"
    os.environ |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PATH": f"{cuda / 'bin'}:{os.environ['PATH']}"}
    from jax._src import xla_bridge
    from jax.experimental import topologies

    usual = xla_bridge.canonicalize_platform  # which finds no platform "gpu" where there is none
    xla_bridge.canonicalize_platform = lambda name: "cuda" if name in ("gpu", "cuda") else usual(name)
    return topologies.get_topology_desc(platform="cuda", target_config=CARD, topology="1x1x1").devices[0]


def operations(text: str) -> int:
    """Kernels and copies of an epoch: of the innermost loop of which the compiler does not know how often it runs."""
    bodies: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            lines = bodies.setdefault("ENTRY" if head[1] else head[2], [])
        elif re.match(r"\s+(ROOT )?%", line):
            lines.append(line)
    found = []

    def count(name: str) -> int:
        total = 0
        for line in bodies[name]:
            match = re.search(r" = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(", line)
            assert match is not None, line
            if match[1] == "while":
                inner = count(re.search(r"body=%([\w.\-]+)", line)[1])  # type: ignore[index]
                times = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                if times is None:
                    found.append(inner)
                total += inner * int(times[1]) if times else 0
            elif match[1] == "call":
                total += count(re.search(r"to_apply=%([\w.\-]+)", line)[1])  # type: ignore[index]
            elif match[1] not in FREE:
                total += 1
        return total

    count("ENTRY")
    return found[0] if found else 0


def crossings() -> None:
    """Print the table of what crosses, each sweep counted twice, so that nothing is compiled when it is timed."""
    from crossing import crossing
    from measuring import ROOT

    from ghostsweep.spec import load

    print("| sweep | runs | calls | waits | MB fetched | sent | stored | host s |\n|---|---|---|---|---|---|---|---|")
    for name in SWEEPS:
        sweep = load(ROOT / "sweeps" / f"{name}.toml")
        found = [crossing(sweep) for _ in range(2)][-1]
        megabytes = " | ".join(f"{number / 1e6:.3g}" for number in (found.fetched, found.sent, found.stored))
        print(
            f"| {name} | {found.runs} | {found.calls} | {found.waits} | {megabytes} | {found.seconds:.2g} |", flush=True
        )


def main() -> None:
    """Print the tables."""
    device = card() if importlib.util.find_spec("nvidia") else None
    crossings()
    if device is None:
        return
    from measuring import ROOT
    from steps import PROTOCOLS, run_of

    from ghostsweep.spec import shape_of
    from ghostsweep.training import programs

    measured = json.loads((ROOT / "results/gpu/h100.json").read_text())["widths"]["found"]
    print(f"| {WIDTH} runs | kernels and copies | epoch on an H100 | each |\n|---|---|---|---|")
    for name in PROTOCOLS:
        text = programs.compiled(shape_of(run_of(name).fields), WIDTH, (device,)).made.as_text()
        number, took = operations(text), measured[name][str(WIDTH)]["epoch_ms"] * 1e3
        print(f"| {name} | {number} | {took:.3g} µs | {took / number:.2g} µs |", flush=True)
    for name in PROTOCOLS:
        if name.startswith("rank-one"):
            began = time.perf_counter()
            shape = dataclasses.replace(shape_of(run_of(name).fields), persistent=True)
            text = programs.compiled(shape, WIDTH, (device,)).made.as_text()
            assert operations(text) == 0 and text.count('custom_call_target="__gpu$xla.gpu.triton"') <= 1
            print(f"\n{name}, persistent: compiled in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
