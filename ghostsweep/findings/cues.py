"""What sweeps of full-rank networks on cue tasks show. A function per row."""

import pandas as pd

from ghostsweep.findings.evidence import SweepTables, moved, slope, trend, verdict, widest
from ghostsweep.findings.words import at, ends, epochs, rate, several, value, width


def critical(sweep: SweepTables) -> str:
    band = sweep.band.iloc[0]
    return (
        f"half of {sweep.n_seeds} seeds collapse at {rate(sweep.boundary('upper').iloc[0])} and learn {ends(band)}: "
        f"{width(band)} decades; {epochs(sweep.runs)}"
    )


def confidence(sweep: SweepTables, task: str) -> str:
    bands = _of(sweep.band, task, "confidence")
    return (
        f"{widest(bands, 'confidence')}; decades: {at(bands, 'confidence', width)}; {epochs(sweep.runs)}, "
        f"{sweep.n_seeds} seeds"
    )


def confidence_law(sweep: SweepTables, task: str) -> str:
    law, test = (_of(table, task).iloc[0] for table in (sweep.law("confidence"), sweep.scaling("confidence")))
    bounds = f" and {several(law['n_censored'], 'bound')}" if law["n_censored"] else ""
    return f"as c to the {slope(law)} through {several(law['n_used'], 'estimate')}{bounds}; {verdict(test)}"


def delay(sweep: SweepTables, task: str) -> str:
    bands = _of(sweep.band, task, "delay_ms")
    word = {"narrower": "yes", "wider": "no, it widens it"}.get(trend(bands, "delay_ms"), "not established")
    return f"{word}; decades: {at(bands, 'delay_ms', width)}; {epochs(sweep.runs)}, {sweep.n_seeds} seeds"


def delay_ends(sweep: SweepTables, task: str) -> str:
    """How far both ends of the band move from the shortest delay to the longest, and the collapse."""
    bands = _of(sweep.band, task, "delay_ms")
    first, last = bands.iloc[0], bands.iloc[-1]
    bounds = [band["censored"] in ("below", "both") for band in (first, last)]
    upper = _of(sweep.boundary("upper"), task, "delay_ms")
    span = f"{value('delay_ms', first['delay_ms'])} to {value('delay_ms', last['delay_ms'])}"
    return (
        f"from {span} the upper end goes {moved(first['lr_high'], last['lr_high'])}, the lower "
        f"{moved(first['lr_low'], last['lr_low'], *bounds)}; half collapse at {rate(upper.iloc[0])} and "
        f"{rate(upper.iloc[-1])}"
    )


def _of(table: pd.DataFrame, task: str, order: str = "") -> pd.DataFrame:
    some = table[table["task"] == task]
    return some.sort_values(order) if order else some
