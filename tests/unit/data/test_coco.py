import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.data.coco import parse_instances
from rcnn_dist.data.layouts import LAYOUTS, Source
from rcnn_dist.errors import BadAnnotationError, DataError
from rcnn_dist.store import files

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "red panda"}]


def annotation(image_id=1, category_id=7, bbox=(10, 20, 30.5, 4), **more):
    return {"id": 90, "image_id": image_id, "category_id": category_id, "bbox": list(bbox), **more}


def instances(*annotations, images=("a.jpg", "b.jpg"), **more):
    listed = [{"id": number, "file_name": name} for number, name in enumerate(images, start=1)]
    return json.dumps({"images": listed, "categories": CATEGORIES, "annotations": annotations, **more}).encode()


def parsed(*annotations, **more):
    return parse_instances(instances(*annotations, **more), "i.json")


def test_boxes_classes_and_crowds():
    found = parsed(annotation(2), annotation(2, 3, (0, 0, 1, 1), iscrowd=1, segmentation={"counts": "x", "size": [1, 1]}))
    assert list(found) == ["a.jpg", "b.jpg"]
    assert found["a.jpg"].boxes.shape == (0, 4), "an image without annotations has no objects"
    objects = found["b.jpg"]
    assert objects.boxes.tolist() == [[10, 20, 40.5, 24], [0, 0, 1, 1]]
    assert objects.classes == ("dog", "red panda")
    assert objects.difficult.tolist() == [False, True] and not objects.truncated.any()
    with pytest.raises(ValueError, match="read-only"):
        objects.boxes[0] = 0


def test_segmentations_are_passed_over():
    polygon = annotation(segmentation=[[0, 0, 5, 0, 5, 5]])
    assert parsed(polygon)["a.jpg"].boxes.tolist() == [[10, 20, 40.5, 24]]


def test_without_annotations_nothing_is_known_of_objects():
    data = json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "info": {}}).encode()
    assert parse_instances(data, "i.json") == {"a.jpg": None}


sides = st.floats(0.25, 500).map(lambda value: round(value * 4) / 4)


@given(st.lists(st.tuples(sides, sides, sides, sides, st.sampled_from([7, 3]), st.booleans()), max_size=5))
def test_any_boxes_against_a_plain_reading(rows):
    found = parsed(*[annotation(1, c, (x, y, w, h), iscrowd=int(crowd)) for x, y, w, h, c, crowd in rows])["a.jpg"]
    assert found.boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h, _, _ in rows]
    assert found.classes == tuple({7: "dog", 3: "red panda"}[row[4]] for row in rows)
    assert found.difficult.tolist() == [row[5] for row in rows]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"bbox": [1, 2, 0, 4]}, r"i.json, annotation 90 \(dog\): bbox is 0 wide and 4 high, it must have an area"),
        ({"bbox": [1, 2, 3, -4]}, "bbox is 3 wide and -4 high"),
        ({"bbox": [1, 2, 3]}, r"bbox is \[1, 2, 3\], \[x, y, width, height\] is wanted"),
        ({"bbox": [1, 2, 3, "4"]}, r"bbox is \[1, 2, 3, \"4\"\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"bbox is \[1, 2, 3, NaN\]"),
        ({"bbox": [1, 2, 3, 10**400]}, r"bbox is \[1, 2, 3, 1000"),
        ({"bbox": [1, 2, 3, True]}, r"bbox is \[1, 2, 3, true\]"),
        ({"bbox": None, "segmentation": [[0, 0, 5, 0, 5, 5]]}, r"annotation 90 \(dog\): it has no bbox; write the box"),
        ({"category_id": 9}, "annotation 90: no category has the id 9"),
        ({"iscrowd": 2}, r"iscrowd is 2, 0 or 1 is wanted"),
    ],
)
def test_a_bad_object_spoils_its_image_only(bad, message):
    found = parsed(annotation(2), annotation(1) | bad)
    assert isinstance(found["a.jpg"], BadAnnotationError)
    assert len(found["b.jpg"].classes) == 1
    with pytest.raises(BadAnnotationError, match=message):
        raise found["a.jpg"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "i.json is no JSON that can be read"),
        (b"[" * 100_000, "i.json is no JSON that can be read"),
        (b"[1]", "i.json is no COCO instances file"),
        (b'{"images": 3}', "'images' must be a list of objects"),
        (b'{"images": [{"id": [1], "file_name": "a"}]}', "every id in 'images' must be a number or a text"),
        (b'{"images": [{"id": 1}]}', "every entry of 'images' needs an 'id' and a 'file_name', found {\"id\": 1}"),
        (instances(images=("a.jpg", "a.jpg")), r"'images' holds a.jpg \(id 2\) twice; remove one"),
        (instances(categories=[*CATEGORIES, {"id": 8, "name": "dog"}]), r"'categories' holds dog \(id 8\) twice"),
        (instances(categories=None), "'categories' must be a list of objects"),
        (instances(annotation(5)), "annotation 90: no image has the id 5"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(data, message):
    with pytest.raises(DataError, match=message):
        parse_instances(data, "i.json")


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("annotations/instances_val.json", "val/b c.jpg"),
        ("annotations/instances_val.json", "images/val/b c.jpg"),
        ("val/_annotations.coco.json", "val/b c.jpg"),
        ("val.json", "images/b c.jpg"),
        ("val.json", "b c.jpg"),
    ],
)
def test_files_and_images_are_found_in_the_usual_places(tmp_path, file, image):
    files.write_bytes(f"{tmp_path}/{file}", instances(annotation(1), images=("b c.jpg",)))
    files.write_bytes(f"{tmp_path}/{image}", b"1")
    dataset = LAYOUTS["coco"].open(Source(str(tmp_path), ("val",), "", ""))
    (image_id,) = dataset.image_ids("val")
    assert image_id == image.replace(" ", "=20") and dataset.image_url(image_id) == f"{tmp_path}/{image}"
    assert dataset.objects(image_id).classes == ("dog",)
    fresh = LAYOUTS["coco"].open(Source(str(tmp_path), ("val",), "", ""))
    assert np.array_equal(fresh.objects(image_id).boxes, [[10, 20, 40.5, 24]]), "as a worker asks: without the ids first"
    before = fresh.fingerprint("val")
    files.write_bytes(f"{tmp_path}/{file}", instances(annotation(1, 3), images=("b c.jpg",)))
    assert LAYOUTS["coco"].open(Source(str(tmp_path), ("val",), "", "")).fingerprint("val") != before


def test_a_missing_split_says_where_it_was_looked_for(tmp_path):
    dataset = LAYOUTS["coco"].open(Source(str(tmp_path), ("val",), "", ""))
    with pytest.raises(
        DataError, match=r"no split 'val': .* has none of annotations/instances_val.json, val/_annotations.coco.json, val.json"
    ):
        dataset.image_ids("val")
