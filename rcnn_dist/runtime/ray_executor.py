"""The executor on Ray: carries jobs between the dispatcher, which decides, and a pool of workers, which may die."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime.dispatch import Dispatcher, Submission
from rcnn_dist.runtime.events import EventSink
from rcnn_dist.runtime.gang import run_gang
from rcnn_dist.runtime.pools import DEATHS, Actors, Slots
from rcnn_dist.stages.base import ShardTask, Work

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_LAST_RESULTS_S = 5.0


class RayExecutor:
    """Maps tasks over the connected cluster; reports come as they end, at most a few tasks per worker are in flight."""

    def __init__(self, runtime: RuntimeSection, emit: EventSink | None = None) -> None:
        self._runtime = runtime
        self._emit = emit or _nobody_listens

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]:
        """Runs every task once; images of a shard that no process survives are found and left out of it.

        Raises:
            ClusterError: no worker could start, or a task's worker died several times and no image is to blame.
        """
        if not tasks:
            return
        lanes = [task.lane if isinstance(task, ShardTask) else "" for task in tasks]
        pool = Actors(work, self._runtime) if work.heavy else Slots(work, self._runtime, pinned=len(set(lanes)) > 1)
        try:
            yield from _Call(pool, tasks, lanes, self._emit).run()
        finally:
            pool.close()

    def gang(self, work: Callable[[], None], workers: int, storage: str) -> None:
        """Runs `work` in so many processes at once, see `run_gang`."""
        run_gang(work, workers, self._runtime, storage)


class _Call:
    """One map call: which job is where, until all are done."""

    def __init__(self, pool: Actors | Slots, tasks: Sequence[Any], lanes: Sequence[str], emit: EventSink) -> None:
        self._pool = pool
        self._emit = emit
        self._tasks = tasks
        sizes = [len(task.image_ids) if isinstance(task, ShardTask) else 0 for task in tasks]
        self._dispatcher = Dispatcher(sizes, pool.max_in_flight, lanes)
        self._pending: dict[Any, Submission] = {}

    def run(self) -> Iterator[Any]:
        while not self._dispatcher.finished:
            for worker in self._pool.open(self._dispatcher.unfinished):
                self._add_worker(worker)
            for submission in self._dispatcher.submissions(self._pool.workers_starting):
                self._pending[self._submit(submission)] = submission
            references = [*self._pool.starting, *self._pending]
            if not references:  # no node is left to pin tasks to: another may come
                time.sleep(_POLL_S)
            for reference in ray.wait(references, num_returns=1, timeout=_POLL_S)[0]:
                if reference in self._pool.starting:
                    self._welcome(reference)
                elif reference in self._pending:
                    yield from self._collect(reference)

    def _submit(self, submission: Submission) -> Any:
        job = submission.job
        task = self._tasks[job.task]
        if job.items is not None:
            task = task.only(job.items)
        elif reasons := self._dispatcher.quarantined(job.task):
            task = task.without({i: f"quarantined: {reason}" for i, reason in reasons.items()})
        kind = "submitted" if job.items is None else "probed"
        self._emit(kind, task=self._name(job.task), worker=submission.worker)
        return self._pool.submit(submission.worker, task, job.items is not None)

    def _welcome(self, reference: Any) -> None:
        try:
            workers = self._pool.welcome(reference) if isinstance(self._pool, Actors) else []
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        for worker in workers:
            self._emit("worker_ready", worker=worker)
            self._add_worker(worker)

    def _add_worker(self, worker: str) -> None:
        self._dispatcher.add_worker(worker, self._pool.node(worker))

    def _collect(self, reference: Any) -> Iterator[Any]:
        """The report of a task, if that is what has ended."""
        submission = self._pending.pop(reference)
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except DEATHS as error:
            for worker in self._pool.together(submission.worker):
                yield from self._last_results(worker)
            self._bury(submission.worker, error)
        else:
            yield from self._take(submission, result)

    def _take(self, submission: Submission, result: Any) -> Iterator[Any]:
        worker, job = submission.worker, submission.job
        if job.items is not None and result is not None:
            logger.warning("%d of the images of %s: %s", len(job.items), self._name(job.task), result)
            self._emit("probe_died", task=self._name(job.task), images=list(self._tasks[job.task].only(job.items).image_ids), reason=result)
            self._dispatcher.probe_died(worker, job, result)
            return
        self._dispatcher.done(worker, job)
        if job.items is None:
            self._emit("done", task=self._name(job.task), worker=worker)
            yield result

    def _last_results(self, worker: str) -> Iterator[Any]:
        """What a worker had ended before it died: its last job alone is to blame."""
        for reference, submission in [(r, s) for r, s in self._pending.items() if s.worker == worker]:
            del self._pending[reference]
            with contextlib.suppress(*DEATHS, GetTimeoutError):
                yield from self._take(submission, ray.get(reference, timeout=_LAST_RESULTS_S))

    def _bury(self, worker: str, error: Exception) -> None:
        """Takes back what a dead process had and starts another."""
        for dead in self._pool.together(worker):
            self._emit("worker_died", worker=dead, reason=str(error).splitlines()[0])
            self._dispatcher.worker_died(dead)
        exhausted = self._dispatcher.exhausted
        if exhausted is not None:
            raise ClusterError(
                f"the process of {self._name(exhausted)} died several times and no image is to blame: {str(error).splitlines()[0]}"
            ) from error
        logger.warning("a worker died and is replaced: %s", str(error).splitlines()[0])
        for name in self._pool.replace(worker, error):
            self._add_worker(name)

    def _name(self, index: int) -> str:
        """A short name that no other task of its stage has."""
        task = self._tasks[index]
        if isinstance(task, ShardTask):
            return f"{task.split} {task.part}"
        keys = [f"{key} {getattr(task, key)}" for key in ("wave", "part", "class_index") if hasattr(task, key)]
        return " ".join([type(task).__name__, *keys]) if keys else repr(task)


def _nobody_listens(event: str, /, **fields: Any) -> None:
    pass
