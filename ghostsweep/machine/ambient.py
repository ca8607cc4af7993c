"""What decides numbers around a program: JAX's configuration and environment, pinned or else recorded; and its start.

Users set JAX up for their own code, in the same process or by variables of a whole cluster. Draws and digits of a run
must not depend on that, or a checkpoint and the tables say on what.
"""

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ghostsweep.errors import UsageError
from ghostsweep.machine import kernels

DECIDE = {"default_matmul_precision": "highest", "threefry_partitionable": True, "default_prng_impl": "threefry2x32"}
"""Settings that decide numbers, by their context managers in `jax`. (`train` makes keys that know no seed offset.)"""
INTERFERE = {
    "transfer_guard": "allow",  # what is reported goes from device to host, what to do the other way
    "debug_nans": False,  # a run may diverge
    "debug_infs": False,
    "disable_jit": False,  # a program is compiled before it is called
    "no_tracing": False,
    "no_execution": False,
}
"""Settings under which training would fail or crawl: of use for the code around it, never for this."""
FORBIDDEN = {
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_scan3": False,
}
"""Settings under which training fails and that have no context manager, with what is allowed."""

NO_MESH = jax.sharding.Mesh(np.empty((), object), ())
"""In place of a mesh of devices that the user has set: each program here has its own."""
JAXLIB = importlib.metadata.version("jaxlib")
"""The compiler's version, which is not always that of JAX."""
VARIABLES = ("XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "LIBTPU_INIT_ARGS")
"""Of the environment; they decide how programs are compiled and cannot be changed once JAX has started."""
DEFAULTS = {
    "check_vma": False,
    "eager_constant_folding": False,
    "jax_allow_f16_reductions": True,
    "jax_auto_pcast": True,
    "jax_backend_target": "",
    "jax_compiler_enable_remat_pass": True,
    "jax_custom_vjp3": False,
    "jax_default_device": None,
    "jax_disable_most_optimizations": False,
    "jax_embedded_constants_max_bytes": 32,
    "jax_enable_pgle": False,
    "jax_error_checking_behavior_oob": "ignore",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_optimization_level": "UNKNOWN",
    "jax_pjrt_client_create_options": None,
    "jax_refs_to_pins": False,
    "jax_remat3": False,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_use_direct_linearize": True,
    "jax_use_shardy_partitioner": True,
    "jax_use_simplified_jaxpr_constants": False,
    "jax_xla_backend": "",
    "jax_xla_profile_version": 0,
}
"""Settings that cannot be pinned and may decide digits, with what JAX 0.10 takes where nobody says."""
PLATFORM = ("jax_platforms", "jax_platform_name", "jax_xla_backend")
"""Settings that say on what JAX starts."""


@contextlib.contextmanager
def pinned(x64: bool) -> Iterator[None]:
    """The settings of JAX under which everything here is made: around creating arrays, compiling and calling programs.

    Settings of newer versions of JAX that are gone are left out. What the user has set is back at the end.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(x64))
        for name, value in (DECIDE | INTERFERE).items():
            if (setting := getattr(jax, name, None)) is not None:
                stack.enter_context(setting(value))
        stack.enter_context(jax.set_mesh(NO_MESH))
        yield


def settings() -> dict[str, Any]:
    """What may decide digits beside the code and the devices, for JSON: what is pinned, and what the user has set.

    By the names of JAX's configuration, of the compiler's options and of the environment; what is not there is as it is
    by default.
    """
    now = jax.config.values
    found: dict[str, Any] = {f"jax_{name}": value for name, value in DECIDE.items()}
    found |= {name: _plain(now[name]) for name in DEFAULTS if name in now and _plain(now[name]) != DEFAULTS[name]}
    found |= {name: _variable(os.environ[name]) for name in VARIABLES if os.environ.get(name)}
    return found | kernels.options(jax.local_devices()[0].platform, kernel=True) | {"jaxlib": JAXLIB}


def _plain(value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _variable(value: str) -> str:
    """What a variable says; of one that names a file of flags, as XLA_FLAGS may, what is in it."""
    try:
        return value if value.startswith("-") else Path(value).read_text()
    except (OSError, ValueError):
        return value


def local_devices() -> list[jax.Device]:
    """The devices of this machine, with which JAX is started if it is not yet.

    Raises UsageError, a line, where it does not start, or where the user has set what no training goes with.
    """
    now = jax.config.values
    for name, allowed in FORBIDDEN.items():
        if name in now and _plain(now[name]) != allowed:
            raise UsageError(f"{name}: found {_plain(now[name])!r}; allowed where runs are trained: {allowed!r}")
    try:
        devices: list[jax.Device] = jax.local_devices()
    except Exception as error:  # of many kinds: AssertionError where a plug-in is not there
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        chosen = [f"{name.upper()}: found {now[name]!r}, but" for name in PLATFORM if now.get(name)]
        raise UsageError(
            f"{' '.join(chosen) or 'JAX: found'} no device here, or no driver or plug-in for it ({reason}); "
            "allowed: JAX_PLATFORMS=cpu, a platform that JAX finds here, or not to set it"
        ) from error
    return devices


def is_started() -> bool:
    """Whether JAX has started in this process, after which the number of its CPU devices is fixed."""
    before = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", before + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", before)
    return False
