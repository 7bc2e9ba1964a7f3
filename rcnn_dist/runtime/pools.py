"""Where an executor's jobs run on Ray: slots for short tasks on any CPU, or actors that keep a worker (a network on a GPU)."""

import logging
import math
import time
from typing import Any

import ray
from ray import exceptions
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError
from rcnn_dist.runtime.memory import tune_memory
from rcnn_dist.runtime.probe import probe
from rcnn_dist.runtime.threads import set_threads
from rcnn_dist.runtime.watchdog import Limits, images_of, limited, start_guard

logger = logging.getLogger(__name__)

_NODE_LOST = (exceptions.NodeDiedError, exceptions.TaskUnschedulableError)
DEATHS = (
    exceptions.ActorDiedError,
    exceptions.ActorUnavailableError,
    exceptions.OutOfMemoryError,
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    *_NODE_LOST,
)
MAX_FAILED_STARTS = 5
_LOOK_EVERY_S = 5.0


@ray.remote
def _run_task(work: Any, task: Any, threads: int, limits: Limits, is_probe: bool) -> Any:
    if is_probe:
        return probe(work, task, limits, threads)
    with limited(limits, images_of(task)):
        tune_memory()
        worker = work.make_worker()
        set_threads(threads)
        return worker.run(task)


class Slots:
    """A slot stands for one short task in the cluster's queue; twice as many as can run, so that no CPU waits for the driver.

    Args:
        pinned: a slot's tasks run on one node, else wherever Ray finds room.
    """

    max_in_flight = 1
    workers_starting = 0

    def __init__(self, work: Any, runtime: RuntimeSection, pinned: bool = False) -> None:
        self.starting: dict[Any, str] = {}
        self._runtime = runtime
        self._limits = Limits.of(runtime)
        self._shared = ray.put(work)
        self._options = {"num_cpus": runtime.threads_per_worker, "max_retries": 0}
        self._pinned = pinned
        self._nodes: dict[str, str] = {}  # slot -> node; no name of one where slots are not pinned
        self._lost: set[str] = set()
        self._looked = -math.inf

    def open(self, unfinished: int) -> list[str]:
        """Further slots where the cluster has grown, at most for so many tasks."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return []
        self._looked = time.monotonic()
        fitting = self._runtime.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // self._runtime.threads_per_worker)
        count = min(2 * fitting, unfinished)
        if self._pinned:  # tasks that wait for one node ask an autoscaler for no other
            request_resources(num_cpus=count * self._runtime.threads_per_worker)
        wanted = dict(self._slots(2 * fitting)[:count])
        opened = [name for name in wanted if name not in self._nodes]
        self._nodes |= wanted
        return opened

    def node(self, worker: str) -> str:
        return self._nodes[worker]

    def together(self, worker: str) -> list[str]:
        return [worker]

    def submit(self, worker: str, task: Any, is_probe: bool) -> Any:
        where = NodeAffinitySchedulingStrategy(self._nodes[worker], soft=False) if self._pinned else None
        remote = _run_task.options(scheduling_strategy=where, **self._options).remote
        return remote(self._shared, task, self._runtime.threads_per_worker, self._limits, is_probe)

    def replace(self, worker: str, error: Exception) -> list[str]:
        """The workers that can be given jobs at once in place of a dead one."""
        if self._pinned and isinstance(error, _NODE_LOST):
            self._lost.add(self._nodes[worker])
            self._looked = -math.inf
        return [] if self._nodes[worker] in self._lost else [worker]

    def close(self) -> None:
        if self._pinned:
            request_resources()

    def _slots(self, count: int) -> list[tuple[str, str]]:
        """Names and nodes; of nodes, which Ray still counts for a while after their end, without those that were lost."""
        if not self._pinned:
            return [(f"slot-{i}", "") for i in range(count)]
        nodes = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
        fitting = {node: cpus // self._runtime.threads_per_worker for node, cpus in nodes.items() if node not in self._lost}
        return [(f"slot-{i}@{node[:12]}", node) for i, node in sorted((i, node) for node in fitting for i in range(2 * fitting[node]))]


class _Actor:
    """A process that keeps its worker; built by `ready`, so that a GPU is only touched by the process that owns it.

    Several of its threads may `run` at once: the worker keeps nothing of a task.
    """

    def __init__(self, work: Any, threads: int, limits: Limits) -> None:
        self._work = work
        self._threads = threads
        self._limits = limits
        self._worker: Any = None

    def ready(self) -> str:
        """The node that it is on, once it can work."""
        start_guard(self._limits.stopped_s)
        tune_memory()
        self._worker = self._work.make_worker()
        set_threads(self._threads)
        return str(ray.get_runtime_context().get_node_id())

    def run(self, task: Any, is_probe: bool) -> Any:
        if is_probe:
            return probe(self._work, task, self._limits, self._threads)
        set_threads(self._threads)  # OpenMP counts for each thread that calls it
        with limited(self._limits, images_of(task)):
            return self._worker.run(task)


_remote: Any = ray.remote  # its declared options lack the groups of calls


class Actors:
    """Long-lived processes: as many as fit the cluster as it is now, replaced when they die, ended with the call.

    Each has `shards_at_once` threads, and each of these is a worker. Where several were at work, nobody knows which of them a process died
    of; so processes of one thread take its place, and the next death is its task's own.
    """

    max_in_flight = 2

    def __init__(self, work: Any, runtime: RuntimeSection) -> None:
        self.starting: dict[Any, str] = {}
        self._runtime = runtime
        self._shared = ray.put(work)
        self._for_one = worker_resources(runtime)  # now: the GPUs may be lost later
        self._at_once = 1 if self._for_one["num_gpus"] else runtime.shards_at_once or 1
        self._resources = _times(self._at_once, self._for_one)
        self._actors: dict[str, Any] = {}
        self._workers: dict[str, list[str]] = {}  # of each actor, one per thread
        self._nodes: dict[str, str] = {}
        self._started = 0
        self._failed_starts = 0
        self._looked = -math.inf
        self._waiting_since = time.monotonic()
        self._warned = False

    def open(self, unfinished: int) -> list[str]:
        """Starts actors where the cluster has room for more; none of them is ready at once.

        Raises:
            ClusterError: no worker is there and none can start, for `start_timeout_s`.
        """
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            most = self._runtime.gpu_workers or self._runtime.workers or max(1, _fitting(self._resources))
            wanted = min(math.ceil(unfinished / self._at_once), most)
            for _ in range(wanted - math.ceil(sum(map(len, self._workers.values())) / self._at_once)):
                self._start(self._at_once)
        self._say_if_late(now)
        return []

    @property
    def workers_starting(self) -> int:
        return sum(len(self._workers[actor]) for actor in self.starting.values())

    def node(self, worker: str) -> str:
        return self._nodes[_actor_of(worker)]

    def together(self, worker: str) -> list[str]:
        """The workers of one process: they die together."""
        return self._workers[_actor_of(worker)]

    def submit(self, worker: str, task: Any, is_probe: bool) -> Any:
        return self._actors[_actor_of(worker)].run.options(concurrency_group=_thread_of(worker)).remote(task, is_probe)

    def welcome(self, reference: Any) -> list[str]:
        """The workers of the process that has started; none where it died before, then another one starts.

        Raises:
            ClusterError: workers die again and again while they start.
        """
        name = self.starting.pop(reference)
        try:
            self._nodes[name] = ray.get(reference)
        except DEATHS as error:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise ClusterError(
                    f"{self._failed_starts} workers died while they started, so it is the work's own: a network or model that no process "
                    f"survives ({str(error).splitlines()[0]}); Ray's logs hold their last words"
                ) from error
            self.replace(name, error)
            return []
        self._failed_starts = 0
        self._warned = False
        return self._workers[name]

    def replace(self, worker: str, error: Exception) -> list[str]:  # noqa: ARG002  whatever it died of
        """Starts processes in place of a worker's; none of them is ready at once."""
        actor = _actor_of(worker)
        ray.kill(self._actors.pop(actor))
        for _ in self._workers.pop(actor):
            self._start(1)
        return []

    def close(self) -> None:
        for actor in self._actors.values():
            ray.kill(actor)

    def _start(self, threads: int) -> None:
        if not self.starting:
            self._waiting_since = time.monotonic()
        name = f"actor-{self._started}"
        self._started += 1
        self._workers[name] = [f"{name}.{i}" for i in range(threads)] if threads > 1 else [name]
        options = {"max_restarts": 0, **_times(threads, self._for_one)}
        groups = {_thread_of(worker): 1 for worker in self._workers[name]} if threads > 1 else None
        actor_class = _remote(concurrency_groups=groups)(_Actor)
        actor = actor_class.options(**options).remote(self._shared, self._runtime.threads_per_worker, Limits.of(self._runtime))
        self._actors[name] = actor
        self.starting[actor.ready.remote()] = name

    def _say_if_late(self, now: float) -> None:
        """Says what waiting workers lack; gives up where no worker at all is left and none can start."""
        if not self.starting or now - self._waiting_since < self._runtime.start_timeout_s:
            return
        nobody = len(self.starting) == len(self._actors)
        if self._warned and not (nobody and _fitting(self._resources) == 0):
            return
        asked = ", ".join(f"{amount:g} {RESOURCE_NAMES[key]}" for key, amount in self._resources.items() if amount)
        total, free = ray.cluster_resources(), ray.available_resources()
        has = ", ".join(f"{total.get(n, 0):g} {n} ({free.get(n, 0):g} free)" for n in ("GPU", "CPU"))
        message = f"{len(self.starting)} of {len(self._actors)} workers wait for {asked} each; the cluster has {has}"
        if nobody and _fitting(self._resources) == 0:
            raise ClusterError(f"{message}: add nodes, or lower runtime.workers, runtime.gpus_per_worker or runtime.threads_per_worker")
        logger.warning("%s: going on with %d", message, len(self._actors) - len(self.starting))
        self._warned = True


RESOURCE_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU"}


def worker_resources(runtime: RuntimeSection) -> dict[str, float]:
    """What a worker that computes asks Ray for, under the names of its options: `num_cpus`, `num_gpus`."""
    has_gpus = runtime.gpu_workers is not None or ray.cluster_resources().get("GPU", 0) > 0
    gpus = (1 if has_gpus else 0) if runtime.gpus_per_worker is None else runtime.gpus_per_worker
    return {"num_cpus": runtime.threads_per_worker, "num_gpus": gpus}


def _times(count: int, resources: dict[str, float]) -> dict[str, float]:
    """What so many threads of one process ask for: CPUs each, a GPU together."""
    return {**resources, "num_cpus": count * resources["num_cpus"]}


def _actor_of(worker: str) -> str:
    return worker.partition(".")[0]


def _thread_of(worker: str) -> str | None:
    """The thread of its process, by the name of its group of calls; None for the main one, where there is no other."""
    _, _, number = worker.partition(".")
    return f"thread-{number}" if number else None


def _fitting(resources: dict[str, float]) -> int:
    """How many workers fit into the whole cluster, were it empty."""
    total = ray.cluster_resources()
    fits = [total.get(RESOURCE_NAMES[key], 0) / amount for key, amount in resources.items() if amount]
    return math.floor(min(fits, default=1))
