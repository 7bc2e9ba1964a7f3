"""What workers hold does not grow with the images they go through (extraction: test_overlap.py)."""

import shutil
import weakref
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rcnn_dist import driver
from rcnn_dist.stages import detect, extract, mine, propose
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, shards
from rcnn_dist.store.tensors import save_tensors


@pytest.fixture
def one_shard(small_config, monkeypatch):
    """A run whose test images are the twelve training images, all in one shard, a row group each, and trained models."""
    monkeypatch.setattr(shards, "MIN_ROW_GROUP", 1)
    config = small_config(data={"test": "trainval"}, run={"shard_images": 12}, proposals={"source": "sliding_window"})
    driver.run_stages(config, ("propose", "extract", "train"))
    return Run(config)


def peak_bytes(action):
    """The most memory that Arrow held during a call."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    try:
        action()
    finally:
        pa.set_memory_pool(before)
    return pool.max_memory()


def table_bytes(run, split):
    return sum(t.nbytes for _, t in shards.read_images(files.join(extract.folder(run), split), "part-00000"))


def test_a_scan_holds_one_image_however_many_it_scans(one_shard):
    run, url = one_shard, files.join(one_shard.url, "detectors")
    nothing = {"weights": np.zeros((2, 512), np.float32), "biases": np.full(2, -10, np.float32)}
    save_tensors(url, nothing, {})
    work = mine.ScanWork(run, files.join(extract.folder(run), "train"), run.url, 20.0)
    ids = run.image_ids("train")
    few, all_of_them = (peak_bytes(lambda n=n: work.run(mine.ScanTask(n, "part-00000", ids[:n], url))) for n in (4, 12))
    assert all_of_them <= 1.02 * few < table_bytes(run, "train") / 4


def test_detection_from_stored_features_holds_one_image_however_many_it_has(one_shard):
    run = one_shard
    stage = detect.DetectStage(run)
    worker, (task,) = stage.make_worker(), stage.tasks("test")

    def run_on(count):
        worker.run(replace(task, image_ids=task.image_ids[:count]))
        shutil.rmtree(stage.folder("test"))

    few, all_of_them = (peak_bytes(lambda n=n: run_on(n)) for n in (4, 12))
    assert all_of_them <= 1.1 * few < table_bytes(run, "test") / 4


def test_proposing_holds_one_image_however_many_it_has(one_shard, monkeypatch):
    run, living, most = one_shard, [], []
    read = propose.read_image

    def counted(*arguments):
        image = read(*arguments)
        living.append(weakref.ref(image))
        most.append(sum(reference() is not None for reference in living))
        return image

    monkeypatch.setattr(propose, "read_image", counted)
    stage = propose.ProposeStage(run)
    (task,) = stage.tasks("train")
    shutil.rmtree(stage.folder("train"))
    stage.make_worker().run(task)
    assert len(living) == 12 and max(most) <= 2
