"""Statistical tests of 32-bit words: each takes a stream of them, uint32, and returns the chance of one as unlikely.

Chances are of both sides, so that what is too regular fails too. The streams are of the run's noise in any order of its
axes, so that neighbours differ in the unit, the trial, the step, the epoch or the seed.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from ghostsweep.declare import noise
from ghostsweep.training import train

AXES = ("seed", "epoch", "step", "trial", "unit")
NORMAL = jax.jit(noise.quantile)


def key_of(seed: jax.Array, epoch: jax.Array, purpose: int = 1) -> jax.Array:
    """The two words of the key of an array that a run draws in an epoch."""
    key = jax.random.fold_in(train.run_key({"seed": seed}, train.NOISE), epoch)
    return jax.random.key_data(jax.random.fold_in(key, purpose))


@functools.partial(jax.jit, static_argnums=(2, 3))
def drawn(seeds: jax.Array, epochs: jax.Array, size: tuple[int, ...], raw: bool = False) -> jax.Array:
    """Words of all these seeds and epochs, (seeds, epochs, *size); raw: with these numbers themselves as the key."""

    def of(seed: jax.Array, epoch: jax.Array) -> jax.Array:
        return noise.words(jnp.stack([seed, epoch]) if raw else key_of(seed, epoch), size)

    return jax.vmap(jax.vmap(of, (None, 0)), (0, None))(seeds, epochs)


def streams(sizes: tuple[int, int, int, int, int], first: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """The same words in five orders, of which each runs along another axis, from this seed and epoch on."""
    seeds, epochs = (jnp.arange(first, first + n, dtype=jnp.uint32) for n in sizes[:2])
    found = np.asarray(drawn(seeds, epochs, sizes[2:]))
    for axis, name in enumerate(AXES):
        yield name, np.moveaxis(found, axis, -1).ravel()


def two_sided(below: float) -> float:
    """From a chance to be lower."""
    return float(2 * min(below, 1 - below))


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Of counts against their expected shares."""
    expected = counts.sum() * shares / shares.sum()
    return two_sided(stats.chi2.cdf(((counts - expected) ** 2 / expected).sum(), counts.size - 1))


def bytes_alike(words: np.ndarray) -> float:
    """All 256 values of each of the four bytes."""
    counts = np.stack([np.bincount((words >> shift) & 255, minlength=256) for shift in (0, 8, 16, 24)])
    return two_sided(stats.chi2.cdf(((counts - words.size / 256) ** 2 / (words.size / 256)).sum(), 4 * 255))


def pairs(words: np.ndarray, shift: int = 26) -> float:
    """Six bits of a word beside those of the next, in pairs that do not overlap."""
    six = ((words >> shift) & 63).astype(np.int64).reshape(-1, 2)
    return chi_square(np.bincount(six[:, 0] * 64 + six[:, 1], minlength=4096), np.ones(4096))


def low_pairs(words: np.ndarray) -> float:
    """The same of the lowest bits."""
    return pairs(words, 0)


def runs_test(words: np.ndarray) -> float:
    """Runs of words on one side of the middle (Wald and Wolfowitz)."""
    high = words >> 31
    ones, n = int(high.sum()), words.size
    expected = 2 * ones * (n - ones) / n + 1
    variance = (expected - 1) * (expected - 2) / (n - 1)
    return two_sided(stats.norm.cdf((1 + int((high[1:] != high[:-1]).sum()) - expected) / variance**0.5))


def lags(words: np.ndarray, count: int = 32) -> float:
    """Correlations of the normal numbers with those 1 to `count` behind (Box and Pierce)."""
    z = np.asarray(NORMAL(words), float)
    r = np.array([z[lag:] @ z[:-lag] for lag in range(1, count + 1)]) / z.size
    return two_sided(stats.chi2.cdf(z.size * (r**2).sum(), count))


def squares(words: np.ndarray, count: int = 32) -> float:
    """The same of squares, so of their sizes whatever the signs."""
    z = (np.asarray(NORMAL(words), float) ** 2 - 1) / 2**0.5
    r = np.array([z[lag:] @ z[:-lag] for lag in range(1, count + 1)]) / z.size
    return two_sided(stats.chi2.cdf(z.size * (r**2).sum(), count))


def kolmogorov_smirnov(words: np.ndarray) -> float:
    """The normal numbers against the normal distribution; one-sided: the largest distance."""
    return float(stats.kstest(np.asarray(NORMAL(words), float), stats.norm.cdf).pvalue)


def tails(words: np.ndarray) -> float:
    """How many numbers lie beyond 1, 2 ... standard deviations on either side, as far out as ten are expected."""
    far = stats.norm.isf(10 / words.size)
    right = np.arange(0, far, 0.5)
    edges = np.concatenate([-right[:0:-1], right])
    counts = np.histogram(np.asarray(NORMAL(words), float), [-np.inf, *edges, np.inf])[0]
    return chi_square(counts, np.diff(stats.norm.cdf([-np.inf, *edges, np.inf])))


def moments(words: np.ndarray) -> float:
    """Means of the Hermite polynomials of degree 1 to 8, which are moments made independent, together."""
    z = np.asarray(NORMAL(words), float)
    means = [special.eval_hermitenorm(k, z).mean() / special.factorial(k) ** 0.5 for k in range(1, 9)]
    return two_sided(stats.chi2.cdf(words.size * np.square(means).sum(), 8))


def gaps(words: np.ndarray, share: int = 16, longest: int = 80) -> float:
    """Lengths between words of the lowest sixteenth."""
    lengths = np.diff(np.flatnonzero(words < 2**32 // share)) - 1
    chance = (1 - 1 / share) ** np.arange(longest + 1)
    return chi_square(np.bincount(lengths.clip(max=longest), minlength=longest + 1), -np.diff([*chance, 0.0]))


def birthday_spacings(words: np.ndarray, shift: int = 8, birthdays: int = 512) -> float:
    """Marsaglia: equal spacings of 512 birthdays in a year of 2^24 days, in mean 2, over many years."""
    days = np.sort((words[: words.size // birthdays * birthdays] >> shift & 0xFFFFFF).reshape(-1, birthdays), axis=1)
    spacings = np.sort(np.diff(days, axis=1, prepend=0), axis=1)
    equal = (spacings[:, 1:] == spacings[:, :-1]).sum(axis=1)
    at = np.arange(7)
    shares = np.append(stats.poisson.pmf(at[:-1], 2), stats.poisson.sf(at[-2], 2))
    return chi_square(np.bincount(equal.clip(max=6), minlength=7), shares)


def low_birthday_spacings(words: np.ndarray) -> float:
    """The same of the lowest bits."""
    return birthday_spacings(words, 0)


def matrix_rank(words: np.ndarray) -> float:
    """Ranks over two elements of matrices of 32 words in a row."""
    rows = words[: words.size // 32 * 32].reshape(-1, 32).copy()
    rank, at = np.zeros(len(rows), int), np.arange(len(rows))
    for bit in range(32):
        has = (rows >> np.uint32(bit) & 1).astype(bool) & (np.arange(32) >= rank[:, None])
        found = has.any(axis=1)
        chosen = np.where(found, has.argmax(axis=1), 0)
        pivot, place = rows[at, chosen], rank.clip(max=31)
        rows[at[found], chosen[found]] = rows[at[found], place[found]]
        rows[at[found], place[found]] = pivot[found]
        below = (rows >> np.uint32(bit) & 1).astype(bool) & (np.arange(32) > place[:, None]) & found[:, None]
        rows ^= np.where(below, pivot[:, None], np.uint32(0))
        rank += found
    full = np.prod(1 - 0.5 ** np.arange(1, 33))  # all 32
    shares = np.array([0.0, 2 * full, full])  # 31: times 2 (1 - 2^-32)^2
    shares[0] = 1 - shares.sum()
    return chi_square(np.bincount((rank - 30).clip(min=0), minlength=3), shares)


def repeats(words: np.ndarray) -> float:
    """Words that are there twice: Poisson, in mean n^2 / 2^33."""
    twice = words.size - len(np.unique(words))
    mean = words.size - 2**32 * -np.expm1(words.size * np.log1p(-(2.0**-32)))
    return two_sided(stats.poisson.cdf(twice, mean) - stats.poisson.pmf(twice, mean) / 2)


TESTS: tuple[Callable[[np.ndarray], float], ...] = (
    bytes_alike,
    pairs,
    low_pairs,
    runs_test,
    lags,
    squares,
    kolmogorov_smirnov,
    tails,
    moments,
    gaps,
    birthday_spacings,
    low_birthday_spacings,
    matrix_rank,
    repeats,
)
