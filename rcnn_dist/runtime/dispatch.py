"""Which task goes to which worker next: a pure state machine, without Ray and without a clock.

Events come in (a worker is ready, a task is done, a worker died), submissions go out. At most `max_in_flight` tasks are with a
worker: one that it computes and one that waits there, so that no worker idles and nothing piles up.
"""

from collections import deque
from dataclasses import dataclass

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Submission:
    """Give this task to this worker."""

    worker: str
    task: int


class Dispatcher:
    """Tasks 0..n-1 over workers that come and go; every task is done once, or `exhausted` names it."""

    def __init__(self, n_tasks: int, max_in_flight: int = 2) -> None:
        self._waiting = deque(range(n_tasks))
        self._max_in_flight = max_in_flight
        self._with_worker: dict[str, list[int]] = {}
        self._attempts = [0] * n_tasks
        self._undone = n_tasks
        self.exhausted: int | None = None  # a task whose workers died MAX_ATTEMPTS times

    @property
    def finished(self) -> bool:
        return self._undone == 0

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(self._with_worker)

    def add_worker(self, worker: str) -> None:
        self._with_worker[worker] = []

    def done(self, worker: str, task: int) -> None:
        self._with_worker[worker].remove(task)
        self._undone -= 1

    def worker_died(self, worker: str) -> None:
        """Takes the worker's tasks back, to be given out first; the one that it computed has lost an attempt."""
        tasks = self._with_worker.pop(worker, [])
        if tasks:
            self._attempts[tasks[0]] += 1
            if self._attempts[tasks[0]] >= MAX_ATTEMPTS:
                self.exhausted = tasks[0]
        self._waiting.extendleft(reversed(tasks))

    def submissions(self) -> list[Submission]:
        """What to give out now: tasks in order, to the worker with the fewest."""
        given = []
        while self._waiting and self._with_worker:
            worker = min(self._with_worker, key=lambda name: len(self._with_worker[name]))
            if len(self._with_worker[worker]) >= self._max_in_flight:
                break
            task = self._waiting.popleft()
            self._with_worker[worker].append(task)
            given.append(Submission(worker, task))
        return given
