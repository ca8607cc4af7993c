"""Results put on disk and together by hand, for the tests of what is stored."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ghostsweep.store import merging, tables


def merge(folder: Path, planned: Iterable[str], **about: Any) -> pd.DataFrame:
    """Put what waits in a folder into its tables."""
    return merging.merge(folder, tables.stored(folder), planned, about)
