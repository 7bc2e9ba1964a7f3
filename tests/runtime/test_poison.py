"""Images that no process survives: found, left out with their reason, and no byte of the others changes."""

import os
import signal
import time

import numpy as np
import pytest
import ray

from rcnn_dist.config import RuntimeSection
from rcnn_dist.runtime.probe import probe
from rcnn_dist.runtime.ray_executor import RayExecutor
from rcnn_dist.runtime.watchdog import Limits
from rcnn_dist.stages.base import ShardTask
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.store.manifest import read_marker
from rcnn_dist.store.schema import PROPOSALS
from rcnn_dist.store.tables import make_table


class PoisonWorker(ShardWorker):
    """Writes one row per image; where `survives`, a poisonous image is an ordinary failure."""

    name = "propose"

    def __init__(self, url, survives):
        super().__init__(url, PROPOSALS)
        self.survives = survives

    def fill(self, task, shard):
        for image_id in task.wanted:
            kind = image_id.split("-")[0]
            if kind != "good" and self.survives:
                shard.fail(image_id, self.name, "bad")
                continue
            if kind == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            if kind == "hang":
                time.sleep(1000)
            if kind == "eat":
                eaten = [np.ones(5_000_000) for _ in range(25)]
                time.sleep(1000 + len(eaten))
            values = {"width": [1], "height": [1], "region": [0], "x1": [0.0], "y1": [0.0], "x2": [1.0], "y2": [1.0]}
            shard.add(image_id, make_table(PROPOSALS, {"image_id": [image_id], **values}))


class PoisonWork:
    def __init__(self, url, heavy, survives=False):
        self.url, self.heavy, self.survives = url, heavy, survives

    def make_worker(self):
        return PoisonWorker(self.url, self.survives)


GOOD = ShardTask("train", 1, ("good-2", "good-3", "good-4"))
CRASH = ShardTask("train", 0, ("good-0", "crash-0", "good-1")), {"crash-0": "crashed the process (SIGSEGV)"}
HANG = ShardTask("train", 2, ("hang-0",)), {"hang-0": "took longer than 1.5 s"}
EAT = ShardTask("train", 3, ("eat-0",)), {"eat-0": "needed more than 0.6 GB of memory"}


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["PoisonWork"]))
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("heavy", "poisonous", "limits"),
    [(False, (CRASH, HANG), {"image_timeout_s": 1.5}), (True, (CRASH, EAT), {"worker_memory_gb": 0.6})],
)
def test_images_that_crash_hang_or_eat_memory_are_left_out_and_the_others_keep_their_bytes(cluster, heavy, poisonous, limits, tmp_path):
    tasks = [GOOD, *(task for task, _ in poisonous)]
    expected = PoisonWork(str(tmp_path / "expected"), heavy, survives=True).make_worker()
    for task in tasks:
        expected.run(task)
    work = PoisonWork(str(tmp_path / "found"), heavy)
    reports = list(RayExecutor(RuntimeSection(workers=2, **limits)).map(work, tasks))
    assert sorted(r.task.index for r in reports) == sorted(task.index for task in tasks)
    reasons = {f.image_id: f.reason for r in reports for f in r.failures}
    assert reasons == {image_id: f"quarantined: {reason}" for _, found in poisonous for image_id, reason in found.items()}
    for task in tasks:
        found, wanted = (read_marker(str(tmp_path / name / "train"), task.part) for name in ("found", "expected"))
        assert (found.sha256, found.images) == (wanted.sha256, wanted.images)
        assert [f.image_id for f in found.failures] == [f.image_id for f in wanted.failures]


def test_a_probe_tells_how_its_process_died_and_an_exception_is_no_death(cluster, tmp_path):
    class Raises:
        def make_worker(self):
            return self

        def probe(self, task):
            raise {"exception": ValueError, "memory": MemoryError, "exit": SystemExit}[task]

    assert probe(Raises(), "exception", Limits(), 1) is None
    assert probe(Raises(), "memory", Limits(memory_bytes=2**30), 1) == "needed more memory than there is (limit 1.0 GB)"
    assert probe(Raises(), "exit", Limits(), 1) is None
