"""Boxes: overlap, clipping, and the one shift between VOC's pixels and ours.

Every box is (x1, y1, x2, y2), 0-based, half-open, continuous pixels: width = x2 - x1. Functions keep the dtype of their input.
"""

import numpy as np

from rcnn_dist.arrays import Array, Float, Float64, Int64

__all__ = [
    "best_object",
    "class_overlap",
    "clip_boxes",
    "half_open_from_voc",
    "iou_matrix",
    "iou_pairs",
    "round_half_away",
    "voc_from_half_open",
]


def iou_matrix(boxes: Float[Array, "R 4"], gt_boxes: Float[Array, "G 4"]) -> Float[Array, "R G"]:
    """Intersection over union of every box with every object, 0 where a pair has no union.

    Law: symmetric, within [0, 1], and 1 for a box of positive area with itself.

    Reference: utils/boxoverlap.m (its +1 widths in inclusive pixels are these half-open widths).

    Example:
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]])
        >>> iou_matrix(boxes, boxes).round(3).tolist()
        [[1.0, 0.333], [0.333, 1.0]]
    """
    corner = np.maximum(boxes[:, None, :2], gt_boxes[None, :, :2])
    opposite = np.minimum(boxes[:, None, 2:], gt_boxes[None, :, 2:])
    intersection = np.prod(np.maximum(opposite - corner, 0), axis=2)
    union = _areas(boxes)[:, None] + _areas(gt_boxes)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def iou_pairs(boxes: Float[Array, "P 4"], others: Float[Array, "P 4"]) -> Float[Array, "P"]:
    """Intersection over union of each box with the box in the same row; law: the diagonal of iou_matrix(boxes, others)."""
    sides = np.maximum(np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2]), 0)
    intersection = sides[:, 0] * sides[:, 1]
    union = _areas(boxes) + _areas(others) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def class_overlap(
    boxes: Float[Array, "R 4"], gt_boxes: Float[Array, "G 4"], gt_classes: Int64[Array, "G"], n_classes: int
) -> Float64[Array, "R C"]:
    """Best IoU of each box with any object of each class, 0 for a class that the image does not show.

    Reference: imdb/roidb_from_voc.m (difficult objects count).
    """
    overlap = np.zeros((len(boxes), n_classes))
    iou = iou_matrix(boxes, gt_boxes)
    for class_index in np.unique(gt_classes):
        overlap[:, class_index] = iou[:, gt_classes == class_index].max(axis=1)
    return overlap


def best_object(boxes: Float[Array, "R 4"], gt_boxes: Float[Array, "G 4"]) -> tuple[Int64[Array, "R"], Float[Array, "R"]]:
    """Index of the object that each box overlaps most, the first on ties, and that IoU; -1 and 0 in an image without objects."""
    iou = iou_matrix(boxes, gt_boxes)
    if iou.shape[1] == 0:
        return np.full(len(boxes), -1), np.zeros(len(boxes), dtype=iou.dtype)
    return iou.argmax(axis=1), iou.max(axis=1)


def clip_boxes(boxes: Float[Array, "R 4"], width: int | float, height: int | float) -> Float[Array, "R 4"]:
    """The boxes cut to an image of the given size in pixels: x within [0, width], y within [0, height]."""
    limits = np.array([width, height, width, height], dtype=boxes.dtype)
    return np.clip(boxes, 0, limits)


def half_open_from_voc(boxes: Float[Array, "R 4"]) -> Float[Array, "R 4"]:
    """Half-open 0-based boxes from VOC's 1-based inclusive ones: 1 off the left and the top.

    Law: half_open_from_voc(voc_from_half_open(boxes)) == boxes.
    """
    return boxes - np.array([1, 1, 0, 0], dtype=boxes.dtype)


def voc_from_half_open(boxes: Float[Array, "R 4"]) -> Float[Array, "R 4"]:
    """VOC's 1-based inclusive boxes from half-open 0-based ones, the inverse of half_open_from_voc."""
    return boxes + np.array([1, 1, 0, 0], dtype=boxes.dtype)


def round_half_away(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The nearest whole numbers, halves away from zero, as MATLAB rounds (NumPy rounds halves to even).

    Law: round_half_away(-values) == -round_half_away(values).
    """
    whole = np.trunc(values)
    return whole + np.copysign(np.abs(values - whole) >= 0.5, values).astype(values.dtype)


def _areas(boxes: Float[Array, "R 4"]) -> Float[Array, "R"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
