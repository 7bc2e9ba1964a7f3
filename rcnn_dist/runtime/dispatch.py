"""Which job goes to which worker next: a pure state machine, without Ray and without a clock.

Events come in (a worker is ready, a job is done, a worker died, a probe found a killer), submissions go out. At most `max_in_flight`
jobs are with a worker: one that it computes and one that waits there, so that no worker idles and nothing piles up.

A task whose workers died SUSPECT_AFTER times is suspected of holding items (images) that kill: it is bisected by probes, which run some
items apart and tell whether that survived. An item that died alone PROBE_ATTEMPTS times is quarantined, and the task goes out again
without it. A worker's own death never quarantines an item, so machines that fail cannot cost an image.

Tasks may lie in lanes: a node, which workers share, has tasks of one lane at a time, because its memory would not hold what two need.
A node keeps its lane while it has tasks; then it takes the lane with the fewest nodes, the first of those.
"""

from collections import Counter, deque
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


@dataclass(slots=True)
class _Worker:
    node: str
    jobs: list[Job] = field(default_factory=list)


class Dispatcher:
    """Tasks 0..n-1 over workers that come and go; every task is done once, or `exhausted` names it.

    Args:
        sizes: the number of items of each task that can be probed, 0 for a task that cannot be bisected.
        lanes: of each task; None: one lane.
    """

    def __init__(self, sizes: Sequence[int], max_in_flight: int = 2, lanes: Sequence[str] | None = None) -> None:
        self._tasks = [_Task(size) for size in sizes]
        self._lanes = [""] * len(sizes) if lanes is None else lanes
        self._waiting: dict[str, deque[Job]] = {lane: deque() for lane in self._lanes}
        for i, lane in enumerate(self._lanes):
            self._waiting[lane].append(Job(i))
        self._max_in_flight = max_in_flight
        self._workers: dict[str, _Worker] = {}
        self._lane_of: dict[str, str | None] = {}  # node -> the lane of its latest job
        self._undone = len(sizes)
        self.exhausted: int | None = None  # a task whose workers die and no item is to blame

    @property
    def finished(self) -> bool:
        return self._undone == 0

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(self._workers)

    @property
    def unfinished(self) -> int:
        """Tasks that are not done."""
        return self._undone

    def quarantined(self, task: int) -> dict[int, str]:
        """Item -> reason, of the items that a task goes without."""
        return dict(self._tasks[task].quarantined)

    def add_worker(self, worker: str, node: str = "") -> None:
        self._workers[worker] = _Worker(node)
        self._lane_of.setdefault(node, None)

    def done(self, worker: str, job: Job) -> None:
        """A task is done, or a probe survived."""
        self._workers[worker].jobs.remove(job)
        if job.items is None:
            self._undone -= 1
        else:
            self._end_probe(job.task)

    def probe_died(self, worker: str, job: Job, reason: str) -> None:
        """The items of a probe killed the process that ran them."""
        self._workers[worker].jobs.remove(job)
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
        dead = self._workers.pop(worker)
        if all(other.node != dead.node for other in self._workers.values()):
            del self._lane_of[dead.node]
        suspected = bool(dead.jobs) and self._suspect(dead.jobs[0])
        for job in reversed(dead.jobs[1:] if suspected else dead.jobs):
            self._give_first(job)

    def submissions(self, starting: int = 0) -> list[Submission]:
        """What to give out now: jobs in order, to the worker with the fewest; none waits there that a starting worker would compute."""
        given = []
        while self._workers and (waiting := sum(map(len, self._waiting.values()))):
            lanes = self._lanes_to_take()
            name, worker = min(self._workers.items(), key=lambda item: (item[1].node not in lanes, len(item[1].jobs)))
            busy = len(worker.jobs)
            if worker.node not in lanes or busy >= self._max_in_flight or (busy and waiting <= starting):
                break
            lane = self._lane_of[worker.node] = lanes[worker.node]
            job = self._waiting[lane].popleft()
            worker.jobs.append(job)
            given.append(Submission(name, job))
        return given

    def _lanes_to_take(self) -> dict[str, str]:
        """Node -> the lane of the next job that it may be given; without nodes that must first end what they have."""
        waiting = [lane for lane, jobs in self._waiting.items() if jobs]
        lanes = {node: lane for node, lane in self._lane_of.items() if lane in waiting}
        if len(lanes) < len(self._lane_of):
            at_work = {worker.node for worker in self._workers.values() if worker.jobs}
            nodes_on = Counter(self._lane_of.values())
            lanes |= {node: min(waiting, key=nodes_on.__getitem__) for node in self._lane_of if node not in lanes and node not in at_work}
        return lanes

    def _give_first(self, job: Job) -> None:
        self._waiting[self._lanes[job.task]].appendleft(job)

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
        self._give_first(Job(index, items))

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
        self._give_first(Job(index))
