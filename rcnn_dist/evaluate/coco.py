"""COCO matching: greedy by score, each object taken once, crowds taken any number of times."""

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Int64
from rcnn_dist.evaluate.matching import Matches

_MAX_PER_IMAGE = 100


def match_coco(
    det_image: Int64[Array, "K"],
    det_boxes: Float[Array, "K 4"],
    det_scores: Float[Array, "K"],
    gt_image: Int64[Array, "G"],
    gt_boxes: Float[Array, "G 4"],
    gt_difficult: Bool[Array, "G"],
    min_iou: float = 0.5,
) -> Matches:
    """Ranks one class's detections over all images and matches them to its objects by the rules of COCO, areas of any size.

    Of an image the 100 best detections count. By falling score each takes the free object that it overlaps most, if by min_iou or more;
    only where there is none, a difficult one, which stays free and makes the detection count for nothing. Difficult means crowd here:
    the overlap with one is the share of the detection's own area. Of equal overlaps the last object is taken, equal scores stand in
    input order.
    Law: there is at most one true positive per object, and none for a difficult one.

    Reference: pycocotools, cocoeval.py.
    """
    order = np.lexsort((np.arange(len(det_image)), -det_scores, det_image))
    firsts = np.unique(det_image[order], return_index=True)[1]
    place = np.arange(len(order)) - np.repeat(firsts, np.diff([*firsts, len(order)]))  # in its image, by score
    order = order[place < _MAX_PER_IMAGE]
    matched = np.full(len(det_image), -1)
    images = np.unique(gt_image)
    starts, ends = (np.searchsorted(det_image[order], images, side) for side in ("left", "right"))
    for image, start, end in zip(images, starts, ends, strict=True):
        rows, objects = order[start:end], np.flatnonzero(gt_image == image)
        taken = _greedy(_overlaps(det_boxes[rows], gt_boxes[objects], gt_difficult[objects]), gt_difficult[objects], min_iou)
        matched[rows] = np.where(taken >= 0, objects[taken], -1)
    order = order[np.argsort(-det_scores[order], kind="stable")]
    covers = matched[order] >= 0
    ignored = np.zeros(len(order), dtype=bool)
    ignored[covers] = gt_difficult[matched[order][covers]]
    return Matches(order, covers & ~ignored, ~covers, matched[order], int(np.count_nonzero(~gt_difficult)))


def _overlaps(boxes: Float[Array, "R 4"], gt_boxes: Float[Array, "G 4"], crowd: Bool[Array, "G"]) -> Float[Array, "R G"]:
    """Intersection over union; over the detection's own area for crowds."""
    corner = np.maximum(boxes[:, None, :2], gt_boxes[None, :, :2])
    opposite = np.minimum(boxes[:, None, 2:], gt_boxes[None, :, 2:])
    shared = np.prod(np.maximum(opposite - corner, 0), axis=2)
    own, other = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(gt_boxes[:, 2:] - gt_boxes[:, :2], axis=1)
    total = np.where(crowd[None, :], own[:, None], own[:, None] + other[None, :] - shared)
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


def _greedy(overlaps: Float[Array, "R G"], crowd: Bool[Array, "G"], min_iou: float) -> Int64[Array, "R"]:
    """The object that each detection takes, in the order of the rows; -1 for none."""
    free = np.ones(len(crowd), dtype=bool)
    taken = np.full(len(overlaps), -1)
    fits = overlaps >= min_iou
    for row in np.flatnonzero(fits.any(axis=1)):
        for candidates in (free & ~crowd, crowd):
            if (fitting := np.flatnonzero(candidates & fits[row])).size:
                taken[row] = fitting[len(fitting) - 1 - np.argmax(overlaps[row, fitting][::-1])]
                free[taken[row]] = False
                break
    return taken
