import contextlib
import os
from pathlib import Path

import ray

from rcnn_dist.config import RuntimeSection
from rcnn_dist.runtime.cluster import connected


def children():
    """The command lines of the processes that this one has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if f"PPid:\t{os.getpid()}\n" in (process / "status").read_text():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return " ".join(found)


def test_a_local_cluster_works_without_the_processes_that_nobody_asks():
    with connected(RuntimeSection()) as runtime:
        assert "raylet" in children()
        assert "monitor.py" not in children()
        assert "dashboard.py" not in children()
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
        assert runtime.shards_at_once == 2 - len(os.sched_getaffinity(0)) % 2
    with connected(RuntimeSection(workers=1, shards_at_once=3)) as runtime:
        assert ray.cluster_resources()["CPU"] == 3
        assert runtime.shards_at_once == 3
