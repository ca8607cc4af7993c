"""The tour is stored as it was executed, with its pictures; tests/whole runs its cells."""

import json
from pathlib import Path

CELLS = json.loads((Path(__file__).parents[2] / "results" / "tour.ipynb").read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def test_the_tour_is_ten_cells_of_which_four_show_pictures() -> None:
    assert len(CODE) <= 10 and [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    shown = [set(output.get("data", {})) for cell in CODE for output in cell["outputs"]]
    assert sum("image/png" in kinds for kinds in shown) == 4
    assert not [output for cell in CODE for output in cell["outputs"] if output["output_type"] in ("stream", "error")]
