"""A run on a data set in COCO's layout, judged by us and, from the exported files, by pycocotools."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rcnn_dist import driver
from rcnn_dist.cli import app
from rcnn_dist.data.voc import VocDataset


@pytest.fixture
def coco_root(shapes_root, tmp_path):
    """The shapes, their annotations rewritten as COCO JSON with ids that are neither consecutive nor in order."""
    voc, root = VocDataset(str(shapes_root)), tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "images").symlink_to(shapes_root / "VOC2007" / "JPEGImages")
    categories = {"striped_disc": 40, "dotted_triangle": 7, "unused": 3}
    for split in ("trainval", "test"):
        images, annotations = [], []
        for number, image_id in enumerate(voc.image_ids(split)):
            images.append({"id": 900 - 7 * number, "file_name": f"{image_id}.jpg"})
            objects = voc.objects(image_id)
            for name, (x1, y1, x2, y2), difficult in zip(objects.classes, objects.boxes.tolist(), objects.difficult.tolist(), strict=True):
                bbox = [x1, y1, x2 - x1, y2 - y1]
                entry = {"id": len(annotations) + 1, "image_id": images[-1]["id"], "category_id": categories[name], "bbox": bbox}
                annotations.append(entry | {"iscrowd": int(difficult), "area": bbox[2] * bbox[3]})
        listed = [{"id": number, "name": name} for name, number in categories.items()]
        content = {"images": images, "annotations": annotations, "categories": listed}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def judge(instances, detections):
    """AP at IoU 0.5 by category id, as pycocotools computes it from files."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(instances))
        evaluation = COCOeval(truth, truth.loadRes(str(detections)), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 2]
    return dict(zip(evaluation.params.catIds, precision.mean(axis=0), strict=True))


@pytest.fixture
def finished(small_config, coco_root):
    config = small_config(data={"root": str(coco_root), "layout": "coco"}, evaluate={"variant": "coco"})
    driver.run_stages(config)
    return config


def export(run, out):
    result = CliRunner().invoke(app, ["runs", "export", run, "--format", "coco", "--out", str(out)])
    assert result.output.split() == [f"{out}/detections.json", f"{out}/instances.json"]


def test_what_is_exported_has_the_same_ap_in_pycocotools(finished, coco_root, tmp_path):
    export(finished.run.dir, tmp_path / "out")
    metrics = json.loads(open(f"{finished.run.dir}/evaluation/metrics.json").read())
    ours = {name: metrics["ap"][name]["coco"] for name in metrics["classes"]}
    assert metrics["variant"] == "coco" and min(ours.values()) > 0
    for instances in (tmp_path / "out" / "instances.json", coco_root / "annotations" / "instances_test.json"):
        theirs = judge(instances, tmp_path / "out" / "detections.json")
        assert theirs[40] == pytest.approx(ours["striped_disc"], abs=1e-6)
        assert theirs[7] == pytest.approx(ours["dotted_triangle"], abs=1e-6)
    (first, *_) = json.loads((tmp_path / "out" / "instances.json").read_text())["images"]
    assert first["id"] == 900
    with Image.open(coco_root / first["file_name"]) as image:
        assert image.size == (first["width"], first["height"])


def test_the_layouts_give_the_same_objects_and_a_voc_run_is_numbered_from_one(small_config, finished, tmp_path, coco_root):
    voc = small_config(run={"dir": str(tmp_path / "voc"), "shard_images": 3})
    driver.run_stages(voc)
    found = [json.loads(open(f"{config.run.dir}/evaluation/metrics.json").read()) for config in (voc, finished)]
    assert found[0]["mAP"] == found[1]["mAP"] and found[0]["detections"] == found[1]["detections"]
    export(voc.run.dir, tmp_path / "out")
    theirs = judge(tmp_path / "out" / "instances.json", tmp_path / "out" / "detections.json")
    assert theirs == {n: pytest.approx(found[0]["ap"][name]["coco"], abs=1e-6) for n, name in enumerate(found[0]["classes"], start=1)}
