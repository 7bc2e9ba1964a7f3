"""Extraction whose steps overlap: whatever is slow, the bytes are the same, the memory bounded, and an error names its image."""

import random
import shutil
import time
import weakref
from pathlib import Path

import pytest

from rcnn_dist import driver
from rcnn_dist.errors import ConfigError
from rcnn_dist.features.extract import Extractor
from rcnn_dist.stages import extract, propose
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.manifest import MANIFEST, read_signed
from rcnn_dist.store.shards import ShardWriter


@pytest.fixture
def proposed(small_config, tmp_path):
    """Makes configurations of runs whose proposals stand: one shard of all training images, regions in batches of 16."""
    whole = small_config(run={"dir": str(tmp_path / "proposed"), "shard_images": 12, "stages": ["propose", "extract"]})
    driver.run_stages(whole, ("propose",))

    def make(name):
        shutil.copytree(whole.run.dir, tmp_path / name)
        return small_config(run={"dir": str(tmp_path / name), "shard_images": 12, "stages": ["propose", "extract"]})

    return make


def delay(monkeypatch, owner, name, seconds):
    """Makes a function late, by what `seconds` gives each time."""
    original = getattr(owner, name)

    def late(*arguments, **keywords):
        time.sleep(seconds())
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, late)


def test_whatever_is_late_the_bytes_are_the_same_and_all_phases_are_counted(proposed, monkeypatch):
    digests, dice = set(), random.Random(5)
    for name in ("undisturbed", "first", "second"):
        config = proposed(name)
        with monkeypatch.context() as patch:
            if name != "undisturbed":
                for owner, step in ((propose, "read_image"), (Extractor, "forward"), (ShardWriter, "add"), (Extractor, "rows")):
                    delay(patch, owner, step, lambda: dice.choice([0, 0, 0.001, 0.01]))
            driver.run_stages(config, ("extract",))
        digests.add(verify_run(config.run.dir).digest)
    assert len(digests) == 1
    (table,) = Path(config.run.dir, "features").iterdir()
    seconds = read_signed(str(table / "train" / MANIFEST))["seconds"]
    assert sorted(seconds) == ["forward", "read", "wait", "warp", "write"]
    assert all(value > 0 for value in seconds.values())


class Living:
    """Counts the arrays of a kind that live."""

    def __init__(self):
        self.count = self.most = self.ever = 0

    def add(self, array):
        self.count += 1
        self.ever += 1
        self.most = max(self.most, self.count)
        weakref.finalize(array, self.remove)
        return array

    def remove(self):
        self.count -= 1


@pytest.mark.parametrize("times", [1, 3])
def test_a_slow_writer_slows_the_producers_and_nothing_grows(proposed, monkeypatch, times):
    """Three times the images, the same bounds."""
    images, batches, features = Living(), Living(), Living()
    read, warp, forward = propose.read_image, Extractor.warp, Extractor.forward
    monkeypatch.setattr(propose, "read_image", lambda *arguments: images.add(read(*arguments)))
    monkeypatch.setattr(Extractor, "warp", lambda *arguments: (batches.add(batch) for batch in warp(*arguments)))
    monkeypatch.setattr(Extractor, "forward", lambda *arguments: {k: features.add(v) for k, v in forward(*arguments).items()})
    delay(monkeypatch, ShardWriter, "add", lambda: 0.02)
    config = proposed("run")
    stage = extract.ExtractStage(extract.Run(config))
    (task,) = stage.tasks("train")
    worker = stage.make_worker()
    for i in range(times):
        worker.run(extract.ShardTask("train", task.index, task.image_ids if i else task.image_ids[:9]))
        shutil.rmtree(stage.folder("train"))
    assert images.ever == 9 + 12 * (times - 1)
    assert images.most <= extract.IMAGES_AHEAD + 2
    assert batches.most <= 2 < batches.ever / 9
    per_image = 2 * 5  # two layers, 60 proposals and an object in batches of 16
    assert features.most <= per_image * (extract.IMAGES_BEHIND + 1) < features.ever / 2


def test_an_exception_names_its_image_although_others_are_under_way(proposed, monkeypatch):
    config, calls = proposed("run"), []
    rows = Extractor.rows

    def damaged(self, batches, count):
        calls.append(count)
        if len(calls) == 4:
            batches[0]["fc7"] = batches[0]["fc7"] * float("nan")
        return rows(self, batches, count)

    monkeypatch.setattr(Extractor, "rows", damaged)
    fourth = extract.Run(config).image_ids("train")[3]
    with pytest.raises(ConfigError, match=f"image {fourth}: network tiny: layer fc7 has values that are not finite"):
        driver.run_stages(config, ("extract",))
    assert not list(Path(config.run.dir).glob("features/*/train/*.parquet"))


def test_a_region_that_cannot_be_warped_is_named_with_its_image(proposed, monkeypatch):
    config = proposed("run")
    third = extract.Run(config).image_ids("train")[2]
    boxes_of, calls = extract.boxes_of, []

    def off_the_image(table):
        calls.append(table)
        return boxes_of(table) + (1e6 if len(calls) == 3 else 0)

    monkeypatch.setattr(extract, "boxes_of", off_the_image)
    with pytest.raises(ValueError, match=rf"image {third}: region \d+, box .* shows no pixel"):
        driver.run_stages(config, ("extract",))
