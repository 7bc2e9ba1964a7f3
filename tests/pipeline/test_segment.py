import json
import re
import shutil
import tarfile

import numpy as np
import pyarrow.dataset as pads
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.io import savemat
from typer.testing import CliRunner

from rcnn_dist import driver
from rcnn_dist.cli import app
from rcnn_dist.config import make_config
from rcnn_dist.data.images import read_image
from rcnn_dist.data.label_maps import decode_label_map
from rcnn_dist.errors import ConfigError
from rcnn_dist.proposals.masks import decode_mask
from rcnn_dist.segment.params import PasteParams
from rcnn_dist.stages import masks, regions, segment, svr, svr_work
from rcnn_dist.stages.extract import make_extractor
from rcnn_dist.stages.retry import forget_failures
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.query import matrix
from rcnn_dist.store.tables import boxes_of, lists_of
from rcnn_dist.summary import print_summary

STAGES = ["masks", "regions", "svr", "segment", "accuracy"]


@pytest.fixture(scope="module")
def segment_config(shapes_root, tmp_path_factory):
    """Makes a configuration of a small segmentation run; sections given by name change it."""

    def make(**sections):
        tree = {
            "run": {"dir": str(tmp_path_factory.mktemp("segment") / "run"), "shard_images": 3, "stages": STAGES},
            "data": {"root": str(shapes_root), "task": "Segmentation", "classes": ["dotted_triangle", "striped_disc"]},
            "masks": {"max_regions": 20},
            "extract": {"layers": ["pool5"]},
            "runtime": {"executor": "in_process"},
        }
        return make_config({name: tree.get(name, {}) | sections.get(name, {}) for name in {**tree, **sections}})

    return make


@pytest.fixture(scope="module")
def finished(segment_config):
    """A small segmentation run that has ended; to be read only."""
    return driver.run_stages(segment_config())


def test_masks_are_those_of_objects_regions_and_mirrored_objects(finished):
    table = pads.dataset(f"{masks.folder(finished)}/train").to_table()
    image_id = finished.image_ids("train")[1]
    rows = [row for row in table.to_pylist() if row["image_id"] == image_id]
    truth = finished.segmentation.read(image_id)
    objects, mirrored = ([r for r in rows if r["is_ground_truth"] and r["is_mirrored"] == flag] for flag in (False, True))
    assert len(objects) == len(mirrored) == len(truth.labels)
    assert len(rows) == 20 + 2 * len(truth.labels)
    for k, (plain, flipped) in enumerate(zip(objects, mirrored, strict=True), start=1):
        mask = decode_mask(np.array(plain["counts"]), plain["height"], plain["width"])
        assert (mask == (truth.object_map == k)).all()
        assert (decode_mask(np.array(flipped["counts"]), plain["height"], plain["width"]) == mask[:, ::-1]).all()
        assert (flipped["x1"], flipped["x2"]) == (plain["width"] - plain["x2"], plain["width"] - plain["x1"])
        assert plain["overlap"] == flipped["overlap"]
        assert plain["overlap"][truth.labels[k - 1] - 1] == 1
    test = pads.dataset(f"{masks.folder(finished)}/test").to_table()
    assert not np.asarray(test["is_ground_truth"]).any()


def test_features_are_those_of_the_box_and_of_the_box_without_its_surroundings(finished):
    image_id = finished.image_ids("train")[1]
    mask_rows = pads.dataset(f"{masks.folder(finished)}/train").to_table()
    table = pads.dataset(f"{regions.folder(finished)}/train").to_table()
    assert table["image_id"].to_pylist() == mask_rows["image_id"].to_pylist()
    assert table["region"].to_pylist() == mask_rows["region"].to_pylist()
    of_image = np.flatnonzero(np.array(table["image_id"].to_pylist()) == image_id)
    plain = [i for i in of_image if not mask_rows["is_mirrored"][i].as_py()]
    extractor = make_extractor(finished, None)
    image = read_image(finished.dataset.image_url(image_id))
    assert (matrix(table, "pool5.full")[plain] == extractor.extract(image, boxes_of(table)[plain])["pool5"]).all()
    assert (matrix(table, "pool5.fg") != matrix(table, "pool5.full")).any(axis=1).mean() > 0.9
    mirrored = np.setdiff1d(of_image, plain)
    flipped = extractor.extract(np.ascontiguousarray(image[:, ::-1]), boxes_of(table)[mirrored])["pool5"]
    assert (matrix(table, "pool5.full")[mirrored] == flipped).all()
    overlap = np.array(lists_of(mask_rows, "overlap"))
    assert (np.asarray(table["gt_iou"]) == overlap.max(axis=1)).all()


def test_regressors_minimise_the_objective_of_their_rows(finished):
    """The stored weights, applied to stored features, cost what the telemetry says, target by target."""
    rows = pads.dataset(f"{regions.folder(finished)}/train").to_table()
    table = pads.dataset(f"{masks.folder(finished)}/train").to_table()
    overlap, best = np.array(lists_of(table, "overlap")), np.asarray(table["is_best"])
    assert best.any()
    telemetry = [json.loads(line) for line in open(f"{svr.folder(finished)}/{svr.TELEMETRY}")]
    assert len(telemetry) == 3 * 2
    for method in svr.methods(finished):
        features = np.concatenate([matrix(rows, column) for column in method.columns], axis=1).astype(np.float64)
        norms = [np.linalg.norm(matrix(rows, column).astype(np.float64), axis=1).mean() for column in method.columns]
        scale = np.repeat(norms, features.shape[1] // len(norms))
        weights, biases = svr.read_regressors(finished, method)
        assert np.allclose(biases, overlap.mean(axis=0))
        for c, name in enumerate(finished.classes):
            found = next(row for row in telemetry if row["method"] == method.name and row["class"] == name)
            errors = np.r_[overlap[:, c] - biases[c] - features @ weights[c], (overlap[:, c] - features @ weights[c])[best]]
            loss = (np.maximum(np.abs(errors) - 0.25, 0) ** 2).sum()
            assert found["rows"] == len(errors)
            assert ((weights[c] * scale) ** 2).sum() / 2 + 3 * loss == pytest.approx(found["objective"], rel=1e-3)
            assert found["gap"] <= 1e-3 * found["objective"]


def test_label_maps_are_pasted_from_the_tables_and_counted_against_the_truth(finished):
    found = json.loads(open(f"{finished.url}/evaluation/segmentation.json").read())
    assert found["method"] == "full+fg pool5"
    segments = pads.dataset(f"{segment.folder(finished)}/test").to_table().to_pylist()
    mask_rows = pads.dataset(f"{masks.folder(finished)}/test").to_table().to_pylist()
    about = found["methods"]["full+fg pool5"]
    confusion, kept = np.zeros((3, 3), int), 0
    for image_id in finished.image_ids("test"):
        truth = finished.segmentation.read(image_id).class_map
        labels = np.zeros(truth.shape, np.uint8)
        rows = [row for row in segments if row["image_id"] == image_id and row["method"] == "full+fg pool5"]
        for row in sorted(rows, key=lambda row: -row["rank"]):
            if row["score"] > about["background"] + 0.02 * row["rank"]:
                (counts,) = [m["counts"] for m in mask_rows if m["image_id"] == image_id and m["region"] == row["region"]]
                labels[decode_mask(np.array(counts), *truth.shape)] = finished.classes.index(row["class"]) + 1
                kept += 1
        written = open(f"{finished.url}/evaluation/comp6_test_cls/{image_id}.png", "rb").read()
        assert (decode_label_map(written, image_id) == labels).all()
        for true, called in zip(truth.ravel(), labels.ravel(), strict=True):
            if true != 255:
                confusion[true, called] += 1
    assert kept > 0
    assert found["confusion"] == confusion.tolist()
    with tarfile.open(f"{finished.url}/evaluation/segmentation.tar.gz") as archive:
        assert archive.getnames() == [f"results/VOC2007/Segmentation/comp6_test_cls/{i}.png" for i in finished.image_ids("test")]
    assert "data:image/jpeg;base64," in open(f"{finished.url}/report/index.html").read()


def test_a_run_ends_with_its_mean_accuracy(finished, capsys):
    print_summary(finished, STAGES)
    assert re.search(r"^mean accuracy 0\.\d{3} full\+fg pool5$", capsys.readouterr().out.splitlines()[-1])


def test_a_method_that_the_run_has_not_is_named(finished):
    config = finished.config.model_copy(update={"segment": PasteParams(method="fg fc9")})
    with pytest.raises(ConfigError, match="full\\+fg pool5"):
        driver.run_stages(config, ("accuracy",))


def test_a_stopped_run_goes_on_and_an_image_that_cannot_be_used_is_a_failure(segment_config, finished, shapes_root, tmp_path, monkeypatch):
    root = tmp_path / "odd"
    shutil.copytree(shapes_root, root)
    first, second = finished.image_ids("test")[:2]
    (root / "VOC2007" / "JPEGImages" / f"{first}.jpg").write_bytes(b"no image")
    (root / "VOC2007" / "SegmentationClass" / f"{second}.png").write_bytes(b"no map")
    config = segment_config(data={"root": str(root), "train": "train"}, svr={"classes_per_task": 1})
    original, calls = svr_work.FitWork.run, []

    def stop(self, task):
        calls.append(task)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, task)

    monkeypatch.setattr(svr_work.FitWork, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        driver.run_stages(config)
    run = driver.run_stages(config)
    assert len(calls) == 4 + 3, "three of the six fits are not repeated"
    found = json.loads(open(f"{run.url}/evaluation/segmentation.json").read())
    assert (found["images"], found["annotated"]) == (4, 3)
    assert [f["image_id"] for f in read_failures(f"{run.url}/failures/segment-test.parquet")] == [first, second]
    assert verify_run(run.url).damaged == []


def read_masks(run):
    return pads.dataset([pads.dataset(f"{masks.folder(run)}/{split}") for split in ("train", "test")]).to_table()


def read_failures(path):
    return pads.dataset(path).to_table().to_pylist()


def test_workers_change_no_byte(segment_config, finished):
    other = driver.run_stages(segment_config(runtime={"executor": "ray", "workers": 2}))
    found = verify_run(other.url)
    assert found.damaged == found.unfinished == []
    assert found.digest == verify_run(finished.url).digest


def test_precomputed_masks_give_the_run_that_found_them(segment_config, finished, tmp_path):
    """The same masks from PNG files, from CPMC's and from COCO's run lengths give the same features, segments and accuracy."""
    table = read_masks(finished)
    found = {}
    for row in table.to_pylist():
        if not row["is_ground_truth"]:
            found.setdefault(row["image_id"], []).append(decode_mask(np.array(row["counts"]), row["height"], row["width"]))
    entries = []
    for number, (image_id, regions_of_image) in enumerate(sorted(found.items())):
        for rank, mask in enumerate(regions_of_image):
            if number % 3 == 0:
                (tmp_path / "files" / image_id).mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(tmp_path / "files" / image_id / f"{rank:03d}.png")
            elif number % 3 == 1:
                packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                entry = {"size": packed["size"], "counts": packed["counts"].decode()}
                entries.insert(0, {"image_id": image_id, "segmentation": entry, "score": -rank})
        if number % 3 == 2:
            savemat(tmp_path / "files" / f"{image_id}.mat", {"masks": np.stack(regions_of_image, axis=2)})
    (tmp_path / "coco.json").write_text(json.dumps(entries))
    section = {"source": "precomputed", "max_regions": 20, "files": [str(tmp_path / "files"), str(tmp_path / "coco.json")]}
    run = driver.run_stages(segment_config(masks=section))
    again = read_masks(run)
    assert again.drop_columns(["x1", "y1", "x2", "y2"]).equals(table.drop_columns(["x1", "y1", "x2", "y2"]))
    assert (boxes_of(again) == boxes_of(table)).all()
    read = [json.loads(open(f"{url}/evaluation/segmentation.json").read()) for url in (run.url, finished.url)]
    assert read[0]["confusion"] == read[1]["confusion"]


def test_classes_must_be_given_in_the_order_of_their_numbers(segment_config):
    with pytest.raises(ConfigError, match=r"data\.classes"):
        segment_config(data={"classes": None})


def test_precomputed_masks_need_files(segment_config):
    with pytest.raises(ConfigError, match=r"masks\.files is empty"):
        segment_config(masks={"source": "precomputed"})


def test_values_are_tried_on_images_that_were_not_seen(segment_config, tmp_path):
    config = segment_config(run={"dir": str(tmp_path / "run"), "stages": STAGES, "shard_images": 3})
    (tmp_path / "seg.yaml").write_text(config.to_yaml())
    command = [
        "segment",
        "tune",
        str(tmp_path / "seg.yaml"),
        "--cost",
        "0.001",
        "--cost",
        "3",
        "--epsilon",
        "0.1",
        "--folds",
        "2",
        "--json",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads(open(f"{config.run.dir}/evaluation/tune.json").read())
    assert (found["method"], found["folds"]) == ("full+fg pool5", 2)
    weak, strong = sorted(found["trials"], key=lambda trial: trial["cost"])
    assert [trial["accuracy"] for trial in found["trials"]] == sorted((weak["accuracy"], strong["accuracy"]), reverse=True)
    assert strong["accuracy"] != weak["accuracy"]
    assert 0 < weak["accuracy"] <= 1
    assert not (tmp_path / "run" / "_tune").exists()
    with pytest.raises(ConfigError, match="4 shards do not make 5 folds"):
        CliRunner().invoke(app, [*command[:-1], "--folds", "5"], catch_exceptions=False)


def test_a_mended_image_is_computed_again_with_all_that_was_made_without_it(segment_config, finished, shapes_root, tmp_path):
    root = tmp_path / "odd"
    shutil.copytree(shapes_root, root)
    broken = root / "VOC2007" / "JPEGImages" / f"{finished.image_ids('train')[4]}.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    config = segment_config(data={"root": str(root)})
    assert verify_run(driver.run_stages(config).url).failures == 2, "in the masks and in the features"
    broken.write_bytes(whole)
    assert forget_failures(Run(config)) == {"svr": 3, "segment": 2, "regions": 1, "masks": 1}
    assert verify_run(driver.run_stages(config).url).digest == verify_run(finished.url).digest
    assert forget_failures(Run(config)) == {}
