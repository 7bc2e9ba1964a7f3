"""The NMS threshold that a validation set prefers, class by class (paper §2.2: "a learned threshold")."""

from collections.abc import Sequence

import numpy as np

from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, evaluate_class
from rcnn_dist.geometry.nms import grouped_nms

GRID = tuple(round(0.1 + 0.05 * step, 2) for step in range(9))


def best_nms_threshold(
    detections: ClassDetections, objects: ClassObjects, min_iou: float, default: float, grid: Sequence[float] = GRID
) -> float:
    """The threshold of the grid with the highest area AP of detections before NMS, the lowest on ties; without objects the default.

    Reference: nms/nms_tune_threshold.m of the first public commit (0.10 to 0.50 in steps of 0.05, area AP).
    """
    if not np.any(~objects.difficult):
        return default
    found = []
    for threshold in grid:
        kept = grouped_nms(detections.boxes, detections.scores, detections.image, threshold)
        survivors = ClassDetections(detections.image[kept], detections.boxes[kept], detections.scores[kept])
        found.append(evaluate_class(survivors, objects, min_iou).ap["area"])
    return grid[int(np.argmax(found))]
