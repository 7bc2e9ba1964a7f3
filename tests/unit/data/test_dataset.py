import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.data.dataset import Dataset, Objects, clip_to_image
from rcnn_dist.data.voc import VocDataset


def objects(boxes):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    count = len(boxes)
    return Objects(boxes, tuple(f"class{i}" for i in range(count)), np.arange(count) % 2 == 1, np.arange(count) % 3 == 1)


def equal(a, b):
    same_arrays = (np.array_equal(getattr(a, field), getattr(b, field)) for field in ("boxes", "difficult", "truncated"))
    return a.classes == b.classes and all(same_arrays)


def test_boxes_are_cut_at_the_border_and_dropped_when_nothing_is_left():
    inside, across, outside, touching = [10, 20, 30, 40], [-5, 90, 200, 130], [120, 0, 140, 10], [100, 0, 110, 10]
    clipped, dropped = clip_to_image(objects([inside, across, outside, touching]), 100, 100)
    assert dropped == 2
    assert equal(clipped, Objects(np.array([inside, [0, 90, 100, 100]], float), ("class0", "class1"), *np.array([[0, 1], [0, 1]], bool)))


def test_no_objects_stay_no_objects():
    clipped, dropped = clip_to_image(objects([]), 10, 10)
    assert dropped == 0 and clipped.boxes.shape == (0, 4) and clipped.classes == ()


corner = st.integers(-50, 150)
box = st.tuples(corner, corner, st.integers(0, 80), st.integers(0, 80)).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(box, max_size=6), st.integers(1, 100), st.integers(1, 100))
def test_clipping_against_pixel_sets_and_twice(boxes, width, height):
    clipped, dropped = clip_to_image(objects(boxes), width, height)
    expected = [
        (f"class{i}", min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        for i, (x1, y1, x2, y2) in enumerate(boxes)
        if (columns := [x for x in range(x1, x2) if 0 <= x < width]) and (rows := [y for y in range(y1, y2) if 0 <= y < height])
    ]
    assert [(name, *box) for name, box in zip(clipped.classes, clipped.boxes.tolist(), strict=True)] == expected
    assert dropped == len(boxes) - len(expected)
    again, dropped_again = clip_to_image(clipped, width, height)
    assert equal(again, clipped) and dropped_again == 0


def test_fields_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="objects of one length wanted: 1 classes"):
        Objects(np.zeros((2, 4)), ("dog",), np.zeros(1, bool), np.zeros(1, bool))


def test_the_voc_layout_is_a_dataset():
    members = {name for name in vars(Dataset) if not name.startswith("_")}
    assert members - {"name"} <= set(dir(VocDataset)) and len(members) == 11
