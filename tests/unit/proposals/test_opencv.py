import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.data.images import decode_image
from rcnn_dist.proposals import opencv
from rcnn_dist.proposals.opencv import OpenCvParams, opencv_selective_search

PARAMS = OpenCvParams()
NEW_PROCESS = """
import hashlib, sys
import numpy as np
from rcnn_dist.proposals.opencv import OpenCvParams, opencv_selective_search
shape = [int(side) for side in sys.argv[1:]]
image = np.frombuffer(sys.stdin.buffer.read(), dtype=np.uint8).reshape(shape)
print(hashlib.sha256(opencv_selective_search(image, OpenCvParams()).tobytes()).hexdigest())
"""


def picture(width, height, seed=0):
    """Smooth blobs of colour with a dark square in the middle third."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(60, 256, (6, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = (20, 40, 10)
    return image


def assert_boxes_of(image, boxes, min_side=20):
    height, width = image.shape[:2]
    assert boxes.dtype == np.float64 and boxes.shape[1] == 4
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= min_side).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_it_finds_the_square():
    image = picture(150, 120)
    boxes = opencv_selective_search(image, PARAMS)
    assert_boxes_of(image, boxes)
    assert np.abs(boxes - [50, 40, 100, 80]).max(axis=1).min() <= 2
    assert [0, 0, 150, 120] in boxes.tolist()


def test_red_and_blue_are_told_apart_as_rgb(monkeypatch):
    """OpenCV wants BGR; its colour spaces weigh the channels differently."""
    seen = []
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation

    class Spy:
        def __init__(self):
            self.search = search()

        def setBaseImage(self, image):
            seen.append(image[0, 0].tolist())
            self.search.setBaseImage(image)

        def __getattr__(self, name):
            return getattr(self.search, name)

    monkeypatch.setattr(cv2.ximgproc.segmentation, "createSelectiveSearchSegmentation", Spy)
    image = picture(60, 50)
    image[0, 0] = (200, 100, 50)
    opencv_selective_search(image, PARAMS)
    assert seen == [[50, 100, 200]]


def test_every_call_gives_the_same_boxes_in_the_same_order():
    image = picture(120, 90)
    first = opencv_selective_search(image, PARAMS)
    for _ in range(5):
        np.testing.assert_array_equal(opencv_selective_search(image, PARAMS), first)


def test_another_process_and_other_thread_counts_give_the_same_boxes():
    image = picture(120, 90)
    boxes = opencv_selective_search(image, PARAMS)
    threads = cv2.getNumThreads()
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            np.testing.assert_array_equal(opencv_selective_search(image, PARAMS), boxes)
    finally:
        cv2.setNumThreads(threads)
    command = [sys.executable, "-c", NEW_PROCESS, *map(str, image.shape)]
    output = subprocess.run(command, input=image.tobytes(), capture_output=True, check=True).stdout
    assert output.decode().strip() == hashlib.sha256(boxes.tobytes()).hexdigest()


def test_the_seed_changes_the_order_only():
    image = picture(120, 90)
    one, other = opencv_selective_search(image, PARAMS), opencv_selective_search(image, OpenCvParams(seed=4))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(np.unique(one, axis=0), np.unique(other, axis=0))


def test_quality_finds_more():
    image = picture(90, 70)
    assert len(opencv_selective_search(image, OpenCvParams(mode="quality"))) > len(opencv_selective_search(image, PARAMS))


@pytest.mark.parametrize("size", [(1, 1), (19, 19), (19, 300), (300, 19), (5, 1)])
@pytest.mark.parametrize("params", [PARAMS, OpenCvParams(resize_width=100)])
def test_small_images_have_no_proposals(size, params):
    width, height = size
    assert opencv_selective_search(np.zeros((height, width, 3), dtype=np.uint8), params).shape == (0, 4)


def test_a_single_pixel_can_be_a_proposal_where_no_side_is_too_small():
    assert opencv_selective_search(np.zeros((1, 1, 3), dtype=np.uint8), OpenCvParams(min_side=0)).tolist() == [[0, 0, 1, 1]]


def test_a_flat_image_is_one_proposal():
    assert opencv_selective_search(np.full((40, 50, 3), 99, dtype=np.uint8), PARAMS).tolist() == [[0, 0, 50, 40]]


@pytest.mark.parametrize("size", [(300, 122), (122, 300), (400, 40), (40, 400), (900, 30), (30, 900)])
def test_extreme_aspect_ratios(size):
    image = picture(*size)
    boxes = opencv_selective_search(image, PARAMS)
    assert_boxes_of(image, boxes)
    assert len(boxes) > 0


def test_large_images_are_searched_smaller():
    image = picture(2400, 1800)
    boxes = opencv_selective_search(image, OpenCvParams(max_pixels=12_000))
    assert_boxes_of(image, boxes, min_side=19 * 18)  # 20 px of 126 x 95 are about 20 x 19 px here
    assert np.abs(boxes - [800, 600, 1600, 1200]).max(axis=1).min() <= 2 * 2400 / 126


def test_searching_at_another_width():
    image = picture(240, 180)
    boxes = opencv_selective_search(image, OpenCvParams(resize_width=100))
    assert_boxes_of(image, boxes, min_side=19 * 2.4 + 1)
    assert boxes[:, 2:].max() <= 99 * 2.4 + 1  # the last searched pixel, as the original maps it


def test_searching_larger_stays_in_the_image():
    image = picture(60, 45)
    boxes = opencv_selective_search(image, OpenCvParams(resize_width=150))
    assert_boxes_of(image, boxes, min_side=7.79)  # (20 - 1) * 0.4 + 1, less up to 0.8 px of the last row that is cut
    assert boxes[:, 2].max() == 60


@given(st.lists(st.tuples(*[st.integers(0, 500)] * 4), max_size=5), st.sampled_from([0.25, 1.0, 1.28, 7.0]))
def test_the_way_back_is_the_originals(rows, scale):
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    first_pixel = np.array([1, 1, 0, 0])
    one_based = boxes + first_pixel
    expected = (one_based - 1) * scale + 1 - first_pixel
    np.testing.assert_allclose(opencv._to_original_frame(boxes, scale), expected, atol=1e-9)


def test_real_photographs(shared_dir):
    """Large fruit are found, and each photograph has one order."""
    path = shared_dir / "data" / "fruit" / "VOC2007" / "JPEGImages" / "apple_77.jpg"
    image = decode_image(path.read_bytes())
    boxes = opencv_selective_search(image, PARAMS)
    assert_boxes_of(image, boxes)
    assert 300 < len(boxes) < 1000
    np.testing.assert_array_equal(opencv_selective_search(image, PARAMS), boxes)
