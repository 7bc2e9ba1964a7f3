import math

import numpy as np
import pytest

from rcnn_dist.detect.postprocess import DetectParams, set_cap, set_cap_threshold, top_per_class
from rcnn_dist.geometry.nms import grouped_nms, nms


def test_top_by_hand():
    scores = np.array([[0.1, 5.0], [0.9, -3.0], [0.9, 4.0], [0.2, 4.5]], dtype=np.float32)
    regions, classes, best = top_per_class(scores, 3, -1.0)
    np.testing.assert_array_equal(classes, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(regions, [1, 2, 3, 0, 3, 2])
    np.testing.assert_array_equal(best, scores[regions, classes])


def slow_top(scores, max_per_image, min_score):
    rows = []
    for c in range(scores.shape[1]):
        ranked = sorted((-score, r) for r, score in enumerate(scores[:, c].tolist()) if score > min_score)
        rows += [(r, c, -score) for score, r in ranked[:max_per_image]]
    return rows


@pytest.mark.parametrize(("max_per_image", "min_score"), [(5, -math.inf), (1000, -math.inf), (5, 0.0), (1000, 2.0), (7, 99.0)])
def test_top_agrees_with_a_slow_twin(max_per_image, min_score):
    scores = np.random.default_rng(0).integers(-4, 5, (40, 3)).astype(np.float32)  # many ties
    regions, classes, best = top_per_class(scores, max_per_image, min_score)
    assert list(zip(regions.tolist(), classes.tolist(), best.tolist(), strict=True)) == slow_top(scores, max_per_image, min_score)


def test_the_least_score_is_strict_and_nan_never_counts():
    scores = np.array([[1.0], [2.0], [np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(top_per_class(scores, 9, 1.0)[0], [1])
    np.testing.assert_array_equal(top_per_class(scores, 9, -math.inf)[0], [1, 0])


def test_other_classes_change_nothing():
    scores = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    regions, classes, best = top_per_class(scores, 10, 0.0)
    for c in range(6):
        alone = top_per_class(scores[:, c : c + 1], 10, 0.0)
        np.testing.assert_array_equal(regions[classes == c], alone[0])
        np.testing.assert_array_equal(best[classes == c], alone[2])


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 0)])
def test_top_of_nothing(shape):
    regions, classes, best = top_per_class(np.zeros(shape, np.float32), 100, -math.inf)
    assert len(regions) == len(classes) == len(best) == 0


def random_detections(seed, n=120):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 30, (n, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 20, (n, 2))], axis=1)
    return boxes, generator.integers(0, 12, n).astype(np.float32), generator.integers(0, 5, n)


def test_nms_by_hand():
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (4, 1))
    scores, classes = np.array([1, 2, 3, 3], dtype=np.float32), np.array([7, 2, 7, 7])
    np.testing.assert_array_equal(grouped_nms(boxes, scores, classes, 0.3), [False, True, False, True])


def test_nms_of_each_class_alone():
    boxes, scores, classes = random_detections(2)
    kept = grouped_nms(boxes, scores, classes, 0.3)
    for c in range(5):
        rows = np.flatnonzero(classes == c)
        np.testing.assert_array_equal(np.flatnonzero(kept[rows]), np.sort(nms(boxes[rows], scores[rows], 0.3)))
    np.testing.assert_array_equal(grouped_nms(boxes[kept], scores[kept], classes[kept], 0.3), True)


def test_each_class_has_its_own_threshold():
    boxes = np.tile([[0.0, 0.0, 10.0, 10.0], [0.0, 4.0, 10.0, 14.0]], (2, 1))  # their IoU is 6 / 14
    thresholds = DetectParams(nms_threshold=0.3, nms_by_class={"dog": 0.5}).nms_thresholds(("cat", "dog"))
    assert thresholds.tolist() == [0.3, 0.5]
    classes = np.array([0, 0, 1, 1])
    kept = grouped_nms(boxes, np.array([2, 1, 2, 1], np.float32), classes, thresholds[classes])
    assert kept.tolist() == [True, False, True, True]


def test_nms_of_nothing():
    assert grouped_nms(np.zeros((0, 4)), np.zeros(0, np.float32), np.zeros(0, np.int64), 0.3).shape == (0,)


def test_cap_by_hand():
    scores = np.array([3, 1, 2, 5, 4], dtype=np.float32)
    assert set_cap_threshold(scores, 2) == 4
    assert set_cap_threshold(scores, 5) == -math.inf
    assert set_cap_threshold(np.ones(9, np.float32), 2) == 1  # ties at the threshold all stay


def test_cap_keeps_the_best_of_the_set():
    scores = np.random.default_rng(3).normal(size=500).astype(np.float32)
    params = DetectParams()
    threshold = set_cap_threshold(scores, set_cap(params, 7))
    np.testing.assert_array_equal(np.sort(scores[scores >= threshold]), np.sort(scores)[-280:])


def test_cap_of_nothing():
    assert set_cap_threshold(np.zeros(0, np.float32), 0) == -math.inf
