"""Rows of a Parquet file, a batch at a time. Needs the extra `align-scratch[parquet]`; nothing else here does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from align_scratch.errors import DataError, NotAvailable

BATCH_ROWS = 1024  # in memory at a time


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1, values by column). Raises NotAvailable without pyarrow, DataError for a bad file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise NotAvailable(
            f"{path}: reading Parquet needs pyarrow, which is not installed: pip install 'align-scratch[parquet]', "
            "or convert the file to .jsonl"
        ) from error
    if not path.is_file():
        raise DataError(f"{path}: {'is a directory, not a file' if path.is_dir() else 'there is no such file'}")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    # Columns that are null in this row are columns that this row has not.
                    yield number, {name: value for name, value in row.items() if value is not None}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise DataError(f"{path}, after row {number}: not a Parquet file that can be read ({what})") from error
