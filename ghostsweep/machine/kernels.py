"""How XLA compiles for CPUs: the width of vectors, and whole functions as one kernel.

XLA runs a program on a CPU operation by operation, each a function that is looked up and called: some 0.3 us, however
little it does. Loops over steps of 100 units are hundreds of them. Small loops it compiles into one function of their
own; a call that is marked as it marks those comes out the same.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata

VECTORS = {"xla_cpu_prefer_vector_width": 512}
"""Vectors of 512 bits where the processor has them; XLA alone takes 256."""
OWN_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Products and sums in XLA's own code, since a library's cannot be called from within a kernel."""
MARK = {"inlineable": "false", "xla_cpu_small_call": "true"}
"""What XLA writes at the small loops that it makes kernels of."""


def allowed() -> bool:
    """Whether kernels can be compiled: the user has not set in XLA_FLAGS what they need otherwise."""
    return not any(name in os.environ.get("XLA_FLAGS", "") for name in OWN_PRODUCTS)


def options(platform: str, kernel: bool) -> dict[str, Any]:
    """Compiler options of a program, but for what the user has set in XLA_FLAGS."""
    wanted = VECTORS | (OWN_PRODUCTS if kernel else {}) if platform == "cpu" else {}
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in wanted.items() if name not in flags}


def one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of arrays, as one kernel where it is compiled for a CPU with the `options` of one.

    Products in it should be of a vector and a matrix, or of two matrices of up to some 40 summands: others are slow.
    On other platforms, and in versions of XLA without such kernels, it is as it was.
    """
    inner = jax.jit(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        (first, *others), tree = jax.tree.flatten(inner(*arguments))
        # A value's mark goes to what makes it, here the call, and to nothing within.
        return jax.tree.unflatten(tree, [set_xla_metadata(first, **MARK), *others])

    return call
