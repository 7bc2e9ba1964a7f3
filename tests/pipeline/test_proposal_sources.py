import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from rcnn_dist import driver
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.geometry.boxes import voc_from_half_open
from rcnn_dist.stages import propose
from rcnn_dist.stages.photos import PhotoDetector
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.trained import open_trained
from rcnn_dist.store.tables import boxes_of


def proposed(config):
    """Image id -> boxes of the training images."""
    driver.run_stages(config, ("propose",))
    table = pads.dataset(f"{propose.folder(Run(config))}/train").to_table()
    ids = np.array(table["image_id"].to_pylist())
    return {str(i): boxes_of(table)[ids == i] for i in np.unique(ids)}


def write_mat(path, found):
    images, boxes = np.empty((len(found), 1), object), np.empty((1, len(found)), object)
    images[:, 0] = list(found)
    boxes[0] = [voc_from_half_open(b)[:, [1, 0, 3, 2]] for b in found.values()]
    savemat(path, {"images": images, "boxes": boxes})


def test_tables_give_the_boxes_that_they_hold(small_config, tmp_path):
    windows = small_config(proposals={"source": "sliding_window"})
    searched = proposed(windows)
    folder = propose.folder(Run(windows))
    write_mat(tmp_path / "train.mat", searched)
    for name, files in (("parquet", [folder]), ("mat", [str(tmp_path / "train.mat"), f"{folder}/test"])):
        config = small_config(
            run={"dir": str(tmp_path / name)},
            proposals={"source": "precomputed", "precomputed": {"files": files}},
            data={"max_pixels": 10**7},
        )
        found = proposed(config)
        assert set(found) == set(searched)
        for image_id, boxes in searched.items():
            np.testing.assert_array_equal(found[image_id], boxes)


def test_an_image_that_the_table_lacks_is_a_failure_that_names_it(small_config, tmp_path):
    searched = proposed(small_config(proposals={"source": "sliding_window"}))
    lacking, odd, *_ = searched
    del searched[lacking]
    searched[odd] = searched[odd] + 10_000
    write_mat(tmp_path / "boxes.mat", searched)
    folder = propose.folder(Run(small_config(proposals={"source": "sliding_window"})))
    table = {"source": "precomputed", "precomputed": {"files": [str(tmp_path / "boxes.mat"), f"{folder}/test"]}}
    found = proposed(small_config(run={"dir": str(tmp_path / "lacking")}, proposals=table))
    assert set(found) == set(searched) - {odd}
    rows = pq.read_table(tmp_path / "lacking" / "failures" / "propose-train.parquet").to_pylist()
    assert {row["image_id"]: row["reason"].split(" is ")[0] for row in rows} == {lacking: f"image {lacking}", odd: "precomputed box 0"}


def test_a_table_s_bytes_are_part_of_the_fingerprint(small_config, tmp_path):
    config = small_config(proposals={"source": "precomputed", "precomputed": {"files": [str(tmp_path / "boxes.mat")]}})
    with pytest.raises(DataError, match=r"no file .*boxes\.mat"):
        propose.folder(Run(config))
    folders = set()
    for shift in (0, 1):
        write_mat(tmp_path / "boxes.mat", {"a": np.array([[0.0, 0, 5, 5]]) + shift})
        folders.add(propose.folder(Run(config)))
    assert len(folders) == 2


def test_a_table_must_be_named_and_knows_no_other_images(small_config, finished_run):
    with pytest.raises(ConfigError, match=r"proposals\.precomputed\.files is empty"):
        small_config(proposals={"source": "precomputed"})
    image = np.zeros((60, 80, 3), np.uint8)
    every = dict.fromkeys(Run(finished_run).classes, -np.inf)
    tabled = open_trained(finished_run.run.dir, {"source": "precomputed", "precomputed": {"files": ["a.mat"]}})
    with pytest.raises(ConfigError, match="has no boxes for other images"):
        PhotoDetector(tabled, every).detect(image)
    windows = open_trained(finished_run.run.dir, {"source": "sliding_window"})
    assert len(PhotoDetector(windows, every).detect(image).scores) > 0
