import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_dist.arrays import Array
from rcnn_dist.evaluate.proposal_recall import BUDGETS, ObjectOverlaps, object_overlaps, pool_overlaps, proposal_recall, recall_json

OBJECTS = np.array([[0.0, 0.0, 10.0, 10.0], [100.0, 100.0, 200.0, 200.0]])
CLASSES = np.array([0, 1])
NONE = np.zeros((0, 4))


def random_boxes(rng: np.random.Generator, count: int) -> Array:
    corners = rng.uniform(0, 100, (count, 2))
    return np.hstack([corners, corners + rng.uniform(5, 100, (count, 2))])


def test_two_objects_by_hand() -> None:
    proposals = np.array([[0.0, 0.0, 10.0, 5.0], [100.0, 100.0, 200.0, 180.0], [0.0, 0.0, 10.0, 10.0]])
    overlaps = object_overlaps(proposals, OBJECTS, CLASSES, (1, 2, None))
    assert overlaps.best.tolist() == [[0.5, 0.5, 1.0], [0.0, 0.8, 0.8]]
    assert overlaps.sizes.tolist() == [10, 100]
    one, two, everything = proposal_recall(overlaps, (1, 2, None))
    assert (one.overall.recall_50, one.overall.recall_70, one.overall.mabo) == (0.5, 0.0, 0.25)
    assert one.overall.average_recall == pytest.approx(0.05)  # one object, at one of ten thresholds
    assert (two.overall.recall_50, two.overall.recall_70, two.overall.mabo) == (1.0, 0.5, 0.65)
    assert (everything.overall.recall_70, everything.overall.mabo) == (1.0, 0.9)
    assert everything.by_size["small"].mabo == 1.0
    assert everything.by_size["large"].mabo == 0.8
    assert (everything.by_size["medium"].objects, everything.by_size["medium"].recall_50) == (0, None)


def test_mabo_weighs_classes_equally() -> None:
    overlaps = ObjectOverlaps(np.array([[1.0], [1.0], [1.0], [0.5]]), np.array([0, 0, 0, 7]), np.full(4, 40.0))
    (row,) = proposal_recall(overlaps, (None,))
    assert row.overall.mabo == 0.75


def test_no_proposals_cover_nothing_and_no_objects_have_no_recall() -> None:
    assert object_overlaps(NONE, OBJECTS, CLASSES).best.tolist() == [[0.0] * 5] * 2
    nothing = object_overlaps(random_boxes(np.random.default_rng(0), 5), NONE, np.zeros(0, np.int64))
    assert nothing.best.shape == (0, 5)
    assert all(row.overall.recall_50 is None for row in proposal_recall(nothing))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6))
@settings(deadline=None)
def test_recall_equals_counting_object_by_object(seed: int, proposals: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    budgets = (1, 3, 10, None)
    per_image, counts = [], np.zeros((4, 2))
    objects = 0
    for _ in range(images):
        boxes, truth = random_boxes(rng, proposals), random_boxes(rng, 4)
        per_image.append(object_overlaps(boxes, truth, np.zeros(4, np.int64), budgets))
        for x1, y1, x2, y2 in truth:
            objects += 1
            for i, budget in enumerate(budgets):
                best = 0.0
                for a1, b1, a2, b2 in boxes[:budget]:
                    common = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
                    best = max(best, common / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - common))
                counts[i] += best >= 0.5, best >= 0.7
    table = proposal_recall(pool_overlaps(per_image), budgets)
    assert [(row.overall.recall_50, row.overall.recall_70) for row in table] == [tuple(c / objects) for c in counts]
    assert all(sum(band.objects for band in row.by_size.values()) == objects for row in table)


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_more_proposals_never_cover_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    best = object_overlaps(random_boxes(rng, 3000), random_boxes(rng, 5), np.arange(5)).best
    assert (np.diff(best, axis=1) >= 0).all()


def test_the_table_is_json() -> None:
    table = recall_json(proposal_recall(object_overlaps(OBJECTS, OBJECTS, CLASSES)))
    assert list(table) == [str(budget or "all") for budget in BUDGETS]
    assert json.loads(json.dumps(table))["all"]["by_size"]["large"]["recall_70"] == 1.0
