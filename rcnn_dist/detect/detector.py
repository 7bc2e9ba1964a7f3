"""A trained detector and what it finds in one image: score, cap, regress, suppress (paper §2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float32, Float64, Int64
from rcnn_dist.detect.postprocess import DetectParams, best_of_class, top_per_class
from rcnn_dist.geometry.boxes import clip_boxes
from rcnn_dist.geometry.nms import grouped_nms
from rcnn_dist.regress.ridge import BoxRegressor, predict_deltas
from rcnn_dist.regress.targets import decode_targets

__all__ = ["Detections", "Detector", "class_probabilities", "detect_regions", "score_regions"]

CLASS_BLOCK = 8  # classes of one product: a wider one may add up in another order at some of its places, depending on the processor
ROW_BLOCK = 256  # regions of one product, which stay in the processor's cache while all classes pass


@dataclass(frozen=True, slots=True)
class Detector:
    """Linear SVMs of all classes, and box regressors of those that had pairs to learn from."""

    classes: tuple[str, ...]
    weights: Float32[Array, "C D"]
    biases: Float32[Array, "C"]  # -inf: the class could not be trained and detects nothing
    regressors: Mapping[int, BoxRegressor]


@dataclass(frozen=True, slots=True)
class Detections:
    """What one image shows, ordered by class, then score."""

    region: Int64[Array, "K"]
    class_index: Int64[Array, "K"]
    score: Float32[Array, "K"]
    boxes: Float64[Array, "K 4"]  # regressed where the class has a regressor
    kept: Bool[Array, "K"]  # by non-maximum suppression of boxes
    kept_unregressed: Bool[Array, "K"]  # of the proposals themselves


def score_regions(features: Float32[Array, "R D"], weights: Float32[Array, "C D"], biases: Float32[Array, "C"]) -> Float32[Array, "R C"]:
    """SVM margins of all regions and classes.

    Law: a class's scores have the same bits alone and anywhere among others. So blocks are narrow and padded to one width.
    """
    padded = np.zeros((-(-len(weights) // CLASS_BLOCK) * CLASS_BLOCK, weights.shape[1]), np.float32)
    padded[: len(weights)] = weights
    scores = np.empty((len(features), len(padded)), np.float32)
    for row in range(0, len(features), ROW_BLOCK):
        rows = slice(row, row + ROW_BLOCK)
        for start in range(0, len(padded), CLASS_BLOCK):
            block = slice(start, start + CLASS_BLOCK)
            scores[rows, block] = features[rows] @ padded[block].T
    return scores[:, : len(weights)] + biases


def class_probabilities(scores: Float32[Array, "R C"]) -> Float32[Array, "R C"]:
    """Softmax over the classes and background, whose score is 0; background's own probability is left out.

    Law: a row adds up to less than 1 by the probability of background.

    Paper: App. B. Reference: utils/rcnn_test_softmax.m.
    """
    exact = scores.astype(np.float64)
    highest = exact.max(axis=1, initial=0, keepdims=True)
    odds = np.exp(exact - highest)
    return (odds / (odds.sum(axis=1, keepdims=True) + np.exp(-highest))).astype(np.float32)


def detect_regions(
    detector: Detector,
    scores: Float32[Array, "R C"],
    boxes: Float64[Array, "R 4"],
    regression_features: Float32[Array, "R E"],
    size: tuple[int, int],
    params: DetectParams,
) -> Detections:
    """The detections of one image: the best of each class, regressed, clipped, then suppressed; in ILSVRC's order suppressed before, too.

    Args:
        boxes: proposals only; ground truth never competes.
        regression_features: of the regressors' layer, scaled as in training.
        size: (width, height) of the image.

    Paper: §2.2, §3.5. Reference: rcnn_test.m (branches master and ilsvrc), rcnn_test_bbox_regressor.m, imdb_eval_voc.m.

    Example:
        >>> detector = Detector(("disc",), np.ones((1, 2), np.float32), np.zeros(1, np.float32), regressors={})
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        >>> features = np.array([[0.2, 0.1], [0.4, 0.5], [-3.0, 0.0]], np.float32)
        >>> scores = score_regions(features, detector.weights, detector.biases)
        >>> found = detect_regions(detector, scores, boxes, features, (30, 10), DetectParams(min_score=-1.0))
        >>> found.region.tolist(), found.kept.tolist()  # the score of the third is too low; the second is near a better one
        ([1, 0], [True, False])
    """
    before_cap = len(scores) if params.order == "ilsvrc" else params.max_per_image
    region, class_index, score = top_per_class(scores, before_cap, params.min_score)
    if params.order == "ilsvrc":
        apart = grouped_nms(boxes[region], score, class_index, params.nms_thresholds(detector.classes)[class_index])
        region, class_index, score = region[apart], class_index[apart], score[apart]
        best = best_of_class(class_index, params.max_per_image)
        region, class_index, score = region[best], class_index[best], score[best]
    proposals = boxes[region]
    regressed = proposals.copy()
    for index, regressor in detector.regressors.items():
        rows = class_index == index
        deltas = predict_deltas(regressor, regression_features[region[rows]])
        regressed[rows] = clip_boxes(decode_targets(proposals[rows], deltas), *size)
    thresholds = params.nms_thresholds(detector.classes)[class_index]
    return Detections(
        region,
        class_index,
        score,
        regressed,
        grouped_nms(regressed, score, class_index, thresholds),
        grouped_nms(proposals, score, class_index, thresholds),
    )
