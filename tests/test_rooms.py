"""The house: each room imports only what the design allows it, and figures need no JAX."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ghostsweep"
STANDARD = set(sys.stdlib_module_names)

# room -> (third parties, own rooms); `errors` is open to all.
ROOMS = {
    "spec": ({"pydantic", "pydantic_core", "numpy"}, {"terminal"}),
    "theory": ({"numpy"}, set()),
    "tasks": ({"numpy", "jax"}, {"spec"}),
    "models": ({"jax", "numpy"}, {"tasks", "spec"}),
    "files": ({"numpy"}, set()),
    "locks": (set(), {"files"}),
    "columns": ({"pandas", "pyarrow"}, {"spec"}),
    "manifest": (set(), {"files"}),
    "recovery": ({"pyarrow"}, {"columns", "files", "machine", "manifest"}),
    "parts": ({"numpy", "pandas", "pyarrow"}, {"columns", "files", "spec"}),
    "tables": (
        {"pyarrow", "pandas", "numpy"},
        {"columns", "files", "manifest", "parts", "recovery", "spec"},
    ),
    "merging": (
        {"pyarrow", "pandas", "numpy"},
        {"columns", "files", "manifest", "parts", "recovery", "tables"},
    ),
    "checkpoint": ({"numpy"}, {"files"}),
    "machine": (set(), {"ambient"}),
    "memory": ({"jax"}, {"machine"}),
    "plan": ({"numpy", "pandas"}, {"spec"}),
    "groups": ({"numpy", "pandas"}, {"plan", "spec"}),
    "calibrate": ({"jax", "numpy"}, {"engine", "groups", "plan", "train"}),
    "estimating": (set(), {"calibrate", "engine", "groups", "ledger", "machine", "memory", "plan", "spec"}),
    "optimizers": ({"jax", "optax"}, {"spec"}),
    "ambient": ({"jax", "numpy"}, set()),
    "train": ({"jax", "numpy", "optax"}, {"ambient", "models", "optimizers", "spec"}),
    "chunk": ({"jax", "numpy", "pandas"}, {"checkpoint", "plan", "train", "spec"}),
    "progress": (set(), {"plan"}),
    "engine": (
        {"jax", "numpy", "pandas"},
        {"ambient", "checkpoint", "chunk", "files", "parts", "plan", "progress", "train", "tables", "spec"},
    ),
    "analysis": ({"numpy", "scipy", "pandas"}, {"theory", "tables"}),
    "figures": ({"matplotlib", "numpy", "pandas"}, {"analysis", "theory"}),
    "paper": ({"matplotlib"}, {"analysis", "figures", "tables"}),
    "ledger": (
        {"numpy", "pandas"},
        {"analysis", "files", "groups", "locks", "machine", "parts", "plan", "spec", "tables"},
    ),
    "sessions": (
        {"pandas", "jax"},
        {"ambient", "checkpoint", "engine", "files", "groups", "locks", "machine", "manifest", "memory", "merging"}
        | {"parts", "plan", "progress", "spec", "tables", "train"},
    ),
    "sweeping": (
        {"numpy", "pandas"},
        {"checkpoint", "files", "groups", "ledger", "locks", "machine", "manifest", "parts", "plan"}
        | {"progress", "recovery", "sessions", "spec", "tables"},
    ),
    "slurm": (
        {"numpy", "pandas", "submitit"},
        {"ledger", "locks", "plan", "progress", "sessions", "spec", "sweeping", "tables"} | {"terminal"},
    ),
    "showing": ({"numpy", "pandas"}, {"analysis", "engine", "files", "machine", "plan", "spec", "tables"}),
    "api": (
        {"pandas"},
        {"analysis", "estimating", "figures", "ledger", "machine", "paper", "plan", "sessions", "showing", "slurm"}
        | {"spec", "sweeping", "tables"},
    ),
    "reproduction": ({"pandas"}, {"api", "columns", "figures", "files", "paper", "spec", "tables"}),
    "console": ({"rich", "typer", "numpy", "pandas"}, {"api", "columns", "progress", "spec", "tables", "terminal"}),
    "findings": ({"numpy", "pandas"}, {"analysis", "columns", "files", "spec", "tables", "theory"}),
    "cli": ({"typer"}, {"api", "checkpoint", "console", "findings", "reproduction", "spec", "tables", "terminal"}),
    "errors": (set(), set()),
    "terminal": (set(), set()),
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {f"ghostsweep.{a.name}" for a in node.names} if module == "ghostsweep" else {module}
    return names


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_room_imports_only_what_it_may(path: Path) -> None:
    third, own = ROOMS[room_of(path)]
    for name in imports_of(path):
        top, *rest = name.split(".")
        if top == "ghostsweep":
            assert rest[0] in own | {room_of(path), "errors"}, f"{path.name} imports {name}"
        else:
            assert top in third | STANDARD, f"{path.name} imports {name}"


def test_no_file_is_beyond_400_lines() -> None:
    for path in [*PACKAGE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 410, path


def test_reading_fitting_and_drawing_need_no_jax() -> None:
    code = """
import sys
for name in ("jax", "jaxlib", "optax"):
    sys.modules[name] = None  # importing it fails
import ghostsweep, ghostsweep.cli, ghostsweep.figures, ghostsweep.analysis
"""
    subprocess.run([sys.executable, "-c", code], check=True)
