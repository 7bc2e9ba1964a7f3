"""A fleet of any size without one: the real dispatcher over simulated workers, whose nodes are slow or fail.

Time is simulated, event by event; nothing sleeps. What a task costs comes in, measured or assumed; who gets which task, what a
death costs, and which tasks are probed is decided by `dispatch.Dispatcher`, as in a run.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime.dispatch import Dispatcher, Job


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers on nodes."""

    workers: int
    per_node: int = 1
    start_s: float = 0.0  # until the first workers take tasks
    mean_life_s: float = math.inf  # of a node; its end is drawn from the exponential distribution
    replace_s: float = 0.0  # until the workers of a lost node are there again
    slow_share: float = 0.0  # of the nodes
    slowdown: float = 1.0  # how many times as long a slow node takes
    driver_s: float = 0.0  # the driver's own time per job that it gives out

    def __post_init__(self) -> None:
        if self.workers < 1 or self.per_node < 1:
            raise ValueError(f"{self.workers} workers, {self.per_node} per node: give at least one")


@dataclass(frozen=True, slots=True)
class Outcome:
    makespan_s: float
    busy_s: float  # of all workers, on what was done in the end
    lost_s: float  # of all workers, on what died with them, and on probes
    node_losses: int


@dataclass(slots=True)
class _Worker:
    node: int
    jobs: deque[tuple[Job, float]] = field(default_factory=deque)  # with the time of its arrival; the first is computed
    began: float = 0.0
    alive: bool = True


def simulate(seconds: Sequence[float], fleet: Fleet, seed: int = 0, items: int = 0, max_in_flight: int = 2) -> Outcome:
    """What a map over tasks of these seconds takes on a fleet.

    Args:
        items: images of each task, by which a task is bisected when workers die with it; 0: it is given out again.

    Raises:
        ClusterError: the dispatcher gave up a task, whose workers died again and again.

    Law: without failures, makespan >= max(sum / workers, longest task) and busy == sum (at slowdown 1).
    """
    return _Simulation(seconds, fleet, seed, items, max_in_flight).run()


class _Simulation:
    def __init__(self, seconds: Sequence[float], fleet: Fleet, seed: int, items: int, max_in_flight: int) -> None:
        self._seconds, self._fleet, self._items = seconds, fleet, items
        self._rng = np.random.default_rng(seed)
        self._dispatcher = Dispatcher([items] * len(seconds), max_in_flight)
        self._nodes = math.ceil(fleet.workers / fleet.per_node)
        slow = self._rng.random(self._nodes) < fleet.slow_share
        self._speed = np.where(slow, fleet.slowdown, 1.0).tolist()
        self._workers: dict[str, _Worker] = {}
        self._events: list[tuple[float, int, str, Any]] = []
        self._count = 0
        self._driver_free = 0.0
        self._busy = self._lost = 0.0
        self._losses = 0

    def run(self) -> Outcome:
        self._at(self._fleet.start_s, "ready", [index // self._fleet.per_node for index in range(self._fleet.workers)])
        for node in range(self._nodes):
            self._draw_failure(self._fleet.start_s, node)
        now = 0.0
        while not self._dispatcher.finished:
            now, _, kind, subject = heapq.heappop(self._events)
            getattr(self, f"_on_{kind}")(now, subject)
            if self._dispatcher.exhausted is not None:
                raise ClusterError(
                    f"task {self._dispatcher.exhausted} was given up: its workers died too often, lower the rate of failures"
                )
            self._give_out(now)
        return Outcome(now, self._busy, self._lost, self._losses)

    def _at(self, time: float, kind: str, subject: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, kind, subject))

    def _draw_failure(self, now: float, node: int) -> None:
        if math.isfinite(self._fleet.mean_life_s):
            self._at(now + self._rng.exponential(self._fleet.mean_life_s), "node_lost", node)

    def _on_ready(self, now: float, nodes: Iterable[int]) -> None:  # noqa: ARG002  every handler has the time
        for node in nodes:
            self._count += 1
            name = f"worker-{self._count}"
            self._workers[name] = _Worker(node)
            self._dispatcher.add_worker(name)

    def _on_job_ended(self, now: float, subject: tuple[str, _Worker]) -> None:
        name, worker = subject
        if not worker.alive:
            return
        job, _ = worker.jobs.popleft()
        if job.items is None:
            self._busy += now - worker.began
        else:
            self._lost += now - worker.began
        self._dispatcher.done(name, job)
        self._begin(now, name, worker)

    def _on_node_lost(self, now: float, node: int) -> None:
        self._losses += 1
        gone = [(name, worker) for name, worker in self._workers.items() if worker.node == node]
        for name, worker in gone:
            worker.alive = False
            del self._workers[name]
            if worker.jobs and worker.began <= now:
                self._lost += now - worker.began
            self._dispatcher.worker_died(name)
        self._at(now + self._fleet.replace_s, "ready", [node] * len(gone))
        self._draw_failure(now + self._fleet.replace_s, node)

    def _give_out(self, now: float) -> None:
        for submission in self._dispatcher.submissions():
            self._driver_free = max(self._driver_free, now) + self._fleet.driver_s
            worker = self._workers[submission.worker]
            worker.jobs.append((submission.job, self._driver_free))
            if len(worker.jobs) == 1:
                self._begin(now, submission.worker, worker)

    def _begin(self, now: float, name: str, worker: _Worker) -> None:
        if worker.jobs:
            job, arrived = worker.jobs[0]
            worker.began = max(now, arrived)
            share = 1.0 if job.items is None else len(job.items) / self._items
            self._at(worker.began + self._seconds[job.task] * share * self._speed[worker.node], "job_ended", (name, worker))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One stage of a real run, from its events."""

    seconds: tuple[float, ...]  # of each task, in the order in which they were given out
    images: int
    workers: int
    start_s: float  # from the stage's start to the first task
    makespan_s: float


def recorded(events: Iterable[Mapping[str, Any]], stage: str) -> Recorded:
    """How long each task of a stage kept its process, from the events of a run (`runtime.events.read_events`).

    A task's time begins with its submission or, if later, with the end of the task before it in the same process.

    Raises:
        ValueError: the events do not hold a whole stage.
    """
    started, images = math.nan, 0
    submitted: dict[str, float] = {}
    took: dict[str, float] = {}
    last: dict[str, float] = {}  # end of each process's latest task
    for event in (event for event in events if event.get("stage") == stage):
        if event["event"] == "stage_started":
            started, images = event["time"], 0
            submitted, took, last = {}, {}, {}
        elif event["event"] == "submitted":
            submitted.setdefault(event["task"], event["time"])
        elif event["event"] == "shard_done":
            task = f"{event['split']} {event['part']}"
            begun = max(submitted.get(task, started), last.get(event["worker"], -math.inf))
            took[task] = event["time"] - begun
            last[event["worker"]] = event["time"]
            images += event["images"]
    if not took or not math.isfinite(started):
        raise ValueError(f"the events hold no complete stage '{stage}': take a run that ended and computed it in one go")
    order = sorted(took, key=lambda task: (submitted.get(task, started), task))
    first = min(submitted.values(), default=started)
    return Recorded(tuple(took[task] for task in order), images, len(last), first - started, max(last.values()) - started)
