"""A trained detector and what it finds in one image: score, cap, regress, suppress (paper §2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float32, Float64, Int64
from rcnn_dist.detect.postprocess import DetectParams, nms_by_class, top_per_class
from rcnn_dist.geometry.boxes import clip_boxes
from rcnn_dist.regress.ridge import BoxRegressor, predict_deltas
from rcnn_dist.regress.targets import decode_targets

CLASS_BLOCK = 32


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

    Classes are multiplied in blocks of one padded width, so that a class's scores keep their bits when others come or go.
    """
    scores = np.empty((len(features), len(weights)), np.float32)
    for start in range(0, len(weights), CLASS_BLOCK):
        block = weights[start : start + CLASS_BLOCK]
        padded = np.zeros((CLASS_BLOCK, weights.shape[1]), np.float32)
        padded[: len(block)] = block
        scores[:, start : start + CLASS_BLOCK] = (features @ padded.T)[:, : len(block)]
    return scores + biases


def detect_regions(
    detector: Detector,
    scores: Float32[Array, "R C"],
    boxes: Float64[Array, "R 4"],
    regression_features: Float32[Array, "R E"],
    size: tuple[int, int],
    params: DetectParams,
) -> Detections:
    """The detections of one image in VOC's order: the best of each class, regressed, clipped, then suppressed.

    Args:
        boxes: proposals only; ground truth never competes.
        regression_features: of the regressors' layer, scaled as in training.
        size: (width, height) of the image.

    Paper: §2.2, §3.5. Reference: rcnn_test.m, rcnn_test_bbox_regressor.m, imdb_eval_voc.m.
    """
    region, class_index, score = top_per_class(scores, params.max_per_image, params.min_score)
    proposals = boxes[region]
    regressed = proposals.copy()
    for index, regressor in detector.regressors.items():
        rows = class_index == index
        deltas = predict_deltas(regressor, regression_features[region[rows]])
        regressed[rows] = clip_boxes(decode_targets(proposals[rows], deltas), *size)
    return Detections(
        region,
        class_index,
        score,
        regressed,
        nms_by_class(regressed, score, class_index, params.nms_threshold),
        nms_by_class(proposals, score, class_index, params.nms_threshold),
    )
