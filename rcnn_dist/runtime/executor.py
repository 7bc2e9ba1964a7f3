"""The executor without a cluster: one task after the other in this process, for tests and debugging."""

from collections.abc import Iterator, Sequence
from typing import Any

from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.stages.base import Work


class InProcessExecutor:
    """Runs tasks in order; an exception ends the run where it happened."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]:
        if not tasks:
            return
        worker = work.make_worker()
        for task in tasks:
            set_threads(self._threads)
            yield worker.run(task)
