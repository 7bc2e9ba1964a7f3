from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest

from rcnn_dist.geometry.boxes import (
    best_object,
    class_overlap,
    clip_boxes,
    half_open_from_voc,
    iou_matrix,
    iou_pairs,
    round_half_away,
    voc_from_half_open,
)

NO_BOXES = np.zeros((0, 4))


def random_boxes(n, seed, side=12):
    corners = np.random.default_rng(seed).integers(0, side, (n, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1).astype(np.float64)


def pixels(box):
    x1, y1, x2, y2 = box.astype(int)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def test_iou_by_hand():
    boxes = np.array([[0.0, 0.0, 2.0, 2.0]])
    others = np.array([[1.0, 1.0, 3.0, 3.0], [2.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 1.0]])
    np.testing.assert_allclose(iou_matrix(boxes, others), [[1 / 7, 0, 1 / 2]])


def test_iou_counts_pixels():
    boxes, others = random_boxes(20, 0), random_boxes(15, 1)
    counted = [[len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)) for b in others] for a in boxes]
    np.testing.assert_allclose(iou_matrix(boxes, others), counted)


def test_iou_is_symmetric_and_one_with_itself():
    boxes = random_boxes(30, 2)
    iou = iou_matrix(boxes, boxes)
    np.testing.assert_array_equal(iou, iou.T)
    np.testing.assert_array_equal(np.diag(iou), 1)
    assert ((iou >= 0) & (iou <= 1)).all()


def test_iou_keeps_single_precision():
    assert iou_matrix(random_boxes(3, 3).astype(np.float32), random_boxes(2, 4).astype(np.float32)).dtype == np.float32


def test_iou_of_boxes_without_area_is_zero():
    point = np.array([[1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(iou_matrix(point, np.concatenate([point, [[0.0, 0.0, 2.0, 2.0]]])), [[0, 0]])


def test_iou_of_nothing():
    assert iou_matrix(NO_BOXES, random_boxes(3, 5)).shape == (0, 3)
    assert iou_matrix(random_boxes(3, 5), NO_BOXES).shape == (3, 0)


def test_class_overlap_by_hand():
    boxes = np.array([[0.0, 0.0, 4.0, 4.0]])
    objects = np.array([[0.0, 0.0, 4.0, 1.0], [0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 4.0, 4.0]])
    np.testing.assert_array_equal(class_overlap(boxes, objects, np.array([0, 0, 2]), 3), [[0.5, 0, 1]])


def test_class_overlap_is_the_largest_over_objects_of_the_class():
    boxes, objects, classes = random_boxes(25, 6), random_boxes(8, 7), np.random.default_rng(8).integers(0, 4, 8)
    overlap = class_overlap(boxes, objects, classes, 5)
    for r, box in enumerate(boxes):
        for c in range(5):
            ious = [iou_matrix(box[None], objects[g : g + 1])[0, 0] for g in range(8) if classes[g] == c]
            assert overlap[r, c] == max(ious, default=0)


def test_class_overlap_of_nothing():
    no_classes = np.zeros(0, dtype=np.int64)
    np.testing.assert_array_equal(class_overlap(random_boxes(2, 9), NO_BOXES, no_classes, 3), np.zeros((2, 3)))
    assert class_overlap(NO_BOXES, random_boxes(1, 9), np.array([0]), 3).shape == (0, 3)


def test_best_object_is_the_first_on_ties():
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [8.0, 8.0, 9.0, 9.0]])
    objects = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0], [0.0, 1.0, 2.0, 2.0]])
    index, iou = best_object(boxes, objects)
    np.testing.assert_array_equal(index, [1, 0])
    np.testing.assert_array_equal(iou, [0.5, 0])


def test_best_object_agrees_with_a_loop():
    boxes, objects = random_boxes(40, 10, side=5), random_boxes(6, 11, side=5)
    index, iou = best_object(boxes, objects)
    for r, row in enumerate(iou_matrix(boxes, objects).tolist()):
        assert (index[r], iou[r]) == (row.index(max(row)), max(row))


def test_best_object_of_nothing():
    index, iou = best_object(random_boxes(2, 12), NO_BOXES)
    np.testing.assert_array_equal(index, [-1, -1])
    np.testing.assert_array_equal(iou, [0, 0])
    assert len(best_object(NO_BOXES, random_boxes(2, 12))[0]) == 0


def test_clip_by_hand():
    boxes = np.array([[-3.0, 2.5, 12.0, 30.0], [1.0, -1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(clip_boxes(boxes, 10, 20), [[0, 2.5, 10, 20], [1, 0, 2, 3]])


def test_clip_is_idempotent_and_leaves_inner_boxes():
    boxes = random_boxes(30, 13, side=20)
    clipped = clip_boxes(boxes, 9.5, 14)
    np.testing.assert_array_equal(clip_boxes(clipped, 9.5, 14), clipped)
    inside = (boxes[:, 2] <= 9.5) & (boxes[:, 3] <= 14)
    assert inside.any()
    np.testing.assert_array_equal(clipped[inside], boxes[inside])
    assert clip_boxes(NO_BOXES, 9.5, 14).shape == (0, 4)


def test_voc_shift_by_hand_and_back():
    whole_image = np.array([[1.0, 1.0, 500.0, 375.0]])
    np.testing.assert_array_equal(half_open_from_voc(whole_image), [[0, 0, 500, 375]])
    boxes = random_boxes(10, 14)
    np.testing.assert_array_equal(half_open_from_voc(voc_from_half_open(boxes)), boxes)
    assert half_open_from_voc(NO_BOXES).shape == (0, 4)


def test_half_open_iou_is_the_inclusive_one():
    def inclusive_iou(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
        common = max(width, 0) * max(height, 0)
        return common / ((a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - common)

    boxes = random_boxes(12, 15)
    expected = [[inclusive_iou(a, b) for b in voc_from_half_open(boxes)] for a in voc_from_half_open(boxes)]
    np.testing.assert_allclose(iou_matrix(boxes, boxes), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_by_hand(dtype):
    values = np.array([0.5, -0.5, 1.5, 2.5, -2.5, 2.4, -2.6, 0.0], dtype=dtype)
    rounded = round_half_away(values)
    np.testing.assert_array_equal(rounded, [1, -1, 2, 3, -3, 2, -3, 0])
    assert rounded.dtype == dtype


def test_rounding_agrees_with_decimal_arithmetic_and_is_odd():
    below_half = np.nextafter(0.5, 0)  # adding 0.5 to it gives 1
    values = np.concatenate([np.arange(-40, 41) / 8, [below_half, -below_half], np.random.default_rng(16).normal(0, 1e3, 100)])
    exact = [float(Decimal(float(v)).quantize(Decimal(1), rounding=ROUND_HALF_UP)) for v in values]
    np.testing.assert_array_equal(round_half_away(values), exact)
    np.testing.assert_array_equal(round_half_away(-values), -round_half_away(values))
    assert round_half_away(np.zeros((0, 4))).shape == (0, 4)


def test_pairs_are_the_diagonal_of_the_matrix():
    boxes, others = random_boxes(30, 2), random_boxes(30, 3)
    assert (iou_pairs(boxes, others) == iou_matrix(boxes, others).diagonal()).all()
    assert len(iou_pairs(NO_BOXES, NO_BOXES)) == 0
