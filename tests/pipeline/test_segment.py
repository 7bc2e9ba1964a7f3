import numpy as np
import pyarrow.dataset as pads
import pytest

from rcnn_dist import driver
from rcnn_dist.config import make_config
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import ConfigError
from rcnn_dist.proposals.masks import decode_mask
from rcnn_dist.stages import masks, regions
from rcnn_dist.stages.extract import make_extractor
from rcnn_dist.stages.verify import verify_run
from rcnn_dist.store.query import matrix
from rcnn_dist.store.tables import boxes_of, lists_of

STAGES = ["masks", "regions"]


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


def test_workers_change_no_byte(segment_config, finished):
    other = driver.run_stages(segment_config(runtime={"executor": "ray", "workers": 2}))
    found = verify_run(other.url)
    assert found.damaged == found.unfinished == []
    assert found.digest == verify_run(finished.url).digest


def test_classes_must_be_given_in_the_order_of_their_numbers(segment_config):
    with pytest.raises(ConfigError, match=r"data\.classes"):
        segment_config(data={"classes": None})
