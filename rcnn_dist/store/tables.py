"""Tables as columns: built from NumPy arrays, written whole where a table is one small file."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcnn_dist.arrays import Array
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
