"""The step of `check.py` that decides about the option `persistent`."""

from typing import Any

from measuring import golden_names, golden_of, keep, seconds_of, trainer_of


def persistent(budget: float = 0.3) -> dict[str, Any]:
    """The option `persistent`: golden histories of rank one, and its time beside that of the plain program.

    Also the largest relative difference of their parameters, from the same seeds after 100 epochs. On a CPU the kernel
    is interpreted, of few runs and epochs.
    """
    import jax
    import numpy as np

    from ghostsweep.spec import Run
    from ghostsweep.training import one, persistent

    devices = tuple(jax.local_devices()[:1])
    on_card = devices[0].platform == "gpu"
    shape_of_plain = one.shape_of
    found: dict[str, Any] = {"golden": {}, "times": {}}
    one.shape_of = lambda fields: persistent.chosen(shape_of_plain(fields), "gpu")
    for name in golden_names():
        for dtype in ("float64", "float32") if name.startswith(("rank1_delayed", "rank_one")) else ():
            try:
                found["golden"][f"{name} {dtype}"] = golden_of(name, dtype, 10**9 if on_card else 20)
            except Exception as error:
                found["golden"][f"{name} {dtype}"] = {"error": f"{type(error).__name__}: {error}"[:300]}
            keep(found)
    one.shape_of = shape_of_plain
    protocols: list[tuple[int, str]] = [(20, "float32"), (56, "float32"), (5, "float32"), (20, "float64")]
    for timescale, dtype in protocols if on_card else protocols[2:3]:
        row = found["times"].setdefault(f"T = {timescale}, {dtype}", {})
        run = Run(model="rank_one", timescale=timescale, dtype=dtype, learning_rate=1e-3, epochs=1)
        for width in (128, 300, 1056, 4224, 16896) if on_card else (2,):
            cell, ends = row.setdefault(str(width), {}), []
            for way in (True, False):
                try:
                    trainer, compiling = trainer_of(run, width, devices, persistent=way)
                    state, _ = trainer(100 if on_card else 3)
                    ends.append({key: np.asarray(value) for key, value in state.params.items()})
                    each = seconds_of(trainer, budget)
                    cell["persistent" if way else "plain"] = {"us": each * 1e6, "compile_s": compiling}
                except Exception as error:
                    cell["persistent" if way else "plain"] = {"error": f"{type(error).__name__}: {error}"[:300]}
            if len(ends) == 2:
                off = [np.abs(ends[0][key] - value).max() / np.abs(value).max() for key, value in ends[1].items()]
                cell["off"] = float(max(off))
            keep(found)
    return found
