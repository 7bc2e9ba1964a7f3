import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.priority import order_regions, region_ranks

CHAIN = np.array([[0, 1], [4, 2], [5, 3]], np.int32)


def test_large_first_counts_down_to_the_image() -> None:
    assert region_ranks(CHAIN, "large_first").tolist() == [4, 4, 4, 4, 3, 2, 1]


def test_lasting_divides_by_the_steps_a_region_stood_alone() -> None:
    assert region_ranks(CHAIN, "lasting") == pytest.approx(np.sqrt(4) * np.array([4 / 1, 4 / 1, 4 / 2, 4 / 3, 3 / 1, 2 / 1, 1 / 1]))


def test_an_image_of_one_region() -> None:
    for order in ("large_first", "lasting"):
        assert region_ranks(np.empty((0, 2), np.int32), order).tolist() == [1]  # type: ignore[arg-type]


@given(arrays(np.int64, st.tuples(st.integers(0, 30), st.just(4)), elements=st.integers(0, 6)), st.integers(0, 9), st.integers(0, 3))
@settings(deadline=None)
def test_order_equals_sorting_filtering_and_skipping_repeats(boxes: Array, seed: int, min_side: int) -> None:
    ranks = np.random.default_rng(seed).uniform(1, 9, len(boxes))
    priority = ranks * np.random.default_rng(seed).random(len(boxes))
    expected: list[int] = []
    for i in np.argsort(priority, kind="stable"):
        x1, y1, x2, y2 = boxes[i]
        if x2 - x1 >= min_side and y2 - y1 >= min_side and boxes[i].tolist() not in boxes[expected].tolist():
            expected.append(int(i))
    assert order_regions(boxes, ranks, min_side, np.random.default_rng(seed)).tolist() == expected


def test_low_ranks_tend_to_the_front() -> None:
    boxes = np.column_stack([np.arange(1000), np.zeros((1000, 1), int), np.arange(1000) + 50, np.full(1000, 50)])
    ranks = np.where(np.arange(1000) < 500, 1.0, 100.0)
    assert (order_regions(boxes, ranks, 20, np.random.default_rng(0))[:300] < 500).mean() > 0.95
