import numpy as np
import pytest

from rcnn_dist.evaluate.error_modes import ErrorModes, normalised_ap
from rcnn_dist.evaluate.sensitivity import characteristics, sensitivities, subset_ap
from rcnn_dist.evaluate.voc import ClassObjects


def objects_of(sides, difficult=None, truncated=None):
    sides = np.array(sides, float)
    boxes = np.concatenate([np.zeros_like(sides), sides], axis=1)
    none = np.zeros(len(sides), bool)
    return ClassObjects(np.arange(len(sides)), boxes, none if difficult is None else difficult, truncated)


def modes_of(label, matched, n):
    label = np.array(label)
    return ErrorModes(np.arange(len(label)), label, np.where(label < 0, 3, -1), np.array(matched), n)


def test_bins_hold_the_percentiles_of_the_class():
    objects = objects_of([(i, 1) for i in range(1, 11)])
    size = characteristics(objects)["size"]
    assert {name: int(rows.sum()) for name, rows in size.items()} == {"XS": 1, "S": 2, "M": 4, "L": 2, "XL": 1}
    assert size["XL"][9] and characteristics(objects)["aspect"]["XW"][9]
    assert "truncation" not in characteristics(objects)


def test_difficult_objects_are_in_no_bin():
    difficult = np.array([True] * 3 + [False] * 7)
    found = characteristics(objects_of([(i, 1) for i in range(1, 11)], difficult, np.arange(10) % 2 == 0))
    for subsets in found.values():
        assert (sum(rows.astype(int) for rows in subsets.values()) == ~difficult).all()


def test_elsewhere_right_detections_do_not_count_and_wrong_ones_do():
    modes = modes_of([1, -1, 1], [0, -1, 1], 2)
    assert subset_ap(modes, np.array([False, True]), 10.0) == pytest.approx(10 / 11)
    assert subset_ap(modes, np.array([True, True]), 10.0) == pytest.approx(normalised_ap(modes.label, 2, 10.0))
    assert np.isnan(subset_ap(modes, np.array([False, False]), 10.0))


def test_sensitivity_and_impact_by_hand():
    truncated = np.array([True] * 5 + [False] * 6)
    objects = objects_of([(10, 10)] * 11, truncated=truncated)
    modes = modes_of([1] * 6, range(5, 11), 11)  # all whole objects, none of the truncated
    found = sensitivities({"cat": modes}, {"cat": objects}, 50.0)
    assert list(found) == ["truncation"], "sizes are equal, so there is one bin"
    truncation = found["truncation"]
    assert (truncation.lowest, truncation.highest, truncation.overall) == (0.0, 1.0, pytest.approx(6 / 11))
    assert truncation.sensitivity == 1 and truncation.impact == pytest.approx(5 / 11) and truncation.classes == 1


def test_few_objects_say_nothing():
    objects = objects_of([(10, 10)] * 8, truncated=np.array([True] * 4 + [False] * 4))
    assert sensitivities({"cat": modes_of([1], [0], 8)}, {"cat": objects}, 50.0) == {}
    assert sensitivities({}, {}, 1.0) == {}
