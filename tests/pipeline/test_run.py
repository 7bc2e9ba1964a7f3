import json
import shutil
import tarfile

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from rcnn_dist import driver
from rcnn_dist.config import load_config
from rcnn_dist.errors import ConfigError, DamagedFileError, MissingShardError, TooManyFailuresError
from rcnn_dist.features.extract import Extractor
from rcnn_dist.stages import extract
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.query import matrix
from rcnn_dist.summary import print_summary


def run(config, stages=None):
    return driver.run_stages(config, stages)


def read_metrics(config):
    return json.loads(open(f"{config.run.dir}/evaluation/metrics.json").read())


def features_by_image(config, split):
    table = pads.dataset(f"{extract.folder(Run(config))}/{split}").to_table()
    ids = table["image_id"].to_pylist()
    return {i: matrix(table.filter(pc.equal(table["image_id"], i)), "fc7").tobytes() for i in set(ids)}


def test_one_and_two_workers_and_no_cluster_give_the_same_bytes(small_config, tmp_path):
    digests, workers = {}, set()
    for name, runtime in {
        "here": {"executor": "in_process"},
        "one": {"executor": "ray", "workers": 1, "shards_at_once": 2},
        "two": {"executor": "ray", "workers": 2},
    }.items():
        config = small_config(run={"dir": str(tmp_path / name), "shard_images": 3}, proposals={"source": "opencv"}, runtime=runtime)
        run(config)
        found = verify_run(config.run.dir)
        assert found.damaged == []
        assert found.files == 6 + 6 + 2 + 2, "shards of proposals, features, detections; the models of two classes"
        digests[name] = found.digest
        (telemetry,) = (tmp_path / name / "models").glob("*/telemetry.jsonl")
        rows = [json.loads(line) for line in telemetry.read_text().splitlines()]
        keys = {(row["class"], row["wave"]) for row in rows}
        assert len(keys) == len(rows) >= 4
        workers = {row["worker"] for row in rows}
    assert len(set(digests.values())) == 1, digests
    assert len(workers) == 2, "both workers of the last run have refitted classes"
    assert not ray.is_initialized()


def test_the_results_of_a_run(small_config, capsys):
    config = small_config()
    print_summary(run(config), config.run.stages)
    lines = capsys.readouterr().out.splitlines()
    metrics = read_metrics(config)
    assert lines[-1] == f"mAP {metrics['mAP']['voc07']:.3f} voc07"
    assert set(metrics["ap"]) == {"dotted_triangle", "striped_disc"}
    assert 0 < metrics["mAP"]["area"] <= 1
    folder = f"{config.run.dir}/evaluation/comp4"
    line = open(f"{folder}/comp4_det_test_striped_disc.txt").readline().split()
    assert len(line) == 6
    assert all(float(value) >= 1 for value in line[2:4]), "VOC's pixels start at 1"
    with tarfile.open(f"{config.run.dir}/evaluation/results.tar.gz") as archive:
        assert "results/VOC2007/Main/comp4_det_test_striped_disc.txt" in archive.getnames()
    page = open(f"{config.run.dir}/report/index.html").read()
    assert "striped_disc" in page
    assert "data:image/jpeg;base64," in page


def test_a_second_run_does_nothing_again_and_a_changed_one_only_what_depends_on_it(small_config, monkeypatch):
    run(small_config())
    before = verify_run(small_config().run.dir).digest
    computed = []
    for stage in (driver.propose.ProposeWorker, driver.extract.ExtractWorker, driver.detect.DetectWorker):
        original = stage.run
        monkeypatch.setattr(stage, "run", lambda self, task, _o=original: (computed.append(type(self).__name__), _o(self, task))[1])
    mine = driver.train.TrainStage._mine
    monkeypatch.setattr(driver.train.TrainStage, "_mine", lambda self, *given: (computed.append("TrainStage"), mine(self, *given))[1])
    run(small_config())
    assert computed == []
    assert verify_run(small_config().run.dir).digest == before
    run(small_config(detect={"nms_threshold": 0.4}))
    assert set(computed) == {"DetectWorker"}


def test_detection_without_stored_test_features_finds_the_same(small_config, tmp_path):
    tables = []
    for name, splits in (("stored", ["train", "test"]), ("forwarded", ["train"])):
        config = small_config(run={"dir": str(tmp_path / name), "shard_images": 3}, extract={"splits": splits})
        run(config)
        paths = sorted((tmp_path / name / "detections").glob("*/test/*.parquet"))
        tables.append([path.read_bytes() for path in paths])
    assert len(tables[0]) == 2
    assert tables[0] == tables[1]


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(small_config, tmp_path, monkeypatch):
    whole = small_config(run={"dir": str(tmp_path / "whole"), "shard_images": 3})
    run(whole)
    config = small_config(run={"dir": str(tmp_path / "stopped"), "shard_images": 3})

    class Stop(Exception):
        pass

    def stop_at(owner, name, call):
        original, calls = getattr(owner, name), []

        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                raise Stop
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)
        with pytest.raises(Stop):
            run(config)
        monkeypatch.undo()

    stop_at(driver.propose.ProposeWorker, "run", 3)
    stop_at(Extractor, "forward", 30)
    stop_at(driver.train.collect.CollectWork, "run", 2)
    stop_at(driver.train.mine.ScanWork, "run", 4)
    stop_at(driver.train.mine.RefitWork, "run", 2)
    stop_at(driver.train.TrainStage, "_publish", 1)
    stop_at(driver.detect.DetectWorker, "run", 2)
    run(config)
    assert verify_run(config.run.dir).digest == verify_run(whole.run.dir).digest


@pytest.fixture
def odd_root(shapes_root, tmp_path):
    """The shapes with nine odd images among the training images, three of them unreadable."""
    root = tmp_path / "odd"
    shutil.copytree(shapes_root, root)
    folder = root / "VOC2007" / "JPEGImages"
    good = Image.open(sorted(folder.glob("*.jpg"))[0]).convert("RGB").resize((160, 120))
    (folder / "a_empty.jpg").write_bytes(b"")
    (folder / "a_text.jpg").write_bytes(b"this is not an image\n" * 20)
    good.save(folder / "a_truncated.jpg")
    (folder / "a_truncated.jpg").write_bytes((folder / "a_truncated.jpg").read_bytes()[:2000])
    good.convert("CMYK").save(folder / "b_cmyk.jpg")
    good.convert("L").save(folder / "b_grey.jpg")
    Image.fromarray(np.asarray(good.convert("L")).astype(np.uint16) * 257).save(folder / "b_16bit.png")
    good.quantize(16).save(folder / "b_palette.png", transparency=0)
    Image.new("RGB", (1, 1)).save(folder / "b_one.jpg")
    good.resize((8000, 6000)).save(folder / "b_huge.jpg", quality=50)
    names = sorted(path.stem for path in folder.glob("[ab]_*"))
    sets = root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt"
    ids = sets.read_text().split()
    sets.write_text("\n".join([*names[:4], *ids[:5], *names[4:], *ids[5:]]) + "\n")
    return root


def test_bad_images_are_failures_odd_ones_are_converted_and_good_ones_do_not_change(small_config, odd_root, tmp_path):
    clean = small_config(run={"dir": str(tmp_path / "clean"), "shard_images": 3})
    run(clean, ("propose", "extract"))
    config = small_config(data={"root": str(odd_root)})
    run(config)
    found = features_by_image(config, "train")
    for image_id, rows in features_by_image(clean, "train").items():
        assert found[image_id] == rows
    assert {"b_cmyk", "b_grey", "b_16bit", "b_palette", "b_huge"} <= set(found)
    assert not {"a_empty", "a_text", "a_truncated", "b_one"} & set(found), "no rows: unreadable, or nothing to propose in one pixel"
    for stage in ("propose", "extract"):
        rows = pq.read_table(f"{config.run.dir}/failures/{stage}-train.parquet").to_pylist()
        assert {row["image_id"] for row in rows} == {"a_empty", "a_text", "a_truncated"}
        assert all(row["reason"] for row in rows)
    assert "a_truncated" in open(f"{config.run.dir}/report/index.html").read()


def test_more_failures_than_allowed_end_the_run_with_the_list(small_config, shapes_root, tmp_path):
    root = tmp_path / "bad"
    shutil.copytree(shapes_root, root)
    first = min((root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").read_text().split())
    (root / "VOC2007" / "JPEGImages" / f"{first}.jpg").write_bytes(b"")
    config = small_config(data={"root": str(root)}, run={"max_failed_images": 0, "max_failed_fraction": 0.0})
    with pytest.raises(TooManyFailuresError, match=rf"1 images of train failed(.|\n)*{first}: "):
        run(config, ("propose",))
    run(small_config(data={"root": str(root)}), ("propose",))


def test_a_test_set_without_annotations_ends_with_the_archive(small_config, shapes_root, tmp_path, capsys):
    root = tmp_path / "blind"
    shutil.copytree(shapes_root, root)
    for image_id in (root / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().split():
        (root / "VOC2007" / "Annotations" / f"{image_id}.xml").unlink()
    config = small_config(data={"root": str(root)})
    print_summary(run(config), config.run.stages)
    assert "mAP" not in read_metrics(config)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"The submission archive is {config.run.dir}/evaluation/results.tar.gz")
    assert "striped_disc" in open(f"{config.run.dir}/report/index.html").read()


def test_everything_lies_at_any_fsspec_url(small_config):
    config = small_config(run={"dir": "memory://bucket/run", "shard_images": 3})
    run(config)
    assert verify_run(config.run.dir).damaged == []


def test_a_class_that_training_does_not_show_detects_nothing(small_config):
    config = small_config(data={"classes": ["striped_disc", "unicorn"]})
    run(config)
    metrics = read_metrics(config)
    assert metrics["detections"]["unicorn"] == 0
    assert metrics["ap"]["unicorn"]["voc07"] is None
    assert metrics["ap"]["striped_disc"]["voc07"] > 0


def test_a_class_added_later_equals_one_trained_with_the_others_and_leaves_them_alone(small_config, tmp_path):
    """Objects of the later class are negatives of the first one and compete with it for regression pairs, trained or not."""
    here = {"shard_images": 3}
    together = small_config(run={"dir": str(tmp_path / "together"), **here})
    run(together)
    first = {"dir": str(tmp_path / "later"), **here}
    run(small_config(run=first, data={"classes": ["dotted_triangle"]}))
    (folder,) = (tmp_path / "later" / "models").iterdir()
    before = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert set(before) == {"dotted_triangle.safetensors"}
    run(small_config(run=first, train={"classes": ["striped_disc"]}), ("train",))
    after = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    assert set(after) == {"dotted_triangle.safetensors", "striped_disc.safetensors"}
    assert after["dotted_triangle.safetensors"] == before["dotted_triangle.safetensors"]
    refitted = [json.loads(line)["class"] for line in (folder / "telemetry.jsonl").read_text().splitlines()]
    assert refitted == sorted(refitted), "those of the first class, then those of the second, no refit of the first"
    assert not list(folder.glob("_mining*"))
    assert load_config(tmp_path / "later" / "config.yaml").train.classes is None, "said for one call"
    run(small_config(run=first))
    assert verify_run(str(tmp_path / "later")).digest == verify_run(together.run.dir).digest
    with pytest.raises(ConfigError, match=r"no object of class 'striped_disk': they have \['dotted_triangle', 'striped_disc'\]"):
        run(small_config(run=first, train={"classes": ["striped_disk"]}), ("train",))


def test_detection_names_the_class_that_is_not_trained(small_config):
    run(small_config(data={"classes": ["dotted_triangle"]}), ("propose", "extract", "train"))
    with pytest.raises(MissingShardError, match="holds no model of class 'striped_disc': run the stage train first"):
        run(small_config(), ("detect",))


def test_without_regression(small_config):
    config = small_config(regress={"enabled": False})
    run(config)
    metrics = read_metrics(config)
    assert metrics["mAP"] == metrics["mAP_without_regression"]


def test_what_is_missing_or_damaged_is_named(small_config, tmp_path):
    with pytest.raises(ConfigError, match=r"data.root is not set"):
        run(small_config(data={"root": None}))
    with pytest.raises(MissingShardError, match="run the stage propose first"):
        run(small_config(), ("extract",))
    run(small_config(), ("propose",))
    with pytest.raises(MissingShardError, match="run the stage extract first"):
        run(small_config(), ("train",))
    with pytest.raises(MissingShardError, match="run the stage detect first"):
        run(small_config(), ("evaluate",))
    with pytest.raises(ConfigError, match="no stage is called 'exctract'"):
        run(small_config(), ("exctract",))
    with pytest.raises(ConfigError, match="holds no run.json"):
        verify_run(str(tmp_path / "nowhere"))


def test_a_folder_that_was_renamed_is_refused_by_both_names(small_config):
    config = small_config()
    run(config, ("propose", "extract"))
    changed = small_config(extract={"max_proposals": 50})
    old, new = extract.folder(Run(config)), extract.folder(Run(changed))
    shutil.move(old, new)
    with pytest.raises(DamagedFileError, match=f"{old.split('/')[-1]}.*{new.split('/')[-1]}"):
        run(changed, ("extract",))


def test_verify_names_a_flipped_bit_and_a_missing_file(small_config):
    config = small_config()
    run(config, ("propose", "extract"))
    folder = extract.folder(Run(config))
    path = f"{folder}/train/part-00001.parquet"
    data = bytearray(open(path, "rb").read())
    data[100] ^= 1
    open(path, "wb").write(data)
    (damaged,) = verify_run(config.run.dir).damaged
    assert "train/part-00001.parquet: its bytes are not those" in damaged
