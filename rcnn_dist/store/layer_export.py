"""Features in forms that other programs read without us: lists of floats for SQL, .npy matrices for NumPy."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcnn_dist.arrays import Array
from rcnn_dist.store import files
from rcnn_dist.store.query import matrix, region_parts, stream_part, stream_regions
from rcnn_dist.store.shards import open_shard, read_markers
from rcnn_dist.store.tables import boxes_of


def export_lists(folder: str, out: str) -> list[str]:
    """Writes a features table as Parquet files whose layers are list<float>; one for each shard, in its order."""
    urls = []
    for part in region_parts(folder):
        with open_shard(folder, part) as file:
            schema = _as_lists(file.schema_arrow.empty_table()).schema
        urls.append(files.join(out, f"{part}.parquet"))
        with files.scratch_file(urls[-1]) as scratch:
            with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
                for table in stream_part(folder, part):
                    writer.write_table(_as_lists(table))
            files.replace(scratch, urls[-1])
    return urls


def export_npy(folder: str, out: str) -> list[str]:
    """Writes float16 [R, D] of each layer, and image_id, region, boxes (float32 [R, 4]) of its rows, each a .npy file of its own."""
    markers, parts = read_markers(folder), region_parts(folder)
    rows = sum(m.rows for m in markers)
    if not parts:
        return []
    with open_shard(folder, parts[0]) as file:
        sizes = {field.name: field.type.byte_width // 2 for field in file.schema_arrow if pa.types.is_fixed_size_binary(field.type)}
    longest = max(len(image_id) for m in markers for image_id, _ in m.images)
    columns: dict[str, tuple[Any, tuple[int, ...], list[str], Callable[[pa.Table], Array]]] = {
        "image_id": (f"U{longest}", (), ["image_id"], lambda table: np.array(table["image_id"].to_pylist())),
        "region": (np.int32, (), ["region"], lambda table: np.asarray(table["region"])),
        "boxes": (np.float32, (4,), ["x1", "y1", "x2", "y2"], boxes_of),
        **{layer: (np.float16, (size,), [layer], partial(matrix, layer=layer)) for layer, size in sizes.items()},
    }
    urls = []
    for name, (dtype, shape, names, decode) in columns.items():
        blocks = (decode(table) for table in stream_regions(folder, columns=names))
        urls.append(_write(out, name, np.dtype(dtype), (rows, *shape), blocks))
    return urls


def _write(out: str, name: str, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[Array]) -> str:
    """Streams blocks of rows into one .npy file."""
    url = files.join(out, f"{name}.npy")
    with files.scratch_file(url) as scratch:
        with scratch.open("wb") as stream:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for block in blocks:
                stream.write(np.ascontiguousarray(block, dtype).tobytes())
        files.replace(scratch, url)
    return url


def _as_lists(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_fixed_size_binary(field.type):
            values = matrix(table, field.name).astype(np.float32)
            offsets = pa.array(np.arange(len(values) + 1) * (field.type.byte_width // 2), pa.int32())
            lists = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
            table = table.set_column(index, pa.field(field.name, lists.type, nullable=False), lists)
    return table
