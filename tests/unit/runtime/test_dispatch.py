import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.runtime.dispatch import MAX_ATTEMPTS, Dispatcher, Submission


def test_tasks_go_out_in_order_two_per_worker():
    dispatcher = Dispatcher(6)
    assert dispatcher.submissions() == [], "nobody to give them to"
    dispatcher.add_worker("a")
    dispatcher.add_worker("b")
    assert dispatcher.submissions() == [Submission("a", 0), Submission("b", 1), Submission("a", 2), Submission("b", 3)]
    assert dispatcher.submissions() == []
    dispatcher.done("b", 1)
    assert dispatcher.submissions() == [Submission("b", 4)]


def test_a_dead_workers_tasks_go_out_first():
    dispatcher = Dispatcher(5)
    dispatcher.add_worker("a")
    dispatcher.submissions()
    dispatcher.worker_died("a")
    assert dispatcher.workers == ()
    dispatcher.add_worker("b")
    assert dispatcher.submissions() == [Submission("b", 0), Submission("b", 1)]


def test_a_task_that_kills_its_workers_is_named_and_the_one_behind_it_is_not_blamed():
    dispatcher = Dispatcher(2)
    for attempt in range(MAX_ATTEMPTS):
        assert dispatcher.exhausted is None
        dispatcher.add_worker(f"w{attempt}")
        dispatcher.submissions()
        dispatcher.worker_died(f"w{attempt}")
    assert dispatcher.exhausted == 0


def test_nothing_to_do_is_finished():
    assert Dispatcher(0).finished
    assert not Dispatcher(1).finished


@given(st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_whatever_happens_every_task_is_done_once_and_flight_is_bounded(n_tasks, seed):
    generator = np.random.default_rng(seed)
    dispatcher, flight, done, born = Dispatcher(n_tasks), {}, [], 0
    for _ in range(2000):
        if dispatcher.finished:
            break
        event = generator.choice(["join", "done", "done", "done", "die"])
        workers = dispatcher.workers
        if event == "join" and len(workers) < 3:
            dispatcher.add_worker(f"w{born}")
            flight[f"w{born}"] = []
            born += 1
        elif event == "done" and any(flight.values()):
            worker = next(w for w, tasks in flight.items() if tasks)
            done.append(flight[worker].pop(0))
            dispatcher.done(worker, done[-1])
        elif event == "die" and workers and generator.random() < 0.2 and dispatcher.exhausted is None:
            worker = workers[int(generator.integers(len(workers)))]
            del flight[worker]
            dispatcher.worker_died(worker)
        for submission in dispatcher.submissions():
            flight[submission.worker].append(submission.task)
        assert all(len(tasks) <= 2 for tasks in flight.values())
    assert dispatcher.finished
    assert sorted(done) == list(range(n_tasks))


def test_done_by_somebody_else_is_an_error():
    dispatcher = Dispatcher(1)
    dispatcher.add_worker("a")
    with pytest.raises(ValueError, match="not in list"):
        dispatcher.done("a", 0)
