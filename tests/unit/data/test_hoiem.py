import numpy as np
import pytest

from rcnn_dist.data.hoiem import read_notes, subsets_of
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.evaluate.sensitivity import characteristics, sensitivity_json
from rcnn_dist.evaluate.voc import ClassObjects

CAT = """det\tconf\tocc\tp1 p2 p3 p4 p5 v1 v2 v3 v4 v5 size\tratio(w/h)
1\t-0.4\t0\t1 1 1 0 0 0 1 0 1 0\t50\t2.0
0\t0\t3\t1 0 0 0 0 0 0 1 0 0\t12\t0.333

0\t0\t1\t1 1 1 1 1 0 0 0 1 1\t9\t1.0
"""


def write(folder, name, text):
    (folder / f"gt_ved_{name}.txt").write_text(text)
    return str(folder)


def test_the_hand_example(tmp_path):
    notes = read_notes(write(tmp_path, "cat", CAT), "cat")
    assert notes.areas.tolist() == [50, 12, 9]
    assert {name: mask.tolist() for name, mask in notes.subsets["occlusion"].items()} == {
        "none": [True, False, False],
        "1-10%": [False, False, True],
        "10-50%": [False, False, False],
        "over 50%": [False, True, False],
    }
    assert notes.subsets["view"]["rear: yes"].tolist() == [False, True, False]
    assert notes.subsets["view"]["top: no"].tolist() == [True, True, False]
    assert list(notes.subsets["part"]) == [f"{part}: {word}" for part in ("body", "ear", "face", "leg", "tail") for word in ("no", "yes")]
    assert notes.subsets["part"]["leg: yes"].tolist() == [False, False, True]


def test_a_table_has_two_sides_and_a_bicycle_another_order(tmp_path):
    table = "det conf occ p1 p2 v1 v2 size ratio\n0 0 0 1 0 0 1 9 1\n"
    assert read_notes(write(tmp_path, "diningtable", table), "diningtable").subsets["view"]["top: yes"].tolist() == [True]
    bicycle = "det conf occ p1 p2 p3 p4 v1 v2 v3 v4 v5 size ratio\n0 0 0 1 0 0 1 0 0 0 0 1 9 1\n"
    view = read_notes(write(tmp_path, "bicycle", bicycle), "bicycle").subsets["view"]
    assert view["side: yes"].tolist() == [True] and view["top: yes"].tolist() == [False]


def test_notes_go_to_the_objects_that_are_not_difficult_in_their_order(tmp_path):
    notes = read_notes(write(tmp_path, "cat", CAT), "cat")
    boxes = np.array([[0, 0, 10, 5], [0, 0, 7, 7], [1, 1, 3, 7], [4, 4, 7, 7]], np.float64)
    difficult = np.array([False, True, False, False])
    noted = subsets_of(notes, boxes, difficult, "cat")
    assert noted["occlusion"]["over 50%"].tolist() == [False, False, True, False]
    assert noted["view"]["front: no"].tolist() == [False, False, True, True]
    found = characteristics(ClassObjects(np.arange(4), boxes, difficult, None, noted))
    assert list(found) == ["size", "aspect", "occlusion", "view", "part"]
    for name in ("occlusion", "size"):
        assert (sum(mask.astype(int) for mask in found[name].values()) == ~difficult).all()
    assert sensitivity_json({}) == {}


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 10, 5]], "3 objects, but the test set has 1"),
        ([[0, 0, 10, 5], [0, 0, 2, 6], [0, 0, 3, 4]], "object 3 has 9 pixels, but 12"),
    ],
)
def test_notes_of_other_objects_are_refused(tmp_path, boxes, message):
    notes = read_notes(write(tmp_path, "cat", CAT), "cat")
    with pytest.raises(BadAnnotationError, match=message):
        subsets_of(notes, np.array(boxes, np.float64), np.zeros(len(boxes), bool), "cat")


def test_other_classes_have_none_and_other_files_are_refused(tmp_path):
    assert read_notes(str(tmp_path), "cat") is None
    assert read_notes(write(tmp_path, "sofa", CAT), "sofa") is None
    for text in ("det conf occ\n1 2 3\n", CAT.replace("50", "x"), "a b c\n" + CAT.split("\n", 1)[1]):
        with pytest.raises(BadAnnotationError, match="gt_ved_cat"):
            read_notes(write(tmp_path, "cat", text), "cat")
