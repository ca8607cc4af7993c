"""What goes wrong in users' functions, told in a line."""

import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from ghostsweep.declare.model import Model, Task
from ghostsweep.declare.shape import Shape
from ghostsweep.errors import UsageError


def told(error: BaseException, path: str, what: str = "", hint: str = "") -> UsageError:
    """An exception from a user's file as one line with the line of the file, and its traceback in a file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    said = (error.msg if isinstance(error, SyntaxError) else str(error)).splitlines() or [""]
    with tempfile.NamedTemporaryFile("w", prefix="ghostsweep-", suffix=".txt", delete=False) as file:
        file.writelines(traceback.format_exception(error))
    where = f"{path}, line {line}" if line else path
    return UsageError(f"{where}: {what}{type(error).__name__}: {said[0]}{hint}; traceback in {file.name}")


def path_of(part: Model | Task) -> str:
    """The file that a part's functions are written in."""
    function = part.initial if isinstance(part, Model) else part.trials
    return str(getattr(getattr(function, "__code__", None), "co_filename", part.name))


def wrong(part: Model | Task, name: str, found: str, allowed: str) -> UsageError:
    """What a function of a part returns that is not allowed."""
    own = part.name.partition("@")[0]
    return UsageError(f"{path_of(part)}: {own}, {name}: found {found}; allowed: {allowed}")


def traced(part: Model | Task, name: str, shape: Shape, function: Callable[..., Any], *arguments: Any) -> Any:
    """The types of what a function returns; an exception in it as one line with the line of the file."""
    import jax

    try:
        return jax.eval_shape(function, *arguments)
    except (KeyboardInterrupt, UsageError):
        raise
    except Exception as error:
        hint = ""
        if isinstance(error, KeyError):
            sizes = ", ".join(f"shape.{name}" for name, _ in shape.sizes)
            hint = f"; there is in traced: {', '.join(shape.traced)}" + f"; in shape: {sizes}" * bool(sizes)
        elif type(error).__name__ in ("ConcretizationTypeError", "TracerIntegerConversionError"):
            hint = "; a number that decides sizes is one of a field with traced=False, shape.NAME"
        raise told(error, path_of(part), f"{part.name.partition('@')[0]}, {name}: ", hint) from None


def check_params(model: Model, params: Any, dtype: str) -> dict[str, Any]:
    """The parameters of a model, as far as their types. Raises UsageError where they are no arrays by name."""
    import numpy as np

    allowed = f"a dict of {dtype} arrays by parameter name"
    if params == {}:
        raise wrong(model, "initial", "an empty dict", allowed)
    if not isinstance(params, dict):
        found = "one array" if hasattr(params, "shape") else f"a {type(params).__name__}"
        raise wrong(model, "initial", found, allowed)
    for key, value in params.items():
        if not isinstance(key, str) or not hasattr(value, "shape"):
            what = f"a {type(value).__name__} of parameters" if isinstance(value, dict | list | tuple) else "no array"
            raise wrong(model, "initial", f"{key!r}: {what}", f"{allowed}, none within another")
        if value.dtype != np.dtype(dtype):
            raise wrong(model, "initial", f"{key} of {value.dtype}", f"{allowed} (shape.dtype)")
    return params
