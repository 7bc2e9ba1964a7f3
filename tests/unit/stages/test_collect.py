import numpy as np

from rcnn_dist.classify.labelling import NO_CLASS
from rcnn_dist.stages.collect import regression_pairs
from rcnn_dist.stages.labels import LabelledRegions


def labelled(boxes, gt_class):
    """Two objects, then proposals."""
    is_object = np.arange(len(boxes)) < 2
    return LabelledRegions(np.array(boxes, float), is_object, np.array(gt_class), np.zeros((len(boxes), 1)))


def test_a_region_that_overlaps_an_object_of_an_untrained_class_most_trains_nobody():
    boxes = [[0, 0, 10, 10], [0, 2, 10, 12], [0, 0.5, 10, 10], [0, 1.5, 10, 12]]
    none = NO_CLASS
    both = regression_pairs(labelled(boxes, [0, 1, none, none]), 0.6)
    assert [rows.tolist() for rows in both] == [[0, 1, 2, 3], [0, 1, 0, 1]]
    alone = regression_pairs(labelled(boxes, [0, none, none, none]), 0.6)
    assert [rows.tolist() for rows in alone] == [[0, 2], [0, 0]]


def test_a_shared_regressor_learns_from_the_objects_of_every_class():
    boxes = [[0, 0, 10, 10], [0, 2, 10, 12], [0, 0.5, 10, 10], [0, 1.5, 10, 12]]
    found = regression_pairs(labelled(boxes, [0, NO_CLASS, NO_CLASS, NO_CLASS]), 0.6, shared=True)
    assert [rows.tolist() for rows in found] == [[0, 1, 2, 3], [0, 1, 0, 1]]


def test_no_region_and_no_object_give_no_pair():
    for boxes in (np.empty((0, 4)), np.empty((1, 4))):
        n = len(boxes)
        found = regression_pairs(LabelledRegions(boxes, np.zeros(n, bool), np.full(n, NO_CLASS), np.zeros((n, 1))), 0.6)
        assert [len(rows) for rows in found] == [0, 0]
