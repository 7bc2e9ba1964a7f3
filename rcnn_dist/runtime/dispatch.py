"""Which job goes to which worker next: a pure state machine, without Ray and without a clock.

Events come in (a worker is ready, a job is done, a worker died, a probe found a killer), submissions go out. At most `max_in_flight`
jobs are with a worker: one that it computes and one that waits there, so that no worker idles and nothing piles up.

A task whose workers died SUSPECT_AFTER times is suspected of holding items (images) that kill: it is bisected by probes, which run some
items apart and tell whether that survived. An item that died alone PROBE_ATTEMPTS times is quarantined, and the task goes out again
without it. A worker's own death never quarantines an item, so machines that fail cannot cost an image.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

SUSPECT_AFTER = 2  # deaths of a task's workers
PROBE_ATTEMPTS = 2  # deaths of one item alone
MAX_ATTEMPTS = 3  # deaths with a task that cannot be bisected
MAX_FRUITLESS_ROUNDS = 2  # of probes that found no item to blame
MAX_LOST_PROBES = 10  # probes of one task whose worker, not the process of the probe, died


@dataclass(frozen=True, slots=True)
class Job:
    """A whole task, or a probe of some of its items."""

    task: int
    items: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """Give this job to this worker."""

    worker: str
    job: Job


@dataclass(slots=True)
class _Task:
    size: int  # items that can be probed; 0 where the task cannot be bisected
    deaths: int = 0
    open_probes: int = 0
    found_in_round: bool = False
    fruitless_rounds: int = 0
    lost_probes: int = 0  # probes whose worker died
    alone: dict[int, int] = field(default_factory=dict)  # item -> deaths alone
    quarantined: dict[int, str] = field(default_factory=dict)


class Dispatcher:
    """Tasks 0..n-1 over workers that come and go; every task is done once, or `exhausted` names it.

    Args:
        sizes: the number of items of each task that can be probed, 0 for a task that cannot be bisected.
    """

    def __init__(self, sizes: Sequence[int], max_in_flight: int = 2) -> None:
        self._tasks = [_Task(size) for size in sizes]
        self._waiting = deque(Job(i) for i in range(len(sizes)))
        self._max_in_flight = max_in_flight
        self._with_worker: dict[str, list[Job]] = {}
        self._undone = len(sizes)
        self.exhausted: int | None = None  # a task whose workers die and no item is to blame

    @property
    def finished(self) -> bool:
        return self._undone == 0

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(self._with_worker)

    @property
    def unfinished(self) -> int:
        """Tasks that are not done."""
        return self._undone

    def quarantined(self, task: int) -> dict[int, str]:
        """Item -> reason, of the items that a task goes without."""
        return dict(self._tasks[task].quarantined)

    def add_worker(self, worker: str) -> None:
        self._with_worker[worker] = []

    def done(self, worker: str, job: Job) -> None:
        """A task is done, or a probe survived."""
        self._with_worker[worker].remove(job)
        if job.items is None:
            self._undone -= 1
        else:
            self._end_probe(job.task)

    def probe_died(self, worker: str, job: Job, reason: str) -> None:
        """The items of a probe killed the process that ran them."""
        self._with_worker[worker].remove(job)
        task, items = self._tasks[job.task], job.items or ()
        if len(items) > 1:
            self._bisect(job.task, items)
        else:
            task.alone[items[0]] = task.alone.get(items[0], 0) + 1
            if task.alone[items[0]] >= PROBE_ATTEMPTS:
                task.quarantined[items[0]] = reason
                task.found_in_round = True
            else:
                self._probe(job.task, items)
        self._end_probe(job.task)

    def worker_died(self, worker: str) -> None:
        """Takes the worker's jobs back, to be given out first; the one that it computed is suspected in time."""
        jobs = self._with_worker.pop(worker, [])
        suspected = bool(jobs) and self._suspect(jobs[0])
        self._waiting.extendleft(reversed(jobs[1:] if suspected else jobs))

    def submissions(self, starting: int = 0) -> list[Submission]:
        """What to give out now: jobs in order, to the worker with the fewest; none waits there that a starting worker would compute."""
        given = []
        while self._waiting and self._with_worker:
            worker = min(self._with_worker, key=lambda name: len(self._with_worker[name]))
            busy = len(self._with_worker[worker])
            if busy >= self._max_in_flight or (busy and len(self._waiting) <= starting):
                break
            job = self._waiting.popleft()
            self._with_worker[worker].append(job)
            given.append(Submission(worker, job))
        return given

    def _suspect(self, job: Job) -> bool:
        """Counts a death; True where probes take the job's place in the queue."""
        task = self._tasks[job.task]
        if job.items is not None:
            task.lost_probes += 1
            self._give_up(job.task, task.lost_probes >= MAX_LOST_PROBES)
            return False
        task.deaths += 1
        suspects = tuple(i for i in range(task.size) if i not in task.quarantined)
        if not suspects:
            self._give_up(job.task, task.deaths >= MAX_ATTEMPTS)
            return False
        if task.deaths < SUSPECT_AFTER:
            return False
        task.found_in_round = False
        self._bisect(job.task, suspects)
        return True

    def _give_up(self, index: int, condition: bool) -> None:
        if condition:
            self.exhausted = index

    def _bisect(self, index: int, items: tuple[int, ...]) -> None:
        middle = (len(items) + 1) // 2
        for half in (items[middle:], items[:middle]):
            if half:
                self._probe(index, half)

    def _probe(self, index: int, items: tuple[int, ...]) -> None:
        self._tasks[index].open_probes += 1
        self._waiting.appendleft(Job(index, items))

    def _end_probe(self, index: int) -> None:
        """With its last probe, a task goes out again; after too many rounds that found nothing it is exhausted."""
        task = self._tasks[index]
        task.open_probes -= 1
        if task.open_probes:
            return
        task.deaths = 0
        if not task.found_in_round:
            task.fruitless_rounds += 1
            self._give_up(index, task.fruitless_rounds >= MAX_FRUITLESS_ROUNDS)
        self._waiting.appendleft(Job(index))
