"""The Arrow schema of every table, with units in the field metadata.

Boxes are float32 in files and float64 in arithmetic. A feature layer is one FixedSizeBinary column of float16 values:
its field carries `dtype` and `size`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DamagedFileError

SCHEMA_VERSION = 1

_TEXT = pa.dictionary(pa.int32(), pa.string())
_FRAME = "pixels, 0-based, half-open"


def _field(name: str, dtype: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, dtype, nullable=nullable, metadata={"meaning": meaning})


def _box(prefix: str = "", meaning: str = _FRAME) -> list[pa.Field]:
    return [_field(f"{prefix}{name}", pa.float32(), meaning) for name in ("x1", "y1", "x2", "y2")]


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(list(fields), metadata={"rcnn_dist_schema": str(SCHEMA_VERSION)})


_IMAGE = [
    _field("image_id", _TEXT, "id in the data set"),
    _field("width", pa.int32(), "of the image, pixels"),
    _field("height", pa.int32(), "of the image, pixels"),
]

PROPOSALS = _schema(*_IMAGE, _field("region", pa.int32(), "rank of the proposal in its image, from 0"), *_box())

FAILURES = _schema(
    _field("image_id", pa.string(), "id in the data set"),
    _field("stage", pa.string(), "the stage that could not use the image"),
    _field("split", pa.string(), "image set"),
    _field("reason", pa.string(), "what is wrong with it"),
)

DETECTIONS = _schema(
    *_IMAGE,
    _field("class", _TEXT, "class name"),
    _field("score", pa.float32(), "signed SVM margin"),
    _field("region", pa.int32(), "row of its image in the features table"),
    *_box(meaning=f"the detection, after regression where there is one; {_FRAME}"),
    *_box("proposal_", meaning=f"the proposal that was scored; {_FRAME}"),
    _field("kept", pa.bool_(), "survives non-maximum suppression"),
    _field("kept_unregressed", pa.bool_(), "its proposal survives non-maximum suppression among the proposals"),
)

SEGMENTS = _schema(
    *_IMAGE,
    _field("method", _TEXT, "strategy and layer of the features"),
    _field("rank", pa.int32(), "among the method's best regions of the image, from 0"),
    _field("region", pa.int32(), "row of its image in the masks table"),
    _field("class", _TEXT, "the class of the region's highest score"),
    _field("score", pa.float32(), "predicted overlap with that class"),
)

TOP_REGIONS = _schema(
    _field("unit", pa.int32(), "of the layer, from 0"),
    _field("rank", pa.int32(), "among the unit's regions, from 0"),
    _field("activation", pa.float32(), "of the unit for the region"),
    _field("split", _TEXT, "image set: train or test"),
    _field("image_id", _TEXT, "id in the data set"),
    _field("region", pa.int32(), "row of its image in the features table"),
    *_box(),
)

MASKS = _schema(
    *_IMAGE,
    _field("region", pa.int32(), "row of its image, from 0: ground truth first, then regions by rank, then mirrored ground truth"),
    _field("is_ground_truth", pa.bool_(), "an annotated object instead of a region that was found"),
    _field("is_mirrored", pa.bool_(), "mask and box are of the image mirrored left to right"),
    *_box(meaning=f"of the region; {_FRAME}"),
    _field("counts", pa.list_(pa.int32()), "the mask as run lengths, row by row, the first one outside"),
    _field("overlap", pa.list_(pa.float32()), "of each class: largest intersection over union with one of its masks, void left out"),
    _field("is_best", pa.bool_(), "the region that overlaps some annotated object most, by more than half"),
)


def features_schema(layer_sizes: Mapping[str, int]) -> pa.Schema:
    """Schema of a features table with one column per layer.

    Args:
        layer_sizes: layer name -> D.
    """
    layers = [
        pa.field(name, pa.binary(2 * size), nullable=False, metadata={"dtype": "float16", "size": str(size)})
        for name, size in layer_sizes.items()
    ]
    return _schema(
        *_IMAGE,
        _field("region", pa.int32(), "row of its image, from 0: ground truth first, then the proposals by rank"),
        _field("is_ground_truth", pa.bool_(), "an annotated object instead of a proposal"),
        *_box(),
        _field("gt_class", _TEXT, "class of the annotated object that overlaps most; null without overlap", nullable=True),
        _field("gt_iou", pa.float32(), "intersection over union with that object"),
        *layers,
    )


def encode_matrix(features: Array) -> pa.Array:
    """A float16 matrix [R, D] as a FixedSizeBinary column of R values."""
    rows, size = features.shape
    data = np.ascontiguousarray(features, dtype=np.float16)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * size), rows, [None, pa.py_buffer(data)])


def decode_matrix(column: pa.ChunkedArray | pa.Array) -> Array:
    """The float16 matrix [R, D] of a layer column; law: decode_matrix(encode_matrix(x)) == x.

    Raises:
        DamagedFileError: the column holds no fixed-size binary values.
    """
    if not pa.types.is_fixed_size_binary(column.type):
        raise DamagedFileError(f"a layer column must be fixed-size binary of float16, found {column.type}")
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    size = column.type.byte_width // 2
    parts = [np.frombuffer(c.buffers()[1], np.float16, len(c) * size, 2 * size * c.offset).reshape(-1, size) for c in chunks if len(c)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty((0, size), np.float16)


def check_schema(found: pa.Schema, expected: pa.Schema, url: str) -> None:
    """Refuses a file of another schema and names the first field that differs.

    Raises:
        DamagedFileError: a field is missing or has another type.
    """
    check_columns(found, expected.names, url)
    for field in expected:
        if found.field(field.name).type != field.type:
            raise DamagedFileError(f"{url}: field '{field.name}' is {found.field(field.name).type}, expected {field.type}")


def check_columns(found: pa.Schema, names: Sequence[str], url: str) -> None:
    """Refuses a file that lacks a column.

    Raises:
        DamagedFileError: names the first that is missing.
    """
    for name in names:
        if name not in found.names:
            raise DamagedFileError(f"{url}: no field '{name}' (schema {SCHEMA_VERSION}); compute the stage again with this version")
