import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.runtime.dispatch import MAX_ATTEMPTS, MAX_FRUITLESS_ROUNDS, MAX_LOST_PROBES, Dispatcher, Job, Submission


def test_tasks_go_out_in_order_two_per_worker():
    dispatcher = Dispatcher([0] * 6)
    assert dispatcher.submissions() == [], "nobody to give them to"
    dispatcher.add_worker("a")
    dispatcher.add_worker("b")
    assert dispatcher.submissions() == [Submission(w, Job(i)) for i, w in enumerate("abab")]
    assert dispatcher.submissions() == []
    dispatcher.done("b", Job(1))
    assert dispatcher.submissions() == [Submission("b", Job(4))]


def test_no_job_waits_at_a_worker_that_a_starting_one_would_compute():
    dispatcher = Dispatcher([0] * 3)
    dispatcher.add_worker("a")
    assert dispatcher.submissions(starting=1) == [Submission("a", Job(0)), Submission("a", Job(1))], "one is left"
    assert dispatcher.submissions(starting=1) == []
    dispatcher.add_worker("b")
    assert dispatcher.submissions() == [Submission("b", Job(2))]
    dispatcher = Dispatcher([0] * 2)
    dispatcher.add_worker("a")
    assert dispatcher.submissions(starting=1) == [Submission("a", Job(0))]
    dispatcher.done("a", Job(0))
    assert dispatcher.submissions(starting=1) == [Submission("a", Job(1))], "a worker that never starts holds nothing up"


def test_a_dead_workers_tasks_go_out_first():
    dispatcher = Dispatcher([0] * 5)
    dispatcher.add_worker("a")
    dispatcher.submissions()
    dispatcher.worker_died("a")
    assert dispatcher.workers == ()
    dispatcher.add_worker("b")
    assert dispatcher.submissions() == [Submission("b", Job(0)), Submission("b", Job(1))]


def next_job(dispatcher):
    """The next job, given to the only worker, which is there again if it died."""
    if not dispatcher.workers:
        dispatcher.add_worker("w")
    (submission,) = dispatcher.submissions()
    return submission.worker, submission.job


def test_a_task_that_kills_its_workers_is_named_and_the_one_behind_it_is_not_blamed():
    dispatcher = Dispatcher([0, 0])
    for attempt in range(MAX_ATTEMPTS):
        assert dispatcher.exhausted is None
        dispatcher.add_worker(f"w{attempt}")
        dispatcher.submissions()
        dispatcher.worker_died(f"w{attempt}")
    assert dispatcher.exhausted == 0


def test_the_item_that_kills_is_found_by_bisection_after_two_deaths_and_quarantined_after_two_more():
    dispatcher = Dispatcher([4], max_in_flight=1)
    for _ in range(2):
        worker, job = next_job(dispatcher)
        assert job == Job(0)
        dispatcher.worker_died(worker)
    seen = []
    while not dispatcher.finished:
        worker, job = next_job(dispatcher)
        seen.append(job.items)
        if job.items and 2 in job.items:
            dispatcher.probe_died(worker, job, "SIGSEGV")
        else:
            dispatcher.done(worker, job)
    assert seen == [(0, 1), (2, 3), (2,), (2,), (3,), None]
    assert dispatcher.quarantined(0) == {2: "SIGSEGV"}
    assert dispatcher.exhausted is None


def test_a_task_of_one_item_is_probed_too():
    dispatcher = Dispatcher([1], max_in_flight=1)
    for _ in range(2):
        dispatcher.worker_died(next_job(dispatcher)[0])
    for _ in range(2):
        worker, job = next_job(dispatcher)
        assert job == Job(0, (0,))
        dispatcher.probe_died(worker, job, "hangs")
    worker, job = next_job(dispatcher)
    dispatcher.done(worker, job)
    assert dispatcher.quarantined(0) == {0: "hangs"}
    assert dispatcher.finished


def test_a_task_whose_probes_find_nobody_to_blame_ends_the_run():
    dispatcher = Dispatcher([2], max_in_flight=1)
    rounds = 0
    while dispatcher.exhausted is None:
        worker, job = next_job(dispatcher)
        if job.items is None:
            dispatcher.worker_died(worker)
        else:
            dispatcher.done(worker, job)
            rounds += job.items == (1,)
    assert (dispatcher.exhausted, rounds, dispatcher.quarantined(0)) == (0, MAX_FRUITLESS_ROUNDS, {})


def test_a_probe_whose_worker_dies_is_repeated_but_not_for_ever():
    dispatcher = Dispatcher([2], max_in_flight=1)
    for _ in range(2 + MAX_LOST_PROBES):
        assert dispatcher.exhausted is None
        dispatcher.worker_died(next_job(dispatcher)[0])
    assert (dispatcher.exhausted, dispatcher.quarantined(0)) == (0, {})


def test_nothing_to_do_is_finished():
    assert Dispatcher([]).finished
    assert not Dispatcher([1]).finished


def test_a_node_keeps_to_a_lane_until_its_tasks_are_given_out_and_done():
    dispatcher = Dispatcher([0] * 7, max_in_flight=1, lanes="AAABBCC")
    dispatcher.add_worker("a", "one")
    dispatcher.add_worker("b", "one")
    dispatcher.add_worker("c", "two")
    assert dispatcher.submissions() == [Submission("a", Job(0)), Submission("b", Job(1)), Submission("c", Job(3))]
    dispatcher.done("a", Job(0))
    assert dispatcher.submissions() == [Submission("a", Job(2))]
    dispatcher.done("b", Job(1))
    assert dispatcher.submissions() == [], "the other worker of its node is still at A"
    dispatcher.done("a", Job(2))
    assert dispatcher.submissions() == [Submission("a", Job(5)), Submission("b", Job(6))], "C, which no node has"
    dispatcher.done("a", Job(5))
    dispatcher.done("b", Job(6))
    assert dispatcher.submissions() == [Submission("a", Job(4))], "now two nodes are at B"


def test_a_task_that_comes_back_when_all_nodes_have_left_its_lane_is_done_by_the_next_that_can():
    dispatcher = Dispatcher([0] * 3, max_in_flight=1, lanes="ABB")
    dispatcher.add_worker("a", "one")
    dispatcher.add_worker("b", "two")
    assert dispatcher.submissions() == [Submission("a", Job(0)), Submission("b", Job(1))]
    dispatcher.worker_died("a")
    assert dispatcher.submissions() == []
    dispatcher.done("b", Job(1))
    assert dispatcher.submissions() == [Submission("b", Job(2))]
    dispatcher.done("b", Job(2))
    assert dispatcher.submissions() == [Submission("b", Job(0))]


class World:
    """Workers that join, finish and die in random order, on two nodes; images that kill whatever process runs them."""

    def __init__(self, poison, size, generator, kills, lanes):
        self.poison, self.generator, self.kills, self.lanes = poison, generator, kills, lanes
        self.dispatcher = Dispatcher([size] * len(poison), lanes=lanes)
        self.flight, self.done, self.born, self.node_of = {}, [], 0, {}

    def step(self):
        event = self.generator.choice(["join", "work", "work", "work", "kill"])
        if event == "join" and len(self.flight) < 3:
            self.node_of[f"w{self.born}"] = str(self.generator.choice(["one", "two"]))
            self.dispatcher.add_worker(f"w{self.born}", self.node_of[f"w{self.born}"])
            self.flight[f"w{self.born}"] = []
            self.born += 1
        elif event == "work" and any(self.flight.values()):
            self.work(next(w for w, jobs in self.flight.items() if jobs))
        elif event == "kill" and self.flight and self.kills > 0:
            self.kills -= 1
            self.die(list(self.flight)[int(self.generator.integers(len(self.flight)))])
        for submission in self.dispatcher.submissions():
            self.flight[submission.worker].append(submission.job)
        assert all(len(jobs) <= 2 for jobs in self.flight.values())
        at_work = {(self.node_of[worker], self.lanes[job.task]) for worker, jobs in self.flight.items() for job in jobs}
        assert len(at_work) == len({node for node, _ in at_work}), "a node has one lane"

    def work(self, worker):
        job = self.flight[worker][0]
        left_out = self.dispatcher.quarantined(job.task)
        if job.items is None and self.poison[job.task] - set(left_out):
            self.die(worker)
            return
        self.flight[worker].pop(0)
        if job.items is not None and self.poison[job.task] & set(job.items):
            self.dispatcher.probe_died(worker, job, "died")
            return
        self.dispatcher.done(worker, job)
        if job.items is None:
            self.done.append(job.task)

    def die(self, worker):
        del self.flight[worker]
        self.dispatcher.worker_died(worker)


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 4), max_size=3), st.sampled_from("ABC")), max_size=12),
    st.integers(0, 2**32 - 1),
    st.integers(0, 4),
)
def test_whatever_happens_every_task_is_done_once_and_exactly_the_killers_are_quarantined(tasks, seed, kills):
    poison = [killers for killers, _ in tasks]
    world = World(poison, 5, np.random.default_rng(seed), kills, [lane for _, lane in tasks])
    for _ in range(5000):
        if world.dispatcher.finished:
            break
        world.step()
        assert world.dispatcher.exhausted is None
    assert sorted(world.done) == list(range(len(poison)))
    assert [set(world.dispatcher.quarantined(i)) for i in range(len(poison))] == poison


def test_done_by_somebody_else_is_an_error():
    dispatcher = Dispatcher([0])
    dispatcher.add_worker("a")
    with pytest.raises(ValueError, match="not in list"):
        dispatcher.done("a", Job(0))
