"""The hash of `ghostsweep.declare.noise` before statistical tests, at length.

    python tests/statistics/noise.py              # every test of randomness.py on 2^20 words, 8 times, in five orders
    python tests/statistics/noise.py --words seed | dieharder -a -g 200   # the words themselves, for other batteries

The orders run along the unit (all positions of an epoch, then the next epoch), the epoch, the seed, or along raw keys
that count, with no threefry before them. The table shows of each order and test the least chance and that of the 8
chances being evenly spread (Kolmogorov and Smirnov); about a minute.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import randomness

TIMES = 8
ORDERS = ("unit", "epoch", "seed", "raw")


def words(order: str) -> Iterator[np.ndarray]:
    """Words without end, in pieces of about four million, each of new epochs or seeds."""
    at, many = jnp.arange(64, dtype=jnp.uint32), jnp.arange(65_536, dtype=jnp.uint32)
    one = jnp.arange(1, dtype=jnp.uint32)
    for number in range(2**16):
        if order == "unit":
            yield np.asarray(randomness.drawn(one + 7, at + 64 * number, (65_536,))).ravel()
        elif order == "epoch":
            yield np.asarray(randomness.drawn(one + number, many, (64,)))[0].T.ravel()
        elif order == "seed":
            yield np.asarray(randomness.drawn(many, one + number, (64,)))[:, 0].T.ravel()
        else:
            found = randomness.drawn(many[:256] + 256 * number + 1, many[:256] + 1, (64,), raw=True)
            yield np.moveaxis(np.asarray(found), 2, 0).ravel()


def table() -> None:
    """Print the chances of every test."""
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(TIMES):
        for order, stream in randomness.streams((16, 16, 32, 8, 16), 1_000 * turn):
            for test in randomness.TESTS:
                found.setdefault((test.__name__, order), []).append(test(stream))
    print(f"{'test':24}" + "".join(f"{order:>18}" for order in randomness.AXES))
    for test in randomness.TESTS:
        cells = [found[test.__name__, order] for order in randomness.AXES]
        shown = [f"{min(chances):10.1e} {stats.kstest(chances, 'uniform').pvalue:7.3f}" for chances in cells]
        print(f"{test.__name__:24}" + "".join(shown))
    least = min(min(chances) for chances in found.values())
    count = sum(map(len, found.values()))
    print(f"least of {count} chances: {least:.1e}, as small or smaller of so many {1 - (1 - least) ** count:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", choices=ORDERS, help="write these words to standard output until it is closed")
    order = parser.parse_args().words
    if order is None:
        table()
    else:
        try:
            for piece in words(order):
                sys.stdout.buffer.write(piece.tobytes())
        except BrokenPipeError:
            sys.stderr.close()
