"""Sets made from others: shuffled classes, and crops of objects."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.object_crops import write_object_crops
from rcnn_dist.data.shapes import OTHER_CLASSES, ShapesParams, generate_shapes
from rcnn_dist.data.shuffled import ShuffledClasses
from rcnn_dist.data.voc import VocDataset


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    generate_shapes(str(root), ShapesParams(images={"train": 10, "test": 3}, max_size=(250, 190)))
    return VocDataset(str(root), "VOC2007")


def classes(dataset, split):
    return [dataset.objects(image_id).classes for image_id in dataset.image_ids(split)]


def test_training_objects_are_dealt_the_classes_of_others_and_test_objects_keep_theirs(shapes):
    dealt = ShuffledClasses(shapes, "trainval", 3)
    own, new = classes(shapes, "trainval"), classes(dealt, "trainval")
    assert own != new
    assert [len(names) for names in own] == [len(names) for names in new]
    assert Counter(name for names in own for name in names) == Counter(name for names in new for name in names)
    assert classes(dealt, "test") == classes(shapes, "test")
    assert classes(ShuffledClasses(shapes, "trainval", 3), "trainval") == new
    assert classes(ShuffledClasses(shapes, "trainval", 4), "trainval") != new
    image_id = shapes.image_ids("trainval")[0]
    np.testing.assert_array_equal(dealt.objects(image_id).boxes, shapes.objects(image_id).boxes)
    prints = {d.fingerprint("trainval") for d in (shapes, dealt, ShuffledClasses(shapes, "trainval", 4))}
    assert len(prints) == 3


def test_each_object_becomes_a_picture_in_the_folder_of_its_class(shapes, tmp_path):
    found = write_object_crops(shapes, ["trainval", "test"], str(tmp_path))
    assert list(found) == ["trainval", "test"]
    pictures = list(tmp_path.rglob("*.png"))
    assert len(pictures) == sum(found.values()) > 0
    image_id = shapes.image_ids("test")[0]
    objects = shapes.objects(image_id)
    path = next(p for p in pictures if p.stem.startswith(image_id))
    index = int(path.stem.rpartition("_")[2])
    assert path.parts[-3:-1] == ("test", objects.classes[index])
    sides = objects.boxes[index, 2:] - objects.boxes[index, :2]
    assert (np.array(Image.open(path).size) <= 1.3 * sides + 2).all()
    assert (np.array(Image.open(path).size) >= sides - 1).all()


def test_there_are_thirty_other_classes():
    assert len(OTHER_CLASSES) == 30
    assert not set(OTHER_CLASSES) & set(ShapesParams().classes)
