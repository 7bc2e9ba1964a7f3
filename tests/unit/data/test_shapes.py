import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.images import decode_image, image_size
from rcnn_dist.data.segmentation import SegmentationReader
from rcnn_dist.data.shapes import ShapesParams, draw_image, generate_shapes
from rcnn_dist.data.voc import VocDataset
from rcnn_dist.errors import ConfigError, DataError
from rcnn_dist.store import files

SMALL = ShapesParams(images={"train": 5, "test": 2}, min_size=(96, 80), max_size=(120, 90))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(str(folder), SMALL)
    return folder


def test_the_layout(generated):
    dataset = VocDataset(str(generated))
    ids = {split: dataset.image_ids(split) for split in ("trainval", "train", "val", "test")}
    assert ids["trainval"] == tuple(f"train_{i:06d}" for i in range(5)) and ids["test"] == ("test_000000", "test_000001")
    assert ids["train"] == ids["trainval"][::2] and ids["val"] == ids["trainval"][1::2]
    for image_id in (*ids["trainval"], *ids["test"]):
        data = files.read_bytes(dataset.image_url(image_id))
        width, height = image_size(data)
        assert 96 <= width <= 120 and 80 <= height <= 90
        assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert len(contents(generated)) == 7 * 4 + 4 * 2 + 1


def test_files_hold_what_is_drawn(generated):
    dataset = VocDataset(str(generated))
    for split, index in (("train", 3), ("test", 0)):
        image, objects = draw_image(SMALL, split, index)
        image_id = f"{split}_{index:06d}"
        read = dataset.objects(image_id)
        assert read.classes == objects.classes
        for field in ("boxes", "difficult", "truncated"):
            np.testing.assert_array_equal(getattr(read, field), getattr(objects, field))
        pixels = decode_image(files.read_bytes(dataset.image_url(image_id)))
        assert np.abs(pixels.astype(int) - image).mean() < 12


def test_the_same_bytes_every_time(generated, tmp_path):
    generate_shapes(str(tmp_path), SMALL)
    assert contents(tmp_path) == contents(generated)


def test_what_was_interrupted_is_finished_to_the_same_bytes(generated, tmp_path, monkeypatch):
    write_bytes, written = files.write_bytes, []

    def stop_after_six(url, data):
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(url)
        write_bytes(url, data)

    monkeypatch.setattr(files, "write_bytes", stop_after_six)
    with pytest.raises(KeyboardInterrupt):
        generate_shapes(str(tmp_path), SMALL)
    monkeypatch.undo()
    assert json.loads((tmp_path / "shapes.json").read_text())["done"] is False
    kept = tmp_path / "VOC2007" / "Annotations" / "train_000000.xml"
    before = kept.stat().st_mtime_ns
    generate_shapes(str(tmp_path), SMALL)
    assert contents(tmp_path) == contents(generated) and kept.stat().st_mtime_ns == before


def test_masks_are_label_maps_of_the_objects(generated):
    dataset, reader = VocDataset(str(generated)), SegmentationReader(f"{generated}/VOC2007")
    for image_id in (*dataset.image_ids("trainval"), *dataset.image_ids("test")):
        found, objects = reader.read(image_id), dataset.objects(image_id)
        for name, label in zip(objects.classes, found.labels, strict=False):  # an object of one or two pixels is all border
            assert label in (0, sorted(SMALL.classes).index(name) + 1)
        assert found.object_map.shape == image_size(files.read_bytes(dataset.image_url(image_id)))[::-1]
    lists = {name: (generated / "VOC2007/ImageSets" / name / "trainval.txt").read_text() for name in ("Main", "Segmentation")}
    assert lists["Main"] == lists["Segmentation"]


def test_a_set_without_masks_gets_them_and_keeps_its_bytes(generated, tmp_path, monkeypatch):
    shutil.copytree(generated, tmp_path / "old")
    for name in ("SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        shutil.rmtree(tmp_path / "old/VOC2007" / name)
    write_bytes = files.write_bytes
    monkeypatch.setattr(files, "write_bytes", lambda url, data: pytest.fail(url) if "JPEG" in url else write_bytes(url, data))
    generate_shapes(str(tmp_path / "old"), SMALL)
    assert contents(tmp_path / "old") == contents(generated)


def test_a_finished_set_is_not_touched(generated, monkeypatch):
    monkeypatch.setattr(files, "write_bytes", lambda url, data: pytest.fail(f"wrote {url}"))
    generate_shapes(str(generated), SMALL)


def test_another_set_is_not_overwritten(generated):
    before = contents(generated)
    other = ShapesParams(images=SMALL.images, min_size=SMALL.min_size, max_size=SMALL.max_size, seed=4)
    with pytest.raises(DataError, match=r"holds another generated set .*\"seed\": 3.*: choose another folder, or delete it"):
        generate_shapes(str(generated), other)
    assert contents(generated) == before


def test_a_voc_that_was_not_generated_is_not_overwritten(tmp_path):
    (tmp_path / "VOC2007").mkdir()
    with pytest.raises(DataError, match="was not generated here: choose another folder"):
        generate_shapes(str(tmp_path), SMALL)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("record", ["", "{", "[1]"])
def test_a_damaged_record_is_not_guessed_at(tmp_path, record):
    (tmp_path / "shapes.json").write_text(record)
    with pytest.raises(DataError, match="choose another folder, or delete"):
        generate_shapes(str(tmp_path), SMALL)


def test_a_larger_set_begins_with_the_smaller_one():
    larger = ShapesParams(images={"train": 500, "test": 2}, min_size=SMALL.min_size, max_size=SMALL.max_size)
    np.testing.assert_array_equal(draw_image(larger, "train", 4)[0], draw_image(SMALL, "train", 4)[0])


def test_splits_seeds_and_images_differ():
    other = ShapesParams(min_size=SMALL.min_size, max_size=SMALL.max_size, seed=4)
    drawn = [draw_image(SMALL, "train", 0), draw_image(SMALL, "train", 1), draw_image(SMALL, "test", 0), draw_image(other, "train", 0)]
    assert len({image.tobytes() for image, _ in drawn}) == 4


def test_a_set_shows_every_class_and_every_flag():
    params = ShapesParams(min_size=(120, 90), max_size=(120, 90))
    drawn = [draw_image(params, "train", index)[1] for index in range(60)]
    assert {name for objects in drawn for name in objects.classes} == set(params.classes)
    for field in ("difficult", "truncated"):
        flags = np.concatenate([getattr(objects, field) for objects in drawn])
        assert 0 < flags.sum() < len(flags) / 2


def test_chosen_classes_only():
    params = ShapesParams(classes=("wavy_ring",), min_size=(80, 64), max_size=(80, 64))
    assert {name for index in range(6) for name in draw_image(params, "test", index)[1].classes} == {"wavy_ring"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"images": {"train": 5}}, "images is {'train': 5}, give a number for each of train, test"),
        ({"images": {"train": 5, "test": -1}}, "images is"),
        ({"classes": ("dog",)}, r"classes \['dog'\] must be distinct and out of .*striped_disc"),
        ({"classes": ()}, "must be distinct"),
        ({"classes": ("striped_disc", "striped_disc")}, "must be distinct"),
        ({"min_size": (10, 100)}, "sizes from"),
        ({"max_size": (240, 100)}, "sizes from"),
        ({"max_objects": 0}, "max_objects starts at 1"),
        ({"jpeg_quality": (90, 80)}, "jpeg_quality"),
        ({"seed": -1}, "seed is not negative"),
    ],
)
def test_parameters_that_cannot_be(fields, reason):
    with pytest.raises(ConfigError, match=reason):
        ShapesParams(**fields)
