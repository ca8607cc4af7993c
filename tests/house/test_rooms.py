"""The house: each room imports only what the design allows it, and figures need no JAX."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ghostsweep"
STANDARD = set(sys.stdlib_module_names)

# The map on the page of the code is the rule: room -> own rooms that it imports, the highest first.
MAP = {
    room: set() if names == "nothing" else set(names.split(", "))
    for room, names in re.findall(
        r"^\| `(\w+)(?:/|\.py)` \| .* \| ([a-z, ]+) \|$", (PACKAGE / "README.md").read_text(), re.MULTILINE
    )
}
THIRD = {
    "errors": set(),
    "theory": {"numpy"},
    "machine": {"jax", "numpy"},
    "declare": {"jax", "numpy"},
    "tasks": {"jax", "numpy"},
    "models": {"jax", "numpy"},
    "spec": {"pydantic", "numpy"},
    "dynamics": {"jax", "numpy", "pandas", "scipy"},
    "store": {"pyarrow", "pandas", "numpy", "pydantic"},
    "plan": {"numpy", "pandas"},
    "analysis": {"numpy", "scipy", "pandas"},
    "figures": {"matplotlib", "numpy", "pandas"},
    "training": {"jax", "numpy", "optax", "pandas"},
    "running": {"jax", "numpy", "pandas", "submitit"},
    "paper": {"matplotlib", "numpy", "pandas", "scipy"},
    "findings": {"numpy", "pandas"},
    "drawing": {"pandas"},
    "front": {"jax", "matplotlib", "numpy", "pandas", "rich"},
    "reporting": {"altair", "vl_convert", "numpy", "pandas"},
    "cli": {"typer", "rich", "numpy", "pandas"},
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
    room = room_of(path)
    for name in imports_of(path):
        top, *rest = name.split(".")
        if top == "ghostsweep":
            assert rest[0] in MAP.get(room, set()) | {room, "errors"}, f"{path.name} imports {name}"
        else:
            assert top in THIRD[room] | STANDARD, f"{path.name} imports {name}"


def test_the_map_names_what_is_imported_and_no_more_and_goes_down() -> None:
    found: dict[str, set[str]] = {room: set() for room in MAP}
    for path in FILES:
        own = {name.split(".")[1] for name in imports_of(path) if name.startswith("ghostsweep.")}
        found.setdefault(room_of(path), set()).update(own - {room_of(path), "errors"})
    assert found.pop("errors") == set() and found == MAP
    order = list(MAP)
    for room, names in MAP.items():
        assert all(order.index(name) > order.index(room) for name in names), room


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
