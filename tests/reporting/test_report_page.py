"""The file: hostile texts stay texts, several sweeps, sizes, and what is said where there is nothing to report."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ghostsweep
from ghostsweep.errors import UsageError
from ghostsweep.paper import catalog, reproduction
from ghostsweep.reporting import page
from ghostsweep.store import manifest, recovery, tables

pytest.importorskip("altair", reason="pip install 'ghostsweep[report]'")
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!-- é"


class Reader(HTMLParser):
    """What a browser finds: tags with their attributes, text by the last tag, ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text_of(self, tag: str) -> str:
        return "".join(text for name, text in self.texts if name == tag)


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "rank_lr", tmp_path / "rank_lr")
    current = recovery.load(tmp_path / "rank_lr")
    session = {"started": HOSTILE, "devices": [HOSTILE], "jax": HOSTILE}
    hostile = {"title": HOSTILE, "spec": HOSTILE, "git_commit": HOSTILE, "sessions": [session]}
    manifest.write(tmp_path / "rank_lr", replace(current, about={**current.about, **hostile}))
    path = ghostsweep.report("rank_lr", to=tmp_path / "a.html", out=tmp_path)
    found = Reader(path.read_text())
    assert not found.named("img")
    assert not [attributes for _, attributes in found.tags if "onerror" in attributes]
    kinds = [attributes.get("type") for attributes in found.named("script")]
    assert kinds == ["application/json"] * (len(kinds) - 2) + [None, None]
    assert found.text_of("h2") == HOSTILE + "\n"
    assert HOSTILE in found.text_of("pre")
    assert "alert(1)" not in " ".join(str(attributes.get("content")) for attributes in found.named("meta"))


@pytest.mark.parametrize("value", [HOSTILE, {"</script>": 1}, [float("nan"), float("inf")]])
def test_data_can_hold_no_end_of_its_tag(value: object) -> None:
    block = page.data_block("x", {"value": value})
    assert block.count("<") == 2
    inside = block[block.index(">") + 1 : block.rindex("<")]
    told = json.loads(inside)["value"]
    assert told == ([None, None] if isinstance(value, list) else value)


def test_several_sweeps_are_sections_of_one_file(tmp_path: Path) -> None:
    path = ghostsweep.report(["rank_lr", "fig8b_confidence", "rank_lr"], to=tmp_path / "both.html", out=RESULTS)
    text = path.read_text()
    found = Reader(text)
    ids = [attributes["id"] for attributes in found.named("section")]
    assert ids == ["sweep-0", "sweep-1"]
    assert [attributes["href"] for attributes in found.named("a")] == ["#sweep-0", "#sweep-1"]
    assert "There is a single learning rate" in text
    assert found.named("html") == [{"lang": "en"}]
    assert len(found.named("h1")) == 1
    outside = [v for _, attributes in found.tags for k, v in attributes.items() if k in ("src", "href")]
    assert all(str(v).startswith(("#", "data:")) for v in outside)


@pytest.mark.parametrize("name", ["fig3_collapses_seeds", "fig2_trajectories", "canonical_lr_timescale_refined"])
def test_pages_of_all_kinds_are_small(name: str, tmp_path: Path) -> None:
    path = ghostsweep.report(name, to=tmp_path / "page.html", out=RESULTS)
    assert path.stat().st_size < 8_000_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_sweep_under_way_is_reported_as_far_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tables.read("rank_lr", RESULTS)
    part = replace(whole, runs=whole.runs.head(104))
    monkeypatch.setattr(tables, "read", lambda name, out: part)
    text = ghostsweep.report("rank_lr", to=tmp_path / "part.html").read_text()
    assert "104 of 1,750 runs; the sweep is not finished" in text
    assert "the curves of all 104 runs" in text


def test_without_results_the_file_that_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "old.html"
    path.write_text("old")
    with pytest.raises(UsageError, match="nothing_here: no results; `ghostsweep run` makes them"):
        ghostsweep.report(["rank_lr", "nothing_here"], to=path, out=RESULTS)
    assert path.read_text() == "old"
    with pytest.raises(UsageError, match="found no sweep"):
        ghostsweep.report()
    with pytest.raises(UsageError, match="found the folder"):
        ghostsweep.report("rank_lr", to=tmp_path, out=RESULTS)


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_one_line_says_how_to_get_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'ghostsweep\[report\]'"):
        ghostsweep.report("rank_lr", out=RESULTS)


def test_the_command_needs_no_jax_and_runs_no_code_of_users(tmp_path: Path) -> None:
    code = """
import sys
for name in ("jax", "jaxlib", "optax"):
    sys.modules[name] = None
sys.argv = ["ghostsweep", *sys.argv[1:]]
from ghostsweep.cli import main
main()
"""
    command = [sys.executable, "-W", "error", "-c", code, "report", "rank_lr", "--out", str(RESULTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote figures/rank_lr.html\n"
    assert (tmp_path / "figures" / "rank_lr.html").is_file()
    missing = subprocess.run([*command[:-3], "none", *command[-2:]], cwd=tmp_path, capture_output=True, text=True)
    assert missing.returncode == 2 and len(missing.stderr.splitlines()) == 1


def test_figures_of_the_paper_come_with_their_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PAPER", {name: catalog.PAPER[name] for name in ("fig1", "fig2", "fig7")})
    shutil.copytree(RESULTS / "fig2_trajectories", tmp_path / "out" / "fig2_trajectories")
    shutil.copytree(RESULTS / "fig2_loss_vs_lr", tmp_path / "out" / "fig2_loss_vs_lr")
    shutil.copytree(RESULTS / "canonical_lr_timescale_refined", tmp_path / "out" / "canonical_lr_timescale_refined")
    path = ghostsweep.report(paper=True, to=tmp_path / "paper.html", out=tmp_path / "out")
    found = Reader(path.read_text())
    pictures = found.named("img")
    assert len(pictures) == 2 and all(p["alt"] and str(p["src"]).startswith("data:image/webp") for p in pictures)
    assert "Not drawn: " in found.text_of("p") and not found.named("script")
    told = found.text_of("td")
    figure = catalog.PAPER["fig2"]
    tables_of = [catalog.read(sweep, RESULTS) for sweep in figure.sweeps + figure.also]
    for claim in reproduction.judged(figure, tables_of).itertuples():
        assert str(claim.claim) in told and str(claim.measured) in told
