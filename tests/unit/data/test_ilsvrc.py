import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.data.ilsvrc import IlsvrcDataset
from rcnn_dist.data.ilsvrc_lists import built_in_synsets, read_synsets
from rcnn_dist.data.images import read_image
from rcnn_dist.data.shapes_ilsvrc import IlsvrcShapesParams, generate_ilsvrc, shape_of
from rcnn_dist.data.validate import Checks, validate
from rcnn_dist.errors import ConfigError, DataError

PARAMS = IlsvrcShapesParams(classes=4, val=32, test=2, positive=3)
TRAIN = "val1+train2"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ilsvrc")
    generate_ilsvrc(str(folder), PARAMS)
    return folder


def open_set(root, made, image_sets=(TRAIN, "val2"), lists=None, seed=3):
    return IlsvrcDataset(str(root), image_sets, lists, str(made), seed)


def all_bytes(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_generated_set_has_the_layout_and_its_quirks(root, tmp_path):
    for folder in (
        "ILSVRC2013_DET_train",
        "ILSVRC2013_DET_val",
        "ILSVRC2013_DET_test",
        "ILSVRC2013_DET_bbox_train",
        "ILSVRC2013_DET_bbox_val",
    ):
        assert any((root / folder).rglob("*.*"))
    modes = {Image.open(path).mode for path in root.rglob("*.JPEG")}
    assert modes == {"RGB", "L", "CMYK"}
    assert all(read_image(str(path)).shape[2] == 3 for path in root.rglob("*.JPEG"))
    assert len({shape_of(c) for c in range(200)}) == 200
    generate_ilsvrc(str(tmp_path), PARAMS)
    assert all_bytes(tmp_path) == all_bytes(root)
    with pytest.raises(DataError, match="another generated set"):
        generate_ilsvrc(str(tmp_path), IlsvrcShapesParams(classes=5, val=32))
    with pytest.raises(ConfigError, match="2 to 200 classes"):
        IlsvrcShapesParams(classes=201)


def test_classes_are_those_of_the_devkit_with_the_built_in_ones_as_fallback(root, tmp_path):
    assert open_set(root, tmp_path).class_names == ("accordion", "airplane", "ant", "antelope")
    built_in = built_in_synsets()
    assert len({s.wnid for s in built_in}) == len({s.name for s in built_in}) == 200
    assert read_synsets(str(tmp_path)) == (built_in, False)
    bad = tmp_path / "ILSVRC2013_devkit" / "data" / "meta_det.mat"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no mat file")
    with pytest.raises(DataError, match="meta_det.mat cannot be read"):
        read_synsets(str(tmp_path))


def test_halves_leave_out_the_blacklist_and_share_no_image(root, tmp_path):
    data = open_set(root, tmp_path)
    val, val1, val2 = (set(data.image_ids(name)) for name in ("val", "val1", "val2"))
    blacklisted = {i for i in val if data.excluded(i)}
    assert len(blacklisted) == 1 and not val1 & val2 and val1 | val2 == val - blacklisted == set(data.image_ids("val-blacklist"))
    assert open_set(root, tmp_path / "again").image_ids("val1") == data.image_ids("val1")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "val1.txt").write_text("ILSVRC2012_val_00000002 1\nILSVRC2012_val_00000001 2\n")
    assert open_set(root, tmp_path, lists=str(tmp_path / "given")).image_ids("val1") == (
        "ILSVRC2012_val_00000002",
        "ILSVRC2012_val_00000001",
    )


def test_the_authors_lists_can_be_read():
    folder = Path(__file__).parents[4] / "shared" / "reference" / "ilsvrc13_splits"
    if not folder.is_dir():
        pytest.skip("the authors' lists are not here")
    from rcnn_dist.data.ilsvrc_lists import read_list

    val1, val2 = (read_list(str(folder / f"{name}.txt")) for name in ("val1", "val2"))
    assert (len(val1), len(val2), len(set(val1) & set(val2))) == (9887, 9917, 0)


def test_boxes_per_class_and_images_per_class(root, tmp_path):
    data = open_set(root, tmp_path, ("train2", "train2images"))
    for count in (1, 2):
        boxes = open_set(root, tmp_path, (f"train{count}",))
        found = [name for i in boxes.image_ids(f"train{count}") for name in boxes.objects(i).classes]
        assert all(found.count(name) == count for name in data.class_names), "exactly as many boxes as were asked for"
    images = data.image_ids("train2images")
    assert len(images) == 2 * PARAMS.classes
    whole = open_set(root, tmp_path, ("train2images",))
    assert sum(len(whole.objects(i).classes) for i in images) >= len(images)
    assert not any(data.exhaustive(i) for i in images) and all(data.exhaustive(i) for i in data.image_ids("val1"))


def test_a_worker_knows_what_was_chosen(root, tmp_path):
    first = open_set(root, tmp_path)
    ids = first.image_ids(TRAIN)
    assert not list(tmp_path.iterdir()), "nothing is written before it is asked for"
    first.save()
    other = open_set(root, tmp_path)
    for image_id in ids:
        assert first.objects(image_id).classes == other.objects(image_id).classes
        np.testing.assert_array_equal(first.objects(image_id).boxes, other.objects(image_id).boxes)
    assert first.fingerprint(TRAIN) == other.fingerprint(TRAIN) != open_set(root, tmp_path, seed=4).fingerprint(TRAIN)


def test_images_of_test_have_no_annotation(root, tmp_path):
    data = open_set(root, tmp_path)
    assert len(data.image_ids("test")) == 2 and all(data.objects(i) is None for i in data.image_ids("test"))
    assert (
        data.stated_size(data.image_ids("val")[0])
        == Image.open(io.BytesIO(Path(data.image_url(data.image_ids("val")[0])).read_bytes())).size
    )


@pytest.mark.parametrize("name", ["train", "val3", "val1+", "val1+train"])
def test_an_image_set_that_is_none(root, tmp_path, name):
    with pytest.raises(DataError, match=r"image set .* is none of val, val1"):
        open_set(root, tmp_path).image_ids(name)


def test_no_devkit(tmp_path):
    with pytest.raises(DataError, match="data.root is the folder that holds ILSVRC2013_devkit/"):
        open_set(tmp_path, tmp_path)


def test_validate_knows_the_quirks(root, tmp_path):
    checks = Checks(10**7, False, None, True)
    _, problems = validate(open_set(root, tmp_path), (TRAIN, "val2"), checks, 1, lambda place, total: None)
    assert [p for p in problems if p.severity == "error"] == []
    copy = tmp_path / "copy"
    for path in root.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    devkit = copy / "ILSVRC2013_devkit" / "data"
    with (devkit / "ILSVRC2013_det_validation_blacklist.txt").open("a") as file:
        file.write("99999 n02672831\n")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "val1.txt").write_text("ILSVRC2012_val_00000006 1\nILSVRC2012_val_00099999 2\n")
    (tmp_path / "given" / "val2.txt").write_text("ILSVRC2012_val_00000001 1\n")
    data = open_set(copy, tmp_path / "made", ("val1+train0", "val2"), lists=str(tmp_path / "given"))
    found = [message for _, _, _, message in data.quirks(("val1+train0", "val2"))]
    assert found == [
        "its line '99999 n02672831' names no image of val.txt",
        "ILSVRC2012_val_00099999 is in neither val.txt nor the training lists",
        "ILSVRC2012_val_00000006 is blacklisted: the original trains on no such image",
    ]
    (devkit / "meta_det.mat").unlink()
    assert open_set(copy, tmp_path / "made").quirks(("val",))[0][3].startswith("no meta_det.mat: the order of the ids 28 and 29")
