"""Boxes in a user's Parquet files: columns image_id, x1, y1, x2, y2, the rows of an image in their order."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DataError
from rcnn_dist.store import files
from rcnn_dist.store.manifest import sha256_of
from rcnn_dist.store.tables import boxes_of

_COLUMNS = pa.schema([("image_id", pa.string()), *((name, pa.float64()) for name in ("x1", "y1", "x2", "y2"))])


def read_box_table(url: str, image_ids: Sequence[str]) -> dict[str, Array]:
    """Boxes float64 [R, 4] of those of some images that a Parquet file or folder has, in its order.

    Raises:
        DataError: there is no such file, it is no Parquet, or a column is missing, has another type or a gap.
    """
    try:
        _check_columns(url, files.open_dataset(url).schema)
        wanted = pc.field("image_id").isin(pa.array(image_ids, pa.string()))
        table = files.open_dataset(url, _COLUMNS).to_table(filter=wanted)
    except FileNotFoundError:
        raise DataError(f"no Parquet file {url}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{url} cannot be read as Parquet: {error}") from error
    if gaps := [name for name in table.column_names if table[name].null_count]:
        raise DataError(f"{url}: column '{gaps[0]}' has rows without a value")
    codes = table["image_id"].combine_chunks().dictionary_encode()
    order = np.asarray(codes.indices)
    boxes = boxes_of(table)
    return {name: boxes[order == code] for code, name in enumerate(codes.dictionary.to_pylist())}


def content_digest(urls: Sequence[str]) -> str:
    """What changes with the bytes of some files, or of the files of some folders.

    Raises:
        DataError: one does not exist.
    """
    hasher = hashlib.sha256()
    for url in urls:
        members = [files.join(url, name) for name in files.list_tree(url)] if files.is_folder(url) else [url]
        for member in members:
            try:
                hasher.update(sha256_of(member).encode())
            except FileNotFoundError:
                raise DataError(f"no file {member}") from None
    return hasher.hexdigest()


def _check_columns(url: str, schema: pa.Schema) -> None:
    for name in _COLUMNS.names:
        if name not in schema.names:
            raise DataError(f"{url} has no column '{name}': {', '.join(_COLUMNS.names)} are wanted, found {', '.join(schema.names)}")
        dtype = schema.field(name).type
        value = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
        is_text = pa.types.is_string(value) or pa.types.is_large_string(value)
        if is_text != (name == "image_id"):
            raise DataError(f"{url}: column '{name}' is {dtype}, {'text' if name == 'image_id' else 'a number'} is wanted")
