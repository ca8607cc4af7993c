"""Ghosts in numbers, in Markdown: `python tests/statistics/ghosts.py [--count 1000] [--results results]`.

Precision and recall of the verdict on planted networks, passage times predicted and simulated, what the committed
snapshots hold, and seconds beside a plain loop over scipy. About ten minutes on two cores with 1,000 networks.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parents[1]))

import planted_ghosts

import ghostsweep
from ghostsweep.dynamics.ghosts import ghosts_of
from ghostsweep.front.ghosts import by_snapshot
from ghostsweep.store.columns import markdown

SLOW = (0, 1e-3, 1e-2, 0.05, 0.12, 0.5, np.inf)
FIGURES = ("fig3_learns", "fig3_learns_seeds", "fig3_collapses", "fig3_collapses_seeds", "fig4_dcdt", "fig4_dmts",
           "fig5_dcdt", "fig5_dmts", "fig7_dmts_collapse")  # fmt: skip


def verdicts(n_units: int, count: int, seed: int = 0) -> tuple[dict[str, Any], pd.DataFrame]:
    """Networks with a planted ghost against those without: counts, precision, recall, seconds; and the places."""
    planted = planted_ghosts.networks(n_units, count, seed)
    began = time.perf_counter()
    found = ghosts_of(planted.networks)
    seconds = time.perf_counter() - began
    told = found.loc[found["verdict"] == "ghost", "network"]
    said = np.isin(np.arange(count), told)
    true = np.array([kind == "ghost" for kind in planted.kinds])
    hit = int((said & true).sum())
    row = {
        "units": n_units,
        "networks": count,
        "with a ghost": int(true.sum()),
        "found": hit,
        "found where none is": int((said & ~true).sum()),
        "precision": hit / max(int(said.sum()), 1),
        "recall": hit / int(true.sum()),
        "seconds": round(seconds, 1),
    }
    return row, found.assign(source=f"planted, {n_units} units")


def accuracy(found: pd.DataFrame) -> pd.DataFrame:
    """Relative errors of the predicted crossing of ghosts that take two steps or more, by source and speed."""
    ghosts = found[(found["verdict"] == "ghost") & (found["crossing"] >= 2)]
    rows = []
    for (source, speed), some in ghosts.groupby(["source", pd.cut(ghosts["speed"], SLOW)], observed=True):
        row = {"": source, "speed (1/tau)": str(speed), "ghosts": len(some)}
        for order in ("canonical", "bent"):
            error = (some[f"crossing_{order}"] / some["crossing"] - 1).abs().dropna()
            row[f"{order}: median"], row["worst"] = (
                (f"{error.median():.2%}", f"{error.max():.1%}") if len(error) else ("", "")
            )
            row[f"{order}: worst"] = row.pop("worst")
        rows.append(row)
    return pd.DataFrame(rows)


def loop(planted: planted_ghosts.Planted, network: int, starts: np.ndarray) -> float:
    """Seconds that scipy takes from starts (n, N) in one network, point by point, with a gradient by hand."""
    w, b = (planted.networks.params[name][network] for name in ("w", "b"))

    def half_squared(x: np.ndarray) -> tuple[float, np.ndarray]:
        rates = np.tanh(x @ w + b)
        velocity = rates - x
        return 0.5 * float(velocity @ velocity), ((1 - rates**2) * velocity) @ w.T - velocity

    def plain(x: np.ndarray) -> float:
        return half_squared(x)[0]

    began = time.perf_counter()
    for start in starts:
        minimize(plain, start, method="BFGS", options={"gtol": 1e-9})
    plain_seconds = time.perf_counter() - began
    began = time.perf_counter()
    for start in starts:
        minimize(half_squared, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    print(f"  with a gradient by hand: {(time.perf_counter() - began) / len(starts) * 1e3:.1f} ms a search", flush=True)
    return plain_seconds / len(starts)


def stages(name: str, root: Path) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Networks with a ghost before, at and after the first epoch at which the loss is below learned_loss."""
    tables = ghostsweep.read(name, root)
    found = tables.ghosts()
    runs = tables.runs.set_index("run_id")
    counts = by_snapshot(found)
    learned = counts["run_id"].map(runs["learned_epoch"]).astype(float)
    rows = []
    for stage, among in (
        ("before", counts["epoch"] < learned),
        ("after", counts["epoch"] >= learned),
        ("never learned", learned.isna()),
    ):
        some = counts[among]
        if len(some):
            with_ghost = some["ghost"] > 0
            rows.append(
                {
                    "sweep": name,
                    "snapshots": stage,
                    "number": len(some),
                    "with a ghost": int(with_ghost.sum()),
                    "ghosts": int(some["ghost"].sum()),
                    "passage (tau), median": f"{some.loc[with_ghost, 'passage'].median():.1f}"
                    if with_ghost.any()
                    else "",
                }
            )
    at = counts[counts["epoch"] >= learned].groupby("run_id").head(1)
    told = {"number": len(at), "with a ghost": int((at["ghost"] > 0).sum()), "ghosts": int(at["ghost"].sum())}
    rows.append({"sweep": name, "snapshots": "first after learning", **told, "passage (tau), median": ""})
    return rows, found.assign(source=name)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    rows, parts, of_figures = [], [], []
    for n_units in (2, 10, 100):
        row, found = verdicts(n_units, given.count)
        rows.append(row)
        parts.append(found)
        print(f"{row}", file=sys.stderr, flush=True)
    print(markdown(pd.DataFrame(rows)), flush=True)
    planted = planted_ghosts.networks(100, 4, 0)
    starts = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 100))
    each = loop(planted, 0, starts)
    total = each * 16 * given.count
    here, visited = rows[-1]["seconds"], each * 201 * given.count
    print(
        f"\nscipy, point by point, {each * 1e3:.0f} ms a search: {total:,.0f} s for as many searches, 16 a network, and"
    )
    print(f"{visited:,.0f} s for one from every state visited; here {here} s, {total / here:.0f} and ", end="")
    print(f"{visited / here:.0f} times less\n", flush=True)
    for name in FIGURES:
        try:
            some, found = stages(name, given.results)
        except ghostsweep.UsageError as error:
            print(error, file=sys.stderr)
            continue
        of_figures += some
        parts.append(found)
    print(markdown(pd.DataFrame(of_figures)), end="\n\n")
    print(markdown(accuracy(pd.concat(parts, ignore_index=True))))


if __name__ == "__main__":
    main()
