"""Limits of memory and cores, in planted trees of /proc and control groups of both versions."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import pytest

from ghostsweep.machine import memory, resources

GIB = 2**30
UNLIMITED = "9223372036854771712"  # version 1's way to say so


def plant(root: Path, cgroup: str, mounts: Mapping[str, str], files: Mapping[str, str | int]) -> Path:
    """A tree: the text of /proc/self/cgroup, mounts (folder of the tree: 'root type controllers'), and group files."""
    lines = []
    for folder, what in mounts.items():
        group, kind, options = what.split()
        lines.append(f"31 23 0:28 {group} {root / folder} rw,nosuid shared:9 - {kind} cgroup rw,{options}")
    planted = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {500 * GIB // 1024} kB\n", "proc/self/cgroup": cgroup}
    for name, text in {**planted, "proc/self/mountinfo": "\n".join(lines), **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root / "proc"


V2 = {"sys/cg": "/ cgroup2 nsdelegate"}
V1 = {"sys/mem": "/ cgroup memory", "sys/cpu": "/ cgroup cpu,cpuacct"}
STEP = "0::/slurm/job_7/step_0"
MEMORY = {
    "no group at all": ("", {}, {}, 500 * GIB),
    "its own group": (
        STEP,
        V2,
        {"slurm/job_7/step_0/memory.max": 4 * GIB, "slurm/job_7/step_0/memory.current": GIB},
        3 * GIB,
    ),
    "a parent": (
        STEP,
        V2,
        {
            "slurm/job_7/memory.max": 4 * GIB,
            "slurm/job_7/memory.current": GIB,
            "slurm/job_7/step_0/memory.max": "max",
            "slurm/job_7/step_0/memory.current": 1,
            "slurm/memory.high": 1,
        },
        3 * GIB,
    ),
    "file cache counts as free": (
        "0::/a",
        V2,
        {"a/memory.max": 4 * GIB, "a/memory.current": 3 * GIB, "a/memory.stat": f"anon 5\ninactive_file {2 * GIB}"},
        3 * GIB,
    ),
    "beyond the limit": ("0::/a", V2, {"a/memory.max": GIB, "a/memory.current": 2 * GIB}, 0),
    "docker: the path is the host's": (
        "0::/docker/abc",
        {"sys/cg": "/docker/abc cgroup2 nsdelegate"},
        {"memory.max": 2 * GIB, "memory.current": GIB},
        GIB,
    ),
    "docker: another name space": (
        "0::/../other",
        {"sys/cg": "/../.. cgroup2 nsdelegate"},
        {"memory.max": 2 * GIB, "memory.current": GIB},
        GIB,
    ),
    "damaged files": (
        "nonsense\n0::/a",
        V2,
        {"a/memory.max": "\x00-4e9", "a/memory.current": "x", "memory.max": "", "a/memory.stat": "inactive_file"},
        500 * GIB,
    ),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory_is_the_least_that_any_group_of_version_2_allows(tmp_path: Path, case: str) -> None:
    cgroup, mounts, files, expected = MEMORY[case]
    proc = plant(tmp_path, cgroup, mounts, {f"sys/cg/{name}": text for name, text in files.items()})
    assert resources.free_bytes(proc, {}) == expected


@pytest.mark.parametrize("limited", ["a/b", "a", ""])
@pytest.mark.parametrize("path", ["/a/b", "/docker/x/a/b"])
def test_memory_of_version_1_is_limited_by_each_parent(tmp_path: Path, limited: str, path: str) -> None:
    files: dict[str, str | int] = {}
    for group in ("a/b", "a", ""):
        files[f"sys/mem/{group}/memory.limit_in_bytes"] = 8 * GIB if group == limited else UNLIMITED
        files[f"sys/mem/{group}/memory.usage_in_bytes"] = 6 * GIB
        files[f"sys/mem/{group}/memory.stat"] = f"inactive_file 1\ntotal_inactive_file {GIB}"
    mounts = V1 if path == "/a/b" else V1 | {"sys/mem": "/docker/x cgroup memory"}
    proc = plant(tmp_path, f"9:cpu,cpuacct:/\n4:memory:{path}\n0::/", mounts, files)
    assert resources.free_bytes(proc, {}) == 3 * GIB


def test_a_mount_with_a_blank_in_its_name_is_found(tmp_path: Path) -> None:
    proc = plant(tmp_path, "0::/", {"my cg": "/ cgroup2 x"}, {"my cg/memory.max": 5, "my cg/memory.current": 2})
    text = (proc / "self/mountinfo").read_text().replace("my cg", "my\\040cg")
    (proc / "self/mountinfo").write_text(text)
    assert resources.free_bytes(proc, {}) == 3


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, 4 * GIB),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "8"}, 500 * GIB),  # all of the node
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, 16 * GIB),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_PER_TASK": "2"}, 4 * GIB),
        ({"SLURM_MEM_PER_CPU": "2048"}, 2 * GIB),
        ({"SLURM_MEM_PER_NODE": "much"}, 500 * GIB),
    ],
)
def test_memory_is_limited_by_slurms_variables(tmp_path: Path, environment: dict[str, str], expected: int) -> None:
    assert resources.free_bytes(plant(tmp_path, "", {}, {}), environment) == expected


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
        ("", {}, {}, 64),
        (
            STEP,
            V2,
            {"sys/cg/slurm/job_7/cpu.max": "200000 100000", "sys/cg/slurm/job_7/step_0/cpu.max": "max 100000"},
            2,
        ),
        (STEP, V2, {"sys/cg/slurm/job_7/step_0/cpu.max": "250000 100000"}, 3),  # rounded up
        (STEP, V2, {"sys/cg/slurm/cpu.max": "10000 100000"}, 1),
        (STEP, V2, {"sys/cg/slurm/cpu.max": "0 0"}, 64),
        (STEP, V2, {"sys/cg/slurm/cpu.max": "-5 x"}, 64),
        (
            "3:cpu,cpuacct:/a/b",
            V1,
            {
                "sys/cpu/a/cpu.cfs_quota_us": 400000,
                "sys/cpu/a/cpu.cfs_period_us": 100000,
                "sys/cpu/a/b/cpu.cfs_quota_us": -1,
                "sys/cpu/a/b/cpu.cfs_period_us": 100000,
            },
            4,
        ),
    ],
)
def test_cores_are_the_least_that_any_group_allows(
    tmp_path: Path,
    cgroup: str,
    mounts: dict[str, str],
    files: dict[str, str | int],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    proc = plant(tmp_path, cgroup, mounts, files)
    assert resources.cores(proc, {}) == expected
    assert resources.cores(proc, {"SLURM_CPUS_ON_NODE": "2"}) == min(expected, 2)
    assert resources.cores(proc, {"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "1"}) == min(expected, 2)
    assert resources.cores(proc, {"SLURM_CPUS_PER_TASK": "two", "SLURM_CPUS_ON_NODE": "0"}) == expected


def test_nothing_there_or_unreadable_limits_nothing(tmp_path: Path) -> None:
    assert resources.free_bytes(tmp_path / "nothing", {}) > 0
    assert resources.cores(tmp_path / "nothing", {}) >= 1
    proc = plant(tmp_path, "0::/a", V2, {"sys/cg/a/memory.max/x": 1, "sys/cg/a/cpu.max/x": 1})  # folders
    (proc / "meminfo").write_bytes(b"\xff\xfe\x00MemAvailable:")
    assert resources.free_bytes(proc, {}) > 0 and resources.cores(proc, {}) >= 1


def test_widths_of_chunks_and_the_number_of_devices_follow_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "64")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert memory.usable_bytes(jax.local_devices()) == 32 * 2**20
    assert resources.cores() == 1


def test_limits_are_known_without_jax() -> None:
    code = "import sys; sys.modules['jax'] = None; from ghostsweep.machine import resources; resources.cores()"
    subprocess.run([sys.executable, "-c", code], check=True)
