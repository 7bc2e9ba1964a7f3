"""What the box regressor learns: the move from a proposal onto its object.

Boxes are half-open, but sizes here are one pixel less than x2 - x1: the original measures 1-based inclusive boxes without the +1,
and its published regressors depend on it.
"""

import numpy as np

from rcnn_dist.arrays import Array, Float64

__all__ = ["decode_targets", "encode_targets"]


def encode_targets(proposals: Float64[Array, "R 4"], gt_boxes: Float64[Array, "R 4"]) -> Float64[Array, "R 4"]:
    """Regression targets that move each proposal onto its object.

    Row i is (tx, ty, tw, th): the centre shift in units of the proposal's size and the log ratio of sizes.
    Law: decode_targets(proposals, encode_targets(proposals, gt_boxes)) == gt_boxes, for boxes at least one pixel wide and high.

    Raises:
        ValueError: a box has no area; the message gives its row.

    Paper: §3.5, App. C eq. 6-9. Reference: bbox_regression/rcnn_train_bbox_regressor.m.

    Example:
        >>> proposals, objects = np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[5.0, 0.0, 25.0, 10.0]])
        >>> encode_targets(proposals, objects).round(3).tolist()
        [[1.111, 0.0, 0.747, 0.0]]
    """
    for name, boxes in (("proposal", proposals), ("object", gt_boxes)):
        empty = np.flatnonzero(~(boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        if len(empty):
            raise ValueError(f"{name} in row {empty[0]} has no area: {boxes[empty[0]].tolist()}; drop such boxes before encoding")
    centres, sizes = _centres_and_sizes(proposals)
    gt_centres, gt_sizes = _centres_and_sizes(gt_boxes)
    return np.hstack([(gt_centres - centres) / sizes, np.log(gt_sizes / sizes)])


def decode_targets(proposals: Float64[Array, "R 4"], deltas: Float64[Array, "R 4"]) -> Float64[Array, "R 4"]:
    """The boxes that the deltas move the proposals to, neither clipped nor rounded; zero deltas give the proposals back.

    Paper: App. C eq. 1-4. Reference: bbox_regression/rcnn_predict_bbox_regressor.m.

    Example:
        >>> proposals, objects = np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[5.0, 0.0, 25.0, 10.0]])
        >>> decode_targets(proposals, encode_targets(proposals, objects)).round(6).tolist()
        [[5.0, 0.0, 25.0, 10.0]]
    """
    centres, sizes = _centres_and_sizes(proposals)
    centres = centres + deltas[:, :2] * sizes
    half_sizes = sizes * np.exp(deltas[:, 2:]) / 2
    return np.hstack([centres - half_sizes, centres + half_sizes + 1])


def _centres_and_sizes(boxes: Float64[Array, "R 4"]) -> tuple[Float64[Array, "R 2"], Float64[Array, "R 2"]]:
    # no size is below the original's eps, so that a box of one pixel divides
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2] - 1, 0) + np.finfo(np.float64).eps
    return boxes[:, :2] + sizes / 2, sizes
