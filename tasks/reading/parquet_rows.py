"""Rows of a parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import datasets
import pyarrow
import pyarrow.parquet

from tasks.errors import UserError
from tasks.reading.rows import Row
from tasks.reading.values import label_names

#: A file may unfold to a gigabyte, or to a hundred times its size where that is more. Text is packed 3 to 20 times.
UNFOLDED_BYTES = 1 << 30


def read_parquet(path: str) -> Iterator[Row]:
    """The rows in their order, with the names that the schema has for labels.

    Raises UserError on a file that is damaged or unfolds beyond all proportion.
    """
    number = 0
    try:
        with open(path, "rb") as source:
            file = pyarrow.parquet.ParquetFile(source, page_checksum_verification=True)
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{path}: two columns have the same name; rename one")
            check_unfolded(path, unfolded_bytes(file.metadata))
            labels = _labels(file.schema_arrow)
            for batch in file.iter_batches(1000):
                for values in batch.to_pylist():
                    number += 1
                    values |= {name: label_names(feature, [values[name]])[0] for name, feature in labels.items()}
                    yield Row(values, f"{path} row {number}")
    except PermissionError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as parquet after row {number}: {reason}; write it again") from None


def unfolded_bytes(metadata: pyarrow.parquet.FileMetaData) -> int:
    """What the columns of a file take when they are unpacked, as it says itself."""
    return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))


def check_unfolded(path: str, unfolded: int) -> None:
    """Raises UserError where a packed file would unfold to so many bytes that it cannot be text alone."""
    limit = max(UNFOLDED_BYTES, 100 * os.path.getsize(path))
    if unfolded > limit:
        reason = f"unfolds to {unfolded:,} bytes, and {limit:,} is the most for a file of its size"
        way_out = "it is damaged or made to fill the memory; if you trust it, split it, or write it as jsonl"
        raise UserError(f"{path} {reason}; {way_out}")


def _labels(schema: pyarrow.Schema) -> dict[str, datasets.ClassLabel]:
    """The columns of class labels, as the datasets library writes them into the schema."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    features = datasets.Features.from_arrow_schema(schema)
    return {name: feature for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)}
