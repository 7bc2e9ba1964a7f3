"""The executor without a cluster: one task after the other in this process, for tests and debugging."""

from collections.abc import Callable, Iterator, Sequence
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

    def gang(self, work: Callable[[], None], workers: int, storage: str) -> None:  # noqa: ARG002  nothing is kept
        """One process is all there is."""
        if workers != 1:
            raise ValueError(f"{workers} processes: here is one")
        set_threads(self._threads)
        work()
