"""Reductions to the canonical form, as files of a result folder that may be there without the snapshots."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep.errors import UsageError
from ghostsweep.store import files
from ghostsweep.store.columns import REDUCTION, arrow_fields, frame

NAME = "reduction.parquet"


def has_reduction(folder: Path) -> bool:
    """Whether a reduction is kept in a folder."""
    return (folder / NAME).is_file()


def read_reduction(folder: Path) -> pd.DataFrame:
    """The reduction kept in a folder, units in `.attrs["units"]`. Raises UsageError without one that can be read."""
    path = folder / NAME
    try:
        return frame(pq.read_table(path, page_checksum_verification=True))
    except FileNotFoundError:
        raise UsageError(
            f"{path}: not there; allowed: a folder for which `ghostsweep reduce NAME --keep` wrote it"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:  # OSError: what a page holds is not what was written, too
        raise UsageError(f"{path}: cannot be read, or is damaged: {error}") from None


def write_reduction(folder: Path, reduction: pd.DataFrame) -> Path:
    """Keep a reduction in a folder, numbers in the precision that runs have in float32; return the file.

    Rows in which the output does not switch are left out but for a run's last: they say nothing that its curve does
    not.
    """
    last = reduction["epoch"] == reduction.groupby("run_id")["epoch"].transform("max")
    table = reduction[reduction["s"].notna() | last]
    single = {str(name): table[name].astype(np.float32) for name in table.select_dtypes(["float32", "float64"])}
    table = table.assign(**single)
    named = {field.name: field for field in arrow_fields(REDUCTION)}
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    schema = pa.schema([f.with_metadata(named[f.name].metadata) if f.name in named else f for f in arrow.schema])
    options = {"write_page_checksum": True, "compression": "zstd", "compression_level": 9, "use_dictionary": ["run_id"]}
    path = folder / NAME
    files.write(
        path, lambda file: pq.write_table(arrow.cast(schema), file, use_byte_stream_split=list(single), **options)
    )
    return path
