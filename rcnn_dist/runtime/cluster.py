"""Reaching a Ray cluster, or starting a local one for the length of a run."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import ray

from rcnn_dist.config import RuntimeSection
from rcnn_dist.errors import ClusterError

_KNOCK_S = 10.0
_OBJECT_STORE_BYTES = 200 * 2**20  # features never pass through it


@contextmanager
def connected(runtime: RuntimeSection) -> Iterator[RuntimeSection]:
    """Connects for the length of a block; a cluster that already runs in this process is used and left as it is.

    Gives the settings as this cluster wants them: on a local one, which nobody else uses, an extraction process takes two shards at once.

    Raises:
        ClusterError: the address does not answer.
    """
    if ray.is_initialized():
        yield runtime
        return
    address = runtime.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        else:
            with _without_idle_helpers():
                ray.init(
                    address="local",  # never the cluster of somebody else on this machine
                    num_cpus=_local_cpus(runtime),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE_BYTES,
                )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {address or 'this machine'} does not start or answer: {error}") from error
    try:
        yield runtime if address else replace(runtime, shards_at_once=_shards_at_once(runtime))
    finally:
        ray.shutdown()


@contextmanager
def _without_idle_helpers() -> Iterator[None]:
    """Leaves out what Ray starts for every cluster and nobody asks on a local one: autoscaler, log reader, dashboard without pages.

    They take 170 MB, two seconds to start, and one to end. Ray has no option for it; where it has renamed these functions, they start.
    """
    node = ray._private.node.Node
    starts = {name: start for name in ("start_monitor", "start_log_monitor", "start_api_server") if (start := getattr(node, name, None))}
    for name in starts:
        setattr(node, name, _start_nothing)
    try:
        yield
    finally:
        for name, start in starts.items():
            setattr(node, name, start)


def _start_nothing(node: object, **options: object) -> None:
    pass


def describe_cluster(wanted: str | None) -> str:
    """What a cluster offers: nodes, CPUs, GPUs; without an address a local one is started for the question.

    Raises:
        ClusterError: it does not answer.
    """
    with connected(RuntimeSection(address=wanted)):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        total = ray.cluster_resources()
        return f"{len(nodes)} node{'s' * (len(nodes) != 1)}, {total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU"


def address() -> str:
    """Where another process reaches the cluster that this one is connected to."""
    return str(ray.get_runtime_context().gcs_address)


def _knock(address: str) -> None:
    """Raises an OSError where nothing listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _local_cpus(runtime: RuntimeSection) -> int:
    wanted = runtime.workers and runtime.workers * (runtime.shards_at_once or 1)
    return (wanted or len(os.sched_getaffinity(0))) * runtime.threads_per_worker


def _shards_at_once(runtime: RuntimeSection) -> int:
    """Two where no CPU stays idle so: two threads share torch and the network, which two processes hold twice."""
    even = runtime.workers is None and len(os.sched_getaffinity(0)) % 2 == 0
    return runtime.shards_at_once or (2 if even else 1)
