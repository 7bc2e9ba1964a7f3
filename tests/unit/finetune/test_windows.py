import numpy as np
import pytest
from scipy.stats import chisquare

from rcnn_dist.errors import DataError
from rcnn_dist.finetune.params import FinetuneParams
from rcnn_dist.finetune.window_file import ImageWindows, format_window_file, parse_window_file
from rcnn_dist.finetune.windows import WindowSampler, WindowSet, best_class, foreground_labels


def window_set(labels):
    count = len(labels)
    return WindowSet(np.arange(count) // 4, np.zeros((count, 4), np.float32), np.array(labels, np.int64))


# --- labels


def test_a_window_has_the_class_that_it_overlaps_most_the_first_on_ties():
    overlap = np.array([[0.2, 0.7, 0.1], [0.4, 0.4, 0], [0, 0, 0], [0, 0, 9e-6]])
    label, best = best_class(overlap)
    assert label.tolist() == [2, 1, 0, 0]
    assert best.tolist() == [0.7, 0.4, 0, 0]
    assert [part.shape for part in best_class(np.zeros((0, 3)))] == [(0,), (0,)]
    assert best_class(np.zeros((2, 0)))[0].tolist() == [0, 0]


def test_foreground_begins_at_an_overlap_of_one_half_and_all_else_is_background():
    label, overlap = np.array([2, 1, 3, 1]), np.array([0.5, 0.499999, 1, 0])
    assert foreground_labels(label, overlap, FinetuneParams()).tolist() == [2, 0, 3, 0]


def test_with_the_labels_of_the_svms_objects_are_foreground_and_windows_between_are_left_out():
    params = FinetuneParams(foreground_iou=1.0, background_iou=0.3)
    assert foreground_labels(np.array([2, 1, 3, 1]), np.array([1, 0.9999, 0.3, 0.2999]), params).tolist() == [2, -1, -1, 0]


# --- sampling


def test_a_step_has_32_foreground_and_96_background_windows_and_is_drawn_again_alike():
    labels = np.random.default_rng(0).integers(0, 4, 500)
    sampler = WindowSampler(window_set(labels), FinetuneParams())
    windows, mirrored = sampler.draw(7)
    assert (labels[windows[:96]] == 0).all()
    assert (labels[windows[96:]] > 0).all()
    assert len(windows) == len(mirrored) == 128
    again = WindowSampler(window_set(labels), FinetuneParams()).draw(7)
    assert all(np.array_equal(a, b) for a, b in zip((windows, mirrored), again, strict=True))
    assert not np.array_equal(windows, sampler.draw(8)[0])
    assert not np.array_equal(windows, WindowSampler(window_set(labels), FinetuneParams(seed=4)).draw(7)[0])


def test_vgg16s_batch_of_24_has_6_foreground_windows():
    assert FinetuneParams(batch_size=24).foreground_count == 6


def test_windows_are_drawn_uniformly_over_the_set_and_mirrored_half_of_the_time():
    """10,000 steps against the law by chi-square: every window of a list is as likely as any other, whatever its class or image."""
    labels = np.array([0] * 150 + [1] * 40 + [2] * 9 + [3])
    sampler = WindowSampler(window_set(labels), FinetuneParams())
    counts, mirrored = np.zeros(len(labels), np.int64), 0
    for step in range(10_000):
        windows, flips = sampler.draw(step)
        counts += np.bincount(windows, minlength=len(labels))
        mirrored += int(flips.sum())
    assert (counts[labels == 0].sum(), counts[labels > 0].sum()) == (960_000, 320_000)
    assert chisquare(counts[labels == 0]).pvalue > 0.01
    assert chisquare(counts[labels > 0]).pvalue > 0.01
    assert chisquare([mirrored, 1_280_000 - mirrored]).pvalue > 0.01


@pytest.mark.parametrize(("labels", "kind"), [([0, 0], "foreground"), ([1, 2], "background"), ([], "foreground")])
def test_a_set_without_one_kind_is_refused(labels, kind):
    with pytest.raises(DataError, match=f"no {kind} windows"):
        WindowSampler(window_set(labels), FinetuneParams())


# --- the window file


def one_image(**changes):
    values = {
        "path": "a b.jpg",
        "height": 40,
        "width": 60,
        "boxes": np.array([[0.0, 1, 20, 31], [-3, 2.5, 70, 39]]),
        "label": np.array([1, 0]),
        "overlap": np.array([0.4995, 0]),
    }
    return ImageWindows(**values | changes)


def test_a_block_is_written_in_inclusive_pixels_inside_the_image():
    text = format_window_file([one_image()])
    assert text.splitlines() == ["# 0", "a b.jpg", "3", "40", "60", "2", "1 0.499 0 1 19 30", "0 0.000 0 3 59 38"]


def test_windows_come_back_and_an_overlap_that_rounds_to_one_half_is_foreground():
    images = [
        one_image(overlap=np.array([0.49951, 0])),
        one_image(boxes=np.zeros((0, 4)), label=np.zeros(0, np.int64), overlap=np.zeros(0)),
    ]
    found = parse_window_file(format_window_file(images))
    assert [len(image.boxes) for image in found] == [2, 0]
    np.testing.assert_array_equal(found[0].boxes[0], images[0].boxes[0])
    assert foreground_labels(found[0].label, found[0].overlap, FinetuneParams()).tolist() == [1, 0]
    assert parse_window_file("") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "image 0: found 'hello', expected '# 0'"),
        ("# 0\na.jpg\n3\n40\n", "image 0: it ends after 3 of 5 lines"),
        ("# 0\na.jpg\n1\n40\n60\n0\n", "image 0: a.jpg has 1 channels"),
        ("# 0\na.jpg\n3\n40\n60\n2\n1 0.5 0 0 3 3\n", "image 0: it ends after 1 of 2 lines"),
        ("# 0\na.jpg\n3\n40\n60\n1\n1 0.5 0 0 3\n", "image 0: cannot reshape"),
    ],
)
def test_what_is_no_window_file_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_window_file(text)
