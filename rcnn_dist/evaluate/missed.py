"""Whose fault a missed object is: the first step after which no box covers it any more."""

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64
from rcnn_dist.geometry.boxes import iou_matrix

CAUSES = ("proposals", "classifier", "regression", "suppression", "another object")


def blame_missed(
    missed: Float64[Array, "M 4"],
    proposals: Float64[Array, "R 4"],
    scored: Float64[Array, "K 4"],
    placed: Float64[Array, "K 4"],
    kept: Bool[Array, "K"],
    min_iou: float,
) -> list[str]:
    """The cause why each missed object of one class in one image has no right detection.

    proposals: none overlaps it by min_iou. classifier: such a proposal exists, and none of them is among the class's best-scored regions.
    regression: one is, and its box was moved away. suppression: a box covers it, and a surer one nearby suppressed it. another object:
    a detection covers it and was counted for another object that it overlaps more, or it was not the surest there.

    Args:
        scored: the proposals of the class's best-scored regions; row i became `placed` i, and is `kept` if it outlived suppression.

    Law: the causes are exclusive, and each object has one.
    """
    covering = [_covers(boxes, missed, min_iou) for boxes in (proposals, scored, placed, placed[kept])]
    step = np.argmin(np.stack([*covering, np.zeros(len(missed), bool)]), axis=0)
    return [CAUSES[index] for index in step]


def _covers(boxes: Float64[Array, "_ 4"], objects: Float64[Array, "M 4"], min_iou: float) -> Bool[Array, "M"]:
    return iou_matrix(boxes, objects).max(axis=0, initial=0.0) >= min_iou
