import numpy as np

from rcnn_dist.evaluate.nms_tuning import GRID, best_nms_threshold
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects


def case(difficult=False):
    """Two objects whose IoU is 3 / 7, each found; a threshold of 0.45 keeps both, one below loses the second."""
    boxes = np.array([[0.0, 0, 10, 10], [0, 4, 10, 14]])
    objects = ClassObjects(np.zeros(2, np.int64), boxes, np.full(2, difficult))
    return ClassDetections(np.zeros(2, np.int64), boxes, np.array([2, 1], np.float32)), objects


def test_the_lowest_of_the_best_thresholds_is_taken():
    assert GRID == (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    assert best_nms_threshold(*case(), 0.5, 0.3) == 0.45


def test_doubles_want_a_low_threshold():
    """A double of the one object that overlaps it by 0.6 is gone at every threshold; one that overlaps by 3 / 7 only below that."""
    found, objects = case()
    double = ClassDetections(np.zeros(3, np.int64), np.concatenate([found.boxes, [[50.0, 50, 60, 60]]]), np.array([3, 2, 1], np.float32))
    one = ClassObjects(np.zeros(2, np.int64), np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]), np.zeros(2, bool))
    assert best_nms_threshold(double, one, 0.5, 0.3) == 0.1


def test_suppression_is_within_an_image_and_a_class_without_objects_keeps_the_default():
    found, objects = case()
    apart = ClassDetections(np.array([0, 1]), found.boxes, found.scores), ClassObjects(np.array([0, 1]), objects.boxes, objects.difficult)
    assert best_nms_threshold(*apart, 0.5, 0.3) == 0.1
    assert best_nms_threshold(*case(difficult=True), 0.5, 0.3) == 0.3
