import numpy as np
import pytest

from rcnn_dist.segment.accuracy import VOID, count_confusion, segmentation_accuracy


def labels(rows):
    return np.array(rows, np.uint8)


def slow_accuracy(pairs, n_labels):
    """Literally: for each label the pixels in both, over the pixels in either, void ones not looked at."""
    values = []
    for label in range(n_labels):
        both = either = 0
        for truth, found in pairs:
            for t, f in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
                if t == VOID:
                    continue
                both += t == label and f == label
                either += t == label or f == label
        values.append(both / either if either else float("nan"))
    return values


def accuracy(pairs, n_labels):
    return segmentation_accuracy(sum(count_confusion(truth, found, n_labels) for truth, found in pairs))


def test_by_hand():
    truth, found = labels([[0, 0, 1], [1, 2, 2]]), labels([[0, 1, 1], [0, 2, 1]])
    result = accuracy([(truth, found)], 3)
    assert result.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    np.testing.assert_allclose(result.per_label, [1 / 3, 1 / 4, 1 / 2])
    assert result.mean == pytest.approx((1 / 3 + 1 / 4 + 1 / 2) / 3) and result.pixel_accuracy == 0.5


def test_void_counts_neither_for_nor_against():
    truth, found = labels([[1, VOID], [VOID, 0]]), labels([[1, 1], [0, 0]])
    assert accuracy([(truth, found)], 2).per_label.tolist() == [1, 1]


def test_an_absent_class_has_no_number_and_a_false_alarm_of_it_has_zero():
    truth = labels([[0, 1]])
    assert np.isnan(accuracy([(truth, truth)], 3).per_label[2]) and accuracy([(truth, truth)], 3).mean == 1
    result = accuracy([(truth, labels([[2, 1]]))], 3)
    assert result.per_label.tolist() == [0, 1, 0] and result.mean == pytest.approx(1 / 3)


@pytest.mark.parametrize("empty", [np.zeros((0, 0), np.uint8), np.zeros((4, 0), np.uint8), np.full((3, 2), VOID, np.uint8)])
def test_an_image_without_pixels_changes_nothing(empty):
    alone = accuracy([(empty, np.zeros_like(empty))], 3)
    assert np.isnan(alone.mean) and np.isnan(alone.pixel_accuracy) and np.isnan(alone.per_label).all()
    pair = labels([[0, 1]]), labels([[0, 0]])
    assert accuracy([pair, (empty, np.zeros_like(empty))], 3).per_label[:2].tolist() == [0.5, 0]


def test_pixels_are_pooled_over_the_set_not_images_averaged():
    small, large = (labels([[1]]), labels([[1]])), (labels([[1, 1, 1]]), labels([[0, 0, 0]]))
    assert accuracy([small, large], 2).per_label[1] == 0.25


@pytest.mark.parametrize("seed", range(5))
def test_as_the_slow_implementation(seed):
    generator = np.random.default_rng(seed)
    values = np.array([0, 1, 2, 3, VOID], np.uint8)
    shapes = [generator.integers(1, 9, 2) for _ in range(4)]
    pairs = [(generator.choice(values, shape), generator.choice(values[:-1], shape)) for shape in shapes]
    np.testing.assert_array_equal(accuracy(pairs, 6).per_label, slow_accuracy(pairs, 6))


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="maps of one image"):
        count_confusion(labels([[0]]), labels([[0, 0]]), 2)
    with pytest.raises(ValueError, match="truth has the label 2"):
        count_confusion(labels([[2]]), labels([[0]]), 2)
    with pytest.raises(ValueError, match="result has the label 255"):
        count_confusion(labels([[0]]), labels([[VOID]]), 2)
