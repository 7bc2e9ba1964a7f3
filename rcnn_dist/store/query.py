"""Reading tables the way users do: regions by what they are, a layer as a matrix, detections by class.

A features table is read a row group (about one image) at a time, so no query over any number of shards needs more memory than that
and what it returns.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rcnn_dist.arrays import Array
from rcnn_dist.store.schema import DETECTIONS, decode_matrix
from rcnn_dist.store.shards import open_shard, read_markers, read_table
from rcnn_dist.store.tables import boxes_of

__all__ = ["ALL", "RegionShards", "Regions", "find_regions", "matrix", "region_parts", "stream_part", "stream_regions"]


@dataclass(frozen=True, slots=True)
class Regions:
    """Which rows of a features table are wanted; what is left out restricts nothing. Bounds are inclusive, in single precision."""

    image_ids: Sequence[str] | None = None
    classes: Sequence[str] | None = None  # of the annotated object that overlaps most
    overlap: tuple[float, float] = (0.0, 1.0)  # IoU with that object
    size: tuple[float, float] = (0.0, math.inf)  # root of the box's area, pixels
    ground_truth: bool | None = None  # only annotated objects, or only proposals

    def mask(self, table: pa.Table) -> Array:
        """Which rows of a table are wanted, bool [R]."""
        boxes = boxes_of(table)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        wanted = _within(np.sqrt(areas), self.size) & _within(np.asarray(table["gt_iou"]), self.overlap)
        if self.ground_truth is not None:
            wanted &= np.asarray(table["is_ground_truth"]) == self.ground_truth
        for column, values in (("image_id", self.image_ids), ("gt_class", self.classes)):
            if values is not None:
                wanted &= _codes(table[column], values, missing=-1) >= 0
        return np.asarray(wanted)


ALL = Regions()
_ASKED = ["image_id", "is_ground_truth", "x1", "y1", "x2", "y2", "gt_class", "gt_iou"]


def stream_regions(folder: str, where: Regions = ALL, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The wanted rows of a features table (one split), in its order, one row group at a time.

    Args:
        columns: None for all.

    Raises:
        MissingShardError: a shard with a marker has no file.
        DamagedFileError: a file cannot be read, or a page's checksum does not fit.
    """
    for part in region_parts(folder, where):
        yield from stream_part(folder, part, where, columns)


def find_regions(folder: str, where: Regions = ALL, columns: Sequence[str] | None = None) -> pa.Table:
    """The same rows as one table, which must fit into memory."""
    found = list(stream_regions(folder, where, columns))
    if not found:
        parts = region_parts(folder, ALL)
        found = [read_table(folder, parts[0], columns).slice(0, 0)] if parts else [pa.table({})]
    return pa.concat_tables(found).unify_dictionaries()


def region_parts(folder: str, where: Regions = ALL) -> list[str]:
    """The shards that may have wanted rows, in order."""
    ids = None if where.image_ids is None else set(where.image_ids)
    return [m.part for m in read_markers(folder) if m.rows and (ids is None or any(image_id in ids for image_id, _ in m.images))]


def stream_part(folder: str, part: str, where: Regions = ALL, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The wanted rows of one shard; layers are only read from row groups that have some."""
    with open_shard(folder, part) as file:
        for group in range(file.num_row_groups):
            rows = None if where == ALL else np.flatnonzero(where.mask(file.read_row_group(group, columns=_ASKED)))
            if rows is None:
                yield file.read_row_group(group, columns=columns)
            elif len(rows):
                yield file.read_row_group(group, columns=columns).take(rows)


@dataclass(frozen=True, slots=True)
class RegionShards:
    """Wanted regions shard by shard as arrays, for loops that are not about tables (`features.dataset.RegionDataset`)."""

    folder: str
    layer: str
    where: Regions = ALL

    @property
    def parts(self) -> list[str]:
        return region_parts(self.folder, self.where)

    def read(self, part: str) -> Iterator[dict[str, Any]]:
        """Row group by row group: image_id and gt_class as lists; region int32, boxes float32 [R, 4], gt_iou float32, features float16."""
        for table in stream_part(self.folder, part, self.where, [*_ASKED, "region", self.layer]):
            yield {
                "image_id": table["image_id"].to_pylist(),
                "region": np.asarray(table["region"]),
                "boxes": boxes_of(table).astype(np.float32),
                "gt_class": table["gt_class"].to_pylist(),
                "gt_iou": np.asarray(table["gt_iou"]),
                "features": matrix(table, self.layer),
            }


def matrix(table: pa.Table, layer: str) -> Array:
    """The features of a layer as float16 [R, D], one row per row of the table.

    Raises:
        KeyError: the table has no such column.

    Example:
        >>> import numpy as np
        >>> rows = pa.array([np.array(row, np.float16).tobytes() for row in ([1, 2], [3, 4])], pa.binary(4))
        >>> field = pa.field("fc7", pa.binary(4), metadata={"dtype": "float16", "size": "2"})
        >>> matrix(pa.Table.from_arrays([rows], schema=pa.schema([field])), "fc7").tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    return decode_matrix(table[layer])


@dataclass(frozen=True, slots=True)
class DetectionRows:
    """Rows of a detections table that belong to one class, in table order."""

    image: Array  # int64 [K], index into the image ids asked for
    boxes: Array  # float64 [K, 4]
    proposals: Array  # float64 [K, 4]
    scores: Array  # float32 [K]
    kept: Array  # bool [K]
    kept_unregressed: Array  # bool [K]


def detections_by_class(folder: str, classes: Sequence[str], image_ids: Sequence[str]) -> dict[str, DetectionRows]:
    """A detections table class by class, read once.

    Raises:
        MissingShardError: a shard is not complete.
    """
    parts = [read_table(folder, marker.part, schema=DETECTIONS) for marker in read_markers(folder)]
    table = pa.concat_tables([DETECTIONS.empty_table(), *parts]).unify_dictionaries().combine_chunks()
    images = _codes(table["image_id"], image_ids)
    labels = _codes(table["class"], classes)
    found = {}
    for index, name in enumerate(classes):
        rows = np.flatnonzero(labels == index)
        own = table.take(rows)
        found[name] = DetectionRows(
            images[rows],
            boxes_of(own),
            boxes_of(own, "proposal_"),
            np.asarray(own["score"]),
            np.asarray(own["kept"]),
            np.asarray(own["kept_unregressed"]),
        )
    return found


def _codes(column: pa.ChunkedArray, values: Sequence[str], missing: int | None = None) -> Array:
    """The index of each entry in `values`, int64; `missing` for the others."""
    codes = pc.index_in(column.cast(pa.string()), pa.array(list(values), pa.string()), skip_nulls=True)
    return np.asarray(codes if missing is None else codes.fill_null(missing)).astype(np.int64)


def _within(values: Array, bounds: tuple[float, float]) -> Array:
    low, high = np.float32(bounds[0]), np.float32(bounds[1])
    single = values.astype(np.float32)
    return (single >= low) & (single <= high)
