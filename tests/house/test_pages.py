"""The pages are true: their links, commands, Python, sweeps, fields and columns; and short enough to read."""

import re
import tomllib
from pathlib import Path

import pytest

import ghostsweep
from ghostsweep import plan
from ghostsweep.spec import listing, loads
from ghostsweep.store import columns, tables

ROOT = Path(__file__).parents[2]
PAGES = [
    path for name in (".", "sweeps", "results", "ghostsweep", "tests") for path in sorted((ROOT / name).glob("*.md"))
]
TEXT = {path: path.read_text() for path in PAGES}
README, SWEEPS, CODE = (TEXT[ROOT / name / "README.md"] for name in (".", "sweeps", "ghostsweep"))
LONGEST_CELL = 120


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def anchor(heading: str) -> str:
    """What a link to a heading ends in."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_first_page_is_two_screens_of_reading() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_cells_can_be_read(path: Path) -> None:
    page = re.sub(r"```.*?```", "", TEXT[path], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if target.startswith("http"):
            continue
        name, _, place = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        found = found / "README.md" if found.is_dir() else found
        assert found.exists(), target
        if place:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert place in map(anchor, headings), target
    cells = [cell.strip() for line in page.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert not [cell for cell in cells if len(cell) > LONGEST_CELL]


def test_fields_and_columns_are_the_codes_own() -> None:
    for mark, text in (("fields", listing.markdown()), ("columns", columns.data_dictionary())):
        ((path, page),) = [each for each in TEXT.items() if f"<!-- {mark} -->" in each[1]]
        shown = page.split(f"<!-- {mark} -->")[1].split(f"<!-- end {mark} -->")[0].strip()
        assert shown == text, f"ghostsweep findings --insert {path.relative_to(ROOT)}"


def test_the_sweeps_shown_are_valid() -> None:
    (first,) = blocks(README, "toml")
    assert loads(first, name="shown").n_runs == 8 * 37 * 20
    text, phases, refine = blocks(SWEEPS, "toml")
    assert loads(text + refine, name="shown").refine is not None
    both = loads(text.replace("20, 28, 40, 56]", "20]").replace("[-3, 0, 37]", "[-3, 0, 4]") + phases, name="shown")
    assert both.n_runs == 5 * 4 * 20 * 31
    for form in re.findall(r"`(\{ \w+space = .*? \}|\{ range = .*? \})`", SWEEPS):
        axis = tomllib.loads(f"x = {form}")["x"]
        assert ghostsweep.sweep(
            "x",
            model="canonical",
            timescale=5,
            epochs=9,
            learning_rate=1,
            axes={"seed" if "range" in form else "r_start": axis},
        )


def test_the_map_has_every_room_and_files_named_are_there() -> None:
    rooms = re.findall(r"^\| `(\w+(?:/|\.py))` \|", CODE, re.MULTILINE)
    own = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "ghostsweep").iterdir()}
    own = {name for name in own if not name.startswith("__") and name not in ("README.md", "sweeps/", "commit.txt")}
    assert set(rooms) == own - {"errors.py"}
    for path in re.findall(r"`([a-z]+/[a-z_]+\.py)`", "".join(TEXT.values())):
        assert (ROOT / "ghostsweep" / path).exists() or (ROOT / path).exists(), path


def test_every_id_in_results_is_one_that_todays_sweeps_plan() -> None:
    """And of all sweeps but refined ones, which train some of their rates, every one is there."""
    names = tables.results(ROOT / "results")
    assert len(names) >= 31
    for name in names:
        sweep = ghostsweep.load(ROOT / "sweeps" / f"{name.removesuffix('-quick')}.toml", quick=name.endswith("-quick"))
        found = tables.read(name, ROOT / "results").runs["run_id"].tolist()
        planned = plan.expand(sweep)["run_id"].tolist()
        if sweep.refine is None:
            assert found == planned, name
        else:
            assert len(found) > 1000 and set(found) <= set(planned), name
