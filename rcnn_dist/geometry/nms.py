"""Greedy non-maximum suppression in one image: of one class, or of very many classes at once."""

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float64, Int64
from rcnn_dist.compiled import compiled

__all__ = ["grouped_nms", "nms"]


def nms(boxes: Float[Array, "R 4"], scores: Float[Array, "R"], threshold: float) -> Int64[Array, "K"]:
    """Rows that survive, in the order picked: by score descending, the later row first among equal scores.

    A row is suppressed when its IoU with a picked row is strictly greater than the threshold. All arithmetic, and the comparison,
    is done in the dtype of the boxes, so that an IoU that lies exactly on the threshold survives in either precision.
    Law: no two kept rows overlap by more than the threshold, and every other row overlaps a kept row of at least its score by more.

    Paper: §2.2. Reference: nms/nms.m.

    Example:
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        >>> nms(boxes, np.array([0.5, 0.9, 0.7]), threshold=0.3).tolist()
        [1, 2]
    """
    order = np.argsort(scores, kind="stable")[::-1]
    return order[_alive(boxes, np.zeros(len(boxes), np.int64), order, np.full(len(boxes), threshold))]


def grouped_nms(
    boxes: Float[Array, "R 4"], scores: Float[Array, "R"], groups: Int64[Array, "R"], threshold: float | Float64[Array, "R"]
) -> Bool[Array, "R"]:
    """Mask of the rows that survive `nms` among the rows of their group, in one sort and one pass over all groups.

    The threshold is that of all, or of each row's group.

    Law: the rows of one group are kept or not whatever other groups there are, and in whatever order the groups come.
    """
    kept = np.zeros(len(boxes), dtype=bool)
    order = np.lexsort((scores, groups))[::-1]
    kept[order] = _alive(boxes, groups, order, np.broadcast_to(np.float64(threshold), len(boxes)))
    return kept


def _alive(boxes: Array, groups: Array, order: Array, thresholds: Array) -> Array:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return _survivors(boxes[order], areas[order], groups[order], thresholds[order].astype(boxes.dtype))


@compiled
def _survivors(boxes: Array, areas: Array, groups: Array, thresholds: Array) -> Array:
    """Mask of the rows that no earlier surviving row of their group suppresses; a group's rows stand together.

    No float literal here, it would turn single into double.
    """
    alive = np.ones(len(boxes), dtype=np.bool_)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        for j in range(i + 1, len(boxes)):
            if groups[j] != groups[i]:
                break
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if alive[j] and width > 0 and height > 0:
                intersection = width * height
                alive[j] = intersection / (areas[i] + areas[j] - intersection) <= thresholds[i]
    return alive
