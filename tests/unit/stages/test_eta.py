import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.stages.eta import MIN_EVENTS, WINDOW_S, RateEstimator


def test_a_steady_run():
    estimator = RateEstimator(start=100.0)
    assert estimator.rate(100.0) is None
    for i in range(1, 6):
        estimator.add(100.0 + 10 * i, 20)
    assert estimator.rate(150.0) == 2.0
    assert estimator.seconds_left(300, 150.0) == 150.0
    assert estimator.rate(200.0) == 1.0, "nothing was done for as long again"


def test_without_a_known_start_the_first_event_starts_the_clock():
    estimator = RateEstimator()
    estimator.add(10.0, 16)
    assert estimator.rate(11.0) is None
    estimator.add(14.0, 16)
    assert estimator.rate(14.0) == 4.0


def test_a_run_that_slows_down_is_judged_by_its_last_ten_minutes():
    estimator, clock = RateEstimator(start=0.0), 0.0
    for seconds in [1.0] * 1000 + [4.0] * 400:
        clock += seconds
        estimator.add(clock, 1)
    assert estimator.rate(clock) == pytest.approx(0.25, rel=0.02)


def test_slow_events_are_kept_until_there_are_twenty():
    estimator = RateEstimator(start=0.0)
    for i in range(1, 100):
        estimator.add(i * WINDOW_S, 600)
    assert estimator.rate(99 * WINDOW_S) == pytest.approx(1.0, rel=1 / MIN_EVENTS)


@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(1, 20)), min_size=2, max_size=40), st.floats(-1e5, 1e5))
def test_only_differences_of_time_count(events, shift):
    rates = []
    for offset in (0.0, shift):
        estimator, clock = RateEstimator(start=offset), offset
        for seconds, images in events:
            clock += seconds
            estimator.add(clock, images)
        rates.append(estimator.rate(clock))
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)
