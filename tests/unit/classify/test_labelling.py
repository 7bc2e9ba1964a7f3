import numpy as np
import pytest

from rcnn_dist.classify.labelling import NO_CLASS, svm_labels


def test_by_hand():
    overlap = np.array([[1.0, 0.1], [0.2, 1.0], [0.9, 0.0], [0.3, 0.29]])
    is_gt = np.array([True, True, False, False])
    positive, negative = svm_labels(overlap, is_gt, np.array([0, 1, NO_CLASS, NO_CLASS]), 0.3)
    np.testing.assert_array_equal(positive, [[True, False], [False, True], [False, False], [False, False]])
    np.testing.assert_array_equal(negative, [[False, True], [True, False], [False, True], [False, True]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_overlap_on_the_limit_is_no_negative(dtype):
    overlap = np.array([[0.3, np.nextafter(dtype(0.3), dtype(0))]], dtype=dtype)
    _, negative = svm_labels(overlap, np.array([False]), np.array([NO_CLASS]), 0.3)
    np.testing.assert_array_equal(negative, [[False, True]])


def test_with_the_labels_of_fine_tuning_whatever_overlaps_an_object_enough_is_positive():
    overlap = np.array([[1.0, 0.6], [0.5, 0.1], [0.49, 0.0]])
    positive, negative = svm_labels(overlap, np.array([True, False, False]), np.array([0, NO_CLASS, NO_CLASS]), 0.5, 0.5)
    np.testing.assert_array_equal(positive, [[True, False], [True, False], [False, False]])
    np.testing.assert_array_equal(negative, [[False, False], [False, True], [True, True]])


def random_case(seed, n_regions=80, n_classes=4):
    generator = np.random.default_rng(seed)
    overlap, is_gt = generator.random((n_regions, n_classes)), generator.random(n_regions) < 0.2
    return overlap, is_gt, np.where(is_gt, generator.integers(0, n_classes, n_regions), NO_CLASS)


def test_agrees_with_a_loop_and_no_region_is_both():
    overlap, is_gt, gt_class = random_case(0)
    positive, negative = svm_labels(overlap, is_gt, gt_class, 0.3)
    for r, row in enumerate(overlap):
        for c, value in enumerate(row):
            expected = "positive" if is_gt[r] and gt_class[r] == c else "negative" if value < 0.3 else "ignored"
            assert (positive[r, c], negative[r, c]) == (expected == "positive", expected == "negative")
    assert not (positive & negative).any()


def test_of_nothing():
    positive, negative = svm_labels(np.zeros((0, 3)), np.zeros(0, bool), np.zeros(0, np.int64), 0.3)
    assert positive.shape == negative.shape == (0, 3)
