import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.evaluate.operating_points import operating_points, score_at_precision

NAN = float("nan")


def points(scores, precision):
    return operating_points(np.array(scores, np.float32), np.array(precision, np.float64))


def test_the_lowest_score_with_the_precision_or_more():
    found = points([4, 3, 2, 1], [1, 0.5, 2 / 3, 0.5])
    np.testing.assert_array_equal(found, [[1, 0.5], [2, 2 / 3], [4, 1]])
    assert score_at_precision(found, 0.4) == 1
    assert score_at_precision(found, 0.6) == 2
    assert score_at_precision(found, 2 / 3) == 2
    assert score_at_precision(found, 0.7) == 4
    assert score_at_precision(found, 1.0) == 4


def test_a_class_that_never_reaches_it_or_was_never_seen_has_none():
    assert score_at_precision(points([2, 1], [0, 0.5]), 0.6) is None
    assert score_at_precision(points([], []), 0.0) is None
    assert score_at_precision(points([2, 1], [NAN, NAN]), 0.0) is None, "only ignored detections"


def test_detections_of_one_score_are_taken_together():
    assert score_at_precision(points([2, 2, 1], [1, 0.5, 1 / 3]), 0.8) is None
    assert score_at_precision(points([2.0000001, 2.0000002, 1], [1, 0.5, 1 / 3]), 0.8) is None, "ranked as written, not as they are"


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), max_size=12), st.integers(0, 10))
def test_it_is_what_trying_every_score_finds(detections, tenths):
    ranked = sorted(detections, key=lambda d: -d[0])
    scores, right = np.array([d[0] for d in ranked], np.float32), np.array([d[1] for d in ranked], bool)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    wanted = tenths / 10
    reaching = [s for s in scores if np.mean(right[scores >= s]) >= wanted]
    assert score_at_precision(operating_points(scores, precision), wanted) == min(reaching, default=None)
