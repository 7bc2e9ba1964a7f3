import io

import numpy as np
import pytest
from PIL import Image

from rcnn_dist.report.drawing import draw_detections, short_label

GREY = np.full((100, 200, 3), 128, np.uint8)


def decode(picture):
    assert picture.startswith(b"\xff\xd8\xff")
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def draw(image, boxes, labels=None, kinds=None, max_side=200):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return decode(draw_detections(image, boxes, labels or [""] * len(boxes), kinds or ["true"] * len(boxes), max_side))


def changed(picture):
    """Columns and rows, first and last, that differ from the grey background by more than JPEG's ringing."""
    rows, columns = np.nonzero(np.abs(picture - 128).max(axis=2) > 60)
    return columns.min(), rows.min(), columns.max(), rows.max()


def is_green(pixel):
    return pixel[1] > 150 and pixel[1] > pixel[0] + 80


def test_hand_example_a_true_box_is_a_green_frame_on_its_own_pixels():
    picture = draw(GREY, [[40, 20, 120, 80]])
    # one dark pixel around the box keeps it visible on any photograph
    np.testing.assert_allclose(changed(picture), (39, 19, 120, 80), atol=1)
    assert is_green(picture[50, 42])
    assert is_green(picture[50, 117])
    assert is_green(picture[22, 80])
    assert is_green(picture[77, 80])
    np.testing.assert_allclose(picture[50, 80], 128, atol=6)
    np.testing.assert_allclose(picture[5, 5], 128, atol=6)


@pytest.mark.parametrize(("height", "width", "side"), [(100, 200, 480), (1000, 300, 480), (64, 64, 240), (3, 2000, 480), (1, 1, 16)])
def test_longer_side_is_max_side(height, width, side):
    picture = draw(np.zeros((height, width, 3), np.uint8), [[0, 0, width, height]], ["cat 0.5"], max_side=side)
    assert max(picture.shape[:2]) == side
    assert picture.shape[0] == max(1, round(height * side / max(height, width)))


def test_boxes_scale_with_the_picture_and_lines_do_not():
    small, large = draw(GREY, [[40, 20, 120, 80]]), draw(np.full((400, 800, 3), 128, np.uint8), [[160, 80, 480, 320]])
    np.testing.assert_allclose(small, large, atol=3)


def test_box_beyond_the_border_is_drawn_as_its_part_inside():
    np.testing.assert_array_equal(draw(GREY, [[-50, -9, 120, 300]]), draw(GREY, [[0, 0, 120, 100]]))


def test_kinds_differ_by_more_than_colour():
    dark = {}
    for kind in ("true", "false", "missed", "object"):
        picture = draw(GREY, [[40, 20, 120, 80]], kinds=[kind])
        # the gaps of the dashes along the upper edge, well inside the line
        dark[kind] = int((picture[21, 45:115].max(axis=1) < 90).sum())
    assert dark["true"] == 0
    assert len(set(dark.values())) == 4
    marks = [draw(GREY, [[40, 40, 160, 90]], ["cat"], [kind])[20:40, 40:90].min(axis=2) < 80 for kind in ("true", "false", "missed")]
    assert not np.array_equal(marks[0], marks[1])
    assert not np.array_equal(marks[1], marks[2])


def test_ground_truth_lies_below_whatever_the_order():
    box = [40, 20, 120, 80]
    missed = draw(GREY, [box], kinds=["missed"])
    np.testing.assert_allclose(draw(GREY, [box, box], kinds=["missed", "object"]), missed, atol=30)
    np.testing.assert_array_equal(draw(GREY, [box, box], kinds=["missed", "object"]), draw(GREY, [box, box], kinds=["object", "missed"]))


def test_label_is_a_tag_above_the_box_or_inside_where_there_is_no_room():
    assert is_green(draw(GREY, [[40, 50, 160, 90]], ["cat 0.91"])[36, 43])
    assert changed(draw(GREY, [[40, 50, 160, 90]], ["cat 0.91"]))[1] < 45
    assert changed(draw(GREY, [[40, 2, 160, 90]], ["cat 0.91"]))[1] >= 1
    assert changed(draw(GREY, [[40, 50, 160, 90]], [""]))[1] >= 48


@pytest.mark.parametrize("label", ["x" * 5000, "<script>alert(1)</script>", "\u202eevil\x00\n\udcff", "تفاحة", "苹果", "$\\frac{$"])
def test_any_label_stays_inside_the_picture(label):
    picture = draw(GREY, [[150, 50, 199, 90]], [label])
    assert picture.shape == (100, 200, 3)
    assert changed(picture)[0] >= 0


def test_no_boxes_give_the_scaled_photograph():
    image = np.random.default_rng(0).integers(0, 255, (5, 10, 3)).astype(np.uint8)
    expected = Image.fromarray(image).resize((200, 100), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(draw(image, []), np.asarray(expected), atol=60)
    np.testing.assert_allclose(draw(image, []).mean(), np.asarray(expected).mean(), atol=2)


def test_degenerate_box_is_still_seen():
    assert (np.abs(draw(GREY, [[50, 50, 50, 50]]) - 128) > 60).any()


def test_equal_input_gives_equal_bytes():
    arguments = (GREY, np.array([[1.0, 2, 30, 40]]), ["cat 0.5"], ["false"])
    assert draw_detections(*arguments) == draw_detections(*arguments)


def test_bad_input_is_named():
    box = np.array([[0.0, 0, 5, 5], [0, np.nan, 5, 5]])
    with pytest.raises(ValueError, match="2 boxes, 1 labels and 2 kinds"):
        draw_detections(GREY, box, ["a"], ["true", "true"])
    with pytest.raises(ValueError, match="box 1 is not finite"):
        draw_detections(GREY, box, ["a", "b"], ["true", "true"])


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("cat", 3, "cat"), ("cats", 3, "ca…"), ("", 3, ""), ("a\x00b", 5, "a�b"), ("\u202eab", 5, "�ab"), ("\udcff", 5, "�")],
)
def test_short_label(text, limit, expected):
    assert short_label(text, limit) == expected
    assert len(short_label(text, limit)) <= limit
