"""Tables as columns: built from NumPy arrays, written whole where a table is one small file, read from a user's Parquet."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DataError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import ImageFailure
from rcnn_dist.store.schema import FAILURES, encode_matrix

_BOX = ("x1", "y1", "x2", "y2")


def make_table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """A table of a schema; float16 matrices become layer columns, text becomes dictionary columns."""
    arrays = [_column(field.type, columns[field.name]) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def box_columns(boxes: Array, prefix: str = "") -> dict[str, Array]:
    """Columns x1, y1, x2, y2 of boxes [R, 4]; law: boxes_of(table with these columns) == boxes as float32."""
    return {f"{prefix}{name}": boxes[:, i].astype(np.float32) for i, name in enumerate(_BOX)}


def boxes_of(table: pa.Table, prefix: str = "") -> Array:
    """Boxes float64 [R, 4] of a table."""
    return np.stack([np.asarray(table[f"{prefix}{name}"]) for name in _BOX], axis=1).astype(np.float64).reshape(-1, 4)


def write_table(url: str, schema: pa.Schema, columns: Mapping[str, Any]) -> None:
    """Writes a small table as one Parquet file, in place of one that is there."""
    with files.scratch_file(url) as scratch:
        pq.write_table(make_table(schema, columns), scratch, compression="zstd")
        files.write_bytes(url, scratch.read_bytes())


def lists_of(table: pa.Table, column: str) -> list[Array]:
    """The values of a list column, one array per row."""
    chunk = table[column].combine_chunks()
    chunk = pa.concat_arrays(chunk.chunks) if isinstance(chunk, pa.ChunkedArray) else chunk
    values, offsets = np.asarray(chunk.values), np.asarray(chunk.offsets)
    return [values[a:b] for a, b in pairwise(offsets)]


def read_texts(url: str, column: str) -> list[str | None]:
    """A text column of a user's Parquet file, or of all `*.parquet` below a folder in the order of their paths.

    Raises:
        DataError: there is no such file, it is no Parquet, or it has no such column of text.
    """
    names = [f"{url.rstrip('/')}/{name}" for name in files.list_tree(url) if name.endswith(".parquet")] if files.is_folder(url) else [url]
    if not names:
        raise DataError(f"{url} holds no file that ends in .parquet")
    return [text for name in names for text in _read_texts(name, column)]


def _read_texts(url: str, column: str) -> list[str | None]:
    try:
        with files.open_binary(url) as source, pq.ParquetFile(source) as file:
            schema = file.schema_arrow
            if column not in schema.names:
                raise DataError(f"{url} has no column '{column}': set data.column to one of {', '.join(schema.names)}")
            found = file.read(columns=[column])[column]
    except FileNotFoundError:
        raise DataError(f"no Parquet file {url}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{url} cannot be read as Parquet: {error}") from error
    if not (pa.types.is_string(dtype := _value_type(found.type)) or pa.types.is_large_string(dtype)):
        raise DataError(f"{url}: column '{column}' is {found.type}, text is wanted; set data.column to another column")
    texts: list[str | None] = found.to_pylist()
    return texts


def _value_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def write_failures(url: str, split: str, failures: Sequence[ImageFailure]) -> None:
    """Writes the failures of a stage and split as one Parquet file, also where there are none."""
    rows = [{"image_id": f.image_id, "stage": f.stage, "split": split, "reason": f.reason} for f in failures]
    with files.scratch_file(url) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema=FAILURES), scratch)
        files.write_bytes(url, scratch.read_bytes())


def _column(dtype: pa.DataType, values: Any) -> pa.Array:
    if pa.types.is_fixed_size_binary(dtype):
        return encode_matrix(values)
    if pa.types.is_dictionary(dtype):
        return _dictionary(values, dtype)
    return pa.array(values, dtype)


def _dictionary(values: Iterable[str | None], dtype: pa.DataType) -> pa.Array:
    return pa.array(list(values), dtype.value_type).dictionary_encode()
