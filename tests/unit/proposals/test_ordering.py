import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.proposals.ordering import order_proposals


def as_boxes(rows):
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


side = st.integers(0, 60)
box = st.tuples(st.integers(0, 50), st.integers(0, 50), side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
box_lists = st.lists(box, max_size=30)


def slow_order(rows, seed, min_side):
    kept = {row for row in rows if row[2] - row[0] >= min_side and row[3] - row[1] >= min_side}
    by_area = sorted(kept, key=lambda row: (-(row[2] - row[0]) * (row[3] - row[1]), row))
    chance = np.random.default_rng(seed).random(len(by_area))
    priority = [(rank * chance[rank - 1], rank, row) for rank, row in enumerate(by_area, start=1)]
    return [row for _, _, row in sorted(priority)]


def test_small_boxes_and_repeats_go():
    wide, tall, small, square = [0, 0, 40, 19.9], [0, 0, 19.9, 40], [5, 5, 10, 10], [1, 2, 21, 22]
    assert order_proposals(as_boxes([wide, square, small, tall, square]), 3).tolist() == [square]


def test_the_limit_can_be_moved():
    assert len(order_proposals(as_boxes([[0, 0, 5, 5], [0, 0, 0, 9]]), 3, min_side=0.0)) == 2
    assert len(order_proposals(as_boxes([[0, 0, 5, 5], [0, 0, 0, 9]]), 3, min_side=5.0)) == 1


@given(box_lists, st.integers(0, 5), st.sampled_from([0.0, 20.0]))
def test_against_a_slow_twin(rows, seed, min_side):
    ordered = order_proposals(as_boxes(rows), seed, min_side)
    assert [tuple(row) for row in ordered.tolist()] == slow_order(rows, seed, min_side)


@given(box_lists, st.randoms(use_true_random=False))
def test_the_order_of_the_search_and_repeats_do_not_matter(rows, random):
    shuffled = rows + rows[:5]
    random.shuffle(shuffled)
    np.testing.assert_array_equal(order_proposals(as_boxes(shuffled), 3), order_proposals(as_boxes(rows), 3))


@given(box_lists)
def test_ordering_twice_changes_nothing(rows):
    once = order_proposals(as_boxes(rows), 3)
    np.testing.assert_array_equal(order_proposals(once, 3), once)


def test_the_seed_decides():
    boxes = np.cumsum(np.random.default_rng(0).uniform(20, 90, (50, 4)), axis=1)
    first, again, other = (order_proposals(boxes, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and set(map(tuple, first)) == set(map(tuple, other))


def test_large_boxes_come_first_in_tendency_only():
    sizes = np.arange(1000.0, 0, -1) + 20
    boxes = np.stack([np.zeros(1000), np.zeros(1000), sizes, sizes], axis=1)
    rank_at_place = np.argsort(-order_proposals(boxes, 3)[:, 2]).argsort()
    assert rank_at_place[:100].mean() < 300 < 700 < rank_at_place[-100:].mean()
    assert rank_at_place[:100].max() > 200


def test_no_boxes():
    assert order_proposals(np.zeros((0, 4)), 3).shape == (0, 4)
    assert order_proposals(as_boxes([[0, 0, 3, 3]]), 3).shape == (0, 4)


@pytest.mark.parametrize("wrong", [[5, 0, 4, 9], [0, 5, 9, 4], [0, 0, np.nan, 9]])
def test_what_is_no_box_is_named(wrong):
    with pytest.raises(ValueError, match="proposal 1 is no box"):
        order_proposals(as_boxes([[0, 0, 30, 30], wrong]), 3)
