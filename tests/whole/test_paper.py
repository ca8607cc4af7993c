"""Every figure and claim, by the installed package in an empty folder, from the committed tables."""

from pathlib import Path
from typing import Any

import installed

RESULTS = installed.ROOT / "results"
FIGURES = [*(f"fig{number}" for number in range(1, 9)), "companion"]
REDUCTION = f"""
from pathlib import Path
from ghostsweep.paper import catalog, claims
from ghostsweep.store import reduced, tables

out = Path({str(RESULTS)!r})
slow, many = (reduced.read_reduction(out / name) for name in catalog.REDUCED)
for claim in claims.reduction(slow, many, tables.read(catalog.RATES, out).runs):
    print(claim.claim, claim.measured, sep=". *", end=".*\\n")
"""


def test_every_figure_and_claim_from_the_committed_tables(tried: Any, tmp_path: Path) -> None:
    wanted = [
        installed.command(tmp_path, f"reproduce {name} --from-results --out {RESULTS}", what=f"reproduce {name}")
        for name in FIGURES
    ]
    wanted.append(installed.python(tmp_path, "claims of the reduction", REDUCTION))
    found = tried(wanted)
    there = {path.name for path in (tmp_path / "figures").iterdir()}
    assert there == {f"{name}.{end}" for name in FIGURES for end in ("png", "pdf")} | {"claims.csv", "claims.md"}
    page = (RESULTS / "README.md").read_text().split("<!-- claims -->")[1].split("<!-- end claims -->")[0]
    made = [line for line in (tmp_path / "figures" / "claims.md").read_text().splitlines() if line.startswith("- ")]
    reduction = found[-1].said.splitlines()
    shown = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(made) + len(reduction) == len(shown) >= 60
    assert not [line for line in made if line not in shown]
    assert not [line for line in reduction if not any(line in each for each in shown)]
