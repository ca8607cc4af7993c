"""Normal random numbers of an epoch, by the generator that a run's field `rng` names.

`threefry` is JAX's own: a cipher of 20 rounds, and the inverse error function of 23 bits. `hash` turns the position of
a number in its array into 32 bits by multiplications and shifts, keyed by 64 bits of the run, the epoch and the
purpose, and those into one normal number by a polynomial. All of it is arithmetic on one number, which a compiler fuses
with the use and vectorises: about 1.1 ns a number on one core instead of 9 (`tests/bench/noise.py`).

What `hash` is. Its key is threefry's (of the seed, into which `NOISE`, the epoch, the batch of trials and the purpose
are folded), so that neighbouring seeds and epochs have unlike keys; that some two of n arrays share a key has a chance
of n^2 / 2^65. A run's numbers depend on that key and their position alone: not on how many runs are trained beside it,
and but for the last bit not on the machine. One key has 2^32 positions; an array of more is an error. A word is one of
2^32, half of them the negatives of the others, and words repeat in an array as in drawing at random. The largest
number is 6.34, of chance 2^-32; near 0 they lie 8e-8 apart. Quantiles are true to 4e-5 below 4 standard deviations and
4.1e-4 beyond (4.0e-4 where a processor multiplies and adds at once), chances to 1e-5, and moments up to the eighth to
4e-6 of themselves.

What it is not: fit for secrets, since its key can be found from its numbers; nor for events rarer than about 1e-8. It
passes the batteries of `tests/statistics/noise.py`, which no proof stands behind.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from ghostsweep.declare.model import Traced
from ghostsweep.declare.shape import Shape

if TYPE_CHECKING:
    import jax

POSITIONS = 2**32
"""Numbers that one key has."""


def normal(shape: Shape, traced: Traced, size: tuple[int, ...], purpose: int) -> "jax.Array":
    """Standard normal numbers of an epoch, an array of this size in the precision of the run.

    Drawn in float32 and then widened, so that both precisions see the same noise. purpose: a whole number that tells
    the arrays apart which a run draws in an epoch. The generator is the run's field `rng` (`network.RNG`), threefry
    where neither its model nor its task has it. Raises ValueError for more numbers than the hash has, `POSITIONS`.
    """
    import jax
    import jax.numpy as jnp

    key = jax.random.fold_in(traced["key"], purpose)
    if shape.get("rng", "threefry") == "threefry":
        return jax.random.normal(key, size, jnp.float32).astype(shape.dtype)
    return quantile(words(jax.random.key_data(key), size)).astype(shape.dtype)


def words(key: "jax.Array", size: tuple[int, ...]) -> "jax.Array":
    """32 random bits, uint32, for each position of an array, counted with the last axis fastest; key: (2,) uint32."""
    from jax import lax

    count = math.prod(size)
    if count > POSITIONS:
        raise ValueError(f"size: found {count} numbers; allowed: at most {POSITIONS} of rng 'hash'")
    return hashed(lax.iota(np.uint32, count).reshape(size), key)


def hashed(position: "jax.Array", key: "jax.Array") -> "jax.Array":
    """32 random bits of a position, uint32.

    Two bijections of 32 bits in a row (two of those of three multiplications with the least bias that C. Wellons'
    "hash prospector" found). The first half of the key is where the positions begin. The second enters between the
    two: once as what a position is multiplied by, so that no stream is another one moved and that words repeat as often
    as in drawing at random, which a bijection of positions would not let them; once with its halves changed, since the
    high bits of a factor do nothing at even positions.
    """
    first = _mixed(position + key[0], (17, 0xED5AD4BB, 11, 0xAC4C1B51, 15, 0x31848BAB, 14))
    changed = (key[1] << np.uint32(16)) | (key[1] >> np.uint32(16))
    second = first + position * (key[1] | np.uint32(1)) + changed
    return _mixed(second, (16, 0xAECCEDAB, 14, 0xAC613E37, 16, 0x19C89935, 17))


def _mixed(bits: "jax.Array", rounds: tuple[int, ...]) -> "jax.Array":
    """Shifts to the right that are laid over, by turns with multiplications."""
    for shift, factor in zip(rounds[::2], (*rounds[1::2], 1), strict=True):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    return bits


LOGARITHM = (0.99991888, -0.49923358, 0.33734513, -0.27349881, 0.17513077)
"""ln(1 + x) / x by powers of x, the least largest error of x times it, 1.0e-5, for 1 + x from 1/sqrt 2 to sqrt 2."""
SHIFT = 1.3
QUANTILE = (
    1.42874476,
    -0.186201643,
    0.0774823578,
    -0.0268290797,
    0.00682307730,
    -0.00114136945,
    0.000109770448,
    -4.54757595e-06,
)
"""z / x by powers of x = sqrt(t + SHIFT) - sqrt(SHIFT), where z is exceeded with chance exp(-t/2) / 2.

The least largest error of z, 1.1e-5, where errors count 1 / (1 + (z / 3.5)^6). Of t, or of sqrt t as with SHIFT 0, nine
powers would be needed for ten times that error: z is a smooth function of t at 0, but one of sqrt t far out.
"""


def quantile(words: "jax.Array") -> "jax.Array":
    """The normal number, float32, whose sign is the highest bit and whose chance to be exceeded in size the others."""
    import jax.numpy as jnp
    from jax import lax

    # Of 2^31: a half added, so that none is 0. From signed integers, which every vector unit converts.
    chance = (words & np.uint32(0x7FFFFFFF)).astype(jnp.int32).astype(jnp.float32) + np.float32(0.5)
    bits = lax.bitcast_convert_type(chance, jnp.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # of a float of 1/sqrt 2 to sqrt 2 times a power of two
    x = lax.bitcast_convert_type(bits - (exponent << np.int32(23)), jnp.float32) - np.float32(1)
    powers = exponent.astype(jnp.float32) * np.float32(-2 * math.log(2)) + np.float32(62 * math.log(2) + SHIFT)
    t = powers + x * _polynomial(x, tuple(-2 * value for value in LOGARITHM))
    x = jnp.sqrt(t) - np.float32(SHIFT**0.5)
    z = lax.bitcast_convert_type(x * _polynomial(x, QUANTILE), jnp.uint32)
    return lax.bitcast_convert_type(z ^ (words & np.uint32(0x80000000)), jnp.float32)


def _polynomial(x: "jax.Array", coefficients: tuple[float, ...]) -> "jax.Array":
    value = x * np.float32(coefficients[-1]) + np.float32(coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        value = value * x + np.float32(coefficient)
    return value
