"""Row files: selected feature rows that training maps into memory.

One Arrow IPC file per pass over a shard: uncompressed, so that a refit touches only the rows of its class.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DamagedFileError, MissingShardError
from rcnn_dist.store import files
from rcnn_dist.store.schema import decode_matrix, encode_matrix

_FEATURES = "features"
_CLASSES = "classes"


def write_rows(url: str, features: Array, classes: Sequence[Sequence[int]], columns: Mapping[str, Array], extra: bytes = b"") -> None:
    """Writes rows, the classes that want each, and further columns; keeps the file of an earlier attempt.

    Args:
        features: float16 [R, D].
        extra: kept in the file's metadata.
    """
    arrays = [encode_matrix(features), pa.array(classes, pa.list_(pa.int32())), *(pa.array(values) for values in columns.values())]
    table = pa.table(arrays, names=[_FEATURES, _CLASSES, *columns]).replace_schema_metadata({"extra": extra})
    with files.scratch_file(url) as scratch:
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        files.publish(scratch, url)


def map_rows(url: str) -> "RowFile":
    """Opens a row file without reading its features.

    Raises:
        MissingShardError: there is no such file.
        DamagedFileError: it is not a row file.
    """
    path = files.local_path(url)
    try:
        source = files.attempt(url, lambda: pa.memory_map(str(path))) if path else pa.BufferReader(files.read_bytes(url))
        return RowFile(pa.ipc.open_file(source).read_all())
    except FileNotFoundError as error:
        raise MissingShardError(f"{url} is missing: run the train stage again") from error
    except pa.ArrowInvalid as error:
        raise DamagedFileError(f"{url}: {error}; delete it and run the train stage again") from error


def map_class_rows(url: str, class_index: int) -> tuple["RowFile", Array]:
    """A row file, and the rows of it that one class wants."""
    file = map_rows(url)
    return file, file.rows_of_classes(class_index + 1)[class_index]


class RowFile:
    """Rows of one pass over a shard."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self.extra: bytes = (table.schema.metadata or {}).get(b"extra", b"")

    @property
    def features(self) -> Array:
        """float16 [R, D], mapped: rows are read when they are indexed."""
        return decode_matrix(self._table[_FEATURES])

    def column(self, name: str) -> Array:
        return np.asarray(self._table[name])

    def rows_of_classes(self, n_classes: int) -> list[Array]:
        """For every class the ascending rows that it wants."""
        column = self._table[_CLASSES].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        rows = np.repeat(np.arange(len(column)), np.diff(np.asarray(column.offsets)))
        values = np.asarray(column.flatten())
        order = np.argsort(values, kind="stable")
        bounds = np.searchsorted(values[order], np.arange(n_classes + 1))
        return [rows[order[a:b]] for a, b in pairwise(bounds)]
