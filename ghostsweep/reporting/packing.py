"""Arrays as text of few characters: little-endian whole numbers in base64. Imports no other room."""

import base64
from typing import Any

import numpy as np
import pandas as pd


def packed(values: np.ndarray) -> dict[str, Any]:
    """Whole numbers of at least 0 as base64, in 1, 2 or 4 bytes each; `page.js` unpacks them."""
    top = int(values.max()) if values.size else 0
    size = 1 if top < 2**8 else 2 if top < 2**16 else 4
    raw = np.ascontiguousarray(values, dtype=f"<u{size}").tobytes()
    return {"bytes": size, "base64": base64.b64encode(raw).decode()}


def unpacked(found: dict[str, Any]) -> np.ndarray:
    """What `packed` was given, flat."""
    return np.frombuffer(base64.b64decode(found["base64"]), dtype=f"<u{found['bytes']}").astype(int)


def coded(values: "pd.Series[Any]") -> dict[str, Any]:
    """A column as its distinct values, ascending, and of each row the place among them, from 1 on; 0 where null."""
    codes, distinct = pd.factorize(values, sort=True)
    plain = [value.item() if isinstance(value, np.generic) else value for value in distinct]
    return {"values": plain, "codes": packed(np.asarray(codes) + 1)}
