"""The house: each room imports only what the design allows it, and figures need no JAX."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ghostsweep"
STANDARD = set(sys.stdlib_module_names)

# room -> (third parties, own rooms), the lowest first; `errors` is open to all.
ROOMS = {
    "errors": (set(), set()),
    "theory": ({"numpy"}, set()),
    "machine": ({"jax", "numpy"}, set()),
    "declare": ({"jax", "numpy"}, set()),
    "tasks": ({"jax", "numpy"}, {"declare"}),
    "models": ({"jax", "numpy"}, {"declare", "machine", "tasks", "theory"}),
    "spec": ({"pydantic", "numpy"}, {"declare", "machine", "models", "tasks"}),
    "dynamics": ({"jax", "numpy", "pandas", "scipy"}, {"declare", "machine", "models", "spec"}),
    "store": ({"pyarrow", "pandas", "numpy"}, {"declare", "machine", "spec"}),
    "plan": ({"numpy", "pandas"}, {"declare", "models", "spec"}),
    "analysis": ({"numpy", "scipy", "pandas"}, {"spec", "store", "tasks", "theory"}),
    "figures": ({"matplotlib", "numpy", "pandas"}, {"analysis", "spec", "store", "theory"}),
    "training": ({"jax", "numpy", "optax", "pandas"}, {"declare", "machine", "models", "plan", "spec", "store"}),
    "running": (
        {"jax", "numpy", "pandas", "submitit"},
        {"analysis", "declare", "machine", "models", "plan", "spec", "store", "training"},
    ),
    "paper": (
        {"matplotlib", "numpy", "pandas", "scipy"},
        {"analysis", "dynamics", "figures", "running", "spec", "store", "theory"},
    ),
    "findings": ({"numpy", "pandas"}, {"analysis", "spec", "store", "theory"}),
    "drawing": ({"pandas"}, {"dynamics", "figures", "paper", "running", "spec", "store"}),
    "front": (
        {"jax", "matplotlib", "numpy", "pandas", "rich"},
        {"analysis", "declare", "drawing", "dynamics", "figures", "machine", "models", "running", "spec", "store"}
        | {"training"},
    ),
    "reporting": (
        {"altair", "vl_convert", "numpy", "pandas"},
        {"analysis", "figures", "findings", "paper", "spec", "store", "theory"},
    ),
    "cli": (
        {"typer", "rich", "numpy", "pandas"},
        {"analysis", "declare", "drawing", "findings", "front", "machine", "paper", "plan", "reporting", "running"}
        | {"spec", "store", "training"},
    ),
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
    for path in [*PACKAGE.rglob("*.py"), *Path(__file__).parents[1].rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 410, path


def test_reading_fitting_and_drawing_need_no_jax() -> None:
    code = """
import sys
for name in ("jax", "jaxlib", "optax"):
    sys.modules[name] = None  # importing it fails
import ghostsweep, ghostsweep.cli, ghostsweep.figures, ghostsweep.analysis, ghostsweep.reporting
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["status"]], ids=" ".join)
def test_commands_that_only_tell_import_nothing_that_draws_fits_or_trains(arguments: list[str]) -> None:
    code = f"""
import sys
import ghostsweep.cli
sys.argv = ["ghostsweep", *{arguments}]
try:
    ghostsweep.cli.main()
except SystemExit as end:
    assert end.code == 0
heavy = ("matplotlib", "altair", "scipy.stats", "scipy.optimize", "jax", "jaxlib", "optax", "submitit")
found = [name for name in heavy if name in sys.modules]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr


def test_names_of_the_package_that_are_imported_late_are_all_there() -> None:
    import ghostsweep

    assert set(ghostsweep.__all__) <= set(dir(ghostsweep))
    assert all(callable(getattr(ghostsweep, name)) for name in ghostsweep.__all__)
    with pytest.raises(AttributeError, match="no attribute 'phase_diagrams'"):
        ghostsweep.phase_diagrams  # noqa: B018
