"""The executor on Ray: short tasks on any CPU, long-lived actors where a worker is worth keeping (a network on a GPU)."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError, WorkerCrashedError

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime.dispatch import MAX_ATTEMPTS, Dispatcher
from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.stages.base import Work

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_TASKS = "tasks"  # the one name under which the dispatcher sees the cluster's task slots


@ray.remote
def _run_task(work: Work, task: Any, threads: int) -> Any:
    worker = work.make_worker()
    set_threads(threads)
    return worker.run(task)


class _Actor:
    """A process that keeps its worker; built in the actor so that a GPU is only touched by the process that owns it."""

    def __init__(self, work: Work, threads: int) -> None:
        self._threads = threads
        self._worker = work.make_worker()

    def ready(self) -> None:
        set_threads(self._threads)

    def run(self, task: Any) -> Any:
        return self._worker.run(task)


_RemoteActor: Any = ray.remote(_Actor)


class RayExecutor:
    """Maps tasks over the connected cluster; reports come as they end, at most a few tasks per worker are in flight."""

    def __init__(self, runtime: RuntimeSection) -> None:
        self._runtime = runtime

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]:
        """Runs every task once.

        Raises:
            ClusterError: no worker could start, or a task's worker died several times.
        """
        if not tasks:
            return
        yield from self._map_actors(work, tasks) if work.heavy else self._map_tasks(work, tasks)

    def _map_tasks(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]:
        threads = self._runtime.threads_per_worker
        slots = self._runtime.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        dispatcher = Dispatcher(len(tasks), max_in_flight=2 * slots)
        dispatcher.add_worker(_TASKS)
        shared = ray.put(work)
        remote = _run_task.options(num_cpus=threads, max_retries=MAX_ATTEMPTS - 1)
        pending: dict[Any, int] = {}
        while not dispatcher.finished:
            pending |= {remote.remote(shared, tasks[s.task], threads): s.task for s in dispatcher.submissions()}
            for reference in ray.wait(list(pending), num_returns=1)[0]:
                task = pending.pop(reference)
                try:
                    report = ray.get(reference)
                except RayTaskError as error:
                    raise error.as_instanceof_cause() from None
                except WorkerCrashedError as error:
                    raise ClusterError(f"the process of {tasks[task]!r} died {MAX_ATTEMPTS} times: {error}") from error
                dispatcher.done(_TASKS, task)
                yield report

    def _map_actors(self, work: Work, tasks: Sequence[Any]) -> Iterator[Any]:
        pool = _ActorPool(work, self._runtime, len(tasks))
        try:
            yield from pool.run(tasks)
        finally:
            pool.close()


class _ActorPool:
    """Actors of one map call: started together, replaced when they die, ended with the call."""

    def __init__(self, work: Work, runtime: RuntimeSection, n_tasks: int) -> None:
        self._runtime = runtime
        self._shared = ray.put(work)
        self._resources = _actor_resources(runtime)
        self._wanted = min(n_tasks, runtime.workers or _fitting_actors(self._resources))
        self._actors: dict[str, Any] = {}
        self._starting: dict[Any, str] = {}
        self._started = 0

    def run(self, tasks: Sequence[Any]) -> Iterator[Any]:
        dispatcher = Dispatcher(len(tasks))
        pending: dict[Any, tuple[str, int]] = {}
        for _ in range(self._wanted):
            self._start()
        deadline: float | None = time.monotonic() + self._runtime.start_timeout_s
        while not dispatcher.finished:
            for s in dispatcher.submissions():
                pending[self._actors[s.worker].run.remote(tasks[s.task])] = (s.worker, s.task)
            deadline = self._warn_if_late(deadline, bool(dispatcher.workers))
            for reference in ray.wait([*self._starting, *pending], num_returns=1, timeout=_POLL_S)[0]:
                if reference in self._starting:
                    self._welcome(reference, dispatcher)
                elif reference in pending:
                    worker, task = pending.pop(reference)
                    try:
                        report = ray.get(reference)
                    except RayTaskError as error:
                        raise error.as_instanceof_cause() from None
                    except (ActorDiedError, ActorUnavailableError, RayActorError) as error:
                        self._replace(worker, dispatcher, pending, tasks, error)
                    else:
                        dispatcher.done(worker, task)
                        yield report

    def close(self) -> None:
        for actor in self._actors.values():
            ray.kill(actor)

    def _start(self) -> None:
        name = f"actor-{self._started}"
        self._started += 1
        actor = _RemoteActor.options(max_restarts=0, **self._resources).remote(self._shared, self._runtime.threads_per_worker)
        self._actors[name] = actor
        self._starting[actor.ready.remote()] = name

    def _welcome(self, reference: Any, dispatcher: Dispatcher) -> None:
        name = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except RayActorError as error:
            cause = error.__cause__
            raise ClusterError(f"a worker could not start: {error}") from cause
        dispatcher.add_worker(name)

    def _replace(self, worker: str, dispatcher: Dispatcher, pending: dict[Any, Any], tasks: Sequence[Any], error: Exception) -> None:
        for reference in [r for r, (name, _) in pending.items() if name == worker]:
            del pending[reference]
        self._actors.pop(worker)
        dispatcher.worker_died(worker)
        if dispatcher.exhausted is not None:
            raise ClusterError(f"the process of {tasks[dispatcher.exhausted]!r} died {MAX_ATTEMPTS} times: {error}") from error
        logger.warning("a worker died and is replaced: %s", str(error).splitlines()[0])
        self._start()

    def _warn_if_late(self, deadline: float | None, any_ready: bool) -> float | None:
        """Says once what waiting workers lack; gives up where no worker at all can start."""
        if not self._starting or deadline is None or time.monotonic() < deadline:
            return deadline
        asked = ", ".join(f"{amount:g} {_RESOURCE_NAMES[key]}" for key, amount in self._resources.items() if amount)
        total = ray.cluster_resources()
        free = ray.available_resources()
        has = ", ".join(f"{total.get(n, 0):g} {n} ({free.get(n, 0):g} free)" for n in ("GPU", "CPU"))
        message = f"{len(self._starting)} of {self._wanted} workers wait for {asked} each; the cluster has {has}"
        if not any_ready and _fitting_actors(self._resources) == 0:
            raise ClusterError(f"{message}: add nodes, or lower runtime.workers, runtime.gpus_per_worker or runtime.threads_per_worker")
        logger.warning("%s: going on with %d", message, self._wanted - len(self._starting))
        return None


_RESOURCE_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}


def _actor_resources(runtime: RuntimeSection) -> dict[str, float]:
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    gpus = (1 if has_gpus else 0) if runtime.gpus_per_worker is None else runtime.gpus_per_worker
    return {"num_cpus": runtime.threads_per_worker, "num_gpus": gpus}


def _fitting_actors(resources: dict[str, float]) -> int:
    """How many workers fit into the whole cluster, were it empty."""
    total = ray.cluster_resources()
    fits = [total.get(_RESOURCE_NAMES[key], 0) / amount for key, amount in resources.items() if amount]
    return math.floor(min(fits, default=1))
