"""Matching by the rules of ILSVRC's detection kit: lower thresholds for small objects, and free objects only."""

import numpy as np

from rcnn_dist.arrays import Array, Float, Float64, Int64
from rcnn_dist.evaluate.matching import Matches, rank
from rcnn_dist.geometry.boxes import iou_matrix

_MARGIN = 10  # pixels by which a box may be larger, 5 on each side
_LARGEST = 0.5


def min_ious(gt_boxes: Float[Array, "G 4"]) -> Float64[Array, "G"]:
    """The IoU from which on a detection covers each object: 0.5, and less for objects under about 25 x 25 pixels.

    Reference: eval_detection.m of the kit.
    """
    width, height = (gt_boxes[:, 2:] - gt_boxes[:, :2]).astype(np.float64).T
    return np.minimum(_LARGEST, width * height / ((width + _MARGIN) * (height + _MARGIN)))


def match_ilsvrc(
    det_image: Int64[Array, "K"],
    det_boxes: Float[Array, "K 4"],
    det_scores: Float[Array, "K"],
    gt_image: Int64[Array, "G"],
    gt_boxes: Float[Array, "G 4"],
) -> Matches:
    """Ranks one class's detections over all images and matches them to its objects by the rules of ILSVRC.

    By falling score, a detection takes the free object of its image with the largest IoU among those that it overlaps by their own
    `min_ious` or more; where there is none it is wrong. So a second detection may take a neighbour, which VOC does not allow.
    Law: at most one detection per object, and every detection is right or wrong.

    Reference: eval_detection.m of the kit.
    """
    order = rank(det_scores)
    wanted, free = min_ious(gt_boxes), np.ones(len(gt_image), dtype=bool)
    matched = np.full(len(order), -1)
    by_image = {image: np.flatnonzero(gt_image == image) for image in np.unique(gt_image).tolist()}
    for place, row in enumerate(order.tolist()):
        rows = by_image.get(int(det_image[row]))
        if rows is None:
            continue
        iou = iou_matrix(det_boxes[row : row + 1], gt_boxes[rows])[0]
        candidates = free[rows] & (iou >= wanted[rows])
        if candidates.any():
            matched[place] = rows[np.argmax(np.where(candidates, iou, -1))]
            free[matched[place]] = False
    right = matched >= 0
    return Matches(order, right, ~right, matched, len(gt_image))
