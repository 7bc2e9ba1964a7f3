import threading
import time
from contextlib import contextmanager

import pytest

from rcnn_dist.stages.overlap import ahead, behind, timed_items


def test_items_come_in_order_and_from_another_thread():
    makers = []
    with ahead((makers.append(threading.get_ident()) or i for i in range(7)), 2) as items:
        assert list(items) == list(range(7))
    assert set(makers) != {threading.get_ident()} and len(set(makers)) == 1
    with ahead([], 3) as items:
        assert list(items) == []


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_is_made_than_the_limit_says(limit):
    made = []
    with ahead((made.append(i) or i for i in range(50)), limit) as items:
        for i in items:
            time.sleep(0.002)
            assert len(made) <= i + 1 + limit
    assert len(made) == 50


def test_an_exception_comes_in_the_place_of_its_item():
    def broken():
        yield from range(3)
        raise ValueError("the fourth")

    seen = []
    with pytest.raises(ValueError, match="the fourth"), ahead(broken(), 8) as items:
        for i in items:
            seen.append(i)
    assert seen == [0, 1, 2]


def test_leaving_early_stops_the_thread():
    made, before = [], threading.active_count()
    with ahead((made.append(i) or i for i in range(1000)), 2) as items:
        next(items)
    assert len(made) <= 4
    assert threading.active_count() == before


@pytest.mark.parametrize("limit", [1, 2])
def test_a_slow_consumer_slows_the_caller_and_gets_everything_in_order(limit):
    consumed = []

    def consume(i):
        time.sleep(0.002)
        consumed.append(i)

    with behind(consume, limit) as leave:
        for i in range(30):
            leave(i)
            assert len(consumed) >= i + 1 - limit
    assert consumed == list(range(30))


def test_what_the_consumer_raises_ends_the_block():
    def consume(i):
        if i == 2:
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"), behind(consume, 2) as leave:
        for i in range(100):
            leave(i)
    with pytest.raises(OSError, match="disk"), behind(consume, 5) as leave:
        leave(2)


def test_the_callers_own_exception_is_not_hidden_by_the_consumers():
    def consume():
        raise OSError("disk")

    with pytest.raises(ZeroDivisionError), behind(consume, 5) as leave:
        leave()
        _ = 1 / 0


def test_only_the_waiting_is_timed():
    entered = []

    @contextmanager
    def timed():
        entered.append("in")
        yield
        entered.append("out")

    for i in timed_items(range(2), timed):
        assert entered == ["in", "out"] * (i + 1)
    assert entered == ["in", "out"] * 3
