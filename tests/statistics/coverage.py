"""How often intervals cover planted truths, and how wide they are against the ideal.

    python tests/statistics/coverage.py

Every seed of a table has two thresholds of its own, common to all rates of the grid (12 a decade, 3 decades, which lies
at random to the truth): it stays on the plateau up to the one and collapses above the other. Their distributions are
a step (all seeds alike), logistic or skewed (Gumbel), a quarter of a decade between its quartiles. Ideal is
3.92 x the root mean square error of the estimate. Prints one table in about fifteen minutes.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from planted import critical_table, table_of

from ghostsweep import analysis

RATES = np.logspace(-4, -1, 37)
MIDDLE, WIDTH = -2.5, 0.25
GAPS = (1.0, 0.3, 0.1, 0.0, -0.3)
SEEDS = (1, 2, 5, 10, 20)
KINDS = ("step", "logistic", "skewed")


class Row(NamedTuple):
    """A line of the table: what was planted, and how the intervals did."""

    case: str
    given: float  # share of tables with an interval
    covered: float  # of those
    width: float  # median, over the ideal
    bias: float


def spread(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Thresholds about a median of 0, in decades."""
    if kind == "step":
        return np.zeros(shape)
    if kind == "logistic":
        return WIDTH / (2 * np.log(3)) * rng.logistic(size=shape)
    scale = WIDTH / np.log(np.log(4) / np.log(4 / 3))
    drawn: np.ndarray = scale * (rng.gumbel(size=shape) + np.log(np.log(2)))
    return drawn


def tables(kind: str, n_seeds: int, gap: float, n_tables: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Runs of many tables, told apart by their confidence, and the offset of each to the grid, in decades."""
    rng = np.random.default_rng([seed, n_seeds, int(100 * gap) % 1000, KINDS.index(kind)])
    offset = rng.random(n_tables) / 12
    centre = MIDDLE + offset[:, None]
    slow = centre - gap / 2 + spread(kind, (n_tables, n_seeds), rng)
    fast = centre + gap / 2 + spread(kind, (n_tables, n_seeds), rng)
    at = np.log10(RATES)
    kinds = np.where(
        at <= slow[..., None], "plateau", np.where(at > np.maximum(slow, fast)[..., None], "trapped", "learned")
    )
    return pd.concat(
        [table_of(kinds[i], RATES, confidence=float(i)) for i in range(n_tables)], ignore_index=True
    ), offset


def judged(case: str, truth: np.ndarray, middle: np.ndarray, low: np.ndarray, high: np.ndarray) -> Row:
    """One row; truths and intervals in the same unit, NaN where no interval was given."""
    given = ~(np.isnan(low) | np.isnan(high))
    if not given.any():
        return Row(case, 0.0, np.nan, np.nan, np.nan)
    covered = (low <= truth + 1e-9) & (truth <= high + 1e-9)
    seen = given & ~np.isnan(middle)
    error = (middle - truth)[seen]
    ideal = 3.92 * np.sqrt(np.mean(error**2)) if seen.any() else np.nan
    width = np.median((high - low)[seen]) if seen.any() else np.nan
    ratio = width / ideal if ideal > 0 else np.nan
    return Row(case, given.mean(), covered[given].mean(), ratio, error.mean() if seen.any() else np.nan)


def boundaries(n_tables: int) -> Iterator[Row]:
    """Both boundaries at the median, and the band."""
    for kind in KINDS:
        for gap in GAPS:
            for n_seeds in SEEDS:
                runs, offset = tables(kind, n_seeds, gap, n_tables)
                found = analysis.critical_lr(runs).sort_values("confidence")
                for name, sign in (("upper", 1), ("lower", -1)):
                    part = found[found["boundary"] == name]
                    with np.errstate(divide="ignore"):
                        values = [np.log10(part[c].to_numpy()) for c in ("lr_critical", "ci_low", "ci_high")]
                    yield judged(
                        f"{name}, {kind}, gap {gap}, {n_seeds} seeds", MIDDLE + offset + sign * gap / 2, *values
                    )
                band = analysis.learnable_band(runs).sort_values("confidence")
                columns = [band[c].to_numpy() for c in ("width_decades", "width_low", "width_high")]
                yield judged(
                    f"band, {kind}, gap {gap}, {n_seeds} seeds", np.full(n_tables, band_width(kind, gap)), *columns
                )


def band_width(kind: str, gap: float) -> float:
    """Decades over which half of many seeds learn."""
    draws = np.random.default_rng(1)
    slow, fast = -gap / 2 + spread(kind, (20000,), draws), gap / 2 + spread(kind, (20000,), draws)
    at = np.linspace(-2, 2, 4001)
    slow, both = np.sort(slow), np.sort(np.maximum(slow, fast))
    learned = (np.searchsorted(slow, at) - np.searchsorted(both, at)) / len(slow)
    return float((learned >= 0.5).sum() * (at[1] - at[0]))


def onsets(n_tables: int) -> Iterator[Row]:
    """The onset, of thresholds spread evenly over a step or half a decade from it on."""
    for width in (0.0, 0.25, 0.5):
        for n_seeds in SEEDS:
            rng = np.random.default_rng([n_seeds, int(100 * width)])
            offset = rng.random(n_tables) / 12
            fast = MIDDLE + offset[:, None] + width * rng.random((n_tables, n_seeds))
            kinds = np.where(np.log10(RATES) > fast[..., None], "trapped", "learned")
            runs = pd.concat([table_of(kinds[i], RATES, confidence=float(i)) for i in range(n_tables)])
            found = analysis.critical_lr(runs, share=0).sort_values("confidence")
            part = found[found["boundary"] == "upper"]
            with np.errstate(divide="ignore"):
                values = [np.log10(part[c].to_numpy()) for c in ("lr_critical", "ci_low", "ci_high")]
            yield judged(f"onset, spread {width}, {n_seeds} seeds", MIDDLE + offset, *values)


def laws(n_tables: int) -> Iterator[Row]:
    """The exponent of a power law, of cells with errors of 8%, with scatter about it, with the last one a bound."""
    for n in (3, 4, 5, 8):
        for scatter in (0.0, 0.15, 0.3):
            for bound in (False, True):
                if bound and n == 3:
                    continue
                rng, x, found = np.random.default_rng([n, int(100 * scatter)]), np.geomspace(5, 56, n), []
                for _ in range(n_tables):
                    log_y = -1.7 * np.log(x) + rng.standard_normal(n) * np.hypot(0.08, scatter)
                    table = critical_table(x, log_y, 0.08)
                    if bound:
                        last = table.index[-1]
                        table.loc[last, "ci_high"] = np.exp(log_y[-1] + 0.3 * abs(rng.standard_normal()))
                        table.loc[last, ["lr_critical", "ci_low", "censored"]] = [np.nan, 0.0, "epochs"]
                    (row,) = analysis.fit_power_law(table).to_dict("records")
                    found.append([row[c] for c in ("exponent", "exponent_low", "exponent_high")])
                case = f"law, {n} cells, scatter {scatter}" + (", last a bound" if bound else "")
                yield judged(case, np.full(n_tables, -1.7), *np.array(found, float).T)


def rejections(n_tables: int, scatters: tuple[float, ...] = (0.0, 0.1)) -> Iterator[tuple[str, float]]:
    """How often one power law is rejected on the design of `rank_one_lr_timescale`, errors of 8%."""
    x = np.array([5.0, 7, 10, 14, 20, 28, 40, 56])
    u = np.log(x / 16.7)
    truths: dict[str, np.ndarray] = {"power law": -1.7 * u}
    truths |= {f"knee, {above - 1.3:+.1f}": -1.3 * u + above_of(u, above) for above in (0.8, 0.3, -0.7, -3.2)}
    truths |= {"exponential": -x / 15}
    for name, log_y in truths.items():
        for scatter in scatters:
            rng, hits = np.random.default_rng(int(100 * scatter)), []
            for _ in range(n_tables):
                drawn = log_y + rng.standard_normal(len(x)) * np.hypot(0.08, scatter)
                hits.append(analysis.compare_scaling(critical_table(x, drawn, 0.08))["rejected"].iloc[0])
            yield f"{name}, scatter {scatter}", float(np.mean(hits))


def above_of(u: np.ndarray, change: float) -> np.ndarray:
    """What a knee in the middle adds to a law."""
    result: np.ndarray = change * np.maximum(u, 0)
    return result


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--parts", nargs="*", default=["onsets", "laws", "boundaries", "rejections"])
    options = parser.parse_args()
    parts: dict[str, Any] = {"onsets": onsets, "laws": laws, "boundaries": boundaries}
    print(f"{'planted':48} given covered width/ideal bias")
    for name in options.parts:
        for row in parts[name](options.tables) if name in parts else ():
            print(f"{row.case:48} {row.given:5.2f} {row.covered:7.3f} {row.width:11.2f} {row.bias:+.3f}", flush=True)
    if "rejections" in options.parts:
        for case, share in rejections(options.tables):
            print(f"{case:48} rejected {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
