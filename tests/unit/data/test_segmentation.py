import io

import numpy as np
import pytest
from scipy.io import savemat

from rcnn_dist.data.label_maps import encode_label_map
from rcnn_dist.data.segmentation import SegmentationReader, parse_sbd, parse_voc
from rcnn_dist.errors import BadAnnotationError

CLASS = np.array([[0, 5, 255], [7, 7, 255]], np.uint8)
OBJECT = np.array([[0, 1, 255], [2, 2, 255]], np.uint8)


def mat(name, **fields):
    stream = io.BytesIO()
    savemat(stream, {name: fields})
    return stream.getvalue()


def sbd(class_map=CLASS, object_map=OBJECT, categories=(5, 7)):
    inst = mat("GTinst", Segmentation=object_map, Categories=np.array(categories, np.uint8)[:, None])
    return mat("GTcls", Segmentation=class_map, CategoriesPresent=np.array([5, 7])), inst


def write_voc(root, image_id="a", class_map=CLASS, object_map=OBJECT):
    for kind, labels in (("Class", class_map), ("Object", object_map)):
        (root / f"Segmentation{kind}").mkdir(exist_ok=True)
        (root / f"Segmentation{kind}" / f"{image_id}.png").write_bytes(encode_label_map(labels))


def write_sbd(root, image_id="a", **maps):
    for kind, data in zip(("cls", "inst"), sbd(**maps), strict=True):
        (root / kind).mkdir(exist_ok=True, parents=True)
        (root / kind / f"{image_id}.mat").write_bytes(data)


@pytest.mark.parametrize("parse", [lambda: parse_voc(CLASS, OBJECT, "a"), lambda: parse_sbd(*sbd(), "a")])
def test_by_hand(parse):
    found = parse()
    np.testing.assert_array_equal(found.class_map, CLASS)
    np.testing.assert_array_equal(found.object_map, OBJECT)
    assert found.labels.tolist() == [5, 7] and not found.class_map.flags.writeable


def test_void_in_either_map_is_void_in_both():
    found = parse_voc(np.array([[255, 3, 3]], np.uint8), np.array([[1, 255, 1]], np.uint8), "a")
    assert found.class_map.tolist() == [[255, 255, 3]]
    assert found.object_map.tolist() == [[255, 255, 1]] and found.labels.tolist() == [3]


def test_an_object_that_is_void_keeps_its_number():
    found = parse_voc(np.array([[255, 3]], np.uint8), np.array([[1, 2]], np.uint8), "a")
    assert found.labels.tolist() == [0, 3]


def test_an_image_without_objects():
    empty = np.zeros((2, 3), np.uint8)
    assert parse_voc(empty, empty, "a").labels.tolist() == []
    assert parse_sbd(*sbd(empty, empty, ()), "a").labels.tolist() == []


def test_voc_comes_before_sbd(tmp_path):
    voc, extra = tmp_path / "VOC2011", tmp_path / "sbd"
    voc.mkdir()
    write_voc(voc, "a")
    write_sbd(extra / "dataset", "a", categories=(1, 2))
    write_sbd(extra / "dataset", "b", categories=(1, 2))
    reader = SegmentationReader(str(voc), str(extra))
    assert reader.read("a").labels.tolist() == [5, 7] and reader.read("b").labels.tolist() == [1, 2] and reader.read("c") is None
    assert SegmentationReader(str(voc)).read("b") is None
    assert SegmentationReader(str(voc), str(extra / "dataset")).read("b").labels.tolist() == [1, 2]


def test_the_fingerprint_changes_with_ids_and_bytes(tmp_path):
    write_voc(tmp_path, "a")
    reader = SegmentationReader(str(tmp_path))
    before = reader.fingerprint(["a", "b"])
    assert before == reader.fingerprint(["a", "b"]) != reader.fingerprint(["b", "a"])
    write_voc(tmp_path, "b")
    with_b = reader.fingerprint(["a", "b"])
    write_voc(tmp_path, "b", class_map=CLASS + (CLASS == 5))
    assert len({before, with_b, reader.fingerprint(["a", "b"])}) == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda: parse_voc(CLASS, OBJECT[:1], "a"), "a has .* pixels, its map of objects"),
        (lambda: parse_sbd(*sbd(categories=(5,)), "a"), "2 instances, 1 categories"),
        (lambda: parse_sbd(b"no", b"no", "a"), "a: no MATLAB file with a structure GTcls"),
        (lambda: parse_sbd(*sbd(class_map=CLASS.astype(int) * 100), "a"), "labels from 0 to 255"),
        (lambda: parse_sbd(*reversed(sbd()), "a"), "no MATLAB file with a structure GTcls"),
    ],
)
def test_damage_is_named(damage, reason):
    with pytest.raises(BadAnnotationError, match=reason):
        damage()


def test_a_map_without_its_partner_is_named(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "SegmentationObject" / "a.png").unlink()
    with pytest.raises(BadAnnotationError, match="both are needed"):
        SegmentationReader(str(tmp_path)).read("a")
