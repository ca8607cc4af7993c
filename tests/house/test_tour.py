"""The tour is executed as it stands, shows its pictures, and its cells run."""

import json
import re
import subprocess
import sys
from pathlib import Path

CELLS = json.loads((Path(__file__).parents[2] / "results" / "tour.ipynb").read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def test_the_tour_is_ten_cells_of_which_five_show_pictures() -> None:
    assert len(CODE) <= 10 and [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    shown = [set(output.get("data", {})) for cell in CODE for output in cell["outputs"]]
    assert sum("image/png" in kinds for kinds in shown) == 4
    assert not [output for cell in CODE for output in cell["outputs"] if output["output_type"] in ("stream", "error")]


def test_the_cells_run(tmp_path: Path) -> None:
    """At a smaller size: fewer seeds and epochs, the same calls."""
    lines = []
    for cell in CODE:
        *most, last = re.sub(r"epochs=(\d+)000", r"epochs=\g<1>00", "".join(cell["source"])).splitlines()
        is_shown = last and not last.startswith((" ", ")", "}")) and "=" not in last.split("(")[0]
        lines += [*most, f"print(type({last.split('  #')[0]}).__name__)" if is_shown else last]
    code = "\n".join(lines).replace("range(8)", "range(2)").replace("range(20)", "range(2)")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("Picture") == 4 and "Analyzed" in done.stdout
