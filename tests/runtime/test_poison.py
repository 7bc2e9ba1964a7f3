"""Images that no process survives: found, left out with their reason, and no byte of the others changes."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from rcnn_dist import driver
from rcnn_dist.config import RuntimeSection, make_config
from rcnn_dist.data.shapes import ShapesParams, generate_shapes
from rcnn_dist.runtime.probe import probe
from rcnn_dist.runtime.ray_executor import RayExecutor
from rcnn_dist.runtime.watchdog import Limits
from rcnn_dist.stages.base import ShardTask
from rcnn_dist.stages.shard_worker import ShardWorker
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.manifest import read_marker
from rcnn_dist.store.schema import PROPOSALS
from rcnn_dist.store.tables import make_table
from tests.runtime import poison_network


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
                signal.raise_signal(signal.SIGSEGV)  # in this thread, as a crash is
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
    """A cluster whose workers can import poison_network."""
    here = str(Path(poison_network.__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(here)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
        ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["PoisonWork"]))
        yield
        ray.shutdown()


@pytest.mark.parametrize(
    ("heavy", "poisonous", "settings"),
    [
        (False, (CRASH, HANG), {"workers": 2, "image_timeout_s": 1.5}),
        (True, (CRASH, EAT), {"workers": 2, "worker_memory_gb": 0.6}),
        (True, (CRASH, HANG), {"shards_at_once": 2, "image_timeout_s": 1.5}),
    ],
)
def test_images_that_crash_hang_or_eat_memory_are_left_out_and_the_others_keep_their_bytes(cluster, heavy, poisonous, settings, tmp_path):
    tasks = [GOOD, *(task for task, _ in poisonous)]
    expected = PoisonWork(str(tmp_path / "expected"), heavy, survives=True).make_worker()
    for task in tasks:
        expected.run(task)
    work = PoisonWork(str(tmp_path / "found"), heavy)
    reports = list(RayExecutor(RuntimeSection(**settings)).map(work, tasks))
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


@pytest.fixture
def root(tmp_path):
    """Training images among which one crashes its network, one is a pipe that nobody writes to, and one is too large for a worker."""
    params = ShapesParams(
        images={"train": 4, "test": 2}, classes=("striped_disc", "dotted_triangle"), min_size=(90, 70), max_size=(120, 90)
    )
    generate_shapes(str(tmp_path), params)
    voc = tmp_path / "VOC2007"
    Image.new("RGB", (100, 80), poison_network.CRASH).save(voc / "JPEGImages" / "crash.png")
    os.mkfifo(voc / "JPEGImages" / "hang.jpg")
    Image.new("L", (14000, 14000)).save(voc / "JPEGImages" / "large.png", compress_level=1)
    listed = voc / "ImageSets" / "Main" / "trainval.txt"
    listed.write_text("large\nhang\ncrash\n" + listed.read_text())
    return tmp_path


def test_a_whole_run_leaves_such_images_out_and_ends_with_detections(cluster, root, tmp_path):
    network = {"name": "poison_network:network", "taps": {"fc7": "3"}, "pool": "flatten"}

    def config(executor):
        tree = {
            "run": {"dir": str(tmp_path / "run"), "shard_images": 1},
            "data": {"root": str(root), "max_pixels": 200_000_000},
            "proposals": {"source": "sliding_window"},
            "network": {**network, "input_size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]},
            "warp": {"context_padding": 2},
            "extract": {"layers": ["fc7"], "max_proposals": 16},
            "regress": {"layer": "fc7"},
            "runtime": {"executor": executor, "workers": 2, "image_timeout_s": 5.0, "worker_memory_gb": 1.8},
        }
        return make_config(tree)

    driver.run_stages(config("ray"), ("propose", "extract"))
    driver.run_stages(config("in_process"), ("train", "detect", "evaluate", "report"))
    failures = pq.read_table(tmp_path / "run" / "failures" / "extract-train.parquet").to_pylist()
    assert {row["image_id"]: (row["stage"], row["reason"]) for row in failures} == {
        "large": ("propose", "quarantined: needed more than 1.8 GB of memory"),
        "hang": ("propose", "quarantined: took longer than 5 s"),
        "crash": ("extract", "quarantined: crashed the process (SIGSEGV)"),
    }
    found = verify_run(str(tmp_path / "run"))
    assert (found.damaged, found.unfinished) == ([], [])
    assert found.images == found.images_with_rows + found.failures
    assert pq.read_table(next((tmp_path / "run" / "detections").glob("*/test"))).num_rows > 0
    assert "quarantined: crashed the process" in (tmp_path / "run" / "report" / "index.html").read_text()
