import numpy as np
import pytest

from rcnn_dist.geometry.boxes import iou_matrix
from rcnn_dist.geometry.nms import nms


def random_case(n, seed, dtype=np.float64):
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 30, (n, 2))
    boxes = np.concatenate([corner, corner + generator.integers(1, 20, (n, 2))], axis=1).astype(dtype)
    return boxes, generator.integers(0, 15, n).astype(dtype)  # many equal scores


def slow_nms(boxes, scores, threshold):
    iou = iou_matrix(boxes, boxes)
    waiting = sorted(range(len(boxes)), key=lambda i: (scores[i], i))
    picked = []
    while waiting:
        best = waiting.pop()
        picked.append(best)
        waiting = [i for i in waiting if iou[i, best] <= boxes.dtype.type(threshold)]
    return picked


def test_by_hand():
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
    np.testing.assert_array_equal(nms(boxes, np.array([0.8, 0.9, 0.1]), 0.3), [1, 2])


def test_later_row_wins_among_equal_scores():
    boxes = np.tile([0.0, 0.0, 5.0, 5.0], (3, 1))
    np.testing.assert_array_equal(nms(boxes, np.ones(3), 0.5), [2])
    apart = np.array([[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
    np.testing.assert_array_equal(nms(apart, np.ones(2), 0.5), [1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_iou_exactly_on_the_threshold_survives(dtype, tenths):
    boxes = np.array([[0, 0, 10, 1], [0, 0, tenths, 1]], dtype=dtype)
    np.testing.assert_array_equal(nms(boxes, np.array([2, 1], dtype=dtype), tenths / 10), [0, 1])
    np.testing.assert_array_equal(nms(boxes, np.array([2, 1], dtype=dtype), tenths / 10 - 0.01), [0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_agrees_with_a_slow_twin(dtype, threshold):
    for seed in range(5):
        boxes, scores = random_case(60, seed, dtype)
        np.testing.assert_array_equal(nms(boxes, scores, threshold), slow_nms(boxes, scores, threshold))


def test_kept_rows_are_apart_and_every_other_has_a_suppressor():
    boxes, scores = random_case(200, 7)
    kept = nms(boxes, scores, 0.3)
    iou = iou_matrix(boxes, boxes)
    assert (iou[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] <= 0.3).all()
    for row in np.setdiff1d(np.arange(200), kept):
        assert (iou[row, kept] > 0.3)[scores[kept] >= scores[row]].any()


def test_of_nothing():
    kept = nms(np.zeros((0, 4)), np.zeros(0), 0.3)
    assert (kept.shape, kept.dtype) == ((0,), np.int64)
