"""What the tables of results show, in Markdown: every number computed from them, every sentence chosen by them.

A row belongs to a sweep and is there when its tables are. `words` turns estimates into text, `evidence` what the
analysis says of a sweep, `activation`, `cues`, `reduction` and `companion` have a function for each row.
"""

from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ghostsweep.errors import UsageError
from ghostsweep.findings import activation, companion, cues, reduction
from ghostsweep.findings.evidence import SweepTables
from ghostsweep.store import files, tables

TASKS = {"dcdt": "discrimination", "dmts": "match to sample"}


class Row(NamedTuple):
    """One row: its question, and the function that answers it from the sweep's evidence."""

    question: str
    answer: Callable[..., str]


def _by_task(*rows: Row) -> tuple[Row, ...]:
    """The rows for each cue task."""
    return tuple(
        Row(r.question.format(name), partial(r.answer, task=task)) for task, name in TASKS.items() for r in rows
    )


ROWS: dict[str, tuple[Row, ...]] = {
    "canonical_lr_timescale_refined": (
        Row("critical rate of the canonical form", activation.canonical_onset),
        Row("and its power of T", activation.canonical_power),
    ),
    "rank_one_lr_timescale": (
        Row("critical rate of the rank-one network", activation.rank_one_critical),
        Row("is it a power of T?", activation.rank_one_law),
        Row("its exponent from one T to the next", activation.rank_one_steepening),
        Row("and the lower boundary?", activation.rank_one_lower),
        Row("and the learnable band?", activation.rank_one_band),
        Row("does the canonical form's one parameter predict the critical rate?", reduction.predictions),
        Row("and as it is just after learning?", partial(reduction.predictions, predictor="first")),
        Row("does it fall with T alike, and tell seeds apart?", reduction.prediction_law),
        Row("what is η at the highest rates kept?", reduction.highest_eta),
        Row("is η below 3/4 where networks keep what they learned?", reduction.kept_eta),
        Row("does it depend on the rate a network was trained at?", reduction.flattened),
        Row("do networks collapse late at a low rate?", reduction.late),
    ),
    "rank_one_lr_epochs": (
        Row("does the lower boundary go as 1 / epochs?", activation.epochs_lower),
        Row("does the upper one move with epochs?", activation.epochs_upper),
        Row("and the band between them?", activation.epochs_band),
    ),
    "fig6a_rank_one": (
        Row("loss against learning rate, rank one: the low edge", activation.edges_low),
        Row("and the high edge", activation.edges_high),
        Row("and its band", activation.full_rank),
    ),
    "fig6a_full": (Row("without a limit on rank: its band", activation.full_rank),),
    "rank_one_full_matched": (Row("and at one confidence?", activation.matched),),
    "rank_one_lr_confidence": (
        Row("which confidence gives the widest band?", activation.confidence_band),
        Row("why is there none at the lowest?", activation.confidence_floor),
        Row("and at the highest?", activation.confidence_dead),
        Row(
            "what is η at the highest rates kept at other confidences?",
            partial(reduction.highest_eta, name=reduction.CONFIDENCES, by="confidence"),
        ),
        Row("is η below 3/4 at other confidences?", partial(reduction.kept_eta, name=reduction.CONFIDENCES)),
    ),
    "rank_one_lr_timescale_confidence": tuple(
        Row(f"and at other timescales, c = {c}?", partial(activation.timescale_confidence, c=c)) for c in (1, 3, 10, 30)
    )
    + (Row("how the critical rate falls with T there", activation.timescale_confidence_laws),)
    + tuple(
        Row(f"is that a power of T, c = {c}?", partial(activation.timescale_confidence_tests, c=c)) for c in (1, 3, 10)
    ),
    "fig8b_confidence": (
        Row("do trapped networks recover at lower confidence?", activation.recovery_best),
        Row("and do they stay so?", activation.recovery_end),
    ),
    "fig8b_recovery": (Row("and if they train as long again?", activation.recovery_long),),
    "fig8b_trained_confidence": (Row("and those that train their confidence?", activation.recovery_trained),),
    "fig8b_trained_control": (Row("and those without the reset?", activation.recovery_control),),
    "rank_lr": (
        Row("does rank widen the band?", activation.rank_width),
        Row("the lower boundary against rank", activation.rank_lower),
        Row("and the upper one", activation.rank_upper),
        Row(
            "what is η at the highest rates kept with rank?",
            partial(reduction.highest_eta, name=reduction.RANKS, by="rank"),
        ),
        Row("is η below 3/4 with rank?", partial(reduction.kept_eta, name=reduction.RANKS)),
    ),
    "fig6b_rank": (
        Row("does rank widen it at Fig. 6b's rates?", activation.rank_width),
        Row("the upper boundary there", activation.rank_upper),
    ),
    "fig7_dcdt": (Row("critical rate of full-rank networks on delayed cue discrimination", cues.critical),),
    "fig7_dmts": (Row("and on delayed match to sample", cues.critical),),
    "cue_lr_confidence": _by_task(
        Row("which confidence gives the widest band in {}?", cues.confidence),
        Row("its critical rate in {} as a power of c", cues.confidence_law),
    ),
    "cue_lr_delay": _by_task(
        Row("does a longer delay narrow the band in {}?", cues.delay),
        Row("which end moves in {}?", cues.delay_ends),
    ),
    "companion_narrow": (
        Row("which mechanism is learned at which delay?", companion.phases),
        Row("do the boundaries fall with the delay as published?", companion.exponents),
        Row("critical rates of single delays", companion.rates),
        Row("does the index tell the mechanism?", companion.index),
    ),
    "companion_linear_control": (Row("which rates fail without memory?", companion.without_memory),),
    "companion_post": (Row("what is learned where the answer is to end?", companion.with_post),),
}
"""The rows of each sweep, in the order of the table."""
ONSETS = ("canonical_lr_timescale_refined",)
"""Sweeps whose boundaries are those of the first seed."""


PICTURES = {
    "rank_one_lr_timescale": ("phase_rank_one.png", "outcome against timescale and learning rate"),
    "rank_one_lr_epochs": ("band_epochs.png", "the learnable band against epochs"),
    "rank_one_lr_confidence": ("band_confidence.png", "the learnable band against output confidence"),
    "rank_one_lr_timescale_confidence": (
        "phase_timescale_confidence.png",
        "outcome against timescale and learning rate at four confidences",
    ),
    "rank_lr": ("band_rank.png", "the learnable band against rank"),
    "cue_lr_delay": ("band_delay.png", "the learnable bands of two cue tasks against delay"),
    "companion_narrow": ("companion.png", "phases, their boundaries, and toy models"),
}
"""Pictures beside the tables, drawn from them: file, and what it shows."""


def findings(out: str | Path = "results") -> str:
    """Return the findings in Markdown: a section a sweep, a line a question, pictures with what they are drawn from.

    `out` is the folder of results; sweeps without any have no section. Raises UsageError where no sweep has.
    """
    found = dict(_evidence(Path(out)))
    if not found:
        raise UsageError(f"{out}: no results of the sweeps behind the findings: {', '.join(ROWS)}")
    return "\n\n".join(_section(name, sweep) for name, sweep in found.items())


def _section(name: str, sweep: SweepTables) -> str:
    """A sweep's heading, its questions with their answers, and its picture."""
    lines = [f"### {sweep.question}", "", f"`{sweep.name}`: {sweep.scale}", ""]
    for row in ROWS[name]:
        answer = _answer(row, sweep)
        lines.append(f"- **{row.question[0].upper()}{row.question[1:].removesuffix('?')}{_end(row)}** {answer}.")
    if name in PICTURES:
        file, shown = PICTURES[name]
        lines += ["", f"![{sweep.question}: {shown}]({file})"]
    return "\n".join(lines)


def _end(row: Row) -> str:
    return "?" if row.question.endswith("?") else ":"


def insert(text: str, path: Path, mark: str = "findings") -> None:
    """Put the text between the lines <!-- mark --> and <!-- end mark --> of a document, which is replaced whole.

    Raises UsageError without these.
    """
    path, (begin, end) = path.resolve(), marks(mark)
    try:
        document = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text in UTF-8") from None
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise UsageError(f"{path}: found no place for the {mark}; allowed: one line {begin} and, below it, one {end}")
    before, after = document.split(begin)[0], document.split(end)[1]
    files.write(path, lambda file: file.write(f"{before}{begin}\n{text}\n{end}{after}".encode()))


def marks(mark: str) -> tuple[str, str]:
    """The lines between which a text is put."""
    return f"<!-- {mark} -->", f"<!-- end {mark} -->"


def _answer(row: Row, sweep: SweepTables) -> str:
    """The answer of a row, or why the tables give none."""
    try:
        return row.answer(sweep)
    except UsageError as error:
        return f"cannot be told: {str(error).split(':')[0]}"


def _evidence(out: Path, without: Container[str] = ()) -> Iterator[tuple[str, SweepTables]]:
    """Every sweep that has results, at full scale if there, else reduced; but for those `without`."""
    for name in (name for name in ROWS if name not in without):
        for candidate in (name, f"{name}_reduced"):
            if tables.has_runs(out / candidate):
                yield name, SweepTables(tables.read(candidate, out), share=0.0 if name in ONSETS else 0.5)
                break
