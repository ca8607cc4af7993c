"""What searches found in the networks that a sweep kept, as files of its result folder: slow points, and ghosts."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ghostsweep.store import files

ABOUT = b"searched"


def read_searched(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table kept in a file and the keys of its runs, by run_id; both empty where there is none.

    A key is a digest of all that a search depends on. A file that cannot be read is named in a warning, and counts as
    none.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        return table.to_pandas(ignore_metadata=True), dict(json.loads(table.schema.metadata[ABOUT]))
    except FileNotFoundError:
        pass
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
        warnings.warn(f"{path}: cannot be read, or is damaged, and is left out: {error}", stacklevel=2)
    return pd.DataFrame(), {}


def write_searched(path: Path, table: pd.DataFrame, keys: Mapping[str, str]) -> None:
    """Keep a table with a column run_id, of runs with these keys, whole or not at all."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({ABOUT: json.dumps(dict(keys)).encode()})
    split = [field.name for field in arrow.schema if pa.types.is_floating(field.type)]
    lists = [f"{field.name}.list.element" for field in arrow.schema if pa.types.is_list(field.type)]
    words = [field.name for field in arrow.schema if pa.types.is_string(field.type)]
    files.write(
        path,
        lambda file: pq.write_table(
            arrow, file, compression="zstd", compression_level=9, write_page_checksum=True, use_dictionary=words,
            use_byte_stream_split=[*split, *lists],
        ),
    )  # fmt: skip
