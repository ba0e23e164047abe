"""Rows of a parquet file, within a bound on what it unfolds to: a few kilobytes of it can stand for terabytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError
from tasks.reading.rows import Row

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData

#: A file may unfold to a gigabyte, or to a hundred times its size where that is more. Text is packed 3 to 20 times.
UNFOLDED_BYTES = 1 << 30
UNFOLDED_TIMES = 100

#: What a row and a value of it take as Python objects, at least: nothing is stored for a billion rows without a value.
ROW_BYTES, VALUE_BYTES = 256, 64

#: What is turned into Python objects at a time.
BATCH_BYTES = 1 << 26


def read_parquet(path: str) -> Iterator[Row]:
    """The rows in their order.

    Two things make small files large: compression, which the metadata tells before anything is read, and a dictionary, whose
    one long text a million rows may point to. So text is read as its dictionary, and counted before it is spread out.

    Raises:
        UserError: the file is damaged, unfolds beyond all proportion, or has two columns of one name.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with open(path, "rb") as source:
            limit = max(UNFOLDED_BYTES, UNFOLDED_TIMES * os.fstat(source.fileno()).st_size)
            metadata = pyarrow.parquet.read_metadata(source)
            rows, size = _announced(metadata)
            _check_size(size, limit, path)
            texts = {
                column.path
                for column in map(metadata.schema.column, range(len(metadata.schema)))
                if column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL"
            }
            file = pyarrow.parquet.ParquetFile(
                source, metadata=metadata, read_dictionary=sorted(texts), page_checksum_verification=True
            )
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{path}: two columns have the same name; rename one")
            unfolded = 0
            batch_size = min(1000, max(1, BATCH_BYTES * rows // max(size, 1)))
            # By row group: where a batch spans two dictionaries, Arrow does not read lists of text.
            for batch in chain.from_iterable(
                file.iter_batches(batch_size, row_groups=[group]) for group in range(metadata.num_row_groups)
            ):
                size = sum(map(_unfolded_bytes, batch.columns))
                unfolded += size
                _check_size(unfolded, limit, path)
                step = max(1, batch.num_rows * BATCH_BYTES // max(size, 1))
                for start in range(0, batch.num_rows, step):
                    for values in _spread(batch.slice(start, step)):
                        number += 1
                        yield Row(values, f"{path} row {number}")
    except PermissionError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as parquet after row {number}: {reason}; write it again") from None


def _announced(metadata: FileMetaData) -> tuple[int, int]:
    """How many rows the metadata tell of, and the bytes that these take at least."""
    rows = uncompressed = values = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows += group.num_rows
        uncompressed += group.total_byte_size
        values += sum(group.column(i).num_values for i in range(group.num_columns))
    return rows, max(uncompressed, rows * ROW_BYTES + values * VALUE_BYTES)


def _check_size(size: int, limit: int, path: str) -> None:
    if size > limit:
        raise UserError(
            f"{path} unfolds to {size:,} bytes or more, and {limit:,} is the most for a file of its size; it is damaged or "
            "made to fill the memory; if you trust it, split it, or write it as jsonl"
        )


def _unfolded_bytes(array: pyarrow.Array) -> int:
    """Bytes of the values with every text written out, where many rows may share one in a dictionary."""
    import pyarrow.compute as pc
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        if not (types.is_string(kind.value_type) or types.is_binary(kind.value_type)):
            return array.nbytes
        return pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0
    if types.is_struct(kind):
        return sum(map(_unfolded_bytes, array.flatten()))
    if types.is_nested(kind):
        return _unfolded_bytes(array.flatten())
    return array.nbytes


def _spread(batch: pyarrow.RecordBatch) -> list[dict[str, Any]]:
    """The rows as Python objects, dictionaries written out first, since to_pylist looks up each value by itself."""
    import pyarrow

    columns = [
        column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
