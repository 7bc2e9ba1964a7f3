"""PASCAL VOC matching: which detections of one class are right, which are wrong, which do not count."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Int64
from rcnn_dist.geometry.boxes import best_object

__all__ = ["Matches", "match_voc", "rank"]


@dataclass(frozen=True, slots=True)
class Matches:
    """One class's detections in rank order; a row that is neither right nor wrong matched a difficult object and does not count."""

    order: Int64[Array, "K"]  # input row of each rank
    is_true_positive: Bool[Array, "K"]
    is_false_positive: Bool[Array, "K"]
    matched_object: Int64[Array, "K"]  # input row of the object that the detection covers, even if difficult or taken; -1: none
    n_positives: int  # objects that are not difficult


def match_voc(
    det_image: Int64[Array, "K"],
    det_boxes: Float[Array, "K 4"],
    det_scores: Float[Array, "K"],
    gt_image: Int64[Array, "G"],
    gt_boxes: Float[Array, "G 4"],
    gt_difficult: Bool[Array, "G"],
    min_iou: float = 0.5,
) -> Matches:
    """Ranks one class's detections over all images and matches them to its objects by the rules of VOC.

    A detection belongs to the object of its image that it overlaps most, taken or difficult as that may be. With IoU >= min_iou it is
    right if it is the object's first, wrong if another came before, and ignored if the object is difficult; else it is wrong.
    Ranks are by score rounded to 6 decimals, as results files hold them, equal scores in input order.
    Law: there is at most one true positive per object, and none for a difficult one.

    Paper: §2.4. Reference: VOCdevkit VOCevaldet.m.

    Example:
        >>> found = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [50.0, 50.0, 60.0, 60.0]])
        >>> image, scores = np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7])
        >>> matches = match_voc(image, found, scores, np.zeros(1, np.int64), found[:1], np.array([False]))
        >>> matches.is_true_positive.tolist()  # the second covers an object that the first has taken
        [True, False, False]
    """
    order = rank(det_scores)
    matched_object = _covered_objects(det_image, det_boxes, gt_image, gt_boxes, min_iou)[order]
    covers = matched_object >= 0
    ignored = np.zeros(len(order), dtype=bool)
    ignored[covers] = gt_difficult[matched_object[covers]]
    first = np.zeros(len(order), dtype=bool)
    first[np.unique(matched_object, return_index=True)[1]] = True
    is_true_positive = covers & first & ~ignored
    return Matches(order, is_true_positive, ~is_true_positive & ~ignored, matched_object, int(np.count_nonzero(~gt_difficult)))


def rank(scores: Float[Array, "K"]) -> Int64[Array, "K"]:
    """Rows from the surest detection to the least, by score as results files hold it; equal scores in input order."""
    return np.argsort(-_as_written(scores), kind="stable")


def _as_written(scores: Float[Array, "K"]) -> Float[Array, "K"]:
    # np.round multiplies by 1e6 first and so moves scores near a half in the sixth decimal; formatting is exact
    return np.array([float(f"{score:.6f}") for score in scores])


def _covered_objects(
    det_image: Int64[Array, "K"], det_boxes: Float[Array, "K 4"], gt_image: Int64[Array, "G"], gt_boxes: Float[Array, "G 4"], min_iou: float
) -> Int64[Array, "K"]:
    """The object that each detection overlaps most within its image, -1 if by less than min_iou."""
    covered = np.full(len(det_image), -1)
    gt_rows_by_image = dict(_rows_by_image(gt_image))
    for image, rows in _rows_by_image(det_image):
        if image in gt_rows_by_image:
            gt_rows = gt_rows_by_image[image]
            index, iou = best_object(det_boxes[rows], gt_boxes[gt_rows])
            covered[rows] = np.where(iou >= min_iou, gt_rows[index], -1)
    return covered


def _rows_by_image(images: Int64[Array, "K"]) -> Iterator[tuple[int, Int64[Array, "_"]]]:
    by_image = np.argsort(images, kind="stable")
    names, starts = np.unique(images[by_image], return_index=True)
    return zip(names.tolist(), np.split(by_image, starts[1:]), strict=False)
