import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rcnn_dist import driver
from rcnn_dist.cli import app
from rcnn_dist.errors import DamagedFileError
from rcnn_dist.stages import extract, propose, retry
from rcnn_dist.stages.plan import changed_fields, read_plan
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.manifest import Marker, read_marker, write_marker


def command(*arguments):
    result = CliRunner().invoke(app, ["runs", *arguments])
    return result.exit_code, result.output


def status(config, *arguments):
    code, output = command("status", config.run.dir, "--json", *arguments)
    assert code == 0, output
    return json.loads(output)


@pytest.fixture
def bad_root(shapes_root, tmp_path):
    """The shapes with one empty training image; its good bytes lie beside."""
    root = tmp_path / "bad"
    shutil.copytree(shapes_root, root)
    ids = (root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    image = root / "VOC2007" / "JPEGImages" / f"{ids[4]}.jpg"
    shutil.copy(image, tmp_path / "good.jpg")
    image.write_bytes(b"")
    return root, image


def test_progress_of_a_stopped_run_is_read_from_its_files(small_config, monkeypatch):
    config = small_config()
    driver.run_stages(config, ("propose",))
    original, calls = extract.ExtractWorker.fill, []

    def stop_at_third(self, task, shard):
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(self, task, shard)

    monkeypatch.setattr(extract.ExtractWorker, "fill", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        driver.run_stages(config, ("extract",))
    tables = {(t["stage"], t["split"]): t for t in status(config)["tables"]}
    assert tables["propose", "train"]["complete"]
    assert not tables["extract", "train"]["complete"]
    assert (tables["extract", "train"]["done_shards"], tables["extract", "train"]["shards"]) == (2, 4)
    assert (tables["extract", "train"]["done_images"], tables["extract", "train"]["images"]) == (6, 12)
    assert tables["extract", "train"]["seconds_left"] > 0
    code, output = command("verify", config.run.dir)
    assert code == 75
    assert "not complete, 2 of 4 shards done" in output
    assert "extract train: 6/12 images, 2/4 shards, 0 failed" in command("status", config.run.dir)[1]


def test_a_changed_field_is_named(small_config):
    config = small_config()
    driver.run_stages(config, ("propose", "extract"))
    (folder,) = (Path(config.run.dir) / "features").iterdir()
    found = status(config, "--set", "extract.max_proposals=50", "--set", "detect.nms_threshold=0.4")
    tables = {(t["stage"], t["split"]): t for t in found["tables"]}
    assert tables["extract", "train"]["others"] == {folder.name: ["extract.max_proposals: 60 -> 50"]}
    assert tables["propose", "train"]["others"] == {}
    output = command("status", config.run.dir, "--set", "warp.context_padding=3")[1]
    assert f"{folder.name} is not used, it differs in:\n    warp.context_padding: 16 -> 3" in output


def test_a_changed_field_of_training_is_named(small_config):
    config = small_config()
    driver.run_stages(config, ("propose", "extract", "train"))
    (folder,) = (Path(config.run.dir) / "models").iterdir()
    assert status(config)["models"]["others"] == {}
    found = status(config, "--set", "classify.cost=0.5", "--set", "mining.wave_images=1")["models"]
    assert found["trained"] == []
    assert found["others"] == {folder.name: ["classify.cost: 0.001 -> 0.5", "mining.wave_images: 4 -> 1"]}
    assert f"  {folder.name} is not used" in command("status", config.run.dir, "--set", "classify.cost=0.5")[1]


def test_fields_that_differ():
    before, after = {"a": {"x": 1, "y": (1, 2)}, "b": "s"}, {"a": {"x": 2, "y": [1, 2]}, "c": None}
    assert changed_fields(before, after) == ["a.x: 1 -> 2", "b: s -> not set", "c: not set -> None"]
    assert changed_fields(before, before) == []


def test_retry_computes_failed_shards_and_what_was_made_from_them_again(small_config, bad_root, tmp_path):
    root, image = bad_root
    config = small_config(data={"root": str(root)})
    driver.run_stages(config)
    whole = small_config(data={"root": str(root)}, run={"dir": str(tmp_path / "whole"), "shard_images": 3})
    before = {path: path.stat().st_mtime_ns for path in Path(config.run.dir).rglob("*.parquet")}
    shutil.copy(tmp_path / "good.jpg", image)
    driver.run_stages(whole)
    code, output = command("retry", config.run.dir)
    assert code == 0, output
    assert "again: 2 classes of train, 2 shards of detect, 1 shards of extract, 1 shards of propose" in output
    kept = [path for path, time in before.items() if path.exists() and path.stat().st_mtime_ns == time]
    assert len([path for path in kept if path.parts[-4] in ("proposals", "features")]) == 2 * 6 - 2
    digests = [command("verify", c.run.dir, "--digest") for c in (config, whole)]
    assert digests[0] == digests[1]
    assert digests[0][0] == 0
    assert "nothing to do again" in command("retry", config.run.dir)[1]


def test_a_retry_that_is_stopped_anywhere_leaves_a_run_that_goes_on(small_config, bad_root, tmp_path, monkeypatch):
    root, image = bad_root
    config = small_config(data={"root": str(root)})
    driver.run_stages(config, ("propose", "extract"))
    shutil.copy(tmp_path / "good.jpg", image)
    calls = []

    def stop(url, original=files.remove_file):
        calls.append(url)
        if len(calls) in (2, 4, 6):
            raise KeyboardInterrupt
        original(url)

    monkeypatch.setattr(files, "remove_file", stop)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            retry.forget_failures(Run(config))
    monkeypatch.undo()
    retry.forget_failures(Run(config))
    driver.run_stages(config, ("propose", "extract"))
    assert command("verify", config.run.dir)[0] == 0


def test_verify_proves_that_planned_images_have_rows_or_failures_and_names_what_is_wrong(small_config, bad_root):
    root, _ = bad_root
    config = small_config(data={"root": str(root)})
    driver.run_stages(config, ("propose", "extract"))
    code, output = command("verify", config.run.dir)
    assert code == 0
    assert "32 planned images = 30 with rows + 2 failures" in output
    folder = extract.folder(Run(config)) + "/train"
    plan = read_plan(folder)
    marker = read_marker(folder, "part-00001")
    missing, doubled = plan.shards[1][0], plan.shards[1][2]
    images = (*(i for i in marker.images if i[0] != missing), (doubled, 1), ("stranger", 2))
    write_changed(folder, marker, images)
    code, output = command("verify", config.run.dir)
    assert code == 4
    assert f"part-00001: image {missing} is neither in the shard nor a failure" in output
    assert f"part-00001: image {doubled} is there 2 times" in output
    assert "part-00001: image stranger is not planned" in output
    with pytest.raises(DamagedFileError, match="the marker of part-00001 is about other images"):
        driver.run_stages(config, ("extract",))
    files.remove_file(f"{folder}/_done/part-00001.json")
    assert "name different shards" in command("verify", config.run.dir)[1]


def write_changed(folder, marker, images):
    files.remove_file(f"{folder}/_done/{marker.part}.json")
    write_marker(folder, Marker(marker.part, marker.rows, marker.bytes, marker.sha256, images, marker.failures))


def test_an_image_that_stays_bad_is_a_failure_again_with_its_new_reason(small_config, bad_root):
    root, image = bad_root
    config = small_config(data={"root": str(root)})
    driver.run_stages(config, ("propose", "extract"))
    image.write_bytes(bytes(20))
    assert "1 shards of extract, 1 shards of propose" in command("retry", config.run.dir)[1]
    (failure,) = read_marker(propose.folder(Run(config)) + "/train", "part-00001").failures
    assert failure.reason == "not an image, the bytes look like zeros"
