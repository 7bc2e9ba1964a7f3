"""Regions as masks: how much of an object each covers, its box, and its shape in the frame of the warp (paper §5)."""

from collections.abc import Iterable

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Bool, Float32, Float64, Int64, UInt8
from rcnn_dist.features.warp import WarpGeometry
from rcnn_dist.segment.accuracy import VOID


def object_overlaps(mask: Bool[Array, "H W"], object_map: UInt8[Array, "H W"], n_objects: int) -> Float64[Array, "G"]:
    """Intersection over union of a mask and each object; void pixels belong to neither.

    `object_map` holds 0 where nobody is, k for object k (1 to G), 255 for void. An object without pixels overlaps nothing.

    Reference: fact sheet §15.
    """
    counted = object_map != VOID
    inside = np.bincount(object_map[mask & counted], minlength=n_objects + 1)
    sizes = np.bincount(object_map[counted], minlength=n_objects + 1)[1 : n_objects + 1]
    shared = inside[1 : n_objects + 1]
    union = inside.sum() + sizes - shared
    return np.where(sizes > 0, shared / np.maximum(union, 1), 0.0)


def class_overlaps(overlaps: Float64[Array, "R G"], labels: Int64[Array, "G"], n_classes: int) -> Float32[Array, "R C"]:
    """The largest overlap with an object of each class, 0 where there is none; label i + 1 is class i, label 0 counts for nothing.

    Paper: §5.
    """
    found = np.zeros((len(overlaps), n_classes + 1))
    for column, label in zip(overlaps.T, labels, strict=True):
        found[:, label] = np.maximum(found[:, label], column)
    return found[:, 1:].astype(np.float32)


def best_regions(overlaps: Float64[Array, "R G"]) -> Int64[Array, "_"]:
    """The region that overlaps each object most, where that is by more than half; the first of equal ones, ascending.

    Reference: fact sheet §15.
    """
    if not overlaps.size:
        return np.empty(0, np.int64)
    best = overlaps.argmax(axis=0)
    return np.unique(best[overlaps.max(axis=0) > 0.5]).astype(np.int64)


def tight_box(mask: Bool[Array, "H W"]) -> Float64[Array, "4"]:
    """The smallest half-open box around a mask's pixels.

    Raises:
        ValueError: it has none.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("a mask without a pixel has no box: leave it out")
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def warp_masks(masks: Iterable[Bool[Array, "H W"]], geometry: WarpGeometry, input_size: int) -> Bool[Array, "R S S"]:
    """Each mask where its region's pixels go, by the nearest pixel: true where the frame shows the region itself.

    Law: a mask of the whole image gives true exactly where the frame shows the image.

    Paper: §5 (the foreground is what the mask covers, the rest is set to the mean).
    """
    found = np.zeros((len(geometry), input_size, input_size), np.bool_)
    rows = zip(masks, found, geometry.window, geometry.offset, geometry.size, strict=True)
    for mask, frame, (x1, y1, x2, y2), (x, y), (width, height) in rows:
        if width > 0 and height > 0:
            shown = mask[y1:y2, x1:x2].astype(np.uint8)
            frame[y : y + height, x : x + width] = cv2.resize(shown, (int(width), int(height)), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    return found
