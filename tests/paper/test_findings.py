"""The findings shown are what the tables say, and each sentence is the one that planted tables ask for."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import band_of, critical_table, runs_of

from ghostsweep import findings, spec
from ghostsweep.analysis import compare_scaling
from ghostsweep.errors import UsageError
from ghostsweep.findings import activation, cues, marks, words
from ghostsweep.findings.evidence import SweepTables, moved, preferred, slope, trend, verdict, widest
from ghostsweep.store.tables import Tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "results" / "README.md").read_text()
BEGIN, END = marks("findings")
LONGEST = 350
"""Characters of an answer that a reader takes in without scrolling in a cell."""


SHOWN = PAGE.split(BEGIN)[1].split(END)[0].strip()
SLOW = ("rank_one_lr_timescale", "rank_one_lr_timescale_confidence", "companion_narrow")
"""Sweeps whose findings are two thirds of the time of all, most of it in bootstraps."""


def answers(text: str) -> dict[str, str]:
    """The answers of the findings by their questions."""
    return dict(re.findall(r"^- \*\*(.*?[?:])\*\* (.*)$", text, re.MULTILINE))


@pytest.mark.seldom
def test_the_page_says_what_the_tables_say() -> None:
    computed = findings.findings(ROOT / "results")
    assert computed == SHOWN, "results/README.md differs: ghostsweep findings --insert results/README.md"


def test_the_page_says_what_the_tables_say_that_are_soon_analysed() -> None:
    found = [(name, findings._section(name, sweep)) for name, sweep in findings._evidence(ROOT / "results", SLOW)]
    assert len(found) == len(findings.ROWS) - len(SLOW)
    assert [name for name, section in found if f"\n\n{section}\n\n" not in f"\n\n{SHOWN}\n\n"] == []


def test_every_answer_is_short_and_says_of_which_sweep() -> None:
    told = answers(SHOWN)
    assert len(told) == SHOWN.count("\n- ") == sum(map(len, findings.ROWS.values()))  # no question twice
    assert {question for question, answer in told.items() if len(answer) > LONGEST} == set()
    assert not [answer for answer in told.values() if "nan" in answer or "inf" in answer]
    assert [name for name in findings.ROWS if not (ROOT / "sweeps" / f"{name}.toml").exists()] == []


def test_what_is_not_generated_has_no_numbers_but_those_checked_here() -> None:
    """The lines on the canonical form, and the captions of what is drawn from sweeps that are not committed."""
    part = PAGE.split(END)[1].split("## The paper, figure by figure")[0]
    lines, caption = part.split("![Start against eta")
    rest = lines.replace("η = 3/4", "").replace("η = 0.7725", "")  # test_critical.py
    assert not any(letter.isdigit() for letter in rest)
    dense, zoom, main = (
        spec.load(ROOT / "sweeps" / f"canonical_{name}.toml") for name in ("dense", "dense_zoom", "lr_timescale")
    )
    assert f"{dense.n_runs:,} of {epochs_of(dense)} epochs (a) and as many of {epochs_of(zoom)}" in caption
    assert dense.n_runs == zoom.n_runs
    assert f"*{main.n_runs:,} runs of {epochs_of(main)} epochs" in README


def epochs_of(sweep: spec.Sweep) -> str:
    return f"{int(sweep.grids[0].shared['epochs']):,}"


def test_a_document_is_replaced_between_its_lines_or_not_at_all(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (tmp_path / "link.md").symlink_to(document)
    findings.insert("new\ntext", tmp_path / "link.md")
    assert document.read_text() == f"before\n{BEGIN}\nnew\ntext\n{END}\nafter\n"
    assert (tmp_path / "link.md").is_symlink()
    document.write_bytes(f"{BEGIN}{END}".encode() + b"\xff")
    with pytest.raises(UsageError, match="is no text in UTF-8"):
        findings.insert("new", document)
    for text in ("nothing", f"{END}\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}"):
        document.write_text(text)
        with pytest.raises(UsageError, match="found no place for the findings"):
            findings.insert("new", document)
        assert document.read_text() == text
    with pytest.raises(UsageError, match="no results of the sweeps behind the findings"):
        findings.findings(tmp_path)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (words.number(0.000042), "0.000042"), (words.number(4.6e-7), "4.6·10⁻⁷"), (words.number(20.0), "20"),
        (words.number(1e6), "1,000,000"), (words.number(-2.0), "−2"), (words.measured(0.02), "0.020"),
        (words.measured(1.0), "1.0"), (words.measured(140.0), "140"), (words.measured(9.96e-7), "1.0·10⁻⁶"),
        (words.decades(1.55), "1.6"), (words.decades(0.3), "0.30"), (words.decades(0.0), "0"),
        (words.between(1.0, 0.5, 2.0, words.measured), "1.0 (0.50 to 2.0)"),
        (words.between(1.0, 0.5, math.inf, words.measured), "1.0 (0.50 or more)"),
        (words.between(1.0, -math.inf, 2.0, words.measured), "1.0 (2.0 or less)"),
        (words.between(1.0, math.nan, math.nan, words.measured), "1.0"),
        (words.part(3, 7), "3 of 7"), (words.part(7, 7), "all 7"), (words.part(0, 7), "none of 7"),
        (words.part(1, 1), "1 of 1"), (words.probability(0.04988), "0.0499"), (words.probability(0.0501), "0.0501"),
        (words.probability(0.00249), "0.002"), (words.probability(0.0002), "below 0.001"),
        (words.listed(["a"]), "a"), (words.listed(["a", "b", "c"]), "a, b and c"), (words.listed([]), ""),
        (words.place("rank", 3.0), "rank 3"), (words.place("delay_ms", 20.0), "a delay of 20 ms"),
    ],
)  # fmt: skip
def test_numbers_in_words(shown: str, text: str) -> None:
    assert shown == text


def boundary(censored: str, low: float, high: float, estimate: float = math.nan) -> "pd.Series[float]":
    return pd.Series({"censored": censored, "ci_low": low, "ci_high": high, "lr_critical": estimate})


def test_a_censored_boundary_is_a_bound() -> None:
    assert words.rate(boundary("", 0.01, 0.04, 0.02)) == "0.020 (0.010 to 0.040)"
    assert words.rate(boundary("", 0, 0.04, 0.02)) == "0.020 (0.040 or less)"
    assert words.rate(boundary("", math.nan, math.nan, 0.02)) == "0.020"
    assert words.rate(boundary("below", 0, 0.001)) == "at most 0.0010"
    assert words.rate(boundary("above", 0.1, math.inf)) == "at least 0.10"
    assert words.rate(boundary("epochs", 0, 0.004)) == "at most 0.0040 (hidden by too few epochs)"


def bands(*rows: tuple[float, float, float, str], **fields: list[float]) -> pd.DataFrame:
    """A table of bands from widths, their intervals and where they are censored; a width of 0 is an empty band."""
    table = pd.DataFrame(rows, columns=["width_decades", "width_low", "width_high", "censored"]).assign(**fields)
    table["lr_low"] = np.where(table["width_decades"] > 0, 0.01, math.nan)
    return table.assign(lr_high=table["lr_low"] * 10 ** table["width_decades"])


def test_a_band_at_the_end_of_the_grid_is_a_bound() -> None:
    some = bands(
        (1, 0.8, 1.2, ""),
        (1, 0.8, math.inf, "below"),
        (1, math.nan, math.nan, "both"),
        (0, 0, 0.5, ""),
        (0, 0, 0, ""),
        (1, math.nan, math.nan, ""),
    )
    assert [words.width(row) for _, row in some.iterrows()] == [
        "1.0 (0.80 to 1.2)", "at least 0.80", "at least 1.0", "none (at most 0.50)", "none", "1.0",
    ]  # fmt: skip
    told = [
        words.ends(row) for _, row in bands(*((1, 1, 1, side) for side in ("", "below", "above", "both"))).iterrows()
    ]
    assert told[:2] == ["from 0.010 to 0.10", "from 0.010 or less to 0.10"]
    assert told[2:] == ["from 0.010 to 0.10 or more", "from 0.010 or less to 0.10 or more"]
    assert words.ends(bands((0, 0, 0, "")).iloc[0]) == "at no rate"


def test_an_order_of_widths_is_said_only_where_intervals_and_censoring_allow_it() -> None:
    c = [0.1, 1.0, 10.0]
    clear = bands((1, 0.8, 1.2, ""), (2, 1.8, 2.2, ""), (0, 0, 0, ""), confidence=c)
    assert widest(clear, "confidence") == "widest at c = 1"
    near = bands((1.9, 1.5, 2.1, ""), (2, 1.8, 2.2, ""), (1, 0.9, 1.1, ""), confidence=c)
    assert widest(near, "confidence") == "widest at one of c = 0.1 and 1, whose order is not established"
    open_end = bands((1, 0.8, 1.2, "below"), (2, 1.8, 2.2, ""), (1, 0.9, 1.1, ""), confidence=c)
    assert "one of c = 0.1 and 1" in widest(open_end, "confidence")
    assert widest(bands((0, 0, 0, ""), confidence=[1.0]), "confidence") == "half of the seeds learn nowhere"
    assert "one seed" in widest(bands((1, math.nan, math.nan, ""), confidence=[1.0]), "confidence")
    assert [trend(table, "confidence") for table in (clear, clear.iloc[:2], near.iloc[:2])] == ["narrower", "wider", ""]
    assert trend(open_end.iloc[:2], "confidence") == ""


def test_how_far_an_end_moves_is_a_bound_where_it_starts_or_ends_beyond_the_grid() -> None:
    assert moved(0.1, 0.01) == "from 0.10 to 0.010, 1.0 decades down"
    assert moved(0.01, 0.1, start_bound=True) == "from 0.010 or less to 0.10, at least 1.0 decades up"
    assert moved(0.1, 0.01, start_bound=True) == "from 0.10 or less to 0.010, at most 1.0 decades down"
    assert moved(0.1, 0.01, end_bound=True) == "from 0.10 to 0.010 or less, at least 1.0 decades down"
    assert moved(0.1, 0.1, start_bound=True, end_bound=True).endswith("both beyond the grid")
    assert moved(math.nan, 0.1) == "is not known"


def test_a_power_law_is_rejected_only_where_the_test_rejects() -> None:
    x = np.array([5.0, 7, 10, 14, 20, 28, 40, 56])
    noise = 0.03 * np.random.default_rng(1).standard_normal(8)
    bent = np.where(x > 17, -2.3, -1.3) * np.log(x / 17) + noise
    table = compare_scaling(critical_table(x, bent, 0.05), n_draws=100)
    assert "one power law is rejected (p = " in verdict(table.iloc[0])
    assert "the exponent falls by 0." in verdict(table.iloc[0]) and "% of such tables" in verdict(table.iloc[0])
    assert "a knee (at T = " in preferred(table, "timescale")
    straight = compare_scaling(critical_table(x, -2 * np.log(x) + noise, 0.05), n_draws=100)
    assert "one power law is not rejected (p = " in verdict(straight.iloc[0])
    assert "little" not in verdict(straight.iloc[0])
    assert preferred(straight, "timescale") == "AICc and BIC prefer one power law"
    weak = compare_scaling(critical_table(x[:4], -2 * np.log(x[:4]) + noise[:4], 0.5), n_draws=100)
    assert "not rejected" in verdict(weak.iloc[0]) and verdict(weak.iloc[0]).endswith("which is little")
    few = compare_scaling(critical_table(x[:2], -2 * np.log(x[:2]), 0.05), n_draws=100)
    assert verdict(few.iloc[0]) == "whether it is one power law cannot be tested on so few cells"
    assert preferred(few, "timescale") == "too few cells to compare laws"
    assert slope(pd.Series({"exponent": math.nan})) == "an unknown power (too few estimates)"


RATES = np.geomspace(1e-4, 1, 49)


def planted(name: str, *cells: pd.DataFrame) -> SweepTables:
    """A sweep's evidence from the runs of its cells."""
    return SweepTables(Tables(name, pd.concat(cells, ignore_index=True), pd.DataFrame(), {}, Path(name)))


def cell(lower: float, upper: float, **fields: object) -> pd.DataFrame:
    """Runs of ten seeds that learn between two rates, common to all but for a tenth of scatter."""
    scatter = np.exp(0.1 * np.random.default_rng(0).standard_normal((2, 10)))
    return band_of(lower * scatter[0], upper * scatter[1], RATES, **fields)


def test_how_boundaries_move_with_epochs() -> None:
    def cells(scale: float, power: float, rising: float) -> list[pd.DataFrame]:
        return [
            cell(scale * n**power, 0.1 * (n / 12_500) ** rising * 7 / T, timescale=float(T), epochs=n)
            for T in (7, 14)
            for n in (12_500, 50_000, 200_000)
        ]

    inverse = planted("rank_one_lr_epochs", *cells(40, -1, 0))
    assert activation.epochs_lower(inverse).startswith("yes: it goes as epochs to the −1.00")
    assert activation.epochs_upper(inverse).count("within their intervals") == 2
    assert activation.epochs_band(inverse).count("epochs)") == 3
    other = planted("rank_one_lr_epochs", *cells(0.3, -0.5, -0.5))
    assert activation.epochs_lower(other).startswith("not at every T: it goes as epochs to the −0.5")
    assert activation.epochs_upper(other).count("beyond their intervals") == 2


def test_epochs_are_those_of_each_timescale() -> None:
    trained = {5: 50_000, 7: 50_000, 10: 50_000, 14: 50_000, 20: 100_000, 28: 200_000}
    sweep = planted(
        "rank_one_lr_timescale",
        *(cell(100 / n, 2 * T**-1.5, timescale=float(T), epochs=n) for T, n in trained.items()),
    )
    text = "50,000 epochs at T = 5 to 14, 100,000 at 20 and 200,000 at 28"
    assert activation.rank_one_critical(sweep).endswith(text)
    lower = activation.rank_one_lower(sweep)
    assert " at T = 5 to 14 (50,000 epochs), the same within intervals; 0.0010 (" in lower
    assert lower.endswith("at T = 28 (200,000 epochs)")
    assert words.epochs(sweep.runs[sweep.runs["timescale"] != 7]).startswith("50,000 epochs at T = 5 to 14")
    assert words.span("timescale", [5, 14], in_one_piece=False) == "T = 5 and 14"
    apart = planted(
        "rank_one_lr_timescale", *(cell(0.001 * T, 0.5, timescale=float(T), epochs=9) for T in (5.0, 10.0, 20.0))
    )
    assert "at T = 5 to 20 (9 epochs), not the same within intervals" in activation.rank_one_lower(apart)


def test_confidence_without_a_band() -> None:
    fields = {"timescale": 20.0, "epochs": 100}
    never = cell(1e-5, 2.0, confidence=30.0, **fields)
    kinds = ["trapped_at_start"] * (len(never) - 10) + ["learned"] * 10
    dead = runs_of(
        kinds, learning_rate=never["learning_rate"].to_numpy(), seed=never["seed"].to_numpy(), confidence=30.0
    )
    sweep = planted("s", cell(0.5, 0.001, confidence=0.1, **fields), cell(0.001, 0.1, confidence=1.0, **fields), dead)
    assert activation.confidence_dead(sweep).endswith(": 480 of 490 at c = 30")
    floor = activation.confidence_floor(sweep)
    assert floor.startswith("runs whose loss was below 0.1 at any epoch: ") and "learned) at c = 0.1" in floor
    full = planted("s", cell(0.001, 0.1, confidence=1.0, **fields), cell(0.001, 0.1, confidence=3.0, **fields))
    assert activation.confidence_floor(full) == "there is a band at every confidence tried"
    assert activation.confidence_dead(full).startswith("at none tried is the gradient gone")
    assert "none at others" not in activation.confidence_band(full)


def test_a_delay_that_narrows_the_band_and_one_that_does_not() -> None:
    def sweep(*lower: float) -> SweepTables:
        each = zip((20.0, 200.0), lower, strict=True)
        return planted(
            "cue_lr_delay",
            cell(0.001, 0.1, task="dmts", reaction_ms=50.0, delay_ms=20.0, epochs=9),
            *(cell(low, 0.1, task="dcdt", reaction_ms=50.0, delay_ms=d, epochs=9) for d, low in each),
        )

    assert cues.delay(sweep(0.001, 0.03), "dcdt").startswith("yes; decades: 2.0 (")
    assert cues.delay(sweep(0.001, 0.001), "dcdt").startswith("not established; ")
    assert cues.delay(sweep(0.03, 0.001), "dcdt").startswith("no, it widens it; ")
    assert "the lower from 0.00010 or less to 0.0" in cues.delay_ends(sweep(1e-6, 0.03), "dcdt")


def recovering(kinds: dict[float, list[str]]) -> SweepTables:
    """Four networks, three of them trapped, and what became of the three at other confidences."""
    first = runs_of(["trapped"] * 3 + ["learned"], run_id=list("abcd"), seed=range(4), confidence=10.0, phase=1)
    later = [
        runs_of(some, run_id=[f"{c}{i}" for i in range(3)], parent=list("abc"), seed=range(3), confidence=c, phase=2)
        for c, some in kinds.items()
    ]
    return planted("fig8b", *(table.assign(epochs=100, learning_rate=0.02) for table in [first, *later]))


def test_recovery_is_told_at_the_best_epoch_and_at_the_end() -> None:
    sweep = recovering(
        {0.1: ["fallen_back"] * 3, 3.0: ["learned", "plateau", "plateau"], 10.0: ["trapped_at_start"] * 3}
    )
    best, end = activation.recovery_best(sweep), activation.recovery_end(sweep)
    assert best.startswith(
        "3 of 4 networks at c = 10 are trapped after 100 epochs. In 100 epochs more at 0.1, all 3 are"
    )
    assert "at their best epoch (lowest 100.0%), at 10 none of 3" in best
    assert end.startswith(
        "at c = 0.1 the mean accuracy at the last epoch is 50% and none of 3 have learned; the most have"
    )
    assert end.endswith("at 3: 1 of 3")
    long = activation.recovery_long(sweep)
    assert long.endswith("after 100 epochs more: 0 at c = 0.1 and 1 at 3; unchanged, at 10, 0")
    reset = recovering({1.0: ["learned", "learned", "trapped"]})
    assert activation.recovery_trained(reset).endswith("100 epochs on with it reset to 1, 2 of 3 have learned")
    assert activation.recovery_control(reset) == "2 of 3 that were trapped have learned, 100 epochs on"


@pytest.mark.parametrize(
    ("upper", "word"), [(0.5, "full rank is wider"), (0.03, "rank one is wider"), (0.1, "the order")]
)
def test_rank_one_and_full_rank_are_compared_at_one_confidence(upper: float, word: str) -> None:
    fields = {"timescale": 20.0, "epochs": 9, "confidence": 1.0}
    cells = (cell(0.001, top, model=model, **fields) for model, top in (("rank_one", 0.1), ("full_rank", upper)))
    assert activation.matched(planted("rank_one_full_matched", *cells)).startswith(word)


def test_edges_over_epochs_are_those_of_the_curves() -> None:
    """Planted: low from the rate 1 / epochs on; at the highest rate that is ever low, not at the end."""
    runs = cell(1e-3, 0.1, epochs=1001).assign(run_id=lambda t: t.index.astype(str))
    at = runs.merge(pd.DataFrame({"epoch": [10, 100, 1000]}), how="cross")
    rate, epoch = at["learning_rate"], at["epoch"]
    low = (rate * epoch > 0.9) & (rate <= 0.32) & ((rate < 0.2) | (epoch < 1000))
    curves = pd.DataFrame({"run_id": at["run_id"], "epoch": epoch, "loss": np.where(low, 0.05, 1.0)})
    sweep = SweepTables(Tables("fig6a", runs, curves, {"record": {"epochs": [10, 100, 1000]}}, Path("fig6a")))
    assert "from 0.10 at 10, 0.010 at 100 and 0.0010 at 1,000 epochs on" in activation.edges_low(sweep)
    assert activation.edges_low(sweep).endswith("the rate times the epochs is 1 to 1")
    assert activation.edges_high(sweep).startswith("0.32 is the highest rate at which any of 10 seeds")
    assert activation.edges_high(sweep).endswith("10 at 10, 10 at 100 and 0 at 1,000, so that the number falls again")
    stays = SweepTables(Tables("fig6a", runs, curves[curves["epoch"] < 1000], sweep.found.meta, Path("fig6a")))
    assert activation.edges_high(stays).endswith("so that the number does not fall")


def test_what_cannot_be_told_says_why() -> None:
    fast = [cell(1e-6, 0.1, timescale=7.0, epochs=n) for n in (10, 20)]
    told = findings._answer(findings.Row("?", activation.epochs_lower), planted("rank_one_lr_epochs", *fast))
    assert told == "cannot be told: no series has two cells with an estimate of lr_critical"


def test_a_sweep_that_is_not_finished_says_so() -> None:
    text = """
[run]
model = "rank_one"
timescale = 20
epochs = 9
[axes]
learning_rate = { logspace = [-4, 0, 49] }
seed = { range = 10 }
"""
    runs = cell(0.001, 0.1)
    assert [
        SweepTables(Tables("s", some, pd.DataFrame(), {"spec": spec_text}, Path("s"))).scale
        for some, spec_text in ((runs, text), (runs[1:], text))
    ] == ["490 runs, 10 seeds.", "489 of 490 runs, 10 seeds."]
