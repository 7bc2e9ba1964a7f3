"""Reading tables the way users do: a layer as a matrix, detections by class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rcnn_dist.arrays import Array
from rcnn_dist.store.schema import DETECTIONS, decode_matrix
from rcnn_dist.store.shards import read_markers, read_table
from rcnn_dist.store.tables import boxes_of


def matrix(table: pa.Table, layer: str) -> Array:
    """The features of a layer as float16 [R, D], one row per row of the table.

    Raises:
        KeyError: the table has no such column.
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


def _codes(column: pa.ChunkedArray, values: Sequence[str]) -> Array:
    """The index of each entry in `values`, int64."""
    return np.asarray(pc.index_in(column.cast(pa.string()), pa.array(list(values), pa.string()))).astype(np.int64)
